//! What a store knows of a notification.

use chrono::{DateTime, Utc};

use super::{CompletedDecision, RecordedQuestion};

/// What is known of a notification.
///
/// Where nothing is known it is [`Known::default`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Known {
    /// The question, if it was recorded.
    pub question: Option<RecordedQuestion>,
    /// The decision, if it is completed.
    pub decision: Option<CompletedDecision>,
    /// When the first verified delivery of it came.
    pub first_seen: Option<DateTime<Utc>>,
    /// When the first of the answer that was asked for came.
    pub answer_seen: Option<DateTime<Utc>>,
    /// Where the question is not recorded for the service that was asked for: another service that
    /// recorded it, if there is one. Its answer was sent to the wrong webhook.
    pub other_service: Option<String>,
}
