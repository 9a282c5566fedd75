//! The ATP server as a sink.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use atp_core::StatusChange;
use tokio::time::Instant;

use super::sink::{SendError, Sink};
use crate::{
    backoff::Backoff,
    client::{Client, ClientError},
    limits::{FIRST_BACKOFF, LONGEST_PAUSE, MOST_UNBOUND, SINK_CALL_WITHIN},
    store::{Event, Outgoing, Store, StoreError},
};

/// Sends questions to an ATP server, and tells it which of them were taken back or handled: give it
/// to a [`Relay`](crate::Relay) under the name that [`Routes::server`](crate::store::Routes::server)
/// has.
///
/// ```
/// use atp_actix::{ApiKey, AtpSink, Client, Relay, store::{MemoryStore, Routes}};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new().routes(Routes::new().server("atp"));
/// let key = ApiKey::new("sk_0123456789abcdef")?; // ApiKey::from_env("ATP_API_KEY")
/// let client = Client::new("http://127.0.0.1:8080", key)?;
/// let relay = Relay::new(store.clone()).sink("atp", AtpSink::new(client, store)).start();
/// relay.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// # What becomes of an event
///
/// | the server | a question | a change of status |
/// |---|---|---|
/// | takes it | is sent; the id that the server chose is bound, if it chose one | is sent |
/// | answers a question that has an id with another id | is parked, with both | |
/// | takes it, and says no id | comes again, or is parked where it has no id of its own | is sent |
/// | 409 | is sent, since the server has it; is parked where it has no id of its own | is sent: the question is over |
/// | 404; 400 `INVALID_STATUS`; of `processed`, which the reference does not name, any 400 or 422 | | is sent: nothing is lost by it |
/// | 401, 403, a redirect; to a question 404 and 405 | waits with all others, since all would fail alike | waits with all others |
/// | 403 `SERVICE_NOT_OWNER`, `NOTIFICATION_ACCESS_DENIED`; any other 4xx | is parked with the server's code and message | is parked |
/// | 410 | waits with all others, and the log says so as an error | is sent |
/// | 429; or as much was sent as is allowed in a minute | comes again, without an attempt, while others go on | the same |
/// | 408, 425, 500 and above; no answer; no connection | waits with all others, as long as the server asks for | waits with all others |
///
/// The client's own tries and times to wait are not used: the relay has its own. The client waits
/// two seconds for a turn (none of [`for_services`](Self::for_services)) and seven for an answer, or less
/// where [`Client::call_within`] is, which is within the ten of [`Relay::send_within`](crate::Relay::send_within).
///
/// # Give a question an id of its own
///
/// Then the server knows it again however often it comes. One that the server names is asked at
/// least once, as all events are: the protocol has no key by which a server knows a call again, so
/// where the answer to a `POST` is lost, or the process ends before the id is bound, the question is
/// sent again and the server has two. While the store cannot take the id this sink keeps it in
/// memory, and binds it without another `POST`; what an earlier attempt has bound is not sent again.
pub struct AtpSink<S> {
    store: S,
    clients: Clients,
    /// Ids that the server gave, and the store has not: service, event, id.
    unbound: Mutex<VecDeque<(String, String, String)>>,
    /// Of several services those whose server is away.
    shut: Mutex<HashMap<String, Shut>>,
}

/// The client of a service.
type ClientOf = dyn Fn(&str) -> Option<Client> + Send + Sync;

enum Clients {
    One(Box<Client>),
    Several(Box<ClientOf>),
}

/// How often in a row a service's server was away, and until when it is left alone.
#[derive(Clone, Copy, PartialEq)]
struct Shut {
    failures: u32,
    until: Instant,
}

impl<S: Store> AtpSink<S> {
    /// Sends what is of any service of this store by this client.
    #[allow(clippy::needless_pass_by_value, reason = "a client is given to its sink; a clone shares it")]
    pub fn new(client: Client, store: S) -> Self {
        Self::with(Clients::One(Box::new(client.once())), store)
    }

