//! The text that a sender signs when it signs the parsed payload and not its bytes.
//!
//! [`python()`] and [`node()`] give, byte for byte, what CPython and V8 print for a body. Both walk the same index; what
//! differs between the two languages is a `Dialect`.

mod node;
mod python;

use std::ops::Range;

use crate::json::{Index, Kind, Names, NotJson, Token};

/// What CPython's `json.dumps(json.loads(body), sort_keys=True)` prints.
///
/// Bodies are RFC 8259 text up to 1,023 levels deep; anything else is refused, also where CPython would take it
/// (UTF-16, a byte order mark, `NaN`). A repeated member keeps its last value. Integers have at most 4,300 digits; a
/// number that is too large for a double is printed as `Infinity`, as CPython does.
///
/// ```
/// let text = atp_core::canonical::python(br#"{"b":1e2,"a":"\u00e9\/"}"#)?;
/// assert_eq!(text, r#"{"a": "\u00e9/", "b": 100.0}"#);
/// # Ok::<(), atp_core::CanonicalError>(())
/// ```
pub fn python(body: &[u8]) -> Result<String, CanonicalError> {
    Ok(print::<python::Python>(&Index::of(body)?)?.text)
}

/// What V8's `JSON.stringify(JSON.parse(body))` prints.
///
/// Bodies are RFC 8259 text up to 1,023 levels deep; anything else is refused. A repeated member keeps its first place
/// and its last value, names that are array indices come first, every number is a double, and one that is too large
/// for it is printed as `null`.
///
/// ```
/// let text = atp_core::canonical::node(br#"{"b": 1e2, "7": "\u00e9\/"}"#)?;
/// assert_eq!(text, r#"{"7":"é/","b":100}"#);
/// # Ok::<(), atp_core::CanonicalError>(())
/// ```
pub fn node(body: &[u8]) -> Result<String, CanonicalError> {
    Ok(print::<node::Node>(&Index::of(body)?)?.text)
}

/// Why a body has no canonical text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The body is not JSON.
    #[error("not JSON: {0}")]
    NotJson(#[from] NotJson),
    /// CPython refuses integers of more than 4,300 digits.
    #[error("an integer of {digits} digits at byte {offset}: CPython signs at most 4300")]
    TooManyDigits {
        /// How many digits it has.
        digits: usize,
        /// The byte, from 0, where it starts.
        offset: usize,
    },
}

/// Which of the two languages printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Node,
}

pub(crate) fn print_as(language: Language, index: &Index<'_>) -> Result<Printed, CanonicalError> {
    match language {
        Language::Python => print::<python::Python>(index),
        Language::Node => print::<node::Node>(index),
    }
}

/// A canonical text, and where the members of its root are, so that it need not be parsed again.
pub(crate) struct Printed {
    pub(crate) text: String,
    /// Where the names are in `text`, with their quotes, and where their values are; empty if the root is no object.
    pub(crate) members: Vec<(Range<usize>, Range<usize>)>,
    /// Where `text` says `Infinity`, which is not JSON.
    pub(crate) infinity: Option<(Token, usize)>,
    /// Whether a member was left out because a later one has its name.
    pub(crate) repeats: bool,
}

/// What the two languages do differently.
trait Dialect {
    const COMMA: &'static str;
    const COLON: &'static str;

    /// Appends the names of an object in printing order, without those that a later one replaces. `names` takes its members.
    fn order(index: &Index<'_>, object: Token, names: &mut Names, order: &mut Vec<Token>);

    /// Appends the source of a number. Says whether the result is one.
    fn number(source: &str, integer: bool, out: &mut String) -> Result<bool, TooManyDigits>;

    /// Appends a string, from its source with the quotes.
    fn string(source: &str, spelling: crate::json::Spelling, out: &mut String);
}

struct TooManyDigits(usize);

/// A container that is being printed.
struct Frame {
    is_object: bool,
    /// Nothing of it has been printed yet.
    empty: bool,
    /// Of an array: the token of the next element. Of an object: the place in `order` of the next name.
    next: usize,
    /// Of an object: where its names start in `order`.
    names: usize,
}

fn print<D: Dialect>(index: &Index<'_>) -> Result<Printed, CanonicalError> {
    let mut printer = Printer::<D> {
        index,
        printed: Printed {
            text: String::with_capacity(index.raw(0).len() / 16 * 17 + 64),
            members: Vec::new(),
            infinity: None,
            repeats: false,
        },
        open: Vec::new(),
        order: Vec::new(),
        names: Names::default(),
        dialect: std::marker::PhantomData,
    };
    printer.value(0)?;
    while let Some(value) = printer.step() {
        printer.value(value)?;
    }
    if printer.printed.repeats {
        // A sender reads the values that it does not print, and may refuse an integer.
        let mut unused = String::new();
        for integer in index.numbers().filter(|token| index.kind(*token) == Kind::Integer) {
            unused.clear();
            print_number::<D>(index, integer, &mut unused)?;
        }
    }
    Ok(printer.printed)
}

/// Appends a number. Says whether the result is one.
fn print_number<D: Dialect>(
    index: &Index<'_>,
    token: Token,
    out: &mut String,
) -> Result<bool, CanonicalError> {
    D::number(index.raw(token), index.kind(token) == Kind::Integer, out).map_err(|TooManyDigits(digits)| {
        CanonicalError::TooManyDigits { digits, offset: index.span(token).start }
    })
}

struct Printer<'a, D> {
    index: &'a Index<'a>,
    printed: Printed,
    open: Vec<Frame>,
    /// The names of all open objects, in printing order.
    order: Vec<Token>,
    /// Used for one object after another.
    names: Names,
    dialect: std::marker::PhantomData<D>,
}

