//! RFC 8259 text as a flat index: one pass, nothing copied, no recursion.
//!
//! Everything that looks into a body does it through this index: the canonical texts, the strict parse of an answer and
//! the validation of its data. A body is UTF-8 without a byte order mark, at most [`MAX_DEPTH`] deep; its numbers and
//! strings stay the text that they are.

use std::{borrow::Cow, cmp::Ordering, ops::Range, str::Utf8Error};

use bytes::Bytes;
use bytestring::ByteString;

/// The deepest nesting that can be indexed. CPython gives up near here too; V8 goes on.
pub(crate) const MAX_DEPTH: usize = 1023;

/// A token's place in the index. The root is 0.
pub(crate) type Token = usize;

/// An indexed text.
pub(crate) struct Index<'a> {
    text: &'a str,
    entries: Vec<Entry>,
    /// The first token that lies deeper than 128, the limit of the strict parse.
    pub(crate) too_deep: Option<Token>,
    /// Whether any string holds half of a surrogate pair.
    pub(crate) lone_surrogates: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    kind: Kind,
    /// Where it starts, in bytes.
    start: u32,
    /// Where it ends, in bytes; of a container the token of its `Close`; of a `Close` nothing.
    link: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    /// The end of the innermost container that is still open.
    Close,
    String(Spelling),
    /// A number without fraction and exponent.
    Integer,
    /// A number with a fraction or an exponent.
    Float,
    True,
    False,
    Null,
}

/// How a string is spelled, so that most need not be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spelling(u8);

impl Spelling {
    const PLAIN: Self = Self(0);
    /// A backslash.
    const ESCAPED: Self = Self(1);
    /// A backslash, in a spelling that no printer uses: `\/` or `\u`.
    const RESPELLED: Self = Self(1 | 2);
    /// DEL, or beyond ASCII.
    const WIDE: Self = Self(4);

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The text between the quotes is the value.
    pub(crate) fn is_literal(self) -> bool {
        self.0 & Self::ESCAPED.0 == 0
    }

    /// CPython's `json.dumps` prints it as it stands.
    pub(crate) fn is_ascii_canonical(self) -> bool {
        self.0 & (Self::RESPELLED.0 ^ Self::ESCAPED.0 | Self::WIDE.0) == 0
    }

    /// V8's `JSON.stringify` prints it as it stands.
    pub(crate) fn is_canonical(self) -> bool {
        self.0 & (Self::RESPELLED.0 ^ Self::ESCAPED.0) == 0
    }
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
        // A token for every eight bytes is what a form has; a large text has less, a list of digits four times that.
        let entries = Vec::with_capacity(8 + text.len().min(64 << 10) / 8);
        let index = Self { text, entries, too_deep: None, lone_surrogates: false };
        let mut reader = Reader { src: text.as_bytes(), at: 0, index, open: Vec::new() };
        match reader.document() {
            Ok(()) => Ok(reader.index),
            Err(fault) => {
                let (offset, index) = (reader.at.min(text.len()), reader.index);
                let innermost = reader.open.last().copied();
                let pointer = innermost.map_or_else(String::new, |token| index.pointer(token));
                Err(NotJson { fault, offset, pointer })
            }
        }
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

    /// The value of a string, as generalized UTF-8: half of a surrogate pair keeps its three bytes, so that byte order
    /// is code point order and two different names never meet. Where many are compared, [`Names`] decodes each once.
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
        let inner = self.inner(token);
        match self.kind(token) {
            Kind::String(spelling) if spelling.is_literal() => Cow::Borrowed(inner),
            _ => Cow::Owned(readable(inner)),
        }
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

    /// The members of an object, as the tokens of their names; the value is the token after the name.
    pub(crate) fn members(&self, object: Token) -> impl Iterator<Item = Token> {
        let first = (self.kind(object) == Kind::Object).then_some(object + 1);
        let open = move |token: &Token| self.kind(*token) != Kind::Close;
        std::iter::successors(first.filter(open), move |&name| Some(self.after(name + 1)).filter(open))
    }

    /// The name of the first member that repeats the name of another, in the order in which objects start.
    pub(crate) fn duplicate(&self) -> Option<Token> {
        let mut names = Names::default();
        (0..self.entries.len())
            .filter(|&token| self.kind(token) == Kind::Object)
            .find_map(|object| names.duplicate(self, object))
    }

    /// The JSON Pointer of a value, of at most about 256 bytes.
    pub(crate) fn pointer(&self, target: Token) -> String {
        let (mut pointer, mut at) = (String::new(), 0);
        while at < target && pointer.len() < 256 {
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
            pointer.extend(name.chars().take(64));
            at = value;
        }
        pointer
    }

