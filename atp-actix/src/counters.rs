//! The counters of deliveries that were answered, on their way to the store.

use tokio::time::sleep;

use crate::{
    limits::{COUNTERS_A_BATCH, COUNTERS_AFTER_A_FAULT, PAUSE_OF_COUNTERS},
    store::{Added, DeliveryCount, Store},
};

/// Counts after the answer, without holding up the next one: the first at once, and what comes
/// shortly after a batch in the next batch, where the same delivery again is a greater number.
pub(crate) async fn count<S: Store>(store: &S, note: DeliveryCount) {
    match store.get_activity().add(note) {
        Added::Waiting => {}
        // No local task: one that is dropped at shutdown would hold a connection outside of its
        // runtime.
        Added::Unattended => drop(tokio::spawn(CounterWriter::new(store.clone()).run())),
        Added::Full(note) => {
            let request_id = note.arrival.request_id.clone();
            if let Err(error) = store.count_deliveries(&[*note]).await
                && store.get_activity().may_tell()
            {
                tracing::error!(target: "atp_actix", request_id, %error, "not counted");
            }
        }
    }
}

/// The one who writes counters. If its runtime ends before it does, what it has not written is put
/// back, and another begins with the next delivery, or the end of the store writes it.
struct CounterWriter<S: Store> {
    store: S,
    /// What is being written.
    batch: Vec<DeliveryCount>,
    is_over: bool,
}

impl<S: Store> CounterWriter<S> {
    fn new(store: S) -> Self {
        Self { store, batch: Vec::new(), is_over: false }
    }

    async fn run(mut self) {
        while let Some(batch) = self.store.get_activity().next() {
            self.batch = batch;
            if let Err(error) = self.store.count_deliveries(&self.batch).await {
                if self.store.get_activity().may_tell() {
                    let rows = self.batch.len();
                    tracing::error!(target: "atp_actix", rows, %error, "not counted yet");
                }
                // Whoever comes meanwhile adds to what waits, and tries no better.
                return sleep(COUNTERS_AFTER_A_FAULT).await;
            }
            let written = std::mem::take(&mut self.batch).len();
            if written < COUNTERS_A_BATCH {
                sleep(PAUSE_OF_COUNTERS).await;
            }
        }
        self.is_over = true;
    }
}

impl<S: Store> Drop for CounterWriter<S> {
    fn drop(&mut self) {
        if !self.is_over {
            self.store.get_activity().stopped_writing(std::mem::take(&mut self.batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atp_core::{Fingerprint, Scheme};

    use super::*;
    use crate::store::{Arrival, MemoryStore, Verdict};

    fn note(verdict: Verdict, status: u16) -> DeliveryCount {
        let arrival = Arrival::new(Scheme::Raw, 0);
        DeliveryCount::new("default", "n-1", Fingerprint::new("approve", None), verdict, arrival, status)
    }

    /// Nobody delivers any more, and soon this is written.
    async fn expect(store: &MemoryStore, expected: &[(Verdict, u64, u16)]) {
        let mut rows = Vec::new();
        for _ in 0..500 {
            let noted = store.deliveries("default", "n-1").await.expect("an answer");
            rows = noted.iter().map(|row| (row.verdict, row.count, row.status)).collect();
            rows.sort_unstable();
            if rows == expected {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(rows, expected);
    }

    #[actix_web::test]
    async fn every_delivery_is_counted_and_the_last_is_told() {
        let store = MemoryStore::new();
        count(&store, note(Verdict::Handled, 200)).await;
        for nth in 0..1000 {
            count(&store, note(Verdict::Replayed, if nth == 999 { 201 } else { 200 })).await;
            if nth % 100 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        expect(&store, &[(Verdict::Handled, 1, 200), (Verdict::Replayed, 1000, 201)]).await;
    }

    #[actix_web::test]
    async fn a_writer_whose_runtime_ended_is_followed_by_another() {
        let store = MemoryStore::new();
        assert!(matches!(store.get_activity().add(note(Verdict::Handled, 200)), Added::Unattended));
        let batch = store.get_activity().next().expect("a batch");
        drop(CounterWriter { store: store.clone(), batch, is_over: false });
        count(&store, note(Verdict::Handled, 200)).await;
        expect(&store, &[(Verdict::Handled, 2, 200)]).await;
    }
}
