//! Numbers as they are written: exact, however long.

use std::{borrow::Cow, cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use serde_json::value::RawValue;

use crate::{json::printable, limits};

/// A decimal number, exactly as it was written: what a rule of a question says, without a detour
/// through a double.
///
/// It is read and written by `serde_json` digit for digit. From a `serde_json::Value`, which holds
/// a double where a number does not fit into 64 bits, it gets what that holds.
///
/// ```
/// use atp_core::Decimal;
///
/// let limit: Decimal = "18446744073709551616.5".parse()?;
/// assert_eq!(limit.to_string(), "18446744073709551616.5");
/// assert_eq!("1.50".parse::<Decimal>()?, "15e-1".parse()?);
/// assert!("0x10".parse::<Decimal>().is_err());
/// # Ok::<(), atp_core::DecimalError>(())
/// ```
#[derive(Clone)]
pub struct Decimal(String);

impl Decimal {
    /// The longest text, in bytes.
    pub const MAX_LEN: usize = limits::DECIMAL;

    /// The number as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts::of(&self.0)
    }
}

/// Why a text is no [`Decimal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no JSON number of at most {} bytes with an exponent of at most {} digits",
    limits::DECIMAL,
    limits::DECIMAL_EXPONENT_DIGITS
)]
pub struct DecimalError {
    text: String,
}

impl DecimalError {
    /// Keeps the start of the text as one line.
    fn of(text: &str) -> Self {
        let mut chars = printable(text).chars().collect::<Vec<_>>();
        if chars.len() > limits::POINTER_NAME {
            chars.truncate(limits::POINTER_NAME);
            chars.push('…');
        }
        Self { text: chars.into_iter().collect() }
    }
}

/// A JSON number (RFC 8259, section 6) of at most [`Decimal::MAX_LEN`] bytes, with an exponent of
/// at most 15 digits.
impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let exponent = text.split_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
        let is_short = text.len() <= Self::MAX_LEN
            && exponent.trim_start_matches(['+', '-']).len() <= limits::DECIMAL_EXPONENT_DIGITS;
        // `serde_json` skips white space around a value.
        let is_bare = text.bytes().all(|byte| !byte.is_ascii_whitespace());
        let is_number = || text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let is_json = || serde_json::from_str::<&RawValue>(text).is_ok();
        if is_short && is_bare && is_number() && is_json() {
            Ok(Self(text.to_owned()))
        } else {
            Err(DecimalError::of(text))
        }
    }
}

impl From<serde_json::Number> for Decimal {
    fn from(number: serde_json::Number) -> Self {
        Self(number.to_string())
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Decimal {
            fn from(number: $integer) -> Self {
                Self(number.to_string())
            }
        }
    )*};
}
from_integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

/// By value: `1`, `1.0` and `1e0` are equal.
impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        normal(&self.0) == normal(&other.0)
    }
}

impl Eq for Decimal {}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Digit for digit with `serde_json` only, like its `RawValue`.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = source(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text of a JSON value. From `serde_json` digit for digit; a value that was buffered on its
/// way, as in a flattened or an untagged type of the caller's, has lost it and is printed again.
pub(crate) fn source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(Source(deserializer))?;
    Ok(raw.get().to_owned())
}

/// A deserializer that is asked for a `RawValue`, and may be one that has none.
struct Source<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Source<D> {
    type Error = D::Error;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Printing { name, visitor })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The visitor of a `RawValue`, which gets a printed text where there is no raw one.
struct Printing<V> {
    name: &'static str,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Printing<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, raw: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(raw)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, buffered: D) -> Result<V::Value, D::Error> {
        let value = serde_json::Value::deserialize(buffered)?;
        value.deserialize_newtype_struct(self.name, self.visitor).map_err(serde::de::Error::custom)
    }
}

/// The normal form of a JSON number, which equal numbers share and no others: `-` if it is
/// negative; its digits without leading and trailing zeros; and, if the power of ten by which these
/// are to be multiplied is not 0, `e` and that power. Zero is `0`, also where it is written `-0`.
///
/// Time and size are linear in the source, whatever its exponent: that is never expanded.
pub(crate) fn normal(source: &str) -> Cow<'_, str> {
    let is_short =
        source.len() < 19 && !source.ends_with('0') && source.bytes().all(|byte| byte.is_ascii_digit());
    if is_short || source == "0" {
        return Cow::Borrowed(source);
    }
    let (sign, source) = source.strip_prefix('-').map_or(("", source), |rest| ("-", rest));
    let (decimal, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let (whole, fraction, places) = if fraction.is_empty() {
        let digits = whole.trim_end_matches('0');
        (digits, "", length(whole.len() - digits.len()))
    } else if whole.is_empty() {
        ("", fraction.trim_start_matches('0'), -length(fraction.len()))
    } else {
        (whole, fraction, -length(fraction.len()))
    };
    if whole.is_empty() && fraction.is_empty() {
        return Cow::Borrowed("0");
    }
    let power = add(exponent, places);
    let mark = if power == "0" { ["", ""] } else { ["e", &power] };
    Cow::Owned([sign, whole, fraction, mark[0], mark[1]].concat())
}

