//! What the webhooks of one process share through a store.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use atp_core::{Fingerprint, Verifier};
use tokio::{sync::watch, time::timeout};

use super::{DeliveryCount, Verdict};
use crate::limits::{BETWEEN_FAULTS_TOLD, COUNTERS_A_BATCH, MOST_COUNTERS};

/// What the webhooks of one process share through a store: which secrets each service has, the
/// deliveries that are being worked on, and the counters that wait to be written.
///
/// A store makes one when it is opened, and its clones share it. Two stores that are opened on one
/// database are two to this, so open it once a process.
#[derive(Clone)]
pub struct Activity(Arc<Inner>);

struct Inner {
    services: Mutex<HashMap<String, Verifier>>,
    waiting: Mutex<Waiting>,
    /// How much is under way, and whether no more may begin.
    work: watch::Sender<Work>,
    /// When the log was last told of what could happen with every delivery.
    told_at: Mutex<Option<Instant>>,
    /// Told when something to be sent was written.
    written: watch::Sender<()>,
}

/// Tells when there may be something to send: a hint, that may be lost, and may come for nothing.
#[derive(Clone, Debug)]
pub struct Hints(watch::Receiver<()>);

impl Hints {
    /// Ends when there may be something to send that was written since the last call, or since this
    /// was made. Where nobody is left to write it never ends.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Work {
    under_way: usize,
    is_ending: bool,
    /// Whether somebody writes counters.
    is_written: bool,
}

/// What came of a counter.
#[derive(Debug)]
pub(crate) enum Added {
    /// Whoever writes will write it too.
    Waiting,
    /// Nobody writes: send somebody.
    Unattended,
    /// There is no room for it.
    Full(Box<DeliveryCount>),
}

/// Counters that wait, each row once.
#[derive(Default)]
struct Waiting {
    notes: HashMap<Row, DeliveryCount>,
}

/// Service, notification, answer, verdict.
type Row = (String, String, Fingerprint, Verdict);

fn row(note: &DeliveryCount) -> Row {
    (note.service.clone(), note.notification_id.clone(), note.fingerprint, note.verdict)
}

/// A delivery that is being worked on. Dropped, it is not any more.
pub(crate) struct UnderWay(Activity);

impl UnderWay {
    /// For what goes on after it, also where nothing new may begin.
    pub(crate) fn another(&self) -> Self {
        self.0.0.work.send_modify(|work| work.under_way += 1);
        Self(self.0.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.work.send_modify(|work| work.under_way = work.under_way.saturating_sub(1));
    }
}

impl Activity {
    /// That of a store which was just opened.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            services: Mutex::default(),
            waiting: Mutex::default(),
            work: watch::Sender::new(Work::default()),
            told_at: Mutex::default(),
            written: watch::Sender::new(()),
        }))
    }

    /// How many counters wait to be written, without those that are being written.
    #[must_use]
    pub fn counters_waiting(&self) -> usize {
        self.waiting().notes.len()
    }

    /// How many deliveries are being worked on, those included whose sender was answered already.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.0.work.borrow().under_way
    }

    /// Whether this verifier's secrets are those that the service has been mounted with before, if
    /// it was. With others, who holds one secret could decide what was asked under the other.
    pub(crate) fn admits(&self, service: &str, verifier: &Verifier) -> bool {
        let mut services = self.0.services.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = services.entry(service.to_owned()).or_insert_with(|| verifier.clone());
        earlier.has_secrets_of(verifier)
    }

    /// Begins to work on a delivery; `None` once that has been ended.
    pub(crate) fn begin(&self) -> Option<UnderWay> {
        let may_begin = self.0.work.send_if_modified(|work| {
            work.under_way += usize::from(!work.is_ending);
            !work.is_ending
        });
        may_begin.then(|| UnderWay(self.clone()))
    }

    /// Lets nothing new begin, and waits for what is under way and for who writes counters, for so
    /// long at most. Says how much still is under way.
    pub(crate) async fn end(&self, within: Duration) -> usize {
        self.0.work.send_modify(|work| work.is_ending = true);
        let mut work = self.0.work.subscribe();
        let ended = work.wait_for(|work| work.under_way == 0 && !work.is_written);
        let _ = timeout(within, ended).await;
        self.under_way()
    }

    /// Whether nothing new may begin.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.work.borrow().is_ending
    }

    /// Tells who sends from this process that there may be something to send.
    pub fn hint(&self) {
        self.0.written.send_replace(());
    }

    /// Tells when [`Activity::hint`] is called.
    #[must_use]
    pub fn hints(&self) -> Hints {
        Hints(self.0.written.subscribe())
    }

    /// Until nobody of this process waits for hints any more.
    #[cfg(feature = "postgres")]
    pub(crate) async fn unheard(&self) {
        self.0.written.closed().await;
    }

    /// Whether anybody of this process waits for hints.
    #[cfg(feature = "postgres")]
    pub(crate) fn has_listeners(&self) -> bool {
        self.0.written.receiver_count() > 0
    }

    /// Adds a counter, unless there is no room for it.
    pub(crate) fn add(&self, note: DeliveryCount) -> Added {
        let mut waiting = self.waiting();
        if waiting.notes.len() >= MOST_COUNTERS {
            return Added::Full(Box::new(note));
        }
        waiting.add(note);
        let is_first = self.0.work.send_if_modified(|work| !mem::replace(&mut work.is_written, true));
        if is_first { Added::Unattended } else { Added::Waiting }
    }

    /// The next batch, for the one who writes. Where there is none, whoever adds a note next sends
    /// another.
    pub(crate) fn next(&self) -> Option<Vec<DeliveryCount>> {
        let mut waiting = self.waiting();
        let notes = waiting.take(COUNTERS_A_BATCH);
        if notes.is_empty() {
            self.0.work.send_modify(|work| work.is_written = false);
        }
        (!notes.is_empty()).then_some(notes)
    }

    /// The next batch, whoever else writes.
    pub(crate) fn take(&self) -> Vec<DeliveryCount> {
        self.waiting().take(COUNTERS_A_BATCH)
    }

    /// Whoever wrote does not any more, and has not written this. What came meanwhile is the last
    /// of its row.
    pub(crate) fn stopped_writing(&self, unwritten: Vec<DeliveryCount>) {
        let mut waiting = self.waiting();
        self.0.work.send_modify(|work| work.is_written = false);
        for note in unwritten {
            waiting.put_back(note);
        }
    }

    /// Whether the log may be told of a fault that every delivery could cause: once a second.
    pub(crate) fn may_tell(&self) -> bool {
        let mut told_at = self.0.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told_at.is_none_or(|told_at| told_at.elapsed() >= BETWEEN_FAULTS_TOLD);
        if may {
            *told_at = Some(Instant::now());
        }
        may
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("under_way", &self.0.work.borrow().under_way).finish_non_exhaustive()
    }
}

