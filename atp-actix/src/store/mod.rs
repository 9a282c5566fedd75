//! What is remembered: the questions that were asked, the one decision of each, and every verified
//! delivery.
//!
//! A [`Store`] turns *verified* into *took effect, once*. Give one to
//! [`Webhook::store`](crate::Webhook::store), and record each question before it is sent:
//!
//! ```
//! use atp_actix::{
//!     atp_core::{Action, Notification},
//!     store::{MemoryStore, Question, Store},
//! };
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id("n-1");
//! let question = Question::new(notification.action(Action::simple("approve", "Approve"))).user_id("user_9");
//! store.record(&question).await?;
//! assert!(store.find("default", "n-1", None).await?.question.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Which backend
//!
//! | backend | for |
//! |---|---|
//! | `SqliteStore::open(file)` | one machine, any number of processes; the embedded default |
//! | `PostgresStore::connect(url)`, feature `postgres` | many machines |
//! | [`MemoryStore`] | tests |
//!
//! Both SQL backends also live in your own database: `from_pool(pool)`, with tables named `atp_*`
//! beside yours, and `record_in(&mut tx, ..)` to record a question in the transaction that makes
//! the row it is about. A backend of your own is one `impl Store`, tried by `store::contract`
//! (feature `test-util`).
//!
//! # What is kept, and for how long
//!
//! Whatever is refused though it was signed is in [`Store::refused`], once for each text that was
//! signed and [`MAX_KEPT`] times for a notification at most; so is what a process left that died
//! under a lease. [`Redrive::prepare`] makes a request of it for your own webhook, good once and
//! for ten minutes. [`Store::deliveries`] counts what came, and tells of each decision whatever
//! became of the counter. [`Store::purge`] forgets what is over and of which nothing came since;
//! [`Store::erase`] blanks what a human said, for good.
//!
//! A store lists no questions and no decisions. To show them, keep the ids in a table of your own
//! and ask [`Store::find`] about each, or read `atp_questions` and `atp_decisions`.
//!
//! Answers are stored once, as JSON text, and not at all with
//! [`Decisions::without_data`](crate::Decisions::without_data). Then a fingerprint stays, hashed
//! with the store's key: who reads the whole database can find a short answer by trying all of
//! them, who sees a [`decision_id`](crate::Delivery::decision_id) alone cannot.
//!
//! # What leaves the service
//!
//! A store that is given [`Routes`] writes what is to be sent in the transaction of its cause: a
//! question with its recording, a decision's event with the decision, and a handler's own
//! ([`Events`](crate::Events)) beside it; `emit_in` writes an event in a transaction of the
//! service's own. A [`Relay`](crate::Relay) sends it afterwards, here or in another process, each
//! event to each of its sinks at least once and under one id. [`Outbox`] has the verbs for that,
//! and for what could not be sent.
//!
//! ```
//! use atp_actix::store::{Event, MemoryStore, Outbox, Routes};
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new().routes(Routes::new().events("bus"));
//! store.emit(&Event::new("orders.shipped", serde_json::json!({ "order": 7 }))?).await?;
//! assert_eq!(store.lag().await?[0].waiting, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # The end
//!
//! To stop in order, call [`Store::drain`] before the server is stopped, so that handlers that
//! outlived their 503 come to their end; then stop the relay, if there is one, and call the store's
//! `close` last.
//!
//! # Upgrading
//!
//! Opening a store brings its tables to this program's version, in one transaction, by one of the
//! processes that start. Make a backup before: there is no way back. Processes of an older version that
//! run already go on; once stopped they do not start again ([`StoreError::NewerSchema`]). So replace all
//! of them, and then `atp`, which works on its own version alone.
//!
//! # The tables
//!
//! | table | a row is |
//! |---|---|
//! | `atp_questions` | what was asked, for whom and about what, as it was sent; when it was taken back, if it was |
//! | `atp_decisions` | the one decision of a notification: fingerprint, action, data, claim, outcome, the task's state, how the answer came |
//! | `atp_deliveries` | the audit: one row for each notification, answer and verdict, with first, last and count |
//! | `atp_refused` | the body of an authentic delivery that was refused, once for each text that was signed |
//! | `atp_events` | what is to leave, or left a while ago: its id, kind, time and data, as they are sent |
//! | `atp_sends` | an event at one of its sinks: due, being sent, behind an older one, or parked; gone once it is sent or given up |
//! | `atp_erased` | a notification of which nothing that a human said may be kept any more |
//! | `atp_key` | the key that fingerprints are hashed with, made with the tables |
//! | `atp_schema` | the version; a program that finds a newer one does not start |
//!
//! Times are microseconds since 1970; in texts that a stranger may choose NUL is written `\0` and a
//! backslash `\\`. The whole is in `atp-actix/src/store/schema/`. Read the tables as you like; write
//! to them through the store.

