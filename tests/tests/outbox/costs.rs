//! What a decision costs where its events go nowhere, and what it costs where they are sent.

use std::{
    env,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::rt;
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, SqliteTransaction,
    store::{PostgresStore, Routes, SqliteStore},
};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

use crate::support::{
    asked::{approve, record},
    databases::{Database as _, PostgresDatabase, SqliteFile},
    mounted::{Mounted, webhook},
};

const OWN: &str = "INSERT INTO effects VALUES ($1, '')";

async fn on_sqlite(answer: AtpResponse, mut tx: SqliteTransaction) -> Result<(), Error> {
    sqlx::query(OWN).bind(&answer.notification_id).execute(&mut *tx).await?;
    Ok(())
}

async fn on_postgres(answer: AtpResponse, mut tx: PostgresTransaction) -> Result<(), Error> {
    sqlx::query(OWN).bind(&answer.notification_id).execute(&mut *tx).await?;
    Ok(())
}

fn routes() -> [(&'static str, Routes, usize); 3] {
    [
        ("no routes", Routes::new(), 0),
        ("one sink", Routes::new().events("bus"), 1),
        ("two sinks and the server", Routes::new().events("bus").events("audit").server("atp"), 4),
    ]
}

/// What is said to a server: each statement is one message that runs it.
async fn counted(server: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, count) = (listener.local_addr().expect("an address").port(), Arc::<AtomicUsize>::default());
    let counting = Arc::clone(&count);
    rt::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("the server");
            let ((mut from, mut back), (mut answers, mut to)) = (client.into_split(), server.into_split());
            rt::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
            let count = Arc::clone(&counting);
            rt::spawn(async move {
                let (mut waiting, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
                let mut has_begun = false;
                while let Ok(len @ 1..) = from.read(&mut bytes).await {
                    waiting.extend_from_slice(&bytes[..len]);
                    if to.write_all(&bytes[..len]).await.is_err() {
                        return;
                    }
                    // The first message has no kind.
                    while let Some(head) = waiting.get(usize::from(has_begun)..usize::from(has_begun) + 4) {
                        let len = u32::from_be_bytes(head.try_into().expect("four bytes")) as usize
                            + usize::from(has_begun);
                        if waiting.len() < len {
                            break;
                        }
                        // A simple query, or the execution of a prepared one.
                        if has_begun && matches!(waiting[0], b'Q' | b'E') {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        waiting.drain(..len);
                        has_begun = true;
                    }
                }
            });
        }
    });
    (port, count)
}

#[actix_web::test]
async fn a_store_without_routes_writes_and_asks_nothing_more_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let url = database.url();
    let (start, name) = url.rsplit_once('/').expect("a database");
    let (user, server) = start.rsplit_once('@').expect("a server");
    let (port, count) = counted(server.to_owned()).await;
    let url = format!("{user}@127.0.0.1:{port}/{name}?sslmode=disable");
    for (case, routes, sends) in routes() {
        let store = PostgresStore::connect(&url).await.expect("a store").routes(routes);
        let app = Mounted::new(webhook(&store).otherwise(on_postgres)).await;
        let mut least = usize::MAX;
        let before = written(&database.pool).await;
        // The first ones open connections and prepare statements.
        for nth in 0..6 {
            let id = format!("{case} {nth}");
            record(database.store(), &id).await;
            let before = count.load(Ordering::SeqCst);
            app.expect(&approve(&id), 200, r#"{"status":"success"}"#).await;
            least = least.min(count.load(Ordering::SeqCst) - before);
        }
        let after = written(&database.pool).await;
        println!("PostgreSQL, {case}: {least} statements a decision, {} rows of sends", (after - before) / 6);
        assert_eq!(least, 6, "{case}");
        assert_eq!(
            after - before,
            i64::try_from(sends).expect("few") * 6 - if sends == 4 { 6 } else { 0 },
            "{case}"
        );
        store.close().await;
    }
}

async fn written(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM atp_sends").fetch_one(pool).await.expect("a count")
}

/// Counts what sqlx logs; it logs neither BEGIN nor COMMIT.
struct Counting(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// SQLite runs its statements in threads of its own, so they are counted in a process of their own.
#[actix_web::test]
async fn a_store_without_routes_writes_and_asks_nothing_more_on_sqlite() {
    const CHILD: &str = "ATP_COUNTS_STATEMENTS";
    if env::var_os(CHILD).is_none() {
        let name = "outbox::costs::a_store_without_routes_writes_and_asks_nothing_more_on_sqlite";
        let mut command = Command::new(env::current_exe().expect("this program"));
        let output =
            command.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("this program");
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines().filter(|line| line.starts_with("SQLite")) {
            println!("{line}");
        }
        assert!(
            output.status.success() && text.contains("SQLite"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let count = Arc::<AtomicUsize>::default();
    let subscriber = tracing_subscriber::registry().with(Counting(Arc::clone(&count)));
    tracing::subscriber::set_global_default(subscriber).expect("nobody else sets a subscriber");
    for (case, routes, sends) in routes() {
        let file = SqliteFile::new();
        let store = SqliteStore::open(file.path()).await.expect("a store").routes(routes);
        let table = "CREATE TABLE effects (notification_id TEXT NOT NULL, filler TEXT NOT NULL)";
        sqlx::raw_sql(table).execute(store.pool()).await.expect("a table");
        let app = Mounted::new(webhook(&store).otherwise(on_sqlite)).await;
        let mut least = usize::MAX;
        for nth in 0..6 {
            let id = format!("{case} {nth}");
            record(&store, &id).await;
            let before = count.load(Ordering::SeqCst);
            app.expect(&approve(&id), 200, r#"{"status":"success"}"#).await;
            least = least.min(count.load(Ordering::SeqCst) - before);
        }
        let rows: (i64, i64) =
            sqlx::query_as("SELECT (SELECT count(*) FROM atp_sends), (SELECT count(*) FROM atp_events)")
                .fetch_one(store.pool())
                .await
                .expect("counts");
        // With the two that are not logged.
        println!("SQLite, {case}: {} statements a decision, {} rows of sends", least + 2, rows.0 / 6);
        assert_eq!(rows.0, i64::try_from(sends).expect("few") * 6, "{case}");
        if sends == 0 {
            assert_eq!((rows.1, least + 2), (0, 5), "{case}");
        }
        store.close().await;
    }
}
