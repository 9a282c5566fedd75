//! What becomes of connections: their settings, and how many there are.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use actix_web::http::StatusCode;
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Simple,
    limits::DEFAULT_RESPOND_WITHIN,
    store::{PostgresStore, Question, Store as _, Token},
};
use futures_util::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{careless, count, execute, orders, patient, prepare};
use crate::support::{
    asked::asked,
    databases::{Database as _, PostgresDatabase},
    orders::{Orders, write},
};

#[actix_web::test]
async fn a_session_is_as_it_was_after_each_end_of_a_handlers_transaction() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let pool = PgPoolOptions::new().max_connections(2).connect(&database.url()).await.expect("a pool");
    let store = PostgresStore::from_pool(pool.clone()).await.expect("a store");
    let orders = Orders { database, store, respond_within: DEFAULT_RESPOND_WITHIN };
    const SAYS: [u16; 5] = [200, 409, 500, 503, 200];
    for (nth, says) in SAYS.iter().enumerate() {
        let says = StatusCode::from_u16(*says).expect("a status");
        orders.deliver(&format!("n-{nth}"), careless(&[], says)).await;
        orders.deliver_again(&format!("n-{nth}"), careless(&[], says)).await;
        // The service's own work goes over the same connections.
        let (one, other) = (pool.acquire().await, pool.acquire().await);
        for connection in [one, other] {
            let mut connection = connection.expect("a connection");
            execute(&mut connection, "INSERT INTO effects VALUES ('own', '')")
                .await
                .expect("a session that writes");
            let read_only: String = sqlx::query_scalar("SHOW default_transaction_read_only")
                .fetch_one(&mut *connection)
                .await
                .expect("a setting");
            assert_eq!(read_only, "off", "after {says}");
        }
    }
    assert_eq!(count(&orders, "own").await, 10);
}

/// Each would wait for a connection that another holds: what a handler has is less than the pool.
#[actix_web::test]
async fn handlers_that_call_the_store_in_their_transactions_do_not_wait_for_each_other() {
    let Some(orders) = orders().await else { return };
    let store = PostgresStore::connect(&orders.database.url()).await.expect("a store");
    let asks = {
        let store = store.clone();
        move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| {
            let store = store.clone();
            async move {
                write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
                let next = format!("next of {}", answer.notification_id);
                store.record(&Question::new(asked(&next))).await?;
                Ok::<_, Error>(())
            }
        }
    };
    let orders = Orders { store, ..orders };
    let ids: Vec<String> = (0..40).map(|nth| format!("n-{nth}")).collect();
    for id in &ids {
        orders.store.record(&Question::new(asked(id))).await.expect("a question");
    }
    let all = ids.iter().map(|id| orders.deliver_again(id, |webhook| webhook.on("approve", asks.clone())));
    assert_eq!(join_all(all).await, [200; 40]);
    assert_eq!(orders.notes().await.len(), 40);
}

#[actix_web::test]
async fn a_pool_that_a_handler_would_use_up_and_a_server_that_is_read_only_are_refused() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let url = |read_only| {
        let url: PgConnectOptions = database.url().parse().expect("a URL");
        url.options([("default_transaction_read_only", read_only)])
    };
    for (connections, read_only, expected) in
        [(1, "off", "max_connections"), (2, "on", "read-only"), (2, "off", "")]
    {
        let pool = PgPoolOptions::new().max_connections(connections).connect_with(url(read_only)).await;
        let store = PostgresStore::from_pool(pool.expect("a pool")).await;
        let told = store.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            told.contains(expected) && told.is_empty() == expected.is_empty(),
            "{connections} {read_only}: {told}"
        );
    }
}

