//! What is answered when a delivery is not handled: the only table of statuses.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use atp_core::{Malformed, RedriveError, VerifyError, Violations};
use serde_json::{Value, json};

use crate::store::StoreError;

/// Why a delivery is not handled. `Display` is the whole reason, for logs; what the sender gets is an [`ErrorReply`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The signature is missing, malformed, wrong or outside its time.
    #[error("{0}")]
    Signature(VerifyError),
    /// Not a POST.
    #[error("the method is not POST")]
    Method,
    /// The content type is missing or not JSON, its charset is not UTF-8, or there is a content encoding.
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
        "`{extractor}` was asked for in a route that `VerifySignature` does not wrap: mount the route with `Webhook`, or \
         wrap it with `VerifySignature`"
    )]
    NotVerified {
        /// The extractor's name.
        extractor: &'static str,
    },
    /// An extractor of this crate was used where there is no store, or one of another database.
    #[error(
        "`{extractor}` was asked for in a webhook without a store for it: add `.store(..)` to the `Webhook`"
    )]
    NoStore {
        /// The extractor's name.
        extractor: &'static str,
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
    #[error("signed {} s in the future, more than {} s: compare the clocks", by.as_secs(), tolerance.as_secs())]
    Ahead {
        /// How far.
        by: Duration,
        /// How far it may be.
        tolerance: Duration,
    },
    /// With a store: the notification is not recorded, and may be in a moment.
    #[error("the notification is not recorded yet: call `Store::record` before you send it")]
    NotYetRecorded,
    /// With a store: the notification is not recorded, and was not for a while.
    #[error("the notification is not recorded for this service")]
    NotRecorded,
    /// With a store: the question does not have that action.
    #[error("the question does not have that action")]
    UnknownAction,
    /// With a store: the action is for humans.
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

impl Refusal {
    /// Whether the sender has the secret: then his delivery was lost to nobody's noise, and the log must say so.
    ///
    /// With the body read, a time that is refused is that of the payload, which was looked at because a digest fitted.
    pub(crate) fn is_authentic(&self, body_was_read: bool) -> bool {
        match self {
            Self::Method
            | Self::MediaType(_)
            | Self::TooLarge { .. }
            | Self::TooSlow { .. }
            | Self::BrokenOff(_)
            | Self::Redrive(_)
            | Self::RedriveUsed
            | Self::NotRedeemed(_) => false,
            Self::Signature(
                VerifyError::TooOld { .. } | VerifyError::TooNew { .. } | VerifyError::NoPayloadTime,
            ) => body_was_read,
            Self::Signature(error) => error.is_malformed(),
            _ => true,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Stale { .. } | Self::Ahead { .. } | Self::Redrive(_) | Self::RedriveUsed => {
                StatusCode::UNAUTHORIZED
            }
            Self::Signature(error) if !error.is_malformed() => StatusCode::UNAUTHORIZED,
            Self::UnknownAction
            | Self::Signature(_)
            | Self::Malformed(_)
            | Self::Unfit(_)
            | Self::BrokenOff(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotRecorded => StatusCode::NOT_FOUND,
            Self::Expired | Self::Invalidated | Self::Conflict => StatusCode::CONFLICT,
            Self::NoHandler { .. }
            | Self::NotVerified { .. }
            | Self::NoStore { .. }
            | Self::NotHandled { .. }
            | Self::HandlerFault(_)
            | Self::Store(StoreError::Unclean(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Temporary
            | Self::NotYetRecorded
            | Self::StillRunning
            | Self::HandlerTooSlow(_)
            | Self::NotRedeemed(_)
            | Self::Ending
            | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the sender gets. A stranger, who has no valid signature, learns the status and nothing that he sent.
    pub(crate) fn reply(&self) -> ErrorReply {
        let status = self.status();
        let (code, error) = match self {
            Self::Signature(VerifyError::Malformed(malformed)) | Self::Malformed(malformed) => {
                (Some("MALFORMED_PAYLOAD"), malformed.to_string().into())
            }
            Self::Unfit(_) => (Some("INVALID_RESPONSE_DATA"), self.to_string().into()),
            Self::Method => (None, "Method not allowed".into()),
            Self::MediaType(_) => (None, "Unsupported media type".into()),
            Self::TooLarge { .. } => (None, "Payload too large".into()),
            Self::TooSlow { .. } => (None, "Request timeout".into()),
            Self::BrokenOff(_) => (None, "Incomplete body".into()),
            Self::Signature(_)
            | Self::Redrive(_)
            | Self::RedriveUsed
            | Self::Stale { .. }
            | Self::Ahead { .. } => (None, "Invalid signature".into()),
            Self::UnknownAction => (Some("INVALID_ACTION_ID"), self.to_string().into()),
            Self::Forbidden => (Some("NOTIFICATION_ACCESS_DENIED"), self.to_string().into()),
            Self::NotRecorded => (Some("NOTIFICATION_NOT_FOUND"), self.to_string().into()),
            Self::Expired => (Some("NOTIFICATION_EXPIRED"), self.to_string().into()),
            Self::Invalidated => (Some("NOTIFICATION_INVALIDATED"), self.to_string().into()),
            Self::Conflict => (Some("NOTIFICATION_ALREADY_RESPONDED"), self.to_string().into()),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                (None, "Service temporarily unavailable".into())
            }
            _ => (None, "Internal server error".into()),
        };
        ErrorReply { status, code, error, request_id: None }
    }
}

impl From<Violations> for Refusal {
    fn from(violations: Violations) -> Self {
        Self::Unfit(violations)
    }
}

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

/// What the sender of a refused delivery gets: the status, and what the body says.
///
/// A handler can refuse with one of its own; the request id is filled in on the way out.
///
/// ```
/// use actix_web::http::StatusCode;
/// use atp_actix::{AtpResponse, ErrorReply, Simple};
///
/// async fn approve(answer: AtpResponse<Simple>) -> Result<(), ErrorReply> {
///     let unknown = ErrorReply::new(StatusCode::NOT_FOUND, "NOTIFICATION_NOT_FOUND", "no such question");
///     if answer.notification_id == "n-1" { Ok(()) } else { Err(unknown) }
/// }
/// ```
///
/// The body is `{"error": .., "code": .., "request_id": ..}` where the protocol has a code, else `{"error": ..}` alone: a
/// stranger gets nothing back that he sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorReply {
    /// The status. It is decided before a body is made, and a hook cannot change it.
    pub status: StatusCode,
    /// The protocol's code, where it has one.
    pub code: Option<&'static str>,
    /// For humans.
    pub error: Cow<'static, str>,
    /// The request id of a delivery that was signed.
    pub request_id: Option<String>,
}

impl ErrorReply {
    /// A refusal with one of the protocol's codes.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: Some(code), error: error.into(), request_id: None }
    }

    /// The body unless a hook makes another.
    #[must_use]
    pub fn json(&self) -> Value {
        match self.code {
            None => json!({ "error": self.error }),
            Some(code) => json!({ "error": self.error, "code": code, "request_id": self.request_id }),
        }
    }

    /// What is told of an error that is ours or was made here.
    pub(crate) fn of(error: &actix_web::Error, request_id: Option<&str>) -> Option<Self> {
        let temporary = || error.as_error::<Error>().map(|_| Refusal::Temporary.reply());
        let own = || error.as_error::<Self>().cloned();
        let mut reply = error.as_error::<Refusal>().map(Refusal::reply).or_else(own).or_else(temporary)?;
        reply.request_id = request_id.map(str::to_owned);
        Some(reply)
    }

    /// The body, by the hook if there is one.
    pub(crate) fn body(&self, hook: Option<&ErrorBody>) -> String {
        hook.map_or_else(|| self.json(), |hook| hook(self)).to_string()
    }

    /// The response with this body.
    pub(crate) fn response<B>(&self, body: B) -> HttpResponse<B> {
        let mut response = HttpResponse::with_body(self.status, body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => return response,
        };
        response
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.unwrap_or("refused"), self.error)
    }
}

impl ResponseError for ErrorReply {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.response(BoxBody::new(self.json().to_string()))
    }
}

/// Makes the body of a refusal; the status stays what it is.
pub(crate) type ErrorBody = Arc<dyn Fn(&ErrorReply) -> Value + Send + Sync>;

/// The error of a handler that could not do its work now: 503, so that the server delivers again.
///
/// Every error converts into it, so `?` works on all of them; for that it cannot be a `std::error::Error` itself, so keep it
/// to handlers. Its text goes to the log and never to the sender. For an
/// answer that must not come again, return a response or an error type of your own with a 4xx.
///
/// ```
/// use atp_actix::{AtpResponse, Error, Simple};
///
/// async fn approve(_: AtpResponse<Simple>) -> Result<(), Error> {
///     std::fs::write("/no/such/folder/approved", "yes")?;
///     Ok(())
/// }
///
/// let error = Error::from(std::io::Error::other("the disk is full"));
/// assert_eq!(actix_web::ResponseError::status_code(&error), 503);
/// ```
pub struct Error(Box<dyn StdError>);

impl<E: StdError + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// The whole chain of causes.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = told(&*self.0);
        let mut source = self.0.source();
        while let Some(error) = source {
            let cause = told(error);
            // Many errors print their cause themselves.
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            source = error.source();
        }
        f.write_str(&text)
    }
}

/// The text of an error. That of `serde_json` may quote the answer, so only its kind and place are told.
fn told(error: &(dyn StdError + 'static)) -> String {
    // One of input and output prints the one that it was made of.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let inner = inner.and_then(|inner| inner.downcast_ref::<serde_json::Error>());
    inner.or_else(|| error.downcast_ref()).map_or_else(
        || error.to_string(),
        |json: &serde_json::Error| {
            format!("{:?} error of JSON at line {} column {}", json.classify(), json.line(), json.column())
        },
    )
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        Refusal::Temporary.status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        Refusal::Temporary.error_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_serde_json_is_told_without_the_value() {
        let error = Error::from(serde_json::from_str::<u8>(r#""hunter2""#).unwrap_err());
        assert_eq!(error.to_string(), "Data error of JSON at line 1 column 9");
        assert!(!format!("{error:?}").contains("hunter2"));
        let json = serde_json::from_str::<u8>(r#""hunter2""#).unwrap_err();
        let error = Error::from(std::io::Error::from(json));
        assert_eq!(error.to_string(), "Data error of JSON at line 1 column 9");
    }
}
