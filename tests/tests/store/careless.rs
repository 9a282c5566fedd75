//! Careless handlers, hurried steps and clocks that differ: no 200 for nothing, nothing half done,
//! nothing held for ever.

use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::SizedStream,
    dev::Payload,
    http::StatusCode,
    rt::time::{sleep, timeout},
    web::Bytes,
};
use atp_actix::{
    AtpResponse, Error, ErrorReply, PostgresTransaction, Simple, SqliteTransaction, Webhook,
    store::{Claimed, MemoryStore, Question, Redrive, SqliteStore, Store, StoreError, Verdict, contract},
};
use chrono::TimeDelta;
use futures_util::{
    future::{join, join_all},
    stream,
};
use sqlx::{
    Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::support::{
    asked::{Clock, answer, approve, asked, claim, record},
    audit::{is_decided, kept, refused},
    databases::{Database as _, PostgresDatabase, SqliteDatabase, SqliteFile, on_every_store},
    mounted::{Mounted, count, decisions, remembering, runs, webhook, webhook_by},
    orders::write,
};

on_every_store!(
    an_answer_within_its_grace_is_not_given_up_where_the_stores_clock_is_ahead,
    a_question_that_is_being_decided_cannot_be_taken_back,
);

/// Its own savepoint is dropped, which rolls that back a moment later.
async fn drops_a_savepoint(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
    write::<SqliteDatabase>(&mut tx, &answer.notification_id).await?;
    let mut inner = tx.begin().await?;
    sqlx::query("INSERT INTO effects VALUES ('inner', '')").execute(&mut *inner).await?;
    Ok(())
}

async fn gives_up_a_savepoint(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
    write::<SqliteDatabase>(&mut tx, &answer.notification_id).await?;
    let _ = timeout(Duration::ZERO, tx.begin()).await;
    Ok(())
}

async fn begins_within(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
    write::<SqliteDatabase>(&mut tx, &answer.notification_id).await?;
    if let Ok(step) = tx.begin_with("BEGIN IMMEDIATE").await {
        step.commit().await?;
    }
    Ok(())
}

/// Delivers a hundred times, each until it is 200 or three times: then its row is there once and it
/// is decided, or neither.
async fn each_stands_or_falls_whole(mount: impl FnOnce(Webhook) -> Webhook) {
    let database = SqliteDatabase::new().await;
    let app = Mounted::new(mount(webhook(database.store()))).await;
    for nth in 0..100 {
        let id = format!("n-{nth}");
        record(database.store(), &id).await;
        let mut status = 0;
        for _ in 0..3 {
            status = app.send(&approve(&id)).await.0;
            if status == 200 {
                break;
            }
        }
        let is_decided = is_decided(database.store(), &id).await;
        assert!(status != 200 || is_decided, "{id}: 200 for nothing");
        let rows = database.effects().await.iter().filter(|effect| **effect == id).count();
        assert_eq!(rows, usize::from(is_decided), "{id}: {status}");
    }
    assert!(!database.effects().await.contains(&"inner".to_owned()));
}

#[actix_web::test]
async fn a_savepoint_that_is_dropped_takes_nothing_else_with_it() {
    each_stands_or_falls_whole(|webhook| webhook.on("approve", drops_a_savepoint)).await;
}

#[actix_web::test]
async fn a_savepoint_that_is_given_up_makes_no_200_for_nothing() {
    each_stands_or_falls_whole(|webhook| webhook.on("approve", gives_up_a_savepoint)).await;
}

#[actix_web::test]
async fn a_transaction_that_is_begun_within_makes_no_200_for_nothing() {
    each_stands_or_falls_whole(|webhook| webhook.on("approve", begins_within)).await;
}

#[actix_web::test]
async fn statements_that_a_handler_gave_up_leave_nothing_half() {
    async fn hurried(_: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
        let slow = "INSERT OR ROLLBACK INTO effects SELECT NULL, '' FROM (WITH RECURSIVE c(x) AS (
            SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000000) SELECT count(*) FROM c)";
        let half = "INSERT INTO effects VALUES ('half', '')";
        for step in [slow, half] {
            let _ = timeout(Duration::from_millis(10), sqlx::query(step).execute(&mut *tx)).await;
        }
        Ok(())
    }
    let database = SqliteDatabase::new().await;
    let app = Mounted::new(webhook(database.store()).on("approve", hurried)).await;
    record(database.store(), "n-1").await;
    for _ in 0..3 {
        assert_ne!(app.send(&approve("n-1")).await.0, 200);
    }
    let found = database.store().find("default", "n-1", None).await.expect("an answer");
    assert_eq!(found.decision, None);
    assert_eq!(database.effects().await, [""; 0]);
}

