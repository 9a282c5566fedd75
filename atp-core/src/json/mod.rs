//! RFC 8259 text as a flat index: one pass, nothing copied, no recursion.
//!
//! Everything that looks into a body does it through this index: the canonical texts, the strict
//! parse of an answer and the validation of its data. A body is UTF-8 without a byte order mark, at
//! most [`limits::INDEX_DEPTH`] deep; its numbers and strings stay the text that they are.

mod names;
mod reader;
mod strings;

use std::{borrow::Cow, ops::Range, str::Utf8Error};

use bytes::Bytes;
use bytestring::ByteString;

use self::reader::{Entry, Reader, wide};
use self::strings::generalized;
pub(crate) use self::{
    names::{Name, Names},
    reader::{Kind, Spelling, Token},
    strings::{Scalar, pointer_step, printable, readable, scalars, string, unquote, without_lone_surrogates},
};
use crate::limits;

/// An indexed text.
pub(crate) struct Index<'a> {
    text: &'a str,
    entries: Vec<Entry>,
    /// The first token that lies deeper than [`limits::DEPTH`].
    pub(crate) too_deep: Option<Token>,
    /// Whether any string holds half of a surrogate pair.
    pub(crate) lone_surrogates: bool,
}

/// Why a text is not JSON, and where. It holds no part of the text but member names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}{}", Self::place(pointer))]
pub struct NotJson {
    pub(crate) fault: &'static str,
    pub(crate) offset: usize,
    pub(crate) pointer: String,
}

impl NotJson {
    /// The byte, from 0, at which the text stops being JSON.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The value in which it stops being JSON, as a JSON Pointer (RFC 6901); empty for the whole.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    fn place(pointer: &str) -> String {
        if pointer.is_empty() { String::new() } else { format!(" (in {})", printable(pointer)) }
    }
}

impl<'a> Index<'a> {
    /// Indexes one JSON value with nothing but white space around it.
    pub(crate) fn of(body: &'a [u8]) -> Result<Self, NotJson> {
        Self::of_str(std::str::from_utf8(body).map_err(not_utf8)?)
    }

    /// [`Index::of`], for text that is known to be UTF-8.
    pub(crate) fn of_str(text: &'a str) -> Result<Self, NotJson> {
        if u32::try_from(text.len()).is_err() {
            return Err(NotJson { fault: "longer than 4 GiB", offset: 0, pointer: String::new() });
        }
        let mut reader = Reader::new(text);
        let read = reader.document();
        let Reader { at, entries, too_deep, lone_surrogates, innermost, depth, .. } = reader;
        let index = Self { text, entries, too_deep, lone_surrogates };
        read.map_err(|fault| {
            let pointer = if depth > 0 { index.pointer(innermost) } else { String::new() };
            NotJson { fault, offset: at.min(text.len()), pointer }
        })?;
        Ok(index)
    }

    pub(crate) fn kind(&self, token: Token) -> Kind {
        self.entries.get(token).map_or(Kind::Close, |entry| entry.kind)
    }

    /// The source of a value: bytes from its start to its end.
    pub(crate) fn span(&self, token: Token) -> Range<usize> {
        let Some(entry) = self.entries.get(token) else { return 0..0 };
        let end = match entry.kind {
            Kind::Object | Kind::Array => self.start(wide(entry.link)) + 1,
            _ => wide(entry.link),
        };
        wide(entry.start)..end
    }

    fn start(&self, token: Token) -> usize {
        self.entries.get(token).map_or(self.text.len(), |entry| wide(entry.start))
    }

