//! What a program sends.

use std::pin::Pin;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::StatusCode};
use bytes::Bytes;

use super::refusal::Refusal;
use crate::limits::REQUEST;

/// A whole body; one that is too large is refused as the protocol has it.
pub(super) struct Body(pub(super) Bytes);

impl FromRequest for Body {
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refusal>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = Bytes::from_request(request, payload);
        Box::pin(async { body.await.map(Self).map_err(|error| unreadable(&error)) })
    }
}

fn unreadable(error: &actix_web::Error) -> Refusal {
    if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        let why = format!("The request is too large: {} MB are the most.", REQUEST >> 20);
        return Refusal::new("TOO_LARGE", why);
    }
    Refusal::new("INVALID_PARAMETER", format!("The request cannot be read: {error}."))
}
