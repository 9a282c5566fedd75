//! What is still to be written when a store is drained or closed, or cannot write.

use std::{future::ready, time::Duration};

use actix_web::{
    HttpResponse,
    rt::{self, time::sleep},
};
use atp_actix::{
    AtpResponse,
    store::{MemoryStore, Store, Verdict},
};
use chrono::TimeDelta;
use sqlx::Connection as _;

use crate::support::{
    asked::{Clock, approve, record},
    audit::{is_decided, kept},
    databases::{Database as _, SqliteDatabase, SqliteFile},
    logged,
    mounted::{Mounted, counting, runs, webhook, webhook_by},
    watched::Watched,
};

/// The after-work of a failure is under way too.
#[actix_web::test]
async fn draining_waits_for_what_a_failure_leaves_behind() {
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let keeps = |_: AtpResponse, tx: atp_actix::SqliteTransaction| async move {
        sleep(Duration::from_millis(300)).await;
        rt::spawn(async move {
            sleep(Duration::from_millis(800)).await;
            drop(tx);
        });
        "kept it"
    };
    let app = std::rc::Rc::new(Mounted::new(webhook(&store).otherwise(keeps)).await);
    let sending = rt::spawn({
        let app = app.clone();
        async move { app.send(&approve("n-1")).await }
    });
    sleep(Duration::from_millis(100)).await;
    let left = store.drain(Duration::from_secs(20)).await.expect("drained");
    let now = kept(&store).await.len();
    println!("{left} left; {:?}", sending.await.expect("sent"));
    sleep(Duration::from_millis(2000)).await;
    let then = kept(&store).await.len();
    assert_eq!((left, now), (0, then), "drain came back before the failed answer was kept");
}

/// A decision that stands, with its row in the audit.
async fn decided_and_counted() -> (SqliteDatabase, Mounted) {
    let database = SqliteDatabase::new().await;
    let app = Mounted::new(webhook(database.store()).otherwise(counting(&runs()))).await;
    record(database.store(), "n-1").await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    sleep(Duration::from_millis(300)).await;
    (database, app)
}

#[actix_web::test]
async fn sqlite_draining_writes_the_batch_that_is_being_written() {
    let (database, app) = decided_and_counted().await;
    let store = database.store().clone();
    let other = database.file.lock().await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    sleep(Duration::from_millis(100)).await;
    let drained = store.drain(Duration::from_secs(5)).await;
    let rows = store.deliveries("default", "n-1").await.expect("rows");
    other.close().await.expect("closed");
    assert!(
        drained.is_err() || rows.iter().any(|r| r.verdict == Verdict::Replayed),
        "drained: {drained:?}, waiting {}, {rows:?}",
        store.get_activity().counters_waiting()
    );
}

#[actix_web::test]
async fn sqlite_closing_tells_of_counters_that_were_lost() {
    let (database, app) = decided_and_counted().await;
    let store = database.store().clone();
    let other = database.file.lock().await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    sleep(Duration::from_millis(100)).await;
    let ((), log) = logged::during(store.close()).await;
    other.close().await.expect("closed");
    let again = database.file.open().await;
    let rows = again.deliveries("default", "n-1").await.expect("rows");
    let is_there = rows.iter().any(|r| r.verdict == Verdict::Replayed);
    assert!(
        is_there || log.contains("counters were lost"),
        "{rows:?} waiting {} log {}",
        store.get_activity().counters_waiting(),
        log.text()
    );
}

