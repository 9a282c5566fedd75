//! The stores that are tried, each by the clock of the model.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use actix_web::{Error as ActixError, FromRequest as _, HttpRequest};
use atp_actix::{
    Error, PostgresTransaction, SqliteTransaction, Verifier,
    store::{MemoryStore, Outbox, PostgresStore, SqliteStore},
};
use chrono::DateTime;
use sqlx::AssertSqlSafe;

use super::{expected::Time, leaving::routes};
use crate::support::{
    asked::verifier,
    databases::{Database as _, PostgresDatabase, SqliteDatabase},
};

/// Time by the model, for whoever asks: microseconds since 1970.
#[derive(Clone)]
pub(super) struct Clock(pub(super) Arc<AtomicI64>);

impl Clock {
    pub(super) fn now(&self) -> Time {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).expect("a time")
    }
}

pub(super) fn verifier_at(clock: &Clock) -> Verifier {
    let clock = clock.clone();
    verifier().clock(move || clock.now())
}

/// A store with a table of effects beside it.
pub(super) trait Backend: 'static {
    const NAME: &'static str;
    /// Whether a handler can write in the transaction that its decision completes in.
    const HAS_TRANSACTIONS: bool;
    type Store: Outbox;

    /// An empty one.
    async fn fresh(&self, clock: &Clock) -> Self::Store;

    /// How many counters are written, where writing them takes time.
    async fn counters(&self) -> Option<i64> {
        None
    }

    /// For a store that does not ask our clock.
    async fn set_time(&self, _: Time) {}

    async fn effects(&self) -> Vec<String>;

    /// A handler's own work.
    async fn write(&self, request: &HttpRequest, id: &str) -> Result<(), ActixError>;
}

#[derive(Default)]
pub(super) struct Memory(pub(super) RefCell<Vec<String>>);

impl Backend for Memory {
    const NAME: &'static str = "memory";
    const HAS_TRANSACTIONS: bool = false;
    type Store = MemoryStore;

    async fn fresh(&self, clock: &Clock) -> MemoryStore {
        self.0.borrow_mut().clear();
        let clock = clock.clone();
        MemoryStore::new().routes(routes()).clock(move || clock.now())
    }

    async fn effects(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    async fn write(&self, _: &HttpRequest, id: &str) -> Result<(), ActixError> {
        self.0.borrow_mut().push(id.to_owned());
        Ok(())
    }
}

const EMPTY: &str = "DELETE FROM atp_questions; DELETE FROM atp_decisions; DELETE FROM atp_deliveries;
     DELETE FROM atp_refused; DELETE FROM atp_erased; DELETE FROM atp_events; DELETE FROM atp_sends; DELETE FROM effects";

impl Backend for SqliteDatabase {
    const NAME: &'static str = "SQLite";
    const HAS_TRANSACTIONS: bool = true;
    type Store = SqliteStore;

    async fn fresh(&self, clock: &Clock) -> SqliteStore {
        sqlx::raw_sql(EMPTY).execute(&self.pool).await.expect("empty tables");
        let clock = clock.clone();
        // Opened anew: whoever still writes counters for the last one has the clock of that.
        self.file.open().await.routes(routes()).clock(move || clock.now())
    }

    async fn counters(&self) -> Option<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM atp_deliveries").fetch_one(&self.pool).await;
        Some(count.expect("a number"))
    }

    async fn effects(&self) -> Vec<String> {
        crate::support::databases::Database::effects(self).await
    }

    async fn write(&self, request: &HttpRequest, id: &str) -> Result<(), ActixError> {
        let mut tx = SqliteTransaction::extract(request).await?;
        let insert = sqlx::query("INSERT INTO effects VALUES (?1, '')").bind(id);
        insert.execute(&mut *tx).await.map_err(Error::from)?;
        Ok(())
    }
}

/// The database's clock, by the model.
pub(super) const CLOCK: &str = "CREATE TABLE model_clock (now BIGINT NOT NULL); INSERT INTO model_clock VALUES (0);
     CREATE OR REPLACE FUNCTION atp_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS 'SELECT now FROM model_clock'";

impl Backend for PostgresDatabase {
    const NAME: &'static str = "PostgreSQL";
    const HAS_TRANSACTIONS: bool = true;
    type Store = PostgresStore;

    async fn fresh(&self, clock: &Clock) -> PostgresStore {
        sqlx::raw_sql(EMPTY).execute(&self.pool).await.expect("empty tables");
        self.set_time(clock.now()).await;
        self.store().clone().routes(routes())
    }

    async fn set_time(&self, now: Time) {
        // What only the test needs need not reach the disk.
        let now = now.timestamp_micros();
        let set = format!("SET synchronous_commit = off; UPDATE model_clock SET now = {now}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&self.pool).await.expect("a clock");
    }

    async fn counters(&self) -> Option<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM atp_deliveries").fetch_one(&self.pool).await;
        Some(count.expect("a number"))
    }

    async fn effects(&self) -> Vec<String> {
        crate::support::databases::Database::effects(self).await
    }

    async fn write(&self, request: &HttpRequest, id: &str) -> Result<(), ActixError> {
        let mut tx = PostgresTransaction::extract(request).await?;
        let insert = sqlx::query("INSERT INTO effects VALUES ($1, '')").bind(id);
        insert.execute(&mut *tx).await.map_err(Error::from)?;
        Ok(())
    }
}
