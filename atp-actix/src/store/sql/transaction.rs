//! A transaction over a connection that is lent for it, and that goes back clean or not at all.

use std::{
    fmt,
    future::ready,
    ops::{Deref, DerefMut},
};

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, Database, SqlStr};
use sqlx_core::transaction::TransactionManager as _;
use tokio::time::timeout;

use super::super::{Activity, Store, StoreError};
use crate::limits::{DRAIN_WITHIN, LONGEST_STEP};

/// A connection for one transaction.
pub(in crate::store) trait TransactionConnection<Db: Database>: Send {
    fn connection(&self) -> &Db::Connection;

    fn connection_mut(&mut self) -> &mut Db::Connection;

    /// What is begun is about to be committed by us, and by no handler.
    fn allow_commit(&mut self) {}

    /// What comes next is a statement of ours that is a transaction of its own.
    #[cfg(feature = "sqlite")]
    fn allow_statement(&mut self) {}

    /// Whether what was begun is still open and can be committed, where only the database knows.
    fn is_begun(&mut self) -> BoxFuture<'_, sqlx::Result<bool>> {
        Box::pin(ready(Ok(true)))
    }

    /// Whether what was begun has been rolled back behind our back, where that is seen.
    fn is_rolled_back(&self) -> bool {
        false
    }

    /// Whether what was begun has been committed, where that is seen.
    fn is_committed(&self) -> bool {
        true
    }

    /// Gives it back for the next one. Dropped instead, nobody gets it again, and what was open is
    /// rolled back.
    fn give_back(self: Box<Self>);
}

/// An open transaction. Dropped without a commit it is rolled back with its connection: whatever a
/// handler did to that, nobody gets it again.
pub struct OpenTransaction<Db: Database> {
    lent: Box<dyn TransactionConnection<Db>>,
    /// Whether its claim was made before it.
    has_claim: bool,
    /// Told when it is committed, of what may have been written to be sent.
    told: Option<Activity>,
}

/// Said of a transaction that is not the one that was begun.
pub(in crate::store) const ENDED: StoreError =
    StoreError::Unclean("the handler ended it: leave that to the webhook");

impl<Db: Database> OpenTransaction<Db> {
    /// Begins with this statement: whatever fails after the first `BEGIN` in it fails all.
    pub(in crate::store) async fn begin(
        lent: impl TransactionConnection<Db> + 'static,
        statement: SqlStr,
    ) -> sqlx::Result<Self> {
        let mut lent = Box::new(lent);
        Db::TransactionManager::begin(lent.connection_mut(), Some(statement)).await?;
        Ok(Self { lent, has_claim: false, told: None })
    }

    /// It is of a claim that was made before.
    pub(in crate::store) fn resumed(self) -> Self {
        Self { has_claim: true, ..self }
    }

    /// Whoever commits it may have written what is to be sent.
    pub(in crate::store) fn telling(self, activity: &Activity) -> Self {
        Self { told: Some(activity.clone()), ..self }
    }

    /// Commits, of a transaction that the store's `begin` gave: with `Ok` what was written is
    /// durable. An error of the database leaves open whether it was committed.
    ///
    /// [`StoreError::Unclean`] if a statement has ended it before, or if a savepoint is open; then
    /// it is rolled back, unless it was a `COMMIT` of your own that ended it on PostgreSQL. That
    /// commits nothing after a statement that failed, and the error says so.
    pub async fn commit(self) -> Result<(), StoreError> {
        const SILENT: StoreError = StoreError::TimedOut("the database has not said whether it has committed");
        let told = self.told.clone();
        let committed = timeout(LONGEST_STEP, self.finish_what_was_begun()).await.unwrap_or(Err(SILENT));
        // Also where nobody knows whether it was.
        told.inspect(Activity::hint);
        committed
    }

    /// A `COMMIT` where nothing is open, or where a statement has failed, is no error to
    /// PostgreSQL, so it is asked before.
    async fn finish_what_was_begun(mut self) -> Result<(), StoreError> {
        if self.lent.is_begun().await? { self.finish().await } else { Err(ENDED) }
    }

