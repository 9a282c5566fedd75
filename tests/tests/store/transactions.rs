//! What a handler writes in its transaction takes effect with the decision, once, or not at all: on
//! each store that has one.
//!
//! What one database alone lets a handler do is at the end for SQLite, and in `postgres.rs`.

use std::{any::Any, cell::RefCell, time::Duration};

use actix_web::{HttpResponse, http::StatusCode, rt::time::sleep, web};
use atp_actix::{
    Error, ErrorReply, SqliteTransaction, Webhook,
    store::{MemoryStore, Question, SqliteStore, Store, StoreError},
};
use sqlx::{
    Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::support::{
    asked::{approve, asked, record},
    databases::{PostgresDatabase, SqliteDatabase, SqliteFile},
    mounted::{Mounted, webhook},
    orders::{Orders, Transactional, Tx, good, on_each_database, write},
};

on_each_database!(
    it_is_committed_with_the_decision_once,
    it_may_be_dropped_before_the_handler_ends,
    an_error,
    a_server_error,
    a_redirect,
    an_error_with_the_status_of_a_success,
    a_refusal_whose_status_was_made_a_success,
    a_panic,
    a_statement_that_fails,
    a_savepoint_left_open,
    a_rollback_by_hand,
    a_transaction_taken_twice,
    a_transaction_held_too_long,
    another_extractor_that_refuses,
    a_transaction_that_is_kept_is_not_committed,
    a_refusal_is_final_and_its_work_is_rolled_back,
    a_question_is_recorded_with_the_services_own_row_or_not_at_all,
    a_schema_of_a_newer_program_is_refused_and_named,
    other_tables_of_the_same_names_are_refused,
);

async fn it_is_committed_with_the_decision_once<D: Transactional>(orders: Orders<D>) {
    for _ in 0..2 {
        assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", good::<D>)).await, 200);
    }
    assert_eq!(orders.notes().await, ["n-1"]);
    assert!(orders.is_decided("n-1").await);
}

async fn it_may_be_dropped_before_the_handler_ends<D: Transactional>(orders: Orders<D>) {
    let drops = |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "n-1").await?;
        drop(tx);
        sleep(Duration::from_millis(20)).await;
        Ok::<_, Error>(())
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", drops)).await, 200);
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}

/// Nothing of what a handler did stays, and the next deliveries are handled, whichever connection
/// they get.
async fn leaves_no_trace<D: Transactional>(
    orders: Orders<D>,
    expected: u16,
    webhook: impl FnOnce(Webhook) -> Webhook,
) {
    assert_eq!(orders.deliver("n-1", webhook).await, expected);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(orders.notes().await, [""; 0]);
    assert!(!orders.is_decided("n-1").await);
    orders.until_handled("n-1").await;
    for _ in 0..6 {
        assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good::<D>)).await, 200);
    }
    assert_eq!(orders.notes().await, ["n-1"]);
    assert_eq!(orders.deliver("n-2", |webhook| webhook.on("approve", good::<D>)).await, 200);
    assert_eq!(orders.notes().await, ["n-1", "n-2"]);
}

macro_rules! leaves_no_trace {
    ($($name:ident: $status:literal, $handler:expr;)*) => {$(
        async fn $name<D: Transactional>(orders: Orders<D>) {
            leaves_no_trace(orders, $status, |webhook| webhook.on("approve", $handler)).await;
        }
    )*};
}

