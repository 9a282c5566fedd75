//! The connections to PostgreSQL: who gets one, and which are not there any more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Postgres,
    pool::{PoolConnection, PoolConnectionMetadata},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{Steps, millis};
use crate::{
    limits::{DOUBT_LASTS, IDLE_UNTIL_ASKED, LONGEST_PING, PATIENCE, PROBE_WAITS},
    store::{StoreError, sql::transaction::TransactionConnection},
};

impl Steps {
    /// A statement that is a transaction of its own cannot limit how long the server waits for a
    /// locked table, so after a step without an answer this is asked first: else each would leave a
    /// process that waits there after its client has gone.
    pub(super) fn probe() -> String {
        format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {};
             LOCK TABLE atp_questions, atp_decisions, atp_deliveries, atp_refused IN ROW EXCLUSIVE MODE; COMMIT",
            millis(PROBE_WAITS),
            millis(PATIENCE),
        )
    }

    /// A connection that may be lent out.
    pub(super) async fn admitted(&self) -> Result<Pooled, StoreError> {
        const ALL_LENT: &str = "all handlers that may hold a transaction do: raise the pool's `max_connections`, \
            unless one keeps or leaks it";
        let permit = timeout(PATIENCE, Arc::clone(&self.admission).acquire_owned()).await;
        let permit = permit.map_err(|_| StoreError::TimedOut(ALL_LENT))?;
        let mut pooled = self.pooled().await?;
        pooled.admission = permit.ok();
        Ok(pooled)
    }

    /// The one way to a connection.
    pub(super) async fn pooled(&self) -> Result<Pooled, StoreError> {
        let acquired = timeout(PATIENCE, self.pool.acquire()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        if matches!(acquired, Err(sqlx::Error::PoolTimedOut)) {
            self.sweep();
        }
        let mut pooled = Pooled { connection: Some(acquired?), admission: None, is_over: false };
        if self.doubt.is_there() {
            sqlx::raw_sql(AssertSqlSafe(Self::probe())).execute(pooled.connection_mut()).await?;
        }
        Ok(pooled)
    }

    /// Closes the unused connections that do not answer: where one was cut off without a word,
    /// others were.
    pub(super) fn sweep(&self) {
        for _ in 0..self.pool.num_idle() {
            let Some(mut connection) = self.pool.try_acquire() else { return };
            tokio::spawn(async move {
                let is_over = is_there(&mut connection).await;
                drop(Pooled { connection: Some(connection), admission: None, is_over });
            });
        }
    }
}

/// Whether a step went unanswered in the last minute.
#[derive(Default)]
pub(super) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    pub(super) fn arise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn is_there(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < DOUBT_LASTS)
    }
}

/// Whether a connection was unused so long that it may be gone.
pub(super) fn was_idle(metadata: &PoolConnectionMetadata) -> bool {
    metadata.idle_for > IDLE_UNTIL_ASKED
}

/// Whether a connection answers, and soon.
pub(super) async fn is_there(connection: &mut PgConnection) -> bool {
    timeout(LONGEST_PING, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
}

/// A connection of the pool. Dropped before it is done with, it is closed and nobody gets it again:
/// an error may tell of what a handler did to its session.
pub(super) struct Pooled {
    connection: Option<PoolConnection<Postgres>>,
    /// Where it is lent to a handler.
    admission: Option<OwnedSemaphorePermit>,
    is_over: bool,
}

impl Pooled {
    pub(super) fn done(mut self) {
        self.is_over = true;
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            // Its runtime has ended, and with it all who could take it back.
            return drop(connection.detach());
        };
        // Both say something to the server, which may not take it; sqlx itself would wait for ever.
        if self.is_over {
            runtime.spawn(timeout(PATIENCE, connection.return_to_pool()));
        } else {
            runtime.spawn(timeout(PATIENCE, connection.close()));
        }
    }
}

impl TransactionConnection<Postgres> for Pooled {
    fn connection(&self) -> &PgConnection {
        self.connection.as_ref().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }

    fn connection_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }

    fn give_back(self: Box<Self>) {
        self.done();
    }
}
