//! What CPython's `json.dumps(.., sort_keys=True)` does.

use super::{Dialect, TooManyDigits, double, exponential, positional, short_escape, shortest};
use crate::json::{Index, Name, Scalar, Spelling, scalars, unquote};

/// `sys.int_info.default_max_str_digits`.
const MAX_DIGITS: usize = 4300;

pub(super) struct Python;

impl Dialect for Python {
    const COMMA: &'static str = ", ";
    const COLON: &'static str = ": ";

    /// By code point, as they come; of equal names the last stays.
    fn order(index: &Index<'_>, names: &mut Vec<Name>) {
        names.dedup_by(|later, kept| {
            let same = index.same(later, kept);
            if same {
                *kept = *later;
            }
            same
        });
    }

    /// Integers are exact, everything else is the `repr` of a double.
    fn number(source: &str, integer: bool, out: &mut String) -> Result<bool, TooManyDigits> {
        if integer {
            let digits = source.trim_start_matches('-').len();
            if digits > MAX_DIGITS {
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
        let (digits, exponent) = shortest(value);
        if !(-4..16).contains(&exponent) {
            exponential(&digits, exponent, 2, out);
            return Ok(true);
        }
        positional(&digits, exponent, out);
        if usize::try_from(exponent + 1).is_ok_and(|whole| whole >= digits.len()) {
            out.push_str(".0");
        }
        Ok(true)
    }

    /// Printable ASCII stays; short escapes where there are such; else four lower-case digits a UTF-16 unit.
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
