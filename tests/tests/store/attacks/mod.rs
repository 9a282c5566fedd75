//! What was found by attacking the store and the path: as a stranger, as who has once seen a
//! delivery, as a handler that does odd things, and as an operator.

use std::time::Duration;

use actix_web::{HttpResponse, rt::time::sleep};
use atp_actix::{
    AtpResponse, Scheme,
    store::{Claimed, Completion, RefusedDelivery, Store, Verdict},
    test::SignedAnswer,
};
use chrono::{TimeDelta, Utc};

use crate::support::{
    asked::{Clock, approve, asked, claim, record},
    audit::{bodies, kept},
    databases::{Database as _, SqliteDatabase, SqliteFile, on_every_store},
    mounted::{Mounted, count, counting, runs, webhook, webhook_by},
};

mod endings;
mod erasure;
mod spellings;
mod turns;

on_every_store!(what_died_under_a_lease_is_listed_although_another_answer_took_over);

/// No body that is kept has the word.
async fn assert_forgotten(store: &impl Store) {
    let bodies = bodies(store).await;
    assert!(!bodies.iter().any(|body| body.contains("whisper")), "{bodies:?}");
}

/// Somebody else writes, as long as this lives.
async fn writing<S: Store>(store: &S) -> S::Transaction {
    let busy = claim("n-2", "approve", "x").lease(Duration::from_secs(60));
    let Ok(Claimed::Started(open)) = store.claim_in_transaction(&busy).await else { panic!("begun") };
    open
}

async fn what_died_under_a_lease_is_listed_although_another_answer_took_over(store: impl Store) {
    record(&store, "n-1").await;
    let dead = claim("n-1", "approve", "the answer of a process that died").lease(Duration::from_millis(50));
    assert!(matches!(store.claim(&dead).await, Ok(Claimed::Started(()))));
    sleep(Duration::from_millis(200)).await;
    let other = claim("n-1", "reject", "another answer").lease(Duration::from_secs(60));
    assert!(matches!(store.claim(&other).await, Ok(Claimed::Started(()))));
    let completion = Completion::expected(&other);
    store.complete(&other, &completion, None).await.expect("completed");
    let bodies = bodies(&store).await;
    assert!(bodies.iter().any(|body| body.contains("died")), "it is in no list: {bodies:?}");
}

/// A delivery that was refused, to be kept.
fn of(id: &str, body: &'static [u8]) -> RefusedDelivery {
    let mut refused = RefusedDelivery::new("default", Verdict::Unfit, Scheme::Raw, 0, body, body)
        .notification_id(id.to_owned());
    refused.digest = [7; 32];
    refused
}

#[actix_web::test]
async fn sqlite_two_stores_on_one_file_decide_once() {
    let database = SqliteDatabase::new().await;
    let (one, other) = (database.store().clone(), database.file.open().await);
    let runs = runs();
    let apps = [
        Mounted::new(webhook(&one).otherwise(counting(&runs))).await,
        Mounted::new(webhook(&other).otherwise(counting(&runs))).await,
    ];
    for nth in 0..20 {
        let id = format!("n-{nth}");
        record(&one, &id).await;
        let sent = approve(&id);
        let all = (0..10).map(|n| apps[n % 2].send(&sent));
        let statuses = futures_util::future::join_all(all).await;
        assert!(statuses.iter().all(|(s, _)| matches!(s, 200 | 503)), "{statuses:?}");
        assert_eq!(count(&runs), nth + 1, "{statuses:?}");
    }
}

#[actix_web::test]
async fn odd_statuses_of_handlers() {
    for status in [100_u16, 101, 103, 204, 205, 301, 304, 399, 400, 408, 499, 500, 503, 599, 999] {
        let store = atp_actix::store::MemoryStore::new();
        record(&store, "n-1").await;
        let handler = move |_: AtpResponse| async move {
            HttpResponse::build(actix_web::http::StatusCode::from_u16(status).expect("a status")).finish()
        };
        let app = Mounted::new(webhook(&store).otherwise(handler)).await;
        let first = app.send(&approve("n-1")).await;
        let decided =
            store.find("default", "n-1", None).await.expect("found").decision.map(|d| d.outcome.status);
        println!("{status}: {first:?} {decided:?}");
        assert_eq!(
            decided.is_some(),
            (200..300).contains(&status) || ((400..500).contains(&status) && status != 408)
        );
    }
}

#[actix_web::test]
async fn debug_of_what_holds_bodies_tells_none() {
    let kept = of("n-1", b"whisper");
    let claim = claim("n-1", "approve", "whisper").lease(Duration::ZERO).data("whisper".to_owned());
    let shown = format!("{kept:?} {claim:?}");
    assert!(!shown.contains("whisper"), "{shown}");
}

#[actix_web::test]
async fn memory_and_sqlite_tell_of_what_is_abandoned_beyond_enough_alike() {
    async fn abandoned(store: impl Store) -> bool {
        record(&store, "n-1").await;
        for nth in 0..100_u8 {
            let mut kept = of("n-1", b"x");
            kept.digest = [nth; 32];
            store.keep(&kept).await.expect("kept");
        }
        let dead = claim("n-1", "approve", "died").lease(Duration::from_millis(20));
        assert!(matches!(store.claim(&dead).await, Ok(Claimed::Started(()))));
        sleep(Duration::from_millis(100)).await;
        kept(&store).await.contains(&Verdict::Abandoned)
    }
    let file = SqliteFile::new();
    assert_eq!(abandoned(atp_actix::store::MemoryStore::new()).await, abandoned(file.open().await).await);
}

fn timeless(id: &str, action: &str, data: &str, kind: &str) -> SignedAnswer {
    approve(id).body(format!(
        r#"{{"notification_id":"{id}","action_id":"{action}","response_data":{data},"responder":{{"id":"u","type":"{kind}"}}}}"#
    ))
}

/// Lateness goes by the answer's own arrival; what an agent was forbidden is another's.
#[actix_web::test]
async fn a_late_answer_is_not_in_time_because_an_agent_said_the_same_before() {
    let (runs, clock) = (runs(), Clock::new());
    let store = atp_actix::store::MemoryStore::new();
    let app = Mounted::new(
        webhook_by(&clock, &store)
            .on("approve", counting(&runs))
            .otherwise(counting(&runs))
            .humans_only("approve"),
    )
    .await;
    let deadline = Utc::now() + TimeDelta::minutes(1);
    store
        .record(&atp_actix::store::Question::new(asked("n-1").deadline(deadline)))
        .await
        .expect("a question");
    assert_eq!(app.send(&timeless("n-1", "approve", "null", "agent")).await.0, 403);
    sleep(Duration::from_millis(300)).await;
    clock.ahead(TimeDelta::hours(1));
    let late = timeless("n-1", "approve", "null", "human").at(clock.now());
    let (status, text) = app.send(&late).await;
    assert_eq!((status, count(&runs)), (409, 0), "{text}");
}
