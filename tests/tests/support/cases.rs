//! Reads the conformance cases of `tests/conformance`.

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A file or folder below `tests/conformance`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name)
}

/// The rows of a JSON Lines file.
pub(crate) fn rows<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let row = |(line, text)| {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}:{}: {error}", line + 1))
    };
    text.lines().enumerate().map(row).collect()
}

/// Decodes a member that holds Base64, if it is there and not null.
pub(crate) fn base64(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|text| STANDARD.decode(text).expect("Base64"))
}
