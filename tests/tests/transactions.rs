//! What a handler writes in its transaction takes effect with the decision, once, or not at all.

use std::{cell::RefCell, time::Duration};

use actix_web::{App, HttpResponse, http::StatusCode, rt::time::sleep, test};
use atp_actix::{
    AtpResponse, Error, ErrorReply, Secret, Simple, Transaction, Verifier, Webhook,
    atp_core::{Action, Notification},
    store::{MemoryStore, Question, SqliteStore, Store},
    test::Sender,
};
use sqlx::{
    Connection as _, Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{databases::SqliteFile, server::SECRET};

const PATH: &str = "/atp/webhook";

/// The service's own table, in the database of the store.
struct Orders {
    pool: SqlitePool,
    store: SqliteStore,
    _file: SqliteFile,
}

impl Orders {
    async fn new() -> Self {
        let file = SqliteFile::new();
        let store = file.open().await.with_transaction_limit(Duration::from_millis(500));
        let options = SqliteConnectOptions::new().filename(file.path()).busy_timeout(Duration::from_secs(5));
        let pool = SqlitePool::connect_with(options).await.expect("a pool");
        sqlx::raw_sql("CREATE TABLE orders (note TEXT NOT NULL)").execute(&pool).await.expect("a table");
        Self { pool, store, _file: file }
    }

    /// Delivers the approval of a fresh question to this handler; the status.
    async fn deliver(&self, id: &str, webhook: impl FnOnce(Webhook) -> Webhook) -> u16 {
        let notification =
            Notification::new("Deploy?", "").id(id).action(Action::simple("approve", "Approve"));
        self.store.record(&Question::new(notification)).await.expect("a question");
        self.deliver_again(id, webhook).await
    }

    async fn deliver_again(&self, id: &str, webhook: impl FnOnce(Webhook) -> Webhook) -> u16 {
        let verifier = Verifier::new(Secret::new(SECRET).expect("a good secret"));
        let webhook = webhook(Webhook::new(PATH, verifier).store(self.store.clone()));
        let app = test::init_service(App::new().service(webhook)).await;
        let request = Sender::new(SECRET).answer(id, "approve", ()).post_to(PATH).to_request();
        test::call_service(&app, request).await.status().as_u16()
    }

    async fn notes(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT note FROM orders ORDER BY rowid")
            .fetch_all(&self.pool)
            .await
            .expect("notes")
    }

    async fn is_decided(&self, id: &str) -> bool {
        self.store.find("default", id).await.expect("an answer").decision.is_some()
    }
}

async fn write(tx: &mut Transaction<Sqlite>, note: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO orders VALUES (?)").bind(note).execute(&mut **tx).await?;
    Ok(())
}

async fn good(answer: AtpResponse<Simple>, mut tx: Transaction<Sqlite>) -> Result<(), Error> {
    write(&mut tx, &answer.notification_id).await
}

#[actix_web::test]
async fn it_is_committed_with_the_decision_once() {
    let orders = Orders::new().await;
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", good)).await, 200);
    assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good)).await, 200);
    assert_eq!(orders.notes().await, ["n-1"]);
    assert!(orders.is_decided("n-1").await);
}

/// A handler may do that, and nothing of it stays; the next delivery is handled.
macro_rules! leaves_no_trace {
    ($($name:ident: $status:literal, $handler:expr;)*) => {$(
        #[actix_web::test]
        async fn $name() {
            let orders = Orders::new().await;
            let status = orders.deliver("n-1", |webhook| webhook.on("approve", $handler)).await;
            assert_eq!(status, $status);
            sleep(Duration::from_millis(50)).await;
            assert_eq!(orders.notes().await, [""; 0]);
            assert!(!orders.is_decided("n-1").await);
            // Also on that pool, as often as it has connections.
            for _ in 0..6 {
                assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good)).await, 200);
            }
            assert_eq!(orders.notes().await, ["n-1"]);
            assert_eq!(orders.deliver("n-2", |webhook| webhook.on("approve", good)).await, 200);
            assert_eq!(orders.notes().await, ["n-1", "n-2"]);
        }
    )*};
}

leaves_no_trace! {
    an_error: 503, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        Err::<(), Error>(std::fmt::Error.into())
    };
    a_server_error: 500, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        Ok::<_, Error>(HttpResponse::InternalServerError().finish())
    };
    a_redirect: 500, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        Ok::<_, Error>(HttpResponse::Found().finish())
    };
    a_panic: 500, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        assert!(tx.is_in_transaction(), "never");
        if true { panic!("on purpose: the test wants a panic here") }
        Ok::<_, Error>(())
    };
    a_savepoint_left_open: 500, |mut tx: Transaction<Sqlite>| async move {
        let mut savepoint = tx.begin().await?;
        sqlx::query("INSERT INTO orders VALUES ('lost')").execute(&mut *savepoint).await?;
        std::mem::forget(savepoint);
        Ok::<_, Error>(())
    };
    a_rollback_by_hand: 500, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        sqlx::query("ROLLBACK").execute(&mut *tx).await?;
        Ok::<_, Error>(())
    };
    a_rollback_by_hand_and_more_work: 503, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        sqlx::query("ROLLBACK").execute(&mut *tx).await?;
        write(&mut tx, "half").await?;
        Ok::<_, Error>(())
    };
    a_transaction_taken_twice: 500, |mut one: Transaction<Sqlite>, two: Option<Transaction<Sqlite>>| async move {
        write(&mut one, "lost").await?;
        assert!(two.is_none(), "never");
        Ok::<_, Error>(())
    };
    a_transaction_held_too_long: 503, |mut tx: Transaction<Sqlite>| async move {
        write(&mut tx, "lost").await?;
        sleep(Duration::from_secs(3)).await;
        Ok::<_, Error>(())
    };
}