    /// [`Index::after`], where a container may not have ended yet.
    fn after_partial(&self, token: Token) -> Token {
        match self.entries.get(token) {
            Some(entry) if matches!(entry.kind, Kind::Object | Kind::Array) && entry.link == 0 => {
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

/// A member's name as a step of a JSON Pointer (RFC 6901).
pub(crate) fn pointer_step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A text from outside as one line of a log: control characters and marks of direction are escaped.
pub(crate) fn printable(text: &str) -> String {
    let steers = |char: char| {
        char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if steers(char) { line.extend(char.escape_unicode()) } else { line.push(char) }
    }
    line
}

/// The members of one object, by their names: what is escaped is decoded here, once.
///
/// It is made to be used for one object after another, so that its memory is that of the largest one: 32 bytes a member, and
/// at most the bytes of the names.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) list: Vec<Name>,
    /// The values of escaped names, one behind the other.
    decoded: Vec<u8>,
    /// A number a name, while it is asked whether one may be there twice.
    prints: Vec<u64>,
}

/// A member, ready to be sorted.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    /// The first sixteen bytes of its name, zero-filled, so that most comparisons are one of numbers.
    head: u128,
    token: u32,
    /// Where its name is: in the text, or in what was decoded.
    start: u32,
    end: u32,
    is_decoded: bool,
}

impl Name {
    pub(crate) fn token(&self) -> Token {
        wide(self.token)
    }

    fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }
}

impl Names {
    /// Takes the members of an object, in the order of the text.
    pub(crate) fn fill(&mut self, index: &Index<'_>, object: Token) {
        self.list.clear();
        self.decoded.clear();
        for token in index.members(object) {
            let (span, decoded) = (index.span(token), self.decoded.len());
            let is_decoded = index.literal(token).is_none();
            let range = if is_decoded {
                generalized(index.inner(token), &mut self.decoded);
                decoded..self.decoded.len()
            } else {
                span.start + 1..span.end.saturating_sub(1)
            };
            let (start, end) = (narrow(range.start), narrow(range.end));
            let mut name = Name { head: 0, token: narrow(token), start, end, is_decoded };
            name.head = head(self.value(index, &name));
            self.list.push(name);
        }
    }

    /// The value of a name, as generalized UTF-8.
    pub(crate) fn value<'a>(&'a self, index: &Index<'a>, name: &Name) -> &'a [u8] {
        value(&self.decoded, index, name)
    }

    /// Sorts by the code points of the names, equal ones in the order of the text.
    pub(crate) fn sort(&mut self, index: &Index<'_>) {
        let Self { list, decoded, .. } = self;
        list.sort_unstable_by(|a, b| compare(decoded, index, a, b).then_with(|| a.token.cmp(&b.token)));
    }

    /// The members, those that have one name together; they must have been sorted, unless all names differ.
    pub(crate) fn twins(&self, index: &Index<'_>) -> impl Iterator<Item = &[Name]> {
        self.list.chunk_by(|a, b| compare(&self.decoded, index, a, b).is_eq())
    }

    /// Whether two names of an object might be the same: by a number that equal names share, so that most objects need not be
    /// sorted to know that they are not. Says yes where a name is escaped.
    pub(crate) fn may_repeat(&mut self, index: &Index<'_>, object: Token) -> bool {
        let prints = &mut self.prints;
        prints.clear();
        for name in index.members(object) {
            let Some(name) = index.literal(name) else { return true };
            prints.push(fingerprint(name));
        }
        if prints.len() > 16 {
            return may_have_twins(prints);
        }
        let mut rest = prints.as_slice();
        while let [first, others @ ..] = rest {
            if others.contains(first) {
                return true;
            }
            rest = others;
        }
        false
    }

    /// The name of the first member of an object that repeats the name of another.
    fn duplicate(&mut self, index: &Index<'_>, object: Token) -> Option<Token> {
        if !self.may_repeat(index, object) {
            return None;
        }
        self.fill(index, object);
        self.sort(index);
        self.twins(index).filter_map(|twins| twins.get(1)).map(Name::token).min()
    }
}

fn value<'a>(decoded: &'a [u8], index: &Index<'a>, name: &Name) -> &'a [u8] {
    let source = if name.is_decoded { decoded } else { index.text.as_bytes() };
    source.get(wide(name.start)..wide(name.end)).unwrap_or_default()
}

/// The order of two names by code point.
fn compare(decoded: &[u8], index: &Index<'_>, a: &Name, b: &Name) -> Ordering {
    a.head.cmp(&b.head).then_with(|| match (a.len(), b.len()) {
        // All of both is in the heads; the shorter one lacks the zeros of the other.
        (a @ ..=16, b @ ..=16) => a.cmp(&b),
        _ => value(decoded, index, a).cmp(value(decoded, index, b)),
    })
}

fn head(name: &[u8]) -> u128 {
    if let Some(head) = name.first_chunk::<16>() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; 16];
    if let Some(start) = head.get_mut(..name.len()) {
        start.copy_from_slice(name);
    }
    u128::from_be_bytes(head)
}

