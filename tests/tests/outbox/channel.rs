//! Events for a task of the same process, out of a SQLite file.

use std::{collections::BTreeMap, time::Duration};

use atp_actix::{
    ChannelSink, Received, Relay,
    store::{Event, Outbox, Routes, SqliteStore},
};
use tokio::time::sleep;

use crate::support::databases::SqliteFile;

const SOON: Duration = Duration::from_millis(1);

async fn open(file: &SqliteFile) -> SqliteStore {
    file.open().await.routes(Routes::new().events("here"))
}

fn event(subject: &str, number: u32) -> Event {
    let event = Event::new("counted", number).expect("JSON").service("shop").subject(subject);
    event.id(format!("{subject}-{number}"))
}

fn relay(store: &SqliteStore, sink: ChannelSink) -> Relay<SqliteStore> {
    Relay::new(store.clone()).sink("here", sink).backoff(SOON, SOON).pause(SOON, SOON)
}

/// How many wait and how many are parked.
async fn lag(store: &SqliteStore) -> (u64, u64) {
    let lag = store.lag().await.expect("a store");
    lag.first().map_or((0, 0), |lag| (lag.waiting, lag.parked))
}

#[actix_web::test]
async fn what_is_acknowledged_is_sent_once_in_order_and_all_else_comes_again() {
    let file = SqliteFile::new();
    let store = open(&file).await;
    for number in 0..20 {
        for subject in ["a", "b", "c"] {
            store.emit(&event(subject, number)).await.expect("a store");
        }
    }
    let (sink, mut receiver) = ChannelSink::new(4);
    let relay = relay(&store, sink).start();
    let mut acknowledged: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut attempts: BTreeMap<String, u32> = BTreeMap::new();
    while acknowledged.values().map(Vec::len).sum::<usize>() < 60 {
        let received = receiver.recv().await.expect("the relay runs");
        let event = &received.outgoing.event;
        let (subject, data) = (event.subject.clone().expect("a subject"), event.data.clone());
        let attempt = attempts.entry(event.id.clone()).or_default();
        *attempt += 1;
        assert_eq!(received.outgoing.attempt, *attempt, "{}", event.id);
        // Each third is taken at once; of the others one is refused for now and one is dropped.
        match (data.parse::<u32>().expect("a number") % 3, *attempt) {
            (1, 1) => received.again("busy"),
            (2, 1) => drop(received),
            _ => {
                assert!(received.ack());
                acknowledged.entry(subject).or_default().push(data);
            }
        }
    }
    relay.stop().await;
    assert!(receiver.recv().await.is_none(), "the relay has stopped");
    assert_eq!(lag(&store).await, (0, 0));
    let whole: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for subject in ["a", "b", "c"] {
        assert_eq!(acknowledged[subject], whole, "{subject}");
    }
}

#[actix_web::test]
async fn what_is_refused_is_parked_and_holds_back_its_own_subject_alone() {
    let file = SqliteFile::new();
    let store = open(&file).await;
    for number in 0..3 {
        for subject in ["good", "bad"] {
            store.emit(&event(subject, number)).await.expect("a store");
        }
    }
    let (sink, mut receiver) = ChannelSink::new(4);
    let relay = relay(&store, sink).start();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let received: Received = receiver.recv().await.expect("the relay runs");
        seen.push(received.outgoing.event.id.clone());
        match received.outgoing.event.subject.as_deref() {
            Some("bad") => received.refuse("no such order"),
            _ => assert!(received.ack()),
        }
    }
    while lag(&store).await != (2, 1) {
        sleep(SOON).await;
    }
    seen.sort();
    assert_eq!(seen, ["bad-0", "good-0", "good-1", "good-2"]);
    let parked = store.parked("here", 0, 10).await.expect("a store");
    assert_eq!((parked.len(), &*parked[0].reason), (1, "no such order"));

    store.release("here", parked[0].seq).await.expect("a parked one");
    for number in 0..3 {
        let received = receiver.recv().await.expect("the relay runs");
        assert_eq!(received.outgoing.event.id, format!("bad-{number}"));
        received.ack();
    }
    relay.stop().await;
    assert_eq!(lag(&store).await, (0, 0));
}

#[actix_web::test]
async fn without_a_receiver_all_waits_for_the_next_process() {
    let file = SqliteFile::new();
    let store = open(&file).await;
    let (sink, mut receiver) = ChannelSink::new(4);
    let first = relay(&store, sink).attempts(1).start();
    for number in 0..3 {
        store.emit(&event("a", number)).await.expect("a store");
    }
    // One is taken and never acknowledged.
    let received = receiver.recv().await.expect("the relay runs");
    drop(receiver);
    drop(received);
    sleep(SOON * 20).await;
    first.stop().await;
    assert_eq!(lag(&store).await, (3, 0));

    let (sink, mut receiver) = ChannelSink::new(4);
    let second = relay(&store, sink).attempts(1).start();
    for number in 0..3 {
        let received = receiver.recv().await.expect("the relay runs");
        assert_eq!(received.outgoing.event.id, format!("a-{number}"));
        assert!(received.ack());
    }
    second.stop().await;
    assert_eq!(lag(&store).await, (0, 0));
}

#[actix_web::test]
async fn a_receiver_that_sleeps_gets_it_again_and_is_told_that_it_was_late() {
    let file = SqliteFile::new();
    let store = open(&file).await;
    let (sink, mut receiver) = ChannelSink::new(4);
    let relay = relay(&store, sink).send_within(Duration::from_millis(100)).start();
    store.emit(&event("a", 0)).await.expect("a store");
    let late = receiver.recv().await.expect("the relay runs");
    while late.is_awaited() {
        sleep(SOON).await;
    }
    let again = receiver.recv().await.expect("the relay runs");
    assert_eq!((&again.outgoing.event, again.outgoing.attempt), (&late.outgoing.event, 2));
    assert!(!late.ack());
    assert!(again.ack());
    relay.stop().await;
    assert_eq!(lag(&store).await, (0, 0));
}