#[actix_web::test]
async fn sqlite_counters_that_cannot_be_written_do_not_flood_the_log() {
    let (database, app) = decided_and_counted().await;
    sqlx::raw_sql("CREATE TRIGGER no BEFORE INSERT ON atp_deliveries BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        .execute(&database.pool).await.expect("a trigger");
    let ((), log) = logged::during(async {
        for _ in 0..100 {
            app.expect(&approve("n-1"), 200, "run 1").await;
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let lines = log
        .entries()
        .iter()
        .filter(|e| e.target == "atp_actix" && e.fields.get("message").is_none_or(|m| m != "delivery"))
        .count();
    assert!(lines <= 30, "{lines} lines of 100 replays");
}

/// The lease has ended by then, so the claim looks like one whose process died.
#[actix_web::test]
async fn a_failure_that_is_listed_while_it_is_written_down_is_a_failure() {
    let clock = Clock::new();
    let by_clock = || {
        let clock = clock.clone();
        move || clock.now()
    };
    fails_while_it_is_listed(&clock, MemoryStore::new().clock(by_clock())).await;
    fails_while_it_is_listed(&clock, SqliteFile::new().open().await.clock(by_clock())).await;
}

async fn fails_while_it_is_listed(clock: &Clock, store: impl Store) {
    let store = Watched::new(store);
    record(&store, "n-1").await;
    let late = clock.clone();
    let fails = move |_: AtpResponse| {
        late.ahead(TimeDelta::hours(1));
        ready(HttpResponse::ServiceUnavailable().finish())
    };
    let app = Mounted::new(webhook_by(clock, &store).otherwise(fails)).await;
    let sent = approve("n-1").at(clock.now());
    store.list_before("release_claim");
    assert_eq!(app.send(&sent).await.0, 503);
    assert_eq!(kept(&store).await, [Verdict::Failed]);
}

/// Drains within a handler, twice at once, and closes twice.
#[actix_web::test]
async fn draining_within_a_handler_and_closing_twice_ends() {
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    let inner = store.clone();
    let drains = move |_: AtpResponse| {
        let s = inner.clone();
        async move { format!("{:?}", s.drain(Duration::from_millis(200)).await.is_ok()) }
    };
    let app = Mounted::new(webhook(&store).otherwise(drains)).await;
    app.expect(&approve("n-1"), 200, "true").await;
    let (a, b) =
        futures_util::future::join(store.drain(Duration::from_secs(1)), store.drain(Duration::from_secs(1)))
            .await;
    assert_eq!((a.expect("drained"), b.expect("drained")), (0, 0));
    futures_util::future::join(store.close(), store.close()).await;
    assert!(store.find("default", "n-1", None).await.is_err());
    let rows = file.open().await.deliveries("default", "n-1").await.expect("rows");
    assert_eq!(rows.iter().map(|r| (r.verdict, r.count)).collect::<Vec<_>>(), [(Verdict::Handled, 1)]);
}

/// Drains while replays and first deliveries go on: what was answered 200 is there, and nothing
/// hangs.
#[actix_web::test]
async fn draining_beside_deliveries_loses_no_decision_and_no_count() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let runs = runs();
    let app = std::rc::Rc::new(Mounted::new(webhook(&store).otherwise(counting(&runs))).await);
    for nth in 0..60 {
        record(&store, &format!("n-{nth}")).await;
    }
    let sends = futures_util::future::join_all((0..60).map(|n| {
        let app = app.clone();
        async move {
            sleep(Duration::from_millis(n * 3)).await;
            let id = format!("n-{n}");
            [app.send(&approve(&id)).await.0, app.send(&approve(&id)).await.0]
        }
    }));
    let drain = async {
        sleep(Duration::from_millis(90)).await;
        store.drain(Duration::from_secs(10)).await.expect("drained")
    };
    let (statuses, left) = futures_util::future::join(sends, drain).await;
    assert_eq!(left, 0);
    store.close().await;
    let again = file.open().await;
    for (n, [first, second]) in statuses.into_iter().enumerate() {
        let id = format!("n-{n}");
        assert_eq!(is_decided(&again, &id).await, first == 200, "{id}: {first} {second}");
        let counts: u64 = again.deliveries("default", &id).await.expect("rows").iter().map(|r| r.count).sum();
        let sent = u64::from(first == 200) + u64::from(second == 200);
        assert_eq!(counts, sent, "{id}: {first} {second}");
    }
}
