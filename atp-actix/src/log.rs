//! What the log says: one event a delivery.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::HeaderMap},
};
use atp_core::Verifier;
use bytes::Bytes;

use crate::{
    delivery::{self, Delivery},
    error::{Error, ErrorReply, Refusal},
};

/// In the extensions of a response: it is an outcome that was recorded before.
pub(crate) struct Replayed;

/// The event of a delivery that was verified: what became of it behind the middleware.
pub(crate) fn passed<B>(delivery: &Delivery, response: &HttpResponse<B>, started: Instant) {
    let event = Event {
        request_id: delivery.request_id(),
        delivery: Some(delivery),
        status: response.status(),
        reason: response.error().map(reason),
        untold: None,
        started,
    };
    if response.extensions().get::<Replayed>().is_some() {
        event.tell_of_replay();
    } else {
        event.tell();
    }
}

/// [`passed`], where what is behind gave up.
pub(crate) fn gave_up(delivery: &Delivery, error: &actix_web::Error, started: Instant) {
    let (request_id, status) = (delivery.request_id(), error.as_response_error().status_code());
    let reason = Some(reason(error));
    Event { request_id, delivery: Some(delivery), status, reason, untold: None, started }.tell();
}

/// The texts of other errors may quote the answer, as those of `web::Json` do.
pub(crate) fn reason(error: &actix_web::Error) -> String {
    let refusal = error.as_error::<Refusal>().map(ToString::to_string);
    let reply = || error.as_error::<ErrorReply>().map(ToString::to_string);
    let own = || error.as_error::<Error>().map(ToString::to_string);
    refusal.or_else(reply).or_else(own).unwrap_or_else(|| "an error type of the handler's own".to_owned())
}

/// The events of deliveries that were refused, ten a second of each kind and worker: a stranger can make as many as he
/// likes, and who has once seen a signed delivery can repeat that. Kept apart, neither hides the other.
pub(crate) struct Log {
    authentic: Throttle,
    others: Throttle,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { authentic: Throttle::new(), others: Throttle::new() }
    }

    /// `body` is there if it was read to its end.
    pub(crate) fn refused(
        &self,
        verifier: &Verifier,
        headers: &HeaderMap,
        refusal: &Refusal,
        body: Option<&Bytes>,
        started: Instant,
    ) {
        let is_authentic = refusal.is_authentic(body.is_some());
        let throttle = if is_authentic { &self.authentic } else { &self.others };
        let untold = throttle.admit();
        if untold.is_none() {
            return;
        }
        let (request_id, status) = (delivery::request_id(headers), refusal.status());
        let reason = Some(refusal.to_string());
        let event = Event { request_id, delivery: None, status, reason, untold, started };
        if is_authentic {
            return event.tell();
        }
        event.tell_at_info();
        if let (Refusal::Signature(_), Some(body)) = (refusal, body) {
            explain(verifier, headers, body);
        }
    }
}

/// Why the signature does not fit, at DEBUG.
fn explain(verifier: &Verifier, headers: &HeaderMap, body: &Bytes) {
    /// It costs some dozen hashes of the body, and anybody can ask for them.
    const LONGEST: usize = 16 << 10;
    if !tracing::enabled!(target: "atp_actix::explain", tracing::Level::DEBUG) {
        return;
    }
    let request_id = delivery::request_id(headers);
    if body.len() > LONGEST {
        let len = body.len();
        tracing::debug!(
            target: "atp_actix::explain",
            request_id,
            "a body of {len} bytes is too long to be explained here: call `Verifier::explain` with it"
        );
        return;
    }
    let why = verifier.explain(delivery::signatures(headers), body.clone());
    tracing::debug!(target: "atp_actix::explain", request_id, "{why}");
}

/// The fields of an event.
struct Event<'a> {
    request_id: Option<&'a str>,
    /// Of those that were verified.
    delivery: Option<&'a Delivery>,
    status: StatusCode,
    reason: Option<String>,
    /// Of those that were refused: how many of their kind were not told in the second before.
    untold: Option<u32>,
    started: Instant,
}

macro_rules! event {
    ($level:ident, $outcome:literal, $event:expr) => {{
        let event: &Event<'_> = $event;
        let answer = event.delivery.map(Delivery::answer);
        tracing::$level!(
            target: "atp_actix",
            request_id = event.request_id,
            notification_id = answer.map(|answer| &*answer.notification_id),
            action_id = answer.map(|answer| &*answer.action_id),
            scheme = event.delivery.map(|delivery| delivery.scheme().name()),
            secret = event.delivery.map(Delivery::secret),
            outcome = $outcome,
            status = event.status.as_u16(),
            duration_us = u64::try_from(event.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            reason = event.reason,
            untold = event.untold,
            "delivery"
        )
    }};
}

impl Event<'_> {
    fn tell(&self) {
        match self.status.as_u16() {
            400..500 => event!(warn, "refused", self),
            500.. => event!(error, "failed", self),
            _ => event!(info, "handled", self),
        }
    }

    fn tell_of_replay(&self) {
        event!(info, "replayed", self);
    }

    fn tell_at_info(&self) {
        event!(info, "refused", self);
    }
}

/// Lets some events of a second through.
struct Throttle {
    /// When the current second began.
    second: Cell<Instant>,
    /// How many events there were in it.
    events: Cell<u32>,
}

impl Throttle {
    const EVENTS: u32 = 10;

    fn new() -> Self {
        Self { second: Cell::new(Instant::now()), events: Cell::new(0) }
    }

    /// How many were held back in the second before; `None` holds this one back too.
    fn admit(&self) -> Option<u32> {
        let mut untold = 0;
        if self.second.get().elapsed() >= Duration::from_secs(1) {
            untold = self.events.get().saturating_sub(Self::EVENTS);
            self.second.set(Instant::now());
            self.events.set(0);
        }
        let events = self.events.get();
        self.events.set(events.saturating_add(1));
        (events < Self::EVENTS).then_some(untold)
    }
}
