//! The database of a service, opened as the service opens it.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use atp_actix::store::{DEFAULT_SERVICE, PostgresStore, SqliteStore, StoreError};
use clap::Args;
use reqwest::Url;
use sqlx::{
    ConnectOptions as _, PgConnection, SqliteConnection,
    error::DatabaseError,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteError, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::timeout;

use super::{
    output::{Failure, chain},
    parts::quiet,
};
use crate::limits::CONNECT_WITHIN;

/// The version of the tables that the library of this program knows. A test holds it.
pub(super) const KNOWN_SCHEMA: i64 = 3;

/// Which database.
#[derive(Args)]
#[group(skip)]
pub(super) struct DatabaseArgs {
    /// The database of the service, as `sqlite:FILE` or `postgres://HOST/NAME` [default: the environment
    /// variable `DATABASE_URL`, in which alone a password may be].
    // Not by `env` of clap, which does not tell where a value is from.
    #[arg(long, value_name = "URL", value_parser = quiet(without_password))]
    database: Option<String>,
}

const VARIABLE: &str = "DATABASE_URL";

fn without_password(text: &str) -> Result<String, String> {
    let has_password = Url::parse(text)
        .is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password"));
    if has_password {
        return Err(format!(
            "it has a password in it, which the arguments of a program tell everybody: set {VARIABLE} to it"
        ));
    }
    Ok(text.to_owned())
}

/// Which service in it.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ServiceArgs {
    /// The service, by the name that its webhook is mounted with.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SERVICE)]
    pub(super) service: String,
}

/// Where a database is.
#[derive(Debug)]
pub(super) enum Place {
    /// In this file.
    Sqlite(PathBuf),
    /// At a server.
    Postgres(Box<PgConnectOptions>),
}

/// A store that is open.
pub(super) enum Opened {
    /// In a file.
    Sqlite(SqliteStore),
    /// At a server.
    Postgres(PostgresStore),
}

/// Does the same with whichever store it is, and closes it.
macro_rules! with_store {
    ($database:expr, $store:ident => $work:expr) => {
        match $database.open().await? {
            $crate::commands::database::Opened::Sqlite($store) => {
                let done = $work.await;
                $store.close().await;
                done
            }
            $crate::commands::database::Opened::Postgres($store) => {
                let done = $work.await;
                $store.close().await;
                done
            }
        }
    };
}
pub(super) use with_store;

impl DatabaseArgs {
    /// Whether there is one.
    pub(super) fn is_given(&self) -> bool {
        self.url().is_some()
    }

    fn url(&self) -> Option<String> {
        self.database.clone().or_else(|| env::var(VARIABLE).ok())
    }

    /// Where it is.
    pub(super) fn place(&self) -> Result<Place, Failure> {
        place(self.url())
    }

    /// Opens it, if it has the tables of this version: opening must not change a database.
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
        let place = self.place()?;
        let version = match &place {
            Place::Sqlite(file) => sqlite_schema(&mut connect_sqlite(file, false).await?).await,
            Place::Postgres(options) => postgres_schema(&mut connect_postgres(options).await?).await,
        };
        let version = version.map_err(|error| {
            let hint = if is_denied(&error) { LIST_WRITES } else { "" };
            Failure::Unable(format!("the version of the tables cannot be read: {}{hint}", chain(&error)))
        })?;
        check(version).map_err(Failure::Unable)?;
        match place {
            Place::Sqlite(file) => Ok(Opened::Sqlite(open_sqlite(&file).await?)),
            // By the URL, since the library takes nothing else that has its own settings.
            Place::Postgres(_) => {
                let url = self.url().unwrap_or_default();
                Ok(Opened::Postgres(PostgresStore::connect(&url).await.map_err(unopened)?))
            }
        }
    }
}

fn place(url: Option<String>) -> Result<Place, Failure> {
    let Some(url) = url else {
        return Err(Failure::Usage(format!(
            "no database: give --database sqlite:FILE or postgres://HOST/NAME, or set {VARIABLE}"
        )));
    };
    // The URL may hold a password, so it is not in the message.
    if url.starts_with("sqlite:") {
        let options = SqliteConnectOptions::from_str(&url)
            .map_err(|error| Failure::Usage(format!("the URL of the database is not good: {error}")))?;
        return Ok(Place::Sqlite(options.get_filename().into()));
    }
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        // A pooler refuses settings that it does not know.
        let options = PgConnectOptions::from_str(&url).map(|options| options.extra_float_digits(None));
        let options = options.map_err(|_| {
            Failure::Usage(
                "the URL of the database is not good: write postgres://USER@HOST:PORT/NAME".to_owned(),
            )
        })?;
        return Ok(Place::Postgres(Box::new(options)));
    }
    Err(Failure::Usage("the URL of the database must begin with sqlite: or postgres:".to_owned()))
}

