//! What is remembered: the questions that were asked, the one decision of each, and every verified delivery.
//!
//! A [`Store`] turns *verified* into *took effect, once*. Give one to [`Webhook::store`](crate::Webhook::store), and record
//! each question before it is sent:
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

mod activity;
mod contract;
#[cfg(feature = "postgres")]
mod in_time;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod writer;

use std::{fmt, future::Future, time::Duration};

use atp_core::{Fingerprint, Notification, QuestionError, Redriven, Scheme, Verifier};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

pub use activity::Activity;
pub(crate) use activity::{Added, UnderWay};
pub use contract::contract;
pub use memory::{MemoryStore, Uncommitted};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use open::Open;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

/// The service that a question belongs to unless it is named.
pub const DEFAULT_SERVICE: &str = "default";

/// The longest name of a service, in bytes: with a notification's id it fits into a key of any database.
pub const MAX_SERVICE: usize = 250;

/// Refuses what could be written and never read again: `serde_json` writes any depth, and reads 127.
fn check_readable(value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    let is_readable = serde_json::from_str::<Value>(&text).is_ok();
    if is_readable { Ok(()) } else { Err("it nests deeper than 127, and could not be read again".to_owned()) }
}

/// Refuses what does not fit into a key.
pub(crate) fn check_length(what: &'static str, text: &str, most: usize) -> Result<(), StoreError> {
    if text.len() <= most { Ok(()) } else { Err(StoreError::TooLong { what, most }) }
}

