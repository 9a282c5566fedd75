//! Wire types of the answer, read from text that was signed.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer, de::DeserializeOwned};

use crate::{
    canonical::Printed,
    json::{self, Index, Kind, NotJson, Token},
    time::Timestamp,
};

/// The deepest nesting of an answer, its root counted as 1.
pub const MAX_DEPTH: usize = 128;

/// A human's answer, as an ATP server delivered it (protocol, section 1).
///
/// There is no public way to make one but from [`Verified`](crate::Verified): an answer that exists was signed.
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

/// JSON text that was signed, or that was checked as strictly: UTF-8, no member twice, at most [`MAX_DEPTH`] deep.
///
/// Numbers are the text that they were until a type asks for them, so nothing is rounded on the way. `Debug` shows the
/// length alone: answers do not belong in logs.
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
    text: Bytes,
    lone_surrogates: bool,
}

impl RawJson {
    /// Takes JSON text and checks it.
    pub fn new(text: impl Into<Bytes>) -> Result<Self, Malformed> {
        let text = text.into();
        let index = Index::of(&text)?;
        check(&index)?;
        let lone_surrogates = index.lone_surrogates;
        Ok(Self { text, lone_surrogates })
    }

    /// The text, as it was signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The bytes of [`RawJson::as_str`]; a clone shares them.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.text
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.text.trim_ascii() == b"null"
    }

    /// Reads a value of any type. Half of a surrogate pair (a cut emoji) is read as U+FFFD.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.readable())
    }

    /// The text for parsers that refuse lone surrogates.
    pub(crate) fn readable(&self) -> Cow<'_, [u8]> {
        if self.lone_surrogates {
            Cow::Owned(json::without_lone_surrogates(self.as_str()).into_bytes())
        } else {
            Cow::Borrowed(&self.text)
        }
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.text.len())
    }
}

