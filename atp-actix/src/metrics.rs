//! What is measured: with the feature `metrics`, by the facade of that name, for whichever recorder
//! the service installs.
//!
//! Nothing has to be called. A webhook tells of its deliveries what their [`Report`] tells, and a
//! [`Relay`](crate::Relay) of what it sends and of what waits:
//!
//! | name | type | unit | labels | what |
//! |---|---|---|---|---|
//! | `atp_deliveries_total` | counter | count | `service`, `verdict`, `status` | Requests, by what became of them; the status is what it came to, also where the sender did not wait for it |
//! | `atp_delivery_seconds` | histogram | seconds | `verdict` | From the head of a request to what became of it |
//! | `atp_verification_seconds` | histogram | seconds | | From the head of a delivery until it was verified, with the time that its body took to arrive |
//! | `atp_handler_seconds` | histogram | seconds | `verdict` | What a delivery's handler took, without its extractors |
//! | `atp_store_seconds` | histogram | seconds | `verdict` | What the store took for a delivery, in all |
//! | `atp_signature_skew_seconds` | histogram | seconds | `verdict` | The signed time less that of our clock, when a delivery was verified: below zero where it was signed before |
//! | `atp_secret_last_used_seconds` | gauge | seconds | `service`, `secret` | When an answer was last signed with this secret, counted from 0 as the verifier has them: seconds since 1970 |
//! | `atp_outbox_attempts_total` | counter | count | `sink`, `result` | Attempts to send an event, by what became of it |
//! | `atp_outbox_send_seconds` | histogram | seconds | `sink` | What a sink took for an event |
//! | `atp_outbox_waiting` | gauge | count | `sink` | Events that wait for a sink, those included that are being sent |
//! | `atp_outbox_parked` | gauge | count | `sink` | Events that are parked, and wait for somebody to look after them |
//! | `atp_outbox_oldest_seconds` | gauge | seconds | `sink` | How long ago the oldest was written of those that wait for nothing but to be sent; 0 where there is none |
//!
//! No label has a value that a stranger can choose, or that there is one of for each notification:
//! `service` and `sink` are names that the service gives, `verdict` is one of [`Verdict::ALL`] by its
//! [name](Verdict::name) or `unverified`, and `result` one of `sent`, `again` (it comes again),
//! `later` (it was not its turn, which is no attempt), `parked`, `away` and `gone` (all that is for the
//! sink waits).
//!
//! The last three are read when a relay starts and every 15 s then, since the store has to count for
//! it. Each relay tells of all sinks for which the store holds anything, so of several take the
//! greatest, and not the sum.
//!
//! # What to look at
//!
//! * Somebody has to act where `atp_outbox_parked` is above zero, where `atp_outbox_oldest_seconds`
//!   grows, and where `atp_deliveries_total` has `failed`, `unknown` or `malformed`; where `unverified`
//!   jumps, a secret may be wrong. What a process left that died is in no metric:
//!   [`Store::refused`](crate::store::Store::refused) and `atp refused` list it as `abandoned`.
//! * A secret is out of use when `atp_secret_last_used_seconds` of its number has not moved for as
//!   long as a server delivers again, 72 h unless set. What is refused for its age does not count,
//!   so nobody who has kept an old delivery can move it for longer than that.
//! * A clock is off when `atp_signature_skew_seconds` of `handled` is far from zero for most. What
//!   is delivered again was signed before, some minutes or days, where its server does not sign
//!   anew.
//! * `atp_delivery_seconds` is more than verification, store and handler together: extractors are
//!   in it. What a handler waits for in [`Deferred::begin`](crate::Deferred::begin) is the
//!   handler's time and the store's.
//!
//! # When they are described
//!
//! Unit and meaning are told to the recorder when a webhook's worker or a relay starts: install it
//! before, or call [`describe`] after.

use std::{collections::BTreeSet, time::Duration};

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    delivery::Delivery,
    report::Report,
    store::{Lag, Verdict},
};

const DELIVERIES: &str = "atp_deliveries_total";
const DELIVERY_TIME: &str = "atp_delivery_seconds";
const VERIFICATION_TIME: &str = "atp_verification_seconds";
const HANDLER_TIME: &str = "atp_handler_seconds";
const STORE_TIME: &str = "atp_store_seconds";
const SKEW: &str = "atp_signature_skew_seconds";
const SECRET_LAST_USED: &str = "atp_secret_last_used_seconds";
const ATTEMPTS: &str = "atp_outbox_attempts_total";
const SEND_TIME: &str = "atp_outbox_send_seconds";
const WAITING: &str = "atp_outbox_waiting";
const PARKED: &str = "atp_outbox_parked";
const OLDEST: &str = "atp_outbox_oldest_seconds";

