//! A database of its own for each run, gone with it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

use atp_actix::store::{PostgresStore, Question, SqliteStore};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const EFFECTS: &str = "CREATE TABLE effects (notification_id TEXT NOT NULL)";

pub(crate) enum Database {
    Sqlite { folder: PathBuf, store: SqliteStore },
    Postgres { folder: PathBuf, server: String, name: String, store: PostgresStore },
}

impl Database {
    /// The names by which they are asked for.
    pub(crate) const NAMES: [&str; 2] = ["sqlite", "postgres"];

    /// None if there is no such server.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let folder = env::temp_dir().join(format!("atp-flood-{name}-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        match name {
            "sqlite" => Some(Self::sqlite(folder).await),
            "postgres" => Self::postgres(folder).await,
            other => panic!("no store is called {other:?}: there are {:?}", Self::NAMES),
        }
    }

    async fn sqlite(folder: PathBuf) -> Self {
        let store = SqliteStore::open(folder.join("atp.sqlite")).await.expect("a store");
        sqlx::raw_sql(EFFECTS).execute(store.pool()).await.expect("a table");
        Self::Sqlite { folder, store }
    }

    async fn postgres(folder: PathBuf) -> Option<Self> {
        let server = env::var("DATABASE_URL")
            .unwrap_or_else(|_| "postgres://postgres:postgres@127.0.0.1:5432/postgres".to_owned());
        let mut connection = PgConnection::connect(&server).await.ok()?;
        let name = format!("atp_flood_{}", process::id());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("a database");
        let store = PostgresStore::connect(&with_database(&server, &name)).await.expect("a store");
        sqlx::raw_sql(EFFECTS).execute(store.pool()).await.expect("a table");
        Some(Self::Postgres { folder, server, name, store })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { folder, .. } => format!("sqlite:{}", folder.join("atp.sqlite").display()),
            Self::Postgres { server, name, .. } => with_database(server, name),
        }
    }

    /// A folder that is gone with the database.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Sqlite { folder, .. } | Self::Postgres { folder, .. } => folder,
        }
    }

    /// Records all of these, in one transaction.
    pub(crate) async fn record(&self, questions: impl IntoIterator<Item = Question>) {
        match self {
            Self::Sqlite { store, .. } => {
                let mut tx = store.pool().begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
                for question in questions {
                    store.record_in(&mut tx, &question).await.expect("a question");
                }
                tx.commit().await.expect("a commit");
            }
            Self::Postgres { store, .. } => {
                let mut tx = store.pool().begin().await.expect("a transaction");
                for question in questions {
                    store.record_in(&mut tx, &question).await.expect("a question");
                }
                tx.commit().await.expect("a commit");
            }
        }
    }

    /// A number that one statement gives.
    async fn number(&self, sql: &str) -> i64 {
        let query = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite { store, .. } => sqlx::query_scalar(query).fetch_one(store.pool()).await,
            Self::Postgres { store, .. } => sqlx::query_scalar(query).fetch_one(store.pool()).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) async fn rows(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}")).await
    }

    /// How many effects there were, and of how many notifications.
    pub(crate) async fn effects(&self) -> (i64, i64) {
        let all = self.rows("effects").await;
        (all, self.number("SELECT count(DISTINCT notification_id) FROM effects").await)
    }

    /// What the store's tables take on the disk, in bytes: the file and what waits to get into it;
    /// the tables with their indexes, and not what other databases share.
    pub(crate) async fn size(&self) -> u64 {
        match self {
            Self::Sqlite { folder, .. } => {
                let len = |name| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
                len("atp.sqlite") + len("atp.sqlite-wal")
            }
            Self::Postgres { .. } => {
                let sum = "SELECT sum(pg_total_relation_size(oid))::BIGINT FROM pg_class
                    WHERE relkind = 'r' AND relname LIKE 'atp\\_%'";
                self.number(sum).await.unsigned_abs()
            }
        }
    }

    pub(crate) async fn end(self) {
        let _ = fs::remove_dir_all(self.folder());
        if let Self::Postgres { server, name, store, .. } = self {
            store.pool().close().await;
            let mut connection = PgConnection::connect(&server).await.expect("a server");
            let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
            let _ = sqlx::raw_sql(drop).execute(&mut connection).await;
        }
    }
}

fn with_database(server: &str, name: &str) -> String {
    let (start, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{start}/{name}")
}
