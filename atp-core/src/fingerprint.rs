//! What makes two answers the same.

use std::{borrow::Cow, fmt};

use hmac::{KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{
    constraint,
    json::{Index, Kind, Scalar, Token, scalars},
    response::{RawJson, Response},
    secret::HmacSha256,
};

/// What a human decided, and nothing of how it came: SHA-256 of a normal form of
/// `[action_id,response_data]`.
///
/// Times, responder, unknown members and scheme are not in it, so a delivery that comes again has
/// the same one, and so has an answer that is spelled in another way. Data that is missing is left
/// out of the list, which differs from `null`. The normal form is JSON without white space, in
/// UTF-8, so that another program can repeat it:
///
/// * Members stand in the order of the code points of their names; half of a surrogate pair counts
///   as the code point that it is.
/// * Strings are as V8's `JSON.stringify` prints them: `\"`, `\\`, `\b`, `\f`, `\n`, `\r` and `\t`;
///   four lower-case digits after `\u` for other characters below U+0020 and for half of a
///   surrogate pair; everything else as it is.
/// * Numbers are decimals, never rounded: `-` if negative, the digits without zeros at either end,
///   and `e` with the power of ten by which they are to be multiplied unless that is 0. So 1, 1.0
///   and 1e0 are `1`, 100 is `1e2`, 0.1 is `1e-1`, and 0.1000000000000000000001 is another number.
///   Zero is `0`; so is -0, which no human means to be different.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a choice and its data.
    #[must_use]
    pub fn new(action_id: &str, data: Option<&RawJson>) -> Self {
        Self(Sha256::digest(normal_form(action_id, data)).into())
    }

    /// HMAC-SHA256 of it under a key: as good a name for the same decision, by which nobody who
    /// lacks the key can find a short answer by trying all of them.
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

fn normal_form(action_id: &str, data: Option<&RawJson>) -> String {
    let mut out = String::with_capacity(action_id.len() + data.map_or(0, |data| data.as_str().len()) + 8);
    out.push('[');
    string(action_id.chars().map(Scalar::Char), &mut out);
    if let Some(data) = data {
        out.push(',');
        match Index::of_str(data.as_str()) {
            Ok(index) => value(&index, 0, &mut out),
            // The text was checked when the `RawJson` was made.
            Err(_) => out.push_str(data.as_str()),
        }
    }
    out.push(']');
    out
}

/// Appends a value. It is nested at most 128 deep, which `RawJson` holds.
fn value(index: &Index<'_>, token: Token, out: &mut String) {
    match index.kind(token) {
        Kind::Object => {
            out.push('{');
            // Each name is decoded once, however often it is compared.
            let mut members: Vec<(Cow<'_, [u8]>, Token)> =
                index.members(token).map(|member| (index.name(member), member)).collect();
            members.sort_unstable();
            for (nth, (_, member)) in members.into_iter().enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                value(index, member, out);
                out.push(':');
                value(index, member + 1, out);
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (nth, element) in index.elements(token).enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                value(index, element, out);
            }
            out.push(']');
        }
        Kind::String(spelling) if spelling.is_canonical() => out.push_str(index.raw(token)),
        Kind::String(_) => string(scalars(index.inner(token)), out),
        Kind::Integer | Kind::Float => out.push_str(&constraint::normal(index.raw(token))),
        Kind::True | Kind::False | Kind::Null | Kind::Close => out.push_str(index.raw(token)),
    }
}

/// Appends a string as V8 prints it.
fn string(scalars: impl Iterator<Item = Scalar>, out: &mut String) {
    out.push('"');
    for scalar in scalars {
        match scalar {
            Scalar::Char('"') => out.push_str("\\\""),
            Scalar::Char('\\') => out.push_str("\\\\"),
            Scalar::Char('\u{8}') => out.push_str("\\b"),
            Scalar::Char('\u{c}') => out.push_str("\\f"),
            Scalar::Char('\n') => out.push_str("\\n"),
            Scalar::Char('\r') => out.push_str("\\r"),
            Scalar::Char('\t') => out.push_str("\\t"),
            Scalar::Char(char @ ..' ') => escape(u32::from(char), out),
            Scalar::Char(char) => out.push(char),
            Scalar::Lone(unit) => escape(u32::from(unit), out),
        }
    }
    out.push('"');
}

/// Appends `\u` and four lower-case digits.
fn escape(unit: u32, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from_digit(unit >> shift & 0xf, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(json: &str) -> RawJson {
        RawJson::new(json.to_owned()).unwrap()
    }

    fn of(json: &str) -> Fingerprint {
        Fingerprint::new("a", Some(&data(json)))
    }

    #[test]
    fn its_normal_form_can_be_repeated_elsewhere() {
        for (json, normal, digest) in [
            (
                r#"{"c":"\u00e9\/", "b":[1.0, 100, -0.00120e+1, -0, true, null]}"#,
                r#"["a",{"b":[1,1e2,-12e-3,0,true,null],"c":"é/"}]"#,
                "9558b7c6c485b53a32bb84da52a7f7763c5ab659f01baebbe1ada3244dcfdf5a",
            ),
            (
                r#"{"\uffff":1e99999999999999999999, "\ud83d\ude00":"\ud83d\u001f\u007f\n\"", "": 0.1000000000000000000001}"#,
                "[\"a\",{\"\":1000000000000000000001e-22,\"\u{ffff}\":1e99999999999999999999,\"😀\":\"\\ud83d\\u001f\u{7f}\\n\\\"\"}]",
                "9bbaeecd50a50efee3a3a5abfa0e69003637380cc5b5e2e5849f147aeac39c44",
            ),
        ] {
            assert_eq!(normal_form("a", Some(&data(json))), normal);
            assert_eq!(of(json).to_string(), digest, "{json}");
        }
        assert_eq!(normal_form("\"\n", None), r#"["\"\n"]"#);
    }

    #[test]
    fn it_is_that_of_the_action_and_the_data_alone() {
        for (one, other, same) in [
            (r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, true),
            (r#""\u00e9""#, r#""é""#, true),
            (r#""\\ud800""#, r#""\ud800""#, false),
            (r#""\ud800""#, r#""\ud801""#, false),
            (r#""\ud800""#, r#""\ufffd""#, false),
            (r#"{"\ud800":1}"#, r#"{"\ud801":1}"#, false),
            ("1", "1.0", true),
            ("1", "1e0", true),
            ("0", "-0.0", true),
            ("1", "-1", false),
            ("12", "1.2", false),
            ("12", "120", false),
            ("0.1", "0.1000000000000000000001", false),
            ("0.1", "0.10000", true),
            ("9007199254740992", "9007199254740993", false),
            ("1e400", "1e401", false),
            ("1e99999999999999999999", "1e99999999999999999998", false),
            ("10e99999999999999999998", "1e99999999999999999999", true),
            ("1e-400", "0", false),
            ("null", "false", false),
            ("[1,2]", "[2,1]", false),
            ("[[1],2]", "[1,[2]]", false),
            (r#""1""#, "1", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
        assert_ne!(of("null"), Fingerprint::new("a", None));
        assert_ne!(of("null"), Fingerprint::new("b", Some(&data("null"))));
        let long = "9".repeat(5000);
        assert_eq!(of(&long), of(&long));
        assert_ne!(of(&long), of(&"8".repeat(5000)));
    }

    /// Linear in the source: what would be expanded would not end.
    #[test]
    fn a_number_of_any_length_is_told_from_its_neighbours() {
        let digits = "123456789".repeat(100_000);
        let exponent = "9".repeat(100_000);
        for (one, other) in [
            (format!("{digits}.5"), format!("{digits}.50000000000000000000000001")),
            (format!("1e{exponent}"), format!("10e{exponent}")),
            (format!("1e-{exponent}"), format!("0.1e-{exponent}")),
        ] {
            assert_ne!(of(&one), of(&other), "{one:.20}");
        }
        assert_eq!(of(&format!("{digits}e{exponent}")), of(&format!("{digits}.0E+{exponent}")));
    }
}