/// What a stopping server drops has nobody any more who could take its connection back.
#[test]
fn verbs_that_a_server_drops_when_it_stops_do_not_panic() {
    const NAME: &str = "a server that stops";
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |told| {
        if thread::current().name() == Some(NAME) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        hook(told);
    }));
    let server = thread::Builder::new().name(NAME.to_owned()).spawn(|| {
        let system = actix_web::rt::System::new();
        system.block_on(async {
            let Some(database) = PostgresDatabase::new().await else { return };
            let mut locker = database.pool.acquire().await.expect("a connection");
            let lock = "BEGIN; LOCK TABLE atp_refused, atp_questions";
            sqlx::raw_sql(lock).execute(&mut *locker).await.expect("a lock");
            let before = chrono::Utc::now() - chrono::TimeDelta::days(30);
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.redeem("default", 1, Token::random()).await });
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.purge(before).await });
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.find("default", "n-1", None).await });
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.record(&Question::new(asked("n-1"))).await });
            actix_web::rt::time::sleep(Duration::from_millis(300)).await;
            // The lock goes with the server's processes, when the database is dropped.
            std::mem::forget(locker);
        });
    });
    assert!(server.expect("a thread").join().is_ok());
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

/// What was in force when each row was committed.
const WATCH: &str = "CREATE TABLE commits (synchronous TEXT NOT NULL);

    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO commits VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION watch()";

#[actix_web::test]
async fn a_handler_cannot_make_its_decision_less_durable() {
    let Some(orders) = orders().await else { return };
    prepare(&orders.database.pool, WATCH).await;
    const SETTINGS: &[&[&str]] = &[
        &[],
        &["SET synchronous_commit = off"],
        &["SET LOCAL synchronous_commit = off"],
        &["SET LOCAL synchronous_commit = local"],
        &["SET LOCAL synchronous_commit = remote_write"],
        &["SET LOCAL synchronous_commit = remote_apply"],
    ];
    for (nth, steps) in SETTINGS.iter().enumerate() {
        let id = format!("n-{nth}");
        orders.deliver(&id, careless(steps, StatusCode::OK)).await;
        orders.until_handled(&id).await;
    }
    let commits: Vec<String> = sqlx::query_scalar("SELECT synchronous FROM commits")
        .fetch_all(&orders.database.pool)
        .await
        .expect("commits");
    assert_eq!(commits, ["on", "on", "on", "on", "on", "remote_apply"]);
}

#[actix_web::test]
async fn a_server_that_waits_for_its_standbys_to_apply_goes_on_doing_so() {
    let remote = |options: PgConnectOptions| options.options([("synchronous_commit", "remote_apply")]);
    let Some(orders) = patient(remote).await else { return };
    prepare(&orders.database.pool, WATCH).await;
    let watch = "CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON atp_questions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION watch()";
    prepare(&orders.database.pool, watch).await;
    assert_eq!(orders.deliver("n-1", careless(&[], StatusCode::OK)).await, 200);
    let commits: Vec<String> = sqlx::query_scalar("SELECT synchronous FROM commits")
        .fetch_all(&orders.database.pool)
        .await
        .expect("commits");
    assert_eq!(commits, ["remote_apply"; 2]);
}

/// The connection that it left so is closed at its first error.
#[actix_web::test]
async fn what_a_handler_does_to_its_session_costs_at_most_one_delivery() {
    const SESSIONS: &[&[&str]] = &[
        &["DEALLOCATE ALL"],
        &["SET default_transaction_read_only = on"],
        &["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
    ];
    for steps in SESSIONS {
        let Some(orders) = orders().await else { return };
        for next in 0..6 {
            orders.store.record(&Question::new(asked(&format!("next-{next}")))).await.expect("a question");
        }
        orders.deliver("n-1", careless(steps, StatusCode::OK)).await;
        let mut broken = 0;
        for next in 0..6 {
            let id = format!("next-{next}");
            while orders.deliver_again(&id, careless(&[], StatusCode::OK)).await != 200 {
                broken += 1;
                assert!(broken <= 1, "{steps:?}: {id}");
            }
        }
    }
}
