//! Events in a stream of NATS JetStream: once each, in order, whatever becomes of the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use atp_actix::{
    NatsSink, Relay, RunningRelay, SendError, Sink,
    store::{Event, MemoryStore, Outbox, Outgoing, SendEnd, Settled},
};
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use crate::support::{
    brokers::{Broker, Log, header},
    databases::SqliteFile,
};

/// What a machine under load may need.
const PATIENCE: Duration = Duration::from_mins(1);

fn event(nth: usize) -> Event {
    let event = Event::new("orders.shipped", nth).expect("JSON").id(format!("e-{nth:05}"));
    event.service("acme").to("bus").subject(format!("order-{}", nth % 100))
}

/// A relay that tries again soon.
fn relay(store: impl Outbox, sink: impl Sink) -> RunningRelay {
    let soon = Duration::from_millis(50);
    Relay::new(store).sink("bus", sink).poll(soon).backoff(soon, soon * 4).pause(soon, soon * 4).start()
}

/// Waits until nothing waits to be sent; how many are parked.
async fn sent(store: &impl Outbox) -> u64 {
    let wait = async {
        loop {
            let lag = store.lag().await.expect("a store");
            if lag.iter().all(|lag| lag.waiting == 0) {
                return lag.iter().map(|lag| lag.parked).sum();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("all is sent")
}

async fn waiting(store: &impl Outbox) -> (u64, u64) {
    let lag = store.lag().await.expect("a store");
    (lag.iter().map(|lag| lag.waiting).sum(), lag.iter().map(|lag| lag.parked).sum())
}

/// Each of so many events once, and those of one subject in their order.
#[track_caller]
fn assert_each_once(ids: &[String], events: usize) {
    let expected: BTreeSet<String> = (0..events).map(|nth| format!("acme/{}", event(nth).id)).collect();
    let found: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(found.len(), ids.len(), "some are there twice");
    let lost: Vec<_> = expected.difference(&found).collect();
    assert!(lost.is_empty(), "{} are lost: {:?}", lost.len(), lost.first());
    assert_eq!(found, expected);
    let mut last = BTreeMap::new();
    for id in ids {
        let nth: usize = id.rsplit('-').next().and_then(|nth| nth.parse().ok()).expect("a number");
        let before = last.insert(nth % 100, nth);
        assert!(before < Some(nth), "{before:?} and then {nth}");
    }
}

/// Loses the first acknowledgement of each event.
struct Forgetful {
    sink: NatsSink,
    told: Mutex<BTreeSet<String>>,
    sends: AtomicUsize,
}

impl Sink for Forgetful {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        self.sends.fetch_add(1, Ordering::Relaxed);
        self.sink.send(outgoing).await?;
        let is_first = self.told.lock().expect("nobody panicked").insert(outgoing.event.id.clone());
        if is_first { Err(SendError::again("the acknowledgement was lost")) } else { Ok(()) }
    }
}

#[actix_web::test]
async fn an_event_that_is_sent_twice_is_in_the_stream_once() {
    let Some(broker) = Broker::new().await else { return };
    let log = broker.stream("ONCE", "once.>").await;
    let sink = NatsSink::new(broker.connected().await, "once.{kind>}").expect("a template");
    let store = MemoryStore::new();
    for nth in 0..200 {
        store.emit(&event(nth)).await.expect("a store");
    }

    // A relay publishes, and dies; another has taken its events up when it comes to say so.
    let first = store.lease("bus", 50, Duration::from_millis(1)).await.expect("a store");
    assert_eq!(first.len(), 50);
    for outgoing in &first {
        sink.send(outgoing).await.expect("a stream");
    }
    sleep(Duration::from_millis(20)).await;

    let forgetful =
        std::sync::Arc::new(Forgetful { sink, told: Mutex::default(), sends: AtomicUsize::new(0) });
    let running = relay(store.clone(), Shared(std::sync::Arc::clone(&forgetful)));
    assert_eq!(sent(&store).await, 0);
    running.stop().await;
    let settled: Vec<_> = first.iter().map(|outgoing| Settled::new(outgoing, SendEnd::Sent)).collect();
    assert_eq!(store.settle("bus", &settled).await.expect("a store"), 0, "it was overtaken");

    assert_eq!(forgetful.sends.load(Ordering::Relaxed), 400);
    assert_each_once(&log.ids().await, 200);
}

struct Shared<S>(std::sync::Arc<S>);

impl<S: Sink> Sink for Shared<S> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        self.0.send(outgoing).await
    }
}

