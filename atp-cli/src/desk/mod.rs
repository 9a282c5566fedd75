//! A desk: an ATP server to develop against.
//!
//! It takes questions, shows them to a human, and delivers the answers signed, as the protocol says
//! (section 4), with the faults that you ask it for. In a test it starts on a free port:
//!
//! ```
//! use atp_cli::desk::{Desk, Fault};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let desk = Desk::new().start().await?;
//! let service = desk.register("orders", "http://127.0.0.1:9/atp/webhook").await?;
//! desk.faults(|faults| faults.next(Fault::Duplicate, 1));
//!
//! // Your service asks with `service.api_key` at `desk.url()`, and a human answers:
//! let refused = desk.answer("n-1", "approve", &json!(null)).await.unwrap_err();
//! assert_eq!(refused.code(), "NOTIFICATION_NOT_FOUND");
//! # drop(service);
//! desk.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! A program in another language has all of this by HTTP, with `Authorization: Bearer` and the
//! administrator's token, in JSON:
//!
//! | call | does |
//! |---|---|
//! | `GET /desk/api/faults` | tells what goes wrong, and by how many milliseconds the clock is off |
//! | `PUT /desk/api/faults` | `{"fault": "duplicate", "next": 3}`: the next three attempts to deliver, or all without `next`; a fault is called by [`Fault::name`], a delay `delay=250`. `{"away": true}`: [`Faults::away`]. `{}`: nothing goes wrong any more, and what a delay holds back goes out |
//! | `PUT /desk/api/clock` | `{"skew_ms": -5000}`: the clock is five seconds behind |
//! | `GET /desk/api/services` | lists the services |
//! | `PATCH /desk/api/services/ID` | `{"scheme": "raw"}`: how answers are signed ([`Scheme::name`]); `{"webhook_secret": ".."}`; `{"suspended": true}`: [`Faults::suspend`] |
//! | `GET /desk/api/questions/ID` | tells all that became of a question, each attempt to deliver its answer with headers, body, status and what the service said |
//! | `POST /desk/api/questions/ID/deliver` | sends the answer once more |
//!
//! Such a test starts it as a process: `atp --json desk --ephemeral --listen 127.0.0.1:0` prints where
//! it is and its tokens.

mod api;
mod body;
mod control;
mod deliver;
mod error;
mod fault;
mod fit;
mod flat;
mod host;
mod inner;
mod pace;
mod pages;
mod place;
mod records;
mod refusal;
mod signing;
mod slow;
mod state;
mod surrogates;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, middleware::from_fn, web};
use atp_core::{ClientResponded, Notification, Scheme};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use self::{
    error::DeskError,
    fault::{Fault, Faults, UnknownFault},
    refusal::Refusal,
};
use self::{
    fit::Unanswered,
    inner::{Inner, Settings},
    records::{Records, ServiceRow},
};
use crate::limits::{ANSWER_WITHIN, ATTEMPTS, FIRST_WAIT, FORM, LONGEST_WAIT, REQUEST};

/// An ATP server to develop against, before it is started.
#[derive(Clone)]
#[must_use = "a desk does nothing until it is started"]
pub struct Desk {
    settings: Settings,
    address: SocketAddr,
    file: Option<PathBuf>,
    admin_token: Option<String>,
    user_token: Option<String>,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    /// A desk on a free port of this machine, which keeps all in memory.
    pub fn new() -> Self {
        Self {
            settings: Settings {
                clock: Arc::new(Utc::now),
                attempts: ATTEMPTS,
                first_wait: FIRST_WAIT,
                longest_wait: LONGEST_WAIT,
                answer_within: ANSWER_WITHIN,
                is_paced: true,
                allows_http: false,
                hosts: Vec::new(),
                listens_at: None,
                page_token: None,
            },
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            file: None,
            admin_token: None,
            user_token: None,
        }
    }