/// Remembers questions, decisions and deliveries. A clone shares them.
///
/// Each verb is atomic. *Durable* ones have reached the disk when they return `Ok`; the others may be forgotten by a power
/// cut, which costs a second run of a handler, and nothing else: what the first did in its transaction is forgotten too.
pub trait Store: Clone + Send + Sync + 'static {
    /// Where a handler's own work is done, so that it is committed with the decision or not at all.
    type Transaction: Send + 'static;

    /// Remembers a question that is about to be sent. Durable. The same question again changes nothing, also one that was made
    /// at another time.
    fn record(&self, question: &Question) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says which identifier the ATP server gave to a question that was recorded under a key of our own. Durable.
    fn bind(
        &self,
        service: &str,
        key: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a question back: later answers are refused. Durable. One that is completed cannot be taken back
    /// ([`StoreError::Decided`]), nor one while it is being handled ([`StoreError::Running`]). An answer that came a moment
    /// before, and whose handler has not begun, may still take effect.
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
    ) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Takes the right to decide, if nobody has it. Not durable.
    ///
    /// Of any number of claims at once one gets [`Claimed::Started`]. A lease that has ended, or that starts in the future
    /// because a clock was set back, may be taken over; a completed decision never.
    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Takes the right to decide as [`Store::claim`] does, in the transaction that will complete it.
    ///
    /// Whatever commits that transaction commits a success with it, until [`Store::complete`] says something else. Dropped,
    /// it is rolled back, and the claim is as it was before: none, as a rule.
    fn begin(
        &self,
        claim: &Claim,
    ) -> impl Future<Output = Result<Claimed<Self::Transaction>, StoreError>> + Send;

    /// Opens the transaction that will complete a claim that was made before. [`StoreError::Fenced`] if it is no longer ours.
    ///
    /// As with [`Store::begin`], but dropped it leaves the claim.
    fn resume(&self, claim: &Claim) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send;

    /// Ends a claim with its outcome and the task's state: in the transaction that the handler has worked in, if there is
    /// one. Durable.
    ///
    /// What a handler refuses has no effect: where the outcome is no success, that transaction is rolled back first, and the
    /// outcome is recorded alone.
    ///
    /// [`StoreError::Fenced`] if another has taken the claim over; then nothing was written. Any other error leaves open
    /// whether it was; the next delivery finds out.
    fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<Self::Transaction>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives a claim back, as if it had never been made. Not durable.
    fn release(&self, claim: &Claim) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Counts verified deliveries, all or none. Not durable, and never a reason to answer otherwise.
    ///
    /// No two of the notes are of the same row.
    fn note(&self, notes: &[Note]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps the body of an authentic delivery that was refused, once for each text that was signed, however often it comes
    /// and however it is spelled. Says whether it was not there yet. Durable.
    ///
    /// One that is there for the same reason costs a query and no write. [`StoreError::KeptEnough`] where
    /// [`MAX_KEPT`] others of its notification are there. Of a notification that was erased nothing is kept.
    fn keep(&self, kept: &Kept) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The kept bodies with an id above `after`, in the order of their ids, at most `limit`.
    ///
    /// With them, as [`Verdict::Abandoned`], those whose handler began under a lease that ended without a word: its process
    /// died. They are moved here first, or when another answer takes their place.
    fn refused(
        &self,
        service: &str,
        after: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Refused>, StoreError>> + Send;

    /// Notes that a kept body is about to be sent in again with this token, in place of any before.
    /// Durable. [`StoreError::NotKept`] if there is no such body.
    ///
    /// Call [`Redrive::prepare`] instead, which calls this: the token alone is good for nothing, since
    /// a webhook lets in only what is signed.
    fn redrive(
        &self,
        service: &str,
        id: i64,
        token: Token,
    ) -> impl Future<Output = Result<Refused, StoreError>> + Send;

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
    /// That of a decision is among them once the decision is there, whatever became of its counter: the decision tells it.
    fn deliveries(
        &self,
        service: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<Vec<Noted>, StoreError>> + Send;

    /// Voids a recorded 4xx, so that the question can be answered again. Durable.
    fn reopen(
        &self,
        service: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets questions with all that belongs to them: whose decision was completed before this time, or whose invalidation
    /// or else deadline passed before it without a decision or a lease that lasted longer. One of which anything came or
    /// was refused since stays whole. And what came of unknown notifications: counters by the last, bodies by the first. Says
    /// how many questions. Durable, in batches.
    ///
    /// Not atomic as a whole: each batch is. Keep `before` longer ago than the webhook's redelivery window, or a late
    /// redelivery of a forgotten decision is an unknown notification; stores refuse less than
    /// [`DEFAULT_REDELIVERY_WINDOW`] unless told otherwise.
    fn purge(&self, before: DateTime<Utc>) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Blanks what a human said about a notification, for good: data, kept bodies and responders. The decision stands, with
    /// what its handler answered: let that repeat nothing personal. What comes of it later is counted, and nothing of it is
    /// kept; so it is also with a notification of which nothing is known yet. Durable. [`StoreError::Running`] while it is
    /// being handled: try again in a moment.
    ///
    /// A database overwrites what it has freed when it needs the room: on SQLite at once with `PRAGMA secure_delete = ON` in
    /// the pool's connect options (the rest of the file by `VACUUM`), on PostgreSQL after a vacuum.
    fn erase(
        &self,
        service: &str,
        notification_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How long a handler may hold a [`Store::Transaction`]; for ever where this is `None`.
    fn transaction_limit(&self) -> Option<Duration> {
        None
    }

    /// How long ago an answer may have been signed, and what [`Store::purge`] leaves: one time for both, since what is
    /// forgotten sooner than it may come again is decided twice.
    fn get_redelivery_window(&self) -> Duration {
        DEFAULT_REDELIVERY_WINDOW
    }

    /// What fingerprints are hashed with before they leave the webhook: 32 random bytes that were made with the database and
    /// never change.
    fn fingerprint_key(&self) -> &[u8; 32];

    /// What the webhooks of this process share: the same for all clones.
    fn activity(&self) -> &Activity;

    /// Ends the work of this process's webhooks in order: from now on deliveries are answered 503, what is under way may go
    /// on for so long, and the counters that wait are written. Says how many deliveries were still under way. An error is
    /// that of writing counters: those that were not written wait on.
    ///
    /// Call it *before* you stop the server, whose workers take their work with them; the stores' `close` calls it once more,
    /// and writes what came meanwhile.
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
            let left = self.activity().end(within).await;
            loop {
                let notes = self.activity().take();
                if notes.is_empty() {
                    return Ok(left);
                }
                if let Err(error) = self.note(&notes).await {
                    self.activity().stopped_writing(notes);
                    return Err(error);
                }
            }
        }
    }
}

/// How long an ATP server may go on delivering an answer, unless set: three days.
pub const DEFAULT_REDELIVERY_WINDOW: Duration = Duration::from_hours(72);

/// How long the stores' `close` lets handlers go on: as long as actix, unless set, waits for its connections.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Drains a store that is about to be closed, and tells what was lost.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
async fn end_work(store: &impl Store) {
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

/// How many refused bodies of one notification are kept. A sender may sign as many answers as it likes; whoever looks into a
/// notification that was refused so often needs no more of them.
pub const MAX_KEPT: u32 = 100;

/// A question that is about to be sent, and what its answer will be correlated with.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Question {
    pub(crate) service: String,
    pub(crate) key: Option<String>,
    pub(crate) notification: Notification,
    pub(crate) user_id: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) context: Value,
    /// Why the context is no JSON.
    unfit_context: Option<String>,
}

impl Question {
    /// A question of the default service, recorded under its own id.
    pub fn new(notification: Notification) -> Self {
        Self {
            service: DEFAULT_SERVICE.to_owned(),
            key: None,
            notification,
            user_id: None,
            request_id: None,
            context: Value::Null,
            unfit_context: None,
        }
    }

    /// Names the service that asks, in at most [`MAX_SERVICE`] bytes; [`DEFAULT_SERVICE`] unless set. A webhook sees the
    /// questions of its own service only.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Records it under a key of our own, of at most [`Notification::MAX_ID`] bytes; under the
    /// notification's id unless set. It is needed where the ATP server names the notification:
    /// [`Store::bind`] says later which id that is.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says for whom it is asked.
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Says for which request it is asked.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Says whatever else the handler of the answer will need.
    ///
    /// What has no JSON, such as a map whose keys are no texts, and what nests too deep to be read again
    /// is [`StoreError::Context`] when the question is recorded.
    pub fn context(mut self, context: impl Serialize) -> Self {
        match serde_json::to_value(context) {
            Ok(context) => (self.context, self.unfit_context) = (context, None),
            Err(error) => self.unfit_context = Some(error.to_string()),
        }
        self
    }

    /// Whether this asks what that asked: a program that starts again makes its questions at another time.
    pub(crate) fn asks_the_same(&self, earlier: &Self) -> bool {
        let mut ours = self.notification.clone();
        ours.timestamp = earlier.notification.timestamp;
        ours == earlier.notification
            && self.user_id == earlier.user_id
            && self.request_id == earlier.request_id
            && self.context == earlier.context
    }

    /// What is asked, to be sent to the ATP server.
    #[must_use]
    pub fn notification(&self) -> &Notification {
        &self.notification
    }

    /// The key, if the question can be recorded.
    pub(crate) fn checked_key(&self) -> Result<&str, StoreError> {
        self.notification.check()?;
        if let Some(fault) = &self.unfit_context {
            return Err(StoreError::Context(fault.clone()));
        }
        check_readable(&self.context).map_err(StoreError::Context)?;
        check_readable(&self.notification).map_err(StoreError::Unreadable)?;
        check_length("service", &self.service, MAX_SERVICE)?;
        let key = self.key.as_ref().or(self.notification.id.as_ref());
        let key = key.map(String::as_str).filter(|key| !key.is_empty()).ok_or(StoreError::NoKey)?;
        check_length("key", key, Notification::MAX_ID)?;
        Ok(key)
    }
}

/// What is known of a notification.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The question, if it was recorded.
    pub question: Option<Recorded>,
    /// The decision, if it is completed.
    pub decision: Option<Completed>,
    /// When the first verified delivery of it came.
    pub first_seen: Option<DateTime<Utc>>,
    /// When the first of the answer that was asked for came.
    pub answer_seen: Option<DateTime<Utc>>,
}

