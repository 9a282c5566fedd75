//! What a service says to its ATP server.
//!
//! A [`Client`] sends questions and tells what became of them. With an outbox a service calls none of
//! its methods: [`AtpSink`](crate::AtpSink) does, for each question that is recorded.
//!
//! ```
//! use atp_actix::{ApiKey, Client, ClientError, atp_core::{Action, Notification, StatusChange}};
//!
//! async fn ask(client: &Client) -> Result<(), ClientError> {
//!     let question = Notification::new("Deploy?", "Version 2.1.0 is ready.")
//!         .id("550e8400-e29b-41d4-a716-446655440000")
//!         .action(Action::simple("approve", "Approve"));
//!     let created = client.notify(&question).await?;
//!     let superseded = StatusChange::invalidated("superseded by 2.1.1");
//!     match client.change_status(&created.notification_id, &superseded).await {
//!         Err(error) if error.get_code() == Some("NOTIFICATION_ALREADY_RESPONDED") => Ok(()),
//!         changed => changed.map(drop),
//!     }
//! }
//!
//! let key = ApiKey::new("sk_0123456789abcdef")?; // ApiKey::from_env("ATP_API_KEY")
//! let client = Client::new("http://127.0.0.1:8080", key)?;
//! # drop(ask(&client));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod error;
mod key;
mod pace;
mod transport;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use atp_core::{
    Notification, NotificationCreated, ServerError, ServiceRegistered, ServiceRegistration, StatusChange,
    StatusChanged,
};
use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use self::{address::Address, pace::Pace, transport::Transport};
use crate::{
    backoff::Backoff,
    limits::{
        CALLS_COME_BACK_AFTER, DEFAULT_CALL_WITHIN, DEFAULT_CONNECT_WITHIN, DEFAULT_NOTIFICATIONS_A_MINUTE,
        DEFAULT_RETRY_WITHIN, DEFAULT_STATUS_CHANGES_A_MINUTE, DEFAULT_TRIES, FIRST_RETRY,
        LONGEST_CALL_ANSWER, LONGEST_RETRY, SINK_CALL_WITHIN, SINK_TURN_WITHIN,
    },
    retry_after::retry_after,
};

pub use self::{
    error::ClientError,
    key::{ApiKey, ApiKeyError},
};

/// The calls of a service to its ATP server. Clones share the connections and what may be sent in a
/// minute: make one for each service, and clone it.
///
/// # What is tried again
///
/// | | a notification with an id of yours, a change of status | a notification without one, a registration |
/// |---|---|---|
/// | no connection; 408, 425, 429; 503 with `Retry-After` | yes | yes |
/// | no answer in time, or a connection that broke; 500 and above | yes | no: the server may have taken it, and would take it twice |
/// | any other status, redirects included | no | no |
///
/// It waits half a second at first and twice as long each time, up to ten, of each between half and
/// the whole; or as long as `Retry-After` says, if that is longer. Where that would be after
/// [`Client::retry_within`] the error comes at once, with that time in it.
///
/// The protocol has no key by which a server knows a call again. So give a notification an id of its
/// own: with it a call that is made twice is one notification.
///
/// # What it may send
///
/// As much in any minute as the protocol allows a service, and then a call waits for its turn; and
/// after a 429 with `Retry-After` no call of that kind goes out before the time, for a minute at
/// most. This is counted in this process: several of them share one limit of the server's.
///
/// # Where it goes
///
/// To a server whose certificate the system trusts, with TLS by rustls; by a proxy if the
/// environment names one for it. No redirect is followed, so a key does not leave its server, and
/// no more of an answer is read than 64 KiB.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    key: ApiKey,
    transport: Transport,
    notifications: Arc<Pace>,
    status_changes: Arc<Pace>,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    call_within: Duration,
    tries: u32,
    retry_within: Duration,
    turn_within: Option<Duration>,
    backoff: Backoff,
}

/// One call, which may be tried several times.
struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    body: String,
    key: &'a ApiKey,
    pace: Option<&'a Pace>,
    /// Whether a server that has it knows it again.
    is_known_again: bool,
}

const NOTIFICATIONS: [&str; 3] = ["api", "v1", "notifications"];

