//! Wire types of the answer, read from text that was signed.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::Bytes;
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer, de::DeserializeOwned};

use crate::{
    canonical::Printed,
    json::{self, Index, Kind, NotJson, Token},
    limits,
    time::Timestamp,
};

/// A human's answer, as an ATP server delivered it (protocol, section 1).
///
/// There is no public way to make one but from [`Verified`](crate::Verified): an answer that exists
/// was signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// The question that is answered. Never empty.
    pub notification_id: String,
    /// The action that was chosen. Never empty.
    pub action_id: String,
    /// What came with it. `None` if the member is missing; JSON `null` is a value.
    pub response_data: Option<RawJson>,
    /// The guide's `timestamp`.
    pub timestamp: Option<Timestamp>,
    /// The reference's `responded_at`.
    pub responded_at: Option<Timestamp>,
    /// Who answered; the guide's payload does not say.
    pub responder: Option<Responder>,
    /// Members that the protocol does not name, in the order of the signed text.
    pub other: Vec<(String, RawJson)>,
}

/// Who answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Responder {
    /// Its identifier at the ATP server.
    pub id: String,
    /// A human or not.
    pub kind: ResponderKind,
    /// The whole member as it was signed, with whatever else it holds.
    pub json: RawJson,
}

impl Responder {
    /// Whether the ATP server says that a human answered.
    #[must_use]
    pub fn is_human(&self) -> bool {
        self.kind == ResponderKind::Human
    }
}

/// `responder.type`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponderKind {
    /// `human`.
    Human,
    /// `agent`.
    Agent,
    /// A type that the protocol does not name. It is not a human.
    Other(String),
}

/// JSON text that was signed, or that was checked as strictly: UTF-8, no member twice, at most
/// [`limits::DEPTH`] deep.
///
/// Numbers are the text that they were until a type asks for them, so nothing is rounded on the
/// way. `Debug` shows the length alone: answers do not belong in logs.
///
/// ```
/// use atp_core::RawJson;
///
/// let data = RawJson::new(r#"{"amount": 9007199254740993}"#)?;
/// assert_eq!(data.as_str(), r#"{"amount": 9007199254740993}"#);
/// #[derive(serde::Deserialize)]
/// struct Order { amount: u64 }
/// assert_eq!(data.parse::<Order>()?.amount, 9_007_199_254_740_993);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RawJson {
    text: ByteString,
    lone_surrogates: bool,
}

impl RawJson {
    /// Takes JSON text and checks it.
    pub fn new(text: impl Into<Bytes>) -> Result<Self, Malformed> {
        let text = json::utf8(text.into())?;
        let index = Index::of_str(&text)?;
        check(&index)?;
        let lone_surrogates = index.lone_surrogates;
        Ok(Self { text, lone_surrogates })
    }

    /// The text, as it was signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes of [`RawJson::as_str`]; a clone shares them.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.text.trim_ascii() == "null"
    }

    /// Reads a value of any type. Half of a surrogate pair (a cut emoji) is read as U+FFFD.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.readable())
    }

    /// The text for parsers that refuse lone surrogates.
    pub(crate) fn readable(&self) -> Cow<'_, str> {
        if self.lone_surrogates {
            Cow::Owned(json::without_lone_surrogates(self.as_str()))
        } else {
            Cow::Borrowed(self.as_str())
        }
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.text.len())
    }
}