#[actix_web::test]
async fn a_message_is_the_frozen_bytes_under_the_subject_of_the_template_with_the_headers_of_a_cloud_event() {
    let Some(broker) = Broker::new().await else { return };
    let log = broker.stream("MESSAGES", "atp.>").await;
    let client = broker.connected().await;
    let of = |service: &str, kind: &str, id: &str| {
        Event::new(kind, serde_json::json!({ "text": "ä\u{0}\"" }))
            .expect("JSON")
            .service(service)
            .id(id)
            .to("bus")
    };
    let longest = ("\n".repeat(200), "ä".repeat(499) + "xx");
    let escaped = ("%0A".repeat(200), "%C3%A4".repeat(499) + "xx");
    let (longest_name, longest_subject) = (format!("acme/{}", escaped.0), format!("atp.{}", escaped.1));
    let span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let cases = [
        (
            "atp.{service}.{kind>}",
            of("acme", "orders.shipped", "e-1").subject("order 7").traceparent(span.to_owned()),
            "atp.acme.orders.shipped",
            [
                ("Nats-Msg-Id", Some("acme/e-1")),
                ("ce-id", Some("e-1")),
                ("ce-source", Some("/atp/acme")),
                ("ce-type", Some("orders.shipped")),
                ("ce-subject", Some("order%207")),
                ("traceparent", Some(span)),
            ],
        ),
        (
            "atp.{service}.{kind}.{subject}",
            of("b.*", "a >", "e-1").subject("ä"),
            "atp.b%2E%2A.a%20%3E.%C3%A4",
            [
                ("Nats-Msg-Id", Some("b%2E%2A/e-1")),
                ("ce-id", Some("e-1")),
                ("ce-source", Some("/atp/b.%252A")),
                ("ce-type", Some("a%20>")),
                ("ce-subject", Some("%C3%A4")),
                ("traceparent", None),
            ],
        ),
        (
            // About as long as may be.
            "atp.{subject}",
            of("acme", "k", &longest.0).subject(longest.1),
            longest_subject.as_str(),
            [
                ("Nats-Msg-Id", Some(longest_name.as_str())),
                ("ce-id", Some(escaped.0.as_str())),
                ("ce-source", Some("/atp/acme")),
                ("ce-type", Some("k")),
                ("ce-subject", Some(escaped.1.as_str())),
                ("traceparent", None),
            ],
        ),
    ];
    for (nth, (template, event, subject, headers)) in cases.into_iter().enumerate() {
        let sink = NatsSink::new(client.clone(), template).expect(template);
        let outgoing = Outgoing::new(1, event.clone());
        assert_eq!(sink.send(&outgoing).await, Ok(()), "{event:?}");
        let message = log.0.get_raw_message(nth as u64 + 1).await.expect("a message");
        assert_eq!(message.subject.as_str(), subject);
        assert_eq!(message.payload, event.data.as_bytes());
        for (name, value) in headers {
            assert_eq!(header(&message, name), value, "{name} of {subject}");
        }
        assert_eq!(header(&message, "ce-specversion"), Some("1.0"));
        assert_eq!(header(&message, "content-type"), Some("application/json"));
        let time = header(&message, "ce-time").expect("a time");
        assert_eq!(time.parse::<chrono::DateTime<chrono::Utc>>(), Ok(event.time), "{time}");
    }
}

