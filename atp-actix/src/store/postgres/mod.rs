//! A store in PostgreSQL, for many machines, beside the service's own tables if it likes.

mod claims;
mod connection;
mod in_time;
mod listen;
mod outbox;
mod pool;
mod reached;
mod tidy;

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use atp_core::{Fingerprint, Notification};
use chrono::{DateTime, Utc};
use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres, SqlSafeStr as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Activity, Claim, Claimed, Completion, DEFAULT_REDELIVERY_WINDOW, DeliveryCount, DeliveryRow, Known,
    MAX_KEPT, OpenTransaction, Question, RefusedDelivery, Routes, Store, StoreError, StoredRefusal, Token,
    sql::{
        rows::{self, escape},
        statements,
        transaction::{self, TransactionConnection},
    },
};
use connection::{Doubt, OneStatement, Pooled, is_there, millis, was_idle};
use reached::Reached;

use crate::limits::{
    self, CONNECTIONS_PER_RESERVED, LONGEST_MIGRATION, LONGEST_STEP, PATIENCE, POSTGRES_CONNECTIONS,
    SERVER_WAITS_LONGER,
};

/// Remembers in PostgreSQL: any number of processes on any number of machines share it. A clone
/// shares the connections.
///
/// ```no_run
/// use atp_actix::{
///     atp_core::{Action, Notification},
///     store::{PostgresStore, Question, Store},
/// };
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://service:password@db.example.com/service").await?;
/// let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id("n-1");
/// store.record(&Question::new(notification.action(Action::simple("approve", "Approve")))).await?;
/// # Ok(())
/// # }
/// ```
///
/// Of a session it needs the prepared statements, and that new transactions are read-only after a
/// handler's was ended behind its back. So it works behind a pooler of transactions that carries
/// both over: `PgBouncer` from 1.21 with `max_prepared_statements` and `track_extra_parameters =
/// default_transaction_read_only`. Whatever must survive a power cut is committed with
/// `synchronous_commit = on` at least; claims and counters without, since losing one costs nothing.
/// The clock is the database's.
///
/// No step takes longer than five seconds, whatever the server or the network does: after that its
/// connection is closed, and the next step gets another. A quarter of the pool, and one connection
/// at least, is never lent to a handler, so that handlers that call the store while they hold their
/// [`Transaction`](crate::Transaction) do not wait for each other.
///
/// The workers share the connections, and one is heard by the thread that made it: a handler that
/// blocks its thread, in place of [`web::block`](actix_web::web::block), keeps up others too, for
/// five seconds at most.
#[derive(Clone)]
pub struct PostgresStore {
    /// Its verbs, which take as long as they take.
    pub(super) steps: Steps,
}

/// What is said to the server.
#[derive(Clone)]
pub(super) struct Steps {
    pool: PgPool,
    /// One permit for each handler that may hold a transaction.
    admission: Arc<Semaphore>,
    doubt: Arc<Doubt>,
    transaction_limit: Duration,
    redelivery_window: Duration,
    fingerprint_key: [u8; 32],
    activity: Activity,
    routes: Routes,
    /// Whether events are told of by NOTIFY.
    notifies: bool,
    is_listening: Arc<AtomicBool>,
    reached: Arc<Reached>,
    /// Whether a statement by itself sees what others committed while it waited, by the server's default.
    reads_committed: bool,
}

impl PostgresStore {
    /// How long a handler may hold its [`Transaction`](crate::Transaction), unless set: it holds up
    /// who wants the same rows.
    pub const DEFAULT_TRANSACTION_LIMIT: Duration = limits::DEFAULT_TRANSACTION_LIMIT;

