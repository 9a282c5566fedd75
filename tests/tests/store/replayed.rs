//! What comes of deliveries that come again and again, from whoever has seen them once, and of
//! answers that must not be lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, http::StatusCode, rt::time::sleep, web};
use atp_actix::{
    AtpResponse, Delivery, ErrorReply, Scheme, Webhook,
    atp_core::{Action, Field, Notification},
    store::{MemoryStore, Question, Store, Verdict},
};
use atp_tests::PATH;
use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    asked::{Clock, answer, approve, asked, record},
    audit::{self, is_decided, kept, noted},
    databases::{SqliteFile, on_every_store},
    logged,
    mounted::{
        Mounted, count, counting, decisions, redrive, remembering, runs, slower_than_its_answer, webhook,
        webhook_by,
    },
    server::{Server, post},
    told::UNAVAILABLE,
};

on_every_store!(
    another_answer_is_told_once,
    the_audit_tells_what_the_sender_was_told,
    an_answer_without_a_time_is_judged_by_its_own_arrival,
    what_a_handler_refused_can_be_reopened_and_sent_in_again,
    a_handler_that_asks_for_later_decides_nothing,
    what_is_erased_stays_erased,
    what_is_sent_in_again_is_told_with_its_secret,
    a_service_that_is_ending_asks_for_later,
);

