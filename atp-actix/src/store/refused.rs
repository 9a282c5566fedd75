//! What was authentic and refused.

use std::fmt;

use atp_core::Scheme;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Claim, Verdict,
    token::{digest, len},
};

/// An authentic delivery that was refused.
#[derive(Clone)]
#[non_exhaustive]
#[must_use]
pub struct RefusedDelivery {
    /// The service.
    pub service: String,
    /// The question, if it is an answer at all.
    pub notification_id: Option<String>,
    /// Why it was refused.
    pub verdict: Verdict,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret_index: usize,
    /// SHA-256 of the text that was signed: what makes two deliveries the same to
    /// [`Store::keep`](super::Store::keep).
    pub digest: [u8; 32],
    /// As it came.
    pub body: Bytes,
}

impl RefusedDelivery {
    /// A delivery of this text, which came in this body.
    pub fn new(
        service: impl Into<String>,
        verdict: Verdict,
        scheme: Scheme,
        secret_index: usize,
        signed_text: &[u8],
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            service: service.into(),
            notification_id: None,
            verdict,
            scheme,
            secret_index,
            digest: digest(signed_text),
            body: body.into(),
        }
    }

    /// Sets which question it is an answer to.
    pub fn notification_id(mut self, notification_id: impl Into<Option<String>>) -> Self {
        self.notification_id = notification_id.into();
        self
    }

    /// What is kept of a claim whose process died: see [`Verdict::Abandoned`].
    pub fn abandoned(claim: &Claim) -> Self {
        let (service, arrival) = (claim.service.as_str(), &claim.arrival);
        let (text, body) = (&claim.signed_text, claim.body.clone());
        Self::new(service, Verdict::Abandoned, arrival.scheme, arrival.secret_index, text, body)
            .notification_id(claim.notification_id.clone())
    }
}

/// A [`RefusedDelivery`] in a store.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRefusal {
    /// Where it is kept: what [`Redrive::prepare`](super::Redrive::prepare) asks for.
    pub id: i64,
    /// The question, if it is an answer at all.
    pub notification_id: Option<String>,
    /// Why it was refused last.
    pub verdict: Verdict,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret_index: usize,
    /// When it was refused first.
    pub refused_at: DateTime<Utc>,
    /// As it came.
    pub body: Bytes,
}

impl StoredRefusal {
    /// What is kept under this id, and was refused first at this time.
    #[must_use]
    pub fn new(id: i64, refused: &RefusedDelivery, refused_at: DateTime<Utc>) -> Self {
        Self {
            id,
            notification_id: refused.notification_id.clone(),
            verdict: refused.verdict,
            scheme: refused.scheme,
            secret_index: refused.secret_index,
            refused_at,
            body: refused.body.clone(),
        }
    }
}

impl fmt::Debug for RefusedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedDelivery")
            .field("service", &self.service)
            .field("notification_id", &self.notification_id)
            .field("verdict", &self.verdict)
            .field("scheme", &self.scheme)
            .field("secret_index", &self.secret_index)
            .field("body", &len(&self.body))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRefusal")
            .field("id", &self.id)
            .field("notification_id", &self.notification_id)
            .field("verdict", &self.verdict)
            .field("scheme", &self.scheme)
            .field("secret_index", &self.secret_index)
            .field("refused_at", &self.refused_at)
            .field("body", &len(&self.body))
            .finish()
    }
}