    /// Connects, with at most ten connections. A relay listens over one more, unless
    /// [`without_notify`](Self::without_notify): count eleven for a process.
    ///
    /// The address is read by sqlx: `postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full`. TLS
    /// needs the feature `postgres-tls`. Unless `sslmode` says otherwise it is `prefer`: encrypted
    /// where feature and server allow, and whoever answers is believed, as by `require`. Across a
    /// network say `verify-full`, with `sslrootcert=FILE` where the system does not know who signed:
    /// other than with libpq it is trusted beside those whom the system trusts.
    ///
    /// Tables of an older version are brought up to date first, within a minute. What writes counters
    /// waits meanwhile.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // A pooler refuses settings that it does not know; nothing here is a float.
        let options = url.parse::<PgConnectOptions>()?.extra_float_digits(None);
        let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).acquire_timeout(PATIENCE);
        // One that was in use a moment ago is not asked whether it is there: that would double most
        // steps.
        let pool = pool.test_before_acquire(false).before_acquire(|connection, metadata| {
            Box::pin(async move { Ok(!was_idle(&metadata) || is_there(connection).await) })
        });
        Self::from_pool(pool.connect_with(options).await?).await
    }

    /// Lives in the service's own database, in a pool of two connections at least. Behind a pooler,
    /// make the pool without [`extra_float_digits`](PgConnectOptions::extra_float_digits).
    ///
    /// A server that is read-only is refused, and so is one that does not flush what it commits.
    pub async fn from_pool(pool: PgPool) -> Result<Self, StoreError> {
        let mut store = Self { steps: Steps::new(pool)? };
        store.steps.reads_committed = store.in_time(store.steps.check()).await?;
        let migrated = timeout(LONGEST_MIGRATION, store.steps.migrate()).await;
        store.steps.fingerprint_key =
            migrated.map_err(|_| StoreError::TimedOut("the tables were not made within a minute"))??;
        rows::check_tables(&store).await?;
        Ok(store)
    }

    /// The pool that it lives in, for the service's own tables in the same database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.steps.pool
    }

    /// Ends the work in order ([`Store::drain`], for [`DRAIN_WITHIN`](crate::store::DRAIN_WITHIN)
    /// at most), then closes the pool. After that every use of a clone is an error. A connection
    /// that is in use longer than [`Store::get_transaction_limit`] and two seconds more is not
    /// waited for, and told in the log.
    ///
    /// Call [`Store::drain`] before you stop the server, so that handlers that outlived their
    /// answer come to their end, and this after it has stopped. Counters that could not be written
    /// are told in the log, and lost.
    pub async fn close(&self) {
        transaction::end_work(self).await;
        let patience = PATIENCE.saturating_add(self.steps.transaction_limit);
        if timeout(patience, self.steps.pool.close()).await.is_err() {
            transaction::tell_of_one_left_open();
        }
    }

    /// Sets how long a handler may hold its transaction;
    /// [`PostgresStore::DEFAULT_TRANSACTION_LIMIT`] unless set. After that it is rolled back, and
    /// the delivery is answered 503.
    #[must_use]
    pub fn transaction_limit(mut self, limit: Duration) -> Self {
        self.steps.transaction_limit = limit;
        self
    }

    /// Sets [`Store::get_redelivery_window`]; [`DEFAULT_REDELIVERY_WINDOW`] unless set.
    #[must_use]
    pub fn redelivery_window(mut self, window: Duration) -> Self {
        self.steps.redelivery_window = window;
        self
    }

    /// Says which sinks are told of what; none unless set.
    #[must_use]
    pub fn routes(mut self, routes: Routes) -> Self {
        self.steps.routes = routes;
        self
    }

    /// Does not tell other processes by `NOTIFY` of what is to be sent, nor listens for it: their
    /// relays find it when they poll. A server commits one by one what notifies, which is felt at
    /// some thousand a second; a process with a relay of its own notifies of nothing but what is
    /// written by [`PostgresStore::record_in`] and the like.
    #[must_use]
    pub fn without_notify(mut self) -> Self {
        self.steps.notifies = false;
        self
    }

    /// [`Store::record`] in a transaction of the service's own, so that the question is recorded
    /// with the row that it is about, or not at all. It is as durable as that transaction.
    pub async fn record_in(
        &self,
        connection: &mut PgConnection,
        question: &Question,
    ) -> Result<(), StoreError> {
        self.steps.record_in(connection, question).await
    }

    /// [`Store::invalidate`] in a transaction of the service's own. It is as durable as that
    /// transaction.
    pub async fn invalidate_in(
        &self,
        connection: &mut PgConnection,
        service: &str,
        notification_id: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.steps.invalidate_in(connection, service, notification_id, reason).await
    }

    /// Begins a transaction of the service's own, as `SqliteStore::begin` does: it derefs to sqlx's
    /// connection, is durable, and [`OpenTransaction::commit`] ends it; dropped, it is rolled back.
    /// It counts as one that is lent to a handler, and the server ends it where it is held longer
    /// than [`Store::get_transaction_limit`] and a second more.
    pub async fn begin(&self) -> Result<OpenTransaction<Postgres>, StoreError> {
        self.in_time(self.steps.begin()).await
    }

    /// This step, unless it takes too long. Its connection is closed then, and so are all others
    /// that do not answer.
    pub(super) async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = in_time(step).await;
        if matches!(done, Err(StoreError::TimedOut(SILENT))) {
            self.steps.doubt.arise();
            self.steps.sweep();
        }
        done
    }
}

