//! Tables that an older version made.

use atp_actix::store::{PostgresStore, SqliteStore};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgPool, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::databases::{Database as _, PostgresDatabase, SqliteFile};

/// What each version added to the one before.
macro_rules! schema {
    ($version:literal) => {
        include_str!(concat!("../../../atp-actix/src/store/schema/", $version, ".sql"))
    };
}

const SQLITE: [&str; 3] = [schema!("sqlite.1"), schema!("sqlite.2"), schema!("sqlite.3")];
const POSTGRES: [&str; 3] = [schema!("postgres.1"), schema!("postgres.2"), schema!("postgres.3")];

async fn tables_of_sqlite(file: &SqliteFile) -> Vec<(String, Option<String>)> {
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the file");
    let tables = sqlx::query_as("SELECT name, sql FROM sqlite_schema ORDER BY name");
    tables.fetch_all(&mut connection).await.expect("tables")
}

/// A database has what its version was when it was made: what a version brings changes no more.
#[test]
fn what_a_version_brought_stays_as_it_was() {
    let digest = |text: &str| {
        let digest = Sha256::digest(text);
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(SQLITE.map(digest), ["ac323f1a01943ae0", "5f7fdd3f29387a98", "e7cf6203aee56b1f"]);
    assert_eq!(POSTGRES.map(digest), ["37e5bc71f5d62220", "8f5f92841a92d30b", "e7cf6203aee56b1f"]);
}

#[actix_web::test]
async fn a_file_of_every_older_version_is_brought_up_to_the_tables_of_a_new_one() {
    let file = SqliteFile::new();
    drop(file.open().await);
    let new = tables_of_sqlite(&file).await;
    for version in 1..=SQLITE.len() {
        let file = SqliteFile::new();
        let options = SqliteConnectOptions::new().filename(file.path()).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("a file");
        let schema = "CREATE TABLE atp_schema (version INTEGER NOT NULL) STRICT";
        for statements in [&[schema], &SQLITE[..version]].concat() {
            sqlx::raw_sql(statements).execute(&mut connection).await.expect("its tables");
        }
        let number = i64::try_from(version).expect("few");
        let insert = sqlx::query("INSERT INTO atp_schema VALUES (?1)").bind(number);
        insert.execute(&mut connection).await.expect("its version");
        connection.close().await.expect("the end");
        SqliteStore::open(file.path()).await.expect("a store");
        assert_eq!(tables_of_sqlite(&file).await, new, "of version {version}");
    }
}

async fn tables_of_postgres(pool: &PgPool) -> Vec<String> {
    let tables = sqlx::query_scalar(
        "SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'effects'
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
         UNION ALL SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace
         ORDER BY 1",
    );
    tables.fetch_all(pool).await.expect("tables")
}

#[actix_web::test]
async fn a_database_of_every_older_version_is_brought_up_to_the_tables_of_a_new_one() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let new = tables_of_postgres(&database.pool).await;
    for version in 1..=POSTGRES.len() {
        let schema = "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE atp_schema (version BIGINT NOT NULL)";
        let number = format!("INSERT INTO atp_schema VALUES ({version})");
        for statements in [&[schema], &POSTGRES[..version], &[&*number]].concat() {
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&database.pool).await.expect("its tables");
        }
        // As a backup does, for hours.
        let mut reader = database.pool.begin().await.expect("a transaction");
        sqlx::raw_sql("SELECT * FROM atp_deliveries").execute(&mut *reader).await.expect("its rows");
        PostgresStore::connect(&database.url()).await.expect("a store");
        reader.rollback().await.expect("its end");
        assert_eq!(tables_of_postgres(&database.pool).await, new, "of version {version}");
    }
}
