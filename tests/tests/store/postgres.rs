//! What PostgreSQL alone lets a handler do to its transaction, or does to it: a statement that fails spoils all of it, a
//! commit by hand is a commit, and the end of all that is written, and one that was asked for may still be refused.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use actix_web::{HttpResponse, http::StatusCode};
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Simple, Webhook,
    limits::DEFAULT_RESPOND_WITHIN,
    store::{Claimed, Completion, PostgresStore, Question, Store as _, Token},
};
use futures_util::future::{join, join_all};
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::Barrier, time::timeout};

use crate::support::{
    asked::{asked, claim},
    databases::{Database as _, PostgresDatabase},
    orders::{Orders, Transactional as _, good, write},
};

async fn orders() -> Option<Orders<PostgresDatabase>> {
    Some(Orders::over(PostgresDatabase::new().await?))
}

/// With a store of one's own, in which a handler may wait for another.
async fn patient(
    options: impl FnOnce(PgConnectOptions) -> PgConnectOptions,
) -> Option<Orders<PostgresDatabase>> {
    let database = PostgresDatabase::new().await?;
    let url: PgConnectOptions = database.url().parse().expect("a URL");
    let pool = PgPoolOptions::new().max_connections(6).connect_with(options(url)).await.expect("a pool");
    let store = PostgresStore::from_pool(pool).await.expect("a store");
    let store = store.transaction_limit(Duration::from_secs(10));
    Some(Orders { database, store, respond_within: Duration::from_secs(20) })
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    Ok(PostgresDatabase::execute(connection, sql).await?)
}

/// The service's own work beside the store.
async fn prepare(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A handler that writes its row, takes these steps whatever comes of them, and says this.
fn careless(steps: &'static [&'static str], says: StatusCode) -> impl Fn(Webhook) -> Webhook {
    let handler = move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| async move {
        write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
        for step in steps {
            let _ = execute(&mut tx, step).await;
        }
        Ok::<_, Error>(HttpResponse::new(says))
    };
    move |webhook| webhook.on("approve", handler)
}

/// How often this was written.
async fn count(orders: &Orders<PostgresDatabase>, note: &str) -> usize {
    orders.notes().await.iter().filter(|other| *other == note).count()
}

const HALF: &str = "INSERT INTO effects VALUES ('half', '')";

/// What a careless handler does by hand, what it is answered, and whether its row and the decision stand then. What it begins
/// after the end of its transaction writes nothing, and fails like any statement whose error it does not mind.
const BY_HAND: &[(&[&str], u16, bool)] = &[
    (&[], 200, true),
    (&["SELECT 1 / 0"], 503, false),
    (&["SELECT 1 / 0", HALF], 503, false),
    (&["SAVEPOINT s", "SELECT 1 / 0"], 503, false),
    (&["SAVEPOINT s", "SELECT 1 / 0", "ROLLBACK TO s"], 200, true),
    (&["SAVEPOINT s"], 200, true),
    (&["BEGIN"], 200, true),
    (&["COMMIT"], 500, true),
    (&["END"], 500, true),
    (&["COMMIT; BEGIN"], 500, true),
    (&["COMMIT; BEGIN", HALF], 503, true),
    (&["COMMIT AND CHAIN", HALF], 500, true),
    (&["SELECT 1 / 0", "COMMIT"], 500, false),
    (&["ROLLBACK"], 500, false),
    (&["ABORT"], 500, false),
    (&["ROLLBACK; BEGIN"], 500, false),
    (&["ROLLBACK; BEGIN", HALF], 503, false),
    (&["ROLLBACK AND CHAIN", HALF], 500, false),
    (&["SELECT 1 / 0", "ROLLBACK; BEGIN", HALF], 503, false),
    (&["SET TRANSACTION READ ONLY"], 200, true),
    (&["DISCARD ALL"], 503, false),
    (&["VACUUM effects"], 503, false),
    (&["SET search_path = pg_catalog"], 503, false),
    (&["SET ROLE pg_monitor"], 503, false),
    (&["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(1)"], 503, false),
    (&["SELECT pg_terminate_backend(pg_backend_pid())"], 503, false),
];

