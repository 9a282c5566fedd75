//! A service that asks by its outbox, and does what it is answered, once.

use std::{env, fmt::Debug, fs, path::PathBuf, process};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, http::header, rt, web};
use atp_actix::{
    AtpResponse, AtpSink, Binary, Choice, Client, Decisions, Error, File, Form, Json, MultiChoice, Number,
    Relay, ResponseType, RunningRelay, Secret, Select, SendError, Simple, Sink, SqliteTransaction, Text,
    Verifier, Webhook,
    atp_core::Notification,
    client::ApiKey,
    store::{Outgoing, Question, Routes, SqliteStore, Store as _},
};
use atp_cli::desk::RunningDesk;
use atp_examples::Failure;
use serde::Deserialize;
use serde_json::Value;
use sqlx::Row as _;

pub const PATH: &str = "/atp/webhook";

/// What the service holds while it runs.
pub struct Service {
    pub store: SqliteStore,
    folder: PathBuf,
    url: String,
    server: ServerHandle,
    relay: RunningRelay,
}

impl Service {
    /// Registers it at a desk, and starts it on a free port with a file that is gone when it stops.
    pub async fn start(desk: &RunningDesk) -> Result<Self, Failure> {
        let folder = env::temp_dir().join(format!("atp-demo-{}", process::id()));
        fs::create_dir_all(&folder)?;
        let store = SqliteStore::open(folder.join("demo.sqlite")).await?;
        let store = store.routes(Routes::new().events("events").server("atp"));
        let tables = "CREATE TABLE effects (question TEXT NOT NULL, what TEXT NOT NULL);
            CREATE TABLE told (id TEXT PRIMARY KEY, data TEXT NOT NULL)";
        sqlx::raw_sql(tables).execute(store.pool()).await?;

        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let registered = desk.register("Demo", &format!("{url}{PATH}")).await?;
        let verifier = Verifier::new(Secret::new(registered.webhook_secret.clone())?);
        let mounted = store.clone();
        let app = move || {
            let webhook = webhook(verifier.clone(), mounted.clone());
            App::new()
                .app_data(web::Data::new(mounted.clone()))
                .route("/", web::get().to(page))
                .service(webhook)
        };
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
        let handle = server.handle();
        rt::spawn(server);

        let client = Client::new(&desk.url(), ApiKey::new(registered.api_key.clone())?)?;
        let relay = Relay::new(store.clone()).sink("atp", AtpSink::new(client, store.clone()));
        let relay = relay.sink("events", Told(store.clone())).start();
        Ok(Self { store, folder, url, server: handle, relay })
    }

    /// Where its page is.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Records a question; it is sent by itself.
    pub async fn ask(&self, question: &Notification) -> Result<(), Failure> {
        Ok(self.store.record(&Question::new(question.clone())).await?)
    }

    /// The effects of a question, and the events about it.
    pub async fn done(&self, id: &str) -> Result<(Vec<String>, usize), Failure> {
        let effects = sqlx::query_scalar("SELECT what FROM effects WHERE question = ?").bind(id);
        let effects = effects.fetch_all(self.store.pool()).await?;
        let events =
            sqlx::query("SELECT 1 FROM told WHERE json_extract(data, '$.metadata.notification_id') = ?");
        let events = events.bind(id).fetch_all(self.store.pool()).await?;
        Ok((effects, events.len()))
    }

    /// Ends it, and with it its file.
    pub async fn stop(self) -> Result<(), Failure> {
        self.relay.stop().await;
        self.server.stop(true).await;
        self.store.close().await;
        fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

/// A handler for each response type, with the data as its type.
fn webhook(verifier: Verifier, store: SqliteStore) -> Webhook {
    Webhook::new(PATH, verifier)
        .store(Decisions::in_store(store))
        .on("simple", done::<Simple>)
        .on("binary", done::<Binary>)
        .on("choice", done::<Choice<Deploy>>)
        .on("multi_choice", done::<MultiChoice>)
        .on("text", done::<Text>)
        .on("number", done::<Number>)
        .on("select", done::<Select>)
        .on("form", done::<Form<Signature>>)
        .on("json", done::<Json<Limits>>)
        .on("file", done::<File>)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deploy {
    Now,
    #[serde(rename = "1h")]
    InAnHour,
    Night,
}

#[allow(dead_code, reason = "read by `Debug`, for the page")]
#[derive(Debug, Deserialize)]
struct Signature {
    name: String,
    email: String,
    seats: Option<u32>,
    #[serde(default)]
    terms: bool,
}

#[allow(dead_code, reason = "read by `Debug`, for the page")]
#[derive(Debug, Deserialize)]
struct Limits {
    tokens: u64,
    tools: Option<Vec<Value>>,
}

/// Writes down what was decided, in the transaction that completes the decision.
async fn done<R>(answer: AtpResponse<R>, mut tx: SqliteTransaction) -> Result<(), Error>
where
    R: ResponseType<Data: Debug> + 'static,
{
    sqlx::query("INSERT INTO effects VALUES (?, ?)")
        .bind(&answer.notification_id)
        .bind(format!("{}: {:?}", answer.action_id, answer.data))
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Who else is told: here a table. An event that comes again is known by its id.
struct Told(SqliteStore);

impl Sink for Told {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        sqlx::query("INSERT OR IGNORE INTO told VALUES (?, ?)")
            .bind(&outgoing.event.id)
            .bind(&outgoing.event.data)
            .execute(self.0.pool())
            .await
            .map_err(|error| SendError::again(error.to_string()))?;
        Ok(())
    }
}

/// Keeps the page up to date; it reloads nothing, so nobody loses their place.
const LIVE: &str = "setInterval(async () => {
  const fresh = new DOMParser().parseFromString(await (await fetch('/')).text(), 'text/html');
  for (const list of document.querySelectorAll('ul')) list.replaceWith(fresh.getElementById(list.id));
}, 1000);";

/// What came of the answers.
async fn page(store: web::Data<SqliteStore>) -> actix_web::Result<HttpResponse> {
    let fault = actix_web::error::ErrorInternalServerError::<sqlx::Error>;
    let effects = sqlx::query("SELECT question, what FROM effects ORDER BY rowid DESC");
    let effects = effects.fetch_all(store.pool()).await.map_err(fault)?;
    let events = sqlx::query("SELECT id, data FROM told ORDER BY rowid DESC");
    let events = events.fetch_all(store.pool()).await.map_err(fault)?;
    let mut deliveries = String::new();
    for row in &effects {
        let id: String = row.get(0);
        let seen =
            store.deliveries("default", &id).await.map_err(actix_web::error::ErrorInternalServerError)?;
        for delivery in seen {
            deliveries +=
                &item(&[&id, &format!("{:?}", delivery.verdict), &format!("{} times", delivery.count)]);
        }
    }
    let list = |rows: &[sqlx::sqlite::SqliteRow]| -> String {
        rows.iter().map(|row| item(&[&row.get::<String, _>(0), &row.get::<String, _>(1)])).collect()
    };
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>The service</title>\
         <main><h1>The service</h1><h2>What it did</h2><ul id=\"done\">{}</ul><h2>Whom it told</h2><ul id=\"told\">{}</ul>\
         <h2>What came to its webhook</h2><ul id=\"came\">{deliveries}</ul></main><script>{LIVE}</script></html>",
        list(&effects),
        list(&events),
    );
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8")).body(page))
}

fn item(parts: &[&str]) -> String {
    let escaped = parts.iter().map(|part| {
        part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
    });
    format!("<li>{}</li>", escaped.collect::<Vec<_>>().join(" · "))
}
