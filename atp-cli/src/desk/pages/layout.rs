//! What all pages have around them.

use actix_web::{HttpResponse, http::header};
use atp_core::{Action, Notification};
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{DOCTYPE, Markup, html};

use crate::desk::inner::Inner;

/// Nothing is loaded from elsewhere, nothing is run that is not in the one script, and no other page
/// frames this one or is sent its forms.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// A whole page.
pub(super) fn page(inner: &Inner, title: &str, here: Option<&str>, content: &Markup) -> HttpResponse {
    let link = |to: &str, name: &str| {
        html! { a href=(to) aria-current=[(here == Some(to)).then_some("page")] { (name) } }
    };
    let is_off = inner.skew() != 0 || inner.faults().is_any();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (short(title, 80)) " – ATP desk" }
                link rel="stylesheet" href="/page.css";
                link rel="icon" href="/icon.svg";
                script src="/page.js" defer {}
            }
            body data-now=(inner.now().timestamp_millis()) {
                a.skip href="#content" { "Skip to the content" }
                header {
                    strong { "ATP desk" }
                    nav aria-label="Pages" { (link("/", "Inbox")) (link("/settings", "Settings")) }
                    button.second type="button" data-keys hidden { "Keys" }
                }
                @if is_off {
                    p.warning role="status" {
                        "The desk misbehaves as it was told to: " a href="/settings" { "see how" } "."
                    }
                }
                main #content tabindex="-1" { (content) }
                (keys())
            }
        }
    };
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(page.into_string())
}

/// What the keys of a keyboard do, where the script runs.
fn keys() -> Markup {
    let keys = [
        ("j", "the next question of the inbox"),
        ("k", "the one before"),
        ("Enter", "open it"),
        ("/", "search"),
        ("u", "back to the inbox; Escape too"),
        ("?", "show this"),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { "Keys" }
            dl.facts { @for (key, what) in keys { dt { kbd { (key) } } dd { (what) } } }
            div.option {
                input id="keys-on" type="checkbox" checked autocomplete="off";
                label for="keys-on" { "Let these keys work, while nothing is being typed." }
            }
            form method="dialog" { button type="submit" autofocus { "Close" } }
        }
    }
}

/// A page that says what went wrong.
pub(super) fn refusal(inner: &Inner, refusal: &crate::desk::Refusal) -> HttpResponse {
    use actix_web::ResponseError as _;
    let content = html! {
        h1 { "That did not work" }
        p role="alert" { (refusal.message()) }
        p.back { a href="/" { "Back to the inbox" } }
    };
    let mut response = page(inner, "That did not work", None, &content);
    *response.status_mut() = refusal.status_code();
    response
}

/// A moment, for humans and for the script.
pub(super) fn moment(time: DateTime<Utc>) -> Markup {
    let exact = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    html! { time datetime=(exact) title=(exact) { (time.format("%-d %B, %H:%M:%S UTC")) } }
}

/// A moment in microseconds since 1970.
pub(super) fn moment_of(micros: i64) -> Markup {
    DateTime::from_timestamp_micros(micros).map_or_else(|| html! {}, moment)
}

/// The start of a text that may be very long.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A text, or another where there is nothing of it to be seen: what has no name cannot be chosen.
pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.chars().all(is_unseen) { otherwise } else { text }
}

/// White space, and characters that only say how others are shown.
fn is_unseen(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        )
        || ('\u{200b}'..='\u{200f}').contains(&character)
        || ('\u{2028}'..='\u{202e}').contains(&character)
        || ('\u{2060}'..='\u{206f}').contains(&character)
}

/// The title of a question, as it is shown.
pub(super) fn title(notification: &Notification) -> &str {
    or(&notification.context.title, "A question without a title")
}

/// What an action is called where it is chosen.
pub(super) fn label(action: &Action) -> &str {
    or(&action.label, or(&action.id, "Answer"))
}

/// Encodes a text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::or;

    #[test]
    fn what_cannot_be_seen_is_nothing() {
        for (text, expected) in [
            ("a", "a"),
            (" a ", " a "),
            ("", "other"),
            (" \t\n\u{a0}", "other"),
            ("\u{200b}\u{feff}\u{202e}\u{2066}", "other"),
            ("\u{202e}a", "\u{202e}a"),
        ] {
            assert_eq!(or(text, "other"), expected, "{text:?}");
        }
    }
}