#[actix_web::test]
async fn whatever_a_handler_does_by_hand_its_row_and_the_decision_stand_both_or_neither() {
    let Some(orders) = orders().await else { return };
    for (nth, (steps, status, stands)) in BY_HAND.iter().enumerate() {
        let id = format!("n-{nth}");
        let seen = orders.deliver(&id, careless(steps, StatusCode::OK)).await;
        let (written, decided) = (count(&orders, &id).await, orders.is_decided(&id).await);
        assert_eq!((seen, written == 1, decided), (*status, *stands, *stands), "{steps:?}");
        // A handler that ran again would write a second row.
        orders.until_handled(&id).await;
        assert_eq!(count(&orders, &id).await, 1, "{steps:?}");
        for next in 0..3 {
            let id = format!("next-{nth}-{next}");
            let seen = orders.deliver(&id, |webhook| webhook.on("approve", good::<PostgresDatabase>)).await;
            assert_eq!((seen, count(&orders, &id).await), (200, 1), "after {steps:?}");
        }
    }
    assert_eq!(count(&orders, "half").await, 0, "what followed the end of a transaction");
}

/// The decision was committed with it, so no delivery runs the handler again.
#[actix_web::test]
async fn a_commit_by_hand_stands_whatever_the_handler_says_then() {
    let Some(orders) = orders().await else { return };
    for (says, status) in [(200, 500), (302, 500), (409, 503), (500, 500), (503, 503)] {
        let (id, says) = (format!("n-{says}"), StatusCode::from_u16(says).expect("a status"));
        assert_eq!(orders.deliver(&id, careless(&["COMMIT"], says)).await, status, "{id}");
        assert!(orders.is_decided(&id).await, "{id}");
        orders.until_handled(&id).await;
        assert_eq!(count(&orders, &id).await, 1, "{id}");
    }
}

/// New transactions on its connection are read-only until the store commits.
#[actix_web::test]
async fn work_after_a_transaction_was_ended_by_hand_is_refused() {
    let Some(orders) = orders().await else { return };
    const ENDS: &[(&str, bool)] = &[("ROLLBACK", false), ("COMMIT", true), ("SELECT 1 / 0; ROLLBACK", false)];
    for (nth, (end, stands)) in ENDS.iter().enumerate() {
        let id = format!("n-{nth}");
        let goes_on = move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| async move {
            write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
            for end in end.split("; ") {
                let _ = execute(&mut tx, end).await;
            }
            for half in ["INSERT INTO effects VALUES ('half', '')", "CREATE TABLE half (id INT)"] {
                assert!(execute(&mut tx, half).await.is_err(), "it was written outside");
            }
            Ok::<_, Error>(())
        };
        // What a commit by hand has decided is not done again.
        for expected in [500, if *stands { 200 } else { 500 }] {
            let seen = orders.deliver(&id, |webhook| webhook.on("approve", goes_on)).await;
            assert_eq!((seen, orders.is_decided(&id).await), (expected, *stands), "{end}");
        }
    }
    assert_eq!(orders.notes().await, ["n-1"]);
}

/// What a handler may do by sqlx that ends the transaction, or looks as if it might.
#[derive(Clone, Copy, Debug)]
enum Nested {
    GivenUp,
    GivenUpAgainAndAgain,
    Begun,
    Failed,
    BegunWithin,
    Dropped,
    DroppedWhileItRuns,
}