/// A question that was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// As it was sent.
    pub notification: Notification,
    /// For whom it was asked.
    pub user_id: Option<String>,
    /// For which request it was asked.
    pub request_id: Option<String>,
    /// Whatever else was recorded with it.
    pub context: Value,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Why it was taken back, if it was.
    pub invalidated: Option<String>,
    /// What became of the task; none while it waits.
    pub state: Option<String>,
}

/// A decision that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Which answer it was.
    pub fingerprint: Fingerprint,
    /// What its handler said.
    pub outcome: Outcome,
}

/// What a handler said to a decision: what the same delivery gets again.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status: a success, or a 4xx.
    pub status: u16,
    /// The content type, if there is one.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Outcome {
    /// The longest body that is recorded, in bytes. Of a longer one its status is, with `{"status":"success"}` if it is a success
    /// and without a body if it is none.
    pub const MAX_BODY: usize = 16 << 10;

    /// Whether it is a success: what the handler wrote stands.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the delivery that it was said to is counted as.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.is_success() { Verdict::Handled } else { Verdict::Refused }
    }

    /// 200 `{"status":"success"}`.
    #[must_use]
    pub fn success() -> Self {
        Self {
            status: 200,
            content_type: Some("application/json".to_owned()),
            body: Bytes::from_static(br#"{"status":"success"}"#),
        }
    }
}

/// Who wants to decide what.
#[derive(Clone)]
pub struct Claim {
    /// The service.
    pub service: String,
    /// The question.
    pub notification_id: String,
    /// The answer.
    pub fingerprint: Fingerprint,
    /// The action that was chosen.
    pub action_id: String,
    /// The data as JSON text, if it is to be stored.
    pub data: Option<String>,
    /// Proof of the claim, if it is granted.
    pub token: Token,
    /// For how long.
    pub lease: Duration,
    /// How the answer came.
    pub arrival: Arrival,
}