/// In the journal mode that it has, in which EXTRA is durable.
async fn open_sqlite(file: &Path) -> Result<SqliteStore, Failure> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false).foreign_keys(true);
    let options = options.synchronous(SqliteSynchronous::Extra).busy_timeout(CONNECT_WITHIN);
    let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options.disable_statement_logging());
    let pool = pool.await.map_err(|error| Failure::Unable(chain(&error)))?;
    SqliteStore::from_pool(pool).await.map_err(unopened)
}

/// Who only lists does not expect that it takes a write.
const LIST_WRITES: &str = "; a list opens the store too, as the service does, which writes: it needs a role, or a file \
and a folder, that may be written, and its turn behind who writes; of a copy that is read-only make one that is not, with \
its `-wal`";

#[allow(clippy::needless_pass_by_value, reason = "it is called by map_err")]
fn unopened(error: StoreError) -> Failure {
    Failure::Unable(format!("the store cannot be opened: {}{LIST_WRITES}", chain(&error)))
}

/// Whether it is a matter of permissions.
pub(super) fn is_denied(error: &sqlx::Error) -> bool {
    const READ_ONLY: u32 = 8;
    const CANNOT_OPEN: u32 = 14;
    let insufficient_privilege = "42501";
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == insufficient_privilege)
        || matches!(sqlite_code(error).map(kind), Some(READ_ONLY | CANNOT_OPEN))
}

/// Whether another connection to the file has the turn.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    sqlite_code(error).map(kind) == Some(BUSY)
}

/// Whether whoever may write has to take back first what a program that died had half written.
pub(super) fn is_half_written(error: &sqlx::Error) -> bool {
    const READ_ONLY_ROLLBACK: u32 = 776;
    sqlite_code(error) == Some(READ_ONLY_ROLLBACK)
}

fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.try_downcast_ref::<SqliteError>()?.code()?.parse().ok()
}

/// A code of SQLite without what makes it particular.
fn kind(code: u32) -> u32 {
    code & 0xff
}

/// Whether this program works with tables of this version; if not, what to do.
pub(super) fn check(version: Option<i64>) -> Result<(), String> {
    match version {
        None => Err(
            "the database has no tables of a store: is it the database of the service? The service makes \
                     them when it starts"
                .to_owned(),
        ),
        Some(version) if version < KNOWN_SCHEMA => Err(format!(
            "the tables are of version {version}, and this program knows {KNOWN_SCHEMA}: start the service with the \
             newer library, which brings them up to date, or take the atp of its version"
        )),
        Some(version) if version > KNOWN_SCHEMA => Err(format!(
            "the tables are of version {version}, and this program knows {KNOWN_SCHEMA}: take a newer atp"
        )),
        Some(_) => Ok(()),
    }
}

/// Shows no URL: it may hold a password.
impl fmt::Debug for DatabaseArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseArgs").field("is_given", &self.is_given()).finish()
    }
}

/// What a store says that failed, in the words of the commands where the library's name its functions.
#[allow(clippy::needless_pass_by_value, reason = "it is called by map_err")]
pub(super) fn failed(error: StoreError) -> Failure {
    Failure::Unable(match error {
        StoreError::NotKept(id) => format!(
            "no refused delivery has the id {id} for this service: `atp refused` lists those that are kept"
        ),
        StoreError::NotParked { sink, seq } => format!(
            "no event is parked at the place {seq} for the sink {sink:?}: `atp parked` lists those that are"
        ),
        StoreError::NotRefused(id) => format!(
            "a handler has recorded no refusal of the question {id:?} that could be voided: without --reopen the \
             webhook says how it stands"
        ),
        error => chain(&error),
    })
}

