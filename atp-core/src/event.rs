//! What a service tells its own systems about a decision.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::response::{RawJson, Response};

/// The guide's internal event (its `transform_response_for_downstream`), with exactly its members.
/// All of them are always there, as `null` where there is nothing to say.
///
/// ```
/// use atp_core::{Scheme, Secret, Signature, UserDecision, Verifier};
///
/// let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
/// let body = r#"{"notification_id":"n-1","action_id":"reject","response_data":{"reason":"no"},"timestamp":"2026-01-02T03:05:06Z"}"#;
/// let now = "2026-01-02T03:05:07Z".parse()?;
/// let signature = verifier.sign(Scheme::Raw, body.as_bytes())?.to_string();
/// let answer = verifier.verify_at([(Signature::HEADER, signature)], body, now)?.decode()?;
///
/// let event = UserDecision::new(&answer, now).user_id("user_9");
/// assert_eq!(
///     serde_json::to_string(&event)?,
///     r#"{"event_type":"user_decision","source":"atp","timestamp":"2026-01-02T03:05:07Z","user_id":"user_9","request_id":null,"decision":"reject","additional_data":{"reason":"no"},"metadata":{"notification_id":"n-1","original_timestamp":"2026-01-02T03:05:06Z"}}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UserDecision {
    /// `user_decision`.
    pub event_type: &'static str,
    /// `atp`.
    pub source: &'static str,
    /// When the event was made.
    pub timestamp: DateTime<Utc>,
    /// For whom the question was asked; the answer does not say, the service remembers it.
    pub user_id: Option<String>,
    /// For which request of his it was asked; the answer does not say, the service remembers it.
    pub request_id: Option<String>,
    /// The action that was chosen.
    pub decision: String,
    /// What came with it.
    pub additional_data: Option<RawJson>,
    /// Where it came from.
    pub metadata: DecisionMetadata,
}

/// Where a decision came from.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DecisionMetadata {
    /// The question.
    pub notification_id: String,
    /// The payload's `timestamp`, else its `responded_at`, as it was signed.
    pub original_timestamp: Option<String>,
}

impl UserDecision {
    /// The event for an answer.
    #[must_use]
    pub fn new(answer: &Response, now: DateTime<Utc>) -> Self {
        let original = answer.timestamp.as_ref().or(answer.responded_at.as_ref());
        Self {
            event_type: "user_decision",
            source: "atp",
            timestamp: now,
            user_id: None,
            request_id: None,
            decision: answer.action_id.clone(),
            additional_data: answer.response_data.clone(),
            metadata: DecisionMetadata {
                notification_id: answer.notification_id.clone(),
                original_timestamp: original.map(|time| time.as_str().to_owned()),
            },
        }
    }

    /// Says for whom the question was asked.
    #[must_use]
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Says for which request the question was asked.
    #[must_use]
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }
}
