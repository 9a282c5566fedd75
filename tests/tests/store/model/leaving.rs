//! What the model expects of what leaves the service.

use atp_actix::{
    limits::{LONGEST_BACKOFF, LONGEST_SEND_LEASE},
    store::{Event, Routes},
};
use serde_json::Value;

use super::{expected::Time, steps::Ending};

/// Decisions and the service's own events go to the first, what the ATP server is told to the
/// second.
pub(super) const SINKS: [&str; 2] = [BUS, SERVER];
pub(super) const BUS: &str = "bus";
pub(super) const SERVER: &str = "atp";

pub(super) fn routes() -> Routes {
    Routes::new().events(BUS).server(SERVER)
}

/// An event as it was written.
pub(super) struct Letter {
    /// Of two with one name there is the first alone, as long as it is stored.
    name: String,
    kind: &'static str,
    subject: Option<&'static str>,
    /// What it says, without what a human said.
    says: String,
    /// What a human said, until it is erased.
    human: Value,
}

impl Letter {
    pub(super) fn new(
        name: impl Into<String>,
        kind: &'static str,
        subject: impl Into<Option<&'static str>>,
        says: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), kind, subject: subject.into(), says: says.into(), human: Value::Null }
    }

    pub(super) fn human(mut self, said: Value) -> Self {
        self.human = said;
        self
    }

    fn line(&self) -> String {
        line(self.kind, self.subject, &self.says, &self.human)
    }
}

fn line(kind: &str, subject: Option<&str>, says: &str, human: &Value) -> String {
    format!("{kind} of {subject:?}: {says}, {human}")
}

/// What an event says, as the model does.
pub(super) fn line_of(event: &Event) -> String {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let says = match &*event.kind {
        Event::DECISION | Event::LATE_DECISION => &data["decision"],
        Event::QUESTION => &data["context"]["title"],
        Event::STATUS => &data["status"],
        _ => &data,
    };
    let says = says.as_str().unwrap_or("something else");
    line(&event.kind, event.subject.as_deref(), says, &data["additional_data"])
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Sent,
    Parked(Time),
}

/// An event at one sink.
struct Sending {
    letter: usize,
    sink: &'static str,
    /// From when on it may be given, and from when on it must be: the earlier and the later of the two
    /// times that the store may hold. They differ where a clock was set back while it waited behind
    /// another: it is due when it was written, or when that went.
    due: [Time; 2],
    leased_until: Option<Time>,
    attempt: u32,
    failures: u32,
    state: State,
    /// Its place in the store, once that is known.
    seq: Option<i64>,
}

/// In the order in which it was written.
#[derive(Default)]
pub(super) struct Leaving {
    /// None is left of one that was tidied away.
    letters: Vec<Option<Letter>>,
    /// When each was.
    written: Vec<Time>,
    sendings: Vec<Sending>,
}

impl Leaving {
    /// Whether it is new.
    pub(super) fn write(&mut self, letter: Letter, sinks: &[&'static str], now: Time) -> bool {
        if self.letters.iter().flatten().any(|other| other.name == letter.name) {
            return false;
        }
        let nth = self.letters.len();
        self.letters.push(Some(letter));
        self.written.push(now);
        self.sendings.extend(sinks.iter().map(|sink| Sending {
            letter: nth,
            sink,
            due: [now; 2],
            leased_until: None,
            attempt: 0,
            failures: 0,
            state: State::Waiting,
            seq: None,
        }));
        true
    }

    /// Takes out what a human said.
    pub(super) fn erase(&mut self, id: &str) {
        for letter in self.letters.iter_mut().flatten().filter(|letter| letter.subject == Some(id)) {
            letter.human = Value::Null;
        }
    }

    fn letter(&self, sending: &Sending) -> &Letter {
        self.letters[sending.letter].as_ref().expect("it is tidied away with the last of its sendings")
    }

    fn unsent<'a>(&'a self, sink: &'a str) -> impl Iterator<Item = usize> + 'a {
        let is_unsent = move |sending: &Sending| sending.sink == sink && sending.state != State::Sent;
        self.sendings.iter().enumerate().filter(move |(_, sending)| is_unsent(sending)).map(|(nth, _)| nth)
    }

    /// Whether an older one about the same is still to be sent.
    fn is_behind(&self, nth: usize) -> bool {
        let sending = &self.sendings[nth];
        let subject = self.letter(sending).subject;
        subject.is_some()
            && self
                .unsent(sending.sink)
                .any(|other| other < nth && self.letter(&self.sendings[other]).subject == subject)
    }

    /// What a sink must be given now, if it asks for all, and what it may be.
    pub(super) fn due(&self, sink: &str, now: Time) -> [Vec<usize>; 2] {
        [1, 0].map(|certainly| {
            let is_due = |nth: &usize| {
                let Sending { due, leased_until, state, .. } = &self.sendings[*nth];
                let is_free = leased_until.is_none_or(|until| until <= now || until - now > longest_lease());
                *state == State::Waiting && due[certainly] <= now && is_free && !self.is_behind(*nth)
            };
            self.unsent(sink).filter(is_due).collect()
        })
    }

    /// What is given to whoever sends: with its attempt, and the failures before that.
    pub(super) fn told(&self, nth: usize) -> String {
        let sending = &self.sendings[nth];
        let failures = sending.failures + u32::from(sending.leased_until.is_some());
        sent_line(self.letter(sending).line(), sending.attempt + 1, failures)
    }

    /// Gives it to whoever sends, by the place that the store says; whether that is its place.
    pub(super) fn lease(&mut self, nth: usize, seq: i64, now: Time, lease: chrono::TimeDelta) -> bool {
        let sending = &mut self.sendings[nth];
        sending.failures += u32::from(sending.leased_until.is_some());
        sending.attempt += 1;
        sending.leased_until = Some(now + lease.min(longest_lease()));
        *sending.seq.get_or_insert(seq) == seq
    }

    /// Whether those whose places are known stand in their order.
    pub(super) fn is_in_order(&self) -> bool {
        SINKS.iter().all(|sink| {
            let seqs = self.sendings.iter().filter(|sending| sending.sink == *sink);
            seqs.filter_map(|sending| sending.seq).is_sorted_by(|one, next| one < next)
        })
    }

    /// Whether what is said of an attempt still counts.
    pub(super) fn settle(&mut self, nth: usize, attempt: u32, end: Ending, now: Time) -> bool {
        let sending = &mut self.sendings[nth];
        if sending.attempt != attempt || sending.leased_until.take().is_none() {
            return false;
        }
        match end {
            Ending::Sent => sending.state = State::Sent,
            Ending::Again(after) | Ending::Away(after) => {
                sending.due = [now + after.delta().min(longest_backoff()); 2];
                sending.failures += u32::from(matches!(end, Ending::Again(_)));
            }
            Ending::Parked => {
                sending.failures += 1;
                sending.state = State::Parked(now);
            }
        }
        true
    }

    /// What was behind events that are sent now is due.
    pub(super) fn promote(&mut self, settled: &[usize], now: Time) {
        for nth in settled {
            let Sending { sink, letter, state, .. } = self.sendings[*nth];
            let Some(subject) = self.letters[letter].as_ref().and_then(|letter| letter.subject) else {
                continue;
            };
            let is_of_it = |next: &usize| self.letter(&self.sendings[*next]).subject == Some(subject);
            let next = self.unsent(sink).find(is_of_it).filter(|_| state == State::Sent);
            if let Some(next) = next {
                let Sending { due: [may, must], .. } = &mut self.sendings[next];
                (*may, *must) = ((*may).min(now), (*must).max(now));
            }
        }
    }

    pub(super) fn parked(&self, sink: &str) -> Vec<String> {
        self.all_parked(sink).map(|nth| self.parked_told(nth)).collect()
    }

    fn all_parked<'a>(&'a self, sink: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.unsent(sink).filter(|nth| matches!(self.sendings[*nth].state, State::Parked(_)))
    }

