//! What the pages do for whoever sits before them: they ask before what cannot be undone, say what is
//! wrong where it is wrong, lose nothing, show what others do, and find what is looked for.

use std::time::{Duration, Instant};

use atp_actix::atp_core::{Action, Notification, Options, Selections, TextRules};
use chrono::TimeDelta;
use fantoccini::{key::Key, wd::TimeoutConfiguration};
use serde_json::json;

use crate::{browser::Browser, desk::At, has_time};

const SEND: &str = "form.answer [type=submit]";

fn question(id: &str, title: &str, action: Action) -> Notification {
    Notification::new(title, "All that is known of it.").id(id).action(action)
}

async fn status(at: &At, browser: &Browser, id: &str) -> String {
    browser.open(&at.url(&format!("/questions/{id}"))).await;
    browser.text("#answer").await
}

#[actix_web::test]
async fn what_cannot_be_undone_is_asked_for_twice_and_can_be_left() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    at.ask(&question("drop", "Drop it?", Action::simple("drop", "Drop it").flag("irreversible"))).await;
    browser.open(&at.url("/questions/drop")).await;
    browser.click(SEND).await;
    browser.until("document.querySelector('#a0-sure').matches(':invalid:focus')").await;
    // One ticks it, thinks again, and goes.
    browser.click("#a0-sure").await;
    browser.click("#a0-sure").await;
    browser.click(SEND).await;
    browser.until("document.querySelector('#a0-sure').matches(':invalid:focus')").await;
    browser.click(".back a").await;
    browser.until_shown("#list", "Drop it?").await;
    browser.click(".questions a").await;
    browser.click("#a0-sure").await;
    browser.click(SEND).await;
    browser.until_shown("#story", "Sent, and the service took it").await;
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn what_is_wrong_stands_at_its_field_and_nothing_is_lost() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    let regions = Options::new([("eu", "Europe"), ("us", "America"), ("ap", "Asia")]);
    let schema = json!({ "type": "object", "required": ["tokens"] });
    let places = Action::multi_choice("a", "Place it", regions, Selections::any().max(1));
    for (id, action) in [
        ("text", Action::text("a", "Say it", TextRules::new().min_length(10))),
        ("places", places),
        ("json", Action::json_schema("a", "Set it", schema)),
    ] {
        at.ask(&question(id, id, action)).await;
    }
    let told = "document.getElementById(document.activeElement.getAttribute('aria-describedby')\
        ?? document.activeElement.closest('fieldset').getAttribute('aria-describedby')).innerText";

    browser.open(&at.url("/questions/text")).await;
    browser.click("#a0").await;
    browser.type_text("Too\nshort").await;
    browser.click(SEND).await;
    browser.until("document.querySelector('#answer .fault')").await;
    assert!(
        browser.value(told).await.as_str().expect("a text").contains("10"),
        "at the field, which is focused"
    );
    assert_eq!(browser.value("document.activeElement.value").await, "Too\nshort");
    assert_eq!(browser.value("document.activeElement.getAttribute('aria-invalid')").await, "true");
    // Others do something, and still nothing is lost.
    at.ask(&question("other", "Other?", Action::simple("a", "A"))).await;
    browser.press_with(&[Key::Control], Key::End).await;
    browser.type_text(", but long now").await;
    browser.click(SEND).await;
    browser.until_shown("#answer", "Too\nshort, but long now").await;

    browser.open(&at.url("/questions/places")).await;
    browser.click("#a0-0").await;
    browser.click("#a0-2").await;
    browser.click(SEND).await;
    browser.until("document.querySelector('#answer .fault')").await;
    assert!(browser.value(told).await.as_str().expect("a text").contains('1'), "at the boxes");
    let ticked = "[...document.querySelectorAll('#answer input:checked')].map((box) => box.value)";
    assert_eq!(browser.value(ticked).await, json!(["0", "2"]));
    browser.click("#a0-0").await;
    browser.click(SEND).await;
    browser.until_shown("#answer", "Answered").await;

    browser.open(&at.url("/questions/json")).await;
    for (text, found) in [("{\"tokens\": }", "This is no JSON"), ("{\"other\": 1}", "/required")] {
        browser.click("#a0").await;
        browser.type_over(text).await;
        browser.click(SEND).await;
        browser.until_shown("#answer .fault", found).await;
        assert_eq!(browser.value("document.activeElement.value").await, text);
    }
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn a_file_that_was_chosen_stays_chosen() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    let action = Action::file("a", "Hand it in").flag("irreversible");
    at.ask(&question("file", "Which file?", action)).await;
    browser.intercept_files().await;
    browser.open(&at.url("/questions/file")).await;
    browser.click("label[for=a0]").await;
    browser.choose_file("receipt.txt", b"120.00").await;
    // As a browser that does not know `required` would send it.
    browser.value("document.querySelector('#a0-sure').required = false").await;
    browser.click(SEND).await;
    browser.until_shown("#answer .fault", "This cannot be undone").await;
    browser.until_shown("#answer", "Chosen is receipt.txt").await;
    browser.click("#a0-sure").await;
    browser.click(SEND).await;
    browser.until_shown("#answer", "MTIwLjAw").await;
    at.stop().await;
}

