//! What became of a delivery: made once, when that is known, and read by the log, the counters and
//! the service.

use std::{sync::Arc, time::Duration};

use actix_web::{
    ResponseError,
    error::{InternalError, PayloadError},
    http::StatusCode,
};

use crate::{
    delivery::Delivery,
    error::Error,
    limits::LONGEST_REASON,
    refusal::Refusal,
    reply::ErrorReply,
    store::{DeliveryCount, Verdict},
    times::Times,
};

/// What became of a delivery: for metrics, by [`Webhook::observe`](crate::Webhook::observe).
///
/// Every request gets one report, when it is known what became of it. Where a handler outlived the
/// time that its sender waits, that is after the sender was told 503, and the report tells both.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use atp_actix::{Report, Verifier, Webhook, store::Verdict};
///
/// static HANDLED: AtomicU64 = AtomicU64::new(0);
///
/// fn count(report: &Report<'_>) {
///     if report.verdict == Some(Verdict::Handled) {
///         HANDLED.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// # fn webhook(verifier: Verifier) -> Webhook {
/// Webhook::new("/atp/webhook", verifier).observe(count)
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The service that the webhook is of.
    pub service: &'a str,
    /// The delivery; none if it was refused before it was read, as whatever is not signed is.
    pub delivery: Option<&'a Delivery>,
    /// The request id, which is not signed.
    pub request_id: Option<&'a str>,
    /// What became of it; none if its sender is not known to have the secret. Without a store it is
    /// one of [`Verdict::Handled`], [`Verdict::Refused`], [`Verdict::Failed`],
    /// [`Verdict::Malformed`] and [`Verdict::Stale`].
    pub verdict: Option<Verdict>,
    /// The status of the answer that it came to.
    pub status: StatusCode,
    /// The status that the sender got: another one if the answer came too late for it.
    pub told: StatusCode,
    /// How long that took, from the head of the request to this report.
    pub duration: Duration,
    pub(crate) cause: Cause<'a>,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "the metrics alone read it"))]
    pub(crate) times: Times,
}

/// Why it is not handled.
#[derive(Debug)]
pub(crate) enum Cause<'a> {
    None,
    Refusal(&'a Refusal),
    /// Of a response, whoever made that.
    Error(&'a actix_web::Error),
}

impl Report<'_> {
    /// Why it was not handled, in at most some 1,000 bytes. No secret, no signature and no value of
    /// an answer is in it, as long as none is in what a handler's own [`Error`] or [`ErrorReply`]
    /// says.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self.cause {
            Cause::None => None,
            Cause::Refusal(refusal) => Some(bounded(refusal.to_string())),
            Cause::Error(error) => Some(bounded(reason(error))),
        }
    }

    /// How long it took from the head of the request until it was verified; none if it was not, or
    /// if its sender is known and it is no answer.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn verification_time(&self) -> Option<Duration> {
        self.times.get_verification()
    }

    /// How long the handler took, without its extractors, also where it was given up; none if it
    /// did not run, or is none of a [`Webhook`](crate::Webhook).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn handler_time(&self) -> Option<Duration> {
        self.times.get_handler()
    }

    /// How long the store took, in all, until now; none if it was not asked.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn store_time(&self) -> Option<Duration> {
        self.times.get_store()
    }

    /// What became of it, as the log says it.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.verdict, self.status.as_u16()) {
            (None, _) => Outcome::Unsigned,
            (Some(_), _) if self.delivery.is_none() => Outcome::Malformed,
            (Some(Verdict::Replayed), _) => Outcome::Replayed,
            (Some(Verdict::Running), _) => Outcome::Running,
            (_, 400..500) => Outcome::Refused,
            (_, 500..) => Outcome::Failed,
            _ => Outcome::Handled,
        }
    }

    /// What is counted of it, if it was verified.
    pub(crate) fn to_count(&self, service: &str) -> Option<DeliveryCount> {
        let (delivery, verdict) = (self.delivery?, self.verdict?);
        let answer = delivery.answer();
        let id = answer.notification_id.clone();
        let (fingerprint, arrival) = (delivery.fingerprint(), delivery.arrival());
        let count = DeliveryCount::new(service, id, fingerprint, verdict, arrival, self.told.as_u16());
        Some(count.duration(self.duration))
    }
}

/// What became of a delivery, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Handled,
    Replayed,
    /// Another delivery of it is being handled, as where a handler takes longer than a sender waits.
    Running,
    Refused,
    Failed,
    /// Signed, and refused by verification.
    Malformed,
    Unsigned,
}

/// What a webhook without a store says became of a delivery.
pub(crate) fn verdict_of(status: StatusCode) -> Verdict {
    match status.as_u16() {
        400..500 => Verdict::Refused,
        500.. => Verdict::Failed,
        _ => Verdict::Handled,
    }
}

/// Is told of every report.
pub(crate) type Observer = Arc<dyn Fn(&Report<'_>) + Send + Sync>;

/// Why a response is none of a handler that did its work. The texts of errors that are not known
/// here may quote the answer, as those of `web::Json` do.
pub(crate) fn reason(error: &actix_web::Error) -> String {
    let known = [
        text_of::<Refusal>,
        text_of::<ErrorReply>,
        text_of::<Error>,
        // actix's own, of a missing `web::Data` for one: their texts stand in a program.
        text_of::<InternalError<&'static str>>,
        text_of::<PayloadError>,
    ];
    let known = known.iter().find_map(|text_of| text_of(error));
    known.or_else(|| wrapped(error)).unwrap_or_else(|| {
        "an error type of the handler's own, whose text may quote the answer: log it where it is made"
            .to_owned()
    })
}

fn text_of<E: ResponseError + 'static>(error: &actix_web::Error) -> Option<String> {
    error.as_error::<E>().map(ToString::to_string)
}

/// The reply in an error type of the handler's own.
fn wrapped(error: &actix_web::Error) -> Option<String> {
    ErrorReply::of(&error.error_response(), None).map(|reply| reply.to_string())
}

/// A reason short enough for a line of a log.
fn bounded(reason: String) -> String {
    let len = reason.len();
    match reason.get(..reason.floor_char_boundary(LONGEST_REASON)) {
        Some(start) if len > LONGEST_REASON => format!("{start} ... ({len} bytes)"),
        _ => reason,
    }
}
