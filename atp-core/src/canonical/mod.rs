//! The text that a sender signs when it signs the parsed payload and not its bytes.
//!
//! [`python()`] and [`node()`] give, byte for byte, what CPython and V8 print for a body. Both walk
//! the same index; what differs between the two languages is a `Dialect`.

mod dialect;
mod node;
mod number;
mod python;

use std::ops::Range;

use self::dialect::{Dialect, TooManyDigits};
use crate::{
    json::{Index, Kind, Names, NotJson, Token},
    limits,
};

/// What CPython's `json.dumps(json.loads(body), sort_keys=True)` prints.
///
/// Bodies are RFC 8259 text up to 1,023 levels deep; anything else is refused, also where CPython
/// would take it (UTF-16, a byte order mark, `NaN`). A repeated member keeps its last value.
/// Integers have at most 4,300 digits; a number that is too large for a double is printed as
/// `Infinity`, as CPython does.
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
/// Bodies are RFC 8259 text up to 1,023 levels deep; anything else is refused. A repeated member
/// keeps its first place and its last value, names that are array indices come first, every number
/// is a double, and one that is too large for it is printed as `null`.
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
    #[error(
        "an integer of {digits} digits at byte {offset}: CPython signs at most {}",
        limits::PYTHON_DIGITS
    )]
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
    /// Where the names are in `text`, with their quotes, and where their values are; empty if the
    /// root is no object.
    pub(crate) members: Vec<(Range<usize>, Range<usize>)>,
    /// Where `text` says `Infinity`, which is not JSON.
    pub(crate) infinity: Option<(Token, usize)>,
    /// Whether a member was left out because a later one has its name.
    pub(crate) repeats: bool,
}

/// So many members an answer has as a rule, and fewer levels: what is reserved at once.
const USUAL_MEMBERS: usize = 8;

/// A container that is being printed.
struct Frame {
    is_object: bool,
    /// Nothing of it has been printed yet.
    empty: bool,
    /// Of an array: the token of the next element. Of an object: the place in `order` of the next
    /// name.
    next: usize,
    /// Of an object: where its names start in `order`.
    names: usize,
}

fn print<D: Dialect>(index: &Index<'_>) -> Result<Printed, CanonicalError> {
    let mut printer = Printer::<D> {
        index,
        printed: Printed {
            text: String::with_capacity(index.raw(0).len() / 16 * 17 + 64),
            members: Vec::with_capacity(USUAL_MEMBERS),
            infinity: None,
            repeats: false,
        },
        open: Vec::with_capacity(USUAL_MEMBERS),
        order: Vec::with_capacity(2 * USUAL_MEMBERS),
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