leaves_no_trace! {
    an_error: 503, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        Err::<(), Error>(std::fmt::Error.into())
    };
    a_server_error: 500, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        Ok::<_, Error>(HttpResponse::InternalServerError().finish())
    };
    a_redirect: 500, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        Ok::<_, Error>(HttpResponse::Found().finish())
    };
    an_error_with_the_status_of_a_success: 500, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        Err::<(), Error>(ErrorReply::new(StatusCode::OK, "FINE", "not at all").into())
    };
    a_refusal_whose_status_was_made_a_success: 500, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        let refusal = ErrorReply::new(StatusCode::CONFLICT, "WRONG", "not so");
        let mut response = HttpResponse::from_error(refusal);
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok::<_, Error>(response)
    };
    a_panic: 500, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        assert!(tx.is_in_transaction(), "never");
        if true { panic!("on purpose: the test wants a panic here") }
        Ok::<_, Error>(())
    };
    a_statement_that_fails: 503, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        D::execute(&mut tx, "INSERT INTO nowhere VALUES (1)").await?;
        Ok::<_, Error>(())
    };
    a_savepoint_left_open: 500, |mut tx: Tx<D>| async move {
        let mut savepoint = tx.begin().await?;
        D::write(&mut savepoint, "lost").await?;
        std::mem::forget(savepoint);
        Ok::<_, Error>(())
    };
    a_rollback_by_hand: 500, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        D::execute(&mut tx, "ROLLBACK").await?;
        Ok::<_, Error>(())
    };
    a_transaction_taken_twice: 500, |mut one: Tx<D>, two: Option<Tx<D>>| async move {
        write::<D>(&mut one, "lost").await?;
        assert!(two.is_none(), "never");
        Ok::<_, Error>(())
    };
    a_transaction_held_too_long: 503, |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        sleep(Duration::from_secs(3)).await;
        Ok::<_, Error>(())
    };
    another_extractor_that_refuses: 500, |mut tx: Tx<D>, _: web::Data<String>| async move {
        write::<D>(&mut tx, "never").await
    };
}

thread_local! {
    static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

async fn a_transaction_that_is_kept_is_not_committed<D: Transactional>(orders: Orders<D>) {
    let keeps = |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        KEPT.set(Some(Box::new(tx)));
        Ok::<_, Error>(())
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", keeps)).await, 500);
    assert!(!orders.is_decided("n-1").await);
    KEPT.set(None);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(orders.notes().await, [""; 0]);
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}

async fn a_refusal_is_final_and_its_work_is_rolled_back<D: Transactional>(orders: Orders<D>) {
    let refuses = |mut tx: Tx<D>| async move {
        let written = write::<D>(&mut tx, "lost").await;
        assert!(written.is_ok(), "written");
        Err::<(), _>(ErrorReply::new(StatusCode::CONFLICT, "OUT_OF_STOCK", "there is none left"))
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", refuses)).await, 409);
    assert!(orders.is_decided("n-1").await);
    assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good::<D>)).await, 409);
    assert_eq!(orders.notes().await, [""; 0]);
}

async fn a_question_is_recorded_with_the_services_own_row_or_not_at_all<D: Transactional>(orders: Orders<D>) {
    for (id, commit) in [("lost", false), ("kept", true)] {
        let mut tx = orders.database.pool().begin().await.expect("a transaction");
        D::write(&mut tx, id).await.expect("a row");
        D::record_in(&orders.store, &mut tx, &Question::new(asked(id))).await.expect("a question");
        if commit {
            tx.commit().await.expect("a commit");
        } else {
            tx.rollback().await.expect("a rollback");
        }
        let found = orders.store.find("default", id, None).await.expect("an answer");
        assert_eq!(found.question.is_some(), commit, "{id}");
    }
    assert_eq!(orders.notes().await, ["kept"]);
}

async fn a_schema_of_a_newer_program_is_refused_and_named<D: Transactional>(orders: Orders<D>) {
    let mut connection = orders.database.pool().acquire().await.expect("a connection");
    D::execute(&mut connection, "INSERT INTO atp_schema VALUES (99)").await.expect("a version");
    let Err(error) = orders.database.reopen().await else { panic!("a newer schema was taken") };
    assert!(error.to_string().contains("version 99"), "{error}");
}

/// As a version that was never published made them.
async fn other_tables_of_the_same_names_are_refused<D: Transactional>(orders: Orders<D>) {
    let mut connection = orders.database.pool().acquire().await.expect("a connection");
    let altered = D::execute(&mut connection, "ALTER TABLE atp_decisions RENAME COLUMN is_late TO was_late");
    altered.await.expect("another table");
    let Err(error) = orders.database.reopen().await else { panic!("another table was taken") };
    assert!(matches!(error, StoreError::OtherTables(_)), "{error:?}");
    assert!(error.to_string().contains("is_late"), "{error}");
}

