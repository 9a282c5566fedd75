//! Whoever comes can use every page: in both colours, on a wide screen and on a phone.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    axe::Axe,
    browser::Browser,
    demo::Demo,
    is_whole,
    tour::{at_a_busy_desk, every_page},
};

/// A screen, and a small phone.
pub const SIZES: [(&str, u32, u32); 2] = [("desktop", 1280, 900), ("phone", 360, 740)];

/// What a page looks like: its colours and its size. Two of them show every colour and every size.
fn looks() -> Vec<(&'static str, u32, u32)> {
    let [(_, wide, high), (_, narrow, tall)] = SIZES;
    let mut looks = vec![("light", wide, high), ("dark", narrow, tall)];
    if is_whole() {
        looks.extend([("dark", wide, high), ("light", narrow, tall)]);
    }
    looks
}

#[actix_web::test]
async fn no_page_has_what_keeps_somebody_out() {
    let Some(axe) = Axe::read() else { return };
    let Some(browser) = Browser::start().await else { return };
    let at = at_a_busy_desk().await;
    let mut count = 0;
    every_page(&browser, &at, async |name| {
        for (scheme, width, height) in looks() {
            browser.prefer(scheme).await;
            browser.resize(width, height).await;
            axe.assert_finds_nothing(&browser, &format!("{name}, {scheme}, {width} wide")).await;
            count += 1;
        }
    })
    .await;
    println!("{count} looks at pages: 0 violations");
    browser.assert_quiet().await;
    at.stop().await;
}

#[actix_web::test]
async fn nor_has_the_page_of_the_service_in_the_demo() {
    let Some(axe) = Axe::read() else { return };
    let Some(browser) = Browser::start().await else { return };
    let demo = Demo::start("accessible");
    browser.open(&demo.url).await;
    browser.until("document.querySelector('.questions a')").await;
    browser.click(".questions a").await;
    browser.click(".description a").await;
    browser.until("document.querySelector('#done')").await;
    axe.assert_finds_nothing(&browser, "the page of the service").await;
    browser.assert_quiet().await;
}

#[actix_web::test]
async fn no_page_is_wider_than_a_phone_or_asks_elsewhere_for_anything() {
    let Some(browser) = Browser::start().await else { return };
    let at = at_a_busy_desk().await;
    browser.resize(360, 740).await;
    let mut hosts = BTreeSet::new();
    every_page(&browser, &at, async |name| {
        let width = browser.value("[document.documentElement.scrollWidth, innerWidth]").await;
        assert_eq!(width[1], 360, "{name}");
        assert!(width[0].as_u64() <= Some(360), "{name}: {width}");
        hosts.insert(host(browser.value("location.host").await));
    })
    .await;
    assert_eq!(asked_for(&browser).await, hosts);
    browser.assert_quiet().await;
    at.stop().await;
}

fn host(value: Value) -> String {
    value.as_str().expect("a host").to_owned()
}

/// From where the pages wanted something; what is no address of a host stands as it is. Chromium
/// begins with a page of its own, which does not count.
async fn asked_for(browser: &Browser) -> BTreeSet<String> {
    let events = browser.events().await;
    let requests = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
    let requests = requests.map(|event| &event["params"]);
    let of_pages = requests
        .filter(|request| !request["documentURL"].as_str().is_some_and(|url| url.starts_with("chrome:")));
    let urls = of_pages.map(|request| request["request"]["url"].as_str().expect("a URL"));
    urls.map(|url| url.split('/').nth(2).unwrap_or(url).to_owned()).collect()
}

#[actix_web::test]
async fn tab_comes_by_all_that_can_be_used_and_one_sees_where_one_is() {
    let Some(browser) = Browser::start().await else { return };
    let at = at_a_busy_desk().await;
    // What a hand can use. Of radio buttons Tab comes by one of each group.
    let usable = "[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('a[href], button, input, textarea, select, summary, [tabindex=\"0\"]')]
        .filter((one) => one.checkVisibility() && !one.disabled && one.type !== 'hidden' && one.type !== 'radio')";
    let left = format!("{usable}.filter((one) => !one.wasHere).map((one) => one.outerHTML)");
    every_page(&browser, &at, async |name| {
        let is_left = async || browser.value(&left).await != Value::Array(Vec::new());
        let mut tabs = 0;
        while is_left().await && tabs < 120 {
            browser.tab().await;
            browser.value("document.activeElement.wasHere = true").await;
            tabs += 1;
        }
        assert_eq!(browser.value(&left).await, Value::Array(Vec::new()), "{name}");
    })
    .await;
    at.stop().await;
}
