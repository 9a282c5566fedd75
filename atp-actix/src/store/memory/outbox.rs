//! What leaves the service, in this process's memory.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::MemoryStore;
use crate::store::{Event, Lag, Outbox, Outgoing, Parked, Settled, StoreError};

impl Outbox for MemoryStore {
    async fn emit(&self, event: &Event) -> Result<bool, StoreError> {
        let event = self.routes.filled_in(event.clone())?;
        let is_new = self.tables().write_events(&[event], (self.clock)()) > 0;
        self.activity.hint();
        Ok(is_new)
    }

    async fn lease(&self, sink: &str, limit: u32, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        Ok(self.tables().events.lease(sink, limit, lease, (self.clock)()))
    }

    async fn settle(&self, sink: &str, settled: &[Settled]) -> Result<usize, StoreError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        Ok(settled.iter().filter(|settled| tables.events.settle(sink, settled, now)).count())
    }

    async fn parked(&self, sink: &str, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError> {
        Ok(self.tables().events.all_parked(sink, after, limit))
    }

    async fn release(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.tables().events.release(sink, seq, (self.clock)())?;
        self.activity.hint();
        Ok(())
    }

    async fn forget(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.tables().events.forget(sink, seq)?;
        self.activity.hint();
        Ok(())
    }

    async fn lag(&self) -> Result<Vec<Lag>, StoreError> {
        Ok(self.tables().events.lag())
    }

    async fn tidy(&self, keep_sent: Duration) -> Result<u64, StoreError> {
        let now = (self.clock)();
        let keep_sent = chrono::TimeDelta::from_std(keep_sent).unwrap_or(chrono::TimeDelta::MAX);
        let before = now.checked_sub_signed(keep_sent).unwrap_or(DateTime::<Utc>::MIN_UTC);
        Ok(self.tables().events.tidy(before, now))
    }
}