    /// Sends what is of a service by the service's own client; what is of a service that has none is
    /// refused for good. The function is asked for each event: let it clone clients that were made
    /// before.
    ///
    /// One whose server is away or does not know its key waits alone, and not as an attempt.
    ///
    /// ```
    /// # use atp_actix::{ApiKey, AtpSink, Client, store::MemoryStore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// let acme = Client::new("http://127.0.0.1:8080", ApiKey::new("sk_acme")?)?;
    /// let globex = Client::new("http://127.0.0.1:8080", ApiKey::new("sk_globex")?)?;
    /// let sink = AtpSink::for_services(
    ///     move |service| match service {
    ///         "acme" => Some(acme.clone()),
    ///         "globex" => Some(globex.clone()),
    ///         _ => None,
    ///     },
    ///     store,
    /// );
    /// # drop(sink);
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_services(clients: impl Fn(&str) -> Option<Client> + Send + Sync + 'static, store: S) -> Self {
        Self::with(Clients::Several(Box::new(clients)), store)
    }

    fn with(clients: Clients, store: S) -> Self {
        Self { store, clients, unbound: Mutex::default(), shut: Mutex::default() }
    }

    async fn send_by(&self, server: &Server<'_>, event: &Event) -> Result<(), SendError> {
        match &*event.kind {
            Event::QUESTION => self.ask(server, event).await,
            Event::STATUS => tell(server, event).await,
            kind => {
                let reason =
                    format!("it is of the kind {kind:?}, and an ATP server takes questions and changes");
                Err(SendError::refused(reason))
            }
        }
    }

    async fn ask(&self, server: &Server<'_>, event: &Event) -> Result<(), SendError> {
        #[derive(serde::Deserialize)]
        struct Asked {
            id: Option<String>,
        }
        let asked = serde_json::from_str(&event.data);
        let Asked { id } = asked.map_err(|_| SendError::refused("its data is no question"))?;
        let Some(id) = id else { return self.ask_unnamed(server, event).await };
        match server.notify(&event.data, true).await {
            Ok(same) if same == id => Ok(()),
            Ok(other) => {
                let (id, other) = (short(&id), short(&other));
                let reason = format!(
                    "it is the question {id:?}, and the ATP server calls it {other:?}: its answers would not be known"
                );
                Err(SendError::refused(reason))
            }
            // It came before.
            Err(ClientError::Server { status: 409, .. }) => Ok(()),
            Err(error) => Err(not_asked(&error)),
        }
    }

    /// Asks what the server is to name.
    async fn ask_unnamed(&self, server: &Server<'_>, event: &Event) -> Result<(), SendError> {
        let Some(key) = &event.subject else {
            return Err(SendError::refused("the question has neither an id nor a key"));
        };
        let Some(id) = self.unbound_or_new(server, event, key).await? else { return Ok(()) };
        match self.store.bind(&event.service, key, &id).await {
            Ok(()) => {
                self.forget_unbound(event);
                Ok(())
            }
            Err(error) => {
                let error = store_fault(&format!("the ATP server has it as {:?}: ", short(&id)), &error);
                if matches!(error, SendError::Refused { .. }) {
                    self.forget_unbound(event);
                }
                Err(error)
            }
        }
    }

    /// The server's id of a question that it is to name; none where it is bound already, by an attempt
    /// of which the relay has not heard.
    async fn unbound_or_new(
        &self,
        server: &Server<'_>,
        event: &Event,
        key: &str,
    ) -> Result<Option<String>, SendError> {
        if let Some(id) = self.unbound_id(event) {
            return Ok(Some(id));
        }
        let known = self.store.find_by_key(&event.service, key).await;
        let known = known.map_err(|error| store_fault("", &error))?;
        let Some(question) = known.question else {
            return Err(store_fault("", &StoreError::NotRecorded(key.to_owned())));
        };
        if question.notification.id.is_some() {
            return Ok(None);
        }
        let id = server.notify(&event.data, false).await.map_err(|error| match error {
            // Sent again the server would have it twice.
            ClientError::Garbled { .. } => {
                SendError::refused(format!("{error}: so the id of the question is not known"))
            }
            error => not_asked(&error),
        })?;
        self.keep_unbound(event, &id);
        Ok(Some(id))
    }

