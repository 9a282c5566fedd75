//! Why a store did not do what it was asked.

use std::time::Duration;

use atp_core::QuestionError;
use chrono::{DateTime, Utc};

use super::event::EventError;
use crate::limits::MAX_KEPT;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The question could not be answered.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// The context has no JSON, or nests too deep to be read again.
    #[error("the context of the question cannot be stored: {0}")]
    Context(String),
    /// The question has JSON that could not be read again.
    #[error("the question cannot be stored: {0}")]
    Unreadable(String),
    /// The question has neither an id nor a key.
    #[error("the question has no id: set `Notification::id`, or `Question::key` and later `Store::bind`")]
    NoKey,
    /// It would not fit into a key.
    #[error("the {what} is longer than {most} bytes")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// Another question has that key or id.
    #[error(
        "another question is recorded under {0:?}: record yours under a key of its own, or compare it with what \
         `Store::find` or `Store::find_by_key` gives"
    )]
    AlreadyRecorded(String),
    /// Nobody could answer the question in time.
    #[error(
        "the deadline of the question, {deadline}, had passed at {now} when it was to be recorded: set a later one"
    )]
    DeadlinePassed {
        /// The deadline.
        deadline: DateTime<Utc>,
        /// The time by the store's clock.
        now: DateTime<Utc>,
    },
    /// There is no such question.
    #[error("no question {0:?} is recorded for this service")]
    NotRecorded(String),
    /// The decision is completed.
    #[error("the question {0:?} is decided and cannot be taken back: `Store::find` tells the decision")]
    Decided(String),
    /// A delivery of it is being handled.
    #[error("the question {0:?} is being decided: try again in a moment")]
    Running(String),
    /// There is no recorded 4xx.
    #[error(
        "the question {0:?} has no recorded refusal that could be voided: `Store::find` tells whether it is decided, \
         and how"
    )]
    NotRefused(String),
    /// There is no such kept body.
    #[error(
        "no refused delivery has the id {0} for this service: `Store::refused` lists those that are kept"
    )]
    NotKept(i64),
    /// No event is parked there.
    #[error(
        "no event is parked at the place {seq} for the sink {sink:?}: `Outbox::parked` lists those that are"
    )]
    NotParked {
        /// The sink.
        sink: String,
        /// The place.
        seq: i64,
    },
    /// There can be no such event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Of this notification enough is kept.
    #[error(
        "{MAX_KEPT} refused deliveries of the notification are kept already, and this one is not: send them in again, or erase or purge them"
    )]
    KeptEnough,
    /// Another delivery took the claim over.
    #[error("the claim is lost: its lease ended, and another delivery took it over")]
    Fenced,
    /// A handler's transaction did not end as it began.
    #[error("the handler's transaction cannot be committed: {0}")]
    Unclean(&'static str),
    /// `purge` would forget decisions that may still be delivered again.
    #[error(
        "`before` is less than the redelivery window of {} ago: give an earlier time, or set the store's \
         `redelivery_window`",
        in_words(*window)
    )]
    TooRecent {
        /// The window.
        window: Duration,
    },
    /// The database was made by a newer version of this crate.
    #[error("the schema is of version {found}, and this program knows {known}: update the program")]
    NewerSchema {
        /// In the database.
        found: i64,
        /// In this program.
        known: i64,
    },
    /// The database has other tables under the names of ours, as one of an unpublished version has.
    #[error("the tables named `atp_*` are not those of this program: give it a fresh database ({0})")]
    OtherTables(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database does not hold every text.
    #[error("the database is in {0}, which does not hold every text: make one in UTF8")]
    NotUtf8(String),
    /// The database would forget what it has acknowledged.
    #[error("not durable: {0}")]
    NotDurable(String),
    /// The database takes no writes.
    #[error(
        "the server is read-only: connect to the primary, and leave `default_transaction_read_only` at off"
    )]
    ReadOnly,
    /// A handler that holds a connection would leave none for the store.
    #[error("the pool has one connection, and two are needed: raise `max_connections`")]
    PoolTooSmall,
    /// The database was waited for, and not for ever.
    #[error("given up: {0}")]
    TimedOut(&'static str),
    /// This program has closed the store.
    #[error("this program has closed the store: call `close` after all who use it have ended")]
    Closed,
    /// The database failed.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Hours where it is hours.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds > 0 && seconds.is_multiple_of(3600) {
        format!("{} h", seconds / 3600)
    } else {
        format!("{seconds} s")
    }
}

/// Refuses to forget what may be delivered again.
pub(crate) fn check_purge(
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    window: Duration,
) -> Result<(), StoreError> {
    match (now - before).to_std() {
        Ok(age) if age >= window => Ok(()),
        _ => Err(StoreError::TooRecent { window }),
    }
}
