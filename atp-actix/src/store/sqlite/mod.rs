//! A store in a SQLite file, beside the service's own tables if it likes.

mod claims;
mod outbox;
mod temporary;
mod tidy;
mod writer;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use atp_core::{Fingerprint, Notification};
use chrono::{DateTime, Utc};
use sqlx::{
    QueryBuilder, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Activity, Claim, Claimed, Completion, DEFAULT_REDELIVERY_WINDOW, DeliveryCount, DeliveryRow, Known,
    MAX_KEPT, OpenTransaction, Question, RefusedDelivery, Routes, Store, StoreError, StoredRefusal, Token,
    sql::{
        rows::{self, escape},
        statements,
        transaction::{self, ENDED, TransactionConnection},
    },
};

use crate::limits::{self, FARTHEST_LEASE, PATIENCE, QUICK_CACHE, SQLITE_READERS, WAL_PAGES};
use temporary::TemporaryFolder;
use writer::{WriteLock, WriteQueue};

/// Remembers in a SQLite file: the embedded default. A clone shares the connections.
///
/// ```
/// use atp_actix::{
///     atp_core::{Action, Notification},
///     store::{Question, SqliteStore, Store},
/// };
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("atp-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let store = SqliteStore::open(folder.join("atp.sqlite")).await?;
/// let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id("n-1");
/// store.record(&Question::new(notification.action(Action::simple("approve", "Approve")))).await?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// The file is in WAL mode. Whatever must survive a power cut is committed with `synchronous =
/// FULL`; claims and counters go over a connection at `NORMAL`, since losing one costs nothing.
/// Both connections are the store's own, and one writes at a time, in the order in which they came.
#[derive(Clone)]
pub struct SqliteStore {
    readers: SqlitePool,
    turns: Arc<WriteQueue>,
    /// What goes with the last clone, if the file does.
    _temporary: Option<Arc<TemporaryFolder>>,
    clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    transaction_limit: Duration,
    redelivery_window: Duration,
    fingerprint_key: [u8; 32],
    activity: Activity,
    routes: Routes,
}

/// What a statement in a handler's transaction failed for: `SQLITE_CONSTRAINT_COMMITHOOK` where the
/// handler has ended that, so that the statement is outside of it.
fn ended_by_handler(error: sqlx::Error) -> StoreError {
    let is_refused_commit =
        error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("531"));
    if is_refused_commit { ENDED } else { error.into() }
}

impl SqliteStore {
    /// How long a handler may hold its [`Transaction`](crate::Transaction), unless set: it holds up
    /// all who write.
    pub const DEFAULT_TRANSACTION_LIMIT: Duration = limits::DEFAULT_TRANSACTION_LIMIT;

    /// What this program knows of the schema.
    const MIGRATIONS: [&str; 3] = [
        include_str!("../schema/sqlite.1.sql"),
        include_str!("../schema/sqlite.2.sql"),
        include_str!("../schema/sqlite.3.sql"),
    ];