/// How an answer came that somebody wants to take effect: what the audit tells of its decision, and what is kept of it if the
/// process of its handler dies.
#[derive(Clone)]
pub struct Arrival {
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// Who answered.
    pub responder: Option<String>,
    /// The text that was signed.
    pub text: Bytes,
    /// The body as it came.
    pub body: Bytes,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Arrival {
    /// What [`Store::keep`] would know it by.
    pub(crate) fn signed(&self) -> [u8; 32] {
        digest(&self.text)
    }
}

impl Claim {
    /// What completes it unless its handler says something else.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn expected(&self) -> Completion {
        Completion { outcome: Outcome::success(), state: Some(self.action_id.clone()) }
    }
}

/// What came of a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed<T = ()> {
    /// It is ours, with what it is completed in.
    Started(T),
    /// Somebody is at it.
    Running,
    /// It is over.
    Completed(Completed),
}

/// Proof of a claim, or of a redrive: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl Token {
    /// A new one, from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What the handler said.
    pub outcome: Outcome,
    /// The task's new state; it keeps its own if there is none.
    pub state: Option<String>,
}

/// What became of a verified delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Its handler ran and succeeded, which was recorded.
    Handled,
    /// It was handled before.
    Replayed,
    /// Another delivery was at it.
    Running,
    /// Its handler refused it with a 4xx, which was recorded.
    Refused,
    /// Its handler failed, or the store did.
    Failed,
    /// Its handler began, and its process died before it ended.
    Abandoned,
    /// Another answer stands.
    Conflict,
    /// The deadline had passed, or the question was taken back.
    Late,
    /// It was signed longer ago than servers deliver again, or in the future.
    Stale,
    /// Its action is not of the question, or its data does not fit.
    Unfit,
    /// The notification was not recorded.
    Unknown,
    /// Its responder may not decide.
    Forbidden,
    /// It is no answer.
    Malformed,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Handled,
        Self::Replayed,
        Self::Running,
        Self::Refused,
        Self::Failed,
        Self::Abandoned,
        Self::Conflict,
        Self::Late,
        Self::Stale,
        Self::Unfit,
        Self::Unknown,
        Self::Forbidden,
        Self::Malformed,
    ];

    /// The name in the database and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Replayed => "replayed",
            Self::Running => "running",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Conflict => "conflict",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Unfit => "unfit",
            Self::Unknown => "unknown",
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
        }
    }
}

/// Verified deliveries, as they are counted: one row for each notification, fingerprint and verdict. Where there are several
/// that is told which is of the last.
#[derive(Clone, Debug)]
pub struct Note {
    /// The service.
    pub service: String,
    /// The question.
    pub notification_id: String,
    /// The answer.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub verdict: Verdict,
    /// How many came.
    pub count: u64,
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// Who answered.
    pub responder: Option<String>,
    /// What it was answered.
    pub status: u16,
    /// How long that took.
    pub duration: Duration,
}

#[cfg(feature = "postgres")]
impl Note {
    /// What names its row.
    pub(crate) fn row(&self) -> (&str, &str, &[u8; 32], Verdict) {
        (&self.service, &self.notification_id, self.fingerprint.as_bytes(), self.verdict)
    }
}

/// A row of counted deliveries. The first and the last of them may have come otherwise; what is told is of the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The answer.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub verdict: Verdict,
    /// When the first came.
    pub first_seen: DateTime<Utc>,
    /// When the last came.
    pub last_seen: DateTime<Utc>,
    /// How many came.
    pub count: u64,
    /// The request id, which is not signed.
    pub request_id: Option<String>,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// Who answered.
    pub responder: Option<String>,
    /// What it was answered.
    pub status: u16,
    /// How long that took.
    pub duration: Duration,
}

/// An authentic delivery that was refused.
#[derive(Clone)]
pub struct Kept {
    /// The service.
    pub service: String,
    /// The question, if it is an answer at all.
    pub notification_id: Option<String>,
    /// Why it was refused.
    pub verdict: Verdict,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// SHA-256 of the text that was signed: what makes two deliveries the same to [`Store::keep`].
    pub signed: [u8; 32],
    /// As it came.
    pub body: Bytes,
}

/// A [`Kept`] body in a store.
#[derive(Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where it is kept: what [`Redrive::prepare`] asks for.
    pub id: i64,
    /// The question, if it is an answer at all.
    pub notification_id: Option<String>,
    /// Why it was refused last.
    pub verdict: Verdict,
    /// Which scheme it was signed in.
    pub scheme: Scheme,
    /// Which secret it was signed with: 0 is the verifier's first.
    pub secret: usize,
    /// When it was refused first.
    pub refused_at: DateTime<Utc>,
    /// As it came.
    pub body: Bytes,
}

