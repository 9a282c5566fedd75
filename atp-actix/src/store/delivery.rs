//! What came: verified deliveries, as they are counted.

use std::time::Duration;

use atp_core::{Fingerprint, Scheme};
use chrono::{DateTime, Utc};

/// What became of a verified delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Its handler ran and succeeded, which was recorded.
    Handled,
    /// It was handled before.
    Replayed,
    /// Another delivery was at it.
    Running,
    /// Its handler refused it with a 4xx, which was recorded.
    Refused,
    /// Its handler refused it with a 4xx that leaves the question open.
    LeftOpen,
    /// Its handler failed, or the store did.
    Failed,
    /// Its handler began, and its process died before it ended.
    Abandoned,
    /// Another answer stands.
    Conflict,
    /// The deadline had passed, or the question was taken back.
    Late,
    /// It was signed longer ago than servers deliver again, or in the future.
    Stale,
    /// Its action is not of the question, or its data does not fit.
    Unfit,
    /// The notification was not recorded.
    Unknown,
    /// Its responder may not decide.
    Forbidden,
    /// It is no answer.
    Malformed,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Handled,
        Self::Replayed,
        Self::Running,
        Self::Refused,
        Self::LeftOpen,
        Self::Failed,
        Self::Abandoned,
        Self::Conflict,
        Self::Late,
        Self::Stale,
        Self::Unfit,
        Self::Unknown,
        Self::Forbidden,
        Self::Malformed,
    ];

    /// The name in the database and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Replayed => "replayed",
            Self::Running => "running",
            Self::Refused => "refused",
            Self::LeftOpen => "left open",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Conflict => "conflict",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Unfit => "unfit",
            Self::Unknown => "unknown",
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
        }
    }
}

/// Verified deliveries, as they are counted: one row for each notification, fingerprint and verdict. Where there are several
/// that is told which is of the last.
#[derive(Clone, Debug)]
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
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// Who answered.
    pub responder: Option<String>,
    /// What it was answered.
    pub status: u16,
    /// How long that took.
    pub duration: Duration,
}

#[cfg(feature = "postgres")]
impl DeliveryCount {
    /// What names its row.
    pub(crate) fn row(&self) -> (&str, &str, &[u8; 32], Verdict) {
        (&self.service, &self.notification_id, self.fingerprint.as_bytes(), self.verdict)
    }
}

/// A row of counted deliveries. The first and the last of them may have come otherwise; what is told is of the last.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// Who answered.
    pub responder: Option<String>,
    /// What it was answered.
    pub status: u16,
    /// How long that took.
    pub duration: Duration,
}