    /// The source of a value.
    pub(crate) fn raw(&self, token: Token) -> &'a str {
        self.text.get(self.span(token)).unwrap_or_default()
    }

    /// A string's source between its quotes.
    pub(crate) fn inner(&self, token: Token) -> &'a str {
        unquote(self.raw(token))
    }

    /// The value of a string, as generalized UTF-8: half of a surrogate pair keeps its three bytes,
    /// so that byte order is code point order and two different names never meet. Where many are
    /// compared, [`Names`] decodes each once.
    pub(crate) fn name(&self, token: Token) -> Cow<'a, [u8]> {
        let decoded = || {
            let mut bytes = Vec::new();
            generalized(self.inner(token), &mut bytes);
            Cow::Owned(bytes)
        };
        self.literal(token).map_or_else(decoded, Cow::Borrowed)
    }

    /// The value of a string that is spelled as it is.
    fn literal(&self, token: Token) -> Option<&'a [u8]> {
        let entry = self.entries.get(token)?;
        let inner = wide(entry.start) + 1..wide(entry.link).saturating_sub(1);
        matches!(entry.kind, Kind::String(spelling) if spelling.is_literal())
            .then(|| self.text.as_bytes().get(inner).unwrap_or_default())
    }

    /// The value of a string as text: half of a surrogate pair becomes U+FFFD.
    pub(crate) fn text(&self, token: Token) -> Cow<'a, str> {
        self.string(token).unwrap_or_default()
    }

    /// [`Index::text`]; `None` if it is no string.
    pub(crate) fn string(&self, token: Token) -> Option<Cow<'a, str>> {
        let Kind::String(spelling) = self.kind(token) else { return None };
        let inner = self.inner(token);
        Some(if spelling.is_literal() { Cow::Borrowed(inner) } else { Cow::Owned(readable(inner)) })
    }

    /// The token after a value and all that it holds.
    pub(crate) fn after(&self, token: Token) -> Token {
        match self.entries.get(token) {
            Some(entry) if matches!(entry.kind, Kind::Object | Kind::Array) => {
                wide(entry.link).max(token) + 1
            }
            _ => token + 1,
        }
    }

    /// All numbers, at whatever depth.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = Token> {
        (0..self.entries.len()).filter(|&token| matches!(self.kind(token), Kind::Integer | Kind::Float))
    }

    /// The elements of an array.
    pub(crate) fn elements(&self, array: Token) -> impl Iterator<Item = Token> {
        let first = (self.kind(array) == Kind::Array).then_some(array + 1);
        let open = move |token: &Token| self.kind(*token) != Kind::Close;
        std::iter::successors(first.filter(open), move |&token| Some(self.after(token)).filter(open))
    }

    /// The members of an object, as the tokens of their names; the value is the token after the
    /// name.
    pub(crate) fn members(&self, object: Token) -> impl Iterator<Item = Token> {
        let first = (self.kind(object) == Kind::Object).then_some(object + 1);
        let open = move |token: &Token| self.kind(*token) != Kind::Close;
        std::iter::successors(first.filter(open), move |&name| Some(self.after(name + 1)).filter(open))
    }

    /// The JSON Pointer of a value, of about [`limits::POINTER`] bytes at most.
    pub(crate) fn pointer(&self, target: Token) -> String {
        let (mut pointer, mut at) = (String::new(), 0);
        while at < target && pointer.len() < limits::POINTER {
            let holds = |token: &Token| (*token..self.after_partial(*token)).contains(&target);
            let step = match self.kind(at) {
                Kind::Object => {
                    let found = self.children_partial(at, 2).map(|name| name + 1).find(holds);
                    found.map(|value| (value, pointer_step(&self.text(value - 1))))
                }
                Kind::Array => {
                    let found = self.children_partial(at, 1).enumerate().find(|(_, element)| holds(element));
                    found.map(|(nth, element)| (element, nth.to_string()))
                }
                _ => None,
            };
            let Some((value, name)) = step else { break };
            pointer.push('/');
            pointer.extend(name.chars().take(limits::POINTER_NAME));
            at = value;
        }
        pointer
    }

    /// [`Index::after`], where a container may not have ended yet.
    fn after_partial(&self, token: Token) -> Token {
        match self.entries.get(token) {
            Some(entry) if matches!(entry.kind, Kind::Object | Kind::Array) && wide(entry.link) <= token => {
                self.entries.len()
            }
            _ => self.after(token),
        }
    }

    fn children_partial(&self, container: Token, tokens_each: usize) -> impl Iterator<Item = Token> {
        let here = move |token: &Token| *token < self.entries.len() && self.kind(*token) != Kind::Close;
        std::iter::successors(Some(container + 1).filter(here), move |&token| {
            Some(self.after_partial(token + tokens_each - 1)).filter(here)
        })
    }
}

