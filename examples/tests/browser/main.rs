//! A human at the desk, in a real browser: Chromium, driven by chromedriver.
//!
//! A machine without them skips, and says so; continuous integration must have them. Pictures of the
//! pages are left in `target/screenshots`, or where `ATP_SCREENSHOTS` says. `ATP_BROWSER=1` goes past
//! every page, in both colours and both sizes, and lets the mouse answer all that the keyboard does.

mod accessible;
mod axe;
mod browser;
mod demo;
mod desk;
mod keyboard;
mod mouse;
mod pages;
mod pictures;
#[path = "../../src/bin/demo/questions.rs"]
#[allow(dead_code, reason = "what the demo needs beside")]
mod questions;
mod shortcuts;
mod ten;
mod tour;

/// Whether there is time for all.
fn is_whole() -> bool {
    std::env::var_os("ATP_BROWSER").is_some()
}

/// Whether there is time for what takes long; says so if there is none.
fn has_time(what: &str) -> bool {
    if !is_whole() {
        eprintln!("SKIPPED: {what}, for which ATP_BROWSER=1 has time");
    }
    is_whole()
}