impl Waiting {
    fn add(&mut self, note: DeliveryCount) {
        let row = row(&note);
        let earlier = self.notes.get(&row).map_or(0, |earlier| earlier.count);
        let count = note.count.saturating_add(earlier);
        self.notes.insert(row, DeliveryCount { count, ..note });
    }

    fn put_back(&mut self, note: DeliveryCount) {
        let row = row(&note);
        match self.notes.get_mut(&row) {
            Some(later) => later.count = later.count.saturating_add(note.count),
            None => drop(self.notes.insert(row, note)),
        }
    }

    fn take(&mut self, most: usize) -> Vec<DeliveryCount> {
        if self.notes.len() <= most {
            return mem::take(&mut self.notes).into_values().collect();
        }
        let rows: Vec<Row> = self.notes.keys().take(most).cloned().collect();
        rows.iter().filter_map(|row| self.notes.remove(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use atp_core::{Scheme, Secret};

    use super::{super::Arrival, *};

    fn note(status: u16) -> DeliveryCount {
        let arrival = Arrival::new(Scheme::Raw, 0);
        DeliveryCount::new(
            "default",
            "n-1",
            Fingerprint::new("approve", None),
            Verdict::Replayed,
            arrival,
            status,
        )
    }

    #[test]
    fn what_was_not_written_is_put_back_behind_what_came_later() {
        let activity = Activity::new();
        assert!(matches!(activity.add(note(500)), Added::Unattended));
        let failed = activity.next().expect("a batch");
        assert!(matches!(activity.add(note(200)), Added::Waiting), "the one who writes still does");
        activity.stopped_writing(failed);
        let notes = activity.take();
        assert_eq!(notes.len(), 1);
        assert_eq!(notes.first().map(|note| (note.count, note.status)), Some((2, 200)));
    }

    #[actix_web::test]
    async fn the_end_waits_for_what_is_under_way_and_lets_nothing_begin() {
        let activity = Activity::new();
        let under_way = activity.begin().expect("it may begin");
        assert_eq!(activity.end(Duration::from_millis(10)).await, 1);
        assert!(activity.begin().is_none());
        let ending = actix_web::rt::spawn({
            let activity = activity.clone();
            async move { activity.end(Duration::from_mins(1)).await }
        });
        drop(under_way);
        assert_eq!(ending.await.expect("no panic"), 0);
    }

    #[test]
    fn a_service_has_the_secrets_that_it_was_mounted_with() {
        let secret = |text: &str| Secret::new(text).expect("a good secret");
        let (one, other) = (secret("0123456789abcdef"), secret("fedcba9876543210"));
        let activity = Activity::new();
        for (service, verifier, admitted) in [
            ("acme", Verifier::new(one.clone()), true),
            ("acme", Verifier::new(one.clone()), true),
            ("acme", Verifier::new(other.clone()), false),
            ("acme", Verifier::new(one.clone()).or(other.clone()), false),
            ("globex", Verifier::new(other.clone()), true),
        ] {
            assert_eq!(activity.clone().admits(service, &verifier), admitted, "{service} {verifier:?}");
        }
    }
}
