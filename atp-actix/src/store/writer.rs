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
    may_commit: Arc<AtomicBool>,
    is_rolled_back: Arc<AtomicBool>,
}

impl Guarded {
    /// How long to wait for the hooks. sqlx has been seen to lose the wake-up that they wait for.
    const PATIENCE: Duration = Duration::from_secs(1);

    async fn connect(options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut connection = options.clone().synchronous(SqliteSynchronous::Extra).connect().await?;
        let (may_commit, is_rolled_back) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut handle = timeout(Self::PATIENCE, connection.lock_handle()).await.map_err(row::backend)??;
        handle.set_commit_hook({
            let may_commit = Arc::clone(&may_commit);
            move || may_commit.load(Ordering::Acquire)
        });
        handle.set_rollback_hook({
            let is_rolled_back = Arc::clone(&is_rolled_back);
            move || is_rolled_back.store(true, Ordering::Release)
        });
        drop(handle);
        Ok(Self { connection, may_commit, is_rolled_back })
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
        connection.may_commit.store(false, Ordering::Release);
        connection.is_rolled_back.store(false, Ordering::Release);
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
        self.connection.may_commit.store(true, Ordering::Release);
    }

    fn is_rolled_back(&self) -> bool {
        self.connection.is_rolled_back.load(Ordering::Acquire)
    }

    fn give_back(self: Box<Self>) {
        Self::give_back(*self);
    }
}
