//! The right to write a SQLite file, and the connections that go with it.

use std::{
    ops::Deref,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

use super::super::{
    StoreError,
    sql::{rows, transaction::TransactionConnection},
};

use crate::limits::{LONGEST_HOOKING, STEPS_UNASKED};

/// The queue of those who write.
pub(super) struct WriteQueue {
    writer: Arc<Mutex<Writer>>,
    /// When it was somebody's turn last.
    taken_at: std::sync::Mutex<Instant>,
    is_closed: AtomicBool,
}

impl WriteQueue {
    /// For connections that flush what they commit, and for those whose commits a power cut may
    /// forget.
    pub(super) fn new(durable: SqliteConnectOptions, quick: SqliteConnectOptions) -> Self {
        let options = WriterOptions { durable, quick };
        let writer = Arc::new(Mutex::new(Writer { options, durable: None, quick: None }));
        Self { writer, taken_at: Instant::now().into(), is_closed: AtomicBool::new(false) }
    }

    pub(super) async fn wait(&self, patience: Duration) -> Result<WriteLock, StoreError> {
        self.check_open()?;
        let turn = timeout(patience, Arc::clone(&self.writer).lock_owned()).await;
        self.check_open()?;
        let mut taken_at = self.taken_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(turn) = turn else { return Err(StoreError::TimedOut(Self::held_up(*taken_at, patience))) };
        *taken_at = Instant::now();
        Ok(WriteLock(turn))
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Whether it was somebody's turn since one began to wait tells why that was in vain.
    fn held_up(taken_at: Instant, patience: Duration) -> &'static str {
        if taken_at.elapsed() < patience {
            return "too many wait to write to the file";
        }
        "a handler keeps its `Transaction`, or leaked it: nobody writes until that is dropped; end this process if it never is"
    }

    /// For good, after those who came before. Says whether all of them came to their end: nobody
    /// waits longer than this for one who keeps his turn.
    pub(super) async fn close(&self, patience: Duration) -> bool {
        let turn = timeout(patience, self.writer.lock()).await;
        self.is_closed.store(true, Ordering::Release);
        let Ok(mut writer) = turn else { return false };
        writer.close().await;
        true
    }
}

/// What the two connections are opened with.
struct WriterOptions {
    durable: SqliteConnectOptions,
    quick: SqliteConnectOptions,
}

/// Writes, one at a time, in the order in which they came.
struct Writer {
    options: WriterOptions,
    durable: Option<HookedConnection>,
    quick: Option<SqliteConnection>,
}

impl Writer {
    async fn close(&mut self) {
        // What is not closed in order is recovered when the file is opened next.
        if let Some(HookedConnection { connection, state: _until_closed }) = self.durable.take() {
            let _ = connection.close().await;
        }
        if let Some(connection) = self.quick.take() {
            let _ = connection.close().await;
        }
    }
}

/// A connection that a handler cannot commit, nor roll back unseen, nor keep busy for ever.
pub(super) struct HookedConnection {
    connection: SqliteConnection,
    state: Watched,
}

/// What its hooks ask and tell. SQLite calls them for every transaction, also those that are
/// statements of their own.
#[derive(Default)]
struct State {
    may_commit: AtomicBool,
    is_rolled_back: AtomicBool,
    is_committed: AtomicBool,
    /// Nobody has the connection any more.
    is_dropped: AtomicBool,
    /// When a handler must have ended.
    deadline: std::sync::Mutex<Option<Instant>>,
}

/// The state of a connection, which goes with it.
struct Watched(Arc<State>);

/// A connection that is dropped ends the statement that runs on it: sqlx would wait for that, and
/// the file with it.
impl Drop for Watched {
    fn drop(&mut self) {
        self.0.is_dropped.store(true, Ordering::Release);
    }
}

impl Deref for Watched {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl State {
    /// Whether the statement that runs is still waited for.
    fn goes_on(&self) -> bool {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        !self.is_dropped.load(Ordering::Acquire) && deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    fn end_at(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn begin(&self) {
        self.end_at(None);
        for flag in [&self.may_commit, &self.is_rolled_back, &self.is_committed] {
            flag.store(false, Ordering::Release);
        }
    }

    /// Whether this commit is ours. Once what was begun is rolled back, whatever else a handler has
    /// asked for and not waited for is a transaction of its own.
    fn commit(&self) -> bool {
        let is_ours = self.may_commit.load(Ordering::Acquire) && !self.is_rolled_back.load(Ordering::Acquire);
        self.is_committed.store(is_ours, Ordering::Release);
        is_ours
    }
}

impl HookedConnection {
    async fn connect(options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut connection = options.connect().await?;
        let state = Arc::<State>::default();
        let mut handle =
            timeout(LONGEST_HOOKING, connection.lock_handle()).await.map_err(rows::backend)??;
        handle.set_commit_hook({
            let state = Arc::clone(&state);
            move || state.commit()
        });
        handle.set_rollback_hook({
            let state = Arc::clone(&state);
            move || state.is_rolled_back.store(true, Ordering::Release)
        });
        handle.set_progress_handler(STEPS_UNASKED, {
            let state = Arc::clone(&state);
            move || state.goes_on()
        });
        drop(handle);
        Ok(Self { connection, state: Watched(state) })
    }
}

/// The right to write.
pub(super) struct WriteLock(OwnedMutexGuard<Writer>);

impl WriteLock {
    /// For what must have reached the disk.
    pub(super) async fn durable(mut self) -> Result<Checkout<HookedConnection>, StoreError> {
        let connection = match self.0.durable.take() {
            Some(guarded) => guarded,
            None => HookedConnection::connect(&self.0.options.durable).await?,
        };
        connection.state.begin();
        Ok(Checkout { connection, turn: self, home: |writer| &mut writer.durable })
    }

    /// For a statement that a power cut may forget.
    pub(super) async fn quick(mut self) -> Result<Checkout<SqliteConnection>, StoreError> {
        let connection = match self.0.quick.take() {
            Some(connection) => connection,
            None => self.0.options.quick.connect().await?,
        };
        Ok(Checkout { connection, turn: self, home: |writer| &mut writer.quick })
    }
}

/// A connection with the turn. Dropped before it is given back, it is closed and nobody gets it
/// again.
pub(super) struct Checkout<C> {
    connection: C,
    turn: WriteLock,
    home: fn(&mut Writer) -> &mut Option<C>,
}

impl<C> Checkout<C> {
    pub(super) fn connection_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    pub(super) fn give_back(mut self) {
        *(self.home)(&mut self.turn.0) = Some(self.connection);
    }
}

impl Checkout<HookedConnection> {
    /// Lent to a handler for this long: then its statements are interrupted, also one that it does
    /// not wait for.
    pub(super) fn within(self, limit: Duration) -> Self {
        self.connection.state.end_at(Instant::now().checked_add(limit));
        self
    }
}

impl TransactionConnection<Sqlite> for Checkout<HookedConnection> {
    fn connection(&self) -> &SqliteConnection {
        &self.connection.connection
    }

    fn connection_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection.connection
    }

    fn allow_commit(&mut self) {
        self.connection.state.may_commit.store(true, Ordering::Release);
    }

    fn allow_statement(&mut self) {
        self.connection.state.begin();
        self.allow_commit();
    }

    fn is_rolled_back(&self) -> bool {
        self.connection.state.is_rolled_back.load(Ordering::Acquire)
    }

    fn is_committed(&self) -> bool {
        self.connection.state.is_committed.load(Ordering::Acquire)
    }

    fn give_back(self: Box<Self>) {
        Self::give_back(*self);
    }
}
