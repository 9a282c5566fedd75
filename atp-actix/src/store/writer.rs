//! The right to write a SQLite file, and the connections that go with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

use super::{StoreError, open::Lent, row};

/// Writes, one at a time, in the order in which they came.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// Whether a power cut leaves what is written without a flush in order.
    is_wal: bool,
    is_closed: bool,
    durable: Option<Guarded>,
    quick: Option<SqliteConnection>,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, is_wal: bool) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { options, is_wal, is_closed: false, durable: None, quick: None }))
    }

    /// For good.
    pub(super) async fn close(&mut self) {
        self.is_closed = true;
        let durable = self.durable.take().map(|guarded| guarded.connection);
        for connection in durable.into_iter().chain(self.quick.take()) {
            // What is not closed in order is recovered when the file is opened next.
            let _ = connection.close().await;
        }
    }
}

/// A connection that a handler cannot commit, nor roll back unseen.
pub(super) struct Guarded {
    connection: SqliteConnection,
    state: Arc<State>,
}

/// What its hooks ask and tell. SQLite calls them for every transaction, also those that are statements of their own.
#[derive(Default)]
struct State {
    may_commit: AtomicBool,
    is_rolled_back: AtomicBool,
    is_committed: AtomicBool,
}

impl State {
    fn begin(&self) {
        for flag in [&self.may_commit, &self.is_rolled_back, &self.is_committed] {
            flag.store(false, Ordering::Release);
        }
    }

    /// Whether this commit is ours. Once what was begun is rolled back, whatever else a handler has asked for and not waited
    /// for is a transaction of its own.
    fn commit(&self) -> bool {
        let is_ours = self.may_commit.load(Ordering::Acquire) && !self.is_rolled_back.load(Ordering::Acquire);
        self.is_committed.store(is_ours, Ordering::Release);
        is_ours
    }
}

impl Guarded {
    /// How long to wait for the hooks. sqlx has been seen to lose the wake-up that they wait for.
    const PATIENCE: Duration = Duration::from_secs(1);

    async fn connect(options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut connection = options.clone().synchronous(SqliteSynchronous::Extra).connect().await?;
        let state = Arc::<State>::default();
        let mut handle = timeout(Self::PATIENCE, connection.lock_handle()).await.map_err(row::backend)??;
        handle.set_commit_hook({
            let state = Arc::clone(&state);
            move || state.commit()
        });
        handle.set_rollback_hook({
            let state = Arc::clone(&state);
            move || state.is_rolled_back.store(true, Ordering::Release)
        });
        drop(handle);
        Ok(Self { connection, state })
    }
}

/// The right to write.
pub(super) struct Turn(OwnedMutexGuard<Writer>);

impl Turn {
    pub(super) async fn wait(writer: &Arc<Mutex<Writer>>, patience: Duration) -> Result<Self, StoreError> {
        let turn = timeout(patience, Arc::clone(writer).lock_owned()).await.map_err(row::backend)?;
        if turn.is_closed { Err(sqlx::Error::PoolClosed.into()) } else { Ok(Self(turn)) }
    }

    /// For what must have reached the disk.
    pub(super) async fn durable(mut self) -> Result<Borrowed<Guarded>, StoreError> {
        let connection = match self.0.durable.take() {
            Some(guarded) => guarded,
            None => Guarded::connect(&self.0.options).await?,
        };
        connection.state.begin();
        Ok(Borrowed { connection, turn: self, home: |writer| &mut writer.durable })
    }

    /// For a statement that a power cut may forget.
    pub(super) async fn quick(mut self) -> Result<Borrowed<SqliteConnection>, StoreError> {
        let synchronous = if self.0.is_wal { SqliteSynchronous::Normal } else { SqliteSynchronous::Extra };
        let connection = match self.0.quick.take() {
            Some(connection) => connection,
            None => self.0.options.clone().synchronous(synchronous).connect().await?,
        };
        Ok(Borrowed { connection, turn: self, home: |writer| &mut writer.quick })
    }
}

/// A connection with the turn. Dropped before it is given back, it is closed and nobody gets it again.
pub(super) struct Borrowed<C> {
    connection: C,
    turn: Turn,
    home: fn(&mut Writer) -> &mut Option<C>,
}

impl<C> Borrowed<C> {
    pub(super) fn connection_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    pub(super) fn give_back(mut self) {
        *(self.home)(&mut self.turn.0) = Some(self.connection);
    }
}

impl Lent<Sqlite> for Borrowed<Guarded> {
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
