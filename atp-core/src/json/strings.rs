//! The values of strings, from their sources.

use std::borrow::Cow;

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

/// The value of a string's source with its quotes, a lone surrogate as U+FFFD. `None` for the
/// source of any other value.
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
pub(super) fn generalized(inner: &str, bytes: &mut Vec<u8>) {
    #[cfg(test)]
    DECODED.set(DECODED.get() + 1);
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

/// The same JSON text with every lone surrogate spelled `\ufffd`, for parsers that refuse the
/// former.
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

pub(super) fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

pub(super) fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// The low half that a `\uXXXX` right here spells.
pub(super) fn low_half(bytes: &[u8]) -> Option<u16> {
    unit(bytes.strip_prefix(b"\\u")?).filter(|unit| is_low(*unit))
}

/// Four hexadecimal digits.
pub(super) fn unit(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<4>()?.iter().try_fold(0_u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
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

#[cfg(test)]
thread_local! {
    /// How many strings were decoded on this thread, for the tests that count them.
    pub(super) static DECODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