/// Writes the value itself, its numbers digit for digit. Exact with `serde_json` only, like its
/// `RawValue`.
impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.readable();
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(&text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Why a signed text is no answer: where (a JSON Pointer and a byte), and what. Values are never in
/// it, member names may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at `{}`, byte {offset}", json::printable(pointer))]
pub struct Malformed {
    fault: Cow<'static, str>,
    pointer: String,
    offset: usize,
    is_signed: bool,
}

impl Malformed {
    /// Whether what is wrong was signed. If not, the text that was signed may well be an answer:
    /// anybody who has seen it can spell a body that is none, by a member that a later one of its
    /// name replaces.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// The place as a JSON Pointer (RFC 6901); empty for the whole text.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The byte of the signed text, from 0. Of the body as it came, for a member that is there
    /// twice and for nesting that is too deep: these two are judged there, since a canonical text
    /// resolves repeated members, and all that they can do is refuse.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl From<NotJson> for Malformed {
    fn from(error: NotJson) -> Self {
        malformed(error.fault, error.pointer, error.offset)
    }
}

/// What the index alone cannot refuse: a repeated member, and nesting beyond [`limits::DEPTH`].
pub(crate) fn check(index: &Index<'_>) -> Result<(), Malformed> {
    check_depth(index)?;
    match index.duplicate() {
        Some(name) => fail(index, name, name + 1, "a member that is there twice"),
        None => Ok(()),
    }
}

fn check_depth(index: &Index<'_>) -> Result<(), Malformed> {
    const { assert!(limits::DEPTH == 128, "the text below says so") };
    index.too_deep.map_or(Ok(()), |token| fail(index, token, token, "nested deeper than 128"))
}

/// What is wrong with the value of `place`, seen at `token`.
fn fail<T>(index: &Index<'_>, token: Token, place: Token, fault: &'static str) -> Result<T, Malformed> {
    Err(malformed(fault, index.pointer(place), index.span(token).start))
}

impl Response {
    /// Reads a body that was signed as it is.
    pub(crate) fn of_body(text: &Bytes) -> Result<Self, Malformed> {
        let text = json::utf8(text.clone())?;
        let index = Index::of_str(&text)?;
        check(&index)?;
        let root = index.span(0);
        let members = index.members(0).map(|name| Place {
            name: index.text(name),
            value: index.span(name + 1),
            indexed: Some((&index, name + 1)),
        });
        Signed { text: &text, lone_surrogates: index.lone_surrogates }.read(root.start, members)
    }

    /// Reads a canonical text. Only what can refuse it is judged on the body that it was printed
    /// from: its depth, and repeated members, which the printer has resolved. Whether there are
    /// lone surrogates is known from there too; the text has no string that the body lacks.
    pub(crate) fn of_printed(body: Index<'_>, printed: Printed) -> (Bytes, Result<Self, Malformed>) {
        let text = ByteString::from(printed.text);
        let unsigned = |fault| Malformed { is_signed: false, ..fault };
        let checked = if printed.repeats { check(&body).map_err(unsigned) } else { check_depth(&body) };
        let checked = checked.and_then(|()| match printed.infinity {
            Some((token, offset)) => {
                Err(malformed("`Infinity`, which is not JSON", body.pointer(token), offset))
            }
            None => Ok(body.lone_surrogates),
        });
        // What is read next takes as much room as this.
        drop(body);
        let answer = checked.and_then(|lone_surrogates| {
            let signed = Signed { text: &text, lone_surrogates };
            let place = |(name, value)| {
                let name = json::string(signed.slice(&name)).unwrap_or_default();
                Place { name, value, indexed: None }
            };
            signed.read(0, printed.members.into_iter().map(place))
        });
        (text.into_bytes(), answer)
    }

    /// The time that a freshness check goes by: `timestamp`, else `responded_at`; `None` if the one
    /// that is there cannot be read.
    #[must_use]
    pub fn time(&self) -> Option<DateTime<Utc>> {
        self.timestamp.as_ref().or(self.responded_at.as_ref())?.time()
    }
}

/// Where a member is in a signed text.
struct Place<'i> {
    name: Cow<'i, str>,
    value: Range<usize>,
    /// The value in an index of the signed text, if there is one. A canonical text has none: it was
    /// printed from that of the body.
    indexed: Option<(&'i Index<'i>, Token)>,
}

/// A text that was signed. All that an answer holds is read from here, so that nothing that a body
/// says beside it counts.
struct Signed<'t> {
    text: &'t ByteString,
    lone_surrogates: bool,
}