#[actix_web::test]
async fn a_file_that_is_too_large_is_refused_at_its_field() {
    if !has_time("a file that is too large") {
        return;
    }
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    at.ask(&question("file", "Which file?", Action::file("a", "Hand it in"))).await;
    browser.intercept_files().await;
    browser.open(&at.url("/questions/file")).await;
    browser.click("label[for=a0]").await;
    browser.choose_file("large.bin", &vec![0; 10 * 1024 * 1024 + 1]).await;
    browser.click(SEND).await;
    browser.until("document.querySelector('#a0').matches(':invalid:focus')").await;
    let why = browser.value("document.querySelector('#a0').validationMessage").await;
    assert_eq!(why, "This file is too large: 10 MB are the most.");
    browser.click("label[for=a0]").await;
    browser.choose_file("full.bin", &vec![255; 10 * 1024 * 1024]).await;
    browser.click(SEND).await;
    browser.until_shown("#answer", "Answered: Hand it in").await;
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn what_another_tab_does_shows_without_a_reload() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    for id in ["first", "second"] {
        at.ask(&question(id, id, Action::text("say", "Say it", TextRules::new()))).await;
    }
    let other = Browser::start().await.expect("another");
    browser.open(&at.url("/")).await;
    browser.until_shown("#filters", "Waiting (2)").await;
    browser.value("window.wasLoaded = 'once'").await;
    other.open(&at.url("/questions/first")).await;
    browser.until("document.querySelector('.questions')").await;
    other.click("#a0").await;
    other.type_text("from the other tab").await;
    other.click(SEND).await;
    browser.until("document.querySelectorAll('.questions li').length === 1").await;
    browser.until_shown("#filters", "Waiting (1)").await;
    browser.until_shown("#filters", "Answered (1)").await;
    at.ask(&question("third", "A third?", Action::simple("a", "A"))).await;
    browser.until_shown("#list", "A third?").await;
    assert_eq!(browser.value("window.wasLoaded").await, "once");

    // Two are at one question: the form that is filled in stays, and says that it is too late.
    for one in [&browser, &other] {
        one.open(&at.url("/questions/second")).await;
        one.click("#a0").await;
    }
    browser.type_text("half a thou").await;
    other.type_text("no").await;
    other.click(SEND).await;
    browser.until_shown("#story", "Answered: Say it").await;
    browser.until_shown("#answer .closed", "It cannot be answered any more").await;
    assert_eq!(browser.value("document.querySelector('#a0').value").await, "half a thou");
    assert_eq!(browser.value("document.querySelector('form.answer [type=submit]').disabled").await, true);
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn what_happens_while_a_page_is_made_shows_too() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    at.ask(&question("n-1", "Ship it?", Action::simple("a", "Ship it"))).await;
    // A page that listens late: only when it is told to.
    let late = "const Real = EventSource, told = [];
        window.EventSource = class { constructor(url) { window.listen = () => {
            const source = new Real(url); told.forEach(([name, then]) => source.addEventListener(name, then)); }; }
            addEventListener(name, then) { told.push([name, then]); } close() {} };";
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": late })).await;
    browser.open(&at.url("/questions/n-1")).await;
    at.desk.answer("n-1", "a", &()).await.expect("it is answered");
    browser.value("window.listen()").await;
    browser.until_shown("#answer", "Answered: Ship it").await;
    at.stop().await;
}

