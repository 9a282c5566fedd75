//! What axe-core finds on a page that would keep somebody from using it: nothing.

use std::{env, fs, path::Path};

use serde_json::json;

use crate::browser::Browser;

/// Says what is wrong on the page, each fault with the elements that have it.
const RUN: &str = "const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations.map((fault) => ({
        rule: fault.id, help: fault.help, at: fault.nodes.map((node) => node.html + ' ' + node.failureSummary),
    }))), (error) => done([String(error)]));";

/// The text of axe-core.
pub struct Axe(String);

impl Axe {
    /// Reads it. A machine without it skips, and says so; continuous integration must not.
    pub fn read() -> Option<Self> {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../node/node_modules/axe-core/axe.min.js");
        if let Ok(text) = fs::read_to_string(&file) {
            return Some(Self(text));
        }
        let missing = "axe-core is not in target/node: `.ci/run` says how to install it";
        assert!(env::var_os("CI").is_none(), "{missing}, and CI must not skip what it proves");
        eprintln!("SKIPPED: {missing}, so no page was searched for what keeps people out");
        None
    }

    /// Searches the page as it stands.
    pub async fn assert_finds_nothing(&self, browser: &Browser, place: &str) {
        browser.client.execute(&self.0, Vec::new()).await.expect("axe-core runs");
        let found = browser.client.execute_async(RUN, Vec::new()).await.expect("axe-core answers");
        assert_eq!(found, json!([]), "{place}: {}", serde_json::to_string_pretty(&found).unwrap_or_default());
    }
}