impl<D: Dialect> Printer<'_, D> {
    /// Prints a scalar, or the start of a container.
    fn value(&mut self, token: Token) -> Result<(), CanonicalError> {
        let out = &mut self.printed.text;
        match self.index.kind(token) {
            Kind::Object => self.open_object(token),
            Kind::Array => {
                out.push('[');
                self.open.push(Frame { is_object: false, empty: true, next: token + 1, names: 0 });
            }
            Kind::String(spelling) => D::string(self.index.raw(token), spelling, out),
            Kind::Integer | Kind::Float => {
                let start = out.len();
                if !print_number::<D>(self.index, token, out)? {
                    self.printed.infinity.get_or_insert((token, start));
                }
            }
            Kind::True | Kind::False | Kind::Null | Kind::Close => out.push_str(self.index.raw(token)),
        }
        Ok(())
    }

    fn open_object(&mut self, token: Token) {
        self.printed.text.push('{');
        let names = self.order.len();
        D::order(self.index, token, &mut self.names, &mut self.order);
        self.printed.repeats |= self.order.len() - names < self.names.list.len();
        self.open.push(Frame { is_object: true, empty: true, next: names, names });
    }

    /// After a value: prints what stands before the next one, and says which that is.
    fn step(&mut self) -> Option<Token> {
        loop {
            let depth = self.open.len();
            let frame = self.open.last_mut()?;
            let out = &mut self.printed.text;
            let next = if frame.is_object {
                self.order.get(frame.next).copied()
            } else {
                Some(frame.next).filter(|&element| self.index.kind(element) != Kind::Close)
            };
            if depth == 1
                && let Some((_, value)) = self.printed.members.last_mut()
            {
                value.end = out.len();
            }
            let Some(token) = next else {
                out.push(if frame.is_object { '}' } else { ']' });
                if frame.is_object {
                    self.order.truncate(frame.names);
                }
                self.open.pop();
                continue;
            };
            if !frame.empty {
                out.push_str(D::COMMA);
            }
            frame.empty = false;
            if !frame.is_object {
                frame.next = self.index.after(token);
                return Some(token);
            }
            frame.next += 1;
            let start = out.len();
            if let Kind::String(spelling) = self.index.kind(token) {
                D::string(self.index.raw(token), spelling, out);
            }
            let name = start..out.len();
            out.push_str(D::COLON);
            if depth == 1 {
                self.printed.members.push((name, out.len()..out.len()));
            }
            return Some(token + 1);
        }
    }
}

/// The escapes of two characters that both languages print; both print every other one in their own way.
fn short_escape(char: char) -> Option<&'static str> {
    Some(match char {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        _ => return None,
    })
}