    /// Sets where it listens; a free port of 127.0.0.1 unless set. Other machines reach it only with
    /// [`Desk::page_token`].
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Keeps all in an SQLite file, which is made if it is not there; in memory unless set.
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sets the clock; the system's unless set. The desk may be told of a skew beside it.
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Sets how often it tries to deliver before it gives up; [`ATTEMPTS`] unless set.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Sets how long it waits before the second attempt, and how long at most, doubling between;
    /// [`FIRST_WAIT`] and [`LONGEST_WAIT`] unless set.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.settings.first_wait, self.settings.longest_wait) = (first, longest);
        self
    }

    /// Sets how long a service has to answer; the protocol's [`ANSWER_WITHIN`] unless set.
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.settings.answer_within = time;
        self
    }

    /// Does not bound what a service does in a minute.
    pub fn unpaced(mut self) -> Self {
        self.settings.is_paced = false;
        self
    }

    /// Answers may go unencrypted to other machines: in a network of containers, say.
    pub fn allow_http(mut self) -> Self {
        self.settings.allows_http = true;
        self
    }

    /// Requests may call it by this name too; by those of this machine and the address at which it
    /// listens alone unless set.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.settings.hosts.push(name.into().to_ascii_lowercase());
        self
    }

    /// Sets what whoever opens the page must show; nothing unless set.
    pub fn page_token(mut self, token: impl Into<String>) -> Self {
        self.settings.page_token = Some(token.into());
        self
    }

    /// Sets the token of the administrator, who registers services; made anew unless set.
    pub fn admin_token(mut self, token: impl Into<String>) -> Self {
        self.admin_token = Some(token.into());
        self
    }

    /// Sets the token of the human's client; made anew unless set.
    pub fn user_token(mut self, token: impl Into<String>) -> Self {
        self.user_token = Some(token.into());
        self
    }

    /// Starts it, in a thread of its own.
    pub async fn start(mut self) -> Result<RunningDesk, DeskError> {
        let is_local = self.address.ip().is_loopback();
        if !is_local && self.settings.page_token.as_ref().is_none_or(String::is_empty) {
            return Err(DeskError::Open(self.address));
        }
        let listening = |error| DeskError::Address { address: self.address, error };
        let listener = TcpListener::bind(self.address).map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        self.settings.listens_at = Some(address.ip());
        let made = || Uuid::new_v4().simple().to_string();
        let admin_token = self.admin_token.unwrap_or_else(|| format!("admin_{}", made()));
        let user_token = self.user_token.unwrap_or_else(|| format!("user_{}", made()));
        let (ready, is_ready) = oneshot::channel();
        let run = move || {
            let system = actix_web::rt::System::new();
            system.block_on(async move {
                let started = async {
                    let records = Records::open(self.file.as_deref()).await?;
                    let form_token = records.form_token(&made()).await?;
                    let tokens = [admin_token, user_token, form_token];
                    let inner = Inner::new(self.settings, records, deliver::client()?, tokens);
                    let inner = web::Data::new(inner);
                    let server = server(&inner, listener).map_err(DeskError::Thread)?;
                    Ok::<_, DeskError>((inner, server))
                };
                match started.await {
                    Ok((inner, server)) => {
                        let inner = inner.into_inner();
                        let deliveries = actix_web::rt::spawn(deliver::run(Arc::clone(&inner)));
                        actix_web::rt::spawn(deliver::expire(Arc::clone(&inner)));
                        // Whoever waited may have gone.
                        let _ = ready.send(Ok((Arc::clone(&inner), server.handle())));
                        let _ = server.await;
                        inner.stop.send_replace(true);
                        // It tells what it breaks off.
                        let _ = deliveries.await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        };
        let thread =
            thread::Builder::new().name("atp-desk".to_owned()).spawn(run).map_err(DeskError::Thread)?;
        let gone = || DeskError::Thread(io::Error::other("its thread ended"));
        let (inner, server) = is_ready.await.map_err(|_| gone())??;
        Ok(RunningDesk { inner, server, address, thread: Some(thread) })
    }
}

fn server(inner: &web::Data<Inner>, listener: TcpListener) -> io::Result<actix_web::dev::Server> {
    let inner = inner.clone();
    let app = move || {
        App::new()
            .app_data(inner.clone())
            .app_data(web::PayloadConfig::new(REQUEST))
            .app_data(web::FormConfig::default().limit(FORM).error_handler(pages::unreadable))
            .app_data(web::QueryConfig::default().error_handler(pages::unreadable))
            .wrap(from_fn(slow::check))
            .wrap(from_fn(host::check))
            .configure(api::routes)
            .configure(control::routes)
            .configure(pages::routes)
    };
    Ok(HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

/// A service that was registered at a desk.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Registered {
    /// The service's identifier.
    pub service_id: String,
    /// With which it asks.
    pub api_key: String,
    /// With which answers are signed.
    pub webhook_secret: String,
}

impl From<ServiceRow> for Registered {
    fn from(service: ServiceRow) -> Self {
        Self { service_id: service.id, api_key: service.api_key, webhook_secret: service.secret }
    }
}

/// Shows no secret.
impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").field("service_id", &self.service_id).finish_non_exhaustive()
    }
}

/// A desk that runs, until it is stopped or dropped.
#[must_use = "a desk stops when it is dropped"]
pub struct RunningDesk {
    inner: Arc<Inner>,
    server: ServerHandle,
    address: SocketAddr,
    thread: Option<thread::JoinHandle<()>>,
}

impl RunningDesk {
    /// Where services find it, and its page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// With which services are registered, and the desk is told what to do.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.inner.admin_token
    }

    /// With which a human's client lists questions and answers them.
    #[must_use]
    pub fn user_token(&self) -> &str {
        &self.inner.user_token
    }

    /// Registers a service whose answers go to this URL; a secret is made.
    pub async fn register(&self, name: &str, callback_url: &str) -> Result<Registered, Refusal> {
        self.register_with_secret(name, callback_url, "").await
    }

    /// Registers a service that has a secret.
    pub async fn register_with_secret(
        &self,
        name: &str,
        callback_url: &str,
        webhook_secret: &str,
    ) -> Result<Registered, Refusal> {
        let service = api::register_service(&self.inner, name, "", callback_url, webhook_secret).await?;
        Ok(service.into())
    }

    /// Sets where the answers of a service that is registered go, and their secret unless that is
    /// empty.
    pub async fn redirect(
        &self,
        name: &str,
        callback_url: &str,
        webhook_secret: &str,
    ) -> Result<Registered, Refusal> {
        let service = api::redirect_service(&self.inner, name, callback_url, webhook_secret).await?;
        Ok(service.into())
    }

    /// Sets in which scheme a service's answers are signed from now on; timestamped unless set.
    pub async fn set_scheme(&self, service_id: &str, scheme: Scheme) -> Result<(), Refusal> {
        self.inner.records.set_scheme(service_id, scheme).await
    }

    /// Sets which secrets [`Fault::RotateSecret`] takes for a service, one after the other; after
    /// them it makes its own.
    pub fn set_next_secrets(&self, service_id: &str, secrets: impl IntoIterator<Item = String>) {
        self.inner.set_next_secrets(service_id, secrets.into_iter().collect());
    }

    /// Says what goes wrong from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.inner.faults());
        self.inner.answered.notify_one();
        self.inner.changed();
    }

    /// Sets how far its clock is off, in milliseconds; at most a year.
    pub fn set_clock_skew(&self, millis: i64) {
        self.inner.set_skew(millis);
    }

    /// Asks a question for a service, as the service does by its API key; the question's id.
    pub async fn ask(&self, service_id: &str, notification: &Notification) -> Result<String, Refusal> {
        let service = self.inner.records.known_service(service_id).await?;
        let (id, _) = api::ask_for(&self.inner, &service, notification.clone()).await?;
        Ok(id)
    }

    /// Answers a question as a human.
    pub async fn answer(
        &self,
        notification_id: &str,
        action_id: &str,
        data: &impl Serialize,
    ) -> Result<ClientResponded, Refusal> {
        let data = serde_json::to_string(data)
            .map_err(|error| Refusal::new("INVALID_RESPONSE_DATA", error.to_string()))?;
        api::answer(&self.inner, notification_id, action_id, &data).await.map_err(|unanswered| {
            match unanswered {
                Unanswered::Refused(refusal) => refusal,
                Unanswered::Unfit { code, violations } => Refusal::new(code, violations.to_string()),
            }
        })
    }

    /// Sends the answer of a question once more, as it was sent first.
    pub async fn send_again(&self, notification_id: &str) -> Result<(), Refusal> {
        deliver::again(&self.inner, notification_id).await
    }

    /// Stops it; what is under way is broken off, which its file tells, and goes on when a desk is
    /// started on that.
    pub async fn stop(mut self) {
        self.inner.stop.send_replace(true);
        self.server.stop(false).await;
        if let Some(thread) = self.thread.take() {
            // It ends soon, but not without the time to.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for RunningDesk {
    fn drop(&mut self) {
        self.inner.stop.send_replace(true);
        drop(self.server.stop(false));
    }
}
