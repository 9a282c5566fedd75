//! What a store knows of a notification.

use chrono::{DateTime, Utc};

use super::{CompletedDecision, RecordedQuestion};

/// What is known of a notification.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The question, if it was recorded.
    pub question: Option<RecordedQuestion>,
    /// The decision, if it is completed.
    pub decision: Option<CompletedDecision>,
    /// When the first verified delivery of it came.
    pub first_seen: Option<DateTime<Utc>>,
    /// When the first of the answer that was asked for came.
    pub answer_seen: Option<DateTime<Utc>>,
}
