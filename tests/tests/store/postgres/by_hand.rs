//! What a handler does to its transaction by hand.

use std::time::Duration;

use actix_web::http::StatusCode;
use atp_actix::{AtpResponse, Error, PostgresTransaction, Simple};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::{careless, count, execute, orders, prepare};
use crate::support::{
    databases::PostgresDatabase,
    orders::{Transactional as _, good, write},
};

const HALF: &str = "INSERT INTO effects VALUES ('half', '')";

/// What a careless handler does by hand, what it is answered, and whether its row and the decision
/// stand then. What it begins after the end of its transaction writes nothing, and fails like any
/// statement whose error it does not mind.
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