/// Nothing else ends a statement: sqlx waits for it when its connection is dropped, and so does who
/// wants to write.
#[actix_web::test]
async fn a_statement_that_runs_for_long_is_interrupted_and_others_write() {
    const LONG: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 10000000000)
        SELECT count(*) FROM c";
    const LONG_WRITE: &str = "INSERT INTO effects SELECT 'lost', '' FROM (
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 10000000000) SELECT max(x) FROM c)";
    async fn waits(tx: &mut SqliteTransaction, step: &'static str) {
        let _ = sqlx::query(step).execute(&mut **tx).await;
    }
    async fn gives_up(tx: &mut SqliteTransaction, step: &'static str) {
        let _ = timeout(Duration::from_millis(50), waits(tx, step)).await;
    }
    async fn next_writes(answer: AtpResponse, mut tx: SqliteTransaction) -> Result<(), Error> {
        write::<SqliteDatabase>(&mut tx, &answer.notification_id).await
    }
    let database = SqliteDatabase::new().await;
    let store = database.store().clone().transaction_limit(Duration::from_millis(500));
    for (nth, (step, is_waited_for, fails)) in [
        (LONG, true, false),
        (LONG_WRITE, true, false),
        (LONG, false, false),
        (LONG_WRITE, false, false),
        (LONG, false, true),
        (LONG_WRITE, false, true),
    ]
    .into_iter()
    .enumerate()
    {
        let long = move |_: AtpResponse<Simple>, mut tx: SqliteTransaction| async move {
            if is_waited_for {
                waits(&mut tx, step).await;
            } else {
                gives_up(&mut tx, step).await;
            }
            if fails { Err(std::fmt::Error.into()) } else { Ok::<_, Error>(()) }
        };
        let app = Mounted::new(webhook(&store).on("approve", long).on("delay", next_writes)).await;
        let (long, next) = (format!("long-{nth}"), format!("next-{nth}"));
        for id in [&long, &next] {
            record(&store, id).await;
        }
        let seen = app.send(&approve(&long)).await.0;
        assert_eq!(seen == 200, is_decided(&store, &long).await, "{long}: {seen}");
        // Were the file still locked, it would be waited for in vain.
        assert_eq!(app.send(&answer(&next, "delay", "1h")).await.0, 200, "after {long}: {seen}");
    }
    assert_eq!(database.effects().await.len(), 6, "each next one");
}

/// What is leaked cannot be taken back from safe code, so it is said what is the matter.
#[actix_web::test]
async fn a_transaction_that_is_leaked_is_told_by_whoever_waits_for_it() {
    async fn leaks(_: AtpResponse<Simple>, tx: SqliteTransaction) -> Result<(), Error> {
        std::mem::forget(tx);
        Ok(())
    }
    let database = SqliteDatabase::new().await;
    let store = database.store().clone().transaction_limit(Duration::from_millis(100));
    let app = Mounted::new(webhook(&store).on("approve", leaks)).await;
    record(&store, "n-1").await;
    assert_eq!(app.send(&approve("n-1")).await.0, 500);
    let told = store.record(&Question::new(asked("n-2"))).await.expect_err("nobody writes").to_string();
    assert!(told.contains("a handler keeps its `Transaction`, or leaked it"), "{told}");
}

#[actix_web::test]
async fn a_body_that_never_comes_holds_nobody_up_for_ever() {
    async fn hangs(_: AtpResponse<Simple>, _: SqliteTransaction) -> HttpResponse {
        HttpResponse::Ok().body(SizedStream::new(10, stream::pending::<Result<Bytes, io::Error>>()))
    }
    async fn good(_: AtpResponse, _: SqliteTransaction) -> Result<(), Error> {
        Ok(())
    }
    let database = SqliteDatabase::new().await;
    let app = Mounted::new(webhook(database.store()).on("approve", hangs).on("delay", good)).await;
    for id in ["n-1", "n-2"] {
        record(database.store(), id).await;
    }
    assert_eq!(app.send(&approve("n-1")).await.0, 503);
    assert_eq!(app.send(&answer("n-2", "delay", "1h")).await.0, 200);
}

/// Asks for the transaction, and does not wait for it.
struct Maybe;

impl FromRequest for Maybe {
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Infallible>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let transaction = SqliteTransaction::from_request(request, payload);
        Box::pin(async move {
            let _ = timeout(Duration::from_millis(50), transaction).await;
            Ok(Self)
        })
    }
}

