//! What was authentic and refused.

use std::fmt;

use atp_core::Scheme;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{Verdict, token::len};

/// An authentic delivery that was refused.
#[derive(Clone)]
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
    pub secret: usize,
    /// SHA-256 of the text that was signed: what makes two deliveries the same to [`Store::keep`].
    pub signed: [u8; 32],
    /// As it came.
    pub body: Bytes,
}

/// A [`RefusedDelivery`] body in a store.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRefusal {
    /// Where it is kept: what [`Redrive::prepare`] asks for.
    pub id: i64,
    /// The question, if it is an answer at all.
    pub notification_id: Option<String>,
    /// Why it was refused last.
    pub verdict: Verdict,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// When it was refused first.
    pub refused_at: DateTime<Utc>,
    /// As it came.
    pub body: Bytes,
}

impl fmt::Debug for RefusedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("service", &self.service)
            .field("notification_id", &self.notification_id)
            .field("verdict", &self.verdict)
            .field("scheme", &self.scheme)
            .field("secret", &self.secret)
            .field("body", &len(&self.body))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("id", &self.id)
            .field("notification_id", &self.notification_id)
            .field("verdict", &self.verdict)
            .field("scheme", &self.scheme)
            .field("secret", &self.secret)
            .field("refused_at", &self.refused_at)
            .field("body", &len(&self.body))
            .finish()
    }
}
