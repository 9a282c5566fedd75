//! What is sent, where to and when: the same for all connections.

use atp_core::{Scheme, Verifier};
use reqwest::Url;
use serde_json::value::RawValue;

use super::{mix::Mix, schedule::Schedule};

/// What all connections share.
pub(super) struct Plan {
    /// The webhook.
    pub(super) to: Url,
    /// Signs with the secret.
    pub(super) verifier: Verifier,
    /// Signs with another.
    pub(super) forger: Verifier,
    /// In this scheme.
    pub(super) scheme: Scheme,
    /// Which question is answered; `{}` in it is the number.
    pub(super) notification: String,
    /// By which action.
    pub(super) action: String,
    /// With this data.
    pub(super) data: Box<RawValue>,
    /// Which are duplicates, and which forged.
    pub(super) mix: Mix,
    /// When.
    pub(super) schedule: Schedule,
}
