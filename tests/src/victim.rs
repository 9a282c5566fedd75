//! A service that tests kill: a webhook with a store in a file or on a server, and a handler with
//! an effect to count.
//!
//! `victim sqlite:FILE|postgres:URL [--kill POINT]`. It prints where it listens. With `--kill` it
//! ends by SIGKILL when a delivery reaches that point. Each run of a handler is a line in the file
//! that `VICTIM_RUNS` names.

use std::{env, fs::OpenOptions, io::Write as _, sync::Arc, time::Duration};

use actix_web::{App, HttpServer};
use atp_actix::{
    AtpResponse, Decisions, Error, PostgresTransaction, Secret, SqliteTransaction, Task, Text, Verifier,
    Webhook,
    store::{PostgresStore, SqliteStore, Store},
};
use atp_tests::killing::{Killing, Point};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let database = arguments.next().ok_or("which database?")?;
    let kill = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--kill"), Some(point)) => Some(point),
        _ => None,
    };
    let point = Arc::new(Point::new(kill));
    if let Some(file) = database.strip_prefix("sqlite:") {
        let store = SqliteStore::open(file).await?;
        serve(Killing::new(store, Arc::clone(&point)), move |webhook| on_sqlite(webhook, &point)).await
    } else {
        let store = PostgresStore::connect(&database).await?;
        serve(Killing::new(store, Arc::clone(&point)), move |webhook| on_postgres(webhook, &point)).await
    }
}

async fn serve(
    store: impl Store,
    handlers: impl Fn(Webhook) -> Webhook + Clone + Send + 'static,
) -> Result<(), Box<dyn std::error::Error>> {
    let verifier = Verifier::new(Secret::new(atp_tests::SECRET)?);
    let app = move || {
        // A claim that a kill left behind is free again soon.
        let decisions = Decisions::in_store(store.clone()).lease(Duration::from_millis(300));
        App::new().service(handlers(Webhook::new(atp_tests::PATH, verifier.clone()).store(decisions)))
    };
    let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0")?;
    println!("{}", server.addrs().first().ok_or("no address")?);
    Ok(server.run().await?)
}

/// The same handlers for each database: `approve` works in the transaction, `reject` without one.
macro_rules! handlers {
    ($name:ident, $transaction:ty, $insert:literal) => {
        fn $name(webhook: Webhook, point: &Arc<Point>) -> Webhook {
            let (approving, rejecting) = (Arc::clone(point), Arc::clone(point));
            let approve = move |answer: AtpResponse, task: Task, mut tx: $transaction| {
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
                    point.reached("handler has written");
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
