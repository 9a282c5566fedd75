//! Why a call to an ATP server did not do what it was asked.

use std::{fmt, time::Duration};

use atp_core::{QuestionError, ServerError};

use crate::limits::LONGEST_SERVER_TEXT;

/// Why a call to an ATP server did not do what it was asked. In no text of it is a key, or anything
/// of what was sent, unless the server's own message repeats that.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's address cannot be used.
    #[error("the address of the ATP server {0}")]
    Address(&'static str),
    /// There is no TLS.
    #[error("TLS to the ATP server cannot be set up: {0}")]
    Tls(String),
    /// The question could not be answered, so it was not sent.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// What was to be sent has no JSON.
    #[error("what is to be sent to the ATP server has no JSON: {0}")]
    NoJson(#[from] serde_json::Error),
    /// No address names this notification.
    #[error("a notification id that {0}, so no address names it at an ATP server")]
    Id(&'static str),
    /// The turn of this call does not come in the time that [`Client::turn_within`] allows. Nothing
    /// was sent.
    ///
    /// [`Client::turn_within`]: super::Client::turn_within
    #[error("as many calls as are allowed in a minute were made: the next may be in {} s", after.as_secs() + 1)]
    NotItsTurn {
        /// When a call may be made again, as far as is known.
        after: Duration,
    },
    /// There was no connection, so nothing was sent.
    #[error("the ATP server cannot be reached: {reason}")]
    Unreached {
        /// Why.
        reason: String,
    },
    /// It was sent, or a part of it, and no answer came: the server may have taken it.
    #[error("the ATP server has not answered: {reason}")]
    Unanswered {
        /// Why.
        reason: String,
    },
    /// The server has taken it, and what it says to that cannot be read.
    #[error("the ATP server has answered {status}, and its answer {reason}")]
    Garbled {
        /// Its status.
        status: u16,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// The server has refused it.
    #[error("the ATP server has answered {status}{}", Told(error.as_deref()))]
    Server {
        /// Its status; a redirect is one too, since none is followed.
        status: u16,
        /// What it says, if that is as the protocol has it.
        error: Option<Box<ServerError>>,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
}

impl ClientError {
    /// The server's status, where it has answered.
    #[must_use]
    pub fn get_status(&self) -> Option<u16> {
        match self {
            Self::Server { status, .. } | Self::Garbled { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The protocol's code, such as `NOTIFICATION_EXPIRED`, where the server has said one.
    #[must_use]
    pub fn get_code(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => error.as_ref().map(|error| &*error.code),
            _ => None,
        }
    }

    /// How long the server, or the limit that is kept here, wants this to wait.
    #[must_use]
    pub fn get_retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server { retry_after, .. } => *retry_after,
            Self::NotItsTurn { after } => Some(*after),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NotItsTurn { .. } | Self::Unreached { .. } | Self::Unanswered { .. } => true,
            Self::Server { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }

    /// Whether the server may have done what it was asked all the same. Then a call that is made
    /// again may be done twice.
    ///
    /// It has not where there was no connection, where it says that it has not (a 4xx, a redirect),
    /// and where it answers 503 with a `Retry-After`, by which it asks for the call to come again.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::Garbled { .. } => true,
            Self::Server { status: 503, retry_after, .. } => retry_after.is_none(),
            Self::Server { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// What a server says, behind its status.
struct Told<'a>(Option<&'a ServerError>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0 else { return Ok(()) };
        write!(f, " {}: {}", short(&error.code), short(&error.message))?;
        match &error.request_id {
            Some(id) => write!(f, " (request {})", short(id)),
            None => Ok(()),
        }
    }
}

/// A text of the server's as it may stand in a line of a log.
fn short(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(LONGEST_SERVER_TEXT)).unwrap_or_default();
    cut.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(status: u16, retry_after: Option<u64>) -> ClientError {
        ClientError::Server { status, error: None, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn what_may_be_tried_again_and_what_may_be_done_already() {
        let reason = String::new;
        for (error, is_temporary, may_be_done) in [
            (ClientError::Address("is odd"), false, false),
            (ClientError::Unreached { reason: reason() }, true, false),
            (ClientError::Unanswered { reason: reason() }, true, true),
            (ClientError::Garbled { status: 201, reason: "is odd" }, false, true),
            (ClientError::NotItsTurn { after: Duration::ZERO }, true, false),
            (server(307, None), false, false),
            (server(400, None), false, false),
            (server(408, None), true, false),
            (server(409, None), false, false),
            (server(429, None), true, false),
            (server(500, None), true, true),
            (server(500, Some(1)), true, true),
            (server(502, Some(1)), true, true),
            (server(503, None), true, true),
            (server(503, Some(1)), true, false),
        ] {
            assert_eq!((error.is_temporary(), error.may_be_done()), (is_temporary, may_be_done), "{error:?}");
        }
    }

    #[test]
    fn a_servers_words_are_one_short_line() {
        let json = serde_json::json!({ "code": "A\nB", "message": "é".repeat(300), "request_id": "req_1" });
        let error = serde_json::from_value(json).expect("an error");
        let error = ClientError::Server { status: 400, error: Some(error), retry_after: None };
        let told = format!("the ATP server has answered 400 A B: {} (request req_1)", "é".repeat(100));
        assert_eq!(error.to_string(), told);
    }
}
