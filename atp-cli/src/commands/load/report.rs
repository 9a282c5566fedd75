//! What came of the answers.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    mix::Kind,
    schedule::{Schedule, as_float},
};
use crate::commands::{
    http::{Meaning, SENDER_WAITS, WAIT},
    output::{End, Failure, Shown},
};

/// The longest time that is told apart, in microseconds.
const LONGEST: u64 = 600_000_000;

/// What one connection, or all of them, counted.
pub(super) struct Tally {
    /// From when an answer was due until it was answered, in microseconds.
    times: Histogram<u64>,
    answers: BTreeMap<(Kind, Option<u16>), u64>,
    never_sent: u64,
    /// Answers that no sender waits for.
    too_late: u64,
    /// Why there was no answer, of one.
    why: Option<String>,
}

/// What is told at the end.
#[derive(Serialize)]
pub(super) struct Report {
    due: u64,
    answered: u64,
    unanswered: u64,
    never_sent: u64,
    seconds: f64,
    answered_a_second: f64,
    connections: u16,
    answers: Vec<Count>,
    /// From when they were due.
    ms_from_due: Times,
    why_unanswered: Option<String>,
    bad: Vec<&'static str>,
}

#[derive(Serialize)]
struct Count {
    kind: &'static str,
    /// None where there was no answer.
    status: Option<u16>,
    #[serde(rename = "count")]
    seen: u64,
}

#[derive(Serialize)]
struct Times {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let times = Histogram::new_with_bounds(1, LONGEST, 3);
        let times = times.map_err(|error| Failure::Unable(format!("no histogram can be made: {error}")))?;
        Ok(Self { times, answers: BTreeMap::new(), never_sent: 0, too_late: 0, why: None })
    }

    /// Counts one, with its status and how long it took, or why there is none.
    pub(super) fn count(
        &mut self,
        kind: Kind,
        answered: Result<(u16, Duration), String>,
        since_due: Duration,
    ) {
        let (status, time) = match answered {
            Ok((status, took)) => {
                self.too_late += u64::from(took > SENDER_WAITS);
                (Some(status), since_due)
            }
            Err(why) => {
                self.why.get_or_insert(why);
                // Who got no answer has not got it fast.
                (None, since_due.max(WAIT))
            }
        };
        *self.answers.entry((kind, status)).or_default() += 1;
        self.time(time);
    }

    /// Counts one that was due, and found no connection.
    pub(super) fn never_sent(&mut self, since_due: Duration) {
        self.never_sent += 1;
        self.time(since_due.max(WAIT));
    }

    fn time(&mut self, time: Duration) {
        self.times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Takes in what another has counted.
    pub(super) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        let added = self.times.add(&other.times);
        added.map_err(|error| Failure::Unable(format!("the histograms do not add up: {error}")))?;
        for (key, count) in &other.answers {
            *self.answers.entry(*key).or_default() += count;
        }
        self.never_sent += other.never_sent;
        self.too_late += other.too_late;
        if let Some(why) = &other.why {
            self.why.get_or_insert_with(|| why.clone());
        }
        Ok(())
    }

    pub(super) fn report(&self, schedule: &Schedule, connections: u16) -> Report {
        let elapsed = schedule.elapsed().as_secs_f64();
        let sum = |is_meant: fn(&(Kind, Option<u16>)) -> bool| {
            self.answers.iter().filter(|(key, _)| is_meant(key)).map(|(_, count)| count).sum::<u64>()
        };
        let answered = sum(|(_, status)| status.is_some());
        let unanswered = sum(|(_, status)| status.is_none());
        let forged = sum(|(kind, status)| *kind == Kind::Forged && status.is_some_and(|status| status < 300));
        let failed = sum(|(_, status)| means(*status, Meaning::Again));
        let refused = sum(|(kind, status)| {
            *kind != Kind::Forged
                && (means(*status, Meaning::Refused) || means(*status, Meaning::Undocumented))
        });
        let bad = [
            (
                forged,
                "forged answers were taken: the webhook does not check signatures, or has another secret",
            ),
            (failed, "answers got a status of 500 or more: a sender sends them again"),
            (
                refused,
                "answers that were not forged were not taken: see their statuses, and try one with `atp send`",
            ),
            (self.too_late, "answers came later than 5 s: a sender does not see them, and sends once more"),
            (unanswered, "answers got no answer"),
            (self.never_sent, "answers were due and never sent: more connections, or a lower rate"),
        ];
        let counts = self.answers.iter().map(|((kind, status), count)| Count {
            kind: kind.name(),
            status: *status,
            seen: *count,
        });
        Report {
            due: schedule.count(),
            answered,
            unanswered,
            never_sent: self.never_sent,
            seconds: rounded(elapsed),
            answered_a_second: rounded(as_float(answered) / elapsed.max(0.001)),
            connections,
            answers: counts.collect(),
            ms_from_due: self.percentiles(),
            why_unanswered: self.why.clone(),
            bad: bad.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect(),
        }
    }

    fn percentiles(&self) -> Times {
        let at = |percent| rounded(as_float(self.times.value_at_percentile(percent)) / 1e3);
        let max = rounded(as_float(self.times.max()) / 1e3);
        Times {
            p50: at(50.0).min(max),
            p90: at(90.0).min(max),
            p99: at(99.0).min(max),
            p99_9: at(99.9).min(max),
            max,
        }
    }
}

