//! The transaction that a decision completes in, for the handler.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use futures_util::future::LocalBoxFuture;
use sqlx::Database;

use crate::{claim_cell::ClaimCell, refusal::Refusal, store::OpenTransaction};

/// A transaction of the store's own database: what is written in it takes effect with the decision, exactly once, or not at
/// all.
///
/// It derefs to sqlx's connection. A handler that returns an error, panics, or takes longer than the store's transaction limit
/// leaves no trace.
///
/// Do not commit: that happens after the handler has returned a success. What ends the transaction is answered 500 or 503, and
/// nothing can be written after that: SQLite refuses it, and on PostgreSQL what begins on the connection is read-only until the
/// store has committed. sqlx too ends it, where a nested `begin` fails or is given up, as by a time-out. Leave the session as
/// it is: with another search path or role the decision is not found, and the answer is 503.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use atp_actix::{AtpResponse, Error, Simple, Transaction};
/// use sqlx::Sqlite;
///
/// async fn approve(answer: AtpResponse<Simple>, mut tx: Transaction<Sqlite>) -> Result<(), Error> {
///     sqlx::query("UPDATE orders SET state = 'approved' WHERE notification_id = ?")
///         .bind(&answer.notification_id)
///         .execute(&mut *tx)
///         .await?;
///     Ok(())
/// }
/// # }
/// ```
///
/// It must be dropped when the handler returns, and can be taken once: two in one handler would wait for each other. One that is
/// moved elsewhere is never committed, and holds up others until it is dropped there; one that is leaked, as by
/// [`std::mem::forget`], does so until the process ends.
///
/// A handler that asks the next question records that in the same transaction, by the store's `record_in`. On SQLite whatever
/// else writes to the file waits for this transaction, the store too. On PostgreSQL the store's own verbs take another
/// connection, and what they write stands even where this is rolled back. At most three quarters of the pool are lent to
/// handlers at a time; who comes when there is none left waits for two seconds, and is answered 503.
pub struct Transaction<Db: Database> {
    open: Option<OpenTransaction<Db>>,
    slot: Rc<ClaimCell<OpenTransaction<Db>>>,
}

impl<Db: Database> fmt::Debug for Transaction<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction<{}>", Db::NAME)
    }
}

impl<Db: Database> Deref for Transaction<Db> {
    type Target = Db::Connection;

    fn deref(&self) -> &Db::Connection {
        self.open
            .as_ref()
            .map_or_else(|| unreachable!("it is there until it is dropped"), OpenTransaction::connection)
    }
}

impl<Db: Database> DerefMut for Transaction<Db> {
    fn deref_mut(&mut self) -> &mut Db::Connection {
        self.open
            .as_mut()
            .map_or_else(|| unreachable!("it is there until it is dropped"), OpenTransaction::connection_mut)
    }
}

impl<Db: Database> Drop for Transaction<Db> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.slot.give_back(open);
        }
    }
}

impl<Db: Database> FromRequest for Transaction<Db> {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let slot = request.extensions().get::<Rc<ClaimCell<OpenTransaction<Db>>>>().cloned();
        Box::pin(async move {
            let slot = slot.ok_or(Refusal::NoStore { extractor: "Transaction" })?;
            let open = Some(slot.take().await?);
            Ok(Self { open, slot })
        })
    }
}
