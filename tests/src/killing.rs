//! A store that kills its process at a point of the path: a store of a third party, as it were.

use std::{sync::Arc, time::Duration};

use atp_actix::{
    atp_core::Fingerprint,
    store::{
        Activity, Claim, Claimed, Completion, DeliveryCount, DeliveryRow, Known, Question, RefusedDelivery,
        Store, StoreError, StoredRefusal, Token,
    },
};
use chrono::{DateTime, Utc};

/// Where the process shall end.
pub struct Point(Option<String>);

impl Point {
    /// Each of them, in the order of the path.
    pub const ALL: [&str; 16] = [
        "before find",
        "after find",
        "before claim",
        "after claim",
        "before begin",
        "after begin",
        "handler starts",
        "handler has written",
        "plain handler",
        "before complete",
        "after complete",
        "before note",
        "after note",
        "before keep",
        "after keep",
        "at random",
    ];

    /// This one, or none.
    #[must_use]
    pub fn new(point: Option<String>) -> Self {
        Self(point)
    }

    /// Ends the process, without a word to anybody, if this is the point.
    pub fn reached(&self, point: &str) {
        if self.0.as_deref() == Some(point) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

/// Passes everything on.
#[derive(Clone)]
pub struct Killing<S> {
    store: S,
    point: Arc<Point>,
}

impl<S> Killing<S> {
    /// Around a store.
    pub fn new(store: S, point: Arc<Point>) -> Self {
        Self { store, point }
    }

    async fn around<T>(&self, before: &str, after: &str, work: impl Future<Output = T>) -> T {
        self.point.reached(before);
        let output = work.await;
        self.point.reached(after);
        output
    }
}

impl<S: Store> Store for Killing<S> {
    type Transaction = S::Transaction;

    async fn record(&self, question: &Question) -> Result<(), StoreError> {
        self.store.record(question).await
    }

    async fn bind(&self, service: &str, key: &str, notification_id: &str) -> Result<(), StoreError> {
        self.store.bind(service, key, notification_id).await
    }

    async fn invalidate(&self, service: &str, notification_id: &str, reason: &str) -> Result<(), StoreError> {
        self.store.invalidate(service, notification_id, reason).await
    }

    async fn find(
        &self,
        service: &str,
        notification_id: &str,
        answer: Option<Fingerprint>,
    ) -> Result<Known, StoreError> {
        self.around("before find", "after find", self.store.find(service, notification_id, answer)).await
    }

    async fn find_by_key(&self, service: &str, key: &str) -> Result<Known, StoreError> {
        self.store.find_by_key(service, key).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.around("before claim", "after claim", self.store.claim(claim)).await
    }

    async fn claim_in_transaction(&self, claim: &Claim) -> Result<Claimed<S::Transaction>, StoreError> {
        self.point.reached("before begin");
        let transaction = self.store.claim_in_transaction(claim).await;
        self.point.reached("after begin");
        transaction
    }

    async fn resume(&self, claim: &Claim) -> Result<S::Transaction, StoreError> {
        self.around("before begin", "after begin", self.store.resume(claim)).await
    }

    async fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<S::Transaction>,
    ) -> Result<(), StoreError> {
        let work = self.store.complete(claim, completion, transaction);
        self.around("before complete", "after complete", work).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        self.store.release_claim(claim).await
    }

    async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
        self.around("before note", "after note", self.store.count_deliveries(counts)).await
    }

    async fn keep(&self, kept: &RefusedDelivery) -> Result<bool, StoreError> {
        self.around("before keep", "after keep", self.store.keep(kept)).await
    }

    async fn refused(&self, service: &str, after: i64, limit: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        self.store.refused(service, after, limit).await
    }

    async fn redrive(&self, service: &str, id: i64, token: Token) -> Result<StoredRefusal, StoreError> {
        self.store.redrive(service, id, token).await
    }

    async fn redeem(&self, service: &str, id: i64, token: Token) -> Result<bool, StoreError> {
        self.store.redeem(service, id, token).await
    }

    async fn deliveries(&self, service: &str, notification_id: &str) -> Result<Vec<DeliveryRow>, StoreError> {
        self.store.deliveries(service, notification_id).await
    }

    async fn reopen(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        self.store.reopen(service, notification_id).await
    }

    async fn purge(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        self.store.purge(before).await
    }

    async fn erase(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        self.store.erase(service, notification_id).await
    }

    fn get_transaction_limit(&self) -> Option<Duration> {
        self.store.get_transaction_limit()
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
}
