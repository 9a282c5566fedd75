//! The right to decide, and what comes of it.

use std::{fmt, time::Duration};

use atp_core::{Fingerprint, Scheme};
use bytes::Bytes;

use super::{
    Verdict,
    token::{Token, digest, len},
};

/// A decision that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedDecision {
    /// Which answer it was.
    pub fingerprint: Fingerprint,
    /// What its handler said.
    pub outcome: Outcome,
}

/// What a handler said to a decision: what the same delivery gets again.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status: a success, or a 4xx.
    pub status: u16,
    /// The content type, if there is one.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Outcome {
    /// The longest body that is recorded, in bytes. Of a longer one its status is, with `{"status":"success"}` if it is a success
    /// and without a body if it is none.
    pub const MAX_BODY: usize = 16 << 10;

    /// Whether it is a success: what the handler wrote stands.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the delivery that it was said to is counted as.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.is_success() { Verdict::Handled } else { Verdict::Refused }
    }

    /// 200 `{"status":"success"}`.
    #[must_use]
    pub fn success() -> Self {
        Self {
            status: 200,
            content_type: Some("application/json".to_owned()),
            body: Bytes::from_static(br#"{"status":"success"}"#),
        }
    }
}

/// Who wants to decide what.
#[derive(Clone)]
pub struct Claim {
    /// The service.
    pub service: String,
    /// The question.
    pub notification_id: String,
    /// The answer.
    pub fingerprint: Fingerprint,
    /// The action that was chosen.
    pub action_id: String,
    /// The data as JSON text, if it is to be stored.
    pub data: Option<String>,
    /// Proof of the claim, if it is granted.
    pub token: Token,
    /// For how long.
    pub lease: Duration,
    /// How the answer came.
    pub arrival: Arrival,
}

/// How an answer came that somebody wants to take effect: what the audit tells of its decision, and what is kept of it if the
/// process of its handler dies.
#[derive(Clone)]
pub struct Arrival {
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// Who answered.
    pub responder: Option<String>,
    /// The text that was signed.
    pub text: Bytes,
    /// The body as it came.
    pub body: Bytes,
}

impl Arrival {
    /// What [`Store::keep`] would know it by.
    pub(crate) fn signed(&self) -> [u8; 32] {
        digest(&self.text)
    }
}

impl Claim {
    /// What completes it unless its handler says something else.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn expected(&self) -> Completion {
        Completion { outcome: Outcome::success(), state: Some(self.action_id.clone()) }
    }
}

/// What came of a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed<T = ()> {
    /// It is ours, with what it is completed in.
    Started(T),
    /// Somebody is at it.
    Running,
    /// It is over.
    Completed(CompletedDecision),
}

/// How a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What the handler said.
    pub outcome: Outcome,
    /// The task's new state; it keeps its own if there is none.
    pub state: Option<String>,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("service", &self.service)
            .field("notification_id", &self.notification_id)
            .field("fingerprint", &self.fingerprint)
            .field("action_id", &self.action_id)
            .field("data", &self.data.as_ref().map(len))
            .field("lease", &self.lease)
            .field("arrival", &self.arrival)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("request_id", &self.request_id)
            .field("scheme", &self.scheme)
            .field("secret", &self.secret)
            .field("text", &len(&self.text))
            .field("body", &len(&self.body))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body", &len(&self.body))
            .finish()
    }
}