/// Whose connection this is it does not know.
async fn nest(connection: &mut PgConnection, nested: Nested, half: &str) -> sqlx::Result<()> {
    match nested {
        Nested::GivenUp => {
            let _ = timeout(Duration::ZERO, connection.begin()).await;
        }
        Nested::GivenUpAgainAndAgain => {
            for _ in 0..20 {
                let _ = timeout(Duration::ZERO, connection.begin()).await;
            }
        }
        Nested::Begun => {
            // The second is a transaction of its own.
            let _ = timeout(Duration::ZERO, connection.begin()).await;
            if let Ok(mut inner) = connection.begin().await {
                PostgresDatabase::write(&mut inner, half).await?;
                inner.commit().await?;
            }
        }
        Nested::Failed => {
            let _ = execute(connection, "SELECT 1 / 0").await;
            assert!(connection.begin().await.is_err(), "a statement failed before");
        }
        Nested::BegunWithin => {
            assert!(connection.begin_with("BEGIN").await.is_err(), "it is within one");
        }
        Nested::Dropped => {
            let mut inner = connection.begin().await?;
            PostgresDatabase::write(&mut inner, half).await?;
        }
        Nested::DroppedWhileItRuns => {
            let mut inner = connection.begin().await?;
            let slow = sqlx::query("INSERT INTO effects SELECT $1, '' FROM pg_sleep(0.1)").bind(half);
            let _ = timeout(Duration::from_millis(20), slow.execute(&mut *inner)).await;
        }
    }
    Ok(())
}

#[actix_web::test]
async fn what_follows_a_nested_transaction_is_committed_with_the_decision_or_not_at_all() {
    // What is given up may have been there already.
    const MAYBE: &[u16] = &[200, 500];
    const ALL: [(Nested, &[u16]); 7] = [
        (Nested::GivenUp, MAYBE),
        (Nested::GivenUpAgainAndAgain, MAYBE),
        (Nested::Begun, MAYBE),
        (Nested::Failed, &[500]),
        (Nested::BegunWithin, &[500]),
        (Nested::Dropped, &[200]),
        (Nested::DroppedWhileItRuns, &[200]),
    ];
    let Some(orders) = orders().await else { return };
    for (nested, expected) in ALL {
        for strict in [false, true] {
            let id = format!("{nested:?}-{strict}");
            let handler = move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| async move {
                write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
                let half = format!("{}, half", answer.notification_id);
                let _ = nest(&mut tx, nested, &half).await;
                let more =
                    write::<PostgresDatabase>(&mut tx, &format!("{}, more", answer.notification_id)).await;
                if strict { more } else { Ok(()) }
            };
            for _ in 0..3 {
                let seen = orders.deliver(&id, |webhook| webhook.on("approve", handler)).await;
                assert!(
                    expected.contains(&seen) || strict && seen == 503 && *expected != [200],
                    "{id}: {seen}"
                );
                let rows = usize::from(orders.is_decided(&id).await);
                assert_eq!(rows, usize::from(seen == 200), "{id}: {seen}");
                let written = (count(&orders, &id).await, count(&orders, &format!("{id}, more")).await);
                assert_eq!(written, (rows, rows), "{id}: {seen}");
                assert!(count(&orders, &format!("{id}, half")).await <= rows, "{id}: {seen}");
            }
            orders.until_handled(&id).await;
            assert_eq!(count(&orders, &id).await, 1, "{id}");
        }
    }
}

#[actix_web::test]
async fn a_session_is_as_it_was_after_each_end_of_a_handlers_transaction() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let pool = PgPoolOptions::new().max_connections(2).connect(&database.url()).await.expect("a pool");
    let store = PostgresStore::from_pool(pool.clone()).await.expect("a store");
    let orders = Orders { database, store, respond_within: DEFAULT_RESPOND_WITHIN };
    const SAYS: [u16; 5] = [200, 409, 500, 503, 200];
    for (nth, says) in SAYS.iter().enumerate() {
        let says = StatusCode::from_u16(*says).expect("a status");
        orders.deliver(&format!("n-{nth}"), careless(&[], says)).await;
        orders.deliver_again(&format!("n-{nth}"), careless(&[], says)).await;
        // The service's own work goes over the same connections.
        let (one, other) = (pool.acquire().await, pool.acquire().await);
        for connection in [one, other] {
            let mut connection = connection.expect("a connection");
            execute(&mut connection, "INSERT INTO effects VALUES ('own', '')")
                .await
                .expect("a session that writes");
            let read_only: String = sqlx::query_scalar("SHOW default_transaction_read_only")
                .fetch_one(&mut *connection)
                .await
                .expect("a setting");
            assert_eq!(read_only, "off", "after {says}");
        }
    }
    assert_eq!(count(&orders, "own").await, 10);
}

