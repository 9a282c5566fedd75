//! The ten questions of the demo, answered by a mouse and by a keyboard alone; the handlers of its
//! service get each answer typed, once.

use fantoccini::key::Key;

use crate::{browser::Browser, demo::Demo, has_time};

/// What is done to a form.
enum Part {
    /// Ticks a box.
    Tick(&'static str),
    /// Chooses the radio button of this value.
    Choose(&'static str),
    /// Writes into a field, in place of what stands there.
    Write(&'static str, &'static str),
    /// Chooses a file of this name, with these bytes.
    HandIn(&'static str, &'static [u8]),
}
use Part::{Choose, HandIn, Tick, Write};

/// How a question is answered, and what its handler then has.
type Answer = (&'static str, &'static [Part], &'static str);

const BY_MOUSE: [Answer; 10] = [
    ("simple", &[Tick("#a0-sure")], "simple: ()"),
    ("binary", &[Choose("true")], "binary: true"),
    ("choice", &[Choose("2")], "choice: Night"),
    ("multi_choice", &[Tick("#a0-0"), Tick("#a0-2")], r#"multi_choice: ["eu", "ap"]"#),
    ("text", &[Write("#a0", "It is on its way.\nToday.")], r#"text: "It is on its way.\nToday.""#),
    ("number", &[Write("#a0", "12.5")], "number: 12.5"),
    ("select", &[Tick("#a0-0")], r#"select: ["sales"]"#),
    (
        "form",
        &[Write("#a0-0", "Ada"), Write("#a0-1", "ada@example.com"), Write("#a0-2", "3"), Tick("#a0-3")],
        r#"form: Signature { name: "Ada", email: "ada@example.com", seats: Some(3), terms: true }"#,
    ),
    ("json", &[Write("#a0", r#"{"tokens": 1000}"#)], "json: Limits { tokens: 1000, tools: None }"),
    (
        "file",
        &[HandIn("receipt.txt", b"120.00")],
        r#"file: File { name: "receipt.txt", content_type: Some("text/plain"), size: Some(6), content: Bytes(6 bytes) }"#,
    ),
];

const BY_KEYBOARD: [Answer; 10] = [
    ("simple", &[Tick("#a0-sure")], "simple: ()"),
    ("binary", &[Choose("false")], "binary: false"),
    ("choice", &[Choose("1")], "choice: InAnHour"),
    ("multi_choice", &[Tick("#a0-1")], r#"multi_choice: ["us"]"#),
    ("text", &[Write("#a0", "Señora, mañana.")], r#"text: "Señora, mañana.""#),
    ("number", &[Write("#a0", "0")], "number: 0"),
    ("select", &[Tick("#a0-1"), Tick("#a0-2")], r#"select: ["law", "press"]"#),
    (
        "form",
        &[Write("#a0-0", "Grace"), Write("#a0-1", "grace@example.com")],
        r#"form: Signature { name: "Grace", email: "grace@example.com", seats: None, terms: false }"#,
    ),
    (
        "json",
        &[Write("#a0", "{\n\"tokens\": 7,\n\"tools\": [\"sh\"]\n}")],
        r#"json: Limits { tokens: 7, tools: Some([String("sh")]) }"#,
    ),
    (
        "file",
        &[HandIn("bill.pdf", b"%PDF-1.7 pretended")],
        r#"file: File { name: "bill.pdf", content_type: Some("application/pdf"), size: Some(18), content: Bytes(18 bytes) }"#,
    ),
];

#[derive(Clone, Copy)]
enum Hand {
    Mouse,
    Keyboard,
}

impl Hand {
    async fn follow(self, browser: &Browser, link: &str) {
        match self {
            Self::Mouse => browser.click(link).await,
            Self::Keyboard => {
                browser.tab_to(link).await;
                browser.press(Key::Enter).await;
            }
        }
    }

    async fn fill_in(self, browser: &Browser, part: &Part) {
        match (self, part) {
            (Self::Mouse, Tick(css)) => browser.click(css).await,
            (Self::Keyboard, Tick(css)) => {
                browser.tab_to(css).await;
                browser.press(' ').await;
            }
            (Self::Mouse, Choose(value)) => browser.click(&radio(value)).await,
            (Self::Keyboard, Choose(value)) => choose_by_arrows(browser, &radio(value)).await,
            (_, Write(css, text)) => {
                match self {
                    Self::Mouse => browser.click(css).await,
                    Self::Keyboard => browser.tab_to(css).await,
                }
                browser.type_over(text).await;
            }
            (_, HandIn(name, bytes)) => {
                match self {
                    Self::Mouse => browser.click("label[for=a0]").await,
                    Self::Keyboard => {
                        browser.tab_to("#a0").await;
                        browser.press(' ').await;
                    }
                }
                browser.choose_file(name, bytes).await;
            }
        }
    }

    async fn send(self, browser: &Browser) {
        let button = "form.answer [type=submit]";
        match self {
            Self::Mouse => browser.click(button).await,
            Self::Keyboard => {
                browser.tab_to(button).await;
                browser.press(' ').await;
            }
        }
    }
}

fn radio(value: &str) -> String {
    format!("input[type=radio][value={value:?}]")
}

/// Tab leads to the first of a group, and the arrows to the others.
async fn choose_by_arrows(browser: &Browser, radio: &str) {
    browser.tab_to("input[type=radio]").await;
    browser.press(' ').await;
    for _ in 0..10 {
        if browser.is_at(&format!("{radio}:checked")).await {
            return;
        }
        browser.press(Key::Down).await;
    }
    panic!("no arrow leads to {radio}");
}

async fn answer_all(name: &str, hand: Hand, answers: &[Answer]) {
    let Some(browser) = Browser::start().await else { return };
    let demo = Demo::start(name);
    browser.intercept_files().await;
    browser.open(&demo.url).await;
    // The questions leave by the service's outbox: they come while the page is open.
    browser.until("document.querySelectorAll('.questions li').length === 10").await;
    for (kind, parts, _) in answers {
        hand.follow(&browser, &format!(".questions a[href='/questions/{kind}']")).await;
        browser.until("document.querySelector('form.answer')").await;
        for part in *parts {
            hand.fill_in(&browser, part).await;
        }
        hand.send(&browser).await;
        browser.until_shown("#story", "Sent, and the service took it").await;
        hand.follow(&browser, ".back a").await;
        browser.until("document.querySelector('.questions')").await;
    }
    browser.until_shown("#list", "Nothing waits for you.").await;
    browser.assert_quiet().await;

    browser.open(&format!("{}/questions/simple", demo.url)).await;
    hand.follow(&browser, ".description a").await;
    browser.until("document.querySelectorAll('#told li').length === 10").await;
    let effects = browser.text("#done").await;
    for (kind, _, told) in answers {
        assert!(effects.contains(&format!("{kind} · {told}")), "{told}: {effects}");
    }
    assert_eq!(effects.lines().count(), 10, "each once: {effects}");
}

#[actix_web::test]
async fn a_mouse_answers_all_ten_and_the_handlers_get_them_typed() {
    if !has_time("ten answers by mouse") {
        return;
    }
    answer_all("ten-by-mouse", Hand::Mouse, &BY_MOUSE).await;
}

#[actix_web::test]
async fn a_keyboard_alone_answers_all_ten_and_the_handlers_get_them_typed() {
    answer_all("ten-by-keyboard", Hand::Keyboard, &BY_KEYBOARD).await;
}

#[actix_web::test]
async fn the_same_answer_sent_again_has_no_second_effect() {
    let Some(browser) = Browser::start().await else { return };
    let demo = Demo::start("again");
    browser.open(&demo.url).await;
    browser.until("document.querySelector('.questions a[href=\"/questions/binary\"]')").await;
    browser.click(".questions a[href='/questions/binary']").await;
    browser.click(&radio("true")).await;
    browser.click("form.answer [type=submit]").await;
    let taken = |times: u32| {
        format!(
            "document.querySelector('#story')?.innerText.split('the service took it').length === {times} + 1"
        )
    };
    browser.until(&taken(1)).await;
    browser.click("form[action$='/again'] button").await;
    browser.until(&taken(2)).await;
    browser.click(".description a").await;
    browser.until_shown("#came", "binary · Replayed").await;
    assert_eq!(browser.text("#done").await, "binary · binary: true");
}
