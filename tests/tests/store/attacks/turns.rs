//! What is sent in again or too often: it takes no turn to write, and hides nothing.

use std::time::Duration;

use actix_web::rt::time::sleep;
use atp_actix::{
    store::{Redrive, Store},
    test::SignedAnswer,
};

use super::writing;
use crate::support::{
    asked::{answer, approve, record},
    audit::refused,
    databases::{SqliteFile, on_every_store},
    logged,
    mounted::{Mounted, count, counting, decisions, redrive, remembering, runs, webhook},
    watched::Watched,
};

on_every_store!(
    what_is_beyond_enough_is_not_logged_each_time,
    a_token_that_was_used_does_not_hide_a_good_signature,
);

/// Approves, and then refuses as many answers as are kept of one notification, and one more: that
/// one.
async fn beyond_enough(app: &Mounted) -> SignedAnswer {
    app.expect(&approve("n-1"), 200, "run 1").await;
    for nth in 0..100 {
        app.send(&answer("n-1", "reject", format!("no {nth}"))).await;
    }
    answer("n-1", "reject", "the one too many")
}

async fn what_is_beyond_enough_is_not_logged_each_time(store: impl Store) {
    let store = Watched::new(store);
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let captured = beyond_enough(&app).await;
    let ((), log) = logged::during(async {
        for _ in 0..100 {
            app.send(&captured).await;
        }
    })
    .await;
    let lines = log.entries().iter().filter(|e| e.target == "atp_actix").count();
    assert!(lines <= 40, "{lines} lines of 100 replays");
}

async fn a_token_that_was_used_does_not_hide_a_good_signature(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    let sent = approve("n-1");
    app.send(&sent).await;
    record(&store, "n-1").await;
    let id = refused(&store).await[0].id;
    let redrive = redrive(&store, id).await;
    let token = redrive.headers[1].1.clone();
    assert_eq!(app.redrive(redrive).await.0, 200);
    let (status, _) = app.send(&sent.clone().header(Redrive::HEADER, token)).await;
    assert_eq!(status, 200);
}

#[actix_web::test]
async fn sqlite_a_used_token_takes_no_turn() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    app.send(&approve("n-1")).await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let id = refused(&store).await[0].id;
    let redrive = redrive(&store, id).await;
    assert_eq!(app.redrive(redrive.clone()).await.0, 200);
    let open = writing(&store).await;
    let used = tokio::time::timeout(Duration::from_secs(1), app.redrive(redrive)).await;
    drop(open);
    assert!(used.is_ok(), "a used token waits for its turn to write");
}

#[actix_web::test]
async fn sqlite_beyond_enough_takes_no_turn() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let captured = beyond_enough(&app).await;
    app.send(&captured).await;
    sleep(Duration::from_millis(200)).await;
    let open = writing(&store).await;
    let again = tokio::time::timeout(Duration::from_secs(1), app.send(&captured)).await;
    drop(open);
    assert!(again.is_ok(), "a replay waits for its turn to write");
}

#[actix_web::test]
async fn sqlite_a_redrive_is_good_once_at_once_and_for_its_service_alone() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    let other =
        Mounted::new(remembering(decisions(&store).service("other")).otherwise(counting(&runs))).await;
    app.send(&approve("n-1")).await;
    record(&store, "n-1").await;
    let id = refused(&store).await[0].id;
    let first = redrive(&store, id).await;
    let second = redrive(&store, id).await;
    assert_eq!(app.redrive(first.clone()).await.0, 401, "the later one took its place");
    assert_eq!(other.redrive(second.clone()).await.0, 401);
    let all = futures_util::future::join_all((0..20).map(|_| app.redrive(second.clone()))).await;
    assert_eq!(all.iter().filter(|(s, _)| *s == 200).count(), 1, "{all:?}");
    assert_eq!(count(&runs), 1);
}
