//! Why a delivery is not handled, and the one table of what that is answered.

use std::{fmt::Display, time::Duration};

use actix_web::{HttpResponse, ResponseError, body::BoxBody, http::StatusCode};
use atp_core::{Malformed, RedriveError, VerifyError, Violations};

use crate::{reply::ErrorReply, store::StoreError};

/// Why a delivery is not handled. `Display` is the whole reason, for logs; what the sender gets is
/// an [`ErrorReply`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The signature is missing, malformed or wrong, or its header's time is too far away.
    #[error("{0}")]
    Signature(VerifyError),
    /// A digest fits, and the time in the payload is too far away, or there is none.
    #[error("{0}")]
    SignedTime(VerifyError),
    /// Not a POST.
    #[error("the method is not POST")]
    Method,
    /// The content type is missing or not JSON, its charset is not UTF-8, or there is a content
    /// encoding.
    #[error("{0}")]
    MediaType(&'static str),
    /// The body is longer than the limit.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} ms", within.as_millis())]
    TooSlow {
        /// The time it had.
        within: Duration,
    },
    /// The body broke off.
    #[error("the body broke off: {0}")]
    BrokenOff(String),
    /// Signed, but no answer.
    #[error("malformed payload: {0}")]
    Malformed(Malformed),
    /// Signed, but its data does not fit.
    #[error("{0}")]
    Unfit(Violations),
    /// Signed, but its data does not fit the type that the handler takes.
    #[error(
        "the data of the action {action:?} does not fit `{wanted}`, which its handler takes: {violations}"
    )]
    UnfitForHandler {
        /// The action's id.
        action: String,
        /// The response type that the handler takes.
        wanted: &'static str,
        /// What does not fit.
        violations: Box<Violations>,
    },
    /// No handler is registered for the action.
    #[error(
        "no handler for the action {action:?}: add `.on({action:?}, ..)` or `.otherwise(..)` to the `Webhook`"
    )]
    NoHandler {
        /// The action's id.
        action: String,
    },
    /// An extractor of this crate was used where no delivery was verified.
    #[error(
        "`{extractor}` was asked for in a route that `VerifySignature` does not wrap: mount the route with \
         `Webhook`, or wrap it with `VerifySignature`"
    )]
    NotVerified {
        /// The extractor's name.
        extractor: &'static str,
    },
    /// An extractor of this crate was used where there is no store.
    #[error("`{extractor}` was asked for in a webhook without a store: add `.store(..)` to the `Webhook`")]
    NoStore {
        /// The extractor's name.
        extractor: &'static str,
    },
    /// The transaction of another kind of store was asked for.
    #[error(
        "a handler takes `{asked}`, and the webhook's store has `{has}`: give the webhook the store \
             that the handler was written for, or take `Transaction<{has}>`"
    )]
    OtherTransaction {
        /// What was asked for.
        asked: &'static str,
        /// What the store has.
        has: &'static str,
    },
    /// The context that was recorded with the question is not what the handler takes.
    #[error(
        "the context that was recorded with the question does not fit `Correlation<{wanted}>`, which the handler \
         of {action:?} takes: {misfit}; compare the type with what `Question::context` was given"
    )]
    Context {
        /// The action's id.
        action: String,
        /// What the handler takes.
        wanted: &'static str,
        /// What does not fit.
        misfit: String,
    },
    /// With a store: the webhook's path has a parameter, which no signature covers.
    #[error(
        "the webhook's path has the parameter {name:?}, which no signature covers, so it cannot say whose store \
         and secret are meant: mount one `Webhook` for each value, at a path without parameters"
    )]
    PathParameter {
        /// The parameter's name.
        name: String,
    },
    /// Something of ours is away for a while; the server should deliver again.
    #[error("temporarily unavailable")]
    Temporary,
    /// With a store: signed longer ago than servers deliver again.
    #[error("signed {} s ago, more than the redelivery window of {} s", age.as_secs(), window.as_secs())]
    Stale {
        /// How long ago.
        age: Duration,
        /// How long ago it may be.
        window: Duration,
    },
    /// With a store: signed at a time that is yet to come.
    #[error(
        "signed {} s in the future, more than {} s: compare the clocks", by.as_secs(), tolerance.as_secs()
    )]
    Ahead {
        /// How far.
        by: Duration,
        /// How far it may be.
        tolerance: Duration,
    },
    /// With a store: the notification is not recorded, and may be in a moment.
    #[error(
        "the notification is not recorded yet for this service: call `Store::record` before you send it{}",
        recorded_for(other_service.as_deref())
    )]
    NotYetRecorded {
        /// Another service that it is recorded for.
        other_service: Option<String>,
    },
    /// With a store: the notification is not recorded, and was not for a while.
    #[error("the notification is not recorded for this service{}", recorded_for(other_service.as_deref()))]
    NotRecorded {
        /// Another service that it is recorded for.
        other_service: Option<String>,
    },
    /// With a store: the question does not have that action.
    #[error("the question does not have that action")]
    UnknownAction,
    /// The action is for humans.
    #[error("the action is for humans, and the responder is not known to be one")]
    Forbidden,
    /// With a store: answered after the deadline.
    #[error("answered after the deadline")]
    Expired,
    /// With a store: the question was taken back.
    #[error("the question was taken back")]
    Invalidated,
    /// With a store: another answer took effect.
    #[error("another answer stands")]
    Conflict,
    /// With a store: another answer was refused by its handler, which closed the question.
    #[error("another answer was refused, which closed the question: `Store::reopen` voids that")]
    AlreadyRefused,
    /// With a store: a delivery of this notification is being handled.
    #[error("a delivery of this notification is being handled")]
    StillRunning,
    /// With a store: the handler did not end in time; what it did was rolled back.
    #[error("the handler was dropped: {0}")]
    HandlerTooSlow(&'static str),
    /// With a store: the handler did what cannot be recorded.
    #[error("{0}")]
    HandlerFault(&'static str),
    /// With a store: an extractor refused, or other middleware, before the handler ran.
    #[error("the handler did not run: {reason}")]
    NotHandled {
        /// What was said instead.
        reason: String,
    },
    /// The token of a redrive is not one of this service's, and no signature came with it.
    #[error("{0}")]
    Redrive(RedriveError),
    /// The token of a redrive is one of this service's, and is not to be used any more.
    #[error("the token of a redrive was used, or another was made since for the same delivery: make it anew")]
    RedriveUsed,
    /// The store could not say whether the token of a redrive was used.
    #[error("the token of a redrive was not looked up: {0}")]
    NotRedeemed(#[source] StoreError),
    /// With a store: it is being closed.
    #[error("the store is being closed: deliveries are taken up again when the service is")]
    Ending,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Whose question it is: for the log, since who sends an answer for one service need not know of others.
fn recorded_for(other_service: Option<&str>) -> String {
    other_service.map_or_else(String::new, |service| {
        format!("; it is recorded for {service:?}: mount its webhook with `Decisions::service`")
    })
}

/// A row of the table.
struct Row<'a> {
    status: StatusCode,
    /// The protocol's code, which only the sender of a signed delivery gets.
    code: Option<&'static str>,
    /// Whether the sender has the secret: then the delivery was lost to nobody's noise, and the log
    /// must say so.
    is_authentic: bool,
    /// What the sender is told.
    text: &'a dyn Display,
}

impl<'a> Row<'a> {
    /// Anybody may get this: it says nothing that he does not know.
    fn stranger(status: StatusCode, text: &'static &'static str) -> Self {
        Self { status, code: None, is_authentic: false, text }
    }

    /// The sender has the secret, and is told no more than a stranger.
    fn opaque(status: StatusCode, text: &'static &'static str) -> Self {
        Self { status, code: None, is_authentic: true, text }
    }

    /// The sender has the secret, and is told what was wrong.
    fn told(status: StatusCode, code: &'static str, text: &'a dyn Display) -> Self {
        Self { status, code: Some(code), is_authentic: true, text }
    }
}

impl Refusal {
    /// What is refused after a digest fitted.
    pub(crate) fn of_verdict(error: VerifyError) -> Self {
        match error {
            VerifyError::Malformed(malformed) => Self::Malformed(malformed),
            VerifyError::TooOld { .. } | VerifyError::TooNew { .. } | VerifyError::NoPayloadTime => {
                Self::SignedTime(error)
            }
            error => Self::Signature(error),
        }
    }

    /// The table. Whoever adds a refusal is asked here what it is answered, and to whom.
    fn row(&self) -> Row<'_> {
        const INVALID: &&str = &"Invalid signature";
        const AWAY: &&str = &"Service temporarily unavailable";
        const FAULT: &&str = &"Internal server error";
        match self {
            Self::Method => Row::stranger(StatusCode::METHOD_NOT_ALLOWED, &"Method not allowed"),
            Self::MediaType(_) => {
                Row::stranger(StatusCode::UNSUPPORTED_MEDIA_TYPE, &"Unsupported media type")
            }
            Self::TooLarge { .. } => Row::stranger(StatusCode::PAYLOAD_TOO_LARGE, &"Payload too large"),
            Self::TooSlow { .. } => Row::stranger(StatusCode::REQUEST_TIMEOUT, &"Request timeout"),
            Self::BrokenOff(_) => Row::stranger(StatusCode::BAD_REQUEST, &"Incomplete body"),
            Self::Signature(_) | Self::Redrive(_) | Self::RedriveUsed => {
                Row::stranger(StatusCode::UNAUTHORIZED, INVALID)
            }
            Self::NotRedeemed(_) => Row::stranger(StatusCode::SERVICE_UNAVAILABLE, AWAY),
            Self::SignedTime(_) | Self::Stale { .. } | Self::Ahead { .. } => {
                Row::opaque(StatusCode::UNAUTHORIZED, INVALID)
            }
            Self::Malformed(why) => Row::told(StatusCode::BAD_REQUEST, "MALFORMED_PAYLOAD", why),
            Self::Unfit(violations) => {
                Row::told(StatusCode::BAD_REQUEST, "INVALID_RESPONSE_DATA", violations)
            }
            Self::UnfitForHandler { violations, .. } => {
                Row::told(StatusCode::BAD_REQUEST, "INVALID_RESPONSE_DATA", violations)
            }
            Self::UnknownAction => Row::told(StatusCode::BAD_REQUEST, "INVALID_ACTION_ID", self),
            Self::Forbidden => Row::told(StatusCode::FORBIDDEN, "NOTIFICATION_ACCESS_DENIED", self),
            Self::NotRecorded { .. } => Row::told(
                StatusCode::NOT_FOUND,
                "NOTIFICATION_NOT_FOUND",
                &"the notification is not recorded for this service",
            ),
            Self::Expired => Row::told(StatusCode::CONFLICT, "NOTIFICATION_EXPIRED", self),
            Self::Invalidated => Row::told(StatusCode::CONFLICT, "NOTIFICATION_INVALIDATED", self),
            Self::Conflict => Row::told(StatusCode::CONFLICT, "NOTIFICATION_ALREADY_RESPONDED", self),
            Self::AlreadyRefused => {
                Row::told(StatusCode::CONFLICT, "ALREADY_REFUSED", &"another answer was refused for good")
            }
            Self::NoHandler { .. }
            | Self::NotVerified { .. }
            | Self::NoStore { .. }
            | Self::OtherTransaction { .. }
            | Self::Context { .. }
            | Self::PathParameter { .. }
            | Self::NotHandled { .. }
            | Self::HandlerFault(_)
            | Self::Store(StoreError::Unclean(_)) => Row::opaque(StatusCode::INTERNAL_SERVER_ERROR, FAULT),
            Self::Temporary
            | Self::NotYetRecorded { .. }
            | Self::StillRunning
            | Self::HandlerTooSlow(_)
            | Self::Ending
            | Self::Store(_) => Row::opaque(StatusCode::SERVICE_UNAVAILABLE, AWAY),
        }
    }

    /// Whether the sender has the secret.
    pub(crate) fn is_authentic(&self) -> bool {
        self.row().is_authentic
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.row().status
    }

    /// What the sender gets. A stranger, who has no valid signature, learns the status and nothing
    /// that he sent.
    pub(crate) fn reply(&self) -> ErrorReply {
        let Row { status, code, text, .. } = self.row();
        match code {
            Some(code) => ErrorReply::new(status, code, text.to_string()),
            None => ErrorReply::without_code(status, text.to_string()),
        }
    }
}

impl From<Violations> for Refusal {
    fn from(violations: Violations) -> Self {
        Self::Unfit(violations)
    }
}

/// Of a signature that was not looked up in a body yet: nobody is known to have the secret.
impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        Self::Signature(error)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.reply().error_response()
    }
}