impl Signed<'_> {
    /// Reads the members of the root, which starts at `root`: where their names are, and where
    /// their values are.
    fn read<'i>(&self, root: usize, members: impl Iterator<Item = Place<'i>>) -> Result<Response, Malformed> {
        if !self.text.get(root..).unwrap_or_default().starts_with('{') {
            return Err(malformed("expected an object", String::new(), root));
        }
        let (mut notification_id, mut action_id, mut response_data) = (None, None, None);
        let (mut timestamp, mut responded_at, mut responder, mut other) = (None, None, None, Vec::new());
        for place in members {
            let member = Member { signed: self, place };
            match &*member.place.name {
                "notification_id" => {
                    let id = member.identifier()?;
                    const { assert!(limits::NOTIFICATION_ID == 1000, "the text below says so") };
                    if id.len() > limits::NOTIFICATION_ID {
                        return member.fail("more than 1,000 bytes");
                    }
                    notification_id = Some(id);
                }
                "action_id" => action_id = Some(member.identifier()?),
                "response_data" => response_data = Some(member.raw()),
                "timestamp" => timestamp = member.time(),
                "responded_at" => responded_at = member.time(),
                "responder" => responder = member.responder()?,
                name => other.push((name.to_owned(), member.raw())),
            }
        }
        let missing = |fault| malformed(fault, String::new(), 0);
        Ok(Response {
            notification_id: notification_id
                .ok_or_else(|| missing("the member `notification_id` is missing"))?,
            action_id: action_id.ok_or_else(|| missing("the member `action_id` is missing"))?,
            response_data,
            timestamp,
            responded_at,
            responder,
            other,
        })
    }

    fn slice(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

/// A member of a signed text.
struct Member<'a> {
    signed: &'a Signed<'a>,
    place: Place<'a>,
}

impl Member<'_> {
    fn fail<T>(&self, fault: &'static str) -> Result<T, Malformed> {
        Err(malformed(fault, format!("/{}", json::pointer_step(&self.place.name)), self.place.value.start))
    }

    fn text(&self) -> &str {
        self.signed.slice(&self.place.value)
    }

    fn raw(&self) -> RawJson {
        let Signed { text, lone_surrogates } = *self.signed;
        RawJson { text: text.slice_ref(self.text()), lone_surrogates }
    }

    fn string(&self) -> Option<Cow<'_, str>> {
        match self.place.indexed {
            Some((index, token)) => index.string(token),
            None => json::string(self.text()),
        }
    }

    /// A string that names something.
    fn identifier(&self) -> Result<String, Malformed> {
        match self.string() {
            Some(text) if text.is_empty() => self.fail("an empty string"),
            Some(text) => Ok(text.into_owned()),
            None => self.fail("expected a string"),
        }
    }

    /// A time in whatever form; `null` is none.
    fn time(&self) -> Option<Timestamp> {
        match self.string() {
            Some(text) => Some(Timestamp::new(text.into_owned())),
            None if self.text() == "null" => None,
            None => Some(Timestamp::unreadable(self.text().to_owned())),
        }
    }

    /// `null` is nobody.
    fn responder(&self) -> Result<Option<Responder>, Malformed> {
        if self.text() == "null" {
            return Ok(None);
        }
        let made;
        let (index, root) = if let Some(indexed) = self.place.indexed {
            indexed
        } else {
            made = Index::of_str(self.text())?;
            (&made, 0)
        };
        if index.kind(root) != Kind::Object {
            return self.fail("expected an object");
        }
        let (mut id, mut kind) = (None, None);
        for name in index.members(root) {
            let string = || {
                index.string(name + 1).ok_or_else(|| {
                    let from_root = index.span(name + 1).start - index.span(root).start;
                    let pointer = format!("/{}/{}", self.place.name, index.text(name));
                    malformed("expected a string", pointer, self.place.value.start + from_root)
                })
            };
            match &*index.text(name) {
                "id" => id = Some(string()?.into_owned()),
                "type" => kind = Some(string()?),
                _ => {}
            }
        }
        let kind = match kind.as_deref() {
            Some("human") => ResponderKind::Human,
            Some("agent") => ResponderKind::Agent,
            Some(other) => ResponderKind::Other(other.to_owned()),
            None => return self.fail("the member `type` is missing"),
        };
        match id {
            Some(id) => Ok(Some(Responder { id, kind, json: self.raw() })),
            None => self.fail("the member `id` is missing"),
        }
    }
}

