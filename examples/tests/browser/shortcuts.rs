//! The keys of the inbox: what each does, and that none does anything while somebody types.

use atp_actix::atp_core::{Action, Notification, TextRules};
use fantoccini::key::Key;

use crate::{browser::Browser, desk::At};

async fn at_three_questions() -> At {
    let at = At::start().await;
    for id in ["one", "two", "three"] {
        let action = Action::text("say", "Say it", TextRules::new().min_length(20));
        at.ask(&Notification::new(format!("What of {id}?"), "").id(id).action(action)).await;
    }
    at
}

fn link(id: &str) -> String {
    format!(".questions a[href='/questions/{id}']")
}

#[actix_web::test]
async fn keys_go_through_the_inbox_open_a_question_and_come_back() {
    let Some(browser) = Browser::start().await else { return };
    let at = at_three_questions().await;
    browser.open(&at.url("/")).await;
    // The newest is first; behind the last there is none, nor before the first.
    for (key, expected) in [
        ('j', "three"),
        ('j', "two"),
        ('j', "one"),
        ('j', "one"),
        ('k', "two"),
        ('k', "three"),
        ('k', "three"),
    ] {
        browser.press(key).await;
        assert!(browser.is_at(&link(expected)).await, "{key} leads to {expected}");
    }
    for back in ['u', Key::Escape.into()] {
        browser.press('j').await;
        browser.press(Key::Enter).await;
        browser.until("document.querySelector('form.answer')").await;
        browser.press(back).await;
        browser.until("document.querySelector('.questions')").await;
    }
    browser.press('/').await;
    assert!(browser.is_at("#words").await);
    browser.type_text("jku/?\n").await;
    browser.until("location.search.includes('words=jku%2F%3F')").await;
    at.stop().await;
}

#[actix_web::test]
async fn the_list_of_keys_opens_closes_and_turns_them_off() {
    let Some(browser) = Browser::start().await else { return };
    let at = at_three_questions().await;
    let is_open = "document.querySelector('#keys').open";
    browser.open(&at.url("/")).await;
    browser.press('?').await;
    browser.until(is_open).await;
    browser.press('j').await;
    assert!(!browser.is_at(&link("three")).await, "behind the list nothing moves");
    browser.press(Key::Escape).await;
    browser.until(&format!("!{is_open}")).await;
    browser.press('j').await;
    assert!(browser.is_at(&link("three")).await);

    browser.tab_back_to("[data-keys]").await;
    browser.press(' ').await;
    browser.until(is_open).await;
    browser.tab_to("#keys-on").await;
    browser.press(' ').await;
    browser.tab_to("#keys [type=submit]").await;
    browser.press(' ').await;
    browser.until(&format!("!{is_open}")).await;
    for path in ["/", "/?show=all"] {
        browser.open(&at.url(path)).await;
        browser.press('j').await;
        assert!(!browser.is_at("a").await, "they are off on every page");
    }
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn no_key_leaves_what_somebody_has_typed() {
    let Some(browser) = Browser::start().await else { return };
    let at = at_three_questions().await;
    browser.open(&at.url("/questions/one")).await;
    browser.click("#a0").await;
    browser.type_text("just u and j?").await;
    browser.press(Key::Escape).await;
    // Before it is sent, and after it was found too short.
    for is_sent in [false, true] {
        browser.tab_to("form.answer [type=submit]").await;
        browser.press('u').await;
        browser.press(Key::Escape).await;
        assert_eq!(browser.value("document.querySelector('#a0').value").await, "just u and j?");
        if !is_sent {
            browser.press(Key::Enter).await;
            browser.until("document.querySelector('.fault')").await;
        }
    }
    at.stop().await;
}

#[actix_web::test]
async fn whoever_is_at_a_question_of_the_list_stays_there_while_others_come_and_go() {
    let Some(browser) = Browser::start().await else { return };
    let at = at_three_questions().await;
    browser.open(&at.url("/")).await;
    browser.press('j').await;
    browser.press('j').await;
    at.ask(&Notification::new("A fourth?", "").id("four").action(Action::simple("a", "A"))).await;
    browser.until_shown("#list", "A fourth?").await;
    assert!(browser.is_at(&link("two")).await, "the same, though it stands elsewhere");
    at.desk.answer("two", "say", &"Nobody needs it any more.").await.expect("it is answered");
    browser.until("document.querySelectorAll('.questions li').length === 3").await;
    assert!(browser.is_at(&link("one")).await, "what took its place");
    browser.press('k').await;
    assert!(browser.is_at(&link("three")).await);
    at.stop().await;
}
