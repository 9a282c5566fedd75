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

/// The texts of other errors may quote the answer, as those of `web::Json` do.
pub(crate) fn reason(error: &actix_web::Error) -> String {
    let refusal = error.as_error::<Refusal>().map(ToString::to_string);
    let reply = || error.as_error::<ErrorReply>().map(ToString::to_string);
    let own = || error.as_error::<Error>().map(ToString::to_string);
    refusal.or_else(reply).or_else(own).unwrap_or_else(|| "an error type of the handler's own".to_owned())
}

/// The events of one worker's deliveries.
///
/// What was handled is told each time: a decision takes effect once. Everything else can be had again by whoever has seen
/// a delivery once, and what is refused unsigned by anybody, so of each such kind ten a second are told, and the others
/// counted. Kept apart, no kind hides another.
pub(crate) struct Log {
    replayed: Throttle,
    refused: Throttle,
    failed: Throttle,
    /// Signed, and refused by verification.
    malformed: Throttle,
    unsigned: Throttle,
}

impl Log {
    pub(crate) fn new() -> Self {
        let new = Throttle::new;
        Self { replayed: new(), refused: new(), failed: new(), malformed: new(), unsigned: new() }
    }

    /// A delivery that was verified: what became of it behind the middleware.
    pub(crate) fn passed<B>(&self, delivery: &Delivery, response: &HttpResponse<B>, started: Instant) {
        let is_replayed = response.extensions().get::<Replayed>().is_some();
        self.tell(delivery, response.status(), is_replayed, || response.error().map(reason), started);
    }

    /// [`Log::passed`], where what is behind gave up.
    pub(crate) fn gave_up(&self, delivery: &Delivery, error: &actix_web::Error, started: Instant) {
        let status = error.as_response_error().status_code();
        self.tell(delivery, status, false, || Some(reason(error)), started);
    }

    fn tell(
        &self,
        delivery: &Delivery,
        status: StatusCode,
        is_replayed: bool,
        reason: impl FnOnce() -> Option<String>,
        started: Instant,
    ) {
        let throttle = match status.as_u16() {
            _ if is_replayed => Some(&self.replayed),
            400..500 => Some(&self.refused),
            500.. => Some(&self.failed),
            _ => None,
        };
        let untold = throttle.map(Throttle::admit);
        if untold == Some(None) {
            return;
        }
        let (request_id, untold) = (delivery.request_id(), untold.flatten());
        let reason = reason().map(bounded);
        let event = Event { request_id, delivery: Some(delivery), status, reason, untold, started };
        if is_replayed { event.tell_of_replay() } else { event.tell() }
    }

    /// A request that goes no further than verification. `body` is there if it was read to its end.
    pub(crate) fn refused(
        &self,
        verifier: &Verifier,
        headers: &HeaderMap,
        refusal: &Refusal,
        body: Option<&Bytes>,
        started: Instant,
    ) {
        let is_authentic = refusal.is_authentic(body.is_some());
        let Some(untold) = (if is_authentic { &self.malformed } else { &self.unsigned }).admit() else {
            return;
        };
        let (request_id, status) = (delivery::request_id(headers), refusal.status());
        let reason = Some(bounded(refusal.to_string()));
        let event = Event { request_id, delivery: None, status, reason, untold: Some(untold), started };
        if is_authentic {
            return event.tell();
        }
        event.tell_at_info();
        if let (Refusal::Signature(_), Some(body)) = (refusal, body) {
            explain(verifier, headers, body);
        }
    }
}

/// A reason short enough for a line of a log.
fn bounded(reason: String) -> String {
    /// An answer can be wrong in a hundred ways at once; the first few tell what is wrong.
    const LONGEST: usize = 1000;
    let len = reason.len();
    match reason.get(..reason.floor_char_boundary(LONGEST)) {
        Some(start) if len > LONGEST => format!("{start} ... ({len} bytes)"),
        _ => reason,
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
    /// Of a kind that is throttled: how many were not told in the second before.
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