#[actix_web::test]
async fn a_handler_whose_extractor_gave_the_transaction_up_runs_with_a_claim_or_not_at_all() {
    let database = SqliteDatabase::new().await;
    let runs = runs();
    let counted = Arc::clone(&runs);
    let handler = move |_: AtpResponse<Simple>, _: Maybe| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready("done")
    };
    let app = Mounted::new(webhook(database.store()).on("approve", handler)).await;
    record(database.store(), "n-1").await;
    let theirs = claim("n-1", "approve", "as it came").lease(Duration::from_mins(1));
    assert_eq!(database.store().claim(&theirs).await.expect("a claim"), Claimed::Started(()));
    let other = database.file.lock().await;
    let unlock = async {
        sleep(Duration::from_millis(200)).await;
        other.close().await.expect("closed");
    };
    let ((status, _), ()) = join(app.send(&approve("n-1")), unlock).await;
    assert_eq!((status, count(&runs)), (503, 0), "another has the claim");
    database.store().release_claim(&theirs).await.expect("released");
    app.expect(&approve("n-1"), 200, "done").await;
    assert_eq!(count(&runs), 1);
}

async fn an_answer_within_its_grace_is_not_given_up_where_the_stores_clock_is_ahead(store: impl Store) {
    async fn handler(_: AtpResponse<Simple>) -> &'static str {
        "done"
    }
    // Ours is five seconds behind.
    let behind = Clock::new();
    behind.ahead(TimeDelta::seconds(-5));
    let app = Mounted::new(webhook_by(&behind, &store).on("approve", handler)).await;
    for _ in 0..2 {
        assert_eq!(app.send(&approve("n-1")).await.0, 503);
    }
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 200, "done").await;
}

async fn a_question_that_is_being_decided_cannot_be_taken_back(store: impl Store) {
    record(&store, "n-1").await;
    let claim = claim("n-1", "approve", "as it came").lease(Duration::from_mins(1));
    let Claimed::Started(transaction) = store.claim_in_transaction(&claim).await.expect("a claim") else {
        panic!("nobody else is at it");
    };
    // On SQLite it waits for its turn, and has none before the transaction ends.
    let back = timeout(Duration::from_millis(200), store.invalidate("default", "n-1", "superseded")).await;
    assert!(matches!(back, Err(_) | Ok(Err(StoreError::Running(_)))), "{back:?}");
    drop(transaction);
    // On PostgreSQL it is over when the server has seen that.
    while store.claim(&claim).await.expect("an answer") != Claimed::Started(()) {
        sleep(Duration::from_millis(5)).await;
    }
    let back = store.invalidate("default", "n-1", "superseded").await;
    assert!(matches!(back, Err(StoreError::Running(_))), "{back:?}");
    store.release_claim(&claim).await.expect("released");
    store.invalidate("default", "n-1", "superseded").await.expect("taken back");
}

#[actix_web::test]
async fn a_refusal_in_a_transaction_is_recorded_before_anybody_else_comes() {
    let database = SqliteDatabase::new().await;
    let runs = runs();
    let counted = Arc::clone(&runs);
    let refuses = move |_: AtpResponse<Simple>, mut tx: SqliteTransaction| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let written = write::<SqliteDatabase>(&mut tx, "lost").await;
            sleep(Duration::from_millis(20)).await;
            written.map(|()| HttpResponse::Conflict().body("no"))
        }
    };
    let app = Mounted::new(webhook(database.store()).on("approve", refuses)).await;
    record(database.store(), "n-1").await;
    let burst = (0..16).map(|nth| {
        let app = app.clone();
        async move {
            sleep(Duration::from_millis(nth * 3)).await;
            app.send(&approve("n-1")).await.0
        }
    });
    assert_eq!(join_all(burst).await, [409; 16]);
    assert_eq!(count(&runs), 1);
    assert_eq!(database.effects().await, [""; 0]);
}

#[actix_web::test]
async fn what_cannot_be_kept_is_not_refused_for_good() {
    let database = SqliteDatabase::new().await;
    async fn handler(_: AtpResponse) -> &'static str {
        "done"
    }
    let app = Mounted::new(webhook(database.store()).otherwise(handler)).await;
    record(database.store(), "n-1").await;
    database.store().invalidate("default", "n-1", "superseded").await.expect("taken back");
    let other = database.file.lock().await;
    assert_eq!(app.send(&approve("n-1")).await.0, 503);
    other.close().await.expect("closed");
    assert_eq!(app.send(&approve("n-1")).await.0, 409);
    assert_eq!(kept(database.store()).await, [Verdict::Late]);
}

