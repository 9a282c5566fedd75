//! Databases for tests, gone with them.

use std::{
    cell::RefCell,
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use atp_actix::store::{PostgresStore, SqliteStore, Store};
use sqlx::{
    Connection as _, PgConnection, PgPool, SqliteConnection, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// The same tests for each store.
macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[actix_web::test]
            async fn $name() {
                super::$name(atp_actix::store::MemoryStore::new()).await;
            })*
        }
        mod sqlite {
            $(#[actix_web::test]
            async fn $name() {
                let file = crate::support::databases::SqliteFile::new();
                super::$name(file.open().await).await;
            })*
        }
        mod postgres {
            use crate::support::databases::Database as _;

            $(#[actix_web::test]
            async fn $name() {
                if let Some(database) = crate::support::databases::PostgresDatabase::new().await {
                    super::$name(database.store().clone()).await;
                }
            })*
        }
    };
}

pub(crate) use on_every_store;

/// A store with the service's own table `effects` beside it.
pub(crate) trait Database {
    type Store: Store;

    fn name(&self) -> &'static str;

    /// For another process.
    fn url(&self) -> String;

    fn store(&self) -> &Self::Store;

    /// The notifications that had an effect, each as often as it had.
    async fn effects(&self) -> Vec<String>;
}

const TABLE: &str = "CREATE TABLE effects (notification_id TEXT NOT NULL, decision_id TEXT NOT NULL)";

/// A name that no other test has.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("atp_test_{}_{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A folder of its own with a SQLite file.
pub(crate) struct SqliteFile(PathBuf);

impl SqliteFile {
    pub(crate) fn new() -> Self {
        let folder = env::temp_dir().join(unique());
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// Another file in the folder.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("atp.sqlite")
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path()).await.expect("a store")
    }

    /// Another program's connection that holds the lock to write until it is closed.
    pub(crate) async fn lock(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        let mut other = SqliteConnection::connect_with(&options).await.expect("the file");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("its lock");
        other
    }
}

impl Drop for SqliteFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct SqliteDatabase {
    pub(crate) file: SqliteFile,
    store: SqliteStore,
    pub(crate) pool: SqlitePool,
}

impl SqliteDatabase {
    pub(crate) async fn new() -> Self {
        let file = SqliteFile::new();
        let store = file.open().await;
        let options = SqliteConnectOptions::new().filename(file.path()).busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().connect_with(options).await.expect("a pool");
        sqlx::raw_sql(TABLE).execute(&pool).await.expect("a table");
        Self { file, store, pool }
    }
}

impl Database for SqliteDatabase {
    type Store = SqliteStore;

    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file.path().display())
    }

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    async fn effects(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT notification_id FROM effects")
            .fetch_all(&self.pool)
            .await
            .expect("effects")
    }
}

/// The server of `DATABASE_URL`, else one on the standard local port. A machine without it skips,
/// and says so; continuous integration must have it.
async fn postgres() -> Option<(String, PgConnection)> {
    let candidates = match env::var("DATABASE_URL") {
        Ok(url) => vec![url],
        Err(_) => vec!["postgres://postgres:postgres@127.0.0.1:5432/postgres".to_owned()],
    };
    for url in candidates {
        let connected = tokio::time::timeout(Duration::from_secs(3), PgConnection::connect(&url)).await;
        if let Ok(Ok(connection)) = connected {
            return Some((url, connection));
        }
    }
    assert!(
        env::var_os("CI").is_none(),
        "no PostgreSQL, and CI must not skip what it proves: set DATABASE_URL"
    );
    eprintln!("SKIPPED: no PostgreSQL at DATABASE_URL or on 127.0.0.1:5432, so nothing was tried on it");
    None
}

/// A database of its own on a server.
pub(crate) struct PostgresDatabase {
    server: String,
    name: String,
    store: PostgresStore,
    pub(crate) pool: PgPool,
}

impl PostgresDatabase {
    pub(crate) async fn new() -> Option<Self> {
        let (server, mut connection) = postgres().await?;
        let name = unique();
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.expect("a database");
        let url = with_database(&server, &name);
        let store = PostgresStore::connect(&url).await.expect("a store");
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.expect("a pool");
        sqlx::raw_sql(TABLE).execute(&pool).await.expect("a table");
        Some(Self { server, name, store, pool })
    }
}

impl PostgresDatabase {
    /// The server's processes that serve this database.
    pub(crate) async fn backends(&self) -> Vec<u32> {
        self.ids("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").await
    }

    async fn ids(&self, query: &'static str) -> Vec<u32> {
        let ids: Vec<i32> =
            sqlx::query_scalar(query).fetch_all(&self.pool).await.expect("the server's processes");
        ids.into_iter().map(|id| u32::try_from(id).expect("a process")).collect()
    }

    /// All processes of the server, and first of all the one that makes more of them.
    pub(crate) async fn processes(&self) -> Vec<u32> {
        let mut ids = self.ids("SELECT pid FROM pg_stat_activity").await;
        let status = fs::read_to_string(format!("/proc/{}/status", ids[0])).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
        ids.extend(parent);
        ids
    }
}

fn with_database(server: &str, name: &str) -> String {
    let (start, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{start}/{name}")
}

impl Database for PostgresDatabase {
    type Store = PostgresStore;

    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    fn store(&self) -> &PostgresStore {
        &self.store
    }

    async fn effects(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT notification_id FROM effects")
            .fetch_all(&self.pool)
            .await
            .expect("effects")
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        let left = Left { server: self.server.clone(), name: self.name.clone() };
        LEFT.with_borrow_mut(|all| all.push(left));
    }
}

thread_local! {
    /// What this thread's test leaves, dropped after the test's runtime: while that stands still
    /// with a connection half made, the server would wait a minute for its password before it drops
    /// a database.
    static LEFT: RefCell<Vec<Left>> = const { RefCell::new(Vec::new()) };
}

struct Left {
    server: String,
    name: String,
}

impl Drop for Left {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread that ends cannot have a runtime.
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.expect("the server");
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                let _ = sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut connection).await;
            });
        });
        let _ = dropped.join();
    }
}
