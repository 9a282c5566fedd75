//! How the desk misbehaves, if it is told to: what networks, senders and clocks do to a service.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, Serializer};

use crate::limits::{FAULTS, LONGEST_DELAY};

/// What goes wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Fault {
    /// It is sent a second time, after the first was answered.
    Duplicate,
    /// It waits until the next one was sent.
    Reorder,
    /// It waits so long.
    Delay(Duration),
    /// It is not sent; it is tried again.
    Drop,
    /// It arrives, but its answer is lost; it is tried again.
    DropAnswer,
    /// Its body never ends; it is tried again.
    TimeOut,
    /// Its connection breaks in the middle of the body; it is tried again.
    Truncate,
    /// It is signed with another secret; it is tried again.
    WrongSignature,
    /// Its times are long ago, under a good signature; it is tried again.
    Stale,
    /// Its times are of the future, under a good signature; it is tried again.
    Future,
    /// The same JSON in another spelling, under a good signature.
    Respell,
    /// The service's secret is changed first, and it is signed with the new one.
    RotateSecret,
    /// A hundred copies at once.
    Burst,
}

impl Fault {
    /// Every fault, with a delay of one second.
    pub const ALL: [Self; 13] = [
        Self::Duplicate,
        Self::Reorder,
        Self::Delay(Duration::from_secs(1)),
        Self::Drop,
        Self::DropAnswer,
        Self::TimeOut,
        Self::Truncate,
        Self::WrongSignature,
        Self::Stale,
        Self::Future,
        Self::Respell,
        Self::RotateSecret,
        Self::Burst,
    ];

    /// Whether whoever is sent it cannot take it for what was answered: it is tried again, whatever
    /// is answered but success.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(
            self,
            Self::Drop
                | Self::DropAnswer
                | Self::TimeOut
                | Self::Truncate
                | Self::WrongSignature
                | Self::Stale
                | Self::Future
        )
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay(_) => "delay",
            Self::Drop => "drop",
            Self::DropAnswer => "drop-answer",
            Self::TimeOut => "time-out",
            Self::Truncate => "truncate",
            Self::WrongSignature => "wrong-signature",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Respell => "respell",
            Self::RotateSecret => "rotate-secret",
            Self::Burst => "burst",
        }
    }
}

/// Its name; of a delay also how long it is, in milliseconds.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Delay(time) => write!(f, "={}", time.as_millis()),
            _ => Ok(()),
        }
    }
}

/// No fault of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault: write one of {all}, and `delay=250` for 250 ms", all = Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.chars().take(40).collect());
        if let Some(time) = text.strip_prefix("delay=") {
            return time.parse().map(|time| Self::Delay(Duration::from_millis(time))).map_err(|_| unknown());
        }
        Self::ALL.into_iter().find(|fault| fault.name() == text).ok_or_else(unknown)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

impl TryFrom<String> for Fault {
    type Error = UnknownFault;

    fn try_from(text: String) -> Result<Self, UnknownFault> {
        text.parse()
    }
}

/// What becomes of a delivery that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It is tried, and this goes wrong.
    Now(Option<Fault>),
    /// It has to wait first, which takes no turn of those that are tried.
    Later,
}

/// Which deliveries go wrong, and how; and which calls of services are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// What goes wrong with the next attempts, one after the other.
    next: VecDeque<Fault>,
    /// What goes wrong with all others.
    always: Option<Fault>,
    /// Whether no service is served.
    away: bool,
    /// The services that are not.
    suspended: BTreeSet<String>,
    /// Deliveries that wait, each until when and for which fault; how many are told.
    #[serde(serialize_with = "count")]
    delayed: BTreeMap<i64, (Instant, Fault)>,
}

fn count<S: Serializer>(delayed: &BTreeMap<i64, (Instant, Fault)>, serializer: S) -> Result<S::Ok, S::Error> {
    delayed.len().serialize(serializer)
}

impl Faults {
    /// The next so many attempts go wrong in this way, after those that were set before; 100,000 at
    /// most in all.
    pub fn next(&mut self, fault: Fault, attempts: usize) {
        let room = FAULTS.saturating_sub(self.next.len());
        self.next.extend(std::iter::repeat_n(fault, room.min(attempts)));
    }

    /// All attempts go wrong in this way, after those that were set before; none that they are right. What
    /// a delay holds back by then waits on: [`Faults::clear`] lets it go.
    pub fn always(&mut self, fault: Option<Fault>) {
        self.always = fault;
    }

    /// Every call of a service gets 503, as from a server that is away for a while, until this is
    /// taken back.
    pub fn away(&mut self, away: bool) {
        self.away = away;
    }