    fn unbound(&self) -> MutexGuard<'_, VecDeque<(String, String, String)>> {
        // Nothing panics while it is held.
        self.unbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unbound_id(&self, event: &Event) -> Option<String> {
        let unbound = self.unbound();
        let mut of_event =
            unbound.iter().filter(|(service, id, _)| *service == event.service && *id == event.id);
        of_event.next().map(|(_, _, id)| id.clone())
    }

    fn keep_unbound(&self, event: &Event, id: &str) {
        let mut unbound = self.unbound();
        if unbound.len() >= MOST_UNBOUND {
            unbound.pop_front();
        }
        unbound.push_back((event.service.clone(), event.id.clone(), id.to_owned()));
    }

    fn forget_unbound(&self, event: &Event) {
        self.unbound().retain(|(service, id, _)| *service != event.service || *id != event.id);
    }

    fn shut(&self) -> MutexGuard<'_, HashMap<String, Shut>> {
        // Nothing panics while it is held.
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a service's server is left alone, or for how long. Where it was, and is no more, one
    /// finds out whether it is there again, and the others wait for that.
    fn try_again(&self, service: &str) -> Result<Option<Shut>, Duration> {
        let (mut shut, now) = (self.shut(), Instant::now());
        let Some(shut) = shut.get_mut(service) else { return Ok(None) };
        if let Some(left) = shut.until.checked_duration_since(now) {
            return Err(left);
        }
        shut.until = now + SINK_CALL_WITHIN;
        Ok(Some(*shut))
    }

    /// A service whose server was heard is left alone no more. Of one that was not called nothing is
    /// known, and the next finds out.
    fn open(&self, service: &str, began: Option<Shut>, is_heard: bool) {
        let mut shut = self.shut();
        if is_heard {
            shut.remove(service);
        } else if let Some(shut) = shut.get_mut(service).filter(|shut| Some(**shut) == began) {
            shut.until = Instant::now();
        }
    }

    /// What is said of one service of several whose server is away: nothing of the others. With it
    /// goes how it stood when the call began.
    fn leave_alone(
        &self,
        service: &str,
        began: Option<Shut>,
        asked: Option<Duration>,
        reason: String,
    ) -> SendError {
        const PAUSE: Backoff = Backoff { first: FIRST_BACKOFF, longest: LONGEST_PAUSE };
        let (mut shut, now) = (self.shut(), Instant::now());
        let before = shut.get(service).copied();
        let now_shut = match before {
            // All that was under way when it went away tells the same, once.
            Some(since) if before != began => since,
            _ => {
                if before.is_none() {
                    tracing::warn!(target: "atp_actix::relay", service, reason, "the ATP server of a service is away");
                }
                let failures = before.map_or(1, |before| before.failures.saturating_add(1));
                Shut { failures, until: now + PAUSE.after(failures, asked) }
            }
        };
        shut.insert(service.to_owned(), now_shut);
        SendError::later(reason).after(now_shut.until.saturating_duration_since(now))
    }
}

impl<S: Store> Sink for AtpSink<S> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let event = &outgoing.event;
        let clients = match &self.clients {
            Clients::One(client) => return self.send_by(&Server::by(client), event).await,
            Clients::Several(clients) => clients,
        };
        let service = &*event.service;
        let Some(client) = clients(service) else {
            let reason = format!(
                "no client sends what is of the service {service:?}: give `AtpSink::for_services` one"
            );
            return Err(SendError::refused(reason));
        };
        let began = self
            .try_again(service)
            .map_err(|left| SendError::later("the ATP server of its service is away").after(left))?;
        // Nobody's turn holds up the other services.
        let client = client.once().turn_within(Duration::ZERO);
        let server = Server::by(&client);
        match self.send_by(&server, event).await {
            Err(SendError::Away { after, reason }) => Err(self.leave_alone(service, began, after, reason)),
            Err(SendError::Gone { reason }) => {
                tracing::error!(target: "atp_actix::relay", service, reason, "the ATP server of a service is gone for good");
                Err(self.leave_alone(service, began, Some(LONGEST_PAUSE), reason))
            }
            said => {
                self.open(service, began, server.is_heard.into_inner());
                said
            }
        }
    }
}

