//! A service with a table of its own beside the store's, on each database that hands transactions
//! out.

use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use atp_actix::{
    AtpResponse, Decisions, Error, Simple, Transaction, Webhook,
    limits::DEFAULT_RESPOND_WITHIN,
    store::{OpenTransaction, PostgresStore, Question, SqliteStore, StoreError},
};
use sqlx::{Pool, Postgres, Sqlite};

use crate::support::{
    asked::{approve, record},
    audit::is_decided,
    databases::{Database, PostgresDatabase, SqliteDatabase},
    mounted::{Mounted, remembering},
};

/// The same tests for each store that hands transactions out.
macro_rules! on_each_database {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[actix_web::test]
            async fn $name() {
                super::$name(crate::support::orders::Orders::over(crate::support::databases::SqliteDatabase::new().await)).await;
            })*
        }
        mod postgres {
            $(#[actix_web::test]
            async fn $name() {
                if let Some(database) = crate::support::databases::PostgresDatabase::new().await {
                    super::$name(crate::support::orders::Orders::over(database)).await;
                }
            })*
        }
    };
}

pub(crate) use on_each_database;

/// What differs between the databases that hand transactions out.
pub(crate) trait Transactional: Database + 'static {
    type Sql: sqlx::Database;

    /// The service's own connections.
    fn pool(&self) -> &Pool<Self::Sql>;

    /// The store, as a program opens it that starts again.
    async fn reopen(&self) -> Result<Self::Store, StoreError>;

    /// The store, whose handlers soon hold a transaction too long.
    fn impatient(&self) -> Self::Store;

    async fn record_in(
        store: &Self::Store,
        connection: &mut Connection<Self>,
        question: &Question,
    ) -> Result<(), StoreError>;

    async fn execute(connection: &mut Connection<Self>, sql: &'static str) -> sqlx::Result<()>;

    async fn write(connection: &mut Connection<Self>, note: &str) -> sqlx::Result<()>;
}

/// The transaction of a handler.
pub(crate) type Tx<D> = Transaction<OpenTransaction<<D as Transactional>::Sql>>;

type Connection<D> = <<D as Transactional>::Sql as sqlx::Database>::Connection;

const LIMIT: Duration = Duration::from_millis(500);
const WRITE: &str = "INSERT INTO effects VALUES ($1, '')";

/// What the two say alike, each of its own types.
macro_rules! transactional {
    ($database:ty, $sql:ty, $store:ty, |$self:ident| $reopen:expr) => {
        impl Transactional for $database {
            type Sql = $sql;

            fn pool(&self) -> &Pool<$sql> {
                &self.pool
            }

            async fn reopen(&$self) -> Result<$store, StoreError> {
                $reopen.await
            }

            fn impatient(&self) -> $store {
                self.store().clone().transaction_limit(LIMIT)
            }

            async fn record_in(
                store: &$store,
                connection: &mut Connection<Self>,
                question: &Question,
            ) -> Result<(), StoreError> {
                store.record_in(connection, question).await
            }

            async fn execute(connection: &mut Connection<Self>, sql: &'static str) -> sqlx::Result<()> {
                sqlx::raw_sql(sql).execute(connection).await.map(drop)
            }

            async fn write(connection: &mut Connection<Self>, note: &str) -> sqlx::Result<()> {
                sqlx::query(WRITE).bind(note).execute(connection).await.map(drop)
            }
        }
    };
}

transactional!(SqliteDatabase, Sqlite, SqliteStore, |self| SqliteStore::open(self.file.path()));
transactional!(PostgresDatabase, Postgres, PostgresStore, |self| PostgresStore::connect(&self.url()));

/// The service's own table, in the database of the store.
pub(crate) struct Orders<D: Transactional> {
    pub(crate) database: D,
    pub(crate) store: D::Store,
    pub(crate) respond_within: Duration,
}

impl<D: Transactional> Orders<D> {
    pub(crate) fn over(database: D) -> Self {
        Self { store: database.impatient(), database, respond_within: DEFAULT_RESPOND_WITHIN }
    }

    /// Delivers the approval of a fresh question to this handler; the status.
    pub(crate) async fn deliver(&self, id: &str, webhook: impl FnOnce(Webhook) -> Webhook) -> u16 {
        record(&self.store, id).await;
        self.deliver_again(id, webhook).await
    }

    pub(crate) async fn deliver_again(&self, id: &str, webhook: impl FnOnce(Webhook) -> Webhook) -> u16 {
        let decisions = Decisions::in_store(self.store.clone()).respond_within(self.respond_within);
        let webhook = webhook(remembering(decisions));
        Mounted::new(webhook).await.send(&approve(id)).await.0
    }

    /// Delivers to a good handler until it is handled.
    pub(crate) async fn until_handled(&self, id: &str) {
        self.until_handled_by(id, |webhook| webhook.on("approve", good::<D>)).await;
    }

    /// Delivers until it is handled, as a server would: a claim may be given back after the answer.
    pub(crate) async fn until_handled_by(&self, id: &str, webhook: impl Fn(Webhook) -> Webhook) {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            match self.deliver_again(id, &webhook).await {
                200 => return,
                status => assert!(status == 503 && Instant::now() < patience, "{id} is lost: {status}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that was written, in order.
    pub(crate) async fn notes(&self) -> Vec<String> {
        let mut notes = self.database.effects().await;
        notes.sort();
        notes
    }

    pub(crate) async fn is_decided(&self, id: &str) -> bool {
        is_decided(&self.store, id).await
    }
}

/// Writes a note into the service's own table.
pub(crate) async fn write<D: Transactional>(tx: &mut Tx<D>, note: &str) -> Result<(), Error> {
    Ok(D::write(tx, note).await?)
}

/// A handler that writes its notification down.
pub(crate) async fn good<D: Transactional>(answer: AtpResponse<Simple>, mut tx: Tx<D>) -> Result<(), Error> {
    write::<D>(&mut tx, &answer.notification_id).await
}
