//! How long a server wants to be left alone.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::limits::LONGEST_RETRY_AFTER;

/// What `Retry-After` says: seconds, or the time when, which is held against the server's own `Date`
/// if there is one, so that two clocks need not agree. What says neither says nothing.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let wait = if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit is longer than the longest.
        asked.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let then = httpdate::parse_http_date(asked).ok()?;
        let now = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
        then.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let year = LONGEST_RETRY_AFTER.as_secs();
        for (asked, date, seconds) in [
            ("0", None, Some(0)),
            ("30", None, Some(30)),
            (" 30 ", None, Some(30)),
            ("99999999999999999999999", None, Some(year)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", None, Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", None, Some(30)),
            ("Sun Nov  6 08:50:07 1994", None, Some(30)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some("Sun, 06 Nov 1994 08:50:00 GMT"), Some(7)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some("yesterday"), Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None, Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None, Some(year)),
            ("-1", None, None),
            ("1.5", None, None),
            ("+5", None, None),
            ("", None, None),
            ("soon", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            let found = retry_after(&headers, now);
            assert_eq!(found, seconds.map(Duration::from_secs), "{asked:?} {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