thread_local! {
    static KEPT: RefCell<Option<Transaction<Sqlite>>> = const { RefCell::new(None) };
}

#[actix_web::test]
async fn a_transaction_that_is_kept_is_not_committed() {
    async fn keeps(mut tx: Transaction<Sqlite>) -> Result<(), Error> {
        write(&mut tx, "lost").await?;
        KEPT.set(Some(tx));
        Ok(())
    }
    let orders = Orders::new().await;
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", keeps)).await, 500);
    assert!(!orders.is_decided("n-1").await);
    KEPT.set(None);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(orders.notes().await, [""; 0]);
    assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good)).await, 200);
    assert_eq!(orders.notes().await, ["n-1"]);
}

#[actix_web::test]
async fn a_commit_by_hand_commits_nothing() {
    async fn commits(mut tx: Transaction<Sqlite>) -> Result<(), Error> {
        write(&mut tx, "lost").await?;
        let _ = sqlx::query("COMMIT").execute(&mut *tx).await;
        Ok(())
    }
    let orders = Orders::new().await;
    let status = orders.deliver("n-1", |webhook| webhook.on("approve", commits)).await;
    assert!(status >= 500, "{status}");
    assert_eq!(orders.notes().await, [""; 0]);
    assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good)).await, 200);
    assert_eq!(orders.notes().await, ["n-1"]);
}

#[actix_web::test]
async fn a_refusal_is_final_and_its_work_is_rolled_back() {
    async fn refuses(mut tx: Transaction<Sqlite>) -> Result<(), ErrorReply> {
        let written = write(&mut tx, "lost").await;
        assert!(written.is_ok(), "written");
        Err(ErrorReply::new(StatusCode::CONFLICT, "OUT_OF_STOCK", "there is none left"))
    }
    let orders = Orders::new().await;
    for _ in 0..2 {
        assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", refuses)).await, 409);
    }
    assert!(orders.is_decided("n-1").await);
    assert_eq!(orders.notes().await, [""; 0]);
}

#[actix_web::test]
async fn it_is_refused_where_the_store_has_another_database() {
    let notification =
        Notification::new("Deploy?", "").id("n-1").action(Action::simple("approve", "Approve"));
    let store = MemoryStore::new();
    store.record(&Question::new(notification)).await.expect("a question");
    let verifier = Verifier::new(Secret::new(SECRET).expect("a good secret"));
    let webhook = Webhook::new(PATH, verifier).store(store).on("approve", good);
    let app = test::init_service(App::new().service(webhook)).await;
    let request = Sender::new(SECRET).answer("n-1", "approve", ()).post_to(PATH).to_request();
    assert_eq!(test::call_service(&app, request).await.status(), 500);
}

#[actix_web::test]
async fn a_question_is_recorded_with_the_services_own_row_or_not_at_all() {
    let orders = Orders::new().await;
    for (id, commit) in [("lost", false), ("kept", true)] {
        let notification =
            Notification::new("Deploy?", "").id(id).action(Action::simple("approve", "Approve"));
        let mut tx = orders.pool.begin().await.expect("a transaction");
        sqlx::query("INSERT INTO orders VALUES (?)").bind(id).execute(&mut *tx).await.expect("a row");
        orders.store.record_in(&mut tx, &Question::new(notification)).await.expect("a question");
        if commit {
            tx.commit().await.expect("a commit");
        } else {
            tx.rollback().await.expect("a rollback");
        }
        let found = orders.store.find("default", id).await.expect("an answer");
        assert_eq!(found.question.is_some(), commit, "{id}");
    }
    assert_eq!(orders.notes().await, ["kept"]);
}

#[actix_web::test]
async fn a_pool_that_is_not_durable_is_refused() {
    let file = SqliteFile::new();
    for (synchronous, good) in [
        (SqliteSynchronous::Off, false),
        (SqliteSynchronous::Normal, false),
        (SqliteSynchronous::Full, true),
        (SqliteSynchronous::Extra, true),
    ] {
        let options = SqliteConnectOptions::new().filename(file.path()).create_if_missing(true);
        let pool =
            SqlitePoolOptions::new().connect_with(options.synchronous(synchronous)).await.expect("a pool");
        let store = SqliteStore::from_pool(pool).await;
        assert_eq!(store.is_ok(), good, "{synchronous:?}: {store:?}");
    }
}

#[actix_web::test]
async fn a_schema_of_a_newer_program_is_refused_and_named() {
    let file = SqliteFile::new();
    drop(file.open().await);
    let options = SqliteConnectOptions::new().filename(file.path());
    let pool = SqlitePool::connect_with(options).await.expect("a pool");
    sqlx::query("INSERT INTO atp_schema VALUES (99)").execute(&pool).await.expect("a version");
    let error = SqliteStore::open(file.path()).await.expect_err("a newer schema").to_string();
    assert!(error.contains("version 99"), "{error}");
}
