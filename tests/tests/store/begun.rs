//! Transactions of the service's own, by `begin`, and what is read beside them.

use atp_actix::store::{PostgresStore, Question, SqliteStore, Store, StoreError};
use futures_util::future::join_all;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{
    asked::{asked, record},
    databases::{PostgresDatabase, SqliteFile},
};

async fn is_recorded(store: &impl Store, id: &str) -> bool {
    store.find("default", id, None).await.expect("an answer").question.is_some()
}

async fn is_invalidated(store: &impl Store, id: &str) -> bool {
    let question = store.find("default", id, None).await.expect("an answer").question;
    question.expect("the question").invalidated.is_some()
}

/// Reads, then writes: what a service does that looks for its row before it asks about it.
async fn look_and_record(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<(), StoreError> {
    sqlx::query("SELECT count(*) FROM atp_questions").fetch_one(&mut *connection).await?;
    store.record_in(connection, &Question::new(asked(id))).await
}

/// Of as many by `store.pool().begin()` most fail with "database is locked".
#[actix_web::test]
async fn all_of_many_transactions_at_once_are_committed_on_sqlite() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let one = async |nth: usize| {
        let mut tx = store.begin().await?;
        look_and_record(&store, &mut tx, &format!("n-{nth}")).await?;
        tx.commit().await
    };
    for outcome in join_all((0..200).map(one)).await {
        outcome.expect("committed");
    }
    for nth in 0..200 {
        assert!(is_recorded(&store, &format!("n-{nth}")).await, "{nth}");
    }
}

/// For both databases, whose connections are of different types.
macro_rules! what_is_begun {
    ($store:expr) => {{
        let store = $store;
        record(&store, "taken back").await;
        for (id, commits) in [("lost", false), ("kept", true)] {
            let mut tx = store.begin().await.expect("a transaction");
            store.record_in(&mut tx, &Question::new(asked(id))).await.expect("a question");
            let taken_back = store.invalidate_in(&mut tx, "default", "taken back", "superseded");
            taken_back.await.expect("an open question");
            if commits {
                tx.commit().await.expect("a commit");
            } else {
                drop(tx);
            }
            assert_eq!(is_recorded(&store, id).await, commits, "{id}");
            assert_eq!(is_invalidated(&store, "taken back").await, commits, "{id}");
        }
        let mut tx = store.begin().await.expect("a transaction");
        let unknown = store.invalidate_in(&mut tx, "default", "unknown", "superseded").await;
        assert!(matches!(unknown, Err(StoreError::NotRecorded(_))), "{unknown:?}");
        let savepoint = tx.begin().await.expect("a savepoint");
        std::mem::forget(savepoint);
        let unclean = tx.commit().await;
        assert!(matches!(unclean, Err(StoreError::Unclean(_))), "{unclean:?}");
        record(&store, "afterwards").await;
        store.close().await;
        let closed = store.begin().await.map(drop);
        assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
        let closed = store.find("default", "kept", None).await;
        assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    }};
}

#[actix_web::test]
async fn what_is_begun_is_committed_whole_or_not_at_all_on_sqlite() {
    let file = SqliteFile::new();
    what_is_begun!(file.open().await);
}

#[actix_web::test]
async fn what_is_begun_is_committed_whole_or_not_at_all_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        let store = PostgresStore::connect(&crate::support::databases::Database::url(&database)).await;
        what_is_begun!(store.expect("a store"));
    }
}

#[actix_web::test]
async fn a_database_in_memory_is_read_beside_an_open_transaction() {
    let store = SqliteStore::in_memory().await.expect("a store");
    record(&store, "before").await;
    let mut tx = store.begin().await.expect("a transaction");
    store.record_in(&mut tx, &Question::new(asked("in it"))).await.expect("a question");
    assert!(is_recorded(&store, "before").await);
    assert!(!is_recorded(&store, "in it").await, "it is not committed");
    tx.commit().await.expect("a commit");
    assert!(is_recorded(&store, "in it").await);
    let other = SqliteStore::in_memory().await.expect("a store");
    assert!(!is_recorded(&other, "before").await, "each is its own");
    let file = store.pool().connect_options().get_filename().to_owned();
    let clone = store.clone();
    drop(store);
    assert!(is_recorded(&clone, "in it").await && file.exists());
    drop(clone);
    assert!(!file.exists(), "it goes with the last clone");
}

