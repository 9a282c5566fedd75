//! What a readiness route says, and what its probes cost.

use std::time::{Duration, Instant};

use actix_web::{App, rt::time::sleep, test, web};
use atp_actix::{
    Health,
    store::{Event, MemoryStore, Outbox, PostgresStore, Routes, Store as _},
};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::support::{clusters::Cluster, logged, watched::Watched};

const READY: &str = r#"{"status":"ready"}"#;
const LONG: Duration = Duration::from_mins(1);

fn unready(reason: &str) -> String {
    format!(r#"{{"status":"unready","reasons":["{reason}"]}}"#)
}

async fn probe(health: &Health<impl Outbox>) -> (u16, String) {
    let app = test::init_service(App::new().route("/ready", web::get().to(health.clone()))).await;
    let request = test::TestRequest::get().uri("/ready").to_request();
    let response = test::call_service(&app, request).await;
    assert_eq!(response.headers().get("cache-control").map(|value| value.as_bytes()), Some(&b"no-store"[..]));
    let status = response.status().as_u16();
    (status, String::from_utf8_lossy(&test::read_body(response).await).into_owned())
}

/// A memory that is told of an event which nobody sends.
async fn behind() -> MemoryStore {
    let store = MemoryStore::new().routes(Routes::new().events("bus"));
    store.emit(&Event::new("orders.shipped", 7).expect("JSON")).await.expect("an event");
    sleep(Duration::from_millis(2)).await;
    store
}

#[actix_web::test]
async fn what_waits_for_too_long_is_a_reason_where_it_is_asked_for() {
    let store = behind().await;
    let health = || Health::new(store.clone()).within(LONG);
    for (case, health, expected) in [
        ("an hour, unless set", health(), (200, READY.to_owned())),
        ("long enough", health().oldest(LONG), (200, READY.to_owned())),
        ("too old", health().oldest(Duration::ZERO), (503, unready("OUTBOX_BEHIND"))),
        ("whatever waits", health().oldest(Duration::ZERO).whatever_waits(), (200, READY.to_owned())),
    ] {
        assert_eq!(probe(&health).await, expected, "{case}");
    }
}

#[actix_web::test]
async fn a_service_that_ends_is_not_ready() {
    let store = MemoryStore::new();
    let health = Health::new(store.clone());
    assert_eq!(probe(&health).await, (200, READY.to_owned()));
    store.drain(LONG).await.expect("a store");
    assert_eq!(probe(&health).await, (503, unready("ENDING")));
}

/// How often the store was asked this, of what was asked by now.
fn count(calls: &[&str], verb: &str) -> u64 {
    calls.iter().filter(|call| **call == verb).count().try_into().expect("a number")
}

#[actix_web::test]
async fn a_flood_of_probes_asks_the_store_once_a_second() {
    let store = Watched::new(behind().await);
    let health = Health::new(store.clone()).within(LONG);
    let began = Instant::now();
    let reasons = join_all((0..1000).map(|_| {
        let health = health.clone();
        async move { health.reasons().await }
    }));
    assert!(reasons.await.iter().all(Vec::is_empty));
    let (calls, most) = (store.calls.take(), began.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&count(&calls, "find")), "{calls:?}");
    assert!((1..=most / 15 + 1).contains(&count(&calls, "lag")), "{calls:?}");
}

#[actix_web::test]
async fn a_store_that_hangs_is_away_and_probes_that_hang_up_ask_it_no_more_often() {
    let store = Watched::new(MemoryStore::new());
    let health = Health::new(store.clone()).within(Duration::from_millis(200));
    let held = store.hold().await;
    let began = Instant::now();
    for _ in 0..100 {
        let _ = timeout(Duration::from_millis(1), health.reasons()).await;
    }
    assert_eq!(probe(&health).await, (503, unready("STORE_UNAVAILABLE")));
    let (calls, most) = (store.calls.take(), began.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&count(&calls, "find")), "{calls:?}");
    drop(held);
    until_it_says(&health, (200, READY.to_owned())).await;
}

async fn until_it_says(health: &Health<impl Outbox>, expected: (u16, String)) {
    let patience = Instant::now() + LONG;
    loop {
        let said = probe(health).await;
        if said == expected {
            return;
        }
        assert!(Instant::now() < patience, "{said:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_postgres_that_is_stopped_and_comes_back_is_seen_and_told_once_each() {
    let Some(cluster) = Cluster::new().await else { return };
    let store = PostgresStore::connect(&cluster.url()).await.expect("a store");
    let health = Health::new(store.clone());
    until_it_says(&health, (200, READY.to_owned())).await;
    let work = async {
        cluster.stop();
        until_it_says(&health, (503, unready("STORE_UNAVAILABLE"))).await;
        cluster.start();
        until_it_says(&health, (200, READY.to_owned())).await;
    };
    let ((), log) = logged::during(work).await;
    let told = |message: &str| {
        let is_it = |text: &String| text == message;
        log.entries().iter().filter(|entry| entry.fields.get("message").is_some_and(is_it)).count()
    };
    assert_eq!((told("not ready"), told("ready again")), (1, 1), "{}", log.text());
}