impl Client {
    /// A client of the ATP server at this URL, that shows this key. The URL may have a path, to which
    /// `/api/v1/..` is added.
    ///
    /// # Errors
    /// [`ClientError::Address`] unless it begins with `https://`, or names this machine by
    /// `localhost` or a loopback address; and if it has a user, a password, or something behind its
    /// path. [`ClientError::Tls`] where the system's certificates cannot be read.
    pub fn new(url: &str, key: ApiKey) -> Result<Self, ClientError> {
        let address = Address::new(url)?;
        let transport = Transport::new(address.is_https, DEFAULT_CONNECT_WITHIN)?;
        let settings = Settings {
            call_within: DEFAULT_CALL_WITHIN,
            tries: DEFAULT_TRIES,
            retry_within: DEFAULT_RETRY_WITHIN,
            turn_within: None,
            backoff: Backoff { first: FIRST_RETRY, longest: LONGEST_RETRY },
        };
        let notifications = Arc::new(Pace::new(DEFAULT_NOTIFICATIONS_A_MINUTE));
        let status_changes = Arc::new(Pace::new(DEFAULT_STATUS_CHANGES_A_MINUTE));
        Ok(Self { address, key, transport, notifications, status_changes, settings })
    }

    /// Sets how long connecting may take, TLS included; [`DEFAULT_CONNECT_WITHIN`] unless set. The
    /// clones made before keep theirs, and their connections.
    #[must_use]
    pub fn connect_within(mut self, time: Duration) -> Self {
        self.transport = self.transport.connect_within(time);
        self
    }

    /// Sets how long one try may take, connecting included; [`DEFAULT_CALL_WITHIN`] unless set.
    #[must_use]
    pub fn call_within(mut self, time: Duration) -> Self {
        self.settings.call_within = time;
        self
    }

