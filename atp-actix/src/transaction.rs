//! The transaction that a decision completes in, for the handler.

use std::{
    any::type_name,
    fmt,
    ops::{Deref, DerefMut},
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use futures_util::future::LocalBoxFuture;

#[cfg(feature = "postgres")]
use crate::store::PostgresStore;
#[cfg(feature = "sqlite")]
use crate::store::SqliteStore;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::store::Store;
use crate::{
    claim_cell::{ClaimCell, Claiming},
    refusal::Refusal,
};

/// A transaction of the store's own, a `T` of [`Store::Transaction`](crate::store::Store::Transaction): what is written in it takes effect with the decision, exactly once, or not at
/// all.
///
/// It derefs to what that derefs to: for `SqliteTransaction` and `PostgresTransaction` sqlx's connection, for a store of
/// your own what your transaction says. A handler that returns an error, panics, or takes longer than the store's transaction limit
/// leaves no trace.
///
/// Do not commit: that happens after the handler has returned a success. What ends the transaction is answered 500 or 503, and
/// nothing can be written after that: SQLite refuses it, and on PostgreSQL what begins on the connection is read-only until the
/// store has committed. sqlx too ends it, where a nested `begin` fails or is given up, as by a time-out. Leave the session as
/// it is: with another search path or role the decision is not found, and the answer is 503.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use atp_actix::{AtpResponse, Error, Simple, SqliteTransaction};
///
/// async fn approve(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
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
pub struct Transaction<T> {
    open: Option<T>,
    cell: Rc<ClaimCell<T>>,
}

/// The transaction of a [`SqliteStore`]: it derefs to `sqlx::SqliteConnection`.
#[cfg(feature = "sqlite")]
pub type SqliteTransaction = Transaction<<SqliteStore as Store>::Transaction>;

/// The transaction of a [`PostgresStore`]: it derefs to `sqlx::PgConnection`.
#[cfg(feature = "postgres")]
pub type PostgresTransaction = Transaction<<PostgresStore as Store>::Transaction>;

impl<T> fmt::Debug for Transaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction<{}>", type_name::<T>())
    }
}

impl<T: Deref> Deref for Transaction<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        self.open.as_ref().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }
}

impl<T: DerefMut> DerefMut for Transaction<T> {
    fn deref_mut(&mut self) -> &mut T::Target {
        self.open.as_mut().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }
}

impl<T> Drop for Transaction<T> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.cell.give_back(open);
        }
    }
}

impl<T: 'static> FromRequest for Transaction<T> {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let cell = extensions.get::<Rc<ClaimCell<T>>>().cloned();
        let has = extensions.get::<Rc<dyn Claiming>>().map(|claiming| claiming.transaction_type());
        Box::pin(async move {
            let cell = cell.ok_or_else(|| match has {
                Some(has) => Refusal::OtherTransaction { asked: type_name::<T>(), has },
                None => Refusal::NoStore { extractor: "Transaction" },
            })?;
            let open = Some(cell.take().await?);
            Ok(Self { open, cell })
        })
    }
}