    fn parked_told(&self, nth: usize) -> String {
        let sending = &self.sendings[nth];
        let State::Parked(at) = sending.state else { return String::new() };
        parked_line(self.letter(sending).line(), sending.attempt, at)
    }

    /// Lets a parked one be due.
    pub(super) fn release(&mut self, sink: &str, which: usize, now: Time) {
        let nth = self.all_parked(sink).nth(which).expect("it is parked");
        let sending = &mut self.sendings[nth];
        (sending.state, sending.failures, sending.due) = (State::Waiting, 0, [now; 2]);
    }

    /// Gives a parked one up.
    pub(super) fn forget(&mut self, sink: &str, which: usize, now: Time) {
        let nth = self.all_parked(sink).nth(which).expect("it is parked");
        self.sendings[nth].state = State::Sent;
        self.promote(&[nth], now);
    }

    /// How many wait for each sink, and how many are parked.
    pub(super) fn lag(&self) -> Vec<String> {
        let mut sinks = SINKS;
        sinks.sort_unstable();
        let lags = sinks.iter().map(|sink| {
            let parked = self.all_parked(sink).count();
            let waiting = self.unsent(sink).count() - parked;
            (waiting + parked > 0).then(|| lag_line(sink, waiting as u64, parked as u64))
        });
        lags.flatten().collect()
    }

    /// Whether there is one that waits for nothing but to be sent: surely, and perhaps. What is behind
    /// another may not have been put aside yet.
    pub(super) fn has_oldest(&self, sink: &str) -> [bool; 2] {
        let waits = |nth: &usize| matches!(self.sendings[*nth].state, State::Waiting);
        let mut waiting = self.unsent(sink).filter(waits);
        [self.unsent(sink).filter(waits).any(|nth| !self.is_behind(nth)), waiting.next().is_some()]
    }

    /// How many are not sent yet.
    pub(super) fn count(&self, sink: &str) -> usize {
        self.unsent(sink).count()
    }

    /// Forgets what was written before, if it was sent; how many events that were.
    pub(super) fn tidy(&mut self, before: Time, now: Time) -> usize {
        for sending in &mut self.sendings {
            for due in &mut sending.due {
                if *due > now + longest_backoff() {
                    *due = now;
                }
            }
            // The later one alone may have been so far ahead.
            sending.due.sort_unstable();
        }
        let mut gone = 0;
        for (nth, letter) in self.letters.iter_mut().enumerate() {
            let is_left = self.written[nth] >= before
                || self.sendings.iter().any(|sending| sending.letter == nth && sending.state != State::Sent);
            gone += usize::from(!is_left && letter.take().is_some());
        }
        gone
    }
}

fn longest_lease() -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(LONGEST_SEND_LEASE).expect("minutes")
}

fn longest_backoff() -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(LONGEST_BACKOFF).expect("hours")
}

pub(super) fn sent_line(event: String, attempt: u32, failures: u32) -> String {
    format!("{event} (attempt {attempt}, {failures} failed)")
}

pub(super) fn parked_line(event: String, attempts: u32, at: Time) -> String {
    format!("{event} ({attempts} attempts, parked at {at})")
}

pub(super) fn lag_line(sink: &str, waiting: u64, parked: u64) -> String {
    format!("{sink}: {waiting} wait, {parked} are parked")
}