    /// Sets how often a call is tried at most; [`DEFAULT_TRIES`] unless set, once at least.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.settings.tries = tries.max(1);
        self
    }

    /// Sets how long after the first try the last may begin; [`DEFAULT_RETRY_WITHIN`] unless set.
    #[must_use]
    pub fn retry_within(mut self, time: Duration) -> Self {
        self.settings.retry_within = time;
        self
    }

    /// Sets how long a call waits before it is tried again, at first and at most; half a second and
    /// ten unless set.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.backoff = Backoff { first, longest };
        self
    }

    /// Sets how long a try waits for its turn where as much was sent as is allowed in a minute, before
    /// it is [`ClientError::NotItsTurn`]; for ever unless set.
    #[must_use]
    pub fn turn_within(mut self, time: Duration) -> Self {
        self.settings.turn_within = Some(time);
        self
    }

    /// Sets how many notifications may be sent in a minute; [`DEFAULT_NOTIFICATIONS_A_MINUTE`] unless
    /// set, one at least. The clones made before count apart.
    #[must_use]
    pub fn notifications_a_minute(mut self, most: u32) -> Self {
        self.notifications = Arc::new(Pace::new(most));
        self
    }

    /// Sets how many changes of status may be sent in a minute; [`DEFAULT_STATUS_CHANGES_A_MINUTE`]
    /// unless set, one at least. The clones made before count apart.
    #[must_use]
    pub fn status_changes_a_minute(mut self, most: u32) -> Self {
        self.status_changes = Arc::new(Pace::new(most));
        self
    }

    /// Sends a question. A service that records its questions in a store does so before.
    ///
    /// # Errors
    /// [`ClientError::Question`] if nobody could answer it. A server that has the question already,
    /// under an id of yours, answers 409: so may one that took an earlier try whose answer was lost.
    pub async fn notify(&self, notification: &Notification) -> Result<NotificationCreated, ClientError> {
        notification.check()?;
        let body = serde_json::to_string(notification)?;
        read(&self.call(self.notification(body, notification.id.is_some())).await?)
    }

    /// Takes a question back, or says that its answer was handled. A server whose answer to that has
    /// no body is taken at its word.
    ///
    /// # Errors
    /// [`ClientError::Id`] if no address names the notification: of all texts these are the empty
    /// one, `.` and `..`. A server that refuses the change answers 400 `INVALID_STATUS` or 409.
    pub async fn change_status(
        &self,
        notification_id: &str,
        change: &StatusChange,
    ) -> Result<StatusChanged, ClientError> {
        let body = serde_json::to_string(change)?;
        let answer = self.call_status(notification_id, body).await?;
        if answer.body.is_empty() {
            return Ok(StatusChanged::new(notification_id, &change.status));
        }
        read(&answer)
    }

    /// Registers a service, as an administrator with this token. The answer has the key of the new
    /// service.
    pub async fn register_service(
        &self,
        registration: &ServiceRegistration,
        admin: &ApiKey,
    ) -> Result<ServiceRegistered, ClientError> {
        let body = serde_json::to_string(registration)?;
        let path = &["api", "v1", "services"];
        let call = Call { method: Method::POST, path, body, key: admin, pace: None, is_known_again: false };
        read(&self.call(call).await?)
    }

    /// The same client as a relay uses it, which tries again itself and has its own time for a call.
    pub(crate) fn once(&self) -> Self {
        let call_within = self.settings.call_within.min(SINK_CALL_WITHIN);
        self.clone().tries(1).turn_within(SINK_TURN_WITHIN).call_within(call_within)
    }

    /// Sends a question as it was frozen; the server's id of it.
    pub(crate) async fn notify_frozen(&self, body: &str, is_named: bool) -> Result<String, ClientError> {
        #[derive(serde::Deserialize)]
        struct Taken {
            notification_id: String,
        }
        let answer = self.call(self.notification(body.to_owned(), is_named)).await?;
        read(&answer).map(|taken: Taken| taken.notification_id)
    }

    /// Sends a change of status as it was frozen. Whatever a server says to one that it took is good.
    pub(crate) async fn change_status_frozen(&self, id: &str, body: &str) -> Result<(), ClientError> {
        match self.call_status(id, body.to_owned()).await {
            Ok(_) | Err(ClientError::Garbled { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn notification(&self, body: String, is_known_again: bool) -> Call<'_> {
        let pace = Some(&*self.notifications);
        Call { method: Method::POST, path: &NOTIFICATIONS, body, key: &self.key, pace, is_known_again }
    }

    async fn call_status(&self, id: &str, body: String) -> Result<Answer, ClientError> {
        let [api, version, notifications] = NOTIFICATIONS;
        let (path, pace) = (&[api, version, notifications, id], Some(&*self.status_changes));
        let call = Call { method: Method::PATCH, path, body, key: &self.key, pace, is_known_again: true };
        self.call(call).await
    }

    /// Tries until it succeeds, or may not be tried again.
    async fn call(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let Settings { tries, retry_within, backoff, .. } = self.settings;
        let mut first_tried = None;
        let mut failures = 0;
        loop {
            self.turn(call.pace).await?;
            let began = *first_tried.get_or_insert_with(Instant::now);
            let error = match self.try_once(&call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let wait = backoff.after(failures, error.get_retry_after());
            let may_be_tried = error.is_temporary() && (call.is_known_again || !error.may_be_done());
            if failures >= tries || !may_be_tried || began.elapsed() + wait > retry_within {
                return Err(error);
            }
            let wait_ms = wait.as_millis();
            tracing::debug!(target: "atp_actix::client", %error, failures, wait_ms, "a call is tried again");
            sleep(wait).await;
        }
    }

    async fn turn(&self, pace: Option<&Pace>) -> Result<(), ClientError> {
        match (pace, self.settings.turn_within) {
            (None, _) => {}
            (Some(pace), None) => pace.turn().await,
            (Some(pace), Some(within)) => {
                let in_time = timeout(within, pace.turn()).await;
                in_time.map_err(|_| ClientError::NotItsTurn { after: pace.come_back_in() })?;
            }
        }
        Ok(())
    }

    async fn try_once(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let url = self.address.join(call.path)?;
        let bearer = call.key.bearer().ok_or(ClientError::Address("cannot be shown this key"))?;
        let request = self.transport.http()?.request(call.method.clone(), url);
        let request = request.header(AUTHORIZATION, bearer).header(CONTENT_TYPE, "application/json");
        let request = request.timeout(self.settings.call_within).body(call.body.clone());
        let response = request.send().await.map_err(transport::unanswered)?;
        let status = response.status();
        let asked = retry_after(response.headers(), SystemTime::now());
        let body = bounded(response).await;
        if status.is_success() {
            let garbled = |reason| ClientError::Garbled { status: status.as_u16(), reason };
            return body.map(|body| Answer { status, body }).map_err(garbled);
        }
        if let (StatusCode::TOO_MANY_REQUESTS, Some(pace), Some(wait)) = (status, call.pace, asked) {
            pace.shut(wait.min(CALLS_COME_BACK_AFTER));
        }
        let error = body.ok().and_then(|body| said(&body, call.key));
        Err(ClientError::Server { status: status.as_u16(), error: error.map(Box::new), retry_after: asked })
    }
}

/// What a server says to what it took.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, ClientError> {
    let (status, reason) = (answer.status.as_u16(), "is not what the protocol has there");
    object(&answer.body).ok_or(ClientError::Garbled { status, reason })
}

/// What an object says: serde would take a list for one, member by member.
fn object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(body).ok()).flatten()
}

/// The body, or why there is none.
async fn bounded(mut response: Response) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "breaks off")? {
        if body.len() + chunk.len() > LONGEST_CALL_ANSWER {
            return Err("is too long");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The protocol's error in a body, unless it repeats the key.
fn said(body: &[u8], key: &ApiKey) -> Option<ServerError> {
    let error: ServerError = object(body)?;
    let repeats = key.is_in(&serde_json::to_string(&error).ok()?);
    (!repeats).then_some(error)
}