/// Each would wait for a connection that another holds: what a handler has is less than the pool.
#[actix_web::test]
async fn handlers_that_call_the_store_in_their_transactions_do_not_wait_for_each_other() {
    let Some(orders) = orders().await else { return };
    let store = PostgresStore::connect(&orders.database.url()).await.expect("a store");
    let asks = {
        let store = store.clone();
        move |answer: AtpResponse<Simple>, mut tx: PostgresTransaction| {
            let store = store.clone();
            async move {
                write::<PostgresDatabase>(&mut tx, &answer.notification_id).await?;
                let next = format!("next of {}", answer.notification_id);
                store.record(&Question::new(asked(&next))).await?;
                Ok::<_, Error>(())
            }
        }
    };
    let orders = Orders { store, ..orders };
    let ids: Vec<String> = (0..40).map(|nth| format!("n-{nth}")).collect();
    for id in &ids {
        orders.store.record(&Question::new(asked(id))).await.expect("a question");
    }
    let all = ids.iter().map(|id| orders.deliver_again(id, |webhook| webhook.on("approve", asks.clone())));
    assert_eq!(join_all(all).await, [200; 40]);
    assert_eq!(orders.notes().await.len(), 40);
}

#[actix_web::test]
async fn a_pool_that_a_handler_would_use_up_and_a_server_that_is_read_only_are_refused() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let url = |read_only| {
        let url: PgConnectOptions = database.url().parse().expect("a URL");
        url.options([("default_transaction_read_only", read_only)])
    };
    for (connections, read_only, expected) in
        [(1, "off", "max_connections"), (2, "on", "read-only"), (2, "off", "")]
    {
        let pool = PgPoolOptions::new().max_connections(connections).connect_with(url(read_only)).await;
        let store = PostgresStore::from_pool(pool.expect("a pool")).await;
        let told = store.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            told.contains(expected) && told.is_empty() == expected.is_empty(),
            "{connections} {read_only}: {told}"
        );
    }
}

/// A server that prepares transactions ends this one with it; one that does not rolls it back.
#[actix_web::test]
async fn a_transaction_that_a_handler_prepares_is_not_its_own_any_more() {
    let Some(orders) = orders().await else { return };
    let pool = &orders.database.pool;
    let prepared = careless(&["PREPARE TRANSACTION 'atp_test'"], StatusCode::OK);
    assert_eq!(orders.deliver("n-1", prepared).await, 500);
    assert!(!orders.is_decided("n-1").await);
    let prepares: String =
        sqlx::query_scalar("SHOW max_prepared_transactions").fetch_one(pool).await.expect("a setting");
    if prepares != "0" {
        // Whoever decides on it decides on both.
        assert_eq!(orders.deliver_again("n-1", careless(&[], StatusCode::OK)).await, 503);
        prepare(pool, "ROLLBACK PREPARED 'atp_test'").await;
    }
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}

#[actix_web::test]
async fn a_refusal_is_final_though_a_statement_failed() {
    let Some(orders) = orders().await else { return };
    assert_eq!(orders.deliver("n-1", careless(&["SELECT 1 / 0"], StatusCode::CONFLICT)).await, 409);
    assert!(orders.is_decided("n-1").await);
    assert_eq!(orders.deliver_again("n-1", careless(&[], StatusCode::OK)).await, 409);
    assert_eq!(orders.notes().await, [""; 0]);
}

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
    // Each reads an account and writes one cent more into one: the same, or each into that which the other reads.
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

