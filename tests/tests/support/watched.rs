//! A store that tells what it was asked.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use atp_actix::{
    atp_core::Fingerprint,
    store::{
        Activity, Claim, Claimed, Completion, DeliveryCount, DeliveryRow, Known, Question, RefusedDelivery,
        Store, StoreError, StoredRefusal, Token,
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

            /// Counters are written at any time after the answer, so they cannot be told from what
            /// is asked later.
            async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
                self.store.count_deliveries(counts).await
            }

            fn get_redelivery_window(&self) -> Duration {
                self.store.get_redelivery_window()
            }

            fn get_fingerprint_key(&self) -> &[u8; 32] {
                self.store.get_fingerprint_key()
            }

            fn get_activity(&self) -> &Activity {
                self.store.get_activity()
            }

            fn get_transaction_limit(&self) -> Option<Duration> {
                self.store.get_transaction_limit()
            }
        }
    };
}

pass_on! {
    record(question: &Question) -> ();
    bind(service: &str, key: &str, notification_id: &str) -> ();
    invalidate(service: &str, notification_id: &str, reason: &str) -> ();
    find(service: &str, notification_id: &str, answer: Option<Fingerprint>) -> Known;
    find_by_key(service: &str, key: &str) -> Known;
    claim(claim: &Claim) -> Claimed;
    claim_in_transaction(claim: &Claim) -> Claimed<S::Transaction>;
    resume(claim: &Claim) -> S::Transaction;
    complete(claim: &Claim, completion: &Completion, transaction: Option<S::Transaction>) -> ();
    release_claim(claim: &Claim) -> ();
    keep(kept: &RefusedDelivery) -> bool;
    refused(service: &str, after: i64, limit: u32) -> Vec<StoredRefusal>;
    redrive(service: &str, id: i64, token: Token) -> StoredRefusal;
    redeem(service: &str, id: i64, token: Token) -> bool;
    deliveries(service: &str, notification_id: &str) -> Vec<DeliveryRow>;
    reopen(service: &str, notification_id: &str) -> ();
    purge(before: DateTime<Utc>) -> u64;
    erase(service: &str, notification_id: &str) -> ();
}
