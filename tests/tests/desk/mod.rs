//! Services at a desk, from the question to the effect, over real sockets.

mod away;
mod calls;
mod faults;
mod interop;
mod kept;
mod killed;
mod pages;
mod states;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_web::rt::time::sleep;
use atp_actix::{
    AtpSink, Client, Decisions, Relay, RunningRelay, SendError, Sink, Webhook,
    atp_core::{Secret, Verifier},
    client::ApiKey,
    store::{Outbox, Outgoing, Routes},
};
use atp_cli::desk::{Registered, RunningDesk};
use atp_tests::{PATH, SECRET};
use serde_json::Value;

use crate::support::{
    orders::{Transactional, good},
    server::{Address, Answer, Server},
};

/// What a service's secret is rotated to, and back.
const OTHER_SECRET: &str = "another-secret-another-secret-12";

/// A service with a store, whose questions leave by its outbox.
struct Service<D: Transactional> {
    database: D,
    told: Told,
    registered: Registered,
    _server: Server,
    _relay: RunningRelay,
}

/// The events that were sent, by id.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, String>>>);

impl Sink for Told {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let subject = outgoing.event.subject.clone().unwrap_or_default();
        self.0.lock().expect("nobody panicked").insert(outgoing.event.id.clone(), subject);
        Ok(())
    }
}

/// A store that knows whom to tell of what.
trait Routed: Outbox {
    fn routed(&self) -> Self;
}

impl Routed for atp_actix::store::SqliteStore {
    fn routed(&self) -> Self {
        self.clone().routes(routes())
    }
}

impl Routed for atp_actix::store::PostgresStore {
    fn routed(&self) -> Self {
        self.clone().routes(routes())
    }
}

fn routes() -> Routes {
    Routes::new().events("bus").server("atp")
}

impl<D: Transactional<Store: Routed>> Service<D> {
    /// At a desk.
    async fn start(desk: &RunningDesk, database: D) -> Self {
        let store = database.store().routed();
        let mounted = store.clone();
        let server = Server::start(1, move |config| {
            let verifier = Verifier::new(Secret::new(SECRET).expect("a secret"));
            let verifier = verifier.or(Secret::new(OTHER_SECRET).expect("a secret"));
            let webhook = Webhook::new(PATH, verifier).store(Decisions::in_store(mounted.clone()));
            config.service(webhook.on("approve", good::<D>));
        });
        let callback = format!("http://{}{PATH}", server.0);
        let name = format!("service of {}", server.0);
        let registered = desk.register_with_secret(&name, &callback, SECRET).await.expect("a service");
        let key = ApiKey::new(registered.api_key.clone()).expect("a key");
        let client = Client::new(&desk.url(), key).expect("a client");
        let client = client.notifications_a_minute(1_000_000).status_changes_a_minute(1_000_000);
        let told = Told::default();
        let relay = Relay::new(store.clone()).sink("bus", told.clone());
        let relay = relay.sink("atp", AtpSink::new(client, store)).start();
        Self { database, told, registered, _server: server, _relay: relay }
    }

    /// The notifications whose decision was told.
    fn told(&self) -> Vec<String> {
        let told = self.told.0.lock().expect("nobody panicked");
        let mut subjects: Vec<String> = told.values().cloned().collect();
        subjects.sort();
        subjects
    }
}

/// Asks a desk.
async fn get(desk: &RunningDesk, path: &str) -> (u16, String) {
    call(desk, "GET", path, desk.admin_token(), None).await
}

/// The status of the answer, and its body.
async fn call(
    desk: &RunningDesk,
    method: &str,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> (u16, String) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    call_with(desk, method, path, token, &body).await
}

/// [`call`] with any body.
async fn call_with(desk: &RunningDesk, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    try_call(&address_of(desk), method, path, token, body).await.expect("an answer")
}

fn address_of(desk: &RunningDesk) -> Address {
    Address(desk.url().trim_start_matches("http://").parse().expect("an address"))
}

/// [`call_with`], if somebody is there who lives to answer.
async fn try_call(
    address: &Address,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> Option<(u16, String)> {
    let answer = try_ask(address, method, path, token, body).await?;
    Some((answer.status, String::from_utf8(answer.body).expect("a text")))
}

/// The whole answer, if somebody is there who lives to give it.
async fn try_ask(address: &Address, method: &str, path: &str, token: &str, body: &str) -> Option<Answer> {
    let authorization =
        if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\n{authorization}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        address.0,
        body.len(),
    );
    let mut client = address.try_connect().await?;
    client.send(request.as_bytes()).await.ok()?;
    client.answer().await
}

/// What the desk says of a question.
async fn story(desk: &RunningDesk, id: &str) -> Value {
    let (status, body) = get(desk, &format!("/desk/api/questions/{id}")).await;
    if status == 200 { serde_json::from_str(&body).expect("JSON") } else { Value::Null }
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < patience, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}
