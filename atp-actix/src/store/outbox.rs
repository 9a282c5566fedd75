//! What a store does for what leaves the service.

use std::{future::Future, time::Duration};

use super::{Event, Hints, Lag, Outgoing, Parked, Settled, Store, StoreError};

/// A store whose events are sent. A [`Relay`](crate::Relay) calls it; a service calls
/// [`Outbox::emit`], and looks after what is parked.
///
/// An event is written once, with one row for each of its sinks, and that row alone tells what came
/// of it there; it is gone when the event is sent, or given up. Of the events of one service and
/// subject only the oldest that is unsent is due at a sink; a parked one holds back those behind it,
/// and no others.
pub trait Outbox: Store {
    /// Writes an event of the service's own. Says whether it was not there yet: of two with one
    /// service and id the first stays. Durable.
    ///
    /// In a handler take the extractor [`Events`](crate::Events), and in a transaction of your own
    /// the stores' `emit_in`.
    fn emit(&self, event: &Event) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes the right to send what is due at a sink for so long, at most `limit` events, in the
    /// order in which they are due. Not durable.
    ///
    /// One whose lease ended without a word is due again, and that counts as its own fault. Fewer
    /// than `limit`, or none, may come although more is due; the next call finds more then.
    fn lease(
        &self,
        sink: &str,
        limit: u32,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Outgoing>, StoreError>> + Send;

    /// Says what came of attempts at one sink; how many of them still stood: what was leased again
    /// meanwhile is not changed. All or none. Not durable: what is forgotten is sent again.
    fn settle(
        &self,
        sink: &str,
        settled: &[Settled],
    ) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// What is parked at a sink behind this place, in the order of their places, at most `limit`.
    fn parked(
        &self,
        sink: &str,
        after: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// Lets a parked event be tried again, with as many attempts as a new one. Durable.
    /// [`StoreError::NotParked`] if there is none.
    fn release(&self, sink: &str, seq: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives a parked event up: it is never sent to this sink, and what was held back behind it is.
    /// Durable. [`StoreError::NotParked`] if there is none.
    fn forget(&self, sink: &str, seq: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What waits for each sink for which anything waits or is parked. It counts: ask now and then.
    fn lag(&self) -> impl Future<Output = Result<Vec<Lag>, StoreError>> + Send;

    /// Deletes the events that were written longer ago than this and of which nothing is left to be
    /// sent, in batches; how many went. And lets be due what would be due farther ahead than the
    /// longest time between two attempts, since a clock was set back. Not durable.
    fn tidy(&self, keep_sent: Duration) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Tells when there may be something to send. Those of this process are told at once, unless a
    /// store says more of itself.
    fn hints(&self) -> Hints {
        self.get_activity().hints()
    }
}