/// An exponent of any length plus a number of places, which are fewer than 2^33.
fn add(exponent: &str, places: i64) -> String {
    let (is_negative, digits) = match exponent.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let digits = digits.trim_start_matches('0');
    let split =
        digits.len().checked_sub(TAIL).filter(|at| *at > 0).and_then(|at| digits.split_at_checked(at));
    let Some((head, tail)) = split else {
        let size = digits.parse().unwrap_or(0);
        return (places + if is_negative { -size } else { size }).to_string();
    };
    // Larger than the places, so the sign stays.
    let tail = tail.parse().unwrap_or(0) + if is_negative { -places } else { places };
    let (head, tail) = match tail {
        ..0 => (step(head, '0', '9', -1), tail + TAIL_END),
        TAIL_END.. => (step(head, '9', '0', 1), tail - TAIL_END),
        _ => (head.to_owned(), tail),
    };
    let digits = format!("{head}{tail:0TAIL$}");
    format!("{}{}", if is_negative { "-" } else { "" }, digits.trim_start_matches('0'))
}

/// So many last digits of an exponent are added to as one number.
const TAIL: usize = 17;
const TAIL_END: i64 = 100_000_000_000_000_000;

/// Digits plus or minus one: those at the end that are `last` become `first`, and the one before
/// them changes.
fn step(digits: &str, last: char, first: char, by: i8) -> String {
    let kept = digits.trim_end_matches(last);
    let turned = first.to_string().repeat(digits.len() - kept.len());
    let (kept, digit) = match kept.split_at_checked(kept.len().saturating_sub(1)) {
        Some((kept, digit)) if !digit.is_empty() => (kept, digit.parse().unwrap_or(0)),
        _ => ("", 0_i8),
    };
    format!("{kept}{}{turned}", digit + by)
}

/// A number to be calculated with: `0.<digits> × 10^exponent`, without zeros at either end of the
/// digits.
pub(crate) struct Parts {
    is_negative: bool,
    /// ASCII digits; none for zero.
    digits: Vec<u8>,
    exponent: i64,
}

impl Parts {
    pub(crate) fn of(source: &str) -> Self {
        let (is_negative, source) = source.strip_prefix('-').map_or((false, source), |rest| (true, rest));
        let (decimal, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
        let mut digits = [whole, fraction].concat().into_bytes();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        // An exponent beyond 18 digits is farther than any number of a question.
        let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(far).clamp(i64::MIN / 2, i64::MAX / 2);
        let exponent = if digits.is_empty() { 0 } else { exponent + length(whole.len()) - length(zeros) };
        Self { is_negative, digits, exponent }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match number {
            number if number.is_zero() => 0,
            number if number.is_negative => -1,
            _ => 1,
        };
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if self.is_negative => magnitude().reverse(),
            Ordering::Equal => magnitude(),
            different => different,
        }
    }

    /// The power of ten of the last digit.
    fn last_place(&self) -> i64 {
        self.exponent - length(self.digits.len())
    }

    /// Whether this is `from` plus a whole number of steps. A step of 0 demands nothing; one that
    /// cannot be counted from there is not judged, and nothing fits it.
    pub(crate) fn is_multiple(&self, step: &Self, from: &Self) -> bool {
        if step.is_zero() {
            return true;
        }
        let unit = step.unit_from(from);
        let Some(modulus) = step.in_units(unit).filter(|_| self.is_zero() || self.last_place() >= unit)
        else {
            return false;
        };
        self.remainder(unit, modulus) == from.remainder(unit, modulus)
    }

    /// Whether steps can be counted from there: a step is at most 2^64 units of the last place of
    /// either.
    pub(crate) fn counts_from(&self, from: &Self) -> bool {
        self.is_zero() || self.in_units(self.unit_from(from)).is_some()
    }

    fn unit_from(&self, from: &Self) -> i64 {
        if from.is_zero() { self.last_place() } else { self.last_place().min(from.last_place()) }
    }

    /// The magnitude as a whole number of `10^unit`, if it is one below 2^64.
    fn in_units(&self, unit: i64) -> Option<u64> {
        let digits = std::str::from_utf8(&self.digits).ok()?.parse::<u64>().ok()?;
        let power = u32::try_from(self.last_place() - unit).ok()?;
        digits.checked_mul(10_u64.checked_pow(power)?)
    }

