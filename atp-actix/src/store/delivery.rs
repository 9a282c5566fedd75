//! What came: verified deliveries, as they are counted.

use std::time::Duration;

use atp_core::Fingerprint;
use chrono::{DateTime, Utc};

use super::{Arrival, Claim, CompletedDecision, Verdict};

/// Verified deliveries, as they are counted: one row for each notification, fingerprint and
/// verdict. Where there are several that are told in one, what it tells of how they came is of the
/// last.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct DeliveryCount {
    /// The service.
    pub service: String,
    /// The question.
    pub notification_id: String,
    /// The answer.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub verdict: Verdict,
    /// How many came.
    pub count: u64,
    /// How it came.
    pub arrival: Arrival,
    /// What it was answered.
    pub status: u16,
    /// How long that took.
    pub duration: Duration,
}

impl DeliveryCount {
    /// One delivery, answered with this status in no time.
    pub fn new(
        service: impl Into<String>,
        notification_id: impl Into<String>,
        fingerprint: Fingerprint,
        verdict: Verdict,
        arrival: Arrival,
        status: u16,
    ) -> Self {
        Self {
            service: service.into(),
            notification_id: notification_id.into(),
            fingerprint,
            verdict,
            count: 1,
            arrival,
            status,
            duration: Duration::ZERO,
        }
    }

    /// Sets how many came; one unless set.
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Sets how long the answer took.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// What names its row.
    #[cfg(feature = "postgres")]
    pub(crate) fn row(&self) -> (&str, &str, &[u8; 32], Verdict) {
        (&self.service, &self.notification_id, self.fingerprint.as_bytes(), self.verdict)
    }
}

/// A row of counted deliveries. The first and the last of them may have come otherwise; what is
/// told is of the last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryRow {
    /// The answer.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub verdict: Verdict,
    /// When the first came.
    pub first_seen: DateTime<Utc>,
    /// When the last came.
    pub last_seen: DateTime<Utc>,
    /// How many came.
    pub count: u64,
    /// How the last came.
    pub arrival: Arrival,
    /// What it was answered.
    pub status: u16,
    /// How long that took.
    pub duration: Duration,
}

impl DeliveryRow {
    /// The row of what was counted for the first time at this time.
    #[must_use]
    pub fn new(counted: &DeliveryCount, seen: DateTime<Utc>) -> Self {
        Self {
            fingerprint: counted.fingerprint,
            verdict: counted.verdict,
            first_seen: seen,
            last_seen: seen,
            count: counted.count,
            arrival: counted.arrival.clone(),
            status: counted.status,
            duration: counted.duration,
        }
    }

    /// The row that an answer's completed decision tells, where it was not counted.
    #[must_use]
    pub fn of_decision(claim: &Claim, decision: &CompletedDecision, took: Duration) -> Self {
        Self {
            fingerprint: decision.fingerprint,
            verdict: decision.outcome.verdict(),
            first_seen: decision.completed_at,
            last_seen: decision.completed_at,
            count: 1,
            arrival: claim.arrival.clone().responder(decision.responder.clone()),
            status: decision.outcome.status,
            duration: took,
        }
    }
}
