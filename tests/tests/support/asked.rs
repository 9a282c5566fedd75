//! The question that most cases ask, and answers to it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use atp_actix::{
    Secret, Verifier,
    atp_core::{Action, Field, Fingerprint, Notification, NumberRules, Options, TextRules},
    store::{Arrival, Claim, Question, Store},
    test::{Sender, SignedAnswer},
};
use atp_tests::SECRET;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

pub(crate) fn verifier() -> Verifier {
    Verifier::new(Secret::new(SECRET).expect("a good secret"))
}

/// A clock that a test sets.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(0)))
    }

    pub(crate) fn ahead(&self, by: TimeDelta) {
        self.0.store(by.num_seconds(), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn verifier(&self) -> Verifier {
        let clock = self.clone();
        verifier().clock(move || clock.now())
    }
}

pub(crate) fn asked(id: &str) -> Notification {
    Notification::new("Deploy?", "Version 2.1.0 is ready.")
        .id(id)
        .action(Action::simple("approve", "Approve"))
        .action(Action::text("reject", "Reject", TextRules::new().max_length(10)))
        .action(Action::choice("delay", "Delay", Options::new([("1h", "1 hour"), ("1d", "1 day")])))
        .action(Action::form("refund", "Refund", [Field::new("cents", "Cents").required()]))
        .action(Action::number("pay", "Pay", NumberRules::new()))
}

/// The same question without an id, which the server is to give it.
pub(crate) fn unnamed() -> Notification {
    let mut unnamed = asked("n-1");
    unnamed.id = None;
    unnamed
}

pub(crate) async fn record(store: &impl Store, id: &str) {
    store.record(&Question::new(asked(id))).await.expect("a question");
}

pub(crate) fn answer(id: &str, action: &str, data: impl serde::Serialize) -> SignedAnswer {
    Sender::new(SECRET).answer(id, action, data)
}

pub(crate) fn approve(id: &str) -> SignedAnswer {
    answer(id, "approve", ())
}

/// How the answers of claims came that no delivery made.
pub(crate) fn arrival() -> Arrival {
    Arrival::new(atp_actix::Scheme::Timestamped, 0)
}

/// A claim that no delivery made: of an answer without data, with this body.
pub(crate) fn claim(id: &str, action: &str, body: impl Into<Bytes>) -> Claim {
    Claim::new("default", id, Fingerprint::new(action, None), action, arrival(), body)
}