async fn another_answer_is_told_once(store: impl Store) {
    let told = Arc::new(AtomicUsize::new(0));
    let telling = Arc::clone(&told);
    let hook = move |_: &Delivery| {
        telling.fetch_add(1, Ordering::SeqCst);
    };
    let app =
        Mounted::new(remembering(decisions(&store).on_conflict(hook)).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    let other = answer("n-1", "reject", "no");
    for _ in 0..5 {
        app.refuses(&other, 409, "NOTIFICATION_ALREADY_RESPONDED").await;
    }
    assert_eq!(count(&told), 1);
}

async fn the_audit_tells_what_the_sender_was_told(store: impl Store) {
    let app = slower_than_its_answer(&store, &runs()).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    sleep(Duration::from_millis(600)).await;
    app.expect(&approve("n-1"), 200, "done").await;
    let told: Vec<_> = noted(&store, "n-1").await.iter().map(|noted| (noted.verdict, noted.status)).collect();
    assert!(told.contains(&(Verdict::Handled, 503)) && told.contains(&(Verdict::Replayed, 200)), "{told:?}");
}

async fn an_answer_without_a_time_is_judged_by_its_own_arrival(store: impl Store) {
    let (runs, clock) = (runs(), Clock::new());
    let app = Mounted::new(webhook_by(&clock, &store).otherwise(counting(&runs))).await;
    let deadline = Utc::now() + TimeDelta::minutes(1);
    store.record(&Question::new(asked("n-1").deadline(deadline))).await.expect("a question");
    let timeless = |action: &str, data: Value| {
        let body = json!({"notification_id": "n-1", "action_id": action, "response_data": data});
        approve("n-1").body(body.to_string())
    };
    app.refuses(&timeless("else", Value::Null), 400, "INVALID_ACTION_ID").await;
    noted(&store, "n-1").await;
    clock.ahead(TimeDelta::minutes(2));
    app.refuses(&timeless("approve", Value::Null), 409, "NOTIFICATION_EXPIRED").await;
    assert_eq!(count(&runs), 0);
}

async fn what_a_handler_refused_can_be_reopened_and_sent_in_again(store: impl Store) {
    let runs = runs();
    let counted = Arc::clone(&runs);
    let refuses_first = move |_: AtpResponse| {
        let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let refusal = ErrorReply::new(StatusCode::CONFLICT, "OUT_OF_STOCK", "there is none left");
        async move { if is_first { Err(refusal) } else { Ok("done") } }
    };
    let app = Mounted::new(webhook(&store).otherwise(refuses_first)).await;
    record(&store, "n-1").await;
    for _ in 0..2 {
        app.refuses(&approve("n-1"), 409, "OUT_OF_STOCK").await;
    }
    assert!(kept(&store).await.iter().all(|verdict| *verdict == Verdict::Refused));
    let refused = audit::refused(&store).await;
    let first = refused.first().expect("what was refused is kept");
    store.reopen("default", "n-1").await.expect("a recorded refusal");
    assert_eq!(app.redrive(redrive(&store, first.id).await).await, (200, "done".to_owned()));
    assert_eq!(count(&runs), 2);
}

async fn a_handler_that_asks_for_later_decides_nothing(store: impl Store) {
    let runs = runs();
    let counted = Arc::clone(&runs);
    let later = move |_: AtpResponse| {
        let statuses = [408, 425, 429, 503, 500, 200];
        let status = statuses[counted.fetch_add(1, Ordering::SeqCst)];
        async move { HttpResponse::build(StatusCode::from_u16(status).expect("a status")).body("said") }
    };
    let app = Mounted::new(webhook(&store).otherwise(later)).await;
    record(&store, "n-1").await;
    for status in [408, 425, 429, 503, 500] {
        app.expect(&approve("n-1"), status, "said").await;
        assert!(!is_decided(&store, "n-1").await, "{status}");
        assert!(kept(&store).await.iter().all(|verdict| *verdict == Verdict::Failed), "{status}");
    }
    app.expect(&approve("n-1"), 200, "said").await;
    app.expect(&approve("n-1"), 200, "said").await;
    assert_eq!(count(&runs), 6);
}

async fn what_is_erased_stays_erased(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    app.refuses(&answer("n-1", "reject", "no"), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
    // Also from what still waits to be counted.
    store.erase("default", "n-1").await.expect("erased");
    app.expect(&approve("n-1"), 200, "run 1").await;
    app.refuses(&answer("n-1", "reject", "no"), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
    app.refuses(&answer("n-1", "delay", "1h"), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
    let noted = noted(&store, "n-1").await;
    assert_eq!(noted.iter().map(|noted| noted.count).sum::<u64>(), 5, "{noted:?}");
    assert!(noted.iter().all(|noted| noted.arrival.responder.is_none()), "{noted:?}");
    assert_eq!(kept(&store).await, []);
}

async fn what_is_sent_in_again_is_told_with_its_secret(store: impl Store) {
    let verifier =
        || crate::support::asked::verifier().or(atp_actix::Secret::new("the secret before").expect("good"));
    let mount = || Webhook::new(PATH, verifier()).store(store.clone());
    let (before, after) =
        (Mounted::new(mount()).await, Mounted::new(mount().otherwise(counting(&runs()))).await);
    record(&store, "n-1").await;
    let sent = atp_actix::test::Sender::new("the secret before").answer("n-1", "approve", ());
    assert_eq!(before.send(&sent).await.0, 500, "there is no handler yet");
    let refused = audit::refused(&store).await;
    assert_eq!((refused[0].secret_index, refused[0].scheme), (1, Scheme::Timestamped));
    let again = atp_actix::store::Redrive::prepare(&store, &verifier(), "default", refused[0].id).await;
    assert_eq!(after.redrive(again.expect("a redrive")).await, (200, "run 1".to_owned()));
    let told: Vec<_> =
        noted(&store, "n-1").await.iter().map(|noted| (noted.verdict, noted.arrival.secret_index)).collect();
    assert!(told.contains(&(Verdict::Handled, 1)), "{told:?}");
}

async fn a_service_that_is_ending_asks_for_later(store: impl Store) {
    let app = slower_than_its_answer(&store, &runs()).await;
    for id in ["n-1", "n-2"] {
        record(&store, id).await;
    }
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    assert_eq!(store.drain(Duration::from_millis(10)).await.expect("drained"), 1, "its handler goes on");
    app.expect(&approve("n-2"), 503, UNAVAILABLE).await;
    assert_eq!(store.drain(Duration::from_secs(20)).await.expect("drained"), 0);
    assert!(is_decided(&store, "n-1").await, "what outlived its answer came to its end");
    assert!(!is_decided(&store, "n-2").await);
    let noted = store.deliveries("default", "n-1").await.expect("an answer");
    assert_eq!(
        noted.iter().map(|noted| (noted.verdict, noted.status)).collect::<Vec<_>>(),
        [(Verdict::Handled, 503)]
    );
}

/// Whoever has once seen a delivery can send it as often as he likes: each kind is told ten times a
/// second.
#[actix_web::test]
async fn a_captured_delivery_does_not_flood_the_log() {
    const FLOOD: usize = 300;
    let store = MemoryStore::new();
    let fields =
        (0..90).map(|nth| Field::new(format!("a required field of the name {nth}"), "A field").required());
    let wide = Notification::new("What?", "").id("wide").action(Action::form("tell", "Tell", fields));
    store.record(&Question::new(wide)).await.expect("a question");
    record(&store, "n-1").await;
    let app = Mounted::new(webhook(&store).on("approve", counting(&runs()))).await;
    let sent = [
        (approve("n-1"), 200, "replayed"),
        (answer("wide", "tell", json!({})), 400, "refused"),
        (answer("wide", "approve", ()), 400, "refused"),
        (answer("n-1", "reject", "no"), 409, "refused"),
        (answer("unknown", "reject", "no"), 503, "failed"),
    ];
    app.expect(&sent[0].0, 200, "run 1").await;
    for (captured, status, outcome) in sent {
        let started = Instant::now();
        let flood = async {
            for _ in 0..FLOOD {
                assert_eq!(app.send(&captured).await.0, status);
            }
        };
        let ((), log) = logged::during(flood).await;
        let allowed = 10 * (started.elapsed().as_secs() + 2);
        let told = log.deliveries();
        assert!(
            u64::try_from(told.len()).is_ok_and(|told| told <= allowed),
            "{status}: {} lines",
            told.len()
        );
        assert!(told.iter().all(|entry| entry.fields["outcome"] == outcome), "{}", log.text());
        let longest = told.iter().filter_map(|entry| entry.fields.get("reason")).map(String::len).max();
        assert!(longest.is_none_or(|longest| longest < 1100), "{status}: {longest:?} bytes");
    }
}

/// Whatever becomes of the counters: a decision carries its own row.
#[actix_web::test]
async fn a_server_that_stops_at_once_leaves_every_decision_in_the_audit() {
    const DECISIONS: usize = 60;
    let file = SqliteFile::new();
    let store = file.open().await;
    let ids: Vec<String> = (0..DECISIONS).map(|nth| format!("n-{nth}")).collect();
    for id in &ids {
        record(&store, id).await;
    }
    let served = store.clone();
    let server = Server::start(2, move |config: &mut web::ServiceConfig| {
        config.service(webhook(&served).otherwise(|| async { "done" }));
    });
    let sent = ids.iter().map(|id| async {
        let sent = post(PATH, &approve(id));
        server.exchange(&sent).await.expect("an answer").status
    });
    assert!(join_all(sent).await.iter().all(|status| *status == 200));
    drop(server);
    drop(store);
    let store = file.open().await;
    for id in &ids {
        let told = store.deliveries("default", id).await.expect("an answer");
        let told: Vec<_> =
            told.iter().map(|told| (told.verdict, told.status, told.arrival.responder.as_deref())).collect();
        assert_eq!(told, [(Verdict::Handled, 200, Some("user_123"))], "{id}");
    }
}

/// The end of a store writes what its server's workers have left.
#[actix_web::test]
async fn a_store_that_is_closed_has_counted_all_that_came() {
    const REPLAYS: u64 = 200;
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    let served = store.clone();
    let server = Server::start(2, move |config: &mut web::ServiceConfig| {
        config.service(webhook(&served).otherwise(|| async { "done" }));
    });
    let sent = post(PATH, &approve("n-1"));
    assert_eq!(server.exchange(&sent).await.expect("an answer").status, 200);
    for _ in 0..REPLAYS {
        assert_eq!(server.exchange(&sent).await.expect("an answer").status, 200);
    }
    store.drain(Duration::from_secs(20)).await.expect("drained");
    drop(server);
    store.close().await;
    let told = file.open().await.deliveries("default", "n-1").await.expect("an answer");
    let mut told: Vec<_> = told.iter().map(|told| (told.verdict, told.count)).collect();
    told.sort_unstable();
    assert_eq!(told, [(Verdict::Handled, 1), (Verdict::Replayed, REPLAYS)]);
}
