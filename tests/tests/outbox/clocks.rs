//! A clock that is set back holds up nothing that is to be sent.

use atp_actix::{
    limits::LONGEST_SEND_LEASE,
    store::{MemoryStore, Outbox, Outgoing, Routes},
};
use chrono::TimeDelta;
use sqlx::AssertSqlSafe;

use crate::support::{
    asked::Clock,
    databases::{Database as _, PostgresDatabase, SqliteFile},
    scripted::emit,
};

fn routes() -> Routes {
    Routes::new().events("bus")
}

#[actix_web::test]
async fn a_lease_by_a_clock_that_was_ahead_holds_nothing_up_in_memory() {
    let clock = Clock::new();
    let by = clock.clone();
    let store = MemoryStore::new().routes(routes()).clock(move || by.now());
    a_lease_holds_nothing_up(store, async |ahead| clock.ahead(ahead)).await;
}

#[actix_web::test]
async fn a_lease_by_a_clock_that_was_ahead_holds_nothing_up_on_sqlite() {
    let (file, clock) = (SqliteFile::new(), Clock::new());
    let by = clock.clone();
    let store = file.open().await.routes(routes()).clock(move || by.now());
    a_lease_holds_nothing_up(store, async |ahead| clock.ahead(ahead)).await;
}

#[actix_web::test]
async fn a_lease_by_a_clock_that_was_ahead_holds_nothing_up_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let set = async |ahead: TimeDelta| {
        let now = (chrono::Utc::now() + ahead).timestamp_micros();
        let set = format!(
            "CREATE OR REPLACE FUNCTION atp_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS 'SELECT {now}::BIGINT'"
        );
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&database.pool).await.expect("a clock");
    };
    a_lease_holds_nothing_up(database.store().clone().routes(routes()), set).await;
}

/// Whoever took the lease may be dead, and by the clock that was set back it would last for hours.
async fn a_lease_holds_nothing_up(store: impl Outbox, set: impl AsyncFn(TimeDelta)) {
    let lease = async || -> Vec<(String, u32)> {
        let leased = store.lease("bus", 10, LONGEST_SEND_LEASE).await.expect("an answer");
        leased.into_iter().map(|Outgoing { event, attempt, .. }| (event.id, attempt)).collect()
    };
    set(TimeDelta::zero()).await;
    emit(&store, "one.1", "one").await;
    set(TimeDelta::hours(3)).await;
    assert_eq!(lease().await, [("one.1".to_owned(), 1)]);
    assert_eq!(lease().await, [], "it is somebody's");
    set(TimeDelta::hours(1)).await;
    assert_eq!(lease().await, [("one.1".to_owned(), 2)], "no lease is so long");
    assert_eq!(lease().await, [], "it is somebody's again");
}
