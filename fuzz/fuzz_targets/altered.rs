//! What is read of a body is what its signed text says: whoever alters a body so that the digest
//! still fits changes nothing.
//!
//! A body is signed in a re-serialised scheme, and spelled anew in ways that most often keep its
//! canonical text: numbers, `null` where a number is too large, escapes, white space, repeated
//! members, the order of members. If the altered body verifies, its answer is compared, member by
//! member, with that of its signed text, which verifies by itself as a raw body.
#![no_main]

use atp_core::{Malformed, RawJson, Response, Scheme, Secret, Signature, Verified, Verifier, VerifyError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let body = if dice.one_in(4) { String::from_utf8_lossy(dice.rest(64)).into_owned() } else { dice.body() };
    let mut altered = body.clone();
    for _ in 0..1 + dice.below(3) {
        altered = dice.altered(&altered);
    }
    let verifier = Verifier::new(Secret::new("0123456789abcdef").expect("a secret"));
    for scheme in [Scheme::PythonCanonical, Scheme::NodeCompact] {
        for (sent, arrived) in [(&body, &altered), (&altered, &body)] {
            if let Ok(signature) = verifier.sign(scheme, sent.as_bytes()) {
                compare(&verifier, &signature, arrived);
            }
        }
    }
});

/// The answer of a body, if it verifies, beside that of the text that was signed.
fn compare(verifier: &Verifier, signature: &Signature, body: &str) {
    let verify = |verifier: &Verifier, body: &[u8]| -> Result<Verified, VerifyError> {
        verifier.verify([(Signature::HEADER, signature.to_string())], body.to_vec())
    };
    let keeping = verifier.clone().any_age();
    let Ok(verified) = verify(&keeping, body.as_bytes()) else { return };
    let (text, signed_at) = (verified.signed_text().clone(), verified.signed_at());
    if is_of_timestamped_form(&text) {
        assert!(verified.decode().is_err(), "{text:?} is no answer");
        return;
    }
    let itself = verify(&keeping, &text).expect("what was signed verifies");
    assert_eq!(itself.signed_text(), &text);
    let seen_at = itself.signed_at();
    let (read, expected) = (verified.decode(), itself.decode());
    if read.as_ref().is_err_and(is_of_the_body) {
        return;
    }
    assert_eq!((told(&read), signed_at), (told(&expected), seen_at), "{body} of {text:?}");
    // Nor is one in time that is not, or the other way round.
    let (one, other) = (verify(verifier, body.as_bytes()), verify(verifier, &text));
    assert_eq!(one.is_ok(), other.is_ok(), "{body} of {text:?}: {one:?}, {other:?}");
}

/// A bare digest over what the timestamped scheme signs is refused, and no answer begins like that.
fn is_of_timestamped_form(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && text.get(digits) == Some(&b'.')
}

/// What only a body can be refused for: what its text no longer shows.
fn is_of_the_body(malformed: &Malformed) -> bool {
    let text = malformed.to_string();
    text.contains("there twice") || text.contains("nested deeper")
}

/// All that can be seen of an answer. Of what is no answer, nothing but that: `Infinity` has two
/// words for its fault.
fn told(read: &Result<Response, Malformed>) -> Option<String> {
    let answer = read.as_ref().ok()?;
    let json =
        |json: &RawJson| (json.as_str().to_owned(), json.is_null(), json.parse::<serde_json::Value>().ok());
    let other: Vec<_> = answer.other.iter().map(|(name, value)| (name, json(value))).collect();
    Some(format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        (&answer.notification_id, &answer.action_id, answer.fingerprint(), answer.time()),
        answer.response_data.as_ref().map(json),
        answer.timestamp.as_ref().map(|time| (time.as_str(), time.time())),
        answer.responded_at.as_ref().map(|time| (time.as_str(), time.time())),
        answer.responder.as_ref().map(|by| (&by.id, &by.kind, json(&by.json))),
        other,
    ))
}

