//! The error of a handler.

use std::{error::Error as StdError, fmt, iter};

use actix_web::{HttpResponse, ResponseError, body::BoxBody, http::StatusCode};

use crate::{refusal::Refusal, reply::ErrorReply};

/// The error of a handler that could not do its work now: 503, so that the server delivers again.
///
/// Every error converts into it, so `?` works on all of them; for that it cannot be a
/// `std::error::Error` itself, so keep it to handlers. Its text goes to the log and never to the
/// sender. In a route that is no webhook it is 503 as well, and this crate logs nothing of it.
///
/// An [`ErrorReply`] converts too, and stays what it is: a handler may refuse and fail with `?`
/// alike. It is also found where it is the cause of an error of your own (its
/// [`source`](StdError::source)).
///
/// ```
/// use actix_web::{ResponseError, http::StatusCode};
/// use atp_actix::{AtpResponse, Error, ErrorReply, Simple};
///
/// async fn approve(answer: AtpResponse<Simple>) -> Result<(), Error> {
///     if answer.notification_id.is_empty() {
///         Err(ErrorReply::new(StatusCode::CONFLICT, "NAMELESS", "it has no id"))?;
///     }
///     std::fs::write("/no/such/folder/approved", "yes")?;
///     Ok(())
/// }
///
/// let error = Error::from(std::io::Error::other("the disk is full"));
/// assert_eq!(error.status_code(), 503);
/// let error = Error::from(ErrorReply::new(StatusCode::CONFLICT, "NAMELESS", "it has no id"));
/// assert_eq!(error.status_code(), 409);
/// ```
pub struct Error(Box<dyn StdError>);

impl Error {
    /// Takes an error that is boxed already, as `anyhow`'s is: `.map_err(Error::boxed)?`.
    ///
    /// ```
    /// use atp_actix::Error;
    ///
    /// fn of_another_library() -> Result<(), Box<dyn std::error::Error>> {
    ///     Err("the payment service is away".into())
    /// }
    ///
    /// async fn approve() -> Result<(), Error> {
    ///     of_another_library().map_err(Error::boxed)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn boxed(error: impl Into<Box<dyn StdError>>) -> Self {
        Self(error.into())
    }

    /// The error, its cause, and so on.
    fn chain(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        iter::successors(Some(&*self.0), |error| (*error).source())
    }

    /// What the sender gets.
    pub(crate) fn reply(&self) -> ErrorReply {
        let reply = self.chain().find_map(<dyn StdError>::downcast_ref::<ErrorReply>);
        reply.cloned().unwrap_or_else(|| Refusal::Temporary.reply())
    }
}

impl<E: StdError + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// The whole chain of causes.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for error in self.chain() {
            let cause = told(error);
            // Many errors print their cause themselves.
            if text.is_empty() {
                text = cause;
            } else if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        f.write_str(&text)
    }
}

/// The text of an error. That of `serde_json` may quote the answer, so only its kind and place are
/// told.
fn told(error: &(dyn StdError + 'static)) -> String {
    // An error of input and output prints the one that it was made of.
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
        self.reply().status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.reply().error_response()
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