/// Said of a step without an answer.
const SILENT: &str = "the server has said nothing for five seconds";

async fn in_time<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(LONGEST_STEP, step).await.unwrap_or(Err(StoreError::TimedOut(SILENT)))
}

impl Steps {
    /// What this program knows of the schema.
    const MIGRATIONS: [&str; 3] = [
        include_str!("../schema/postgres.1.sql"),
        include_str!("../schema/postgres.2.sql"),
        include_str!("../schema/postgres.3.sql"),
    ];

    /// Before a handler's transaction: should that end behind our back, what follows it on the
    /// connection is refused.
    const SHUT: &str = "BEGIN READ WRITE; SET default_transaction_read_only = on; COMMIT;";

    /// What [`Steps::SHUT`] did is over; within a transaction, when that is committed.
    const UNSHUT: &str = "RESET default_transaction_read_only;";

    fn new(pool: PgPool) -> Result<Self, StoreError> {
        let size = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
        let kept = (size / CONNECTIONS_PER_RESERVED).max(1);
        let admitted = size.saturating_sub(kept).min(Semaphore::MAX_PERMITS);
        if admitted == 0 {
            return Err(StoreError::PoolTooSmall);
        }
        Ok(Self {
            pool,
            admission: Arc::new(Semaphore::new(admitted)),
            doubt: Arc::default(),
            transaction_limit: PostgresStore::DEFAULT_TRANSACTION_LIMIT,
            redelivery_window: DEFAULT_REDELIVERY_WINDOW,
            fingerprint_key: crate::store::token::new_key(),
            activity: Activity::new(),
            routes: Routes::new(),
            notifies: true,
            is_listening: Arc::default(),
            reached: Arc::default(),
            reads_committed: false,
        })
    }

    /// Refuses a server that is none to decide on; says whether a statement by itself reads what is
    /// committed.
    async fn check(&self) -> Result<bool, StoreError> {
        let mut pooled = self.pooled().await?;
        let (fsync, encoding, read_only, isolation): (String, String, String, String) = sqlx::query_as(
            "SELECT current_setting('fsync'), current_setting('server_encoding'),
                 current_setting('transaction_read_only'), current_setting('default_transaction_isolation')",
        )
        .fetch_one(pooled.connection_mut())
        .await?;
        pooled.done();
        if fsync != "on" {
            return Err(StoreError::NotDurable(format!("the server has `fsync = {fsync}`: set it to on")));
        }
        if encoding != "UTF8" {
            return Err(StoreError::NotUtf8(encoding));
        }
        if read_only != "off" {
            return Err(StoreError::ReadOnly);
        }
        Ok(matches!(&*isolation, "read committed" | "read uncommitted"))
    }

