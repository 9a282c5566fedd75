//! Sends what the store holds to the sinks that are to have it.

#[cfg(feature = "client")]
mod atp;
#[cfg(feature = "metrics")]
mod backlog;
mod channel;
#[cfg(any(feature = "nats", feature = "outbox-http"))]
mod cloud_event;
#[cfg(feature = "outbox-http")]
mod http;
#[cfg(feature = "nats")]
mod nats;
mod sender;
mod sink;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use self::{
    sender::{Sender, Settings},
    sink::AnySink,
};
use crate::{
    backoff::Backoff,
    limits::{
        DEFAULT_ATTEMPTS, DEFAULT_CONCURRENCY, DEFAULT_KEEP_SENT, DEFAULT_POLL, DEFAULT_SEND_WITHIN,
        FIRST_BACKOFF, LONGEST_PAUSE, LONGEST_POLL, LONGEST_SEND, SHORTEST_POLL, USUAL_LONGEST_BACKOFF,
    },
    store::Outbox,
};

#[cfg(feature = "client")]
pub use self::atp::AtpSink;
#[cfg(feature = "outbox-http")]
pub use self::http::{HttpSink, HttpSinkError};
#[cfg(feature = "nats")]
pub use self::nats::{NatsSink, NatsSubjectError};
pub use self::{
    channel::{ChannelReceiver, ChannelSink, Received},
    sink::{SendError, Sink},
};

/// Sends what a store holds to its sinks: each event to each of its sinks at least once, under one
/// id and with the same bytes.
///
/// Beside the webhook, or in a process of its own on the same database, with the same names of sinks
/// (routes are for those who write, so a store that only sends has none); any number of relays share
/// the work. Stop a relay before its store is closed. An event is written in the transaction of its
/// cause, so none is lost, and none is sent of what was rolled back.
///
/// ```
/// use atp_actix::{
///     Relay, SendError, Sink,
///     store::{Event, MemoryStore, Outbox, Outgoing, Routes},
/// };
///
/// struct Log;
///
/// impl Sink for Log {
///     async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
///         println!("{} {}", outgoing.event.id, outgoing.event.data);
///         Ok(())
///     }
/// }
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new().routes(Routes::new().events("log"));
/// let relay = Relay::new(store.clone()).sink("log", Log).start();
/// store.emit(&Event::new("orders.shipped", 7)?).await?;
/// while !store.lag().await?.is_empty() {
///     tokio::time::sleep(std::time::Duration::from_millis(5)).await;
/// }
/// relay.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// # What becomes of an event
///
/// | a sink says | the event | the others for this sink |
/// |---|---|---|
/// | `Ok` | is sent | go on |
/// | [`SendError::Again`], or it panics | comes again after 1 s, twice as long each time, up to 10 min, or when the receiver asks for it if that is later; parked after 20 attempts | those of its subject wait |
/// | [`SendError::Later`] | comes again after 1 s or when the sink says; this is no attempt | those of its subject wait |
/// | [`SendError::Refused`] | is parked at once | those of its subject wait |
/// | [`SendError::Away`], or no answer within 10 s | comes again; this is no attempt, unless others got through meanwhile, or before and after it and it alone did not | wait, for 1 s at first and 1 min at most, or as long as the receiver asks, up to 6 h; then one is tried, and if that finds it away too they wait again |
/// | [`SendError::Gone`] | the same | wait for 1 min, and the log says so as an error |
/// | nothing, since the process died that sent it, or had leased it ahead | comes again when its lease has ended, which is an attempt | those of its subject wait |
///
/// What is parked waits for [`Outbox::release`] or [`Outbox::forget`]; [`Outbox::parked`] lists it,
/// and [`Outbox::lag`] counts what waits. A store that is away costs no attempt, but for what was under
/// way or leased ahead then: of what is not heard before its lease ends nobody knows whether it was
/// sent.
///
/// # Order
///
/// Events of one service about the same subject reach a sink in the order in which they were
/// written, where one was committed before the other was written, unless one of them is sent again
/// because a relay died or was overtaken; across subjects nothing is promised.
#[must_use = "a relay sends once it is started"]
pub struct Relay<S> {
    store: S,
    sinks: Vec<(String, Arc<dyn AnySink>)>,
    settings: Settings,
}

impl<S: Outbox> Relay<S> {
    /// A relay of what this store holds, with no sink yet.
    pub fn new(store: S) -> Self {
        let settings = Settings {
            concurrency: DEFAULT_CONCURRENCY,
            send_within: DEFAULT_SEND_WITHIN,
            poll: DEFAULT_POLL,
            attempts: DEFAULT_ATTEMPTS,
            backoff: Backoff { first: FIRST_BACKOFF, longest: USUAL_LONGEST_BACKOFF },
            pause: Backoff { first: FIRST_BACKOFF, longest: LONGEST_PAUSE },
            keep_sent: DEFAULT_KEEP_SENT,
        };
        Self { store, sinks: Vec::new(), settings }
    }

