//! Whether this machine's clock agrees with a server's.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, Url};

use super::finding::Finding;
use crate::commands::{http, output::Failure};

const CHECK: &str = "clock";

/// What a webhook without a store tolerates.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What is no error of a clock: a date of HTTP is in whole seconds.
const NEAR: TimeDelta = TimeDelta::seconds(3);

/// Asks the server for the time.
pub(super) async fn check(server: &Url) -> Result<Finding, Failure> {
    let client = http::client(server)?;
    let before = Utc::now();
    let answered = http::ask(&client, Method::HEAD, server, &[], Bytes::new()).await;
    let after = Utc::now();
    Ok(match answered {
        Err(why) => Finding::wrong(
            CHECK,
            format!("{server} does not answer: {why}"),
            "give the address of a server that does",
        ),
        Ok(answered) => match answered.date.as_deref().map(DateTime::parse_from_rfc2822) {
            Some(Ok(date)) => judge(before, date.with_timezone(&Utc), after),
            _ => Finding::wrong(CHECK, "the server does not tell its time by `Date`", "give another server"),
        },
    })
}

/// The server's time was between these two, if both clocks are right.
fn judge(before: DateTime<Utc>, date: DateTime<Utc>, after: DateTime<Utc>) -> Finding {
    let off = if date < before {
        before - date
    } else if date > after {
        date - after
    } else {
        TimeDelta::zero()
    };
    // The date is cut to the second, so half of one is the usual difference.
    let seconds = off.num_seconds();
    let direction = if date < before { "ahead of" } else { "behind" };
    let found = format!("this machine is {seconds} s {direction} the server");
    let todo = "set the clocks of both by NTP";
    if off <= NEAR {
        Finding::good(CHECK, format!("this machine and the server agree to {} s", NEAR.num_seconds()))
    } else if off <= TOLERANCE {
        Finding::advice(
            CHECK,
            found,
            format!("{todo}: beyond {} s answers are refused", TOLERANCE.num_seconds()),
        )
    } else {
        Finding::wrong(
            CHECK,
            found,
            format!("{todo}: what is signed by the other is refused as too old or too new"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn a_clock_may_be_off_by_the_tolerance_and_no_more() {
        let now = DateTime::from_timestamp(1_767_323_106, 0).unwrap();
        for (off, state) in [
            (0, State::Good),
            (-3, State::Good),
            (3, State::Good),
            (-4, State::Advice),
            (300, State::Advice),
            (301, State::Wrong),
            (-4000, State::Wrong),
        ] {
            let finding = judge(now, now + TimeDelta::seconds(off), now);
            assert_eq!(finding.state, state, "{off}: {finding}");
        }
        let slow = judge(now, now + TimeDelta::seconds(9), now + TimeDelta::seconds(10));
        assert_eq!(slow.state, State::Good, "{slow}");
    }
}
