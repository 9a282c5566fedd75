//! A transaction over a pooled connection, that ends cleanly or ends the connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{Database, SqlStr, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::OwnedSemaphorePermit;

use super::StoreError;

/// An open transaction. Dropped without a commit it is rolled back with its connection: whatever a handler did to that,
/// nobody gets it again.
pub struct Open<Db: Database> {
    connection: PoolConnection<Db>,
    is_over: bool,
    may_commit: Arc<AtomicBool>,
    /// The right to write, where one writes at a time.
    _turn: Option<OwnedSemaphorePermit>,
}

impl<Db: Database> Open<Db> {
    pub(super) async fn begin(
        mut connection: PoolConnection<Db>,
        statement: SqlStr,
        turn: Option<OwnedSemaphorePermit>,
    ) -> sqlx::Result<Self> {
        let begun = Db::TransactionManager::begin(&mut connection, Some(statement)).await;
        let open = Self { connection, is_over: false, may_commit: Arc::default(), _turn: turn };
        begun.map(|()| open)
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        match Db::TransactionManager::get_transaction_depth(&self.connection) {
            1 => {}
            0 => return Err(StoreError::Unclean("the handler ended it: leave that to the webhook")),
            _ => {
                return Err(StoreError::Unclean(
                    "the handler left a savepoint open: commit it or roll it back",
                ));
            }
        }
        self.may_commit.store(true, Ordering::Release);
        Db::TransactionManager::commit(&mut self.connection).await?;
        self.is_over = true;
        Ok(())
    }

    /// Whether this itself commits, for a database that asks.
    #[cfg(feature = "sqlite")]
    pub(super) fn may_commit(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.may_commit)
    }

    pub(crate) fn connection(&self) -> &Db::Connection {
        &self.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Db::Connection {
        &mut self.connection
    }
}

impl<Db: Database> Drop for Open<Db> {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}
