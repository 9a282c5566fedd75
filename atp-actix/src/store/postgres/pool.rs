//! The pool of connections to PostgreSQL: who gets one, and which are not there any more.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use tokio::time::timeout;

use super::{
    Steps,
    connection::{Pooled, is_there, millis},
};
use crate::{
    limits::{PATIENCE, PROBE_WAITS},
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
