//! A service that tests kill: a webhook with a store in a file or on a server, and a handler with
//! an effect to count.
//!
//! `victim sqlite:FILE|postgres:URL [--kill POINT]`. It prints where it listens. With `--kill` it
//! ends by SIGKILL when a delivery reaches that point. Each run of a handler is a line in the file
//! that `VICTIM_RUNS` names.
//!
//! Where `VICTIM_SINK` names an address, its decisions and the events of its handlers are sent
//! there; with `--relay` in place of a point it serves nothing, and sends what others write. Where
//! `VICTIM_DESK` names a desk, its questions go there with the key of `VICTIM_KEY`.
//!
//! `victim desk:FILE` is a desk. `VICTIM_LISTEN` says where either listens.

use std::{env, fs::OpenOptions, io::Write as _, sync::Arc, time::Duration};

use actix_web::{App, HttpServer};
use atp_actix::{
    AtpResponse, Decisions, Error, Events, PostgresTransaction, Secret, SqliteTransaction, Task, Text,
    Verifier, Webhook,
    store::{Event, Outbox, PostgresStore, Routes, SqliteStore},
};
use atp_tests::{
    desk,
    killing::{Killing, Point},
    socket,
};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let database = arguments.next().ok_or("which database?")?;
    if let Some(file) = database.strip_prefix("desk:") {
        return desk::serve(file).await;
    }
    let (first, second) = (arguments.next(), arguments.next());
    let kill = match (first.as_deref(), second) {
        (Some("--kill"), Some(point)) => Some(point),
        _ => None,
    };
    let point = Arc::new(Point::new(kill));
    // Who only sends needs no routes.
    let sent = Arc::clone(&point);
    let sends_only = first.as_deref() == Some("--relay");
    let is_told = env::var_os("VICTIM_SINK").is_some() && !sends_only;
    let routes = desk::routes(if is_told { Routes::new().events("bus") } else { Routes::new() });
    if let Some(file) = database.strip_prefix("sqlite:") {
        let store = SqliteStore::open(file).await?.routes(routes);
        if sends_only {
            return send(store, &point).await;
        }
        serve(Killing::new(store, Arc::clone(&point)), move |webhook| on_sqlite(webhook, &point), &sent).await
    } else {
        let store = PostgresStore::connect(&database).await?.routes(routes);
        if sends_only {
            return send(store, &point).await;
        }
        serve(Killing::new(store, Arc::clone(&point)), move |webhook| on_postgres(webhook, &point), &sent)
            .await
    }
}

async fn send(store: impl Outbox, point: &Arc<Point>) -> Result<(), Box<dyn std::error::Error>> {
    let _relay = socket::relay(&store, point).ok_or("which sink?")?;
    println!("127.0.0.1:9");
    std::future::pending().await
}

async fn serve(
    store: impl Outbox,
    handlers: impl Fn(Webhook) -> Webhook + Clone + Send + 'static,
    point: &Arc<Point>,
) -> Result<(), Box<dyn std::error::Error>> {
    let _relay = socket::relay(&store, point);
    let verifier = Verifier::new(Secret::new(atp_tests::SECRET)?);
    let app = move || {
        // A claim that a kill left behind is free again soon.
        let decisions = Decisions::in_store(store.clone()).lease(Duration::from_millis(300));
        // And a question that a kill has made the desk ask twice is soon known to be another.
        let decisions = decisions.unknown_grace(Duration::from_secs(5));
        App::new().service(handlers(Webhook::new(atp_tests::PATH, verifier.clone()).store(decisions)))
    };
    let server = HttpServer::new(app).workers(1).bind(desk::address()?)?;
    println!("{}", server.addrs().first().ok_or("no address")?);
    Ok(server.run().await?)
}

/// The same handlers for each database: `approve` works in the transaction, `reject` without one.
macro_rules! handlers {
    ($name:ident, $transaction:ty, $insert:literal) => {
        fn $name(webhook: Webhook, point: &Arc<Point>) -> Webhook {
            let (approving, rejecting) = (Arc::clone(point), Arc::clone(point));
            let approve = move |answer: AtpResponse, task: Task, events: Events, mut tx: $transaction| {
                let point = Arc::clone(&approving);
                async move {
                    point.reached("handler starts");
                    count(&answer.notification_id)?;
                    let decision = answer.delivery().decision_id().to_string();
                    sqlx::query($insert)
                        .bind(&answer.notification_id)
                        .bind(decision)
                        .execute(&mut *tx)
                        .await?;
                    if env::var_os("VICTIM_SINK").is_some() {
                        let id = format!("own-{}", answer.notification_id);
                        events.emit(Event::new("own", &answer.notification_id)?.id(id))?;
                    }
                    point.reached("handler has written");
                    if answer.notification_id.starts_with("rolls-back") {
                        return Err(Error::from(std::io::Error::other("on purpose")));
                    }
                    task.set("approved");
                    Ok::<_, Error>(())
                }
            };
            let reject = move |_: AtpResponse<Text>| {
                let point = Arc::clone(&rejecting);
                async move {
                    point.reached("plain handler");
                    Ok::<_, Error>(())
                }
            };
            webhook.on("approve", approve).on("reject", reject)
        }
    };
}

handlers!(on_sqlite, SqliteTransaction, "INSERT INTO effects VALUES (?, ?)");
handlers!(on_postgres, PostgresTransaction, "INSERT INTO effects VALUES ($1, $2)");

/// Writes a run down, whatever becomes of it.
fn count(notification_id: &str) -> std::io::Result<()> {
    let Some(file) = env::var_os("VICTIM_RUNS") else { return Ok(()) };
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{notification_id}\n").as_bytes())
}
