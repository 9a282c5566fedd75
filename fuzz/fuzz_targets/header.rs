//! No header panics, and what is parsed prints as text that parses to the same.
#![no_main]

use atp_core::Signature;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    if let Ok(signature) = Signature::parse(value) {
        let text = signature.to_string();
        let again = Signature::parse(text.as_bytes()).expect("what was printed parses");
        assert!(again == signature && again.to_string() == text);
    }
});
