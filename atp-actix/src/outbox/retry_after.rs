//! How long a receiver wants to be left alone.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::limits::LONGEST_BACKOFF;

/// The wait that `Retry-After` asks for, in seconds or as a date; [`LONGEST_BACKOFF`] at most. None
/// if it is neither, and none for what has passed.
///
/// A date is read by the clock of the receiver, which is its header `Date`, and by ours where there
/// is none.
pub(super) fn retry_after(value: &str, date: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // What is too large for a number is longer than the longest.
        value.parse().map_or(LONGEST_BACKOFF, Duration::from_secs)
    } else {
        let theirs = date.and_then(http_date).unwrap_or(now);
        http_date(value)?.signed_duration_since(theirs).to_std().ok()?
    };
    Some(wait.min(LONGEST_BACKOFF)).filter(|wait| !wait.is_zero())
}

/// A date as HTTP prints it; the two forms that it only reads are not looked at.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some(date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_near_them() {
        let now = "2026-01-02T03:04:05Z".parse().expect("a time");
        let behind = Some("Fri, 02 Jan 2026 02:04:05 GMT");
        let most = LONGEST_BACKOFF.as_secs();
        for (value, date, expected) in [
            ("120", None, Some(120)),
            (" 7 ", behind, Some(7)),
            ("0", None, None),
            ("00", None, None),
            ("999999999999999999999999999999", None, Some(most)),
            ("18446744073709551615", None, Some(most)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", None, Some(60)),
            ("Fri, 02 Jan 2026 02:04:35 GMT", behind, Some(30)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", Some("garbage"), Some(60)),
            ("Fri, 02 Jan 2026 03:04:04 GMT", None, None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None, Some(most)),
            ("", None, None),
            ("-1", None, None),
            ("+1", None, None),
            ("1.5", None, None),
            ("soon", None, None),
            ("2026-01-02T03:05:05Z", None, None),
        ] {
            let wait = retry_after(value, date, now).map(|wait| wait.as_secs());
            assert_eq!(wait, expected, "{value:?} {date:?}");
        }
    }
}