/// A connection to a file that is there.
pub(super) async fn connect_sqlite(file: &Path, is_read_only: bool) -> Result<SqliteConnection, Failure> {
    let unable =
        |why: String| Failure::Unable(format!("the database {} cannot be opened: {why}", file.display()));
    if !file.is_file() {
        return Err(unable("there is no such file".to_owned()));
    }
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false).read_only(is_read_only);
    options.disable_statement_logging().connect().await.map_err(|error| unable(chain(&error)))
}

/// A connection to a server.
pub(super) async fn connect_postgres(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    let unable = |why: String| {
        let (host, port) = (options.get_host(), options.get_port());
        Failure::Unable(format!("the database at {host}:{port} cannot be opened: {why}"))
    };
    match timeout(CONNECT_WITHIN, options.clone().disable_statement_logging().connect()).await {
        Ok(connected) => connected.map_err(|error| unable(chain(&error))),
        Err(_) => Err(unable(format!("no answer within {} s", CONNECT_WITHIN.as_secs()))),
    }
}

const VERSION: &str = "SELECT coalesce(max(version), 0) FROM atp_schema";

/// The version of the tables in this file; nothing if there are none.
pub(super) async fn sqlite_schema(connection: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    let exists: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'atp_schema'")
        .fetch_one(&mut *connection)
        .await?;
    if exists == 0 {
        return Ok(None);
    }
    sqlx::query_scalar(VERSION).fetch_one(connection).await.map(Some)
}

/// The version of the tables at this server; nothing if there are none.
pub(super) async fn postgres_schema(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    // Not prepared by name: a pooler may not know the names.
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('atp_schema') IS NOT NULL")
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    sqlx::query_scalar(VERSION).persistent(false).fetch_one(connection).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> DatabaseArgs {
        DatabaseArgs { database: Some(url.to_owned()) }
    }

    #[tokio::test]
    async fn the_version_that_is_known_is_the_library_s() {
        let store = SqliteStore::in_memory().await.unwrap();
        let mut connection = store.pool().acquire().await.unwrap();
        assert_eq!(sqlite_schema(&mut connection).await.unwrap(), Some(KNOWN_SCHEMA));
    }

    #[test]
    fn tables_of_another_version_are_left_alone() {
        for (version, says) in [
            (None, Some("no tables")),
            (Some(0), Some("start the service")),
            (Some(KNOWN_SCHEMA - 1), Some("start the service")),
            (Some(KNOWN_SCHEMA), None),
            (Some(KNOWN_SCHEMA + 1), Some("a newer atp")),
        ] {
            let said = check(version).err();
            assert_eq!(said.is_some(), says.is_some(), "{version:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(says.unwrap_or_default()), "{version:?}");
        }
    }

    #[test]
    fn a_url_is_of_sqlite_or_of_postgresql_and_its_password_is_in_no_message() {
        for (url, is_good) in [
            ("sqlite:atp.sqlite", true),
            ("sqlite:///var/lib/atp.sqlite", true),
            ("sqlite:atp.sqlite?mode=hunter2", false),
            ("postgres://u:hunter2@localhost/db", true),
            ("postgresql://localhost/db", true),
            ("postgres://u:hunter2@localhost:port/db", false),
            ("mysql://u:hunter2@localhost/db", false),
            ("hunter2", false),
            ("", false),
        ] {
            match args(url).place() {
                Ok(_) => assert!(is_good && !format!("{:?}", args(url)).contains("hunter2"), "{url:?}"),
                Err(error) => {
                    assert!(!is_good, "{url:?}: {error}");
                    assert!(!error.to_string().contains("hunter2@"), "{error}");
                }
            }
        }
        assert!(matches!(place(None), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_password_is_no_argument() {
        for (url, is_good) in [
            ("sqlite:atp.sqlite", true),
            ("postgres://u@localhost/db?sslmode=disable", true),
            ("postgres://u:hunter2@localhost/db", false),
            ("postgresql://localhost/db?user=u&password=hunter2", false),
        ] {
            let said = without_password(url);
            assert_eq!(said.is_ok(), is_good, "{url}");
            assert!(is_good || !said.unwrap_err().contains("hunter2"), "{url}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_not_made() {
        let file = std::env::temp_dir().join(format!("atp-{}.sqlite", uuid::Uuid::new_v4()));
        let error = args(&format!("sqlite:{}", file.display())).open().await.err().unwrap().to_string();
        assert!(error.contains("no such file"), "{error}");
        assert!(!file.exists());
    }
}
