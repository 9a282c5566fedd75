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
            tokio::spawn(Writing(Arc::clone(self)).run());
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

/// The one who writes. If its runtime ends another may begin.
struct Writing<S: Store>(Arc<Tally<S>>);

impl<S: Store> Writing<S> {
    async fn run(self) {
        while let Some(notes) = self.next() {
            if let Err(error) = self.0.store.note(&notes).await {
                return self.failed(notes, &error);
            }
            if notes.len() < Tally::<S>::BATCH {
                sleep(Tally::<S>::PAUSE).await;
            }
        }
    }

    fn next(&self) -> Option<Vec<Note>> {
        let notes = self.0.waiting().take(Tally::<S>::BATCH);
        (!notes.is_empty()).then_some(notes)
    }

    /// The next delivery tries again.
    fn failed(&self, notes: Vec<Note>, error: &StoreError) {
        tracing::error!(target: "atp_actix", rows = notes.len(), %error, "not counted yet");
        let mut waiting = self.0.waiting();
        for note in notes {
            waiting.put_back(note);
        }
    }
}

impl<S: Store> Drop for Writing<S> {
    fn drop(&mut self) {
        self.0.waiting().is_written = false;
    }
}
