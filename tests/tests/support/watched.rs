//! A store that tells what it was asked.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use atp_actix::{
    atp_core::Fingerprint,
    store::{
        Activity, Claim, Claimed, Completion, DeliveryCount, DeliveryRow, Event, Hints, Known, Lag, Outbox,
        Outgoing, Parked, Question, RefusedDelivery, Routes, Settled, Store, StoreError, StoredRefusal,
        Token,
    },
};
use chrono::{DateTime, Utc};
use tokio::sync::{RwLock, RwLockWriteGuard};

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
    held: Arc<RwLock<()>>,
    fails_next: Arc<Mutex<Option<&'static str>>>,
    lists_before: Arc<Mutex<Option<&'static str>>>,
}

impl<S: Store> Watched<S> {
    pub(crate) fn new(store: S) -> Self {
        Self {
            store,
            calls: Calls::default(),
            held: Arc::default(),
            fails_next: Arc::default(),
            lists_before: Arc::default(),
        }
    }

    /// The next call of a verb of its outbox comes to nothing.
    pub(crate) fn fail_next(&self, verb: &'static str) {
        *self.fails_next.lock().expect("nobody panicked") = Some(verb);
    }

    /// Whether the call was to fail.
    pub(crate) fn has_failed(&self) -> bool {
        self.fails_next.lock().expect("nobody panicked").is_none()
    }

    /// Somebody lists what is refused just before the next call of a verb.
    pub(crate) fn list_before(&self, verb: &'static str) {
        *self.lists_before.lock().expect("nobody panicked") = Some(verb);
    }

    /// It answers nothing until what this gives is dropped.
    pub(crate) async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.held.write().await
    }
}

macro_rules! pass_on {
    ($($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl<S: Store> Store for Watched<S> {
            type Transaction = S::Transaction;

            $(async fn $verb(&self, $($name: $type),*) -> Result<$answer, StoreError> {
                self.calls.push(stringify!($verb));
                let _not_held = self.held.read().await;
                let lists = |verb: &mut &str| *verb == stringify!($verb);
                let lists = self.lists_before.lock().expect("nobody panicked").take_if(lists).is_some();
                if lists {
                    self.store.refused("default", 0, 1000).await?;
                }
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

            fn get_routes(&self) -> &Routes {
                self.store.get_routes()
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

macro_rules! pass_events_on {
    ($($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl<S: Outbox> Outbox for Watched<S> {
            $(async fn $verb(&self, $($name: $type),*) -> Result<$answer, StoreError> {
                self.calls.push(stringify!($verb));
                let _not_held = self.held.read().await;
                let fails = |verb: &mut &str| *verb == stringify!($verb);
                if self.fails_next.lock().expect("nobody panicked").take_if(fails).is_some() {
                    return Err(StoreError::NotDurable("it is away".to_owned()));
                }
                self.store.$verb($($name),*).await
            })*

            fn hints(&self) -> Hints {
                self.store.hints()
            }
        }
    };
}

pass_events_on! {
    emit(event: &Event) -> bool;
    lease(sink: &str, limit: u32, lease: Duration) -> Vec<Outgoing>;
    settle(sink: &str, settled: &[Settled]) -> usize;
    parked(sink: &str, after: i64, limit: u32) -> Vec<Parked>;
    release(sink: &str, seq: i64) -> ();
    forget(sink: &str, seq: i64) -> ();
    lag() -> Vec<Lag>;
    tidy(keep_sent: Duration) -> u64;
}