/// What a stopping server drops has nobody any more who could take its connection back.
#[test]
fn verbs_that_a_server_drops_when_it_stops_do_not_panic() {
    const NAME: &str = "a server that stops";
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |told| {
        if thread::current().name() == Some(NAME) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        hook(told);
    }));
    let server = thread::Builder::new().name(NAME.to_owned()).spawn(|| {
        let system = actix_web::rt::System::new();
        system.block_on(async {
            let Some(database) = PostgresDatabase::new().await else { return };
            let mut locker = database.pool.acquire().await.expect("a connection");
            let lock = "BEGIN; LOCK TABLE atp_refused, atp_questions";
            sqlx::raw_sql(lock).execute(&mut *locker).await.expect("a lock");
            let before = chrono::Utc::now() - chrono::TimeDelta::days(30);
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.redeem("default", 1, Token::random()).await });
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.purge(before).await });
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.find("default", "n-1", None).await });
            let store = database.store().clone();
            actix_web::rt::spawn(async move { store.record(&Question::new(asked("n-1"))).await });
            actix_web::rt::time::sleep(Duration::from_millis(300)).await;
            // The lock goes with the server's processes, when the database is dropped.
            std::mem::forget(locker);
        });
    });
    assert!(server.expect("a thread").join().is_ok());
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

/// What was in force when each row was committed.
const WATCH: &str = "CREATE TABLE commits (synchronous TEXT NOT NULL);
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO commits VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION watch()";

#[actix_web::test]
async fn a_handler_cannot_make_its_decision_less_durable() {
    let Some(orders) = orders().await else { return };
    prepare(&orders.database.pool, WATCH).await;
    const SETTINGS: &[&[&str]] = &[
        &[],
        &["SET synchronous_commit = off"],
        &["SET LOCAL synchronous_commit = off"],
        &["SET LOCAL synchronous_commit = local"],
        &["SET LOCAL synchronous_commit = remote_write"],
        &["SET LOCAL synchronous_commit = remote_apply"],
    ];
    for (nth, steps) in SETTINGS.iter().enumerate() {
        let id = format!("n-{nth}");
        orders.deliver(&id, careless(steps, StatusCode::OK)).await;
        orders.until_handled(&id).await;
    }
    let commits: Vec<String> = sqlx::query_scalar("SELECT synchronous FROM commits")
        .fetch_all(&orders.database.pool)
        .await
        .expect("commits");
    assert_eq!(commits, ["on", "on", "on", "on", "on", "remote_apply"]);
}

#[actix_web::test]
async fn a_server_that_waits_for_its_standbys_to_apply_goes_on_doing_so() {
    let remote = |options: PgConnectOptions| options.options([("synchronous_commit", "remote_apply")]);
    let Some(orders) = patient(remote).await else { return };
    prepare(&orders.database.pool, WATCH).await;
    let watch = "CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON atp_questions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION watch()";
    prepare(&orders.database.pool, watch).await;
    assert_eq!(orders.deliver("n-1", careless(&[], StatusCode::OK)).await, 200);
    let commits: Vec<String> = sqlx::query_scalar("SELECT synchronous FROM commits")
        .fetch_all(&orders.database.pool)
        .await
        .expect("commits");
    assert_eq!(commits, ["remote_apply"; 2]);
}

/// The connection that it left so is closed at its first error.
#[actix_web::test]
async fn what_a_handler_does_to_its_session_costs_at_most_one_delivery() {
    const SESSIONS: &[&[&str]] = &[
        &["DEALLOCATE ALL"],
        &["SET default_transaction_read_only = on"],
        &["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
    ];
    for steps in SESSIONS {
        let Some(orders) = orders().await else { return };
        for next in 0..6 {
            orders.store.record(&Question::new(asked(&format!("next-{next}")))).await.expect("a question");
        }
        orders.deliver("n-1", careless(steps, StatusCode::OK)).await;
        let mut broken = 0;
        for next in 0..6 {
            let id = format!("next-{next}");
            while orders.deliver_again(&id, careless(&[], StatusCode::OK)).await != 200 {
                broken += 1;
                assert!(broken <= 1, "{steps:?}: {id}");
            }
        }
    }
}
