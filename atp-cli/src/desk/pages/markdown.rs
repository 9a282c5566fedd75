//! Markdown of strangers, as HTML that does nothing.

use maud::{Markup, PreEscaped};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use crate::limits::NESTING;

/// HTML in it shows as text, images as links, and of links only those that lead to a page.
pub(super) fn safe(text: &str) -> Markup {
    let mut is_dropped = Vec::new();
    let events = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let events = events.filter_map(|event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        Event::Start(
            Tag::Link { link_type, dest_url, id, .. } | Tag::Image { link_type, dest_url, id, .. },
        ) => {
            let leads = leads_to_a_page(&dest_url);
            is_dropped.push(!leads);
            let title = CowStr::Borrowed("");
            leads.then_some(Event::Start(Tag::Link { link_type, dest_url, title, id }))
        }
        Event::End(TagEnd::Link | TagEnd::Image) => {
            (!is_dropped.pop().unwrap_or(true)).then_some(Event::End(TagEnd::Link))
        }
        other => Some(other),
    });
    let mut out = String::new();
    html::push_html(&mut out, not_too_deep(events).flat_map(around_a_table));
    PreEscaped(out)
}

/// Leaves out what is too deep within other things, but for its words: they stand where it begins to be.
fn not_too_deep<'a>(events: impl Iterator<Item = Event<'a>>) -> impl Iterator<Item = Event<'a>> {
    let mut depth = 0_usize;
    events.map(move |event| {
        let is_too_deep = match &event {
            Event::Start(_) => {
                depth += 1;
                depth > NESTING
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                depth >= NESTING
            }
            _ => false,
        };
        // Words that it held apart stay apart.
        if is_too_deep { Event::SoftBreak } else { event }
    })
}

/// A table that is too wide is moved to and fro in a place of its own, which a keyboard reaches.
fn around_a_table(event: Event<'_>) -> impl Iterator<Item = Event<'_>> {
    let html = |html| Event::Html(CowStr::Borrowed(html));
    let is_start = matches!(event, Event::Start(Tag::Table(_)));
    let before = is_start.then(|| html("<div class=\"wide\" tabindex=\"0\">"));
    let after = matches!(event, Event::End(TagEnd::Table)).then(|| html("</div>"));
    before.into_iter().chain([event]).chain(after)
}

/// Its words, without what they look like. Of a long text the start is enough.
pub(super) fn words(text: &str) -> String {
    let mut words = String::new();
    for event in Parser::new(super::layout::short(text, 2000).as_str()) {
        match event {
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                words += &text;
            }
            // What ends within a line has no space behind it.
            Event::End(
                TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image,
            ) => {}
            Event::SoftBreak | Event::HardBreak | Event::End(_) if !words.ends_with(' ') => words.push(' '),
            _ => {}
        }
    }
    words
}

fn leads_to_a_page(url: &str) -> bool {
    let url = url.trim_start().to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|start| url.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::{NESTING, safe, words};

    #[test]
    fn its_words_stand_as_they_do_in_the_text() {
        for (text, expected) in [
            ("It is **paid**, on [the page](https://a.example).", "It is paid, on the page. "),
            ("# One\n\ntwo\nthree\n\n* `four`\n* five", "One two three four five "),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_deep_in_it_is_left_out_but_for_its_words() {
        for text in
            ["> ".repeat(50_000) + "deep *words*", "- ".repeat(50_000) + "deep *words*", ">".repeat(50_000)]
        {
            let html = safe(&text).into_string();
            let words = if text.ends_with('*') { ["deep", "words"] } else { ["", ""] };
            assert!(words.iter().all(|word| html.contains(word)), "{}: {html:.300}", text.len());
            assert!(html.matches('<').count() <= 4 * NESTING, "{}: {html:.300}", text.len());
        }
        let kept = "> > * one\n> > * two";
        assert_eq!(safe(kept).into_string().matches("<li>").count(), 2);
    }

    #[test]
    fn nothing_in_it_runs_or_loads() {
        for (text, expected) in [
            ("**bold** _it_", "<p><strong>bold</strong> <em>it</em></p>\n"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("a <img src=x onerror=alert(1)> b", "<p>a &lt;img src=x onerror=alert(1)&gt; b</p>\n"),
            ("[go](javascript:alert(1))", "<p>go</p>\n"),
            ("[go]( JaVaScRiPt:alert(1))", "<p>go</p>\n"),
            ("[go](data:text/html,x)", "<p>go</p>\n"),
            ("[go](https://a.example)", "<p><a href=\"https://a.example\">go</a></p>\n"),
            ("![see](https://a.example/i.png)", "<p><a href=\"https://a.example/i.png\">see</a></p>\n"),
            ("[a [b](javascript:1) c](https://a.example)", "<p>[a b c](https://a.example)</p>\n"),
        ] {
            assert_eq!(safe(text).into_string().trim_end(), expected.trim_end(), "{text}");
        }
    }
}