/// Writes the value itself, its numbers digit for digit. Exact with `serde_json` only, like its `RawValue`.
impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.readable();
        let raw: &serde_json::value::RawValue =
            serde_json::from_slice(&text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Why a signed text is no answer: where (a JSON Pointer and a byte of the signed text), and what. Values are never in
/// it, member names may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at `{pointer}`, byte {offset}")]
pub struct Malformed {
    fault: Cow<'static, str>,
    pointer: String,
    offset: usize,
}

impl Malformed {
    /// The place as a JSON Pointer (RFC 6901); empty for the whole text.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The byte of the signed text, from 0.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl From<NotJson> for Malformed {
    fn from(error: NotJson) -> Self {
        Self { fault: Cow::Borrowed(error.fault), pointer: error.pointer, offset: error.offset }
    }
}

/// What the index alone cannot refuse: a repeated member, and nesting beyond [`MAX_DEPTH`].
pub(crate) fn check(index: &Index<'_>) -> Result<(), Malformed> {
    let fail = |fault, place: Token, token| {
        let (pointer, offset) = (index.pointer(place), index.span(token).start);
        Err(Malformed { fault: Cow::Borrowed(fault), pointer, offset })
    };
    if let Some(token) = index.too_deep {
        return fail("nested deeper than 128", token, token);
    }
    match index.duplicate() {
        Some(name) => fail("a member that is there twice", name + 1, name),
        None => Ok(()),
    }
}

impl Response {
    /// Reads a body that was signed as it is.
    pub(crate) fn of_body(text: &Bytes) -> Result<Self, Malformed> {
        let index = Index::of(text)?;
        check(&index)?;
        object(&index)?;
        let members = index.members(0).map(|name| (index.name(name), index.span(name + 1)));
        Self::read(text, members, index.lone_surrogates)
    }

    /// Reads a canonical text. Repeated members and depth are judged on the body that it was printed from, because the
    /// printer has resolved them.
    pub(crate) fn of_printed(index: &Index<'_>, printed: Printed) -> (Bytes, Result<Self, Malformed>) {
        let Printed { text, members, infinity } = printed;
        let text = Bytes::from(text);
        let read = || {
            check(index)?;
            object(index)?;
            if let Some((token, offset)) = infinity {
                let fault = Cow::Borrowed("`Infinity`, which is not JSON");
                return Err(Malformed { fault, pointer: index.pointer(token), offset });
            }
            let members = members.into_iter().map(|(name, value)| (index.name(name), value));
            Self::read(&text, members, index.lone_surrogates)
        };
        let answer = read();
        (text, answer)
    }

    /// Reads the members of a root: their names, and where their values are in the text.
    fn read<'a>(
        text: &Bytes,
        members: impl Iterator<Item = (Cow<'a, [u8]>, Range<usize>)>,
        lone_surrogates: bool,
    ) -> Result<Self, Malformed> {
        let (mut notification_id, mut action_id, mut response_data) = (None, None, None);
        let (mut timestamp, mut responded_at, mut responder, mut other) = (None, None, None, Vec::new());
        for (name, value) in members {
            let at = value.start;
            let raw = || RawJson { text: text.slice(value.clone()), lone_surrogates };
            let source =
                || std::str::from_utf8(text.get(value.clone()).unwrap_or_default()).unwrap_or_default();
            match &*name {
                b"notification_id" => notification_id = Some(identifier(source(), "/notification_id", at)?),
                b"action_id" => action_id = Some(identifier(source(), "/action_id", at)?),
                b"response_data" => response_data = Some(raw()),
                b"timestamp" => timestamp = Some(time(source())),
                b"responded_at" => responded_at = Some(time(source())),
                b"responder" => responder = Responder::read(raw(), source(), at)?,
                _ => other.push((String::from_utf8_lossy(&name).into_owned(), raw())),
            }
        }
        let missing = |name| Malformed {
            fault: Cow::Owned(format!("the member `{name}` is missing")),
            pointer: String::new(),
            offset: 0,
        };
        Ok(Self {
            notification_id: notification_id.ok_or_else(|| missing("notification_id"))?,
            action_id: action_id.ok_or_else(|| missing("action_id"))?,
            response_data,
            timestamp,
            responded_at,
            responder,
            other,
        })
    }

    /// The time that a freshness check goes by: `timestamp`, else `responded_at`; `None` if the one that is there
    /// cannot be read.
    #[must_use]
    pub fn time(&self) -> Option<DateTime<Utc>> {
        self.timestamp.as_ref().or(self.responded_at.as_ref())?.time()
    }
}

impl Responder {
    /// `null` is nobody.
    fn read(json: RawJson, source: &str, at: usize) -> Result<Option<Self>, Malformed> {
        let fail = |pointer: &str, offset, fault| {
            Err(Malformed { fault: Cow::Borrowed(fault), pointer: format!("/responder{pointer}"), offset })
        };
        let index = Index::of_str(source)?;
        match index.kind(0) {
            Kind::Null => return Ok(None),
            Kind::Object => {}
            _ => return fail("", at, "expected an object"),
        }
        let (mut id, mut kind) = (None, None);
        for name in index.members(0) {
            let value = name + 1;
            let (member, pointer) = match &*index.name(name) {
                b"id" => (&mut id, "/id"),
                b"type" => (&mut kind, "/type"),
                _ => continue,
            };
            if !matches!(index.kind(value), Kind::String(_)) {
                return fail(pointer, at + index.span(value).start, "expected a string");
            }
            *member = Some(index.text(value).into_owned());
        }
        let kind = match kind.as_deref() {
            Some("human") => ResponderKind::Human,
            Some("agent") => ResponderKind::Agent,
            Some(other) => ResponderKind::Other(other.to_owned()),
            None => return fail("", at, "the member `type` is missing"),
        };
        match id {
            Some(id) => Ok(Some(Self { id, kind, json })),
            None => fail("", at, "the member `id` is missing"),
        }
    }
}

fn object(index: &Index<'_>) -> Result<(), Malformed> {
    match index.kind(0) {
        Kind::Object => Ok(()),
        _ => Err(Malformed { fault: Cow::Borrowed("expected an object"), pointer: String::new(), offset: 0 }),
    }
}

/// A string that names something.
fn identifier(source: &str, pointer: &str, offset: usize) -> Result<String, Malformed> {
    let fail = |fault| Malformed { fault: Cow::Borrowed(fault), pointer: pointer.to_owned(), offset };
    match string(source) {
        Some(text) if text.is_empty() => Err(fail("an empty string")),
        Some(text) => Ok(text),
        None => Err(fail("expected a string")),
    }
}

fn time(source: &str) -> Timestamp {
    string(source).map_or_else(|| Timestamp::unreadable(source.to_owned()), Timestamp::new)
}

fn string(source: &str) -> Option<String> {
    let inner = source.starts_with('"').then(|| json::unquote(source))?;
    Some(if inner.contains('\\') { json::readable(inner) } else { inner.to_owned() })
}