/// A request for one's own webhook: `POST` the body with these headers. It is good once, within [`Redrive::GOOD_FOR`].
#[derive(Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Names and values.
    pub headers: [(&'static str, String); 2],
    /// The body.
    pub body: Bytes,
}

impl Redrive {
    /// The header that carries the token, in place of a signature.
    pub const HEADER: &'static str = "x-atp-redrive";

    /// How long a request is good: enough to send it, and not to keep it.
    pub const GOOD_FOR: Duration = Duration::from_mins(10);

    /// Makes a request out of a kept body. The verifier is the webhook's: the token is signed under a key that is derived
    /// from its secret, so that the webhook knows its own before it asks the store.
    ///
    /// ```
    /// # use atp_actix::{Secret, Verifier, store::{MemoryStore, Redrive, Store, StoreError}};
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// # let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
    /// for refused in store.refused("default", 0, 100).await? {
    ///     let redrive = Redrive::prepare(&store, &verifier, "default", refused.id).await?;
    ///     // POST `redrive.body` with `redrive.headers` to the webhook.
    /// }
    /// assert!(matches!(Redrive::prepare(&store, &verifier, "default", 7).await, Err(StoreError::NotKept(7))));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn prepare(
        store: &impl Store,
        verifier: &Verifier,
        service: &str,
        id: i64,
    ) -> Result<Self, StoreError> {
        let token = Token::random();
        let Refused { scheme, secret, body, .. } = store.redrive(service, id, token).await?;
        let expires = verifier.now() + Self::GOOD_FOR;
        let token = Redriven { service, id, nonce: token.0, scheme, secret, body: &body, expires };
        let token = verifier.redrive(&token).to_string();
        let headers = [("content-type", "application/json".to_owned()), (Self::HEADER, token)];
        Ok(Self { headers, body })
    }
}

/// Shows no token.
impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redrive({} bytes)", self.body.len())
    }
}

/// What somebody said does not belong in logs: `Debug` shows its length alone.
fn len(text: &(impl AsRef<[u8]> + ?Sized)) -> String {
    format!("{} bytes", text.as_ref().len())
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("service", &self.service)
            .field("notification_id", &self.notification_id)
            .field("fingerprint", &self.fingerprint)
            .field("action_id", &self.action_id)
            .field("data", &self.data.as_ref().map(len))
            .field("lease", &self.lease)
            .field("arrival", &self.arrival)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("request_id", &self.request_id)
            .field("scheme", &self.scheme)
            .field("secret", &self.secret)
            .field("text", &len(&self.text))
            .field("body", &len(&self.body))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("service", &self.service)
            .field("notification_id", &self.notification_id)
            .field("verdict", &self.verdict)
            .field("scheme", &self.scheme)
            .field("secret", &self.secret)
            .field("body", &len(&self.body))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("id", &self.id)
            .field("notification_id", &self.notification_id)
            .field("verdict", &self.verdict)
            .field("scheme", &self.scheme)
            .field("secret", &self.secret)
            .field("refused_at", &self.refused_at)
            .field("body", &len(&self.body))
            .finish()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body", &len(&self.body))
            .finish()
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

/// A new [`Store::fingerprint_key`].
pub(crate) fn new_key() -> [u8; 32] {
    let mut key = [0; 32];
    for half in key.as_chunks_mut::<16>().0 {
        *half = Token::random().0;
    }
    key
}

/// SHA-256: of what was signed; and of a redrive's token, so that who reads the store cannot use it.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}

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
    #[error("another question is recorded under {0:?}")]
    AlreadyRecorded(String),
    /// There is no such question.
    #[error("no question {0:?} is recorded for this service")]
    NotRecorded(String),
    /// The decision is completed.
    #[error("the question {0:?} is decided: it cannot be taken back")]
    Decided(String),
    /// A delivery of it is being handled.
    #[error("the question {0:?} is being decided: try again in a moment")]
    Running(String),
    /// There is no recorded 4xx.
    #[error("the question {0:?} has no recorded refusal that could be voided")]
    NotRefused(String),
    /// There is no such kept body.
    #[error("no refused delivery has the id {0}")]
    NotKept(i64),
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
        "`before` is less than the redelivery window of {} s ago: give an earlier time, or set the store's \
         `redelivery_window`",
        window.as_secs()
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
    /// The database failed.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
