//! Pictures of the pages, for whoever wants to see them: no test judges them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{accessible::SIZES, browser::Browser, desk::At, questions};

impl Browser {
    /// A picture of the whole page, as a PNG.
    async fn picture(&self) -> Vec<u8> {
        let size = self.command("Page.getLayoutMetrics", json!({})).await["cssContentSize"].take();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let wanted = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.command("Page.captureScreenshot", wanted).await;
        STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("Base64")
    }
}

/// Where they are left.
fn folder() -> PathBuf {
    let usual = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
    env::var_os("ATP_SCREENSHOTS").map_or_else(usual, PathBuf::from)
}

#[actix_web::test]
async fn each_page_has_its_picture() {
    let Some(browser) = Browser::start().await else { return };
    let at = At::start().await;
    for question in questions::all(&at.url("/")).iter().rev() {
        at.ask(question).await;
    }
    at.desk.answer("text", "text", &"It is on its way.").await.expect("it is answered");
    let folder = folder();
    fs::create_dir_all(&folder).expect("a folder");
    let (_, width, height) = SIZES[0];
    browser.resize(width, height).await;
    for (name, path, ready) in [
        ("inbox", "/", "document.querySelectorAll('.questions li').length === 9"),
        ("question", "/questions/form", "document.querySelector('form.answer')"),
        (
            "timeline",
            "/questions/text",
            "document.querySelector('#story').innerText.includes('the service took it')",
        ),
        ("settings", "/settings", "document.querySelector('#services')"),
    ] {
        browser.open(&at.url(path)).await;
        browser.until(ready).await;
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            for (size, width, height) in SIZES {
                browser.resize(width, height).await;
                let picture = browser.picture().await;
                let file = folder.join(format!("{name}-{scheme}-{size}.png"));
                fs::write(&file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
    }
    println!("pictures of the pages are in {}", folder.canonicalize().expect("a folder").display());
    at.stop().await;
}
