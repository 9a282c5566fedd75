//! What the log says of a delivery: one event.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::{
    delivery::Delivery,
    limits::EVENTS_A_SECOND,
    report::{Outcome, Report},
};

/// The events of one worker's deliveries.
///
/// What was handled is told each time: a decision takes effect once. Everything else can be had
/// again by whoever has seen a delivery once, and what is refused unsigned by anybody, so of each
/// such kind ten a second are told, and the others counted. Each kind has a throttle of its own, so
/// that none hides another.
pub(crate) struct Log {
    replayed: Throttle,
    running: Throttle,
    refused: Throttle,
    failed: Throttle,
    malformed: Throttle,
    unsigned: Throttle,
}

impl Log {
    pub(crate) fn new() -> Self {
        let new = Throttle::new;
        Self {
            replayed: new(),
            running: new(),
            refused: new(),
            failed: new(),
            malformed: new(),
            unsigned: new(),
        }
    }

    /// Says whether it was told, or only counted.
    pub(crate) fn tell(&self, report: &Report<'_>) -> bool {
        let outcome = report.outcome();
        let throttle = match outcome {
            Outcome::Handled => None,
            Outcome::Replayed => Some(&self.replayed),
            Outcome::Running => Some(&self.running),
            Outcome::Refused => Some(&self.refused),
            Outcome::Failed => Some(&self.failed),
            Outcome::Malformed => Some(&self.malformed),
            Outcome::Unsigned => Some(&self.unsigned),
        };
        let untold = throttle.map(Throttle::admit);
        if untold == Some(None) {
            return false;
        }
        Event { report, reason: report.reason(), untold: untold.flatten() }.tell(outcome);
        true
    }
}

/// The fields of an event.
struct Event<'a> {
    report: &'a Report<'a>,
    reason: Option<String>,
    /// Of a kind that is throttled: how many were not told in the second before.
    untold: Option<u32>,
}

macro_rules! event {
    ($level:ident, $outcome:literal, $event:expr) => {{
        let Event { report, reason, untold } = $event;
        let answer = report.delivery.map(Delivery::answer);
        tracing::$level!(
            target: "atp_actix",
            request_id = report.request_id,
            notification_id = answer.map(|answer| &*answer.notification_id),
            action_id = answer.map(|answer| &*answer.action_id),
            scheme = report.delivery.map(|delivery| delivery.scheme().name()),
            secret_index = report.delivery.map(Delivery::secret_index),
            outcome = $outcome,
            verdict = report.verdict.map(|verdict| verdict.name()),
            status = report.status.as_u16(),
            told = (report.told != report.status).then_some(report.told.as_u16()),
            duration_us = u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX),
            reason = reason,
            untold = untold,
            "delivery"
        )
    }};
}

impl Event<'_> {
    fn tell(self, outcome: Outcome) {
        match outcome {
            Outcome::Handled => event!(info, "handled", self),
            Outcome::Replayed => event!(info, "replayed", self),
            Outcome::Running => event!(info, "running", self),
            Outcome::Unsigned => event!(info, "refused", self),
            Outcome::Refused => event!(warn, "refused", self),
            Outcome::Malformed if self.report.status.is_server_error() => event!(error, "failed", self),
            Outcome::Malformed => event!(warn, "refused", self),
            Outcome::Failed => event!(error, "failed", self),
        }
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
    fn new() -> Self {
        Self { second: Cell::new(Instant::now()), events: Cell::new(0) }
    }

    /// How many were held back in the second before; `None` holds this one back too.
    fn admit(&self) -> Option<u32> {
        let mut untold = 0;
        if self.second.get().elapsed() >= Duration::from_secs(1) {
            untold = self.events.get().saturating_sub(EVENTS_A_SECOND);
            self.second.set(Instant::now());
            self.events.set(0);
        }
        let events = self.events.get();
        self.events.set(events.saturating_add(1));
        (events < EVENTS_A_SECOND).then_some(untold)
    }
}
