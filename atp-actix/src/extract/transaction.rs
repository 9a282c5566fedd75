//! The transaction that a decision completes in, for the handler.

use std::{
    any::type_name,
    fmt,
    ops::{Deref, DerefMut},
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use futures_util::future::LocalBoxFuture;

use crate::{
    claim_cell::{AnyClaimCell, ClaimCell},
    refusal::Refusal,
};

/// A transaction of the store's own database: what is written in it takes effect with the decision,
/// exactly once, or not at all.
///
/// It derefs to what the store's transaction derefs to: sqlx's connection in [`SqliteTransaction`]
/// and [`PostgresTransaction`]. A handler that returns an error, refuses, panics, or takes longer
/// than the store's transaction limit leaves no trace.
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use atp_actix::{AtpResponse, Error, Simple, SqliteTransaction};
///
/// async fn approve(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
///     sqlx::query("UPDATE orders SET state = 'approved' WHERE notification_id = ?")
///         .bind(&answer.notification_id)
///         .execute(&mut *tx)
///         .await?;
///     Ok(())
/// }
/// ```
///
/// # Which one
///
/// | a handler that | takes | holds meanwhile | if its process dies |
/// |---|---|---|---|
/// | writes in the database | `Transaction` | the transaction, for 2 s at most | the next delivery is handled at once |
/// | calls a payment or a deployment, then writes | [`Deferred`] | a lease, of 60 s | the answer waits until the lease ends, then the handler runs again |
/// | only calls something else | neither | a lease, of 60 s | the same |
/// | starts what takes longer | `Transaction`, and writes a job for a worker | the transaction | the next delivery is handled at once |
///
/// What a handler does outside of the transaction happens at least once, so give whatever it calls
/// [`Delivery::decision_id`](crate::Delivery::decision_id) as its idempotency key: that is the same
/// in every attempt. A call *within* the transaction is the wrong order: when it takes longer than
/// the limit the transaction is rolled back, and the next attempt calls again.
///
/// # What it must not do
///
/// Do not commit: that happens after the handler has returned a success. What ends the transaction
/// is answered 500 or 503, and nothing can be written after that: SQLite refuses it, and on
/// PostgreSQL what begins on the connection is read-only until the store has committed. sqlx too
/// ends it, where a nested `begin` fails or is given up, as by a time-out. Leave the session as it
/// is: with another search path or role the decision is not found, and the answer is 503.
///
/// It must be dropped when the handler returns, and can be taken once: two in one handler would
/// wait for each other. One that is moved elsewhere is never committed, and holds up others until
/// it is dropped there; one that is leaked, as by [`std::mem::forget`], does so until the process
/// ends.
///
/// A handler that asks the next question records that in the same transaction, by the store's
/// `record_in`. On SQLite whatever else writes to the file waits for this transaction, the store
/// too. On PostgreSQL the store's own verbs take another connection, and what they write stands
/// even where this is rolled back. At most three quarters of the pool are lent to handlers at a
/// time; who comes when there is none left waits for two seconds, and is answered 503.
///
/// # Errors
/// As an extractor: 503 where the store is away, and an opaque 500 where there is no store, or one
/// with transactions of another type, such as [`MemoryStore`](crate::store::MemoryStore); the log
/// names both types.
pub struct Transaction<T> {
    open: Option<T>,
    cell: Rc<ClaimCell<T>>,
}

/// A [`Transaction`] of a [`SqliteStore`](crate::store::SqliteStore).
#[cfg(feature = "sqlite")]
pub type SqliteTransaction = Transaction<crate::store::OpenTransaction<sqlx::Sqlite>>;

/// A [`Transaction`] of a `PostgresStore`.
#[cfg(feature = "postgres")]
pub type PostgresTransaction = Transaction<crate::store::OpenTransaction<sqlx::Postgres>>;

impl<T> Transaction<T> {
    async fn open(cell: Rc<ClaimCell<T>>) -> Result<Self, Refusal> {
        let open = Some(cell.take().await?);
        Ok(Self { open, cell })
    }

    /// The store's transaction itself.
    fn get(&self) -> &T {
        self.open.as_ref().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }

    fn get_mut(&mut self) -> &mut T {
        self.open.as_mut().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }
}

impl<T> fmt::Debug for Transaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction<{}>", type_name::<T>())
    }
}

impl<T: Deref> Deref for Transaction<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        self.get()
    }
}

impl<T: DerefMut> DerefMut for Transaction<T> {
    fn deref_mut(&mut self) -> &mut T::Target {
        self.get_mut()
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
        let cell = cell(request, "Transaction");
        Box::pin(async move { Self::open(cell?).await })
    }
}

/// A transaction that a handler opens when it has done its work elsewhere: the [`Transaction`] of
/// which this is a promise is opened by [`Deferred::begin`].
///
/// The claim is made before the handler runs, and held by a lease
/// ([`Decisions::lease`](crate::Decisions::lease)), so a payment may take its time and holds nobody
/// up; "Which one" at [`Transaction`] says when to take which. A handler that returns without
/// having begun completes its decision without a transaction.
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use atp_actix::{AtpResponse, Deferred, Error, Simple, SqliteTransaction};
///
/// # async fn pay(_: uuid::Uuid) -> Result<String, std::io::Error> { Ok(String::new()) }
/// async fn refund(
///     answer: AtpResponse<Simple>,
///     deferred: Deferred<SqliteTransaction>,
/// ) -> Result<(), Error> {
///     // Whoever pays pays once for each decision, however often it is asked.
///     let receipt = pay(answer.delivery().decision_id()).await?;
///     let mut tx = deferred.begin().await?;
///     sqlx::query("UPDATE orders SET receipt = ? WHERE notification_id = ?")
///         .bind(receipt)
///         .bind(&answer.notification_id)
///         .execute(&mut *tx)
///         .await?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// As an extractor: an opaque 500, as of [`Transaction`].
pub struct Deferred<X> {
    opening: Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<X, Refusal>>>,
}

impl<X> Deferred<X> {
    /// Opens the transaction that completes the decision.
    ///
    /// # Errors
    /// [`Refusal::Store`] where the store is away, or another delivery took the claim over because
    /// the lease had ended. Return it: `?` makes a 503 of it.
    pub async fn begin(self) -> Result<X, Refusal> {
        (self.opening)().await
    }
}

impl<X> fmt::Debug for Deferred<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deferred<{}>", type_name::<X>())
    }
}

impl<T: 'static> FromRequest for Deferred<Transaction<T>> {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(
            cell(request, "Deferred")
                .map(|cell| Self { opening: Box::new(move || Box::pin(Transaction::open(cell))) }),
        )
    }
}

/// The cell of a delivery's claim, if its store has transactions of this type.
fn cell<T: 'static>(request: &HttpRequest, extractor: &'static str) -> Result<Rc<ClaimCell<T>>, Refusal> {
    let extensions = request.extensions();
    if let Some(cell) = extensions.get::<Rc<ClaimCell<T>>>() {
        return Ok(Rc::clone(cell));
    }
    Err(match extensions.get::<Rc<dyn AnyClaimCell>>() {
        Some(other) => Refusal::OtherTransaction { asked: type_name::<T>(), has: other.transaction_type() },
        None => Refusal::NoStore { extractor },
    })
}