/// A body as text.
pub(crate) fn utf8(body: Bytes) -> Result<ByteString, NotJson> {
    ByteString::try_from(body).map_err(not_utf8)
}

fn not_utf8(error: Utf8Error) -> NotJson {
    NotJson { fault: "invalid UTF-8", offset: error.valid_up_to(), pointer: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        let cases: &[(&str, &str, usize, &str)] = &[
            ("", "unexpected end", 0, ""),
            ("\u{feff}{}", "a byte order mark", 0, ""),
            ("{} x", "more text after the value", 3, ""),
            ("nul", "expected a value", 0, ""),
            ("NaN", "expected a value", 0, ""),
            ("[1,]", "expected a value", 3, ""),
            ("{\"a\":1,}", "expected a member name in quotes", 7, ""),
            ("{\"a\" 1}", "expected `:`", 5, ""),
            ("{\"a\":[1 2]}", "expected `,` or `]`", 8, "/a"),
            ("{\"a\":[0,{\"b~/\":[01]}]}", "a leading zero", 17, "/a/1/b~0~1"),
            ("[-]", "expected a digit", 2, ""),
            ("[1.]", "expected a digit", 3, ""),
            ("[1e+]", "expected a digit", 4, ""),
            ("\"a", "a string without an end", 2, ""),
            ("\"a\n\"", "a control character that is not escaped", 2, ""),
            ("\"\\x\"", "an unknown escape", 1, ""),
            ("\"\\u12g4\"", "expected four hexadecimal digits after `\\u`", 1, ""),
            ("\"\\u+123\"", "expected four hexadecimal digits after `\\u`", 1, ""),
        ];
        for &(text, fault, offset, pointer) in cases {
            let error = Index::of(text.as_bytes()).err().unwrap_or_else(|| panic!("{text:?} was taken"));
            assert_eq!(
                (error.fault, error.offset, error.pointer.as_str()),
                (fault, offset, pointer),
                "{text:?}"
            );
        }
        assert_eq!(Index::of(b"[\"\xff\"]").err().unwrap().to_string(), "invalid UTF-8 at byte 2");
    }

    #[test]
    fn an_error_is_one_line_whatever_a_sender_names_his_members() {
        let error = Index::of(br#"{"\n\u202e\u001bINFO forged":[x"#).err().unwrap();
        assert_eq!(error.to_string(), r"expected a value at byte 30 (in /\u{a}\u{202e}\u{1b}INFO forged)");
    }

    #[test]
    fn depth_1023_is_indexed_and_1024_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(Index::of(nested(128).as_bytes()).unwrap().too_deep, None);
        assert_eq!(Index::of(nested(129).as_bytes()).unwrap().too_deep, Some(128));
        assert!(Index::of(nested(1023).as_bytes()).is_ok());
        assert_eq!(Index::of(nested(1024).as_bytes()).err().unwrap().fault, "nested too deep");
        assert_eq!(Index::of("[".repeat(1_000_000).as_bytes()).err().unwrap().offset, 1023);
    }

    #[test]
    fn a_lone_surrogate_is_found_and_replaced_and_a_pair_is_not() {
        for (text, readable) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""x\ude00\ud83d\\ud83dy""#, "x\u{fffd}\u{fffd}\\ud83dy"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        ] {
            let index = Index::of(text.as_bytes()).unwrap();
            assert_eq!(index.text(0), readable, "{text}");
            assert_eq!(index.lone_surrogates, readable.contains('\u{fffd}'), "{text}");
            let replaced: String = serde_json::from_str(&without_lone_surrogates(text)).unwrap();
            assert_eq!(replaced, readable, "{text}");
        }
    }
}