fn malformed(fault: &'static str, pointer: String, offset: usize) -> Malformed {
    Malformed { fault: Cow::Borrowed(fault), pointer, offset, is_signed: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scheme, Secret, Signature, Verified, Verifier, VerifyError};

    fn verifier() -> Verifier {
        let now = || "2025-05-25T10:36:00Z".parse().unwrap();
        Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef").unwrap()).clock(now)
    }

    /// All that can be seen of what was read.
    fn told(read: &Result<Response, Malformed>) -> String {
        let json = |json: &RawJson| format!("{} {:?}", json.as_str(), json.parse::<serde_json::Value>().ok());
        match read {
            Ok(answer) => format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                (&answer.notification_id, &answer.action_id),
                answer.response_data.as_ref().map(json),
                answer.timestamp.as_ref().map(|time| (time.as_str(), time.time())),
                answer.responded_at.as_ref().map(|time| (time.as_str(), time.time())),
                answer.time(),
                answer.responder.as_ref().map(|by| (&by.id, &by.kind, json(&by.json), by.is_human())),
                answer.other.iter().map(|(name, value)| (name, json(value))).collect::<Vec<_>>(),
                answer.fingerprint(),
                answer.response_data.as_ref().map(RawJson::is_null),
            ),
            Err(malformed) => format!("{malformed:?}"),
        }
    }

    fn verify(signature: &Signature, body: &str) -> Result<Verified, VerifyError> {
        let verifier = verifier().any_age();
        verifier.verify([(Signature::HEADER, signature.to_string())], Bytes::copy_from_slice(body.as_bytes()))
    }

    /// The body that was signed, another one whose signed text is the same, and the scheme. `@`
    /// stands for the usual members.
    const ALTERED: &[(Scheme, &str, &str)] = &[
        // What is too large for a double is signed as `null`.
        (
            Scheme::NodeCompact,
            r#"{@,"timestamp":null,"responded_at":"2020-01-01T00:00:00Z"}"#,
            r#"{@,"timestamp":1e999,"responded_at":"2020-01-01T00:00:00Z"}"#,
        ),
        (
            Scheme::NodeCompact,
            r#"{@,"timestamp":"2025-05-25T10:35:12Z","responded_at":null}"#,
            r#"{@,"timestamp":"2025-05-25T10:35:12Z","responded_at":-1e999}"#,
        ),
        (Scheme::NodeCompact, r#"{@,"responded_at":null}"#, r#"{@,"responded_at":1e999}"#),
        (Scheme::NodeCompact, r#"{@,"responder":null}"#, r#"{@,"responder":1e999}"#),
        (
            Scheme::NodeCompact,
            r#"{@,"responder":{"id":null,"type":"human"}}"#,
            r#"{@,"responder":{"id":1e999,"type":"human"}}"#,
        ),
        (
            Scheme::NodeCompact,
            r#"{@,"responder":{"id":"u","type":"agent","x":[null]}}"#,
            r#"{@,"responder": {"id":"\u0075" , "type":"\u0061gent","x":[1e999]}}"#,
        ),
        (
            Scheme::NodeCompact,
            r#"{"notification_id":null,"action_id":"a"}"#,
            r#"{"notification_id":1e999,"action_id":"a"}"#,
        ),
        (
            Scheme::NodeCompact,
            r#"{"notification_id":"n","action_id":null}"#,
            r#"{"notification_id":"n","action_id":1e999}"#,
        ),
        (
            Scheme::NodeCompact,
            r#"{"notification_id":"","action_id":"a"}"#,
            r#" { "notification_id" : "" , "action_id":"a"}"#,
        ),
        (Scheme::NodeCompact, "null", " 1e999"),
        (Scheme::NodeCompact, "[null]", " [ 1e999]"),
        (Scheme::NodeCompact, r#"{@,"response_data":null}"#, r#"{@,"response_data":1e999}"#),
        (
            Scheme::NodeCompact,
            r#"{@,"response_data":{"a":[null]}}"#,
            r#"{@,"response_data":{"\u0061":[1e999]}}"#,
        ),
        (
            Scheme::NodeCompact,
            r#"{@,"response_data":9007199254740992}"#,
            r#"{@,"response_data":9007199254740993}"#,
        ),
        (Scheme::NodeCompact, r#"{@,"response_data":0}"#, r#"{@,"response_data":-0.0e-5}"#),
        (Scheme::NodeCompact, r#"{"7":1,@}"#, r#"{@,"\u0037":1.0}"#),
        (Scheme::NodeCompact, r#"{@,"x":null,"timestamp":7}"#, r#"{@,"\u0078":1e999,"timestamp":70e-1}"#),
        (Scheme::PythonCanonical, r#"{@,"timestamp":1e2}"#, r#"{@,"timestamp":100.0}"#),
        (
            Scheme::PythonCanonical,
            r#"{@,"responder":{"type":"human","id":"\ud800é"}}"#,
            r#"{"responder":{"id":"\ud800\u00e9","type":"human"},@}"#,
        ),
        (
            Scheme::PythonCanonical,
            r#"{@,"timestamp":"2025-05-25T10:35:12Z"}"#,
            r#"{"time\u0073tamp":"2025-05-25T10:35:1\u0032Z",@}"#,
        ),
        (Scheme::PythonCanonical, r#"{@,"a":Infinity}"#, r#"{@,"a":1e999}"#),
    ];

    #[test]
    fn what_is_read_of_an_altered_body_is_what_its_signed_text_says() {
        let usual = r#""notification_id":"n","action_id":"a""#;
        for (scheme, signed, altered) in ALTERED {
            let (signed, altered) = (signed.replace('@', usual), altered.replace('@', usual));
            let sender = if signed.contains("Infinity") { &altered } else { &signed };
            let signature = verifier().sign(*scheme, sender.as_bytes()).unwrap();
            let verified = verify(&signature, &altered).unwrap_or_else(|error| panic!("{altered}: {error}"));
            assert_eq!(verified.scheme(), *scheme, "{altered}");
            let (text, signed_at) = (verified.signed_text().clone(), verified.signed_at());
            // The text by itself has the same digest, as a raw body.
            let itself = verify(&signature, std::str::from_utf8(&text).unwrap()).unwrap();
            assert_eq!((itself.signed_text(), itself.signed_at()), (&text, signed_at), "{altered}");
            let (read, expected) = (verified.decode(), itself.decode());
            if signed.contains("Infinity") {
                // The one fault that two words are found for.
                assert!(read.is_err() && expected.is_err(), "{altered}: {read:?}, {expected:?}");
            } else {
                assert_eq!(told(&read), told(&expected), "{altered} of {text:?}");
            }
        }
    }

    #[test]
    fn no_byte_that_is_not_signed_makes_an_old_answer_a_new_one() {
        for (signed, altered) in [
            (r#""timestamp":null"#, r#""timestamp":1e999"#),
            (r#""timestamp":null"#, r#""t\u0069mestamp" : 1e9999"#),
        ] {
            for old in [r#","responded_at":"2020-01-01T00:00:00Z""#, ""] {
                let body = |time: &str| format!(r#"{{"notification_id":"n","action_id":"a",{time}{old}}}"#);
                let signature = verifier().sign(Scheme::NodeCompact, body(signed).as_bytes()).unwrap();
                let judge = |body: String| {
                    verifier().verify([(Signature::HEADER, signature.to_string())], body).unwrap_err()
                };
                assert_eq!(judge(body(altered)), judge(body(signed)), "{}", body(altered));
                let seen = verify(&signature, &body(altered)).unwrap().signed_at();
                assert_eq!(seen, verify(&signature, &body(signed)).unwrap().signed_at(), "{}", body(altered));
            }
        }
    }

    /// The two things that are judged on the body, and can only refuse.
    #[test]
    fn a_body_that_repeats_a_member_or_nests_too_deep_is_refused_though_its_text_was_signed() {
        let usual = r#""notification_id":"n","action_id":"a""#;
        let deep = "[".repeat(128) + &"]".repeat(128);
        for (altered, pointer, offset) in [
            (format!(r#"{{"action_id":"b",{usual}}}"#), "/action_id", 39),
            (format!(r#"{{{usual},"x":{{"y":1,"\u0079":1}}}}"#), "/x/y", 50),
            (format!(r#"{{"x":{deep},{usual},"x":1}}"#), "/x", 132),
        ] {
            for scheme in [Scheme::PythonCanonical, Scheme::NodeCompact] {
                let signature = verifier().sign(scheme, altered.as_bytes()).unwrap();
                let malformed = verify(&signature, &altered).unwrap().decode().unwrap_err();
                assert!(malformed.pointer().starts_with(pointer), "{scheme}: {altered}: {malformed}");
                assert_eq!(malformed.offset(), offset, "{scheme}: {altered}");
            }
        }
    }
}