    /// Sends what is for this name, as the store's [`Routes`](crate::store::Routes) and events have
    /// it, to this sink.
    ///
    /// # Panics
    /// If the name has a sink already.
    pub fn sink(mut self, name: impl Into<String>, sink: impl Sink) -> Self {
        let name = name.into();
        let is_free = self.sinks.iter().all(|(other, _)| *other != name);
        assert!(is_free, "a second sink named {name:?}: each name has one");
        self.sinks.push((name, Arc::new(sink)));
        self
    }

    /// Sets how many events are sent to a sink at a time; [`DEFAULT_CONCURRENCY`] unless set. As many
    /// more are leased ahead, so that they begin while the store is asked for those behind them. No
    /// other relay sends them meanwhile; they go back to the store when the sink is away or the relay
    /// stops.
    pub fn concurrency(mut self, sends: u32) -> Self {
        self.settings.concurrency = sends.max(1);
        self
    }

    /// Sets how long a sink may take for one event; [`DEFAULT_SEND_WITHIN`] unless set,
    /// [`LONGEST_SEND`] at most.
    pub fn send_within(mut self, time: Duration) -> Self {
        self.settings.send_within = time.min(LONGEST_SEND);
        self
    }

    /// Sets how often the store is asked where nobody says that there is something to send;
    /// [`DEFAULT_POLL`] unless set, 10 ms at least and an hour at most. What another process writes
    /// is found no later than this; so is what is leased by one that died, once its lease has ended,
    /// and what another relay leaves when it stops.
    pub fn poll(mut self, time: Duration) -> Self {
        self.settings.poll = time.clamp(SHORTEST_POLL, LONGEST_POLL);
        self
    }

    /// Sets after how many attempts an event is parked; [`DEFAULT_ATTEMPTS`] unless set.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Sets how long an event waits after its first failure, and at most; 1 s and 10 min unless
    /// set, 10 ms at least.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.backoff = at_least_a_moment(first, longest);
        self
    }

    /// Sets how long a sink that is away is left alone at first, and at most where its receiver does
    /// not ask for longer; 1 s and 1 min unless set, 10 ms at least.
    pub fn pause(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.pause = at_least_a_moment(first, longest);
        self
    }

    /// Sets how long an event stays in the store, from when it was written, though it was sent to all;
    /// [`DEFAULT_KEEP_SENT`] unless set. As long an event of the service's own is known by its id
    /// and not written a second time.
    pub fn keep_sent(mut self, time: Duration) -> Self {
        self.settings.keep_sent = time;
        self
    }

    /// Starts to send, in tasks of the runtime that it is called in, one for each sink.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> RunningRelay {
        self.tell_of_names();
        let stop = watch::Sender::new(false);
        #[cfg(feature = "metrics")]
        let telling = {
            crate::metrics::describe();
            let names = self.sinks.iter().map(|(name, _)| name.clone()).collect();
            tokio::spawn(backlog::tell(self.store.clone(), names, stop.subscribe()))
        };
        let tasks = self.sinks.into_iter().enumerate().map(|(nth, (name, sink))| {
            let sender = Sender::new(self.store.clone(), name, sink, self.settings, stop.subscribe());
            // One of them looks after what was sent.
            tokio::spawn(sender.run(nth == 0))
        });
        let tasks = tasks.collect::<Vec<_>>();
        #[cfg(feature = "metrics")]
        let tasks = tasks.into_iter().chain([telling]).collect();
        RunningRelay { tasks, stop }
    }
}

/// Without a wait a relay would never rest.
fn at_least_a_moment(first: Duration, longest: Duration) -> Backoff {
    Backoff { first: first.max(SHORTEST_POLL), longest: longest.max(SHORTEST_POLL) }
}

impl<S: Outbox> Relay<S> {
    /// A name that is written wrongly fits nowhere, and nothing would say so.
    fn tell_of_names(&self) {
        let routes = self.store.get_routes();
        let named = routes.get_events().iter().map(String::as_str).chain(routes.get_server());
        let named: Vec<&str> = named.collect();
        let here: Vec<&str> = self.sinks.iter().map(|(name, _)| &**name).collect();
        let elsewhere: Vec<&&str> = named.iter().filter(|name| !here.contains(name)).collect();
        let unnamed: Vec<&&str> = here.iter().filter(|name| !named.contains(name)).collect();
        if !elsewhere.is_empty() {
            tracing::info!(
                target: "atp_actix::relay", sinks = ?elsewhere,
                "the store's routes name sinks that this relay does not have: what is for them waits for another"
            );
        }
        if !unnamed.is_empty() {
            tracing::info!(
                target: "atp_actix::relay", sinks = ?unnamed,
                "this store's routes do not name these sinks: they get what other processes route to them, and events that name them"
            );
        }
    }
}

impl<S> fmt::Debug for Relay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.sinks.iter().map(|(name, _)| name).collect();
        f.debug_struct("Relay")
            .field("sinks", &names)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A relay that sends. Dropped, it begins nothing new, and what it is at ends by itself.
#[must_use = "dropped, it stops"]
#[derive(Debug)]
pub struct RunningRelay {
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl RunningRelay {
    /// Begins nothing new, and waits for what is being sent. The rest stays in the store.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // One that panicked has nothing more to end.
            let _ = task.await;
        }
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
