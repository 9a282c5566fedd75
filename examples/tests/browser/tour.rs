//! A desk at which everything has happened, and the way past all of its pages.

use atp_actix::atp_core::{Action, Attachment, Field, Notification, Options, TextRules};
use atp_cli::desk::{Desk, Fault};
use chrono::TimeDelta;

use crate::{browser::Browser, desk::At, is_whole, questions};

/// Pages that need nothing but to be opened.
const PAGES: [(&str, &str); 14] = [
    ("inbox", "/"),
    ("answered", "/?show=answered"),
    ("too-late", "/?show=expired"),
    ("taken-back", "/?show=withdrawn"),
    ("all", "/?show=all"),
    ("nothing-found", "/?words=nothing"),
    ("question-answered", "/questions/done"),
    ("question-too-late", "/questions/late"),
    ("question-taken-back", "/questions/mistake"),
    ("question-of-a-stranger", "/questions/strange"),
    ("settings", "/settings"),
    ("no-question", "/questions/none"),
    ("no-page", "/nowhere"),
    ("no-number", "/?skip=x"),
];

/// Of the pages that need nothing these are gone past where there is no time for the others.
const SOME: [&str; 2] = ["inbox", "question-of-a-stranger"];

/// What is not a word: it cannot be broken where words end.
const LONG: &str = "averyveryverylongnamethathasnospaceinitandgoesonandonwithoutanyplacetobreakit";

/// A desk with a question of each kind and in each state.
pub async fn at_a_busy_desk() -> At {
    let at = At::start().await;
    at.ask(&one("late").deadline(at.now() + TimeDelta::seconds(60))).await;
    for question in questions::all(&at.url("/")) {
        at.ask(&question).await;
    }
    for id in ["done", "mistake"] {
        at.ask(&one(id)).await;
    }
    at.ask(&strange()).await;
    at.wait(61);
    at.desk.answer("done", "say", &"It is on its way.").await.expect("it is answered");
    at.withdraw("mistake", "It was a mistake.").await;
    at
}

fn one(id: &str) -> Notification {
    let say = Action::text("say", "Say it", TextRules::new().min_length(3));
    Notification::new(format!("What of {id}?"), "*All* that is known of it.").id(id).action(say)
}

/// By somebody who would have the page load something, or burst.
fn strange() -> Notification {
    let elsewhere = "https://elsewhere.example/pixel.png";
    let code = format!("```\n{}```", format!("{LONG} {LONG}\n").repeat(30));
    let table = format!("| {LONG} | {LONG} |\n|-|-|\n| a | b |");
    let links = format!("![seen]({elsewhere}) <img src=\"{elsewhere}\"> [{LONG}](https://{LONG}.example)");
    let about = format!("{links}\n\n{code}\n\n{table}");
    let field = Field::new(LONG, LONG).required();
    Notification::new(LONG, about)
        .id("strange")
        .project(LONG)
        .metadata(LONG, LONG)
        .attachment(Attachment::of("text/plain", LONG, LONG.as_bytes()))
        .action(Action::choice("choose", LONG, Options::new([(LONG, LONG)])))
        .action(Action::form("fill-in", format!("{LONG} too"), [field]).flag("irreversible"))
}

/// Goes past every page, and lets `look` see it as it then is, under its name.
pub async fn every_page(browser: &Browser, at: &At, mut look: impl AsyncFnMut(&str)) {
    let plain = PAGES.map(|(name, path)| (name.to_owned(), path.to_owned()));
    let questions = questions::TYPES.map(|kind| (format!("question-{kind}"), format!("/questions/{kind}")));
    for (name, path) in plain.into_iter().chain(questions) {
        if is_whole() || SOME.contains(&&*name) {
            browser.open(&at.url(&path)).await;
            look(&name).await;
        }
    }
    browser.open(&at.url("/questions/text")).await;
    browser.click("#a0").await;
    browser.type_text("No").await;
    browser.click("form.answer [type=submit]").await;
    browser.until("document.querySelector('.fault')").await;
    look("wrong-answer").await;

    browser.open(&at.url("/questions/done")).await;
    browser.until_shown("#story", "Sent, and the service took it").await;
    browser.click(".timeline summary").await;
    look("delivery").await;

    browser.open(&at.url("/")).await;
    browser.click("[data-keys]").await;
    look("keys").await;

    if !is_whole() {
        return;
    }
    at.desk.faults(|faults| faults.always(Some(Fault::Duplicate)));
    browser.open(&at.url("/settings")).await;
    look("settings-with-a-fault").await;
    at.desk.faults(|faults| faults.clear());

    let closed = Desk::new().page_token("let-me-in-let-me-in").start().await.expect("a desk");
    browser.open(&closed.url()).await;
    look("door").await;
    browser.click("#token").await;
    browser.type_text("let-me-in-let-me-in\n").await;
    browser.until("document.querySelector('.filters')").await;
    look("empty-inbox").await;
    // It is left before it is away.
    browser.open(&at.url("/")).await;
    closed.stop().await;
}
