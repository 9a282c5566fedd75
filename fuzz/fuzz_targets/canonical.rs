//! No body panics, and a canonical text is its own canonical text.
#![no_main]

use atp_core::canonical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let (python, node) = (canonical::python(body), canonical::node(body));
    if let Ok(text) = &python {
        // `Infinity` is what CPython prints, and no JSON.
        assert!(canonical::python(text.as_bytes()).as_ref() == Ok(text) || text.contains("Infinity"));
    }
    if let Ok(text) = &node {
        assert_eq!(canonical::node(text.as_bytes()).as_ref(), Ok(text));
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    }
    assert!(node.is_ok() || python.is_err(), "CPython refuses more than V8");
});