mod activity;
mod claim;
#[cfg(feature = "test-util")]
mod contract;
mod delivery;
mod error;
mod event;
mod known;
mod memory;
mod outbox;
#[cfg(feature = "test-util")]
mod outbox_contract;
#[cfg(feature = "postgres")]
mod postgres;
mod question;
mod redrive;
mod refused;
mod routes;
mod sending;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod token;
mod verdict;

use std::{future::Future, time::Duration};

use atp_core::Fingerprint;
use chrono::{DateTime, Utc};

pub use activity::{Activity, Hints};
pub(crate) use activity::{Added, UnderWay};
pub use claim::{Arrival, Claim, Claimed, CompletedDecision, Completion, Outcome, STATE_LATE, STATE_REFUSED};
#[cfg(feature = "test-util")]
pub use contract::contract;
pub use delivery::{DeliveryCount, DeliveryRow};
pub use error::StoreError;
pub use event::{Event, EventError};
pub use known::Known;
pub use memory::{MemoryStore, Uncommitted};
pub use outbox::Outbox;
#[cfg(feature = "test-util")]
pub use outbox_contract::outbox_contract;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use question::{DEFAULT_SERVICE, Question, RecordedQuestion};
pub use redrive::Redrive;
pub use refused::{RefusedDelivery, StoredRefusal};
pub use routes::Routes;
pub use sending::{Lag, Outgoing, Parked, SendEnd, Settled};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::transaction::OpenTransaction;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use token::Token;
pub use verdict::Verdict;

pub use crate::limits::{DEFAULT_REDELIVERY_WINDOW, DRAIN_WITHIN, MAX_KEPT, MAX_SERVICE};