/// Whether a number may be there twice, by a table of which half stays free. Where too many numbers want one place, as a
/// sender could arrange, it says yes rather than search.
fn may_have_twins(numbers: &[u64]) -> bool {
    const FREE: u64 = 0;
    const STEPS: usize = 32;
    let size = (numbers.len() * 2).next_power_of_two();
    let mut table = vec![FREE; size + STEPS];
    numbers.iter().any(|&number| {
        let start = usize::try_from(number >> (u64::BITS - size.trailing_zeros())).unwrap_or_default();
        let mut places = table.get_mut(start..).unwrap_or_default().iter_mut().take(STEPS);
        match places.find(|place| **place == FREE || **place == number) {
            Some(place) if *place == FREE => {
                *place = number;
                number == FREE
            }
            _ => true,
        }
    })
}

/// A number that equal names share and others seldom do.
fn fingerprint(name: &[u8]) -> u64 {
    let print = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first).rotate_left(29) ^ u64::from_le_bytes(*last),
        _ => name.iter().fold(1, |print, byte| print << 8 | u64::from(*byte)),
    };
    print.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The source of a string without its quotes.
pub(crate) fn unquote(raw: &str) -> &str {
    raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

/// One step of a string's value.
#[derive(Clone, Copy)]
pub(crate) enum Scalar {
    Char(char),
    /// Half of a surrogate pair without the other half.
    Lone(u16),
}

/// The value of a string's source, between its quotes.
pub(crate) fn scalars(inner: &str) -> impl Iterator<Item = Scalar> {
    let mut rest = inner.chars();
    std::iter::from_fn(move || match rest.next()? {
        '\\' => Some(match rest.next()? {
            'b' => Scalar::Char('\u{8}'),
            'f' => Scalar::Char('\u{c}'),
            'n' => Scalar::Char('\n'),
            'r' => Scalar::Char('\r'),
            't' => Scalar::Char('\t'),
            'u' => {
                let unit = unit(rest.as_str().as_bytes()).unwrap_or_default();
                rest = skip(&rest, 4);
                let low = low_half(rest.as_str().as_bytes()).filter(|_| is_high(unit));
                if low.is_some() {
                    rest = skip(&rest, 6);
                }
                decode(unit, low)
            }
            other => Scalar::Char(other),
        }),
        other => Some(Scalar::Char(other)),
    })
}

fn skip<'a>(rest: &std::str::Chars<'a>, bytes: usize) -> std::str::Chars<'a> {
    rest.as_str().get(bytes..).unwrap_or_default().chars()
}

fn decode(unit: u16, low: Option<u16>) -> Scalar {
    let units = [unit, low.unwrap_or_default()];
    let units = units.get(..1 + usize::from(low.is_some())).unwrap_or_default();
    match char::decode_utf16(units.iter().copied()).next() {
        Some(Ok(char)) => Scalar::Char(char),
        _ => Scalar::Lone(unit),
    }
}

/// The value of a string's source with its quotes, a lone surrogate as U+FFFD. `None` for the source of any other value.
pub(crate) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    Some(if inner.contains('\\') { Cow::Owned(readable(inner)) } else { Cow::Borrowed(inner) })
}

/// A string's value as text, a lone surrogate as U+FFFD.
pub(crate) fn readable(inner: &str) -> String {
    let char = |scalar| match scalar {
        Scalar::Char(char) => char,
        Scalar::Lone(_) => char::REPLACEMENT_CHARACTER,
    };
    scalars(inner).map(char).collect()
}