/// Choices, from the bytes that the fuzzer gives; zeros at their end.
struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 1
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// All but the last bytes.
    fn rest(&mut self, kept: usize) -> &'a [u8] {
        let (rest, last) = self.0.split_at(self.0.len().saturating_sub(kept));
        self.0 = last;
        rest
    }

    /// What is nearly an answer.
    fn body(&mut self) -> String {
        let count = self.below(8);
        let extra: Vec<String> =
            (0..count).map(|_| format!("\"{}\":{}", self.of(NAMES), self.value(0))).collect();
        let usual = [r#""notification_id":"n""#.to_owned(), r#""action_id":"a""#.to_owned()];
        let members: Vec<String> =
            if self.one_in(8) { extra } else { usual.into_iter().chain(extra).collect() };
        format!("{{{}}}", members.join(","))
    }

    fn value(&mut self, depth: usize) -> String {
        match self.below(if depth < 3 { 8 } else { 5 }) {
            5 => format!("[{},{}]", self.value(depth + 1), self.value(depth + 1)),
            6 => format!(r#"{{"id":{},"type":{}}}"#, self.value(depth + 1), self.value(depth + 1)),
            7 => format!(r#"{{"{}":{}}}"#, self.of(NAMES), self.value(depth + 1)),
            _ => self.of(VALUES).to_owned(),
        }
    }

    fn altered(&mut self, body: &str) -> String {
        match self.below(8) {
            0 => self.reordered(body),
            1 => {
                // Before the member that it repeats, if there is one: that one counts.
                let member = format!("{{\"{}\":{},", self.of(NAMES), self.value(2));
                body.replacen('{', &member, 1)
            }
            _ => self.respelt(body),
        }
    }

    /// The members of the root in another order.
    fn reordered(&mut self, body: &str) -> String {
        let Some(inner) = body.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            return body.to_owned();
        };
        let (mut members, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
        for char in inner.chars() {
            match char {
                '"' if !escaped => quoted = !quoted,
                '{' | '[' if !quoted => depth += 1,
                '}' | ']' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    members.push(String::new());
                    continue;
                }
                _ => {}
            }
            escaped = char == '\\' && !escaped;
            members.last_mut().expect("one").push(char);
        }
        let (one, other) = (self.below(members.len()), self.below(members.len()));
        members.swap(one, other);
        format!("{{{}}}", members.join(","))
    }

    /// The same tokens in other words.
    fn respelt(&mut self, body: &str) -> String {
        let (mut out, mut rest) = (String::new(), body);
        while let Some(char) = rest.chars().next() {
            let is_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
            if char == '"' {
                let mut escaped = false;
                let end = rest.bytes().skip(1).position(|byte| {
                    let ends = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    ends
                });
                let (string, after) = rest.split_at(end.map_or(rest.len(), |end| end + 2));
                out.push_str(&self.string(string));
                rest = after;
            } else if is_number(char as u8) && char.is_ascii() {
                let len = rest.bytes().take_while(|byte| is_number(*byte)).count();
                out.push_str(&self.number(&rest[..len]));
                rest = &rest[len..];
            } else if let Some(after) = rest.strip_prefix("null") {
                out.push_str(self.of(&["null", "1e999", "-1e999", "1e400"]));
                rest = after;
            } else {
                out.push(char);
                if char.is_ascii_punctuation() {
                    out.push_str(self.of(&["", "", "", " ", "\n\t", "\r"]));
                }
                rest = &rest[char.len_utf8()..];
            }
        }
        out
    }

    fn string(&mut self, source: &str) -> String {
        let mut out = String::new();
        let mut chars = source.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some('/') => out.push('/'),
                    Some('u') if self.one_in(3) => {
                        out.push_str("\\u");
                        let digits: String = chars.by_ref().take(4).collect();
                        out.push_str(&digits.to_uppercase());
                    }
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                },
                '/' if self.one_in(2) => out.push_str("\\/"),
                '"' => out.push(char),
                _ if self.one_in(4) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => out.push(char),
            }
        }
        out
    }

    fn number(&mut self, source: &str) -> String {
        let (decimal, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
        let exponent: i64 = exponent.parse().unwrap_or_default();
        match self.below(8) {
            0 => "null".to_owned(),
            1 if decimal.contains('.') => format!("{decimal}0e{exponent}"),
            1 | 2 if !decimal.contains('.') => format!("{decimal}.0e{exponent}"),
            3 if !decimal.contains('.') => format!("{decimal}0E{}", exponent - 1),
            4 => format!("{decimal}e+{exponent}"),
            5 if decimal.starts_with('-') => decimal[1..].to_owned(),
            6 => "1e999".to_owned(),
            _ => source.to_owned(),
        }
    }
}

const NAMES: &[&str] = &[
    "timestamp",
    "responded_at",
    "responder",
    "response_data",
    "notification_id",
    "action_id",
    "x",
    "7",
    "\\u0078",
    "é",
    "\\ud800",
    "id",
    "type",
];

const VALUES: &[&str] = &[
    "null",
    "1e999",
    "-1e999",
    "0",
    "-0",
    "-0.0",
    "1",
    "1.0",
    "100",
    "1e2",
    "9007199254740992",
    "9007199254740993",
    "1e23",
    "true",
    "\"\"",
    "\"human\"",
    "\"agent\"",
    "\"2025-05-25T10:35:12Z\"",
    "\"2020-01-01T00:00:00+02:00\"",
    "\"a/b\"",
    "\"\\ud83d\"",
    "\"😀\"",
    "[]",
    "{}",
];