#[actix_web::test]
async fn a_server_that_is_killed_in_the_middle_loses_and_repeats_nothing() {
    const EVENTS: usize = 2000;
    let Some(mut broker) = Broker::new().await else { return };
    let log = broker.stream("KILLED", "atp.>").await;
    let sink = NatsSink::new(broker.connected().await, "atp.{service}.{kind}").expect("a template");
    let file = SqliteFile::new();
    let store = file.open().await;
    for nth in 0..EVENTS {
        store.emit(&event(nth)).await.expect("a store");
    }
    let running = relay(store.clone(), sink.ack_within(Duration::from_secs(2)));
    for middle in [EVENTS / 4, EVENTS / 2] {
        let middle = u64::try_from(middle).expect("a number");
        timeout(PATIENCE, async {
            while log.len().await < middle {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("half of it");
        broker.kill();
        let (left, parked) = waiting(&store).await;
        assert!(left > 0 && parked == 0, "killed in the middle: {left} wait, {parked} are parked");
        sleep(Duration::from_millis(300)).await;
        broker.start().await;
    }
    assert_eq!(sent(&store).await, 0, "none is parked");
    running.stop().await;
    assert_each_once(&log.ids().await, EVENTS);
}

#[actix_web::test]
async fn without_a_server_nothing_counts_as_sent_and_all_goes_once_there_is_one() {
    let Some(mut broker) = Broker::not_started().await else { return };
    let sink = NatsSink::new(broker.client().await, "atp.{kind}").expect("a template");
    let store = MemoryStore::new();
    for nth in 0..100 {
        store.emit(&event(nth)).await.expect("a store");
    }
    let outgoing = Outgoing::new(1, event(0));
    for _ in 0..10_000 {
        // More than a client has room for: were they queued in it, this would not end.
        assert!(matches!(sink.send(&outgoing).await, Err(SendError::Away { .. })));
    }
    let running = relay(store.clone(), sink);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(waiting(&store).await, (100, 0));
    broker.start().await;
    let log = broker.stream("LATE", "atp.>").await;
    assert_eq!(sent(&store).await, 0, "none is parked");
    running.stop().await;
    assert_each_once(&log.ids().await, 100);
}

#[actix_web::test]
async fn without_a_stream_nothing_is_parked_and_all_goes_once_there_is_one() {
    let Some(broker) = Broker::new().await else { return };
    let sink = NatsSink::new(broker.connected().await, "atp.{kind}").expect("a template");
    let reason = "no stream takes the subject `atp.orders%2Eshipped`: make one, on a server with JetStream";
    assert_eq!(sink.send(&Outgoing::new(1, event(0))).await, Err(SendError::away(reason)));
    let store = MemoryStore::new();
    for nth in 0..100 {
        store.emit(&event(nth)).await.expect("a store");
    }
    // So few attempts that each event had been parked by then, were it its own fault.
    let soon = Duration::from_millis(10);
    let running =
        Relay::new(store.clone()).sink("bus", sink).attempts(1).poll(soon).pause(soon, soon * 2).start();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(waiting(&store).await, (100, 0));
    let log = broker.stream("MISSING", "atp.>").await;
    assert_eq!(sent(&store).await, 0, "none is parked");
    running.stop().await;
    assert_each_once(&log.ids().await, 100);
}

#[actix_web::test]
async fn what_is_too_large_is_parked_and_the_others_go() {
    let Some(broker) = Broker::new().await else { return };
    let config = Config { max_message_size: 2000, ..of("SIZES", "small.>") };
    let (small, large) = (broker.stream_with(config).await, broker.stream("LARGE", "large.>").await);
    let client = broker.connected().await;
    let most = client.max_payload();
    for (template, log, data, reason) in [
        ("small.{kind}", &small, 2000, "message size exceeds maximum allowed"),
        ("large.{kind}", &large, most, "too large for the NATS server"),
    ] {
        let store = MemoryStore::new();
        let big = Event::new("big", "x".repeat(data)).expect("JSON").service("acme").subject("big").to("bus");
        store.emit(&big).await.expect("a store");
        for nth in 0..20 {
            store.emit(&event(nth)).await.expect("a store");
        }
        let sink = NatsSink::new(client.clone(), template).expect("a template");
        let running = relay(store.clone(), sink);
        assert_eq!(sent(&store).await, 1, "{template}");
        running.stop().await;
        let parked = store.parked("bus", 0, 10).await.expect("a store");
        let [parked] = &parked[..] else { panic!("{parked:?}") };
        assert_eq!((&parked.event.id, parked.attempts), (&big.id, 1), "{template}");
        assert!(parked.reason.contains(reason), "{template}: {}", parked.reason);
        assert!(!parked.reason.contains("xxx"), "no data in {:?}", parked.reason);
        assert_each_once(&log.ids().await, 20);
    }
}

fn of(name: &str, subjects: &str) -> Config {
    Config { name: name.to_owned(), subjects: vec![subjects.to_owned()], ..Config::default() }
}

#[actix_web::test]
async fn a_stream_that_is_full_takes_the_rest_once_there_is_room() {
    let Some(broker) = Broker::new().await else { return };
    let config = Config { max_messages: 10, discard: DiscardPolicy::New, ..of("FULL", "atp.>") };
    let log = broker.stream_with(config).await;
    let sink = NatsSink::new(broker.connected().await, "atp.{kind}").expect("a template");
    let store = MemoryStore::new();
    for nth in 0..30 {
        store.emit(&event(nth)).await.expect("a store");
    }
    let running = relay(store.clone(), sink);
    let mut seen = Vec::new();
    while seen.len() < 30 {
        timeout(PATIENCE, full(&log)).await.expect("a full stream");
        seen.extend(log.ids().await);
        log.0.purge().await.expect("an empty stream");
    }
    assert_eq!(sent(&store).await, 0, "none is parked");
    running.stop().await;
    assert_each_once(&seen, 30);
}

async fn full(log: &Log) {
    while log.len().await < 10 {
        sleep(Duration::from_millis(5)).await;
    }
}

#[actix_web::test]
async fn an_answer_that_is_not_of_a_stream_is_no_acknowledgement() {
    let Some(broker) = Broker::new().await else { return };
    let other = broker.connected().await;
    let mut asked = other.subscribe("atp.>").await.expect("a subscription");
    other.flush().await.expect("a connection");
    actix_web::rt::spawn(async move {
        while let Some(message) = asked.next().await {
            let reply = message.reply.expect("where to answer");
            let answer = if message.subject.ends_with("mute") { continue } else { "+OK" };
            other.publish(reply, answer.into()).await.expect("a connection");
        }
    });
    let client = broker.connected().await;
    for (template, reason) in [
        ("atp.service", "not taken: what answered is no stream of JetStream"),
        ("atp.mute", "away: no acknowledgement from NATS within 200 ms"),
    ] {
        let sink =
            NatsSink::new(client.clone(), template).expect(template).ack_within(Duration::from_millis(200));
        let error = sink.send(&Outgoing::new(1, event(0))).await.expect_err(template).to_string();
        assert!(error.starts_with(reason), "{template}: {error}");
    }
}

#[actix_web::test]
async fn no_password_and_no_data_is_shown() {
    let Some(broker) = Broker::not_started().await else { return };
    let sink = NatsSink::new(broker.client().await, "atp.{kind}").expect("a template");
    assert_eq!(format!("{sink:?}"), r#"NatsSink { subject: "atp.{kind}", ack_within: 5s, .. }"#);
}