#[actix_web::test]
async fn a_question_that_expires_while_it_is_open_cannot_be_answered() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    for id in ["read", "written"] {
        let asked = question(id, id, Action::text("say", "Say it", TextRules::new()));
        at.ask(&asked.deadline(at.now() + TimeDelta::minutes(10))).await;
    }
    browser.open(&at.url("/questions/written")).await;
    browser.until("/^\\(9 min \\d+ s left\\)$/.test(document.querySelector('[data-until]').innerText)").await;
    browser.click("#a0").await;
    browser.type_text("almost").await;
    let reader = Browser::start().await.expect("another");
    reader.open(&at.url("/questions/read")).await;
    at.wait(601);
    reader.until_shown("#answer", "The time to answer has passed.").await;
    browser.until_shown("#answer .closed", "It cannot be answered any more").await;
    browser.until_shown("[data-until]", "(over)").await;
    // Who sends it all the same is refused.
    browser.value("document.querySelector('form.answer').requestSubmit()").await;
    browser.until_shown("[role=alert]", "The deadline of the question has passed.").await;
    assert!(status(&at, &browser, "written").await.contains("The time to answer has passed."));
    reader.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn filters_and_search_show_what_they_say() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    for (id, title) in
        [("n-1", "Ship order 7?"), ("N-2", "Refund order 8?"), ("n-3", "Ship order 9?"), ("n-4", "Old?")]
    {
        let asked = question(id, title, Action::simple("a", "Do it"));
        let asked = if id == "n-4" { asked.deadline(at.now() + TimeDelta::seconds(60)) } else { asked };
        at.ask(&asked).await;
    }
    at.wait(61);
    at.desk.answer("n-1", "a", &()).await.expect("it is answered");
    at.withdraw("n-3", "It was a mistake").await;
    browser.open(&at.url("/")).await;
    let titles = "[...document.querySelectorAll('.questions a')].map((link) => link.innerText)";
    for (filter, expected) in [
        ("waiting", json!(["Refund order 8?"])),
        ("answered", json!(["Ship order 7?"])),
        ("expired", json!(["Old?"])),
        ("withdrawn", json!(["Ship order 9?"])),
        ("all", json!(["Old?", "Ship order 9?", "Refund order 8?", "Ship order 7?"])),
    ] {
        browser.click(&format!(".filters a[href*='show={filter}']")).await;
        browser
            .until(&format!(
                "document.querySelector('.filters [aria-current]').href.includes('show={filter}')"
            ))
            .await;
        assert_eq!(browser.value(titles).await, expected, "{filter}");
    }
    for (words, expected) in [
        ("SHIP", json!(["Ship order 9?", "Ship order 7?"])),
        ("n-2", json!(["Refund order 8?"])),
        ("nothing", json!([])),
    ] {
        browser.click("#words").await;
        browser.type_over(words).await;
        browser.press(Key::Enter).await;
        browser.until(&format!("location.search.includes('words={words}')")).await;
        assert_eq!(browser.value(titles).await, expected, "{words}");
        assert_eq!(browser.value("document.querySelector('#words').value").await, words);
    }
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn the_settings_make_things_go_wrong_say_so_and_stop_it() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    browser.open(&at.url("/settings")).await;
    browser.until_shown("main", "Nothing goes wrong on purpose.").await;
    at.ask(&question("n-1", "Ship it?", Action::simple("a", "Ship it"))).await;
    for (fault, next, told) in
        [("duplicate", "1", "duplicate"), ("drop", "", "drop"), ("nothing", "", "Nothing goes wrong")]
    {
        browser.tab_to("#fault").await;
        browser.type_text(fault).await;
        browser.tab_to("#next").await;
        browser.type_over(next).await;
        browser.press(Key::Enter).await;
        browser.until_shown("main section p", told).await;
        let is_warned = browser.value("Boolean(document.querySelector('.warning'))").await;
        assert_eq!(is_warned, fault != "nothing", "{fault}");
        if fault == "duplicate" {
            at.desk.answer("n-1", "a", &()).await.expect("it is answered");
            browser.open(&at.url("/questions/n-1")).await;
            browser
                .until(
                    "document.querySelector('#story').innerText.split('on purpose: duplicate').length === 3",
                )
                .await;
            browser.open(&at.url("/settings")).await;
            browser.until_shown("main", "Nothing goes wrong on purpose.").await;
        }
    }
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn more_tabs_are_open_than_a_browser_has_connections() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    for nth in 0..9 {
        at.ask(&question(&format!("n-{nth}"), "Ship it?", Action::simple("a", "Ship it"))).await;
    }
    let patience = TimeoutConfiguration::new(None, Some(Duration::from_secs(30)), None);
    browser.client.update_timeouts(patience).await.expect("set");
    let first = browser.client.window().await.expect("a window");
    browser.open(&at.url("/questions/n-0")).await;
    for nth in 1..9 {
        let tab = browser.client.new_window(true).await.expect("a tab").handle;
        browser.client.switch_to_window(tab).await.expect("it is there");
        browser.open(&at.url(&format!("/questions/n-{nth}"))).await;
    }
    browser.click(SEND).await;
    browser.until_shown("#answer", "Answered: Ship it").await;
    // What happened while nobody saw the page shows once somebody does.
    at.desk.answer("n-0", "a", &()).await.expect("it is answered");
    browser.client.switch_to_window(first).await.expect("it is there");
    browser.command("Page.bringToFront", json!({})).await;
    browser.until_shown("#answer", "Answered: Ship it").await;
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn what_is_deep_within_a_description_makes_no_page_wide_or_slow() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    browser.resize(375, 800).await;
    for (id, deep) in [("quoted", "> ".repeat(60)), ("listed", "- ".repeat(60)), ("slow", ">".repeat(50_000))]
    {
        let asked = Notification::new("Ship it?", deep + "now").id(id).action(Action::simple("a", "Ship it"));
        at.ask(&asked).await;
        let begun = Instant::now();
        browser.open(&at.url(&format!("/questions/{id}"))).await;
        browser.until_shown(".description", "now").await;
        assert!(begun.elapsed() < Duration::from_secs(30), "{id}: {:?}", begun.elapsed());
        let width = browser.value("document.documentElement.scrollWidth").await;
        assert!(width.as_u64().is_some_and(|width| width <= 375), "{id}: {width}");
    }
    browser.assert_quiet().await;
    at.stop().await;
}
