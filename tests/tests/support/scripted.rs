//! A sink that does what a test says, and a store in memory that goes by tokio's clock, which a test
//! may pause.

use std::{
    future::{self, Future},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atp_actix::{
    SendError, Sink,
    store::{Event, MemoryStore, Outbox, Outgoing, Routes},
};
use chrono::{TimeDelta, Utc};
use tokio::time::{Instant, sleep};

/// What a sink does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Take,
    TakeAfter(Duration),
    Fail,
    FailFor(Duration),
    Refuse,
    LaterFor(Duration),
    Away,
    AwayFor(Duration),
    Gone,
    Hang,
    Panic,
    /// Before there is a future.
    PanicAtOnce,
}

/// One call of a sink.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) id: String,
    pub(crate) data: String,
    pub(crate) does: Does,
}

type Script = dyn Fn(&Outgoing) -> Does + Send + Sync;

#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Outgoing) -> Does + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), calls: Arc::default() }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("nobody panicked").clone()
    }

    /// The calls for one event.
    pub(crate) fn calls_of(&self, id: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.id == id).collect()
    }

    /// The ids of what it took, in that order.
    pub(crate) fn taken(&self) -> Vec<String> {
        let taken = |call: &Call| matches!(call.does, Does::Take | Does::TakeAfter(_));
        self.calls().into_iter().filter(taken).map(|call| call.id).collect()
    }
}

impl Sink for Scripted {
    fn send(&self, outgoing: &Outgoing) -> impl Future<Output = Result<(), SendError>> + Send {
        let does = (self.script)(outgoing);
        let event = &outgoing.event;
        self.calls.lock().expect("nobody panicked").push(Call {
            at: Instant::now(),
            id: event.id.clone(),
            data: event.data.clone(),
            does,
        });
        assert!(does != Does::PanicAtOnce, "a sink that panics before it gives a future");
        async move {
            match does {
                Does::Take => Ok(()),
                Does::TakeAfter(time) => {
                    sleep(time).await;
                    Ok(())
                }
                Does::Fail => Err(SendError::again("not now")),
                Does::FailFor(time) => Err(SendError::again("not now").after(time)),
                Does::Refuse => Err(SendError::refused("never")),
                Does::LaterFor(time) => Err(SendError::later("not its turn").after(time)),
                Does::Away => Err(SendError::away("nobody there")),
                Does::AwayFor(time) => Err(SendError::away("nobody there").after(time)),
                Does::Gone => Err(SendError::gone("gone")),
                Does::Hang => future::pending().await,
                Does::Panic | Does::PanicAtOnce => panic!("a sink that panics"),
            }
        }
    }
}

/// A store in memory that goes by tokio's clock, and how often it asked for the time: each call of
/// it asks once.
pub(crate) fn store_by_tokio(routes: Routes) -> (MemoryStore, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (began, time, counted) = (Instant::now(), Utc::now(), Arc::clone(&asked));
    let store = MemoryStore::new().routes(routes).clock(move || {
        // Under a paused clock whoever asks without an end would stop the time for all.
        assert!(counted.fetch_add(1, Ordering::Relaxed) < 1_000_000, "somebody asks without an end");
        time + TimeDelta::from_std(began.elapsed()).expect("a time")
    });
    (store, asked)
}

pub(crate) fn event(id: impl Into<String>, subject: &str) -> Event {
    let id = id.into();
    Event::new("test", &id).expect("JSON").id(id).subject(subject)
}

/// Whoever finds the store away comes again.
pub(crate) async fn emit(store: &impl Outbox, id: impl Into<String>, subject: &str) {
    let (event, mut failed) = (event(id, subject), false);
    loop {
        match store.emit(&event).await {
            // One that failed may have been written all the same.
            Ok(is_new) => return assert!(is_new || failed, "{event:?} is new"),
            Err(error) => println!("{} is written later: {error}", event.id),
        }
        failed = true;
        sleep(Duration::from_millis(100)).await;
    }
}

/// So many, each about a subject of its own: `s-0.1`, `s-1.1` and so on.
pub(crate) async fn emit_apart(store: &impl Outbox, count: u32) {
    for nth in 0..count {
        emit(store, format!("s-{nth}.1"), &format!("s-{nth}")).await;
    }
}

/// How much waits for a sink, and how much is parked there.
pub(crate) async fn waiting(store: &impl Outbox, sink: &str) -> (u64, u64) {
    loop {
        if let Ok(lags) = store.lag().await {
            return lags.iter().find(|lag| lag.sink == sink).map_or((0, 0), |lag| (lag.waiting, lag.parked));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Until it is so, or the test fails.
pub(crate) async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + patience;
    while !is_so().await {
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        sleep(patience / 1000).await;
    }
}
