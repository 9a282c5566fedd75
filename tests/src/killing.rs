//! A store that kills its process at a point of the path: a store of a third party, as it were.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
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

/// Where the process shall end.
pub struct Point {
    name: Option<String>,
    /// Whether something was completed, and so there is something to send.
    is_armed: AtomicBool,
}

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

    /// Each of them on the way out, in the order of that.
    pub const SENDING: [&str; 15] = [
        "handler has written",
        "before complete",
        "in complete",
        "after complete",
        "before lease",
        "in lease",
        "after lease",
        "before send",
        "in send",
        "sent",
        "acknowledged",
        "before settle",
        "in settle",
        "after settle",
        "at random",
    ];

    /// This one, or none.
    #[must_use]
    pub fn new(point: Option<String>) -> Self {
        Self { name: point, is_armed: AtomicBool::new(false) }
    }

    fn is(&self, point: &str) -> bool {
        self.name.as_deref() == Some(point)
    }

    /// Ends the process, without a word to anybody, if this is the point.
    pub fn reached(&self, point: &str) {
        if self.is(point) {
            kill();
        }
    }

    /// Ends it within the next milliseconds, if this is the point.
    fn soon(&self, point: &str) {
        if self.is(point) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let micros = u64::from(now.subsec_micros() % 3000);
            thread::spawn(move || {
                thread::sleep(Duration::from_micros(micros));
                kill();
            });
        }
    }

    fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::SeqCst)
    }
}

fn kill() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
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
        self.point.soon("in complete");
        let completed = self.around("before complete", "after complete", work).await;
        self.point.is_armed.store(true, Ordering::SeqCst);
        // What waits for a lease finds what is there to be sent.
        self.store.get_activity().hint();
        completed
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

    fn get_routes(&self) -> &Routes {
        self.store.get_routes()
    }
}

impl<S: Outbox> Outbox for Killing<S> {
    async fn emit(&self, event: &Event) -> Result<bool, StoreError> {
        self.store.emit(event).await
    }

    async fn lease(&self, sink: &str, limit: u32, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        if self.point.is_armed() {
            self.point.soon("in lease");
            self.point.reached("before lease");
        }
        let leased = self.store.lease(sink, limit, lease).await?;
        if !leased.is_empty() {
            self.point.reached("after lease");
        }
        Ok(leased)
    }

    async fn settle(&self, sink: &str, settled: &[Settled]) -> Result<usize, StoreError> {
        self.point.soon("in settle");
        self.around("before settle", "after settle", self.store.settle(sink, settled)).await
    }

    async fn parked(&self, sink: &str, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError> {
        self.store.parked(sink, after, limit).await
    }

    async fn release(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.store.release(sink, seq).await
    }

    async fn forget(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.store.forget(sink, seq).await
    }

    async fn lag(&self) -> Result<Vec<Lag>, StoreError> {
        self.store.lag().await
    }

    async fn tidy(&self, keep_sent: Duration) -> Result<u64, StoreError> {
        self.store.tidy(keep_sent).await
    }

    fn hints(&self) -> Hints {
        self.store.hints()
    }
}