/// Appends a string's value as generalized UTF-8, which is never longer than its source.
fn generalized(inner: &str, bytes: &mut Vec<u8>) {
    for scalar in scalars(inner) {
        match scalar {
            Scalar::Char(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Scalar::Lone(unit) => {
                let [high, low] = unit.to_be_bytes();
                bytes.extend_from_slice(&[
                    0xe0 | high >> 4,
                    0x80 | (high & 0xf) << 2 | low >> 6,
                    0x80 | low & 0x3f,
                ]);
            }
        }
    }
}

/// The same JSON text with every lone surrogate spelled `\ufffd`, for parsers that refuse the former.
pub(crate) fn without_lone_surrogates(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let bytes = escape.as_bytes();
        let unit = bytes.get(2..).and_then(unit).filter(|_| bytes.get(1) == Some(&b'u'));
        let low = bytes.get(6..).and_then(low_half).filter(|_| unit.is_some_and(is_high));
        let len = match (unit, low) {
            (Some(_), Some(_)) => 12,
            (Some(_), None) => 6,
            (None, _) => 2,
        };
        let (escape, after) = escape.split_at_checked(len).unwrap_or((escape, ""));
        let lone = low.is_none() && unit.is_some_and(|unit| is_high(unit) || is_low(unit));
        out.push_str(if lone { "\\ufffd" } else { escape });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// The low half that a `\uXXXX` right here spells.
fn low_half(bytes: &[u8]) -> Option<u16> {
    unit(bytes.strip_prefix(b"\\u")?).filter(|unit| is_low(*unit))
}

/// Four hexadecimal digits.
fn unit(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<4>()?.iter().try_fold(0_u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

fn wide(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Lossless: a text is shorter than 4 GiB.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

type Fault = &'static str;

/// The pass that makes the index.
struct Reader<'a> {
    src: &'a [u8],
    at: usize,
    index: Index<'a>,
    /// The containers that are open here.
    open: Vec<Token>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.space();
        if self.src.starts_with(b"\xef\xbb\xbf") {
            return Err("a byte order mark");
        }
        loop {
            let opened = self.value()?;
            if opened && !self.container_ends() {
                self.element()?;
                continue;
            }
            if !self.more()? {
                break;
            }
        }
        self.space();
        if self.at < self.src.len() { Err("more text after the value") } else { Ok(()) }
    }

    /// After a value: closes what ends here and steps to the next value, if there is one.
    fn more(&mut self) -> Result<bool, Fault> {
        while !self.open.is_empty() {
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
                self.space();
                self.element()?;
                return Ok(true);
            }
            if !self.container_ends() {
                return Err(if self.in_object() { "expected `,` or `}`" } else { "expected `,` or `]`" });
            }
        }
        Ok(false)
    }

    /// Before an element of the innermost container: the name, if it is an object.
    fn element(&mut self) -> Result<(), Fault> {
        if !self.in_object() {
            return Ok(());
        }
        if self.peek() != Some(b'"') {
            return Err("expected a member name in quotes");
        }
        self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err("expected `:`");
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn in_object(&self) -> bool {
        self.open.last().is_some_and(|&token| self.index.kind(token) == Kind::Object)
    }

    /// Closes the innermost container, if its end is here.
    fn container_ends(&mut self) -> bool {
        let end = if self.in_object() { b'}' } else { b']' };
        if self.peek() != Some(end) {
            return false;
        }
        let close = self.index.entries.len();
        if let Some(entry) = self.open.pop().and_then(|token| self.index.entries.get_mut(token)) {
            entry.link = narrow(close);
        }
        self.index.entries.push(Entry { kind: Kind::Close, start: narrow(self.at), link: 0 });
        self.at += 1;
        true
    }

    /// Reads a scalar, or opens a container and says so.
    fn value(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'{') => return self.container(Kind::Object),
            Some(b'[') => return self.container(Kind::Array),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Kind::True)?,
            Some(b'f') => self.word("false", Kind::False)?,
            Some(b'n') => self.word("null", Kind::Null)?,
            Some(_) => return Err("expected a value"),
            None => return Err("unexpected end"),
        }
        Ok(false)
    }

    fn container(&mut self, kind: Kind) -> Result<bool, Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err("nested too deep");
        }
        let token = self.index.entries.len();
        if self.open.len() == 128 {
            self.index.too_deep.get_or_insert(token);
        }
        self.index.entries.push(Entry { kind, start: narrow(self.at), link: 0 });
        self.open.push(token);
        self.at += 1;
        self.space();
        Ok(true)
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<(), Fault> {
        let start = self.at;
        if !self.src.get(start..).unwrap_or_default().starts_with(word.as_bytes()) {
            return Err("expected a value");
        }
        self.at += word.len();
        self.leaf(kind, start);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let (start, mut kind) = (self.at, Kind::Integer);
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            kind = Kind::Float;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            kind = Kind::Float;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        if let Some(b'0'..=b'9') = self.peek() {
            return Err("a leading zero");
        }
        self.leaf(kind, start);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err("expected a digit") } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let mut spelling = Spelling::PLAIN;
        self.at += 1;
        loop {
            self.at = ordinary(self.src, self.at, spelling.0 & Spelling::WIDE.0 != 0);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut spelling)?,
                Some(0..=0x1f) => return Err("a control character that is not escaped"),
                Some(0x7f..) => {
                    spelling.add(Spelling::WIDE);
                    self.at += 1;
                }
                Some(_) => self.at += 1,
                None => return Err("a string without an end"),
            }
        }
        self.at += 1;
        self.leaf(Kind::String(spelling), start);
        Ok(())
    }

    fn escape(&mut self, spelling: &mut Spelling) -> Result<(), Fault> {
        let rest = self.src.get(self.at + 1..).unwrap_or_default();
        match rest {
            [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                spelling.add(Spelling::ESCAPED);
                self.at += 2;
            }
            [b'/', ..] => {
                spelling.add(Spelling::RESPELLED);
                self.at += 2;
            }
            [b'u', rest @ ..] => {
                let unit = unit(rest).ok_or("expected four hexadecimal digits after `\\u`")?;
                let low = low_half(rest.get(4..).unwrap_or_default()).filter(|_| is_high(unit));
                spelling.add(Spelling::RESPELLED);
                self.index.lone_surrogates |= low.is_none() && (is_high(unit) || is_low(unit));
                self.at += if low.is_some() { 12 } else { 6 };
            }
            _ => return Err("an unknown escape"),
        }
        Ok(())
    }

    fn leaf(&mut self, kind: Kind, start: usize) {
        self.index.entries.push(Entry { kind, start: narrow(start), link: narrow(self.at) });
    }

    fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }
}