#[actix_web::test]
async fn it_is_refused_where_the_store_has_another_database() {
    let store = MemoryStore::new();
    record(&store, "n-1").await;
    for webhook in [
        webhook(&store).on("approve", good::<SqliteDatabase>),
        webhook(&store).on("approve", good::<PostgresDatabase>),
    ] {
        assert_eq!(Mounted::new(webhook).await.send(&approve("n-1")).await.0, 500);
    }
}

/// The file's own hook lets nobody commit but the store.
#[actix_web::test]
async fn on_sqlite_nothing_is_committed_by_hand() {
    let cases: &[(&str, &[&'static str], u16)] = &[
        ("COMMIT", &["COMMIT"], 500),
        ("COMMIT, and more work", &["COMMIT", "INSERT INTO effects VALUES ('half', '')"], 500),
        ("COMMIT, and a transaction", &["COMMIT", "BEGIN"], 500),
        ("ROLLBACK, and more work", &["ROLLBACK", "INSERT INTO effects VALUES ('half', '')"], 500),
        ("ROLLBACK, and a transaction", &["ROLLBACK", "BEGIN"], 500),
    ];
    let orders = Orders::over(SqliteDatabase::new().await);
    for (nth, (case, steps, status)) in cases.iter().enumerate() {
        let (id, before) = (format!("n-{nth}"), orders.notes().await);
        let steps = *steps;
        let by_hand = move |mut tx: SqliteTransaction| async move {
            write::<SqliteDatabase>(&mut tx, "lost").await?;
            for step in steps {
                let _ = SqliteDatabase::execute(&mut tx, step).await;
            }
            Ok::<_, Error>(())
        };
        assert_eq!(orders.deliver(&id, |webhook| webhook.on("approve", by_hand)).await, *status, "{case}");
        assert_eq!(orders.notes().await, before, "{case}");
        assert!(!orders.is_decided(&id).await, "{case}");
        orders.until_handled(&id).await;
    }
    assert_eq!(orders.notes().await, ["n-0", "n-1", "n-2", "n-3", "n-4"]);
}

/// On SQLite a statement that fails undoes itself alone: a handler may go on without it.
#[actix_web::test]
async fn on_sqlite_a_handler_may_go_on_after_a_statement_failed() {
    let orders = Orders::over(SqliteDatabase::new().await);
    let swallows = |mut tx: SqliteTransaction| async move {
        let failed = SqliteDatabase::execute(&mut tx, "INSERT INTO nowhere VALUES (1)").await;
        assert!(failed.is_err(), "there is no such table");
        write::<SqliteDatabase>(&mut tx, "n-1").await
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", swallows)).await, 200);
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}

#[actix_web::test]
async fn a_pool_that_is_not_durable_is_refused() {
    let file = SqliteFile::new();
    for (journal, synchronous, good) in [
        (SqliteJournalMode::Delete, SqliteSynchronous::Full, false),
        (SqliteJournalMode::Delete, SqliteSynchronous::Extra, true),
        (SqliteJournalMode::Memory, SqliteSynchronous::Extra, false),
        (SqliteJournalMode::Wal, SqliteSynchronous::Off, false),
        (SqliteJournalMode::Wal, SqliteSynchronous::Normal, false),
        (SqliteJournalMode::Wal, SqliteSynchronous::Full, true),
        (SqliteJournalMode::Wal, SqliteSynchronous::Extra, true),
    ] {
        let options = SqliteConnectOptions::new().filename(file.path()).create_if_missing(true);
        let options = options.journal_mode(journal).synchronous(synchronous);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("a pool");
        let store = SqliteStore::from_pool(pool.clone()).await;
        assert_eq!(store.is_ok(), good, "{journal:?} {synchronous:?}: {store:?}");
        if let Ok(store) = store {
            store.close().await;
        }
        pool.close().await;
    }
}