#[actix_web::test]
async fn what_is_kept_is_redriven_however_old_its_question_is() {
    let clock = Clock::new();
    let of_store = clock.clone();
    let store = MemoryStore::new().clock(move || of_store.now());
    async fn handler(_: AtpResponse) -> &'static str {
        "done"
    }
    let mount = || webhook_by(&clock, &store);
    let without = Mounted::new(mount().on("approve", handler)).await;
    let with = Mounted::new(mount().otherwise(handler)).await;
    record(&store, "n-1").await;
    clock.ahead(TimeDelta::days(5));
    assert_eq!(without.send(&answer("n-1", "delay", "1h").at(clock.now())).await.0, 500);
    let kept = refused(&store).await;
    let again = Redrive::prepare(&store, &clock.verifier(), "default", kept[0].id).await;
    let again = again.expect("a redrive");
    assert_eq!(with.redrive(again).await, (200, "done".to_owned()));
}

#[actix_web::test]
async fn a_hook_that_panics_leaves_no_claim() {
    async fn refuses(_: AtpResponse<Simple>) -> Result<(), ErrorReply> {
        Err(ErrorReply::new(StatusCode::CONFLICT, "NO", "no"))
    }
    let (store, first) = (MemoryStore::new(), AtomicBool::new(true));
    let hook = move |reply: &ErrorReply| {
        let panics = reply.status == 409 && first.swap(false, Ordering::SeqCst);
        assert!(!panics, "on purpose: the test wants a panic here");
        reply.json()
    };
    let app = Mounted::new(webhook(&store).error_body(hook).on("approve", refuses)).await;
    record(&store, "n-1").await;
    assert_eq!(app.send(&approve("n-1")).await.0, 500);
    assert_eq!(app.send(&approve("n-1")).await.0, 409);
}

#[actix_web::test]
async fn a_store_that_was_closed_stays_closed() {
    SqliteStore::in_memory().await.expect("a store").close().await;
    let file = SqliteFile::new();
    let store = file.open().await;
    let clone = store.clone();
    store.record(&Question::new(asked("n-1"))).await.expect("a question");
    store.close().await;
    assert!(!file.beside("atp.sqlite-wal").exists(), "the file alone holds all");
    clone.record(&Question::new(asked("n-2"))).await.expect_err("it is closed");
}

#[actix_web::test]
async fn other_journals_and_encodings_keep_the_contract() {
    for journal in [SqliteJournalMode::Delete, SqliteJournalMode::Truncate, SqliteJournalMode::Wal] {
        let file = SqliteFile::new();
        let options = SqliteConnectOptions::new().filename(file.path()).create_if_missing(true);
        let options = options.pragma("encoding", "'UTF-16le'").journal_mode(journal);
        let options = options.synchronous(SqliteSynchronous::Extra);
        let pool = SqlitePoolOptions::new().connect_with(options).await.expect("a pool");
        let store = SqliteStore::from_pool(pool).await.expect("a store");
        contract(store.redelivery_window(Duration::ZERO)).await;
    }
}

#[actix_web::test]
async fn on_postgres_a_decision_that_is_about_to_be_committed_cannot_be_taken_back() {
    async fn slow(answer: AtpResponse<Simple>, mut tx: PostgresTransaction) -> Result<(), Error> {
        write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
        sleep(Duration::from_millis(600)).await;
        Ok(())
    }
    let Some(database) = PostgresDatabase::new().await else { return };
    let app = Mounted::new(webhook(database.store()).on("approve", slow)).await;
    record(database.store(), "n-1").await;
    let back = async {
        sleep(Duration::from_millis(200)).await;
        database.store().invalidate("default", "n-1", "superseded").await
    };
    let ((status, _), back) = join(app.send(&approve("n-1")), back).await;
    assert_eq!(status, 200);
    assert!(matches!(back, Err(StoreError::Running(_))), "{back:?}");
    assert_eq!(database.effects().await, ["n-1"]);
}

#[actix_web::test]
async fn a_handler_that_never_ends_is_answered_for() {
    let store = MemoryStore::new();
    let stuck = |_: AtpResponse| pending::<&'static str>();
    let webhook = remembering(decisions(&store).respond_within(Duration::from_millis(100))).otherwise(stuck);
    let app = Mounted::new(webhook).await;
    record(&store, "n-1").await;
    assert_eq!(app.send(&approve("n-1")).await.0, 503);
}
