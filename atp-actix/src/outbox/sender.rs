//! Sends to one sink: leases, calls, and says what came of it.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{OptionFuture, join},
};
use tokio::{
    select,
    sync::watch,
    task::{JoinError, JoinSet, yield_now},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

use super::sink::{AnySink, SendError};
use crate::{
    backoff::{Backoff, jittered},
    limits::{
        AFTER_A_STORE_FAULT, BETWEEN_LEASES, BETWEEN_TIDYINGS, LONGEST_SEND_LEASE, MOST_REMEMBERED,
        ROOM_TO_SETTLE,
    },
    store::{Hints, Outbox, Outgoing, SendEnd, Settled, StoreError},
};
#[cfg(feature = "metrics")]
use crate::{metrics, reporter::apart};

/// How a relay sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) concurrency: u32,
    pub(super) send_within: Duration,
    pub(super) poll: Duration,
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) pause: Backoff,
    pub(super) keep_sent: Duration,
}

impl Settings {
    /// How long an event is leased: as long as the one before it may take, and it itself, so that
    /// nobody else begins meanwhile, with room to say what came of it.
    fn lease(&self) -> Duration {
        ((self.send_within + ROOM_TO_SETTLE) * 2).min(LONGEST_SEND_LEASE)
    }
}

/// An event that was leased, and when.
struct Leased {
    outgoing: Outgoing,
    at: Instant,
}

/// One attempt that ended.
struct Attempt {
    outgoing: Outgoing,
    began: Instant,
    came_of_it: Result<(), SendError>,
}

/// What is known of a sink.
#[derive(Default)]
struct Standing {
    /// How often in a row it was away.
    away: u32,
    /// Until when it is left alone.
    paused_until: Option<Instant>,
    /// The places of those that found it away since it last took one; some of them, if many did.
    found_away: BTreeSet<i64>,
    /// When it last took an event.
    last_sent: Option<Instant>,
}

pub(super) struct Sender<S> {
    store: S,
    name: String,
    sink: Arc<dyn AnySink>,
    settings: Settings,
    stop: watch::Receiver<bool>,
    standing: Standing,
    /// Leased and not begun: with these the next begin while the store is asked for more.
    next: VecDeque<Leased>,
    /// Each in a task of its own, which goes on while the store is slow.
    in_flight: JoinSet<Attempt>,
    /// What came of attempts, until the store has it.
    settled: Vec<Settled>,
    /// When the store was asked last for what is due.
    leased_at: Option<Instant>,
    /// When what failed is due again, as far as it is known here.
    due: BTreeSet<Instant>,
    /// The places of events that alone found the sink away between two that it took: the next time
    /// they are at fault themselves. Of a sink that comes and goes many find it away between.
    suspects: HashSet<i64>,
}