    /// Opens the file, or makes it.
    ///
    /// What is written goes to the file `-wal` beside it, and from there into the file whenever it is
    /// 16 MB long (`wal_autocheckpoint`). SQLite's own 4 MB would do that, with its two flushes, four
    /// times as often, and sends a tenth less of what leaves.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let options = Self::file_options(path.as_ref());
        Self::from_pool(Self::pool_options().connect_with(options).await?).await
    }

    fn file_options(path: &Path) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        options.foreign_keys(true).busy_timeout(PATIENCE).pragma("wal_autocheckpoint", WAL_PAGES)
    }

    /// A database for tests, gone with the last clone. It is a file in the folder of temporary
    /// files that is not flushed, since a database in SQLite's own memory cannot be read while
    /// somebody writes.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let folder = TemporaryFolder::new().map_err(rows::backend)?;
        let options = Self::file_options(&folder.path().join("atp.sqlite"));
        let pool = Self::pool_options().connect_with(options.synchronous(SqliteSynchronous::Off)).await?;
        let (durable, quick) = (SqliteSynchronous::Off, SqliteSynchronous::Off);
        let store = Self::over(pool, durable, quick).await?;
        Ok(Self { _temporary: Some(Arc::new(folder)), ..store })
    }

    /// A connection to a file does not break, so it is not tried before each use.
    fn pool_options() -> SqlitePoolOptions {
        let options = SqlitePoolOptions::new().max_connections(SQLITE_READERS).acquire_timeout(PATIENCE);
        options.test_before_acquire(false)
    }

    /// Lives in the service's own database. Its connections must be durable: WAL with `synchronous`
    /// at FULL or EXTRA, or another journal on the disk at EXTRA.
    ///
    /// The pool is read from, and its [connect options](SqlitePool::connect_options) open the
    /// connections that write. What an `after_connect` of the pool does is not done to those: give
    /// pragmas, collations and extensions to the options.
    pub async fn from_pool(pool: SqlitePool) -> Result<Self, StoreError> {
        let mut connection = pool.acquire().await?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
        if synchronous < 2 {
            let found = if synchronous == 1 { "NORMAL" } else { "OFF" };
            return Err(StoreError::NotDurable(format!(
                "the pool's connections have `synchronous = {found}`: set FULL with `SqliteConnectOptions::synchronous`"
            )));
        }
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
        // Without WAL a commit is the deletion of a file, and only EXTRA waits for that.
        if matches!(&*journal, "memory" | "off") || (journal != "wal" && synchronous < 3) {
            return Err(StoreError::NotDurable(format!(
                "the database has `journal_mode = {journal}`: set WAL with `SqliteConnectOptions::journal_mode`"
            )));
        }
        drop(connection);
        // In WAL a power cut leaves what was written without a flush in order; the last of it may
        // be gone.
        let is_wal = journal == "wal";
        let quick = if is_wal { SqliteSynchronous::Normal } else { SqliteSynchronous::Extra };
        Self::over(pool, SqliteSynchronous::Extra, quick).await
    }

    async fn over(
        readers: SqlitePool,
        durable: SqliteSynchronous,
        quick: SqliteSynchronous,
    ) -> Result<Self, StoreError> {
        let options = readers.connect_options().as_ref().clone();
        let quick = options.clone().synchronous(quick).pragma("cache_size", QUICK_CACHE);
        let turns = WriteQueue::new(options.synchronous(durable), quick);
        let mut store = Self {
            turns: Arc::new(turns),
            readers,
            _temporary: None,
            clock: Arc::new(Utc::now),
            transaction_limit: Self::DEFAULT_TRANSACTION_LIMIT,
            redelivery_window: DEFAULT_REDELIVERY_WINDOW,
            fingerprint_key: crate::store::token::new_key(),
            activity: Activity::new(),
            routes: Routes::new(),
        };
        store.fingerprint_key = store.migrate().await?;
        rows::check_tables(&store).await?;
        Ok(store)
    }

    /// The pool that it reads from, for who reads the service's own tables in the same file.
    ///
    /// To write take [`SqliteStore::begin`]. What `pool().begin()` gives is `DEFERRED`: it takes
    /// the file's lock when it first writes, so that of several at once, or beside a handler's,
    /// most fail with "database is locked".
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.readers
    }

    /// Ends the work in order ([`Store::drain`], for [`DRAIN_WITHIN`](crate::store::DRAIN_WITHIN)
    /// at most), then closes the pool and the connections that write, so that the file alone holds
    /// everything. After that every use of a clone is an error. A transaction that is held longer
    /// than [`Store::get_transaction_limit`] and two seconds more is not waited for, and told in
    /// the log.
    ///
    /// Call [`Store::drain`] before you stop the server, so that handlers that outlived their
    /// answer come to their end, and this after it has stopped. Counters that could not be written
    /// are told in the log, and lost.
    pub async fn close(&self) {
        transaction::end_work(self).await;
        if !self.turns.close(self.patience()).await {
            transaction::tell_of_one_left_open();
        }
        self.readers.close().await;
    }

    /// Asks this clock for the time; the system's unless set.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets how long a handler may hold its transaction; [`SqliteStore::DEFAULT_TRANSACTION_LIMIT`]
    /// unless set. After that it is rolled back, and the delivery is answered 503.
    #[must_use]
    pub fn transaction_limit(mut self, limit: Duration) -> Self {
        self.transaction_limit = limit;
        self
    }

    /// Sets [`Store::get_redelivery_window`]; [`DEFAULT_REDELIVERY_WINDOW`] unless set.
    #[must_use]
    pub fn redelivery_window(mut self, window: Duration) -> Self {
        self.redelivery_window = window;
        self
    }

    /// Says which sinks are told of what; none unless set.
    #[must_use]
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// [`Store::record`] in a transaction of the service's own, so that the question is recorded
    /// with the row that it is about, or not at all. It is as durable as that transaction.
    pub async fn record_in(
        &self,
        connection: &mut SqliteConnection,
        question: &Question,
    ) -> Result<(), StoreError> {
        let key = question.checked_key()?;
        let notification = &question.notification;
        let text = rows::to_json(notification)?;
        let context = rows::to_json(&question.context)?;
        let now = (self.clock)();
        let inserted = sqlx::query(
            "INSERT INTO atp_questions
                 (service, key, notification_id, question, user_id, request_id, context, recorded_at, deadline)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE $9 IS NULL OR $9 >= $8 ON CONFLICT DO NOTHING",
        )
        .bind(escape(&question.service))
        .bind(escape(key))
        .bind(notification.id.as_deref().map(escape))
        .bind(&text)
        .bind(question.user_id.as_deref().map(escape))
        .bind(question.request_id.as_deref().map(escape))
        .bind(&context)
        .bind(now.timestamp_micros())
        .bind(notification.deadline.map(|deadline| deadline.timestamp_micros()))
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() == 1 {
            let event = self.routes.asked(question, key, now)?;
            return Ok(self.write_events(connection, event.as_slice()).await?);
        }
        let asked: Option<rows::AskedRow> = sqlx::query_as(statements::ASKED_UNDER_KEY)
            .bind(escape(&question.service))
            .bind(escape(key))
            .fetch_optional(&mut *connection)
            .await?;
        rows::not_inserted(asked.as_ref(), question, key, now)
    }

    /// [`Store::invalidate`] in a transaction of the service's own. It is as durable as that
    /// transaction.
    pub async fn invalidate_in(
        &self,
        connection: &mut SqliteConnection,
        service: &str,
        notification_id: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let now = (self.clock)().timestamp_micros();
        let decided: Option<rows::StandingRow> = sqlx::query_as(
            "SELECT completed_at IS NOT NULL AS is_completed, lease_until > $3 AND leased_at <= $4 AS is_running FROM atp_decisions
             WHERE service = $1 AND notification_id = $2",
        )
        .bind(escape(service))
        .bind(escape(notification_id))
        .bind(now)
        .bind(now.saturating_add(rows::micros(FARTHEST_LEASE)))
        .fetch_optional(&mut *connection)
        .await?;
        rows::check_undecided(decided.as_ref(), notification_id)?;
        let recorded_at: Option<i64> = sqlx::query_scalar(
            "UPDATE atp_questions SET invalidated_why = coalesce(invalidated_why, $3),
                 invalidated_at = coalesce(invalidated_at, $4)
             WHERE service = $1 AND notification_id = $2 RETURNING recorded_at",
        )
        .bind(escape(service))
        .bind(escape(notification_id))
        .bind(escape(reason))
        .bind(now)
        .fetch_optional(&mut *connection)
        .await?;
        let recorded_at = recorded_at.ok_or_else(|| StoreError::NotRecorded(notification_id.to_owned()))?;
        let (recorded_at, now) = (rows::time(recorded_at), rows::time(now));
        let event = self.routes.invalidated(service, notification_id, reason, recorded_at, now)?;
        Ok(self.write_events(connection, event.as_slice()).await?)
    }

    /// Begins a transaction of the service's own, to write its rows with [`SqliteStore::record_in`]
    /// and [`SqliteStore::invalidate_in`] or alone. It derefs to sqlx's connection. It takes its
    /// turn among all who write through this store, it is `IMMEDIATE` and durable, and
    /// [`OpenTransaction::commit`] ends it; dropped, it is rolled back.
    ///
    /// Nobody else writes meanwhile: have it done within [`Store::get_transaction_limit`], after
    /// which its statements are interrupted. [`StoreError::TimedOut`] if its turn does not come for
    /// that long and two seconds more.
    pub async fn begin(&self) -> Result<OpenTransaction<Sqlite>, StoreError> {
        Ok(self.lend().await?.telling(&self.activity))
    }

    /// Makes the tables or brings them up to date, and gives the key that fingerprints are hashed
    /// with.
    async fn migrate(&self) -> Result<[u8; 32], StoreError> {
        let mut open = self.write().await?;
        let connection = open.connection_mut();
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS atp_schema (version INTEGER NOT NULL) STRICT")
            .execute(&mut *connection)
            .await?;
        let found: i64 = sqlx::query_scalar(statements::SCHEMA_VERSION).fetch_one(&mut *connection).await?;
        for (version, migration) in rows::migrations(&Self::MIGRATIONS, found)? {
            sqlx::raw_sql(migration).execute(&mut *connection).await?;
            sqlx::query(statements::SET_SCHEMA_VERSION).bind(version).execute(&mut *connection).await?;
        }
        sqlx::query(statements::MAKE_KEY).bind(&self.fingerprint_key[..]).execute(&mut *connection).await?;
        let key = sqlx::query_scalar(statements::KEY).fetch_one(&mut *connection).await?;
        // A file that cannot be written is found here, and not by the first answer.
        sqlx::query(statements::TRY_TO_WRITE).execute(open.connection_mut()).await?;
        open.finish().await?;
        rows::key(key)
    }

    /// A durable transaction.
    async fn write(&self) -> Result<OpenTransaction<Sqlite>, StoreError> {
        let durable = self.turn().await?.durable().await?;
        Ok(OpenTransaction::begin(durable, "BEGIN IMMEDIATE".into_sql_str()).await?)
    }

    /// A transaction for a handler.
    async fn lend(&self) -> Result<OpenTransaction<Sqlite>, StoreError> {
        let durable = self.turn().await?.durable().await?.within(self.transaction_limit);
        Ok(OpenTransaction::begin(durable, "BEGIN IMMEDIATE".into_sql_str()).await?)
    }

    /// For a statement that is a durable transaction of its own.
    async fn durable(&self) -> Result<Box<dyn TransactionConnection<Sqlite>>, StoreError> {
        Ok(Box::new(self.turn().await?.durable().await?))
    }

    async fn turn(&self) -> Result<WriteLock, StoreError> {
        self.turns.wait(self.patience()).await
    }

    /// How long to wait for whoever has the turn.
    fn patience(&self) -> Duration {
        PATIENCE.saturating_add(self.transaction_limit)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("transaction_limit", &self.transaction_limit)
            .finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    type Transaction = OpenTransaction<Sqlite>;

    async fn record(&self, question: &Question) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        self.record_in(open.connection_mut(), question).await?;
        open.finish().await?;
        self.activity.hint();
        Ok(())
    }

    async fn bind(&self, service: &str, key: &str, notification_id: &str) -> Result<(), StoreError> {
        crate::store::question::check_length("notification id", notification_id, Notification::MAX_ID)?;
        let mut open = self.write().await?;
        let bound = sqlx::query(statements::BIND)
            .bind(escape(service))
            .bind(escape(key))
            .bind(escape(notification_id))
            .execute(open.connection_mut());
        let bound = rows::bound(bound.await, notification_id)?;
        if bound.rows_affected() == 1 {
            return open.finish().await;
        }
        let known = sqlx::query(statements::IS_RECORDED)
            .bind(escape(service))
            .bind(escape(key))
            .fetch_optional(open.connection_mut())
            .await?;
        Err(match known {
            Some(_) => StoreError::AlreadyRecorded(notification_id.to_owned()),
            None => StoreError::NotRecorded(key.to_owned()),
        })
    }

    async fn invalidate(&self, service: &str, notification_id: &str, reason: &str) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        self.invalidate_in(open.connection_mut(), service, notification_id, reason).await?;
        open.finish().await?;
        self.activity.hint();
        Ok(())
    }

    async fn find(
        &self,
        service: &str,
        notification_id: &str,
        answer: Option<Fingerprint>,
    ) -> Result<Known, StoreError> {
        let row: rows::FoundRow = sqlx::query_as(statements::FIND)
            .bind(escape(service))
            .bind(escape(notification_id))
            .bind(answer.as_ref().map(|answer| &answer.as_bytes()[..]))
            .fetch_one(&self.readers)
            .await?;
        rows::known(row)
    }

    async fn find_by_key(&self, service: &str, key: &str) -> Result<Known, StoreError> {
        let row: Option<rows::FoundRow> = sqlx::query_as(statements::FIND_BY_KEY)
            .bind(escape(service))
            .bind(escape(key))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(rows::known).transpose()?.unwrap_or_default())
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let mut quick = self.turn().await?.quick().await?;
        let taken = self.take(quick.connection_mut(), claim, None).await?;
        quick.give_back();
        if taken { Ok(Claimed::Started(())) } else { self.standing(claim).await }
    }

    async fn claim_in_transaction(
        &self,
        claim: &Claim,
    ) -> Result<Claimed<OpenTransaction<Sqlite>>, StoreError> {
        let mut open = self.lend().await?;
        // First of all: whatever the handler commits, it commits this with it.
        let expected = Completion::expected(claim);
        if self.take(open.connection_mut(), claim, Some(&expected)).await? {
            self.write_events(open.connection_mut(), &claim.events).await?;
            return Ok(Claimed::Started(open));
        }
        open.finish().await?;
        self.standing(claim).await
    }

    async fn resume(&self, claim: &Claim) -> Result<OpenTransaction<Sqlite>, StoreError> {
        let mut open = self.lend().await?.resumed();
        let now = (self.clock)().timestamp_micros();
        let is_ended =
            Self::end(open.connection_mut(), claim, now, &Completion::expected(claim), false).await?;
        if !is_ended {
            return Err(StoreError::Fenced);
        }
        self.write_events(open.connection_mut(), &claim.events).await?;
        Ok(open)
    }

    async fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<OpenTransaction<Sqlite>>,
    ) -> Result<(), StoreError> {
        let now = (self.clock)().timestamp_micros();
        let (mut durable, has_claim) = match transaction {
            Some(mut open) if completion.outcome.is_success() => {
                // What was said when it began is not said again: the connection tells if it does
                // not stand any more.
                if !completion.is_expected(claim)
                    && !Self::end(open.connection_mut(), claim, now, completion, true)
                        .await
                        .map_err(ended_by_handler)?
                {
                    return Err(ENDED);
                }
                self.write_events(open.connection_mut(), &completion.events)
                    .await
                    .map_err(ended_by_handler)?;
                open.finish().await?;
                self.activity.hint();
                return Ok(());
            }
            // The turn is kept, so that nobody comes in between.
            Some(open) => open.rollback().await?,
            None => {
                let events = [&claim.events[..], &completion.events].concat();
                if completion.outcome.is_success() && !events.is_empty() {
                    return self.end_with_events(claim, now, completion, &events).await;
                }
                (self.durable().await?, true)
            }
        };
        durable.allow_statement();
        let is_ended = if has_claim {
            Self::end(durable.connection_mut(), claim, now, completion, false).await?
        } else {
            self.take(durable.connection_mut(), claim, Some(completion)).await?
        };
        durable.give_back();
        if is_ended { Ok(()) } else { Err(StoreError::Fenced) }
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut quick = self.turn().await?.quick().await?;
        sqlx::query(
            "DELETE FROM atp_decisions
             WHERE service = $1 AND notification_id = $2 AND token = $3 AND completed_at IS NULL",
        )
        .bind(escape(&claim.service))
        .bind(escape(&claim.notification_id))
        .bind(&claim.token.as_bytes()[..])
        .execute(quick.connection_mut())
        .await?;
        quick.give_back();
        Ok(())
    }

    async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
        if counts.is_empty() {
            return Ok(());
        }
        let mut quick = self.turn().await?.quick().await?;
        let now = (self.clock)().timestamp_micros();
        let mut insert = QueryBuilder::new(
            "WITH n (service, notification_id, fingerprint, verdict, first_seen, last_seen, count, request_id, scheme,
                 secret_index, responder, status, duration_us) AS (",
        );
        insert.push_values(counts, |mut row, note| {
            row.push_bind(escape(&note.service))
                .push_bind(escape(&note.notification_id))
                .push_bind(&note.fingerprint.as_bytes()[..])
                .push_bind(note.verdict.name())
                .push_bind(now)
                .push_bind(now)
                .push_bind(rows::integer(note.count))
                .push_bind(note.arrival.request_id.as_deref().map(escape))
                .push_bind(note.arrival.scheme.name())
                .push_bind(rows::integer(note.arrival.secret_index))
                .push_bind(note.arrival.responder.as_deref().map(escape))
                .push_bind(i64::from(note.status))
                .push_bind(rows::micros(note.duration));
        });
        insert.push(
            ") INSERT INTO atp_deliveries (service, notification_id, fingerprint, verdict, first_seen, last_seen, count,
                 request_id, scheme, secret_index, responder, status, duration_us)
             SELECT n.service, n.notification_id, n.fingerprint, n.verdict, n.first_seen, n.last_seen, n.count,
                 n.request_id, n.scheme, n.secret_index, iif(EXISTS (SELECT 1 FROM atp_erased AS e
                     WHERE e.service = n.service AND e.notification_id = n.notification_id), NULL, n.responder),
                 n.status, n.duration_us
             FROM n WHERE true
             ON CONFLICT (service, notification_id, fingerprint, verdict) DO UPDATE SET
                 last_seen = excluded.last_seen, count = atp_deliveries.count + excluded.count,
                 request_id = excluded.request_id, scheme = excluded.scheme, secret_index = excluded.secret_index,
                 responder = excluded.responder, status = excluded.status, duration_us = excluded.duration_us",
        );
        insert.build().persistent(false).execute(quick.connection_mut()).await?;
        quick.give_back();
        Ok(())
    }

    async fn keep(&self, kept: &RefusedDelivery) -> Result<bool, StoreError> {
        // Whoever has seen a delivery once may send it again and again: that costs no turn of those
        // who write.
        let rows::KeptRow { verdict: known, is_erased, kept_of_it } = sqlx::query_as(statements::KEPT)
            .bind(escape(&kept.service))
            .bind(&kept.digest[..])
            .bind(kept.notification_id.as_deref().map(escape))
            .fetch_one(&self.readers)
            .await?;
        if is_erased || known.as_deref() == Some(kept.verdict.name()) {
            return Ok(false);
        }
        if known.is_none() && kept_of_it >= i64::from(MAX_KEPT) {
            return Err(StoreError::KeptEnough);
        }
        let mut durable = self.durable().await?;
        durable.allow_statement();
        let written = sqlx::query(
            "INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8
             WHERE NOT EXISTS (SELECT 1 FROM atp_erased WHERE service = $1 AND notification_id = $3) AND (
                 (SELECT count(*) FROM atp_refused WHERE service = $1 AND notification_id = $3) < $9
                 OR EXISTS (SELECT 1 FROM atp_refused WHERE service = $1 AND digest = $2))
             ON CONFLICT (service, digest) DO UPDATE SET verdict = excluded.verdict",
        )
        .bind(escape(&kept.service))
        .bind(&kept.digest[..])
        .bind(kept.notification_id.as_deref().map(escape))
        .bind(kept.verdict.name())
        .bind(kept.scheme.name())
        .bind(rows::integer(kept.secret_index))
        .bind((self.clock)().timestamp_micros())
        .bind(&kept.body[..])
        .bind(i64::from(MAX_KEPT))
        .execute(durable.connection_mut())
        .await?;
        durable.give_back();
        if written.rows_affected() == 1 { Ok(known.is_none()) } else { Err(StoreError::KeptEnough) }
    }

    async fn refused(&self, service: &str, after: i64, limit: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        self.tell_abandoned(service).await?;
        let rows: Vec<rows::RefusedRow> = sqlx::query_as(statements::REFUSED)
            .bind(escape(service))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::refused).collect()
    }

    async fn redrive(&self, service: &str, id: i64, token: Token) -> Result<StoredRefusal, StoreError> {
        let mut open = self.write().await?;
        let row: Option<rows::RefusedRow> = sqlx::query_as(statements::REDRIVE)
            .bind(escape(service))
            .bind(id)
            .bind(&crate::store::token::digest(token.as_bytes())[..])
            .fetch_optional(open.connection_mut())
            .await?;
        let row = row.ok_or(StoreError::NotKept(id))?;
        open.finish().await?;
        rows::refused(row)
    }

    async fn redeem(&self, service: &str, id: i64, token: Token) -> Result<bool, StoreError> {
        // Whoever has seen the request may send it again: that costs no turn of those who write.
        let is_there = sqlx::query(statements::IS_REDEEMABLE)
            .bind(escape(service))
            .bind(id)
            .bind(&crate::store::token::digest(token.as_bytes())[..])
            .fetch_optional(&self.readers)
            .await?;
        if is_there.is_none() {
            return Ok(false);
        }
        let mut open = self.write().await?;
        let redeemed = sqlx::query(statements::REDEEM)
            .bind(escape(service))
            .bind(id)
            .bind(&crate::store::token::digest(token.as_bytes())[..])
            .execute(open.connection_mut())
            .await?;
        open.finish().await?;
        Ok(redeemed.rows_affected() == 1)
    }

    async fn deliveries(&self, service: &str, notification_id: &str) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows: Vec<rows::CountedRow> = sqlx::query_as(statements::DELIVERIES)
            .bind(escape(service))
            .bind(escape(notification_id))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(rows::counted).collect()
    }

    async fn reopen(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        let reopened = sqlx::query(statements::REOPEN)
            .bind(escape(service))
            .bind(escape(notification_id))
            .execute(open.connection_mut())
            .await?;
        if reopened.rows_affected() == 0 {
            return Err(StoreError::NotRefused(notification_id.to_owned()));
        }
        open.finish().await
    }

    async fn purge(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        crate::store::error::check_purge(before, (self.clock)(), self.redelivery_window)?;
        let before = before.timestamp_micros();
        let (mut purged, mut place) = (0, rows::FIRST_PLACE);
        loop {
            let mut open = self.write().await?;
            let (questions, last) = Self::purge_questions(open.connection_mut(), before, place).await?;
            open.finish().await?;
            purged += questions;
            match last {
                Some(last) => place = last,
                None => break,
            }
        }
        loop {
            let mut open = self.write().await?;
            let rows = Self::purge_strangers(open.connection_mut(), before).await?;
            open.finish().await?;
            if rows == 0 {
                return Ok(purged);
            }
        }
    }

    async fn erase(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        let now = (self.clock)().timestamp_micros();
        let is_running = sqlx::query(
            "SELECT 1 FROM atp_decisions WHERE service = $1 AND notification_id = $2 AND completed_at IS NULL
                 AND lease_until > $3 AND leased_at <= $4",
        )
        .bind(escape(service))
        .bind(escape(notification_id))
        .bind(now)
        .bind(now.saturating_add(rows::micros(FARTHEST_LEASE)))
        .fetch_optional(open.connection_mut())
        .await?;
        if is_running.is_some() {
            return Err(StoreError::Running(notification_id.to_owned()));
        }
        sqlx::query("INSERT INTO atp_erased VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(escape(service))
            .bind(escape(notification_id))
            .bind(now)
            .execute(open.connection_mut())
            .await?;
        for statement in
            [statements::ERASE_DECISION, statements::ERASE_DELIVERIES, statements::FORGET_REFUSED]
        {
            let query = sqlx::query(statement).bind(escape(service)).bind(escape(notification_id));
            query.execute(open.connection_mut()).await?;
        }
        Self::erase_events(open.connection_mut(), service, notification_id).await?;
        open.finish().await
    }

    fn get_redelivery_window(&self) -> Duration {
        self.redelivery_window
    }

    fn get_routes(&self) -> &Routes {
        &self.routes
    }

    fn get_fingerprint_key(&self) -> &[u8; 32] {
        &self.fingerprint_key
    }

    fn get_activity(&self) -> &Activity {
        &self.activity
    }

    fn get_transaction_limit(&self) -> Option<Duration> {
        Some(self.transaction_limit)
    }
}