/// A server that is called for one event.
struct Server<'a> {
    client: &'a Client,
    /// Whether it has answered, whatever it said.
    is_heard: AtomicBool,
}

impl<'a> Server<'a> {
    fn by(client: &'a Client) -> Self {
        Self { client, is_heard: AtomicBool::new(false) }
    }

    async fn notify(&self, question: &str, is_named: bool) -> Result<String, ClientError> {
        self.noting(self.client.notify_frozen(question, is_named).await)
    }

    async fn change_status(&self, id: &str, change: &str) -> Result<(), ClientError> {
        self.noting(self.client.change_status_frozen(id, change).await)
    }

    fn noting<T>(&self, called: Result<T, ClientError>) -> Result<T, ClientError> {
        if matches!(called, Ok(_) | Err(ClientError::Server { .. } | ClientError::Garbled { .. })) {
            self.is_heard.store(true, Ordering::Relaxed);
        }
        called
    }
}

/// Tells what became of a question.
async fn tell(server: &Server<'_>, event: &Event) -> Result<(), SendError> {
    let Some(id) = &event.subject else {
        return Err(SendError::refused("it is the change of no question"));
    };
    let change = serde_json::from_str(&event.data);
    let StatusChange { status, .. } =
        change.map_err(|_| SendError::refused("its data is no change of status"))?;
    let Err(error) = server.change_status(id, &event.data).await else { return Ok(()) };
    let is_processed = status == StatusChange::processed().status;
    let is_harmless = match error.get_status() {
        Some(404 | 409 | 410) => true,
        Some(400) => is_processed || error.get_code() == Some("INVALID_STATUS"),
        Some(422) => is_processed,
        _ => false,
    };
    if is_harmless {
        tracing::info!(target: "atp_actix::relay", notification = id, status, %error, "not wanted by the ATP server, which does no harm");
        return Ok(());
    }
    Err(not_taken(&error))
}

/// What becomes of a question after an error.
fn not_asked(error: &ClientError) -> SendError {
    match error.get_status() {
        // There are no notifications at this address.
        Some(404 | 405) => SendError::away(error.to_string()),
        Some(410) => SendError::gone(error.to_string()),
        _ => not_taken(error),
    }
}

/// What becomes of an event after an error.
fn not_taken(error: &ClientError) -> SendError {
    let (reason, after) = (error.to_string(), error.get_retry_after());
    match error {
        ClientError::NotItsTurn { .. } | ClientError::Server { status: 429, .. } => {
            SendError::later(reason).after(after)
        }
        ClientError::Garbled { .. } => SendError::again(reason),
        ClientError::Tls(_) => SendError::away(reason),
        ClientError::Server { status: 403, .. }
            if matches!(error.get_code(), Some("SERVICE_NOT_OWNER" | "NOTIFICATION_ACCESS_DENIED")) =>
        {
            SendError::refused(reason)
        }
        ClientError::Server { status: 300..=399 | 401 | 403, .. } => SendError::away(reason).after(after),
        _ if error.is_temporary() => SendError::away(reason).after(after),
        _ => SendError::refused(reason),
    }
}

/// What becomes of a question after the store has failed: none of it is the question's fault.
fn store_fault(before: &str, error: &StoreError) -> SendError {
    let reason = format!("{before}{error}");
    match error {
        StoreError::NotRecorded(_) | StoreError::AlreadyRecorded(_) | StoreError::TooLong { .. } => {
            SendError::refused(reason)
        }
        _ => SendError::later(reason),
    }
}

/// An id as it may stand in a reason beside another.
fn short(id: &str) -> &str {
    id.get(..id.floor_char_boundary(100)).unwrap_or_default()
}