    async fn record_in(&self, connection: &mut PgConnection, question: &Question) -> Result<(), StoreError> {
        let key = question.checked_key()?;
        let notification = &question.notification;
        let text = rows::to_json(notification)?;
        let context = rows::to_json(&question.context)?;
        let inserted = sqlx::query(
            "INSERT INTO atp_questions
                 (service, key, notification_id, question, user_id, request_id, context, recorded_at, deadline)
             SELECT $1, $2, $3, $4, $5, $6, $7, n.now, $8 FROM (SELECT atp_now() AS now) AS n
             WHERE $8 IS NULL OR $8 >= n.now ON CONFLICT DO NOTHING",
        )
        .bind(escape(&question.service))
        .bind(escape(key))
        .bind(notification.id.as_deref().map(escape))
        .bind(&text)
        .bind(question.user_id.as_deref().map(escape))
        .bind(question.request_id.as_deref().map(escape))
        .bind(&context)
        .bind(notification.deadline.map(|deadline| deadline.timestamp_micros()))
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() == 1 {
            let event = self.routes.asked(question, key, Utc::now())?;
            return self.write_events(connection, event.as_slice()).await.map(drop);
        }
        let asked: Option<rows::AskedRow> = sqlx::query_as(statements::ASKED_UNDER_KEY)
            .bind(escape(&question.service))
            .bind(escape(key))
            .fetch_optional(&mut *connection)
            .await?;
        let now = sqlx::query_scalar("SELECT atp_now()").fetch_one(&mut *connection).await?;
        rows::not_inserted(asked.as_ref(), question, key, rows::time(now))
    }

    async fn invalidate_in(
        &self,
        connection: &mut PgConnection,
        service: &str,
        notification_id: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let is_alone: bool = sqlx::query_scalar("SELECT atp_alone($1, $2)")
            .bind(escape(service))
            .bind(escape(notification_id))
            .fetch_one(&mut *connection)
            .await?;
        let decided: Option<rows::StandingRow> = sqlx::query_as(
            "SELECT completed_at IS NOT NULL AS is_completed, lease_until > atp_now() AND leased_at <= atp_now() AS is_running FROM atp_decisions
             WHERE service = $1 AND notification_id = $2 FOR SHARE",
        )
        .bind(escape(service))
        .bind(escape(notification_id))
        .fetch_optional(&mut *connection)
        .await?;
        rows::check_undecided(decided.as_ref(), notification_id)?;
        if !is_alone {
            return Err(StoreError::Running(notification_id.to_owned()));
        }
        let recorded_at: Option<i64> = sqlx::query_scalar(
            "UPDATE atp_questions SET invalidated_why = coalesce(invalidated_why, $3),
                 invalidated_at = coalesce(invalidated_at, atp_now())
             WHERE service = $1 AND notification_id = $2 RETURNING recorded_at",
        )
        .bind(escape(service))
        .bind(escape(notification_id))
        .bind(escape(reason))
        .fetch_optional(&mut *connection)
        .await?;
        let recorded_at = recorded_at.ok_or_else(|| StoreError::NotRecorded(notification_id.to_owned()))?;
        let recorded_at = rows::time(recorded_at);
        let event = self.routes.invalidated(service, notification_id, reason, recorded_at, Utc::now())?;
        self.write_events(connection, event.as_slice()).await.map(drop)
    }

    /// A transaction of the service's own.
    async fn begin(&self) -> Result<OpenTransaction<Postgres>, StoreError> {
        Ok(self.write_on(self.admitted().await?).await?.telling(&self.activity))
    }