/// Remembers questions, decisions and deliveries. A clone shares them.
///
/// Each verb is atomic. *Durable* ones have reached the disk when they return `Ok`; the others may
/// be forgotten by a power cut, which costs a second run of a handler, and nothing else: what the
/// first did in its transaction is forgotten too.
pub trait Store: Clone + Send + Sync + 'static {
    /// Where a handler's own work is done, so that it is committed with the decision or not at all.
    /// Handlers get it as [`Transaction<T>`](crate::Transaction), and work on what it derefs to.
    type Transaction: Send + 'static;

    /// Remembers a question that is about to be sent. Durable. The same question again changes
    /// nothing, also one that was made at another time or has another deadline: the first deadline
    /// stands ([`Question::asks_the_same`]).
    ///
    /// [`StoreError::DeadlinePassed`] if nobody could answer it in time any more, unless it is
    /// recorded already.
    fn record(&self, question: &Question) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says which identifier the ATP server gave to a question that was recorded under a key of our
    /// own. Durable.
    fn bind(
        &self,
        service: &str,
        key: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a question back: later answers are refused. Durable. One that is completed cannot be
    /// taken back ([`StoreError::Decided`]), nor one while it is being handled
    /// ([`StoreError::Running`]). An answer that came a moment before, and whose handler has not
    /// begun, may still take effect.
    fn invalidate(
        &self,
        service: &str,
        notification_id: &str,
        reason: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is known of a notification; and of one answer to it, if it is asked for.
    fn find(
        &self,
        service: &str,
        notification_id: &str,
        answer: Option<Fingerprint>,
    ) -> impl Future<Output = Result<Known, StoreError>> + Send;

    /// What is known of the question that is recorded under a key, also before it is bound to a
    /// notification; nothing if there is none.
    fn find_by_key(&self, service: &str, key: &str)
    -> impl Future<Output = Result<Known, StoreError>> + Send;

    /// Takes the right to decide, if nobody has it. Not durable.
    ///
    /// Of any number of claims at once one gets [`Claimed::Started`]. A lease that has ended, or
    /// that starts in the future because a clock was set back, may be taken over; a completed
    /// decision never.
    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Takes the right to decide as [`Store::claim`] does, in the transaction that will complete
    /// it.
    ///
    /// Whatever commits that transaction commits a success with it, until [`Store::complete`] says
    /// something else. Dropped, it is rolled back, and the claim is as it was before: none, as a
    /// rule.
    fn claim_in_transaction(
        &self,
        claim: &Claim,
    ) -> impl Future<Output = Result<Claimed<Self::Transaction>, StoreError>> + Send;

    /// Opens the transaction that will complete a claim that was made before.
    /// [`StoreError::Fenced`] if it is no longer ours.
    ///
    /// As with [`Store::claim_in_transaction`], but dropped it leaves the claim.
    fn resume(&self, claim: &Claim) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send;

    /// Ends a claim with its outcome and the task's state: in the transaction that the handler has
    /// worked in, if there is one. Durable.
    ///
    /// What a handler refuses has no effect: where the outcome is no success, that transaction is
    /// rolled back first, and the outcome is recorded alone.
    ///
    /// [`StoreError::Fenced`] if another has taken the claim over; then nothing was written. Any
    /// other error leaves open whether it was; the next delivery finds out.
    fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<Self::Transaction>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives a claim back, as if it had never been made. Not durable.
    fn release_claim(&self, claim: &Claim) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Counts verified deliveries, all or none. Not durable, and never a reason to answer
    /// otherwise.
    ///
    /// No two of the notes are of the same row.
    fn count_deliveries(
        &self,
        counts: &[DeliveryCount],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps the body of an authentic delivery that was refused, once for each text that was
    /// signed, however often it comes and however it is spelled. Says whether it was not there yet.
    /// Durable.
    ///
    /// One that is there for the same reason costs a query and no write. [`StoreError::KeptEnough`]
    /// where [`MAX_KEPT`] others of its notification are there. Of a notification that was erased
    /// nothing is kept.
    fn keep(&self, kept: &RefusedDelivery) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The kept bodies with an id above `after`, in the order of their ids, at most `limit`.
    ///
    /// With them, as [`Verdict::Abandoned`], those whose handler began under a lease that ended
    /// without a word: its process died. They are moved here first, or when another answer takes
    /// their place.
    ///
    /// A body stays here until it is purged or erased, also when it was sent in again and handled
    /// since: [`Store::find`] tells whether its question is decided by now.
    fn refused(
        &self,
        service: &str,
        after: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<StoredRefusal>, StoreError>> + Send;

    /// Notes that a kept body is about to be sent in again with this token, in place of any before.
    /// Durable. [`StoreError::NotKept`] if there is no such body.
    ///
    /// Call [`Redrive::prepare`] instead, which calls this: the token alone is good for nothing,
    /// since a webhook lets in only what is signed.
    fn redrive(
        &self,
        service: &str,
        id: i64,
        token: Token,
    ) -> impl Future<Output = Result<StoredRefusal, StoreError>> + Send;

    /// Uses a redrive's token up, and says whether it was there to be used. Durable.
    ///
    /// The webhook has checked before, in memory, that this service made the token.
    fn redeem(
        &self,
        service: &str,
        id: i64,
        token: Token,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The verified deliveries of a notification, in the order of their first arrival.
    ///
    /// That of a decision is among them once the decision is there, whatever became of its counter:
    /// the decision tells it.
    fn deliveries(
        &self,
        service: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<Vec<DeliveryRow>, StoreError>> + Send;

    /// Voids a recorded 4xx, so that the question can be answered again. Durable.
    fn reopen(
        &self,
        service: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets questions with all that belongs to them: whose decision was completed before this
    /// time, or whose invalidation or else deadline passed before it without a decision or a lease
    /// that lasted longer. One of which anything came or was refused since stays whole. And what
    /// came of unknown notifications: counters by the last, bodies by the first. Says how many
    /// questions. Durable, in batches.
    ///
    /// Not atomic as a whole: each batch is. Keep `before` longer ago than the webhook's redelivery
    /// window, or a late redelivery of a forgotten decision is an unknown notification; stores
    /// refuse less than [`DEFAULT_REDELIVERY_WINDOW`] unless told otherwise.
    ///
    /// Nothing calls this by itself, so the tables grow until the service does; once a day, say, with
    /// `Utc::now() - TimeDelta::days(30)`. What is sent is another thing: a relay deletes it.
    fn purge(&self, before: DateTime<Utc>) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Blanks what a human said about a notification, for good: data, kept bodies, responders, and
    /// `additional_data` of the decision's own events, whether they are sent or not. What an event of
    /// the service's own holds stays, and what a sink has is out of reach.
    ///
    /// The decision stands, with what its handler answered: let that repeat nothing personal. What
    /// comes of it later is counted, and nothing of it is kept; so it is also with a notification
    /// of which nothing is known yet. Durable. [`StoreError::Running`] while it is being handled:
    /// try again in a moment.
    ///
    /// A database overwrites what it has freed when it needs the room: on SQLite at once with
    /// `PRAGMA secure_delete = ON` in the pool's connect options (the rest of the file by
    /// `VACUUM`), on PostgreSQL after a vacuum.
    fn erase(
        &self,
        service: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How long a handler may hold a [`Store::Transaction`]; for ever where this is `None`.
    fn get_transaction_limit(&self) -> Option<Duration> {
        None
    }

    /// How long ago an answer may have been signed, and what [`Store::purge`] leaves: one time for
    /// both, since what is forgotten sooner than it may come again is decided twice.
    fn get_redelivery_window(&self) -> Duration {
        DEFAULT_REDELIVERY_WINDOW
    }

    /// Which sinks are told of what; none unless a store is an [`Outbox`].
    ///
    /// A store that gives routes writes [`Claim::events`] and [`Completion::events`] with the
    /// decision, and an event for each question that it records or takes back, where these name a
    /// sink for it.
    fn get_routes(&self) -> &Routes {
        static NOWHERE: Routes = Routes::new();
        &NOWHERE
    }

    /// What fingerprints are hashed with before they leave the webhook: 32 random bytes that were
    /// made with the database and never change.
    fn get_fingerprint_key(&self) -> &[u8; 32];

    /// What the webhooks of this process share: the same for all clones.
    fn get_activity(&self) -> &Activity;

    /// Ends the work of this process's webhooks in order: from now on deliveries are answered 503,
    /// what is under way may go on for so long, and the counters that wait are written. Says how
    /// many deliveries were still under way. An error is that of writing counters: those that were
    /// not written wait on.
    ///
    /// Call it *before* you stop the server, whose workers take their work with them; the stores'
    /// `close` calls it once more, and writes what came meanwhile.
    ///
    /// ```no_run
    /// # use actix_web::{App, HttpServer, rt};
    /// # use atp_actix::store::{DRAIN_WITHIN, SqliteStore, Store};
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = SqliteStore::open("orders.sqlite").await?;
    /// let server = HttpServer::new(|| App::new()).disable_signals().bind(("127.0.0.1", 8080))?.run();
    /// let (handle, draining) = (server.handle(), store.clone());
    /// rt::spawn(async move {
    ///     rt::signal::ctrl_c().await.expect("a signal");
    ///     draining.drain(DRAIN_WITHIN).await.expect("the store");
    ///     handle.stop(true).await;
    /// });
    /// server.await?;
    /// store.close().await;
    /// # Ok(())
    /// # }
    /// ```
    fn drain(&self, within: Duration) -> impl Future<Output = Result<usize, StoreError>> + Send {
        async move {
            let left = self.get_activity().end(within).await;
            loop {
                let counts = self.get_activity().take();
                if counts.is_empty() {
                    return Ok(left);
                }
                if let Err(error) = self.count_deliveries(&counts).await {
                    self.get_activity().stopped_writing(counts);
                    return Err(error);
                }
            }
        }
    }
}
