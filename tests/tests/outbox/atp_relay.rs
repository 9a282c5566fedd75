//! From a question that is recorded to a server that knows what became of it.

use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use atp_actix::{
    ApiKey, AtpSink, Client, Relay, RunningRelay,
    store::{MemoryStore, Outbox, Question, Routes},
};

use crate::support::{
    asked::{record, unnamed},
    atp_server::{AtpServer, KEY, Received, Reply},
    databases::{PostgresDatabase, SqliteFile},
    mounted::{Mounted, count, counting, runs, webhook},
};

/// The same tests for each store that is told to send to a server.
macro_rules! on_every_outbox {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[actix_web::test]
            async fn $name() {
                super::$name(super::MemoryStore::new().routes(super::routes())).await;
            })*
        }
        mod sqlite {
            $(#[actix_web::test]
            async fn $name() {
                let file = super::SqliteFile::new();
                super::$name(file.open().await.routes(super::routes())).await;
            })*
        }
        mod postgres {
            use crate::support::databases::Database as _;

            $(#[actix_web::test]
            async fn $name() {
                if let Some(database) = super::PostgresDatabase::new().await {
                    super::$name(database.store().clone().routes(super::routes())).await;
                }
            })*
        }
    };
}

on_every_outbox!(
    a_question_is_asked_bound_answered_and_told_to_be_handled,
    a_question_that_is_taken_back_was_asked_before,
    what_the_server_refuses_is_parked_with_its_words_and_holds_up_no_other,
    a_limit_of_the_server_parks_nothing,
);

fn routes() -> Routes {
    Routes::new().server("atp")
}

fn start(store: &impl Outbox, server: &AtpServer) -> RunningRelay {
    let client = Client::new(&server.url(), ApiKey::new(KEY).expect("a key")).expect("a client");
    let short = Duration::from_millis(10);
    let relay = Relay::new(store.clone()).poll(short).backoff(short, short).pause(short, short).attempts(3);
    relay.sink("atp", AtpSink::new(client, store.clone())).start()
}

/// Waits until nothing waits any more.
async fn until_sent(store: &impl Outbox) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let lag = store.lag().await.expect("the store");
        if lag.is_empty() {
            return;
        }
        let parked = store.parked("atp", 0, 10).await.expect("the store");
        assert!(Instant::now() < patience, "{lag:?} {parked:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn told(server: &AtpServer) -> Vec<String> {
    server.received().iter().map(Received::told).collect()
}

async fn a_question_is_asked_bound_answered_and_told_to_be_handled(store: impl Outbox) {
    let server = AtpServer::start();
    let relay = start(&store, &server);
    record(&store, "n-1").await;
    store.record(&Question::new(unnamed()).key("k-2")).await.expect("a question");
    until_sent(&store).await;
    let bound = store.find_by_key("default", "k-2").await.expect("the store").question;
    let bound = bound.and_then(|question| question.notification.id).expect("an id of the server");
    assert!(bound.starts_with("of-server-"), "{bound}");

    let runs = runs();
    let mounted = Mounted::new(webhook(&store).on("approve", counting(&runs))).await;
    for id in ["n-1", &bound] {
        mounted.until_handled(id).await;
        server.until(id, |server| server.status_of(id).as_deref() == Some("processed")).await;
    }
    until_sent(&store).await;
    relay.stop().await;
    assert_eq!(count(&runs), 2);
    let mut told = told(&server);
    told.sort();
    let mut expected = vec![
        "n-1 asked".to_owned(),
        "n-1 processed".to_owned(),
        "notifications asked".to_owned(),
        format!("{bound} processed"),
    ];
    expected.sort();
    assert_eq!(told, expected);
    assert!(server.received().iter().all(|received| received.authorization == format!("Bearer {KEY}")));
}

async fn a_question_that_is_taken_back_was_asked_before(store: impl Outbox) {
    let server = AtpServer::start();
    // The server is away at first, and so is the relay.
    server.answer_next([Reply::error(503, "AWAY"), Reply::status(502)]);
    record(&store, "n-1").await;
    store.invalidate("default", "n-1", "superseded").await.expect("taken back");
    let relay = start(&store, &server);
    until_sent(&store).await;
    relay.stop().await;
    assert_eq!(told(&server), ["n-1 asked", "n-1 asked", "n-1 asked", "n-1 invalidated"]);
    assert_eq!(server.status_of("n-1").as_deref(), Some("invalidated"));
    assert_eq!(server.received().pop().expect("a request").json()["reason"], "superseded");
}

async fn what_the_server_refuses_is_parked_with_its_words_and_holds_up_no_other(store: impl Outbox) {
    let server = AtpServer::start();
    record(&store, "n-1").await;
    store.invalidate("default", "n-1", "superseded").await.expect("taken back");
    server.answer_next([Reply::error(422, "CONSTRAINT_VIOLATION")]);
    let relay = start(&store, &server);
    server.until("refusal", |server| server.count() == 1).await;
    record(&store, "n-2").await;
    server.until("other question", |server| server.status_of("n-2").is_some()).await;
    let patience = Instant::now() + Duration::from_secs(20);
    let parked = loop {
        let parked = store.parked("atp", 0, 10).await.expect("the store");
        match &*parked {
            [parked] => break parked.clone(),
            none => assert!(none.is_empty() && Instant::now() < patience, "{none:?}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    for part in ["422", "CONSTRAINT_VIOLATION", "It is so.", "req_1"] {
        assert!(parked.reason.contains(part), "{part}: {}", parked.reason);
    }
    assert_eq!(told(&server), ["n-1 asked", "n-2 asked"]);
    store.release("atp", parked.seq).await.expect("released");
    until_sent(&store).await;
    relay.stop().await;
    assert_eq!(told(&server), ["n-1 asked", "n-2 asked", "n-1 asked", "n-1 invalidated"]);
}

async fn a_limit_of_the_server_parks_nothing(store: impl Outbox) {
    let server = AtpServer::start();
    let limit = Reply::error(429, "RATE_LIMIT_EXCEEDED");
    // More than there are attempts, and others go through meanwhile.
    server.answer_next((0..5).map(|_| limit.clone()));
    for id in ["n-1", "n-2"] {
        record(&store, id).await;
    }
    let relay = start(&store, &server);
    until_sent(&store).await;
    relay.stop().await;
    assert_eq!(server.count(), 7, "{:?}", told(&server));
}
