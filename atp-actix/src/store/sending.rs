//! What is sent, and what came of it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::event::Event;

/// An event on its way to one sink, leased by whoever sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Its place among all that were written, by which the store knows it.
    pub seq: i64,
    /// What is sent. Of its sinks the one that it is sent to alone is named.
    pub event: Event,
    /// Which attempt this is, counted from 1 and by leases, so that one that was leased and given back
    /// counts too. What came of it is taken for this attempt alone.
    pub attempt: u32,
    /// How many of the attempts before were its own fault, those included that ended without a
    /// word.
    pub failures: u32,
}

impl Outgoing {
    /// The first attempt at this one.
    #[must_use]
    pub fn new(seq: i64, event: Event) -> Self {
        Self { seq, event, attempt: 1, failures: 0 }
    }

    /// Sets which attempt it is, and how many before it failed.
    #[must_use]
    pub fn attempted(mut self, attempt: u32, failures: u32) -> Self {
        (self.attempt, self.failures) = (attempt, failures);
        self
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// Which event.
    pub seq: i64,
    /// Which attempt.
    pub attempt: u32,
    /// What came of it.
    pub end: SendEnd,
}

impl Settled {
    /// What came of this attempt.
    #[must_use]
    pub fn new(outgoing: &Outgoing, end: SendEnd) -> Self {
        Self { seq: outgoing.seq, attempt: outgoing.attempt, end }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendEnd {
    /// The sink has it.
    Sent,
    /// It is due again.
    Again {
        /// After so long.
        after: Duration,
        /// Whether that was the event's own fault.
        is_own_fault: bool,
        /// Why.
        reason: String,
    },
    /// It is not tried again until somebody says so.
    Parked {
        /// Why.
        reason: String,
    },
}

/// An event that is not tried again until somebody says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// Which sink.
    pub sink: String,
    /// Its place: give it to [`Outbox::release`](super::Outbox::release) or
    /// [`Outbox::forget`](super::Outbox::forget).
    pub seq: i64,
    /// What was to be sent.
    pub event: Event,
    /// How often it was leased to be sent.
    pub attempts: u32,
    /// When it was parked, by the store's clock.
    pub parked_at: DateTime<Utc>,
    /// Why, in the words of the last attempt.
    pub reason: String,
}

/// What waits for one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Which sink.
    pub sink: String,
    /// How many wait to be sent or are being sent, those behind a parked one included.
    pub waiting: u64,
    /// How many are parked.
    pub parked: u64,
    /// When the oldest of those was written that wait for nothing but to be sent, so without what is
    /// behind a parked one as soon as a relay has looked at that; none where there is none.
    pub oldest: Option<DateTime<Utc>>,
}

impl Lag {
    /// What waits for this sink.
    #[must_use]
    pub fn new(sink: impl Into<String>, waiting: u64, parked: u64, oldest: Option<DateTime<Utc>>) -> Self {
        Self { sink: sink.into(), waiting, parked, oldest }
    }
}

impl Parked {
    /// Parked at this time for this reason.
    #[must_use]
    pub fn new(
        seq: i64,
        sink: impl Into<String>,
        event: Event,
        attempts: u32,
        parked_at: DateTime<Utc>,
        reason: impl Into<String>,
    ) -> Self {
        Self { sink: sink.into(), seq, event, attempts, parked_at, reason: reason.into() }
    }
}