impl<S: Outbox> Sender<S> {
    pub(super) fn new(
        store: S,
        name: String,
        sink: Arc<dyn AnySink>,
        settings: Settings,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            name,
            sink,
            settings,
            stop,
            standing: Standing::default(),
            next: VecDeque::new(),
            in_flight: JoinSet::new(),
            settled: Vec::new(),
            leased_at: None,
            due: BTreeSet::new(),
            suspects: HashSet::new(),
        }
    }

    /// Sends until it is told to stop, and then ends what it is at.
    pub(super) async fn run(self, tidies: bool) {
        let tidying = tidies.then(|| tidy(self.store.clone(), self.settings.keep_sent, self.stop.clone()));
        let (tidying, name) = (OptionFuture::from(tidying), self.name.clone());
        if AssertUnwindSafe(join(self.send(), tidying)).catch_unwind().await.is_err() {
            tracing::error!(
                target: "atp_actix::relay", sink = name,
                "the relay panicked, and sends nothing more to this sink: start the program anew"
            );
        }
    }

    async fn send(mut self) {
        let mut hints = self.store.hints();
        let (mut is_stored, mut found) = (true, Ok(false));
        loop {
            self.standing.paused_until.take_if(|until| *until <= Instant::now());
            let is_stopping = *self.stop.borrow();
            if is_stopping {
                self.give_back("the relay stopped before it was sent");
            }
            // While the store is away what came of more could not be told.
            if is_stored && found.is_ok() {
                self.begin_next();
            }
            let may_lease = !is_stopping && is_stored;
            (is_stored, found) = self.settle_and_lease(may_lease).await;
            // What could not be told is sent again by whoever comes next.
            if is_stopping && self.in_flight.is_empty() && (self.settled.is_empty() || !is_stored) {
                return;
            }
            if is_stored && found == Ok(true) {
                // Those that were begun end meanwhile.
                yield_now().await;
                self.judge_ended();
                continue;
            }
            self.wait(&mut hints, is_stopping, is_stored && found.is_ok()).await;
        }
    }

    /// Waits for what may end, change or be due.
    async fn wait(&mut self, hints: &mut Hints, is_stopping: bool, is_store_there: bool) {
        let (now, is_full) = (Instant::now(), self.room() == 0);
        // What comes one by one is leased together, or those who decide wait for each lease.
        let rested = self.leased_at.map_or(now, |leased_at| leased_at + BETWEEN_LEASES);
        let polled = now + jittered(self.settings.poll);
        let until = match (self.standing.paused_until, self.due.first()) {
            _ if !is_store_there => now + AFTER_A_STORE_FAULT,
            // While it is left alone nothing is due.
            (Some(paused), _) => paused,
            (None, Some(due)) => polled.min((*due).max(rested)),
            (None, None) => polled,
        };
        let waits = is_store_there && !is_full && !is_stopping;
        let is_timed = waits || !is_store_there || self.standing.paused_until.is_some();
        select! {
            biased;
            Some(ended) = self.in_flight.join_next() => {
                self.judge(ended);
                // What ended at the same time is told to the store with it.
                self.judge_ended();
            }
            _ = self.stop.changed(), if !is_stopping => {}
            () = hints.next().then(|()| sleep_until(rested)), if waits => {}
            () = sleep_until(until), if is_timed => {}
        }
    }

    /// How many more may be leased now: as many as are sent at a time and as many again, which wait,
    /// once half of those are begun.
    fn room(&self) -> u32 {
        if self.standing.paused_until.is_some() {
            return 0;
        }
        let [next, in_flight] = [self.next.len(), self.in_flight.len()].map(saturated);
        let concurrency = self.settings.concurrency;
        // One finds out whether it is there again.
        let most = match self.standing.away {
            0 if next > concurrency / 2 => 0,
            0 => concurrency.saturating_mul(2),
            _ => 1,
        };
        most.saturating_sub(in_flight.saturating_add(next))
    }

    /// Begins what is leased, as far as there is room.
    fn begin_next(&mut self) {
        while saturated(self.in_flight.len()) < self.settings.concurrency
            && let Some(Leased { outgoing, at }) = self.next.pop_front()
        {
            // The store may have been silent since.
            if at.elapsed() + self.settings.send_within + ROOM_TO_SETTLE < self.settings.lease() {
                self.begin(outgoing);
            } else {
                let reason = "its lease ended before it was sent".to_owned();
                self.settled.push(faultless(&outgoing, Duration::ZERO, reason));
            }
        }
    }

    /// Begins nothing of what is leased: it is due again.
    fn give_back(&mut self, reason: &str) {
        let again = |Leased { outgoing, .. }| faultless(&outgoing, Duration::ZERO, reason.to_owned());
        self.settled.extend(self.next.drain(..).map(again));
    }

    /// Tells the store what came of attempts, and takes what is due, as far as there is room: whether
    /// the store knows all, and whether there may be more to take.
    async fn settle_and_lease(&mut self, may_lease: bool) -> (bool, Result<bool, ()>) {
        let room = if may_lease { self.room() } else { 0 };
        let now = Instant::now();
        if room > 0 {
            self.leased_at = Some(now);
            // What is due by now is found, or somebody else has it.
            self.due.retain(|due| *due > now);
        }
        // Where nothing is sent meanwhile the second finds what was behind what is told first, and
        // need not be asked again.
        let is_idle = self.in_flight.is_empty() && self.next.is_empty();
        let (settled, leased) = if is_idle {
            let settled = self.settle().await;
            // What is leased could not be begun.
            let leased = if settled.is_ok() { self.lease(room).await } else { Ok(Vec::new()) };
            (settled, leased)
        } else {
            join(self.settle(), self.lease(room)).await
        };
        // What was behind what is sent now may not have been there yet.
        let are_promoted = !self.settled.is_empty() && (!is_idle || room == 0);
        let is_stored = self.unless_away(settled).is_some();
        if is_stored {
            self.remember_settled();
        }
        let Some(leased) = self.unless_away(leased) else { return (is_stored, Err(())) };
        let is_some = !leased.is_empty();
        for outgoing in leased {
            if outgoing.failures >= self.settings.attempts {
                self.park(&outgoing, "its lease ended without a word: whoever sent it died".to_owned());
            } else {
                self.next.push_back(Leased { outgoing, at: now });
            }
        }
        let may_begin = is_stored && !*self.stop.borrow();
        if may_begin {
            self.begin_next();
        }
        (is_stored, Ok((is_some || are_promoted) && self.room() > 0))
    }

    async fn settle(&self) -> Result<usize, StoreError> {
        if self.settled.is_empty() { Ok(0) } else { self.store.settle(&self.name, &self.settled).await }
    }

    async fn lease(&self, room: u32) -> Result<Vec<Outgoing>, StoreError> {
        if room == 0 {
            return Ok(Vec::new());
        }
        self.store.lease(&self.name, room, self.settings.lease()).await
    }

    /// None if the store is away.
    fn unless_away<T>(&self, came: Result<T, StoreError>) -> Option<T> {
        came.inspect_err(|error| {
            tracing::warn!(target: "atp_actix::relay", sink = self.name, %error, "the store is away");
        })
        .ok()
    }

    /// What came of attempts is known to the store. What it does not know is told again: it is taken
    /// as long as nobody else has leased the event.
    fn remember_settled(&mut self) {
        let now = Instant::now();
        for settled in self.settled.drain(..) {
            if let SendEnd::Again { after, .. } = settled.end {
                self.due.insert(now + after);
            }
        }
        while self.due.len() > MOST_REMEMBERED {
            self.due.pop_last();
        }
    }

    fn begin(&mut self, outgoing: Outgoing) {
        let (sink, within) = (Arc::clone(&self.sink), self.settings.send_within);
        let span = tracing::info_span!(
            target: "atp_actix::relay",
            "send",
            sink = self.name,
            event = outgoing.event.id,
            kind = outgoing.event.kind,
            attempt = outgoing.attempt,
            traceparent = outgoing.event.traceparent,
        );
        #[cfg(feature = "metrics")]
        let name = self.name.clone();
        let attempt = async move {
            let began = Instant::now();
            // It may panic before it gives a future, too.
            let sending = AssertUnwindSafe(timeout(within, async { sink.send_boxed(&outgoing).await }));
            let sending = sending.catch_unwind().await;
            #[cfg(feature = "metrics")]
            apart(|| metrics::tell_of_sending(&name, began.elapsed()));
            let came_of_it = match sending {
                Ok(Ok(came_of_it)) => came_of_it,
                Ok(Err(_)) => Err(SendError::away(format!("no answer within {} ms", within.as_millis()))),
                Err(_) => Err(SendError::again("the sink panicked")),
            };
            Attempt { outgoing, began, came_of_it }
        };
        self.in_flight.spawn(attempt.instrument(span));
    }

    /// What ended by now.
    fn judge_ended(&mut self) {
        while let Some(ended) = self.in_flight.try_join_next() {
            self.judge(ended);
        }
    }

    /// What is to become of an event after an attempt.
    fn judge(&mut self, ended: Result<Attempt, JoinError>) {
        // Whatever a sink leaves behind may panic when it is dropped: its event comes again when its
        // lease has ended.
        let Ok(Attempt { outgoing, began, came_of_it }) = ended else {
            tracing::error!(target: "atp_actix::relay", sink = self.name, "the sink panicked when it was dropped");
            return;
        };
        let now = Instant::now();
        let is_suspect = self.suspects.remove(&outgoing.seq);
        let failures = outgoing.failures.saturating_add(1);
        let Err(error) = came_of_it else {
            if self.standing.away > 0 {
                tracing::info!(target: "atp_actix::relay", sink = self.name, "the sink is back");
            }
            let found_away = &self.standing.found_away;
            if found_away.len() == 1 {
                if self.suspects.len() >= MOST_REMEMBERED {
                    // Most of them another relay has: those of this one are found again.
                    self.suspects.clear();
                }
                self.suspects.extend(found_away);
            }
            self.standing = Standing { last_sent: Some(now), ..Standing::default() };
            self.count("sent");
            self.settled.push(Settled::new(&outgoing, SendEnd::Sent));
            return;
        };
        // Of a sink that takes others meanwhile it is the event that it does not take.
        let others_went = is_suspect || self.standing.last_sent.is_some_and(|sent| sent > began);
        let (asked, reason) = match error {
            SendError::Refused { reason } => return self.park(&outgoing, reason),
            SendError::Again { after, reason } => (after, reason),
            SendError::Away { after, reason } if others_went => (after, reason),
            SendError::Away { after, reason } => {
                if self.standing.found_away.len() < 2 {
                    self.standing.found_away.insert(outgoing.seq);
                }
                self.count("away");
                return self.leave_alone(&outgoing, after, reason);
            }
            SendError::Later { after, reason } => {
                self.count("later");
                let after = self.settings.pause.after(1, after);
                return self.settled.push(faultless(&outgoing, after, reason));
            }
            SendError::Gone { reason } => {
                tracing::error!(target: "atp_actix::relay", sink = self.name, reason, "the sink is gone for good");
                self.count("gone");
                return self.leave_alone(&outgoing, Some(self.settings.pause.longest), reason);
            }
        };
        if failures >= self.settings.attempts {
            return self.park(&outgoing, reason);
        }
        let (sink, event) = (&self.name, &outgoing.event.id);
        tracing::warn!(target: "atp_actix::relay", sink, event, failures, reason, "not sent, and tried again");
        self.count("again");
        let after = self.settings.backoff.after(failures, asked);
        self.settled.push(Settled::new(&outgoing, SendEnd::Again { after, is_own_fault: true, reason }));
    }

    fn park(&mut self, outgoing: &Outgoing, reason: String) {
        let (sink, event) = (&self.name, &outgoing.event.id);
        tracing::error!(
            target: "atp_actix::relay", sink, event, seq = outgoing.seq, attempt = outgoing.attempt, reason,
            "parked: `Outbox::release` sends it again"
        );
        self.count("parked");
        self.settled.push(Settled::new(outgoing, SendEnd::Parked { reason }));
    }

    /// Counts what became of an attempt.
    #[cfg(feature = "metrics")]
    fn count(&self, result: &'static str) {
        apart(|| metrics::tell_of_attempt(&self.name, result));
    }

    #[cfg(not(feature = "metrics"))]
    #[allow(clippy::unused_self, reason = "as with the feature `metrics`")]
    fn count(&self, _: &'static str) {}

    /// Nothing is sent for a while.
    fn leave_alone(&mut self, outgoing: &Outgoing, asked: Option<Duration>, reason: String) {
        let now = Instant::now();
        // All that was under way when it went away tells the same, once.
        if self.standing.paused_until.is_none() {
            if self.standing.away == 0 {
                tracing::warn!(target: "atp_actix::relay", sink = self.name, reason, "the sink is away");
            }
            self.standing.away = self.standing.away.saturating_add(1);
            self.standing.paused_until = Some(now + self.settings.pause.after(self.standing.away, asked));
        }
        let after =
            self.standing.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        // Nothing is leased here meanwhile, and it may be back sooner.
        self.give_back("the sink was away before it was sent");
        self.settled.push(faultless(outgoing, after, reason));
    }
}

/// It comes again after so long, which is no fault of it.
fn faultless(outgoing: &Outgoing, after: Duration, reason: String) -> Settled {
    Settled::new(outgoing, SendEnd::Again { after, is_own_fault: false, reason })
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Deletes what was sent long enough ago, now and then.
async fn tidy(store: impl Outbox, keep_sent: Duration, mut stop: watch::Receiver<bool>) {
    let tidying = async {
        loop {
            if let Err(error) = store.tidy(keep_sent).await {
                tracing::warn!(target: "atp_actix::relay", %error, "what was sent is not deleted yet");
            }
            sleep(BETWEEN_TIDYINGS).await;
        }
    };
    // It may have much to delete, and can be left off anywhere.
    select! {
        _ = stop.wait_for(|is_stopping| *is_stopping) => {}
        () = tidying => {}
    }
}
