//! What is decided and what is told of it are written together, or neither is: a process that dies
//! in between has lost nothing.

use std::time::Duration;

use actix_web::rt::time::sleep;
use atp_actix::{
    AtpResponse, Error, Events, PostgresTransaction, SqliteTransaction,
    store::{Event, MemoryStore, Outbox, Routes},
};
use chrono::Utc;
use sqlx::AssertSqlSafe;

use crate::support::{
    asked::{approve, record},
    databases::{Database as _, PostgresDatabase, SqliteDatabase},
    mounted::{Mounted, webhook},
    scripted::waiting,
};

/// What a decision tells of itself, and what its handler tells.
const KINDS: [&str; 2] = [Event::DECISION, "own"];

fn routes() -> Routes {
    Routes::new().events("bus")
}

async fn plain(_: AtpResponse, events: Events) -> Result<&'static str, Error> {
    events.emit(Event::new("own", 7)?)?;
    Ok("done")
}

async fn on_sqlite(answer: AtpResponse, _: SqliteTransaction, events: Events) -> Result<&'static str, Error> {
    plain(answer, events).await
}

async fn on_postgres(
    answer: AtpResponse,
    _: PostgresTransaction,
    events: Events,
) -> Result<&'static str, Error> {
    plain(answer, events).await
}

#[actix_web::test]
async fn a_decision_whose_events_are_not_written_is_none_on_sqlite() {
    let database = SqliteDatabase::new().await;
    let store = database.store().clone().routes(routes());
    let handlers = [
        ("plain", Mounted::new(webhook(&store).otherwise(plain)).await),
        ("in a transaction", Mounted::new(webhook(&store).otherwise(on_sqlite)).await),
    ];
    let fails = "CREATE TABLE failing (kind TEXT NOT NULL);
        CREATE TRIGGER fails BEFORE INSERT ON atp_events WHEN new.kind IN (SELECT kind FROM failing)
        BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
    sqlx::raw_sql(fails).execute(&database.pool).await.expect("a trigger");
    let run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.expect("what fails");
    };
    both_are_written_or_neither(&store, &handlers, run).await;
}

#[actix_web::test]
async fn a_decision_whose_events_are_not_written_is_none_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(routes());
    let handlers = [
        ("plain", Mounted::new(webhook(&store).otherwise(plain)).await),
        ("in a transaction", Mounted::new(webhook(&store).otherwise(on_postgres)).await),
    ];
    let fails = "CREATE TABLE failing (kind TEXT NOT NULL);
        CREATE FUNCTION fails() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN
            IF new.kind IN (SELECT kind FROM failing) THEN RAISE EXCEPTION ''on purpose''; END IF;
            RETURN new;
        END';
        CREATE TRIGGER fails BEFORE INSERT ON atp_events FOR EACH ROW EXECUTE FUNCTION fails()";
    sqlx::raw_sql(fails).execute(&database.pool).await.expect("a trigger");
    let run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.expect("what fails");
    };
    both_are_written_or_neither(&store, &handlers, run).await;
}

async fn both_are_written_or_neither(
    store: &impl Outbox,
    handlers: &[(&str, Mounted)],
    run: impl AsyncFn(String),
) {
    let mut waits = 0;
    for kind in KINDS {
        for (handler, app) in handlers {
            let id = &*format!("{kind} {handler}");
            record(store, id).await;
            run(format!("INSERT INTO failing VALUES ('{kind}')")).await;
            let (status, body) = app.send(&approve(id)).await;
            assert!(status >= 500, "{id}: {status} {body}");
            let known = store.find("default", id, None).await.expect("an answer");
            assert!(known.decision.is_none(), "{id} is decided: {known:?}");
            assert_eq!(waiting(store, "bus").await, (waits, 0), "{id}");
            // The answer comes again, and then all is written.
            run("DELETE FROM failing".to_owned()).await;
            app.until_handled(id).await;
            waits += 2;
            assert_eq!(waiting(store, "bus").await, (waits, 0), "{id}");
        }
    }
}

/// With another text, perhaps: what was sent of the first, or parked, is nothing to it.
#[actix_web::test]
async fn a_question_that_is_asked_anew_after_a_purge_is_sent_and_taken_back_anew() {
    let (routes, window) = (Routes::new().server("atp"), Duration::ZERO);
    asked_anew(MemoryStore::new().routes(routes.clone()).redelivery_window(window)).await;
    let sqlite = SqliteDatabase::new().await;
    asked_anew(sqlite.store().clone().routes(routes.clone()).redelivery_window(window)).await;
    if let Some(database) = PostgresDatabase::new().await {
        asked_anew(database.store().clone().routes(routes).redelivery_window(window)).await;
    }
}

async fn asked_anew(store: impl Outbox) {
    for round in 1..=2 {
        record(&store, "n-1").await;
        store.invalidate("default", "n-1", "superseded").await.expect("taken back");
        sleep(Duration::from_millis(5)).await;
        assert_eq!(store.purge(Utc::now()).await.expect("a purge"), 1);
        assert_eq!(waiting(&store, "atp").await, (2 * round, 0), "round {round}");
    }
}