    /// Every call of this service gets 403 `SERVICE_SUSPENDED`, until this is taken back. Its
    /// questions stay, and what is answered is delivered.
    pub fn suspend(&mut self, service_id: &str, suspended: bool) {
        if suspended {
            self.suspended.insert(service_id.to_owned());
        } else {
            self.suspended.remove(service_id);
        }
    }

    /// Whether no service is served.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether this service is not served.
    pub(super) fn is_suspended(&self, service_id: &str) -> bool {
        self.suspended.contains(service_id)
    }

    /// Nothing goes wrong with deliveries any more; those that wait do not.
    pub(super) fn clear_deliveries(&mut self) {
        self.next.clear();
        self.always = None;
        self.delayed.clear();
    }

    /// Nothing goes wrong any more; what waits goes out at once.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether anything goes wrong.
    pub(super) fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// What becomes of a delivery that is due.
    pub(super) fn begin(&mut self, delivery: i64, now: Instant) -> Begin {
        if let Some((_, fault)) = self.delayed.remove(&delivery) {
            return Begin::Now(Some(fault));
        }
        match self.next.pop_front().or(self.always) {
            Some(fault @ Fault::Delay(time)) if !time.is_zero() => {
                self.delayed.insert(delivery, (now + time.min(LONGEST_DELAY), fault));
                Begin::Later
            }
            fault => Begin::Now(fault),
        }
    }

    /// The deliveries that still wait, each with when it goes out.
    pub(super) fn delayed(&self, now: Instant) -> impl Iterator<Item = (i64, Instant)> {
        let delayed = self.delayed.iter().map(|(delivery, (until, _))| (*delivery, *until));
        delayed.filter(move |(_, until)| *until > now)
    }

    /// A delivery waits no longer.
    pub(super) fn hurry(&mut self, delivery: i64, now: Instant) {
        if let Some((until, _)) = self.delayed.get_mut(&delivery) {
            *until = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_read_as_it_is_written() {
        for fault in Fault::ALL.into_iter().chain([Fault::Delay(Duration::from_millis(250))]) {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for text in ["", "delay=", "delay=soon", "Duplicate", "everything"] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains("drop-answer"), "{error}");
        }
    }

    #[test]
    fn what_is_set_for_the_next_comes_before_what_is_set_for_all() {
        let mut faults = Faults::default();
        let mut nth = 0;
        let mut take = |faults: &mut Faults| {
            nth += 1;
            faults.begin(nth, Instant::now())
        };
        assert_eq!(take(&mut faults), Begin::Now(None));
        faults.next(Fault::Drop, 2);
        faults.always(Some(Fault::Stale));
        let taken: Vec<_> = (0..4).map(|_| take(&mut faults)).collect();
        let expected = [Fault::Drop, Fault::Drop, Fault::Stale, Fault::Stale];
        assert_eq!(taken, expected.map(|fault| Begin::Now(Some(fault))));
        faults.clear();
        assert_eq!(take(&mut faults), Begin::Now(None));
        for _ in 0..2 {
            faults.next(Fault::Drop, usize::MAX);
            assert_eq!(faults.next.len(), FAULTS);
        }
    }

    #[test]
    fn what_is_delayed_waits_until_its_time_or_until_somebody_ends_it() {
        let (mut faults, start, second) = (Faults::default(), Instant::now(), Duration::from_secs(1));
        let late = |faults: &Faults, now| faults.delayed(now).map(|(nth, _)| nth).collect::<Vec<_>>();
        let delays = [second, second * 2, Duration::MAX, Duration::ZERO].map(Fault::Delay);
        for fault in delays {
            faults.next(fault, 1);
        }
        let begun: Vec<_> = (1..=5).map(|nth| faults.begin(nth, start)).collect();
        let now = [Some(Fault::Delay(Duration::ZERO)), None].map(Begin::Now);
        assert_eq!(begun, [Begin::Later, Begin::Later, Begin::Later, now[0], now[1]]);
        assert!(faults.is_any(), "it still goes wrong with those");
        assert_eq!(late(&faults, start), [1, 2, 3]);
        assert_eq!(late(&faults, start + second), [2, 3]);
        assert_eq!(faults.begin(1, start + second), Begin::Now(Some(delays[0])));
        faults.hurry(2, start);
        faults.hurry(9, start);
        assert_eq!(late(&faults, start), [3]);
        assert_eq!(
            faults.begin(2, start),
            Begin::Now(Some(delays[1])),
            "a delay for all does not begin anew"
        );
        faults.clear_deliveries();
        assert_eq!(faults.begin(3, start), Begin::Now(None));
        assert!(!faults.is_any());
    }
}