    /// Makes the tables or brings them up to date, and gives the key that fingerprints are hashed
    /// with.
    async fn migrate(&self) -> Result<[u8; 32], StoreError> {
        let mut open = self.write().await?;
        let connection = open.connection_mut();
        // Of any number of processes that start at once one migrates. The next one sees it,
        // whatever isolation the server has by default.
        sqlx::raw_sql("SELECT pg_advisory_xact_lock(4706431052178216241)").execute(&mut *connection).await?;
        // A role that may not create is refused also what exists.
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('atp_schema') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
        if !exists {
            sqlx::raw_sql("CREATE TABLE atp_schema (version BIGINT NOT NULL)")
                .execute(&mut *connection)
                .await?;
        }
        let found: i64 = sqlx::query_scalar(statements::SCHEMA_VERSION).fetch_one(&mut *connection).await?;
        for (version, migration) in rows::migrations(&Self::MIGRATIONS, found)? {
            // To make an index takes as long as its table is.
            let patient = format!("SET LOCAL statement_timeout = {}", millis(LONGEST_MIGRATION));
            sqlx::raw_sql(AssertSqlSafe(patient)).execute(&mut *connection).await?;
            sqlx::raw_sql(migration).execute(&mut *connection).await?;
            sqlx::query(statements::SET_SCHEMA_VERSION).bind(version).execute(&mut *connection).await?;
        }
        sqlx::query(statements::MAKE_KEY).bind(&self.fingerprint_key[..]).execute(&mut *connection).await?;
        let key = sqlx::query_scalar(statements::KEY).fetch_one(&mut *connection).await?;
        // A database that cannot be written is found here, and not by the first answer.
        sqlx::query(statements::TRY_TO_WRITE).execute(open.connection_mut()).await?;
        open.finish().await?;
        rows::key(key)
    }

    /// A durable transaction of the store's own. It sees what others have committed, whatever
    /// isolation the server has by default.
    async fn write(&self) -> Result<OpenTransaction<Postgres>, StoreError> {
        self.write_on(self.pooled().await?).await
    }

    /// For one statement that sees what others have committed, whatever isolation the server has by
    /// default.
    async fn one_statement(&self) -> Result<OneStatement, StoreError> {
        Ok(if self.reads_committed {
            OneStatement::Alone(self.pooled().await?)
        } else {
            OneStatement::Within(self.write().await?)
        })
    }

    async fn write_on(&self, pooled: Pooled) -> Result<OpenTransaction<Postgres>, StoreError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL atp.is_begun = 'yes'; {}
             SELECT set_config('synchronous_commit', 'on', true)
             WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')",
            self.limits()
        );
        Ok(OpenTransaction::begin(pooled, AssertSqlSafe(begin).into_sql_str()).await?)
    }

    /// A transaction for a handler.
    async fn admit(&self) -> Result<OpenTransaction<Postgres>, StoreError> {
        let pooled = self.admitted().await?;
        let begin = format!("{} BEGIN READ WRITE; {}", Self::SHUT, self.limits());
        Ok(OpenTransaction::begin(pooled, AssertSqlSafe(begin).into_sql_str()).await?)
    }

    /// Rolls back what a handler did, and begins anew in the same message: behind a pooler the next
    /// one may go to another session.
    async fn begin_anew(
        &self,
        mut open: OpenTransaction<Postgres>,
    ) -> Result<OpenTransaction<Postgres>, StoreError> {
        let begin = format!("BEGIN READ WRITE; {} {}", Self::UNSHUT, self.limits());
        if open.unnest().await? {
            let begin = AssertSqlSafe(format!("ROLLBACK; {begin}"));
            sqlx::raw_sql(begin).execute(open.connection_mut()).await?;
            return Ok(open);
        }
        Ok(open.begin_again(AssertSqlSafe(begin).into_sql_str()).await?)
    }

    /// What limits a transaction. All is its own: behind a pooler a session belongs to nobody.
    fn limits(&self) -> String {
        let limit = self.transaction_limit;
        format!(
            "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {};
             SET LOCAL idle_in_transaction_session_timeout = {};",
            millis(PATIENCE),
            millis(limit.saturating_add(PATIENCE)),
            millis(limit.saturating_add(SERVER_WAITS_LONGER)),
        )
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("transaction_limit", &self.steps.transaction_limit)
            .finish_non_exhaustive()
    }
}

