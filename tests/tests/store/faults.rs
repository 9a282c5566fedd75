//! What may go wrong beside and below: each fault is answered 503 while it lasts, without a restart
//! of this process, and afterwards nothing is lost and nothing is doubled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{rt, web};
use atp_actix::{
    AtpResponse, Error, Simple, SqliteTransaction,
    store::{Claimed, Completion, MemoryStore, PostgresStore, SqliteStore, Store, StoreError},
};
use atp_tests::PATH;
use chrono::TimeDelta;
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{
    asked::{Clock, approve, claim, record},
    audit::is_decided,
    clusters::Cluster,
    databases::{Database as _, PostgresDatabase, SqliteDatabase},
    mounted::{Mounted, count, runs, webhook, webhook_by},
    orders::good,
    server::{self, Server},
    told::{SUCCESS, UNAVAILABLE},
};

#[actix_web::test]
async fn a_file_that_another_program_locks_is_waited_for_and_then_503() {
    let database = SqliteDatabase::new().await;
    let app = Mounted::new(webhook(database.store()).on("approve", good::<SqliteDatabase>)).await;
    record(database.store(), "n-1").await;
    let other = database.file.lock().await;
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    other.close().await.expect("closed");
    app.until_handled("n-1").await;
    app.expect(&approve("n-1"), 200, SUCCESS).await;
    assert_eq!(database.effects().await, ["n-1"]);
}

#[actix_web::test]
async fn a_full_disk_loses_nothing() {
    let database = SqliteDatabase::new().await;
    let full = 150;
    let options = SqliteConnectOptions::new()
        .filename(database.file.path())
        .synchronous(SqliteSynchronous::Full)
        .pragma("max_page_count", full.to_string());
    let pool = SqlitePoolOptions::new().connect_with(options).await.expect("a pool");
    let store = SqliteStore::from_pool(pool).await.expect("a store");
    let app = Mounted::new(webhook(&store).on("approve", good::<SqliteDatabase>)).await;
    record(database.store(), "n-1").await;
    // Somebody else takes the rest of the disk.
    sqlx::raw_sql("CREATE TABLE filler (bytes BLOB)").execute(&database.pool).await.expect("a table");
    loop {
        let pages: i64 =
            sqlx::query_scalar("PRAGMA page_count").fetch_one(&database.pool).await.expect("a count");
        if pages >= full {
            break;
        }
        let fill = sqlx::query("INSERT INTO filler VALUES (zeroblob(4000))");
        fill.execute(&database.pool).await.expect("room for others");
    }
    let mut seen = Vec::new();
    for nth in 0..200 {
        let id = format!("more-{nth}");
        record(database.store(), &id).await;
        let (status, _) = app.send(&approve(&id)).await;
        seen.push(status);
        if status == 503 {
            break;
        }
        assert_eq!(status, 200, "{id}");
    }
    assert_eq!(seen.last(), Some(&503), "the disk was never full: {seen:?}");
    sqlx::raw_sql("DELETE FROM filler").execute(&database.pool).await.expect("room");
    for nth in 0..seen.len() {
        app.until_handled(&format!("more-{nth}")).await;
    }
    app.until_handled("n-1").await;
    let mut effects = database.effects().await;
    assert_eq!(effects.len(), seen.len() + 1);
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), seen.len() + 1, "none is doubled");
}

#[actix_web::test]
async fn a_file_that_cannot_be_written_is_told_at_start() {
    let database = SqliteDatabase::new().await;
    let options = SqliteConnectOptions::new().filename(database.file.path()).read_only(true);
    let options = options.synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().connect_with(options).await.expect("a pool");
    let error = SqliteStore::from_pool(pool).await.expect_err("nothing can be written").to_string();
    assert!(error.contains("readonly"), "{error}");
    let folder = database.file.beside("none").join("atp.sqlite");
    let error = SqliteStore::open(folder).await.expect_err("no such folder").to_string();
    assert!(error.contains("unable to open"), "{error}");
}

#[actix_web::test]
async fn one_handler_that_waits_in_its_transaction_does_not_stall_the_others() {
    let database = SqliteDatabase::new().await;
    let store = database.store().clone().transaction_limit(Duration::from_millis(300));
    async fn waits(answer: AtpResponse<Simple>, tx: SqliteTransaction) -> Result<(), Error> {
        if answer.notification_id == "slow" {
            sleep(Duration::from_secs(30)).await;
        }
        good::<SqliteDatabase>(answer, tx).await
    }
    let app = Mounted::new(webhook(&store).on("approve", waits)).await;
    for id in ["slow", "n-1", "n-2"] {
        record(&store, id).await;
    }
    let slow = rt::spawn({
        let app = app.clone();
        async move { app.send(&approve("slow")).await }
    });
    sleep(Duration::from_millis(50)).await;
    for id in ["n-1", "n-2"] {
        app.until_handled(id).await;
    }
    assert_eq!(slow.await.expect("an answer").0, 503);
    assert_eq!(database.effects().await, ["n-1", "n-2"]);
}

#[actix_web::test]
async fn a_client_that_goes_away_does_not_stop_the_work() {
    let database = SqliteDatabase::new().await;
    record(database.store(), "n-1").await;
    let (store, runs) = (database.store().clone(), runs());
    let counted = Arc::clone(&runs);
    let slow = move |answer: AtpResponse<Simple>, tx: SqliteTransaction| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(Duration::from_millis(300)).await;
            good::<SqliteDatabase>(answer, tx).await
        }
    };
    let server = Server::start(1, move |config: &mut web::ServiceConfig| {
        config.service(webhook(&store).on("approve", slow.clone()));
    });
    let mut client = server.connect().await;
    client.send(&server::post(PATH, &approve("n-1"))).await.expect("sent");
    sleep(Duration::from_millis(100)).await;
    // With a reset, not with an end.
    client.stream.set_zero_linger().expect("a setting");
    drop(client);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(database.effects().await, ["n-1"]);
    let answer = server.exchange(&server::post(PATH, &approve("n-1"))).await.expect("an answer");
    assert_eq!((answer.status, count(&runs)), (200, 1));
}

