//! The service's side of the Agent Triage Protocol (ATP), without a framework: wire types, webhook
//! signatures, and validation of what a human answered.
//!
//! An AI service asks a human for a decision; the answer comes back as a webhook, signed with
//! HMAC-SHA256. This crate says whether a delivery is what the ATP server sent, reads it strictly,
//! and judges whether it fits the question. It does no I/O; `atp-actix` builds on it for actix-web.
//!
//! ```
//! use atp_core::{Choice, ResponseType, Scheme, Secret, Signature, Verifier};
//!
//! let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
//!
//! // What the ATP server sends.
//! let body = r#"{"notification_id":"n-1","action_id":"delay","response_data":"1h"}"#;
//! let signature = verifier.sign(Scheme::Timestamped, body.as_bytes())?.to_string();
//!
//! // What the service does with it: trust, then parse, then read the data as its type.
//! let answer = verifier.verify([(Signature::HEADER, signature)], body)?.decode()?;
//! assert_eq!(answer.action_id, "delay");
//! assert_eq!(Choice::<String>::read(answer.response_data.as_ref())?, "1h");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of a delivery
//!
//! 1. [`Verifier::begin`] judges the head: one signature header, well formed, in a scheme that is
//!    accepted, in time.
//! 2. [`Verification::update`] hashes the body while it arrives, where the scheme allows.
//! 3. [`Verification::finish`] gives the verdict as a [`Verified`], or a [`VerifyError`].
//! 4. [`Verified::decode`] reads the text that was signed, and nothing else, as a [`Response`].
//! 5. A [`ResponseType`] reads its data; [`validate`] and [`Response::fits`] judge it by the
//!    [`Action`] that was asked.
//!
//! [`Verifier::verify`] is the first three in one; [`Verifier::explain`] says why a delivery is
//! refused.
//!
//! # How defaults were chosen
//!
//! * Five minutes of tolerance, both ways: the guide's number; that it lets the far future pass is
//!   a fault of the guide.
//! * All four schemes: a receiver cannot know which of the documented ones its server uses. Pin it
//!   when you do.
//! * Secrets of 16 bytes and more: 128 bits; the reference advises 32 characters.
//! * Depth 128 for answers: what `serde_json` reads. Canonical texts go to 1,023, since CPython
//!   stops near there.
//! * No off switch: there is no setting that accepts an unsigned delivery.
//!
//! # Features
//!
//! * `json-schema`: judge `json` answers by the JSON Schema of their action. Without it such an
//!   action is refused.
//! * `test-util`: `Secret::of_any_bytes_for_tests`, for test vectors. No service that runs needs
//!   it.

// A file imports only from files above it in the list of `ARCHITECTURE.md`; a test holds that.
mod api;
pub mod canonical;
mod constraint;
mod event;
mod explain;
mod fingerprint;
mod json;
pub mod limits;
mod question;
mod redrive;
mod response;
mod response_type;
mod scheme;
mod secret;
mod signature;
mod time;
mod validate;
mod verification;
mod verifier;

pub use api::{
    ClientResponded, ClientResponse, NotificationCreated, ServerError, ServiceRegistered,
    ServiceRegistration, StatusChange, StatusChanged,
};
pub use canonical::CanonicalError;
pub use constraint::{Decimal, DecimalError, Pattern, PatternError};
pub use event::{DecisionMetadata, UserDecision};
pub use fingerprint::Fingerprint;
pub use json::NotJson;
pub use question::{
    Action, Attachment, AttachmentContent, Choosable, Context, Expects, Field, Labels, Notification,
    NumberRules, Options, QuestionError, Selections, Service, Status, TextRules,
};
pub use redrive::{RedriveError, RedriveToken, Redriven, Redriving};
pub use response::{Malformed, RawJson, Responder, ResponderKind, Response};
pub use response_type::{
    Binary, Choice, File, FileContent, Form, Json, MultiChoice, Number, ResponseType, Select, Simple, Text,
    Violation, Violations,
};
pub use scheme::Scheme;
pub use secret::{Secret, SecretError};
pub use signature::{Signature, SignatureError};
pub use time::Timestamp;
pub use validate::validate;
pub use verification::{Verification, Verified, VerifyError};
pub use verifier::Verifier;

/// The README's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