    pub(in crate::store) async fn finish(mut self) -> Result<(), StoreError> {
        let depth = |open: &Self| Db::TransactionManager::get_transaction_depth(open.connection());
        if depth(&self) != 1 {
            // What a handler dropped is on its way out, and after this has ended.
            self.connection_mut().ping().await?;
        }
        match depth(&self) {
            1 if !self.lent.is_rolled_back() => {}
            0 | 1 => return Err(ENDED),
            _ => {
                return Err(StoreError::Unclean(
                    "the handler left a savepoint open: commit it or roll it back",
                ));
            }
        }
        self.lent.allow_commit();
        Db::TransactionManager::commit(self.connection_mut()).await?;
        // What the handler had asked for and not waited for came first.
        if !self.lent.is_committed() {
            return Err(ENDED);
        }
        self.lent.give_back();
        Ok(())
    }

    /// Leaves what a handler has begun within; whether there is anything left to roll back, as far
    /// as sqlx knows.
    #[cfg(feature = "postgres")]
    pub(in crate::store) async fn unnest(&mut self) -> sqlx::Result<bool> {
        loop {
            match Db::TransactionManager::get_transaction_depth(self.connection()) {
                depth @ (0 | 1) => return Ok(depth == 1),
                _ => Db::TransactionManager::rollback(self.connection_mut()).await?,
            }
        }
    }

    /// Begins with this statement where all has been rolled back.
    #[cfg(feature = "postgres")]
    pub(in crate::store) async fn begin_again(mut self, statement: SqlStr) -> sqlx::Result<Self> {
        Db::TransactionManager::begin(self.connection_mut(), Some(statement)).await?;
        Ok(self)
    }

    /// Whether its claim was made before it.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn has_claim(&self) -> bool {
        self.has_claim
    }

    /// Rolls back at once, and not when the connection is closed: the connection, and whether there
    /// is a claim then.
    #[cfg(feature = "sqlite")]
    pub(in crate::store) async fn rollback(
        mut self,
    ) -> Result<(Box<dyn TransactionConnection<Db>>, bool), StoreError> {
        loop {
            let depth = Db::TransactionManager::get_transaction_depth(self.connection());
            if depth == 0 {
                return Ok((self.lent, self.has_claim));
            }
            Db::TransactionManager::rollback(self.connection_mut()).await?;
        }
    }

    pub(in crate::store) fn connection(&self) -> &Db::Connection {
        self.lent.connection()
    }

    pub(in crate::store) fn connection_mut(&mut self) -> &mut Db::Connection {
        self.lent.connection_mut()
    }
}

impl<Db: Database> Deref for OpenTransaction<Db> {
    type Target = Db::Connection;

    fn deref(&self) -> &Db::Connection {
        self.connection()
    }
}

impl<Db: Database> DerefMut for OpenTransaction<Db> {
    fn deref_mut(&mut self) -> &mut Db::Connection {
        self.connection_mut()
    }
}

impl<Db: Database> fmt::Debug for OpenTransaction<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenTransaction<{}>", Db::NAME)
    }
}

/// Drains a store that is about to be closed, and tells what was lost.
pub(in crate::store) async fn end_work(store: &impl Store) {
    match store.drain(DRAIN_WITHIN).await {
        Ok(0) => {}
        Ok(left) => {
            tracing::error!(target: "atp_actix", left, "deliveries were cut off by the end of their store");
        }
        Err(error) => {
            tracing::error!(target: "atp_actix", %error, "counters were lost at the end of their store");
        }
    }
}

/// Tells of a transaction that was waited for in vain when its store was closed.
pub(in crate::store) fn tell_of_one_left_open() {
    tracing::error!(
        target: "atp_actix",
        "a connection was still in use when its store was closed, and is not waited for any more: \
         somebody keeps a transaction, or leaked it"
    );
}