/// Tells the recorder what each metric is, and in which unit. Webhooks and relays do so when they
/// start; call it for a recorder that was installed after that.
pub fn describe() {
    describe_counter!(DELIVERIES, Unit::Count, "Requests, by what became of them");
    describe_histogram!(DELIVERY_TIME, Unit::Seconds, "From the head of a request to what became of it");
    describe_histogram!(
        VERIFICATION_TIME,
        Unit::Seconds,
        "From the head of a delivery until it was verified"
    );
    describe_histogram!(
        HANDLER_TIME,
        Unit::Seconds,
        "What a delivery's handler took, without its extractors"
    );
    describe_histogram!(STORE_TIME, Unit::Seconds, "What the store took for a delivery, in all");
    describe_histogram!(
        SKEW,
        Unit::Seconds,
        "The signed time less that of our clock, when a delivery was verified"
    );
    describe_gauge!(
        SECRET_LAST_USED,
        Unit::Seconds,
        "When an answer was last signed with this secret: seconds since 1970"
    );
    describe_counter!(ATTEMPTS, Unit::Count, "Attempts to send an event, by what became of it");
    describe_histogram!(SEND_TIME, Unit::Seconds, "What a sink took for an event");
    describe_gauge!(WAITING, Unit::Count, "Events that wait for a sink");
    describe_gauge!(PARKED, Unit::Count, "Events that are parked");
    describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "How long ago the oldest was written of those that only wait to be sent"
    );
}

/// Tells of a delivery.
pub(crate) fn tell(report: &Report<'_>) {
    let verdict = report.verdict.map_or("unverified", Verdict::name);
    let (service, status) = (report.service.to_owned(), report.status.as_str().to_owned());
    counter!(DELIVERIES, "service" => service, "verdict" => verdict, "status" => status).increment(1);
    histogram!(DELIVERY_TIME, "verdict" => verdict).record(report.duration);
    if let Some(took) = report.verification_time() {
        histogram!(VERIFICATION_TIME).record(took);
    }
    if let Some(took) = report.handler_time() {
        histogram!(HANDLER_TIME, "verdict" => verdict).record(took);
    }
    if let Some(took) = report.store_time() {
        histogram!(STORE_TIME, "verdict" => verdict).record(took);
    }
    // What is redriven was signed by nobody else just now.
    let delivery = report.delivery.filter(|delivery| !delivery.is_redriven());
    if let (Some(delivery), Some(now)) = (delivery, report.times.get_verified_at()) {
        tell_of_signature(report, delivery, verdict, now);
    }
}

/// How it was signed, and when.
fn tell_of_signature(report: &Report<'_>, delivery: &Delivery, verdict: &'static str, now: DateTime<Utc>) {
    if let Some(signed_at) = delivery.signed_at() {
        histogram!(SKEW, "verdict" => verdict).record((signed_at - now).as_seconds_f64());
    }
    if report.verdict != Some(Verdict::Stale) {
        let (service, secret) = (report.service.to_owned(), delivery.secret_index().to_string());
        let now = (now - DateTime::UNIX_EPOCH).as_seconds_f64();
        gauge!(SECRET_LAST_USED, "service" => service, "secret" => secret).set(now);
    }
}

/// Tells what became of an event after an attempt.
pub(crate) fn tell_of_attempt(sink: &str, result: &'static str) {
    counter!(ATTEMPTS, "sink" => sink.to_owned(), "result" => result).increment(1);
}

/// Tells how long a sink took for an event.
pub(crate) fn tell_of_sending(sink: &str, took: Duration) {
    histogram!(SEND_TIME, "sink" => sink.to_owned()).record(took);
}

/// The sinks of which was told what waits for them, so that they are told of too when nothing does.
pub(crate) struct Waiting(BTreeSet<String>);

impl Waiting {
    /// These sinks are told of from the beginning.
    pub(crate) fn new(sinks: impl IntoIterator<Item = String>) -> Self {
        Self(sinks.into_iter().collect())
    }

    /// Tells what waits, and that nothing does for all sinks that are not named.
    pub(crate) fn tell(&mut self, lag: &[Lag], now: DateTime<Utc>) {
        self.0.extend(lag.iter().map(|lag| lag.sink.clone()));
        let nothing = Lag::new("", 0, 0, None);
        for sink in &self.0 {
            let lag = lag.iter().find(|lag| lag.sink == *sink).unwrap_or(&nothing);
            let age = lag.oldest.map_or(TimeDelta::zero(), |oldest| now - oldest);
            gauge!(WAITING, "sink" => sink.clone()).set(as_float(lag.waiting));
            gauge!(PARKED, "sink" => sink.clone()).set(as_float(lag.parked));
            // The store's clock may be ahead of ours.
            gauge!(OLDEST, "sink" => sink.clone()).set(age.as_seconds_f64().max(0.0));
        }
    }
}

/// Exact as far as anybody counts, and the greatest beyond.
fn as_float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
