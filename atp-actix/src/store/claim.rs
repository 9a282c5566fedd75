//! The right to decide, and what comes of it.

use std::{fmt, time::Duration};

use atp_core::{Fingerprint, Scheme};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Verdict,
    event::Event,
    token::{Token, digest, len},
};
use crate::limits::{DEFAULT_LEASE, LONGEST_OUTCOME};

/// The state of a task whose answer was refused by its handler.
pub const STATE_REFUSED: &str = "refused";

/// The state of a task whose answer came too late and went to the handler of those, unless that set
/// another. [`CompletedDecision::is_late`] tells it apart from an action that is named so.
pub const STATE_LATE: &str = "late";

/// A decision that took effect, or that its handler refused: [`Outcome::is_success`] tells which.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletedDecision {
    /// Which answer it was.
    pub fingerprint: Fingerprint,
    /// The action that was chosen.
    pub action_id: String,
    /// What the human said, as JSON text. There is none if the answer had none, if the webhook was
    /// told to store none, and after [`Store::erase`](super::Store::erase).
    pub data: Option<String>,
    /// Who answered, if the answer says so; nobody after [`Store::erase`](super::Store::erase).
    pub responder: Option<String>,
    /// When it was completed, by the store's clock.
    pub completed_at: DateTime<Utc>,
    /// Whether the answer came too late, so that the handler of late answers ran, and not the
    /// action's.
    pub is_late: bool,
    /// What its handler said.
    pub outcome: Outcome,
}

impl CompletedDecision {
    /// What became of a claim, completed at this time.
    #[must_use]
    pub fn new(claim: &Claim, outcome: Outcome, completed_at: DateTime<Utc>) -> Self {
        Self {
            fingerprint: claim.fingerprint,
            action_id: claim.action_id.clone(),
            data: claim.data.clone(),
            responder: claim.arrival.responder.clone(),
            completed_at,
            is_late: claim.is_late,
            outcome,
        }
    }
}

/// What a handler said to a decision: what the same delivery gets again.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The status: a success, or a 4xx.
    pub status: u16,
    /// The content type, if there is one.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Outcome {
    /// The longest body that is recorded, in bytes. Of a longer one its status is, with
    /// `{"status":"success"}` if it is a success and without a body if it is none.
    pub const MAX_BODY: usize = LONGEST_OUTCOME;

    /// This status with this body.
    #[must_use]
    pub fn new(status: u16, content_type: Option<String>, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, body: body.into() }
    }

    /// 200 `{"status":"success"}`.
    #[must_use]
    pub fn success() -> Self {
        let body = Bytes::from_static(br#"{"status":"success"}"#);
        Self::new(200, Some("application/json".to_owned()), body)
    }

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
}

/// Who wants to decide what.
#[derive(Clone)]
#[non_exhaustive]
#[must_use]
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
    /// Whether the answer came too late, so that the handler of late answers is to run.
    pub is_late: bool,
    /// How the answer came.
    pub arrival: Arrival,
    /// The text that was signed: a kept body is known by it.
    pub signed_text: Bytes,
    /// The body as it came: what is kept if the process of its handler dies.
    pub body: Bytes,
    /// What is to be sent once it is completed with a success: written with the completed row, by
    /// whatever writes that.
    pub events: Vec<Event>,
}

impl Claim {
    /// A claim under a new token, for [`DEFAULT_LEASE`], without data, of an answer in time that
    /// came in this body, which is also what was signed.
    pub fn new(
        service: impl Into<String>,
        notification_id: impl Into<String>,
        fingerprint: Fingerprint,
        action_id: impl Into<String>,
        arrival: Arrival,
        body: impl Into<Bytes>,
    ) -> Self {
        let body = body.into();
        Self {
            service: service.into(),
            notification_id: notification_id.into(),
            fingerprint,
            action_id: action_id.into(),
            data: None,
            token: Token::random(),
            lease: DEFAULT_LEASE,
            is_late: false,
            arrival,
            signed_text: body.clone(),
            body,
            events: Vec::new(),
        }
    }

    /// Sets what is to be sent once it is completed with a success.
    pub fn events(mut self, events: Vec<Event>) -> Self {
        self.events = events;
        self
    }

    /// Sets the data to be stored, as JSON text.
    pub fn data(mut self, data: impl Into<Option<String>>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets how long it lasts; [`DEFAULT_LEASE`] unless set.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Says that the answer came too late.
    pub fn late(mut self, is_late: bool) -> Self {
        self.is_late = is_late;
        self
    }

    /// Sets the text that was signed, where it is not the body.
    pub fn signed_text(mut self, signed_text: impl Into<Bytes>) -> Self {
        self.signed_text = signed_text.into();
        self
    }

    /// What [`Store::keep`](super::Store::keep) would know its answer by: SHA-256 of the text that
    /// was signed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.signed_text)
    }
}

/// How a delivery came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Arrival {
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret_index: usize,
    /// Who answered.
    pub responder: Option<String>,
}

impl Arrival {
    /// A delivery that was signed so, without a request id and a responder.
    pub fn new(scheme: Scheme, secret_index: usize) -> Self {
        Self { request_id: None, scheme, secret_index, responder: None }
    }

    /// Sets the request id.
    pub fn request_id(mut self, request_id: impl Into<Option<String>>) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// Sets who answered.
    pub fn responder(mut self, responder: impl Into<Option<String>>) -> Self {
        self.responder = responder.into();
        self
    }
}

/// What came of a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
#[must_use]
pub struct Completion {
    /// What the handler said.
    pub outcome: Outcome,
    /// The task's new state.
    pub state: String,
    /// What the handler emitted: written if its outcome is a success, beside the events of the
    /// claim.
    pub events: Vec<Event>,
}

impl Completion {
    /// Ends this claim so. The state is [`STATE_REFUSED`] where the outcome is no success,
    /// [`STATE_LATE`] where the answer came too late, and else the id of the action.
    pub fn new(claim: &Claim, outcome: Outcome) -> Self {
        let state = match (outcome.is_success(), claim.is_late) {
            (false, _) => STATE_REFUSED,
            (true, true) => STATE_LATE,
            (true, false) => &claim.action_id,
        };
        Self { outcome, state: state.to_owned(), events: Vec::new() }
    }

    /// What ends this claim unless its handler says something else.
    pub fn expected(claim: &Claim) -> Self {
        Self::new(claim, Outcome::success())
    }

    /// Whether the outcome and the state are those that are written before the handler runs.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn is_expected(&self, claim: &Claim) -> bool {
        let expected = Self::expected(claim);
        self.outcome == expected.outcome && self.state == expected.state
    }

    /// Sets what the handler emitted.
    pub fn events(mut self, events: Vec<Event>) -> Self {
        self.events = events;
        self
    }

    /// Sets the task's new state.
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = state.into();
        self
    }
}

impl fmt::Debug for CompletedDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletedDecision")
            .field("fingerprint", &self.fingerprint)
            .field("action_id", &self.action_id)
            .field("data", &self.data.as_ref().map(len))
            .field("responder", &self.responder)
            .field("completed_at", &self.completed_at)
            .field("is_late", &self.is_late)
            .field("outcome", &self.outcome)
            .finish()
    }
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
            .field("is_late", &self.is_late)
            .field("arrival", &self.arrival)
            .field("signed_text", &len(&self.signed_text))
            .field("body", &len(&self.body))
            .field("events", &self.events.len())
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
