//! What the server does to a transaction, and what others do beside it.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::http::StatusCode;
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Simple, Webhook,
    store::{Claimed, Completion, Question, Store as _},
};
use futures_util::future::join;
use sqlx::PgPool;
use tokio::{sync::Barrier, time::timeout};

use super::{careless, execute, orders, patient, prepare};
use crate::support::{
    asked::{asked, claim},
    databases::{Database as _, PostgresDatabase},
    orders::{Orders, write},
};

#[actix_web::test]
async fn a_constraint_that_fails_at_the_commit_is_503_and_the_retry_is_handled() {
    let Some(orders) = orders().await else { return };
    let tables = "CREATE TABLE parents (id INT PRIMARY KEY);
                  CREATE TABLE children (id INT REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
    prepare(&orders.database.pool, tables).await;
    let bears = careless(&["INSERT INTO children VALUES (1)"], StatusCode::OK);
    assert_eq!(orders.deliver("n-1", &bears).await, 503);
    assert_eq!((orders.notes().await, orders.is_decided("n-1").await), (vec![], false));
    assert_eq!(orders.deliver_again("n-1", &bears).await, 503);
    prepare(&orders.database.pool, "INSERT INTO parents VALUES (1)").await;
    orders.until_handled_by("n-1", &bears).await;
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}

#[actix_web::test]
async fn a_connection_that_the_server_ends_under_a_handler_is_503_and_the_retry_is_handled() {
    let Some(orders) = orders().await else { return };
    for (id, goes_on) in [("goes on", true), ("says nothing", false)] {
        let pool = orders.database.pool.clone();
        let struck = move |mut tx: PostgresTransaction| {
            let pool = pool.clone();
            async move {
                write::<PostgresDatabase>(&mut tx, "lost").await?;
                let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await?;
                let end = sqlx::query("SELECT pg_terminate_backend($1, 5000)").bind(process);
                end.execute(&pool).await?;
                if goes_on {
                    write::<PostgresDatabase>(&mut tx, "lost").await?;
                }
                Ok::<_, Error>(())
            }
        };
        assert_eq!(orders.deliver(id, |webhook| webhook.on("approve", struck)).await, 503, "{id}");
        assert!(!orders.is_decided(id).await, "{id}");
        orders.until_handled(id).await;
    }
    assert_eq!(orders.notes().await, ["goes on", "says nothing"]);
}

/// Two accounts, and two handlers that wait for each other when they come the first time.
#[derive(Clone)]
struct Meeting {
    came: Arc<AtomicUsize>,
    both: Arc<Barrier>,
}

impl Meeting {
    const ACCOUNTS: &str = "CREATE TABLE accounts (id BIGINT PRIMARY KEY, cents BIGINT NOT NULL);
                            INSERT INTO accounts VALUES (1, 0), (2, 0)";

    fn new() -> Self {
        Self { came: Arc::default(), both: Arc::new(Barrier::new(2)) }
    }

    async fn wait(&self) {
        if self.came.fetch_add(1, Ordering::SeqCst) < 2 {
            // One that failed on its way does not come.
            let _ = timeout(Duration::from_secs(3), self.both.wait()).await;
        }
    }

    /// Delivers both at once, and then each until it is handled; the first statuses, in order.
    async fn hold(
        orders: &Orders<PostgresDatabase>,
        ids: [&str; 2],
        webhook: impl Fn(Webhook) -> Webhook,
    ) -> [u16; 2] {
        let seen = join(orders.deliver(ids[0], &webhook), orders.deliver(ids[1], &webhook)).await;
        for id in ids {
            orders.until_handled_by(id, &webhook).await;
        }
        let mut seen = [seen.0, seen.1];
        seen.sort_unstable();
        seen
    }

    async fn cents(pool: &PgPool) -> Vec<i64> {
        let query = sqlx::query_scalar("SELECT cents FROM accounts ORDER BY cents");
        query.fetch_all(pool).await.expect("accounts")
    }
}

#[actix_web::test]
async fn of_two_handlers_in_a_deadlock_one_is_503_and_both_take_effect_once() {
    let Some(orders) = patient(|options| options).await else { return };
    prepare(&orders.database.pool, Meeting::ACCOUNTS).await;
    let meeting = Meeting::new();
    let crosses = move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| {
        let meeting = meeting.clone();
        async move {
            let mut accounts = [
                "UPDATE accounts SET cents = cents + 1 WHERE id = 1",
                "UPDATE accounts SET cents = cents + 1 WHERE id = 2",
            ];
            if answer.notification_id == "down" {
                accounts.reverse();
            }
            execute(&mut tx, "SET LOCAL deadlock_timeout = 100").await?;
            execute(&mut tx, accounts[0]).await?;
            meeting.wait().await;
            execute(&mut tx, accounts[1]).await?;
            write::<PostgresDatabase>(&mut tx, &answer.notification_id).await
        }
    };
    let webhook = |webhook: Webhook| webhook.on("approve", crosses.clone());
    assert_eq!(Meeting::hold(&orders, ["up", "down"], webhook).await, [200, 503]);
    assert_eq!(Meeting::cents(&orders.database.pool).await, [2, 2]);
    assert_eq!(orders.notes().await, ["down", "up"]);
}

#[actix_web::test]
async fn of_two_decisions_that_cannot_be_serialized_one_is_503_and_both_take_effect_once() {
    // Each reads an account and writes one cent more into one: the same, or each into that which
    // the other reads.
    for (isolation, crossed, expected) in
        [("repeatable read", false, [0, 2]), ("serializable", false, [0, 2]), ("serializable", true, [1, 2])]
    {
        let default = [("default_transaction_isolation", isolation)];
        let Some(orders) = patient(|options| options.options(default)).await else { return };
        let case = format!("{isolation}, crossed: {crossed}");
        prepare(&orders.database.pool, Meeting::ACCOUNTS).await;
        let meeting = Meeting::new();
        let adds = move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| {
            let meeting = meeting.clone();
            async move {
                let (from, to) = match (crossed, &*answer.notification_id) {
                    (false, _) => (1_i64, 1_i64),
                    (true, "up") => (1, 2),
                    (true, _) => (2, 1),
                };
                let read = sqlx::query_scalar("SELECT cents FROM accounts WHERE id = $1").bind(from);
                let cents: i64 = read.fetch_one(&mut *tx).await?;
                meeting.wait().await;
                let update = sqlx::query("UPDATE accounts SET cents = $1 WHERE id = $2");
                update.bind(cents + 1).bind(to).execute(&mut *tx).await?;
                write::<PostgresDatabase>(&mut tx, &answer.notification_id).await
            }
        };
        let webhook = |webhook: Webhook| webhook.on("approve", adds.clone());
        let seen = Meeting::hold(&orders, ["up", "down"], webhook).await;
        // The store's own statements may fail for the same reason.
        assert!(matches!(seen, [200 | 503, 503]), "{case}: {seen:?}");
        assert_eq!(Meeting::cents(&orders.database.pool).await, expected, "{case}");
        assert_eq!(orders.notes().await, ["down", "up"], "{case}");
    }
}

/// Who is at it has a decision that nobody sees yet.
#[actix_web::test]
async fn a_purge_leaves_a_question_that_somebody_is_deciding() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().redelivery_window(Duration::ZERO);
    for id in ["n-1", "n-2"] {
        store.record(&Question::new(asked(id))).await.expect("a question");
    }
    prepare(&database.pool, "UPDATE atp_questions SET recorded_at = 0, deadline = 0").await;
    let claim = claim("n-1", "approve", "as it came");
    let Claimed::Started(open) = store.claim_in_transaction(&claim).await.expect("a claim") else {
        panic!("it is free")
    };
    let before = chrono::Utc::now() - chrono::TimeDelta::days(1);
    assert_eq!(store.purge(before).await.expect("a purge"), 1, "the other question");
    let completion = Completion::expected(&claim);
    store.complete(&claim, &completion, Some(open)).await.expect("completed");
    let found = store.find("default", "n-1", None).await.expect("an answer");
    assert!(found.question.is_some() && found.decision.is_some(), "{found:?}");
}
