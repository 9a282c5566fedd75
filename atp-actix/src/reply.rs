//! What the sender of a delivery gets that is not handled.

use std::{borrow::Cow, fmt, sync::Arc};

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde_json::{Value, json};

/// What the sender of a refused delivery gets: the status, and what the body says.
///
/// A handler refuses with one of its own; the request id is filled in on the way out.
///
/// ```
/// use actix_web::http::StatusCode;
/// use atp_actix::{AtpResponse, ErrorReply, Number};
///
/// async fn pay(amount: AtpResponse<Number>) -> Result<(), ErrorReply> {
///     if amount.data > 1000.into() {
///         let wrong = ErrorReply::new(StatusCode::BAD_REQUEST, "TOO_MUCH", "at most 1000 can be paid");
///         return Err(wrong.leave_open());
///     }
///     Ok(())
/// }
/// ```
///
/// # What becomes of the question
///
/// In a webhook with a store a handler's work is rolled back whenever it refuses. Then it goes by
/// what was said:
///
/// | the handler says | the question | the same answer again | another answer |
/// |---|---|---|---|
/// | a 4xx | is closed by this refusal, which is recorded | gets the same refusal; no handler runs | 409 `ALREADY_REFUSED` |
/// | a 4xx with [`ErrorReply::leave_open`] | stays open | is handled anew | is handled |
/// | 408, 425, 429 or a 5xx: later | stays open | is handled anew, and the server sends a 5xx again by itself | is handled |
///
/// Whoever replays a delivery whose handler leaves the question open makes it run again, one at a
/// time, until the question is decided or the redelivery window ends; nothing grows by it.
///
/// [`Store::reopen`](crate::store::Store::reopen) voids a recorded refusal. What was refused is
/// kept in each case, and can be sent in again with [`Redrive`](crate::store::Redrive).
///
/// # The body
///
/// It is `{"error": .., "code": .., "request_id": ..}` where there is a code, else `{"error": ..}`
/// alone: a stranger gets nothing back that he sent.
/// [`Webhook::error_body`](crate::Webhook::error_body) makes another of it.
///
/// # In an error type of your own
///
/// Let its `error_response` be that of the reply, so that the body is made and the request id is
/// filled in here too; or let the handler return [`Error`](crate::Error), into which a reply
/// converts as any other error does.
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
    leaves_open: bool,
}

impl ErrorReply {
    /// A refusal with one of the protocol's codes, or with one of your own.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: Some(code), error: error.into(), request_id: None, leaves_open: false }
    }

    /// One without a code, for the statuses that strangers see.
    pub(crate) fn without_code(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: None, error: error.into(), request_id: None, leaves_open: false }
    }

    /// Leaves the question open: this answer is refused, and the next one is handled, whoever gives
    /// it and whatever it says. For a form that can be filled in again, or a responder who may not
    /// decide where another may.
    ///
    /// Unless set, a 4xx closes the question. It changes nothing where there is no store, and
    /// nothing of a status that means "later". The same delivery that comes again runs the handler
    /// again.
    #[must_use]
    pub fn leave_open(mut self) -> Self {
        self.leaves_open = true;
        self
    }

    /// Whether it leaves the question open.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        self.leaves_open
    }

    /// The body unless a hook makes another.
    #[must_use]
    pub fn json(&self) -> Value {
        match self.code {
            None => json!({ "error": self.error }),
            Some(code) => json!({ "error": self.error, "code": code, "request_id": self.request_id }),
        }
    }

    /// The reply that a response was made of, whatever error type it went through.
    pub(crate) fn of<B>(response: &HttpResponse<B>, request_id: Option<&str>) -> Option<Self> {
        let mut reply = response.extensions().get::<Self>().cloned()?;
        reply.request_id = request_id.map(str::to_owned);
        Some(reply)
    }

    /// The body, by the hook if there is one.
    pub(crate) fn body(&self, hook: Option<&ErrorBody>) -> String {
        hook.map_or_else(|| self.json(), |hook| hook(self)).to_string()
    }

    /// The response with this body. It carries the reply, so that the body can be made anew where
    /// more is known.
    pub(crate) fn response<B>(&self, body: B) -> HttpResponse<B> {
        let mut response = HttpResponse::with_body(self.status, body);
        response.extensions_mut().insert(self.clone());
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

impl std::error::Error for ErrorReply {}

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
