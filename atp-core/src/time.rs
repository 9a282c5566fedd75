//! Times as RFC 3339 writes them.

use std::fmt;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// A time in a payload: the text that was signed, and the instant if the text is RFC 3339 with an
/// offset.
///
/// A text that is none stays readable and gives no instant; it never makes a payload malformed,
/// because an answer must not be lost over a format.
#[derive(Clone, PartialEq, Eq)]
pub struct Timestamp {
    text: String,
    is_string: bool,
}

impl Timestamp {
    pub(crate) fn new(text: String) -> Self {
        Self { text, is_string: true }
    }

    /// A member that is not even a string.
    pub(crate) fn unreadable(json: String) -> Self {
        Self { text: json, is_string: false }
    }

    /// The text as it was signed; the JSON text if it was not a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instant, if the text is RFC 3339. Fractions are kept to the nanosecond.
    #[must_use]
    pub fn time(&self) -> Option<DateTime<Utc>> {
        rfc3339(&self.text).filter(|_| self.is_string)
    }
}

/// Shows a time, and of what is none the length alone: it may be anything.
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time() {
            Some(_) => write!(f, "Timestamp({})", self.text),
            None => write!(f, "Timestamp(unreadable, {} bytes)", self.text.len()),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// RFC 3339, section 5.6, and nothing near it: `T` between date and time, an offset, no second 60
/// (it would name an instant that no clock here can tell).
fn rfc3339(text: &str) -> Option<DateTime<Utc>> {
    let mut rest = Digits(text.as_bytes());
    let year = rest.number(4)?;
    let month = rest.after(b"-")?.number(2)?;
    let day = rest.after(b"-")?.number(2)?;
    let hour = rest.after(b"Tt")?.number(2)?;
    let minute = rest.after(b":")?.number(2)?;
    let second = rest.after(b":")?.number(2)?;
    let nanosecond = if rest.after(b".").is_some() { rest.fraction()? } else { 0 };
    let offset = rest.offset()?;
    if !rest.0.is_empty() {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let local = date.and_hms_nano_opt(hour, minute, second, nanosecond)?;
    local.checked_sub_signed(TimeDelta::minutes(offset)).map(|utc| utc.and_utc())
}

struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    /// Exactly this many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.iter().try_fold(0, |value, digit| Some(value * 10 + char::from(*digit).to_digit(10)?))
    }

    /// One of these bytes.
    fn after(&mut self, any: &[u8]) -> Option<&mut Self> {
        let (first, rest) = self.0.split_first()?;
        any.contains(first).then(|| self.0 = rest)?;
        Some(self)
    }

    /// One digit or more; those beyond the nanosecond are cut.
    fn fraction(&mut self) -> Option<u32> {
        let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(len).filter(|_| len > 0)?;
        self.0 = rest;
        let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
        Some(padded.fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
    }

    /// `Z`, or hours and minutes, in minutes.
    fn offset(&mut self) -> Option<i64> {
        if self.after(b"Zz").is_some() {
            return Some(0);
        }
        let east = self.0.first() == Some(&b'+');
        let hours = self.after(b"+-")?.number(2).filter(|hours| *hours < 24)?;
        let minutes = self.after(b":")?.number(2).filter(|minutes| *minutes < 60)?;
        let offset = i64::from(hours * 60 + minutes);
        Some(if east { offset } else { -offset })
    }
}
