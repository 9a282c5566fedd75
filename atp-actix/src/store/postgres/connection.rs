//! A connection to PostgreSQL, and whether it is there.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use sqlx::{
    Connection as _, PgConnection, Postgres,
    pool::{PoolConnection, PoolConnectionMetadata},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use crate::{
    limits::{DOUBT_LASTS, IDLE_UNTIL_ASKED, LONGEST_PING, PATIENCE},
    store::{
        StoreError,
        sql::transaction::{OpenTransaction, TransactionConnection},
    },
};

/// The server counts milliseconds in 32 bits.
pub(super) fn millis(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
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
    pub(super) connection: Option<PoolConnection<Postgres>>,
    /// Where it is lent to a handler.
    pub(super) admission: Option<OwnedSemaphorePermit>,
    pub(super) is_over: bool,
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

/// A connection for one statement, which is its own transaction, or stands in one.
pub(super) enum OneStatement {
    Alone(Pooled),
    Within(OpenTransaction<Postgres>),
}

impl OneStatement {
    pub(super) fn connection_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Alone(pooled) => pooled.connection_mut(),
            Self::Within(open) => open.connection_mut(),
        }
    }

    pub(super) async fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Alone(pooled) => {
                pooled.done();
                Ok(())
            }
            Self::Within(open) => open.finish().await,
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

    fn is_begun(&mut self) -> BoxFuture<'_, sqlx::Result<bool>> {
        let is_begun = "SELECT coalesce(current_setting('atp.is_begun', true), '') = 'yes'";
        Box::pin(sqlx::query_scalar(is_begun).fetch_one(self.connection_mut()))
    }

    fn give_back(self: Box<Self>) {
        self.done();
    }
}