/// What a statement has ended cannot be committed, and says so.
macro_rules! what_is_ended_is_not_said_to_be_committed {
    ($store:expr, $cases:expr) => {{
        let store = $store;
        for (case, statement) in $cases {
            let mut tx = store.begin().await.expect("a transaction");
            store.record_in(&mut tx, &Question::new(asked(case))).await.expect("a question");
            // The service does not look at what came of it.
            let _ = sqlx::raw_sql(statement).execute(&mut *tx).await;
            let committed = tx.commit().await;
            let is_there = is_recorded(&store, case).await;
            assert!(is_there || committed.is_err(), "{case}: {committed:?}");
            assert!(committed.is_ok() || case != "untouched", "{case}: {committed:?}");
        }
        record(&store, "afterwards").await;
    }};
}

const ENDING: [(&str, &str); 6] = [
    ("rolled back", "ROLLBACK"),
    ("rolled back and begun", "ROLLBACK; BEGIN"),
    ("committed", "COMMIT"),
    ("failed", "INSERT INTO nowhere VALUES (1)"),
    ("failed within", "SAVEPOINT a; INSERT INTO nowhere VALUES (1)"),
    ("untouched", "SELECT 1"),
];

#[actix_web::test]
async fn what_is_ended_is_not_said_to_be_committed_on_sqlite() {
    let file = SqliteFile::new();
    what_is_ended_is_not_said_to_be_committed!(file.open().await, ENDING);
}

#[actix_web::test]
async fn what_is_ended_is_not_said_to_be_committed_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        let store = PostgresStore::connect(&crate::support::databases::Database::url(&database)).await;
        what_is_ended_is_not_said_to_be_committed!(store.expect("a store"), ENDING);
    }
}

/// Or a service that leaked one transaction never ends.
macro_rules! a_store_is_closed_beside_an_open_transaction {
    ($store:expr) => {{
        let store = $store;
        let tx = store.begin().await.expect("a transaction");
        let closed = tokio::time::timeout(std::time::Duration::from_secs(60), store.close()).await;
        assert!(closed.is_ok(), "it waits for ever");
        let closed = store.begin().await.map(drop);
        assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
        drop(tx);
        let closed = store.record(&Question::new(asked("n-1"))).await;
        assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    }};
}

#[actix_web::test]
async fn a_store_is_closed_beside_an_open_transaction_on_sqlite() {
    let file = SqliteFile::new();
    a_store_is_closed_beside_an_open_transaction!(file.open().await);
}

#[actix_web::test]
async fn a_store_is_closed_beside_an_open_transaction_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        let store = PostgresStore::connect(&crate::support::databases::Database::url(&database)).await;
        a_store_is_closed_beside_an_open_transaction!(store.expect("a store"));
    }
}

#[cfg(unix)]
#[actix_web::test]
async fn a_database_in_memory_is_for_this_user_alone_and_gone_whatever_ends_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut folders = Vec::new();
    for nth in 0..60 {
        let store = SqliteStore::in_memory().await.expect("a store");
        let file = store.pool().connect_options().get_filename().to_owned();
        let folder = file.parent().expect("a folder").to_owned();
        let mode = std::fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        record(&store, "n-1").await;
        match nth % 3 {
            0 => drop(store),
            1 => {
                let tx = store.begin().await.expect("a transaction");
                drop(store);
                let _ = tx.commit().await;
            }
            _ => {
                let ended = std::thread::spawn(move || {
                    let _held = store;
                    panic!("on purpose: the test wants a panic here")
                })
                .join();
                assert!(ended.map(|(): ()| ()).is_err());
            }
        }
        folders.push((nth, folder));
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let left: Vec<_> = folders.into_iter().filter(|(_, folder)| folder.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}
