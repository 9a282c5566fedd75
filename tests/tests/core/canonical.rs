//! The canonical texts are those of the real CPython and the real V8.

use std::collections::BTreeSet;

use atp_core::canonical;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::support::cases;

/// Rows whose bodies are no RFC 8259 JSON are refused, whatever the two languages make of them; all
/// others give the text, byte for byte. A row that hangs on stack sizes must only not crash.
fn conform(file: &str) -> (usize, usize, usize) {
    let (mut equal, mut refused, mut not_asserted) = (0, 0, 0);
    let mut wrong = BTreeSet::new();
    for row in cases::rows::<Value>(file) {
        let body = cases::base64(&row["body_b64"]).expect("a body");
        let ours = [canonical::python(&body), canonical::node(&body)];
        if row["env_dependent"] == true {
            not_asserted += 1;
            continue;
        }
        let theirs = ["python_canonical_b64", "node_canonical_b64"].map(|member| cases::base64(&row[member]));
        let is_json = is_rfc_8259(&body);
        if is_json {
            equal += 1
        } else {
            refused += 1
        }
        for (language, (ours, theirs)) in ["python", "node"].into_iter().zip(ours.into_iter().zip(theirs)) {
            let theirs = theirs.filter(|_| is_json);
            if ours.as_ref().ok().map(String::as_bytes) != theirs.as_deref() {
                let theirs = theirs.map(|text: Vec<u8>| {
                    String::from_utf8_lossy(&text).chars().take(200).collect::<String>()
                });
                wrong.insert(format!("{} {language}: {ours:.200?} instead of {theirs:?}", row["id"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    (equal, refused, not_asserted)
}

/// Judged without our own index. `IgnoredAny` takes any depth, and lone surrogates as the grammar
/// does.
pub(crate) fn is_rfc_8259(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut json = serde_json::Deserializer::from_str(text);
    let grammar = IgnoredAny::deserialize(&mut json).is_ok();
    grammar && json.end().is_ok()
}

#[test]
fn canonical_rows_are_byte_for_byte_those_of_cpython_and_v8() {
    let (equal, refused, not_asserted) = conform("canonical.jsonl");
    println!(
        "canonical.jsonl: {equal} equal, {refused} not RFC 8259 and refused, {not_asserted} only not crashing"
    );
    assert_eq!(equal + refused + not_asserted, 914);
}

#[test]
fn json_test_suite_rows_are_byte_for_byte_those_of_cpython_and_v8() {
    let (equal, refused, not_asserted) = conform("external/jsontestsuite/expected.jsonl");
    println!(
        "JSONTestSuite: {equal} equal, {refused} not RFC 8259 and refused, {not_asserted} only not crashing"
    );
    assert_eq!(equal + refused + not_asserted, 318 + 22);
}

#[test]
fn jcs_samples_are_byte_for_byte_those_of_cpython_and_v8() {
    assert_eq!(conform("external/jcs/expected.jsonl"), (6, 0, 0));
}

/// What the random bodies of `differential` have found, kept.
#[test]
fn cases_that_were_once_wrong() {
    let long = "7".repeat(4301);
    let cases = [
        // Two shortest texts are equally near: the even one.
        ("1928433223466267.25", Some("1928433223466267.2"), Some("1928433223466267.2")),
        ("5e-324", Some("5e-324"), Some("5e-324")),
        ("-0.0", Some("-0.0"), Some("0")),
        // CPython reads a value that a later member replaces, and may refuse it.
        (&format!(r#"{{"a":{long},"a":1}}"#), None, Some(r#"{"a":1}"#)),
    ];
    for (body, python, node) in cases {
        assert_eq!(canonical::python(body.as_bytes()).ok().as_deref(), python, "{body:.60}");
        assert_eq!(canonical::node(body.as_bytes()).ok().as_deref(), node, "{body:.60}");
    }
}
