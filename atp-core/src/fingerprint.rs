//! What makes two answers the same.

use std::fmt;

use hmac::{KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{
    canonical,
    response::{RawJson, Response},
    secret::HmacSha256,
};

/// What a human decided, and nothing of how it came: SHA-256 of the text that CPython prints for
/// `[action_id, response_data]`.
///
/// Times, responder, unknown members and scheme are not in it, so a delivery that comes again has the same one. Data that is
/// missing is left out of the list, which differs from `null`. Numbers count as the sender's language spelled them: `100` and
/// `100.0` differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a choice and its data.
    #[must_use]
    pub fn new(action_id: &str, data: Option<&RawJson>) -> Self {
        let action = serde_json::Value::from(action_id);
        let list = data.map_or_else(|| format!("[{action}]"), |data| format!("[{action},{}]", data.as_str()));
        // CPython prints no integer of more than 4,300 digits; such data counts as it was signed.
        let text = canonical::python(list.as_bytes()).unwrap_or(list);
        Self(Sha256::digest(text).into())
    }

    /// HMAC-SHA256 of it under a key: as good a name for the same decision, by which nobody who lacks the key can find a
    /// short answer by trying all of them.
    #[must_use]
    pub fn keyed(&self, key: &[u8; 32]) -> Self {
        // A key of 32 bytes is one of any length that HMAC takes, so this never falls back.
        let hash = HmacSha256::new_from_slice(key).map(|hash| hash.chain_update(self.0).finalize());
        hash.map_or(*self, |digest| Self(digest.into_bytes().into()))
    }

    /// From its 32 bytes, as a store kept them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Response {
    /// What was decided, as a number that only the same decision has.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(&self.action_id, self.response_data.as_ref())
    }
}

/// In lower-case hexadecimal.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_action_and_the_data_alone() {
        let data = |json: &str| RawJson::new(json.to_owned()).unwrap();
        let of = |json: &str| Fingerprint::new("a", Some(&data(json)));
        // hashlib.sha256(json.dumps(["a", {"b": 1, "c": "é"}], sort_keys=True).encode()).hexdigest()
        assert_eq!(
            of(r#"{"c":"é", "b":1}"#).to_string(),
            "ffcfb7e06a881d76f8f64c3c7923948cdf55245d5a8ce962ca345a66c79a3732"
        );
        for (one, other, same) in [
            (r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, true),
            (r#""\u00e9""#, r#""é""#, true),
            ("1", "1.0", false),
            ("null", "false", false),
            ("[1,2]", "[2,1]", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
        assert_ne!(of("null"), Fingerprint::new("a", None));
        assert_ne!(of("null"), Fingerprint::new("b", Some(&data("null"))));
        let long = "9".repeat(5000);
        assert_eq!(of(&long), of(&long));
        assert_ne!(of(&long), of(&"8".repeat(5000)));
    }
}
