//! What a handler said, and what is recorded of it.

use actix_web::{
    HttpMessage as _, HttpResponse,
    body::{self, BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;

use crate::{
    delivery::Delivery,
    limits::LONGEST_ANSWER,
    refusal::Refusal,
    reply::{ErrorBody, ErrorReply},
    report,
    store::{Outcome, StoreError, Verdict},
};

/// In a request's extensions: the handler itself said what the response says, and no extractor
/// before it.
pub(crate) struct HandlerRan;

/// What came of a handler, with its body read.
pub(super) struct HandlerReply {
    response: HttpResponse,
    /// What is recorded of it, or why it cannot be.
    outcome: Result<Outcome, &'static str>,
    /// Whether the handler itself said it.
    handler_ran: bool,
    /// Whether it refuses and leaves the question open.
    leaves_open: bool,
}

/// What is to be done about a delivery after its handler.
pub(super) enum Conclusion {
    /// This is answered, and its outcome completes the decision.
    Decided(HttpResponse, Outcome),
    /// This is answered, and nothing is decided: the delivery is kept and counted as this.
    NotDecided(HttpResponse, Verdict),
}

impl Conclusion {
    pub(super) fn failed(refusal: impl Into<Refusal>) -> Self {
        Self::NotDecided(HttpResponse::from_error(refusal.into()), Verdict::Failed)
    }
}

impl HandlerReply {
    /// Reads a response to its end.
    pub(super) async fn read<B: MessageBody + 'static>(
        response: ServiceResponse<B>,
        delivery: &Delivery,
        error_body: Option<&ErrorBody>,
    ) -> Self {
        let (http, response) = response.into_parts();
        let handler_ran = http.extensions_mut().remove::<HandlerRan>().is_some();
        let reply = ErrorReply::of(&response, delivery.request_id());
        let leaves_open = reply.as_ref().is_some_and(ErrorReply::leaves_open);
        let (mut response, body) = response.into_parts();
        if reply.is_some() {
            // As the body is that of the reply, whatever was made of its response.
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        const { assert!(LONGEST_ANSWER == 8 << 20, "the text below says so") };
        let read = match body.size() {
            BodySize::Stream => Err("a handler answered with a stream, which cannot be recorded"),
            BodySize::Sized(size) if size > LONGEST_ANSWER => {
                Err("a handler answered with more than 8 MiB, which is not held in memory")
            }
            _ => body::to_bytes(body).await.map_err(|_| "the body of a handler's answer failed"),
        };
        let body = match read {
            Ok(body) => body,
            Err(fault) => {
                let response = response.set_body(BoxBody::new(()));
                return Self { response, outcome: Err(fault), handler_ran, leaves_open };
            }
        };
        // The sender gets the body of a refusal as it is made further out, and so does who asks
        // again.
        let recorded = reply.map_or_else(|| body.clone(), |reply| reply.body(error_body).into());
        let outcome = Ok(recorded_outcome(&response, recorded));
        Self { response: response.set_body(BoxBody::new(body)), outcome, handler_ran, leaves_open }
    }

    /// What is to be done about it; `spoilt` is what the handler did to its transaction that it
    /// must not do.
    pub(super) fn conclude(self, spoilt: Option<StoreError>) -> Conclusion {
        let Self { response, outcome, handler_ran, leaves_open } = self;
        if let Some(error) = spoilt {
            return Conclusion::failed(error);
        }
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE || (handler_ran && means_later(status)) {
            return Conclusion::NotDecided(response, Verdict::Failed);
        }
        if !handler_ran {
            let reason = response.error().map_or_else(|| "no reason".to_owned(), report::reason);
            return Conclusion::failed(Refusal::NotHandled { reason });
        }
        if status.is_client_error() && leaves_open {
            return Conclusion::NotDecided(response, Verdict::LeftOpen);
        }
        // Whatever status an error has, what a handler wrote before it is not to be committed.
        if status.is_success() && response.error().is_some() {
            let fault = "a handler returned an error with the status of a success";
            return Conclusion::failed(Refusal::HandlerFault(fault));
        }
        if !status.is_success() && !status.is_client_error() {
            let fault = "a handler answered neither a success nor an error";
            return Conclusion::failed(Refusal::HandlerFault(fault));
        }
        match outcome {
            Ok(outcome) => Conclusion::Decided(response, outcome),
            Err(fault) => Conclusion::failed(Refusal::HandlerFault(fault)),
        }
    }
}

/// What is recorded of a response with this body.
fn recorded_outcome<B>(response: &HttpResponse<B>, body: Bytes) -> Outcome {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    let outcome = Outcome { status, content_type, body };
    if outcome.body.len() <= Outcome::MAX_BODY {
        outcome
    } else if outcome.is_success() {
        Outcome { status, ..Outcome::success() }
    } else {
        Outcome { status, content_type: None, body: Bytes::new() }
    }
}

/// Whether a handler says that it could not do its work now, so that the delivery is to come again.
fn means_later(status: StatusCode) -> bool {
    // Too Early has no name yet in the `http` of actix.
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// A recorded outcome, as a response.
pub(super) fn replayed(outcome: Outcome) -> HttpResponse {
    let Outcome { status, content_type, body } = outcome;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    let content_type = content_type.and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}