/// Steps over bytes of a string that need no look, eight at a time: not a quote, not a backslash, not a control
/// character, and, unless `wide`, not DEL and not beyond ASCII. Stops at the first other byte or near the end.
fn ordinary(src: &[u8], at: usize, wide: bool) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = ONES * 0x22;
    const BACKSLASHES: u64 = ONES * 0x5c;
    const SPACES: u64 = ONES * 0x20;
    let (chunks, _) = src.get(at..).unwrap_or_default().as_chunks::<8>();
    for (nth, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // A byte's high bit is set where the byte is zero (or beyond ASCII), and maybe above such a byte, by a borrow:
        // the lowest is exact.
        let zero = |word: u64| word.wrapping_sub(ONES);
        let mut stops = zero(word ^ QUOTES) | zero(word ^ BACKSLASHES) | word.wrapping_sub(SPACES);
        if wide {
            stops &= !word;
        } else {
            stops |= word | word.wrapping_add(ONES);
        }
        stops &= HIGHS;
        if stops != 0 {
            return at + 8 * nth + usize::try_from(stops.trailing_zeros() / 8).unwrap_or_default();
        }
    }
    at + 8 * chunks.len()
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
    fn names_are_compared_by_value_and_ordered_by_code_point() {
        for (text, duplicate) in [
            (r#"{"a":1,"b":2,"A":3}"#, None),
            (r#"{"a":1,"b":{"c":1,"\u0063":2},"a":1}"#, Some("/a")),
            (r#"{"b":{"c":1,"\u0063":2}}"#, Some("/b/c")),
            (r#"{"\ud83d\ude00":1,"😀":2}"#, Some("/😀")),
            (r#"{"\ud83d":1,"\ud83e":2}"#, None),
            (r#"{"a":1,"a\u0000":2}"#, None),
        ] {
            let index = Index::of(text.as_bytes()).unwrap();
            let pointer = index.duplicate().map(|name| index.pointer(name + 1));
            assert_eq!(pointer.as_deref(), duplicate, "{text}");
        }
        let index = Index::of(r#"{"\ue000":1,"\ud800":2,"😀":3,"｡":4}"#.as_bytes()).unwrap();
        let mut names = Names::default();
        names.fill(&index, 0);
        names.sort(&index);
        let order: Vec<_> = names.list.iter().map(|name| index.raw(name.token() + 1)).collect();
        assert_eq!(order, ["2", "1", "4", "3"]);
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

    #[test]
    fn eight_bytes_at_a_time_stop_at_the_same_byte_as_one_at_a_time() {
        for wide in [false, true] {
            for byte in 0..=u8::MAX {
                for place in 0..24 {
                    let mut src = [b'a'; 24];
                    src[place] = byte;
                    let stop = matches!(byte, b'"' | b'\\' | ..=0x1f) || (!wide && byte >= 0x7f);
                    assert_eq!(ordinary(&src, 0, wide), if stop { place } else { 24 }, "{byte} at {place}");
                }
            }
        }
    }
}
