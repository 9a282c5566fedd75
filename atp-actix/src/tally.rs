//! The counters of deliveries that were answered, on their way to the store.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use atp_core::Fingerprint;
use tokio::time::sleep;

use crate::store::{Note, Store, StoreError, Verdict};

/// Counts after the answer, without holding up the next one: the first at once, and what comes shortly after a batch in the
/// next batch, where the same delivery again is a greater number.
pub(crate) struct Tally<S> {
    store: S,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    notes: HashMap<Row, Note>,
    is_written: bool,
}

/// Service, notification, answer, verdict.
type Row = (String, String, Fingerprint, Verdict);

fn row(note: &Note) -> Row {
    (note.service.clone(), note.notification_id.clone(), note.fingerprint, note.verdict)
}

impl<S: Store> Tally<S> {
    /// How long after a batch the next one is written, so that there is more in it.
    const PAUSE: Duration = Duration::from_millis(20);

    /// Rows of one batch, so that it does not hold up decisions for long.
    const BATCH: usize = 100;

    /// Rows that may wait. With more than that the store is slower than what comes, and deliveries wait for it.
    const LIMIT: usize = 10_000;

    pub(crate) fn new(store: S) -> Arc<Self> {
        Arc::new(Self { store, waiting: Mutex::default() })
    }

    /// Counts at once.
    pub(crate) async fn now(&self, note: Note) {
        let request_id = note.request_id.clone();
        if let Err(error) = self.store.note(&[note]).await {
            tracing::error!(target: "atp_actix", request_id, %error, "not counted");
        }
    }

    /// Counts soon.
    pub(crate) async fn soon(self: &Arc<Self>, note: Note) {
        if let Some(note) = self.add(note) {
            self.now(note).await;
        }
    }

    /// The note again, if there is no room for it.
    fn add(self: &Arc<Self>, note: Note) -> Option<Note> {
        let mut waiting = self.waiting();
        if waiting.notes.len() >= Self::LIMIT {
            return Some(note);
        }
        waiting.add(note);
        if !mem::replace(&mut waiting.is_written, true) {
            // No local task: one that is dropped at shutdown would hold a connection outside of its runtime.
            tokio::spawn(Writing { tally: Arc::clone(self), is_over: false }.run());
        }
        None
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, note: Note) {
        let row = row(&note);
        let earlier = self.notes.get(&row).map_or(0, |earlier| earlier.count);
        let count = note.count.saturating_add(earlier);
        self.notes.insert(row, Note { count, ..note });
    }

    /// What failed is counted later. What came meanwhile is the last of its row.
    fn put_back(&mut self, note: Note) {
        let row = row(&note);
        match self.notes.get_mut(&row) {
            Some(later) => later.count = later.count.saturating_add(note.count),
            None => drop(self.notes.insert(row, note)),
        }
    }

    fn take(&mut self, most: usize) -> Vec<Note> {
        if self.notes.len() <= most {
            return mem::take(&mut self.notes).into_values().collect();
        }
        let rows: Vec<Row> = self.notes.keys().take(most).cloned().collect();
        rows.iter().filter_map(|row| self.notes.remove(row)).collect()
    }
}

/// The one who writes. If its runtime ends before it does, another begins with the next delivery.
struct Writing<S: Store> {
    tally: Arc<Tally<S>>,
    is_over: bool,
}

impl<S: Store> Writing<S> {
    async fn run(mut self) {
        while let Some(notes) = self.next() {
            if let Err(error) = self.tally.store.note(&notes).await {
                return self.failed(notes, &error);
            }
            if notes.len() < Tally::<S>::BATCH {
                sleep(Tally::<S>::PAUSE).await;
            }
        }
    }

    /// Whoever adds a note after there was none left starts another.
    fn next(&mut self) -> Option<Vec<Note>> {
        let mut waiting = self.tally.waiting();
        let notes = waiting.take(Tally::<S>::BATCH);
        self.is_over = notes.is_empty();
        waiting.is_written = !self.is_over;
        (!self.is_over).then_some(notes)
    }

    /// The next delivery tries again.
    fn failed(&self, notes: Vec<Note>, error: &StoreError) {
        tracing::error!(target: "atp_actix", rows = notes.len(), %error, "not counted yet");
        let mut waiting = self.tally.waiting();
        for note in notes {
            waiting.put_back(note);
        }
    }
}

impl<S: Store> Drop for Writing<S> {
    fn drop(&mut self) {
        if !self.is_over {
            self.tally.waiting().is_written = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use atp_core::Scheme;

    use super::*;
    use crate::store::MemoryStore;

    fn note(verdict: Verdict, status: u16) -> Note {
        Note {
            service: "default".to_owned(),
            notification_id: "n-1".to_owned(),
            fingerprint: Fingerprint::new("approve", None),
            verdict,
            count: 1,
            request_id: None,
            scheme: Scheme::Raw,
            secret: 0,
            responder: None,
            status,
            duration: Duration::ZERO,
        }
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
        let tally = Tally::new(store.clone());
        tally.soon(note(Verdict::Handled, 200)).await;
        for nth in 0..1000 {
            tally.soon(note(Verdict::Replayed, if nth == 999 { 201 } else { 200 })).await;
            if nth % 100 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        expect(&store, &[(Verdict::Handled, 1, 200), (Verdict::Replayed, 1000, 201)]).await;
    }

    #[actix_web::test]
    async fn a_writer_whose_runtime_ended_is_followed_by_another() {
        let store = MemoryStore::new();
        let tally = Tally::new(store.clone());
        tally.waiting().is_written = true;
        drop(Writing { tally: Arc::clone(&tally), is_over: false });
        tally.soon(note(Verdict::Handled, 200)).await;
        expect(&store, &[(Verdict::Handled, 1, 200)]).await;
    }

    #[test]
    fn what_failed_is_put_back_behind_what_came_later() {
        let mut waiting = Waiting::default();
        waiting.add(note(Verdict::Replayed, 500));
        let failed = waiting.take(10);
        waiting.add(note(Verdict::Replayed, 200));
        for note in failed {
            waiting.put_back(note);
        }
        let notes = waiting.take(10);
        assert_eq!(notes.len(), 1);
        assert_eq!(notes.first().map(|note| (note.count, note.status)), Some((2, 200)));
    }
}