/// Whether a status that came in time means that.
fn means(status: Option<u16>, meaning: Meaning) -> bool {
    status.is_some_and(|status| Meaning::of(status, Duration::ZERO) == meaning)
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Report {
    pub(super) fn end(&self) -> End {
        if self.bad.is_empty() { End::Done } else { End::Bad }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, answered, unanswered, never_sent, seconds, answered_a_second, connections, .. } =
            self;
        writeln!(
            f,
            "{due} were due; {answered} were answered, {unanswered} were not, {never_sent} were never sent"
        )?;
        writeln!(f, "{seconds:.1} s, {answered_a_second:.1} answers a second, {connections} connections")?;
        for Count { kind, status, seen } in &self.answers {
            match status {
                Some(status) => writeln!(f, "  {kind:<9}  {status}  {seen}")?,
                None => writeln!(f, "  {kind:<9}  no answer  {seen}")?,
            }
        }
        let Times { p50, p90, p99, p99_9, max } = &self.ms_from_due;
        writeln!(
            f,
            "ms from when each was due, waiting for a connection included; without an answer {} s at least:",
            WAIT.as_secs()
        )?;
        write!(f, "  p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p99_9:.1}  max {max:.1}")?;
        self.why_unanswered.iter().try_for_each(|why| write!(f, "\nno answer, for one: {}", Shown(why)))?;
        self.bad.iter().try_for_each(|bad| write!(f, "\nbad: {bad}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_is_told_and_nothing_else() {
        let (soon, late) = (Duration::from_millis(6), Duration::from_millis(5_001));
        for (kind, answered, is_bad) in [
            (Kind::Fresh, Ok((200, soon)), false),
            (Kind::Fresh, Ok((200, late)), true),
            (Kind::Fresh, Ok((301, soon)), true),
            (Kind::Fresh, Ok((404, soon)), true),
            (Kind::Fresh, Ok((429, soon)), true),
            (Kind::Fresh, Ok((503, soon)), true),
            (Kind::Fresh, Ok((999, soon)), true),
            (Kind::Fresh, Err("gone".to_owned()), true),
            (Kind::Duplicate, Ok((200, soon)), false),
            (Kind::Duplicate, Ok((409, soon)), true),
            (Kind::Forged, Ok((401, soon)), false),
            (Kind::Forged, Ok((401, late)), true),
            (Kind::Forged, Ok((404, soon)), false),
            (Kind::Forged, Ok((200, soon)), true),
        ] {
            let mut tally = Tally::new().unwrap();
            tally.count(kind, answered.clone(), Duration::from_millis(7));
            let (report, is_answered) =
                (tally.report(&Schedule::new(1.0, Duration::from_secs(1)), 1), answered.is_ok());
            assert_eq!(report.end() == End::Bad, is_bad, "{kind:?} {answered:?}: {report}");
            let expected = if is_answered { 7.0 } else { 15_000.0 };
            assert!((report.ms_from_due.p50 / expected - 1.0).abs() < 0.01, "{report}");
        }
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut other) = (Tally::new().unwrap(), Tally::new().unwrap());
        let (soon, late) = (Duration::from_millis(1), Duration::from_secs(6));
        one.count(Kind::Fresh, Ok((200, soon)), soon);
        other.count(Kind::Fresh, Ok((200, late)), Duration::from_hours(1));
        other.never_sent(Duration::ZERO);
        one.add(&other).unwrap();
        let report = one.report(&Schedule::new(3.0, Duration::from_secs(1)), 2);
        assert_eq!((report.due, report.answered, report.never_sent), (3, 2, 1));
        assert_eq!(report.bad.len(), 2, "{report}");
        assert!(report.ms_from_due.max >= 600_000.0, "{report}");
    }
}
