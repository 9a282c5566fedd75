//! An ATP server as far as a service calls it, on a real socket. It does what the protocol says,
//! unless it is told what to answer next.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, rt::time::sleep, web};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::server::Server;

/// A service's key in tests.
pub(crate) const KEY: &str = "sk_test_0123456789abcdef";

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// As it was sent.
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// What is asked of which notification.
    pub(crate) fn told(&self) -> String {
        let what = self.json()["status"].as_str().unwrap_or("asked").to_owned();
        let id = self.json()["id"].as_str().map(str::to_owned);
        let id = id.unwrap_or_else(|| self.path.rsplit('/').next().unwrap_or_default().to_owned());
        format!("{id} {what}")
    }
}

/// What is answered to one request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) after: Duration,
}

impl Reply {
    /// A status with an empty body.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), after: Duration::ZERO }
    }

    /// The protocol's error.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let error =
            json!({ "code": code, "message": "It is so.", "details": { "a": 1 }, "request_id": "req_1" });
        Self::status(status).body(error.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.after = wait;
        self
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    next: VecDeque<Reply>,
    /// The status of each notification.
    notifications: BTreeMap<String, String>,
}

pub(crate) struct AtpServer {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl AtpServer {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(1, move |config| {
            let state = Arc::clone(&shared);
            config.default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                let state = Arc::clone(&state);
                async move { answer(&state, &request, &body).await }
            }));
        });
        Self { server, state }
    }

    /// Its address, for a client.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.0)
    }

    /// What it answers to the next requests, before it does again as the protocol says.
    pub(crate) fn answer_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.lock().next.extend(replies);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.lock().received.len()
    }

    /// The status of a notification.
    pub(crate) fn status_of(&self, id: &str) -> Option<String> {
        self.lock().notifications.get(id).cloned()
    }

    /// Waits until it has what is looked for.
    pub(crate) async fn until(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !is_there(self) {
            assert!(Instant::now() < patience, "no {what}: {:?}", self.received());
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }
}

async fn answer(state: &Mutex<State>, request: &HttpRequest, body: &web::Bytes) -> HttpResponse {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let received = Received {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        authorization: header("authorization"),
        content_type: header("content-type"),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    let reply = {
        let mut state = state.lock().expect("nobody panicked");
        state.received.push(received.clone());
        let next = state.next.pop_front();
        next.unwrap_or_else(|| state.by_the_protocol(&received))
    };
    sleep(reply.after).await;
    let status = StatusCode::from_u16(reply.status).expect("a status");
    let mut response = HttpResponse::build(status);
    for header in reply.headers {
        response.insert_header(header);
    }
    response.body(reply.body)
}

impl State {
    fn by_the_protocol(&mut self, received: &Received) -> Reply {
        let json = received.json();
        let segments: Vec<_> = received.path.trim_start_matches('/').split('/').collect();
        match (&*received.method, &*segments) {
            ("POST", ["api", "v1", "notifications"]) => {
                let id = json["id"].as_str().map(str::to_owned);
                let id = id.unwrap_or_else(|| format!("of-server-{}", self.notifications.len() + 1));
                if self.notifications.contains_key(&id) {
                    return Reply::error(409, "NOTIFICATION_ALREADY_EXISTS");
                }
                self.notifications.insert(id.clone(), "created".to_owned());
                let created =
                    json!({ "notification_id": id, "status": "created", "estimated_delivery": null });
                Reply::status(201).body(created.to_string())
            }
            ("PATCH", ["api", "v1", "notifications", id]) => {
                let Some(standing) = self.notifications.get_mut(*id) else {
                    return Reply::error(404, "NOTIFICATION_NOT_FOUND");
                };
                json["status"].as_str().unwrap_or_default().clone_into(standing);
                let changed = json!({ "notification_id": id, "status": json["status"], "updated_at": "2025-05-25T10:30:00Z" });
                Reply::status(200).body(changed.to_string())
            }
            ("POST", ["api", "v1", "services"]) => {
                let registered = json!({ "service_id": "s-1", "api_key": "sk_new", "webhook_secret": json["webhook_secret"] });
                Reply::status(201).body(registered.to_string())
            }
            _ => Reply::error(404, "NOT_FOUND"),
        }
    }
}

/// The address of a server that reads what comes first on each connection, answers these bytes and
/// ends it; and what came.
pub(crate) async fn answers_bytes(answer: &'static [u8]) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    actix_web::rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = vec![0; 16 << 10];
            let read = stream.read(&mut first).await.unwrap_or_default();
            first.truncate(read);
            all.lock().expect("nobody panicked").push(first);
            let _ = stream.write_all(answer).await;
        }
    });
    (address.to_string(), seen)
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
