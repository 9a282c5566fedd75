//! What V8's `JSON.stringify` does.

use super::{
    dialect::{Dialect, TooManyDigits, short_escape},
    number::{Decimal, double},
    python::escape,
};
use crate::json::{Index, Name, Names, Scalar, Spelling, Token, scalars, unquote};

pub(super) struct Node;

impl Dialect for Node {
    const COMMA: &'static str = ",";
    const COLON: &'static str = ":";

    /// Array indices by their number, then the others in the order of the text. Of equal names the
    /// first gives the place and the last the value.
    fn order(index: &Index<'_>, object: Token, names: &mut Names, order: &mut Vec<Token>) {
        names.fill(index, object);
        if names.may_repeat(index, object) {
            names.sort(index);
        } else if !names.list.iter().any(|name| array_index(names.value(index, name)).is_some()) {
            return order.extend(names.list.iter().map(Name::token));
        }
        let mut placed: Vec<(Option<u32>, Token, Token)> = Vec::with_capacity(names.list.len());
        for twins in names.twins(index) {
            let tokens = || twins.iter().map(Name::token);
            if let (Some(name), Some(first), Some(last)) = (twins.first(), tokens().min(), tokens().max()) {
                placed.push((array_index(names.value(index, name)), first, last));
            }
        }
        placed.sort_unstable_by_key(|&(number, first, _)| (number.is_none(), number, first));
        order.extend(placed.into_iter().map(|(.., last)| last));
    }

    /// Every number is a double; `Number::toString` of ECMA-262.
    fn number(source: &str, integer: bool, out: &mut String) -> Result<bool, TooManyDigits> {
        // Up to 15 digits a double holds exactly, and prints as they are.
        if integer && source.len() <= 15 && source != "-0" {
            out.push_str(source);
            return Ok(true);
        }
        let value = double(source);
        if value.is_infinite() {
            out.push_str("null");
            return Ok(true);
        }
        if value < 0.0 {
            out.push('-');
        }
        let decimal = Decimal::shortest(value);
        if (-6..21).contains(&decimal.exponent) {
            decimal.positional(out);
        } else {
            decimal.exponential(1, out);
        }
        Ok(true)
    }

    /// Only quotes, backslashes, control characters and lone surrogates are escaped.
    fn string(source: &str, spelling: Spelling, out: &mut String) {
        if spelling.is_canonical() {
            return out.push_str(source);
        }
        out.push('"');
        for scalar in scalars(unquote(source)) {
            if let Scalar::Char(char) = scalar
                && let Some(escaped) = short_escape(char)
            {
                out.push_str(escaped);
                continue;
            }
            match scalar {
                Scalar::Char(char @ ..'\u{20}') => {
                    escape(u16::try_from(u32::from(char)).unwrap_or_default(), out);
                }
                Scalar::Char(char) => out.push(char),
                Scalar::Lone(unit) => escape(unit, out),
            }
        }
        out.push('"');
    }
}

/// A name that is an array index in ECMA-262: the decimal of an integer from 0 to 2³² − 2.
fn array_index(name: &[u8]) -> Option<u32> {
    let canonical = matches!(name, [b'0'] | [b'1'..=b'9', ..]) && name.len() <= 10;
    let digits = std::str::from_utf8(name).ok().filter(|_| canonical && name.iter().all(u8::is_ascii_digit));
    digits?.parse().ok().filter(|&index| index != u32::MAX)
}