    /// This in units of `10^unit`, which must not be above its last place, modulo `modulus`: from 0
    /// up.
    fn remainder(&self, unit: i64, modulus: u64) -> u64 {
        let modulus = u128::from(modulus);
        let (mut power, mut base) = (1 % modulus, 10 % modulus);
        let mut places = if self.is_zero() { 0 } else { self.last_place().abs_diff(unit) };
        while places > 0 {
            if places & 1 == 1 {
                power = power * base % modulus;
            }
            base = base * base % modulus;
            places >>= 1;
        }
        let digits = self.digits.iter();
        let value = digits.fold(0, |value, digit| (value * 10 + u128::from(digit - b'0')) % modulus);
        let value = value * power % modulus;
        let value = if self.is_negative && value > 0 { modulus - value } else { value };
        // Below a modulus of 64 bits.
        u64::try_from(value).unwrap_or_default()
    }
}

fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_and_no_others_have_one_normal_form() {
        let long = |digit: &str, count: usize| digit.repeat(count);
        for (source, expected) in [
            ("0", "0".to_owned()),
            ("-0", "0".to_owned()),
            ("0.000e99999999999999999999", "0".to_owned()),
            ("1", "1".to_owned()),
            ("1.0", "1".to_owned()),
            ("10e-1", "1".to_owned()),
            ("0.1e1", "1".to_owned()),
            ("100", "1e2".to_owned()),
            ("-120.50", "-1205e-1".to_owned()),
            ("0.1", "1e-1".to_owned()),
            ("0.00012", "12e-5".to_owned()),
            ("0.1000000000000000000001", "1000000000000000000001e-22".to_owned()),
            ("9007199254740993", "9007199254740993".to_owned()),
            ("1e99999999999999999999", "1e99999999999999999999".to_owned()),
            ("10E+99999999999999999998", "1e99999999999999999999".to_owned()),
            ("10e99999999999999999999", "1e100000000000000000000".to_owned()),
            ("0.1e100000000000000000000", "1e99999999999999999999".to_owned()),
            ("0.1e-99999999999999999999", "1e-100000000000000000000".to_owned()),
            ("10e-100000000000000000000", "1e-99999999999999999999".to_owned()),
            ("1e-000000000000000000000000000001", "1e-1".to_owned()),
            ("10e9223372036854775807", "1e9223372036854775808".to_owned()),
            ("0.1e-9223372036854775808", "1e-9223372036854775809".to_owned()),
            (&format!("1e{}", long("9", 5000)), format!("1e{}", long("9", 5000))),
            (&format!("10e{}", long("9", 5000)), format!("1e1{}", long("0", 5000))),
            (&format!("0.1e1{}", long("0", 5000)), format!("1e{}", long("9", 5000))),
            (&format!("{}e-5", long("0", 1)), "0".to_owned()),
            (&format!("0.{}", long("7", 100_000)), format!("{}e-100000", long("7", 100_000))),
            (&format!("{}e7", long("50", 100_000)), format!("{}5e8", long("50", 99_999))),
        ] {
            let shown = source.get(..60).unwrap_or(source);
            assert!(normal(source) == expected, "{shown}: {:.60}", normal(source));
            // What is printed has itself as its normal form.
            assert!(normal(&expected) == expected, "{shown}");
        }
    }

    #[test]
    fn a_decimal_is_read_and_written_digit_for_digit() {
        #[derive(Deserialize)]
        struct Plain {
            limit: Option<Decimal>,
        }
        #[derive(Deserialize)]
        struct Flat {
            #[serde(flatten)]
            plain: Plain,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Plain(Plain),
        }
        let exact = "18446744073709551616.00000000000000000000000000001";
        let json = format!(r#"{{"limit": {exact}}}"#);
        let limit = serde_json::from_str::<Plain>(&json).unwrap().limit.unwrap();
        assert_eq!(limit.as_str(), exact);
        assert_eq!(serde_json::to_string(&limit).unwrap(), exact);
        // Buffered numbers are what their buffer holds.
        let json = r#"{"limit": 0.5}"#;
        assert_eq!(serde_json::from_str::<Flat>(json).unwrap().plain.limit.unwrap().as_str(), "0.5");
        let Either::Plain(plain) = serde_json::from_str(json).unwrap();
        assert_eq!(plain.limit.unwrap().as_str(), "0.5");
        let value = serde_json::json!({"limit": 7});
        assert_eq!(serde_json::from_value::<Plain>(value).unwrap().limit.unwrap().as_str(), "7");
        for wrong in [r#""1""#, "true", "[1]", "1e9999999999999999"] {
            let json = format!(r#"{{"limit": {wrong}}}"#);
            assert!(serde_json::from_str::<Plain>(&json).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_number_is_shown_in_one_short_line() {
        for (text, shown) in [
            ("0x10", "`0x10` is no JSON number of at most 1000 bytes".to_owned()),
            ("1\n2", "`1\\u{a}2` is no JSON number".to_owned()),
            (&"9".repeat(1001), format!("`{}…` is no JSON number", "9".repeat(64))),
        ] {
            let told = text.parse::<Decimal>().unwrap_err().to_string();
            assert!(told.starts_with(&shown), "{text:?}: {told}");
        }
    }
}
