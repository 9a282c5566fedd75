//! What the desk says when it refuses: the errors of the protocol, section 5, in one table.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use serde_json::{Map, Value, json};

/// A request that the desk refuses, with the protocol's code.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    code: &'static str,
    message: String,
    details: Map<String, Value>,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Refusal {
    /// A code of the protocol, and what is wrong in words for humans.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Map::new(), retry_after: None }
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Another request may be made after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Such as `NOTIFICATION_EXPIRED`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong, in words for humans.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self.code {
            "AUTH_INVALID_TOKEN" => StatusCode::UNAUTHORIZED,
            "AUTH_INSUFFICIENT_PERMISSIONS" | "SERVICE_NOT_OWNER" | "SERVICE_SUSPENDED" => {
                StatusCode::FORBIDDEN
            }
            "NOTIFICATION_NOT_FOUND" | "NOT_FOUND" => StatusCode::NOT_FOUND,
            "SERVICE_ALREADY_EXISTS"
            | "NOTIFICATION_EXPIRED"
            | "NOTIFICATION_INVALIDATED"
            | "NOTIFICATION_ALREADY_RESPONDED" => StatusCode::CONFLICT,
            "METHOD_NOT_ALLOWED" => StatusCode::METHOD_NOT_ALLOWED,
            "NOT_OUR_HOST" => StatusCode::MISDIRECTED_REQUEST,
            "TOO_SLOW" => StatusCode::REQUEST_TIMEOUT,
            "TOO_LARGE" => StatusCode::PAYLOAD_TOO_LARGE,
            "CONSTRAINT_VIOLATION" => StatusCode::UNPROCESSABLE_ENTITY,
            "RATE_LIMIT_EXCEEDED" => StatusCode::TOO_MANY_REQUESTS,
            "SERVICE_UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
            "INTERNAL_ERROR" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.code == "TOO_SLOW" {
            // What is left of it is not waited for.
            response.force_close();
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header(("retry-after", seconds.to_string()));
        }
        let mut error = json!({
            "code": self.code,
            "message": self.message,
            "request_id": format!("req_{}", uuid::Uuid::new_v4().simple()),
        });
        if let (Value::Object(error), false) = (&mut error, self.details.is_empty()) {
            error.insert("details".to_owned(), Value::Object(self.details.clone()));
        }
        response.json(error)
    }
}

/// What the desk cannot do: its file is at fault. The log has the reason.
impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(target: "atp_cli::desk", %error, "the desk's file");
        Self::new("INTERNAL_ERROR", "The desk could not use its file; its log says why.")
    }
}