impl Store for Steps {
    type Transaction = OpenTransaction<Postgres>;

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
        let mut pooled = self.pooled().await?;
        let row: rows::FoundRow = sqlx::query_as(statements::FIND)
            .bind(escape(service))
            .bind(escape(notification_id))
            .bind(answer.as_ref().map(|answer| &answer.as_bytes()[..]))
            .fetch_one(pooled.connection_mut())
            .await?;
        pooled.done();
        rows::known(row)
    }

    async fn find_by_key(&self, service: &str, key: &str) -> Result<Known, StoreError> {
        let mut pooled = self.pooled().await?;
        let row: Option<rows::FoundRow> = sqlx::query_as(statements::FIND_BY_KEY)
            .bind(escape(service))
            .bind(escape(key))
            .fetch_optional(pooled.connection_mut())
            .await?;
        pooled.done();
        Ok(row.map(rows::known).transpose()?.unwrap_or_default())
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let mut pooled = self.pooled().await?;
        let taken = self.take(pooled.connection_mut(), claim, None).await?;
        pooled.done();
        if taken { Ok(Claimed::Started(())) } else { self.standing(claim).await }
    }

    async fn claim_in_transaction(
        &self,
        claim: &Claim,
    ) -> Result<Claimed<OpenTransaction<Postgres>>, StoreError> {
        let mut open = self.admit().await?;
        // First of all: whatever the handler commits, it commits this with it.
        let expected = Completion::expected(claim);
        if self.take(open.connection_mut(), claim, Some(&expected)).await? {
            return Ok(Claimed::Started(open));
        }
        sqlx::raw_sql(Self::UNSHUT).execute(open.connection_mut()).await?;
        open.finish().await?;
        self.standing(claim).await
    }

    async fn resume(&self, claim: &Claim) -> Result<OpenTransaction<Postgres>, StoreError> {
        let mut open = self.admit().await?.resumed();
        let is_ended = self.end(open.connection_mut(), claim, &Completion::expected(claim)).await?;
        if is_ended { Ok(open) } else { Err(StoreError::Fenced) }
    }

    async fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<OpenTransaction<Postgres>>,
    ) -> Result<(), StoreError> {
        let is_ended = match transaction {
            Some(mut open) if completion.outcome.is_success() => {
                Self::restate(open.connection_mut(), claim, completion).await?;
                self.write_events(open.connection_mut(), &completion.events).await?;
                open.finish().await?;
                self.activity.hint();
                return Ok(());
            }
            Some(open) => {
                let mut open = self.begin_anew(open).await?;
                let is_ended = if open.has_claim() {
                    self.end(open.connection_mut(), claim, completion).await?
                } else {
                    self.take(open.connection_mut(), claim, Some(completion)).await?
                };
                open.finish().await?;
                is_ended
            }
            None => {
                let mut pooled = self.pooled().await?;
                let is_ended = self.end(pooled.connection_mut(), claim, completion).await?;
                pooled.done();
                is_ended
            }
        };
        self.activity.hint();
        if is_ended { Ok(()) } else { Err(StoreError::Fenced) }
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut pooled = self.pooled().await?;
        sqlx::query(
            "DELETE FROM atp_decisions
             WHERE service = $1 AND notification_id = $2 AND token = $3 AND completed_at IS NULL AND atp_quick()",
        )
        .bind(escape(&claim.service))
        .bind(escape(&claim.notification_id))
        .bind(&claim.token.as_bytes()[..])
        .execute(pooled.connection_mut())
        .await?;
        pooled.done();
        Ok(())
    }

    async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
        // In one order everywhere, or two processes would wait for each other's rows.
        let mut counts: Vec<&DeliveryCount> = counts.iter().collect();
        counts.sort_unstable_by_key(|note| note.row());
        let texts =
            |of: fn(&DeliveryCount) -> &str| counts.iter().map(|note| escape(of(note))).collect::<Vec<_>>();
        let maybe = |of: fn(&DeliveryCount) -> &Option<String>| -> Vec<_> {
            counts.iter().map(|note| of(note).as_deref().map(escape)).collect()
        };
        let numbers = |of: fn(&DeliveryCount) -> i64| counts.iter().map(|note| of(note)).collect::<Vec<_>>();
        let fingerprints: Vec<_> = counts.iter().map(|note| &note.fingerprint.as_bytes()[..]).collect();
        let mut pooled = self.pooled().await?;
        sqlx::query(
            "INSERT INTO atp_deliveries (service, notification_id, fingerprint, verdict, first_seen, last_seen, count,
                 request_id, scheme, secret_index, responder, status, duration_us)
             SELECT n.service, n.notification_id, n.fingerprint, n.verdict, t.now, t.now, n.count,
                 n.request_id, n.scheme, n.secret_index, CASE WHEN NOT EXISTS (SELECT 1 FROM atp_erased AS e
                     WHERE e.service = n.service AND e.notification_id = n.notification_id) THEN n.responder END,
                 n.status, n.duration_us
             FROM unnest($1::TEXT[], $2::TEXT[], $3::BYTEA[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[],
                     $8::BIGINT[], $9::TEXT[], $10::BIGINT[], $11::BIGINT[])
                 AS n (service, notification_id, fingerprint, verdict, count, request_id, scheme, secret_index, responder,
                     status, duration_us),
                 (SELECT atp_now() AS now, atp_quick() AS is_quick) AS t
             WHERE t.is_quick
             ON CONFLICT (service, notification_id, fingerprint, verdict) DO UPDATE SET
                 last_seen = excluded.last_seen, count = atp_deliveries.count + excluded.count,
                 request_id = excluded.request_id, scheme = excluded.scheme, secret_index = excluded.secret_index,
                 responder = excluded.responder, status = excluded.status, duration_us = excluded.duration_us",
        )
        .bind(texts(|note| &note.service))
        .bind(texts(|note| &note.notification_id))
        .bind(fingerprints)
        .bind(texts(|note| note.verdict.name()))
        .bind(numbers(|note| rows::integer(note.count)))
        .bind(maybe(|note| &note.arrival.request_id))
        .bind(texts(|note| note.arrival.scheme.name()))
        .bind(numbers(|note| rows::integer(note.arrival.secret_index)))
        .bind(maybe(|note| &note.arrival.responder))
        .bind(numbers(|note| i64::from(note.status)))
        .bind(numbers(|note| rows::micros(note.duration)))
        .execute(pooled.connection_mut())
        .await?;
        pooled.done();
        Ok(())
    }

    async fn keep(&self, kept: &RefusedDelivery) -> Result<bool, StoreError> {
        // Whoever has seen a delivery once may send it again and again: that costs no write.
        let mut pooled = self.pooled().await?;
        let rows::KeptRow { verdict: known, is_erased, kept_of_it } = sqlx::query_as(statements::KEPT)
            .bind(escape(&kept.service))
            .bind(&kept.digest[..])
            .bind(kept.notification_id.as_deref().map(escape))
            .fetch_one(pooled.connection_mut())
            .await?;
        if is_erased || known.as_deref() == Some(kept.verdict.name()) {
            pooled.done();
            return Ok(false);
        }
        if known.is_none() && kept_of_it >= i64::from(MAX_KEPT) {
            pooled.done();
            return Err(StoreError::KeptEnough);
        }
        let written = sqlx::query(
            "INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body)
             SELECT $1, $2, $3, $4, $5, $6, atp_now(), $7
             WHERE atp_durable() AND NOT EXISTS (
                 SELECT 1 FROM atp_erased WHERE service = $1 AND notification_id = $3) AND (
                 (SELECT count(*) FROM atp_refused WHERE service = $1 AND notification_id = $3) < $8
                 OR EXISTS (SELECT 1 FROM atp_refused WHERE service = $1 AND digest = $2))
             ON CONFLICT (service, digest) DO UPDATE SET verdict = excluded.verdict",
        )
        .bind(escape(&kept.service))
        .bind(&kept.digest[..])
        .bind(kept.notification_id.as_deref().map(escape))
        .bind(kept.verdict.name())
        .bind(kept.scheme.name())
        .bind(rows::integer(kept.secret_index))
        .bind(&kept.body[..])
        .bind(i64::from(MAX_KEPT))
        .execute(pooled.connection_mut())
        .await?;
        pooled.done();
        if written.rows_affected() == 1 { Ok(known.is_none()) } else { Err(StoreError::KeptEnough) }
    }

    async fn refused(&self, service: &str, after: i64, limit: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        self.tell_abandoned(service).await?;
        let mut pooled = self.pooled().await?;
        let rows: Vec<rows::RefusedRow> = sqlx::query_as(statements::REFUSED)
            .bind(escape(service))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(pooled.connection_mut())
            .await?;
        pooled.done();
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
        // Whoever has seen the request may send it again: that costs no write.
        let mut pooled = self.pooled().await?;
        let is_there = sqlx::query(statements::IS_REDEEMABLE)
            .bind(escape(service))
            .bind(id)
            .bind(&crate::store::token::digest(token.as_bytes())[..])
            .fetch_optional(pooled.connection_mut())
            .await?;
        pooled.done();
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
        let mut pooled = self.pooled().await?;
        let rows: Vec<rows::CountedRow> = sqlx::query_as(statements::DELIVERIES)
            .bind(escape(service))
            .bind(escape(notification_id))
            .fetch_all(pooled.connection_mut())
            .await?;
        pooled.done();
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
        let mut pooled = self.pooled().await?;
        let now = sqlx::query_scalar("SELECT atp_now()").fetch_one(pooled.connection_mut());
        let now: i64 = in_time(async { Ok(now.await?) }).await?;
        pooled.done();
        crate::store::error::check_purge(before, rows::time(now), self.redelivery_window)?;
        let before = before.timestamp_micros();
        let (mut purged, mut place) = (0, rows::FIRST_PLACE);
        loop {
            let mut open = in_time(self.write()).await?;
            let batch = Self::purge_questions(open.connection_mut(), before, place);
            let (questions, last) = in_time(batch).await?;
            in_time(open.finish()).await?;
            purged += questions;
            match last {
                Some(last) => place = last,
                None => break,
            }
        }
        loop {
            let mut open = in_time(self.write()).await?;
            let rows = in_time(Self::purge_strangers(open.connection_mut(), before)).await?;
            in_time(open.finish()).await?;
            if rows == 0 {
                return Ok(purged);
            }
        }
    }

    async fn erase(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        let is_running: bool = sqlx::query_scalar(
            "SELECT CASE WHEN atp_alone($1, $2) THEN EXISTS (
                 SELECT 1 FROM atp_decisions WHERE service = $1 AND notification_id = $2 AND completed_at IS NULL
                     AND lease_until > atp_now() AND leased_at <= atp_now())
             ELSE NOT EXISTS (
                 SELECT 1 FROM atp_decisions
                 WHERE service = $1 AND notification_id = $2 AND completed_at IS NOT NULL) END",
        )
        .bind(escape(service))
        .bind(escape(notification_id))
        .fetch_one(open.connection_mut())
        .await?;
        if is_running {
            return Err(StoreError::Running(notification_id.to_owned()));
        }
        // Whoever is about to write there has not seen yet what is erased here.
        sqlx::raw_sql("LOCK TABLE atp_deliveries, atp_refused IN SHARE ROW EXCLUSIVE MODE")
            .execute(open.connection_mut())
            .await?;
        for statement in [
            "INSERT INTO atp_erased VALUES ($1, $2, atp_now()) ON CONFLICT DO NOTHING",
            statements::ERASE_DECISION,
            statements::ERASE_DELIVERIES,
            statements::FORGET_REFUSED,
        ] {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_waits_for_a_lock_as_long_as_the_program_does() {
        let waits = format!("''lock_timeout'', ''{}''", PATIENCE.as_millis());
        for schema in Steps::MIGRATIONS {
            assert_eq!(schema.matches(&waits).count(), schema.matches("lock_timeout").count(), "{waits}");
        }
        assert!(Steps::MIGRATIONS.iter().any(|schema| schema.contains(&waits)), "{waits}");
    }
}
