//! The one pass over a text that makes the entries of its index.

use super::strings::{is_high, is_low, low_half, unit};
use crate::limits;

/// A token's place in the index. The root is 0.
pub(crate) type Token = usize;

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Where it starts, in bytes.
    pub(super) start: u32,
    /// Where it ends, in bytes; of a container the token of its `Close`, or, as long as it is open,
    /// of the container around it, which is never a later one; of a `Close` nothing.
    pub(super) link: u32,
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

pub(super) fn wide(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Lossless: a text is shorter than 4 GiB.
pub(super) fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// What is wrong with a text.
pub(super) type Fault = &'static str;

/// The pass that makes the index.
pub(super) struct Reader<'a> {
    src: &'a [u8],
    /// Where the pass is, in bytes.
    pub(super) at: usize,
    pub(super) entries: Vec<Entry>,
    /// The first container that lies deeper than the strict parse allows.
    pub(super) too_deep: Option<Token>,
    /// Whether any string holds half of a surrogate pair.
    pub(super) lone_surrogates: bool,
    /// The container that is open here, if any is.
    pub(super) innermost: Token,
    /// How many containers are open here.
    pub(super) depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // A token for every eight bytes is what a form has. A large text has fewer, a list of
        // digits four times that.
        let entries = Vec::with_capacity(8 + text.len().min(limits::INDEX_RESERVED) / 8);
        let (too_deep, lone_surrogates, innermost, depth) = (None, false, 0, 0);
        Self { src: text.as_bytes(), at: 0, entries, too_deep, lone_surrogates, innermost, depth }
    }

    /// Reads one value with nothing but white space around it.
    pub(super) fn document(&mut self) -> Result<(), Fault> {
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
        while self.depth > 0 {
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
        self.entries.get(self.innermost).is_some_and(|entry| entry.kind == Kind::Object)
    }

    /// Closes the innermost container, if its end is here.
    fn container_ends(&mut self) -> bool {
        let end = if self.in_object() { b'}' } else { b']' };
        if self.peek() != Some(end) {
            return false;
        }
        let close = self.entries.len();
        if let Some(entry) = self.entries.get_mut(self.innermost) {
            self.innermost = wide(std::mem::replace(&mut entry.link, narrow(close)));
            self.depth -= 1;
        }
        self.entries.push(Entry { kind: Kind::Close, start: narrow(self.at), link: 0 });
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
        if self.depth >= limits::INDEX_DEPTH {
            return Err("nested too deep");
        }
        let token = self.entries.len();
        if self.depth == limits::DEPTH {
            self.too_deep.get_or_insert(token);
        }
        self.entries.push(Entry { kind, start: narrow(self.at), link: narrow(self.innermost) });
        self.innermost = token;
        self.depth += 1;
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
                self.lone_surrogates |= low.is_none() && (is_high(unit) || is_low(unit));
                self.at += if low.is_some() { 12 } else { 6 };
            }
            _ => return Err("an unknown escape"),
        }
        Ok(())
    }

    fn leaf(&mut self, kind: Kind, start: usize) {
        self.entries.push(Entry { kind, start: narrow(start), link: narrow(self.at) });
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

/// Steps over bytes of a string that need no look, eight at a time: not a quote, not a backslash,
/// not a control character, and, unless `wide`, not DEL and not beyond ASCII. Stops at the first
/// other byte or near the end.
fn ordinary(src: &[u8], at: usize, wide: bool) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = ONES * 0x22;
    const BACKSLASHES: u64 = ONES * 0x5c;
    const SPACES: u64 = ONES * 0x20;
    let (chunks, _) = src.get(at..).unwrap_or_default().as_chunks::<8>();
    for (nth, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // A byte's high bit is set where the byte is zero (or beyond ASCII), and maybe above such a
        // byte, by a borrow: the lowest is exact.
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