/// The nearest double to a number's source.
///
/// Not by the standard library, which takes fifty times as long where many digits lie between two doubles, as a stranger can
/// arrange, and which stops counting an exponent at five digits. Zeros that make up for a larger one are counted here.
fn double(source: &str) -> f64 {
    if source.len() < 1000 {
        return nearest(source);
    }
    let (sign, source) = source.split_at_checked(usize::from(source.starts_with('-'))).unwrap_or_default();
    let (decimal, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    let place = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    let shift = place(whole.len()) - place(digits.len() - significant.len());
    let far = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent = exponent.parse().unwrap_or(far).saturating_add(shift).clamp(-9999, 9999);
    nearest(&format!("{sign}0.{significant}e{exponent}"))
}

/// Of a number in the form of JSON, which is a number there too.
fn nearest(source: &str) -> f64 {
    lexical_parse_float::FromLexical::from_lexical(source.as_bytes()).unwrap_or_default()
}

/// A decimal number between 0 and the largest double, without its sign: 1.25e-7 is the digits 125 and the exponent -7.
struct Decimal {
    digits: [u8; Self::MOST],
    /// How many of them there are.
    len: usize,
    /// The power of ten of the first.
    exponent: i32,
}

impl Decimal {
    /// As many digits as any double needs.
    const MOST: usize = 17;

    /// The shortest digits that read back as the same double, without zeros at either end; one zero for zero.
    ///
    /// Of two that are equally near, the even one, as in CPython and V8; the standard library takes the upper one.
    fn shortest(value: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let (decimal, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut shortest =
            Self { digits: [b'0'; Self::MOST], len: 0, exponent: exponent.parse().unwrap_or_default() };
        // The exponent is that of the digit before the point, and grows with each one more.
        let (mut is_whole, mut zeros, mut before) = (true, 0, -1);
        for byte in decimal.bytes() {
            match byte {
                b'.' => is_whole = false,
                b'0' if shortest.len == 0 => before -= i32::from(!is_whole),
                b'0' => {
                    before += i32::from(is_whole);
                    zeros += 1;
                }
                digit => {
                    before += i32::from(is_whole);
                    shortest.len += zeros;
                    zeros = 0;
                    shortest.push(digit);
                }
            }
        }
        shortest.exponent += before;
        if shortest.len == 0 { Self { len: 1, exponent: 0, ..shortest } } else { shortest }
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.digits.get_mut(self.len) {
            *place = digit;
            self.len += 1;
        }
    }

    fn digits(&self) -> &str {
        let digits = self.digits.get(..self.len).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }

    /// Whether nothing stands behind the point.
    fn is_integer(&self) -> bool {
        usize::try_from(self.exponent + 1).is_ok_and(|whole| whole >= self.len)
    }

    /// Appends the digits with the point where the exponent says: within, after zeros, or behind zeros.
    fn positional(&self, out: &mut String) {
        let digits = self.digits();
        let Ok(whole) = usize::try_from(self.exponent + 1) else {
            out.push_str("0.");
            push_zeros(usize::try_from(-self.exponent - 1).unwrap_or_default(), out);
            out.push_str(digits);
            return;
        };
        match digits.split_at_checked(whole) {
            Some((_, "")) => out.push_str(digits),
            Some(("", fraction)) => {
                out.push_str("0.");
                out.push_str(fraction);
            }
            Some((whole, fraction)) => {
                out.push_str(whole);
                out.push('.');
                out.push_str(fraction);
            }
            None => {
                out.push_str(digits);
                push_zeros(whole - digits.len(), out);
            }
        }
    }

    /// Appends the digits in exponent form, the exponent with its sign and at least `width` digits.
    fn exponential(&self, width: usize, out: &mut String) {
        let (first, rest) = self.digits().split_at_checked(1).unwrap_or_default();
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        out.push_str(if self.exponent < 0 { "e-" } else { "e+" });
        let exponent = self.exponent.unsigned_abs();
        let digit = |unit: u32| char::from_digit(exponent / unit % 10, 10).unwrap_or('0');
        if exponent >= 100 {
            out.push(digit(100));
        }
        if exponent >= 10 || width > 1 {
            out.push(digit(10));
        }
        out.push(digit(1));
    }
}

fn push_zeros(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n('0', count));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CPython 3.11 and Node 20 print them.
    #[test]
    fn zeros_that_make_up_for_an_exponent_are_counted() {
        let zeros = |count: usize| "0".repeat(count);
        for (source, in_python, in_node) in [
            (format!("0.{}1e70001", zeros(70_000)), "1.0", "1"),
            (format!("1{}e-70000", zeros(70_000)), "1.0", "1"),
            (format!("-0.{}25e2002", zeros(2000)), "-25.0", "-25"),
            (format!("0.{}e99999999999999999999", zeros(70_000)), "0.0", "0"),
            (format!("1{}e99999999999999999999", zeros(2000)), "Infinity", "null"),
            (format!("1{}e-99999999999999999999", zeros(2000)), "0.0", "0"),
        ] {
            let (start, len) = (source.get(..9), source.len());
            assert_eq!(python(source.as_bytes()).unwrap(), in_python, "{start:?} of {len}");
            assert_eq!(node(source.as_bytes()).unwrap(), in_node, "{start:?} of {len}");
        }
    }
}
