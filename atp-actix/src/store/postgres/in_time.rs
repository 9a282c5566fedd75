//! Every verb of the store in PostgreSQL, unless it takes too long.

use std::time::Duration;

use atp_core::Fingerprint;
use chrono::{DateTime, Utc};
use sqlx::Postgres;

use super::super::{
    Activity, Claim, Claimed, Completion, DeliveryCount, DeliveryRow, Known, OpenTransaction, PostgresStore,
    Question, RefusedDelivery, Routes, Store, StoreError, StoredRefusal, Token,
};

impl Store for PostgresStore {
    type Transaction = OpenTransaction<Postgres>;

    async fn record(&self, question: &Question) -> Result<(), StoreError> {
        self.in_time(self.steps.record(question)).await
    }

    async fn bind(&self, service: &str, key: &str, notification_id: &str) -> Result<(), StoreError> {
        self.in_time(self.steps.bind(service, key, notification_id)).await
    }

    async fn invalidate(&self, service: &str, notification_id: &str, reason: &str) -> Result<(), StoreError> {
        self.in_time(self.steps.invalidate(service, notification_id, reason)).await
    }

    async fn find(
        &self,
        service: &str,
        notification_id: &str,
        answer: Option<Fingerprint>,
    ) -> Result<Known, StoreError> {
        self.in_time(self.steps.find(service, notification_id, answer)).await
    }

    async fn find_by_key(&self, service: &str, key: &str) -> Result<Known, StoreError> {
        self.in_time(self.steps.find_by_key(service, key)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.in_time(self.steps.claim(claim)).await
    }

    async fn claim_in_transaction(
        &self,
        claim: &Claim,
    ) -> Result<Claimed<OpenTransaction<Postgres>>, StoreError> {
        self.in_time(self.steps.claim_in_transaction(claim)).await
    }

    async fn resume(&self, claim: &Claim) -> Result<OpenTransaction<Postgres>, StoreError> {
        self.in_time(self.steps.resume(claim)).await
    }

    async fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<OpenTransaction<Postgres>>,
    ) -> Result<(), StoreError> {
        self.in_time(self.steps.complete(claim, completion, transaction)).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        self.in_time(self.steps.release_claim(claim)).await
    }

    async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
        self.in_time(self.steps.count_deliveries(counts)).await
    }

    async fn keep(&self, kept: &RefusedDelivery) -> Result<bool, StoreError> {
        self.in_time(self.steps.keep(kept)).await
    }

    async fn refused(&self, service: &str, after: i64, limit: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        self.in_time(self.steps.refused(service, after, limit)).await
    }

    async fn redrive(&self, service: &str, id: i64, token: Token) -> Result<StoredRefusal, StoreError> {
        self.in_time(self.steps.redrive(service, id, token)).await
    }

    async fn redeem(&self, service: &str, id: i64, token: Token) -> Result<bool, StoreError> {
        self.in_time(self.steps.redeem(service, id, token)).await
    }

    async fn deliveries(&self, service: &str, notification_id: &str) -> Result<Vec<DeliveryRow>, StoreError> {
        self.in_time(self.steps.deliveries(service, notification_id)).await
    }

    async fn reopen(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        self.in_time(self.steps.reopen(service, notification_id)).await
    }

    /// Each step of it has its own time.
    async fn purge(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        self.steps.purge(before).await
    }

    async fn erase(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        self.in_time(self.steps.erase(service, notification_id)).await
    }

    fn get_transaction_limit(&self) -> Option<Duration> {
        self.steps.get_transaction_limit()
    }

    fn get_redelivery_window(&self) -> Duration {
        self.steps.get_redelivery_window()
    }

    fn get_routes(&self) -> &Routes {
        self.steps.get_routes()
    }

    fn get_fingerprint_key(&self) -> &[u8; 32] {
        self.steps.get_fingerprint_key()
    }

    fn get_activity(&self) -> &Activity {
        self.steps.get_activity()
    }
}
