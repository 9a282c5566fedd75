//! What CPython's `json.dumps(.., sort_keys=True)` does.

use super::{
    dialect::{Dialect, TooManyDigits, short_escape},
    number::{Decimal, double},
};
use crate::json::{Index, Name, Names, Scalar, Spelling, Token, scalars, unquote};
use crate::limits;

pub(super) struct Python;

impl Dialect for Python {
    const COMMA: &'static str = ", ";
    const COLON: &'static str = ": ";

    /// By code point; of equal names the last stays.
    fn order(index: &Index<'_>, object: Token, names: &mut Names, order: &mut Vec<Token>) {
        names.fill(index, object);
        names.sort(index);
        order.extend(names.twins(index).filter_map(|twins| twins.iter().map(Name::token).max()));
    }

    /// Integers are exact, everything else is the `repr` of a double.
    fn number(source: &str, integer: bool, out: &mut String) -> Result<bool, TooManyDigits> {
        if integer {
            let digits = source.trim_start_matches('-').len();
            if digits > limits::PYTHON_DIGITS {
                return Err(TooManyDigits(digits));
            }
            out.push_str(if source == "-0" { "0" } else { source });
            return Ok(true);
        }
        let value = double(source);
        if value.is_sign_negative() {
            out.push('-');
        }
        if value.is_infinite() {
            out.push_str("Infinity");
            return Ok(false);
        }
        let decimal = Decimal::shortest(value);
        if !(-4..16).contains(&decimal.exponent) {
            decimal.exponential(2, out);
            return Ok(true);
        }
        decimal.positional(out);
        if decimal.is_integer() {
            out.push_str(".0");
        }
        Ok(true)
    }

    /// Printable ASCII stays; short escapes where there are such; else four lower-case digits a
    /// UTF-16 unit.
    fn string(source: &str, spelling: Spelling, out: &mut String) {
        if spelling.is_ascii_canonical() {
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
                Scalar::Char(char @ ' '..='~') => out.push(char),
                Scalar::Char(char) => {
                    char.encode_utf16(&mut [0; 2]).iter().for_each(|&unit| escape(unit, out));
                }
                Scalar::Lone(unit) => escape(unit, out),
            }
        }
        out.push('"');
    }
}

/// `\u` and four lower-case hexadecimal digits.
pub(super) fn escape(unit: u16, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from_digit(u32::from(unit >> shift & 0xf), 16).unwrap_or('0'));
    }
}
