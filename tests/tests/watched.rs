//! A store that tells what it was asked.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use atp_actix::{
    Scheme,
    store::{
        Claim, Claimed, Completion, Found, Kept, Note, Noted, Question, Redrive, Refused, Store, StoreError,
        Verdict,
    },
};
use chrono::{DateTime, Utc};

/// What was asked, by the names of the verbs.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<&'static str>>>);

impl Calls {
    fn push(&self, verb: &'static str) {
        self.0.lock().expect("nobody panicked").push(verb);
    }

    /// What was asked since the last time.
    pub(crate) fn take(&self) -> Vec<&'static str> {
        mem::take(&mut *self.0.lock().expect("nobody panicked"))
    }
}

#[derive(Clone)]
pub(crate) struct Watched<S> {
    store: S,
    pub(crate) calls: Calls,
}

impl<S: Store> Watched<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, calls: Calls::default() }
    }
}

macro_rules! pass_on {
    ($($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl<S: Store> Store for Watched<S> {
            type Transaction = S::Transaction;

            $(async fn $verb(&self, $($name: $type),*) -> Result<$answer, StoreError> {
                self.calls.push(stringify!($verb));
                self.store.$verb($($name),*).await
            })*

            async fn note(&self, notes: &[Note]) -> Result<(), StoreError> {
                // What succeeded is counted at any time after it was answered, so it cannot be told from a later call.
                if !notes.iter().all(|note| matches!(note.verdict, Verdict::Handled | Verdict::Replayed)) {
                    self.calls.push("note");
                }
                self.store.note(notes).await
            }

            fn transaction_limit(&self) -> Option<Duration> {
                self.store.transaction_limit()
            }
        }
    };
}

pass_on! {
    record(question: &Question) -> ();
    bind(service: &str, key: &str, notification_id: &str) -> ();
    invalidate(service: &str, notification_id: &str, reason: &str) -> ();
    find(service: &str, notification_id: &str) -> Found;
    claim(claim: &Claim) -> Claimed;
    begin(claim: &Claim) -> Claimed<S::Transaction>;
    resume(claim: &Claim) -> S::Transaction;
    complete(claim: &Claim, completion: &Completion, transaction: Option<S::Transaction>) -> ();
    release(claim: &Claim) -> ();
    keep(kept: &Kept) -> ();
    refused(service: &str, after: i64, limit: u32) -> Vec<Refused>;
    redrive(service: &str, id: i64) -> Redrive;
    redeem(service: &str, token: &str, body: &[u8]) -> Option<Scheme>;
    deliveries(service: &str, notification_id: &str) -> Vec<Noted>;
    reopen(service: &str, notification_id: &str) -> ();
    purge(before: DateTime<Utc>) -> u64;
    erase(service: &str, notification_id: &str) -> ();
}