#[actix_web::test]
async fn a_clock_that_is_set_forward_or_back_decides_nothing() {
    for step in [TimeDelta::hours(1), TimeDelta::hours(-1)] {
        let (clock, times) = (Clock::new(), Clock::new());
        let memory = MemoryStore::new().clock({
            let times = times.clone();
            move || times.now()
        });
        stepped(memory, &clock, &times, step).await;
        let database = SqliteDatabase::new().await;
        let store = database.store().clone().clock({
            let times = times.clone();
            move || times.now()
        });
        times.ahead(TimeDelta::zero());
        stepped(store, &clock, &times, step).await;
    }
}

/// Somebody claimed and went away; then the clock is set.
async fn stepped(store: impl Store, clock: &Clock, times: &Clock, step: TimeDelta) {
    record(&store, "n-1").await;
    let gone = claim("n-1", "reject", "as it came");
    assert_eq!(store.claim(&gone).await.expect("a claim"), Claimed::Started(()));
    let app = Mounted::new(webhook_by(clock, &store).otherwise(|| async { "" })).await;
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    times.ahead(step);
    app.expect(&approve("n-1"), 200, SUCCESS).await;
    let completion = Completion::expected(&gone);
    let late = store.complete(&gone, &completion, None).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{step}: {late:?}");
    times.ahead(-step);
    app.expect(&approve("n-1"), 200, SUCCESS).await;
}

#[actix_web::test]
async fn a_pool_without_a_free_connection_is_503() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(1));
    let pool = pool.connect(&database.url()).await.expect("a pool");
    let store = PostgresStore::from_pool(pool.clone()).await.expect("a store");
    let app = Mounted::new(webhook(&store).on("approve", good::<PostgresDatabase>)).await;
    record(&store, "n-1").await;
    let held = (pool.acquire().await.expect("one"), pool.acquire().await.expect("the other"));
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    drop(held);
    app.until_handled("n-1").await;
    assert_eq!(database.effects().await, ["n-1"]);
}

/// Between the store and its server: passes on, and may cut where the client says COMMIT.
struct Proxy {
    port: u16,
    /// 0 passes on, 1 cuts before the server hears it, 2 cuts after.
    cut: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    async fn new(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cut, cuts) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { port, cut: Arc::clone(&cut), cuts: Arc::clone(&cuts) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(&server).await.expect("the server");
                tokio::spawn(pass(client, upstream, Arc::clone(&cut), Arc::clone(&cuts)));
            }
        });
        proxy
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, cut: Arc<AtomicU8>, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut from_server) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                let bytes = &from_client[..len];
                // Alone in its message: what begins a transaction has one within.
                let commits = bytes.windows(7).any(|window| window == b"COMMIT\0");
                let how = if commits { cut.swap(0, Ordering::SeqCst) } else { 0 };
                if how == 1 {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
                if how == 2 {
                    // The server commits, and nobody hears of it.
                    sleep(Duration::from_millis(100)).await;
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(len @ 1..) = read else { return };
                if client.write_all(&from_server[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[actix_web::test]
async fn a_connection_cut_in_the_middle_of_a_commit_is_503_and_the_retry_finds_the_truth() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let url = database.url();
    let (start, rest) = url.split_once('@').expect("a user");
    let (server, name) = rest.split_once('/').expect("a database");
    let proxy = Proxy::new(server.to_owned()).await;
    let store =
        PostgresStore::connect(&format!("{start}@127.0.0.1:{}/{name}", proxy.port)).await.expect("a store");
    let app = Mounted::new(webhook(&store).on("approve", good::<PostgresDatabase>)).await;
    for (id, how) in [("before", 1), ("after", 2)] {
        record(&store, id).await;
        proxy.cut.store(how, Ordering::SeqCst);
        app.expect(&approve(id), 503, UNAVAILABLE).await;
        assert_eq!(is_decided(database.store(), id).await, how == 2, "{id}");
        app.until_handled(id).await;
    }
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 2);
    assert_eq!(database.effects().await, ["before", "after"]);
}

#[actix_web::test]
async fn a_database_server_that_stops_and_starts_is_503_and_then_all_is_handled() {
    let Some(cluster) = Cluster::new().await else { return };
    let store = PostgresStore::connect(&cluster.url()).await.expect("a store");
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("a connection");
    let table = "CREATE TABLE effects (notification_id TEXT NOT NULL, decision_id TEXT NOT NULL)";
    sqlx::raw_sql(table).execute(&mut connection).await.expect("a table");
    let app = Mounted::new(webhook(&store).on("approve", good::<PostgresDatabase>)).await;
    for id in ["n-1", "n-2", "n-3"] {
        record(&store, id).await;
    }
    app.expect(&approve("n-1"), 200, SUCCESS).await;
    cluster.stop();
    for id in ["n-1", "n-2", "n-3"] {
        app.expect(&approve(id), 503, UNAVAILABLE).await;
    }
    cluster.start();
    for id in ["n-1", "n-2", "n-3"] {
        app.until_handled(id).await;
    }
    let pool = PgPool::connect(&cluster.url()).await.expect("a pool");
    let effects: Vec<String> = sqlx::query_scalar("SELECT notification_id FROM effects ORDER BY 1")
        .fetch_all(&pool)
        .await
        .expect("effects");
    assert_eq!(effects, ["n-1", "n-2", "n-3"]);
}
