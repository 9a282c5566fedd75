//! Databases that are measured, gone with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use atp_actix::store::{PostgresStore, SqliteStore};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

pub(crate) fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(file).journal_mode(SqliteJournalMode::Wal);
    options.synchronous(SqliteSynchronous::Full).busy_timeout(Duration::from_secs(5)).create_if_missing(true)
}

/// Questions and orders, from number 0 on.
pub(crate) fn seed(count: usize) -> [String; 2] {
    let question = r#"{"id":"n","version":"1.0","context":{"title":"Deploy?","description":""},"actions":[{"id":"approve","label":"Approve","response_type":"simple"}]}"#;
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})", count - 1);
    [
        format!(
            "{numbers} INSERT INTO atp_questions (service, key, notification_id, question, context, recorded_at)
             SELECT 'default', 'n-' || i, 'n-' || i, '{question}', 'null', 0 FROM n"
        ),
        format!("{numbers} INSERT INTO orders SELECT 'n-' || i, 'waiting' FROM n"),
    ]
}

pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres { server: String, name: String },
}

impl Database {
    pub(crate) const TABLES: &str = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT NOT NULL);
        CREATE TABLE processed (id TEXT PRIMARY KEY, action TEXT NOT NULL)";

    pub(crate) async fn sqlite(nth: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("atp-bench-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let this = Self::Sqlite(folder.join("atp.sqlite"));
        SqliteStore::open(folder.join("atp.sqlite")).await.expect("a store");
        this.run(Self::TABLES).await;
        this
    }

    pub(crate) async fn postgres(nth: usize) -> Option<Self> {
        let url = std::env::var("DATABASE_URL")
            .unwrap_or_else(|_| "postgres://postgres:postgres@127.0.0.1:5432/postgres".to_owned());
        let mut connection = PgConnection::connect(&url).await.ok()?;
        let name = format!("atp_bench_{}_{nth}", std::process::id());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("a database");
        let this = Self::Postgres { server: url, name };
        PostgresStore::connect(&this.url()).await.expect("a store");
        this.run(Self::TABLES).await;
        Some(this)
    }

    /// Does what a server would do by itself in the next minutes, and so in the midst of a load.
    pub(crate) async fn rest(&self) {
        let statements: &[&str] = match self {
            Self::Sqlite(_) => &["PRAGMA wal_checkpoint(TRUNCATE)"],
            Self::Postgres { .. } => &["VACUUM ANALYZE", "CHECKPOINT"],
        };
        for statement in statements {
            self.run(statement).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Postgres { server, name } => {
                format!("{}/{name}", server.rsplit_once('/').expect("a database").0)
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    pub(crate) async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(file) => {
                let mut connection =
                    SqliteConnection::connect_with(&sqlite_options(file)).await.expect("a file");
                sqlx::raw_sql(sql).execute(&mut connection).await.expect("a statement");
                connection.close().await.expect("an end");
            }
            Self::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.url()).await.expect("a server");
                sqlx::raw_sql(sql).execute(&mut connection).await.expect("a statement");
            }
        }
    }

    pub(crate) async fn end(self) {
        match &self {
            Self::Sqlite(file) => {
                let _ = std::fs::remove_dir_all(file.parent().expect("a folder"));
            }
            Self::Postgres { server, name } => {
                let mut connection = PgConnection::connect(server).await.expect("a server");
                let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                let _ = sqlx::raw_sql(drop).execute(&mut connection).await;
            }
        }
    }
}
