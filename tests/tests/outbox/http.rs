//! Events over HTTP: what is sent, how it is signed, and what becomes of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpResponse, http::StatusCode, web};
use atp_actix::{
    HttpSink, Relay, Secret, SendError, Sink as _, Verifier,
    atp_core::{Scheme, Signature},
    store::{Event, MemoryStore, Outbox as _, Outgoing, Routes},
};
use atp_tests::SECRET;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    receiver::{Receiver, Taken},
    server::Server,
};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn verifier() -> Verifier {
    Verifier::new(Secret::new(SECRET).expect("a secret"))
}

fn shipped() -> Event {
    Event::new("orders.shipped", json!({ "order": 7 }))
        .expect("JSON")
        .id("e-1")
        .service("shop")
        .subject("order-7")
        .time("2026-01-02T03:04:05.060Z".parse().expect("a time"))
}

async fn sent(sink: &HttpSink, event: Event) {
    assert_eq!(sink.send(&Outgoing::new(1, event)).await, Ok(()));
}

/// Waits until nothing waits for a sink.
async fn settled(store: &MemoryStore) {
    while store.lag().await.expect("a store").iter().any(|lag| lag.waiting > 0) {
        sleep(Duration::from_millis(2)).await;
    }
}

/// What a receiver reads from a header of a CloudEvent.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = (*first == b'%').then(|| std::str::from_utf8(&more[..2]).expect("two digits"));
        bytes.push(hex.map_or(*first, |hex| u8::from_str_radix(hex, 16).expect("hexadecimal")));
        rest = &more[hex.map_or(0, str::len)..];
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[actix_web::test]
async fn an_event_is_sent_as_cloudevents_has_it() {
    let receiver = Receiver::answering(&[]);
    let sink = HttpSink::new(receiver.url()).expect("a sink").sign(verifier());
    let sink = sink.header("Authorization", "Bearer hunter2").expect("a header");
    let event = shipped().traceparent(TRACE.to_owned());
    sent(&sink, event.clone()).await;
    sent(&sink.clone().binary().source("https://example.com/x").expect("a source"), event).await;

    let [structured, binary] = &receiver.taken()[..] else { panic!("two requests") };
    assert_eq!(
        structured.text(),
        format!(
            r#"{{"specversion":"1.0","id":"e-1","source":"/atp/shop","type":"orders.shipped","subject":"order-7","time":"2026-01-02T03:04:05.060Z","datacontenttype":"application/json","traceparent":"{TRACE}","data":{{"order":7}}}}"#
        )
    );
    assert_eq!(structured.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(binary.text(), r#"{"order":7}"#);
    let names = |taken: &Taken| taken.headers.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "https://example.com/x"),
        ("ce-type", "orders.shipped"),
        ("ce-subject", "order-7"),
        ("ce-time", "2026-01-02T03:04:05.060Z"),
        ("ce-traceparent", TRACE),
    ] {
        assert_eq!(binary.header(name), Some(value), "{name}");
    }
    for taken in [structured, binary] {
        assert_eq!(taken.header("traceparent"), Some(TRACE));
        assert_eq!(taken.header("authorization"), Some("Bearer hunter2"));
        let verified =
            verifier().schemes([Scheme::Timestamped]).verify(taken.headers.clone(), taken.body.clone());
        assert!(verified.is_ok(), "{verified:?}");
        let common = ["accept", "authorization", "content-length", "content-type", "host", "traceparent"];
        let unexpected = names(taken).into_iter().filter(|name| !common.contains(&&**name));
        let unexpected: Vec<_> = unexpected.filter(|name| !name.starts_with("ce-")).collect();
        assert_eq!(unexpected, ["user-agent", Signature::HEADER]);
    }
}

#[actix_web::test]
async fn texts_of_any_kind_arrive_in_both_modes() {
    let receiver = Receiver::answering(&[]);
    let sink = HttpSink::new(receiver.url()).expect("a sink").sign(verifier());
    let texts = [
        "a\r\nx-forged: yes\r\n\r\nGET / HTTP/1.1",
        "\0\u{1}\u{7f}\u{80}\u{85}",
        "\"quoted\" \\ %41 %",
        "é ü 😀 \u{202e} \u{feff} \u{fffe} \u{2028}",
        " ",
        "\",\"data\":1,\"x\":\"",
        "</script>&amp;",
    ];
    for text in texts {
        for binary in [false, true] {
            let mut event = shipped().id(text).service(text).subject(text);
            event.kind = text.to_owned();
            event.traceparent = Some(text.to_owned());
            event.data = format!(r#"{{"\u0000":{},"n":1.50}}"#, json!(text));
            let data = event.data.clone();
            let sink = if binary { sink.clone().binary() } else { sink.clone() };
            sent(&sink, event).await;
            let taken = receiver.taken().pop().expect("a request");
            assert_eq!((taken.header("x-forged"), taken.header("traceparent")), (None, None), "{text:?}");
            let attribute = |name: &str| {
                if binary {
                    return decoded(taken.header(&format!("ce-{name}")).expect("a header"));
                }
                let event: Value = serde_json::from_slice(&taken.body).expect("JSON");
                event[name].as_str().expect("a text").to_owned()
            };
            for name in ["id", "type", "subject"] {
                assert_eq!(attribute(name), text, "{name}");
            }
            assert_eq!(attribute("source").strip_prefix("/atp/").map(decoded).as_deref(), Some(text));
            if binary {
                assert_eq!(taken.text(), data, "{text:?}");
            } else {
                assert!(taken.text().ends_with(&format!(",\"data\":{data}}}")), "{text:?}: {}", taken.text());
            }
        }
    }
    assert_eq!(receiver.taken().len(), 2 * texts.len(), "one request is one request");
}

#[actix_web::test]
async fn data_that_is_no_json_is_parked_and_not_sent() {
    let receiver = Receiver::answering(&[]);
    let sink = HttpSink::new(receiver.url()).expect("a sink");
    let mut event = shipped();
    event.data = "7},\"hunter2\":{".to_owned();
    for sink in [sink.clone(), sink.binary()] {
        let refused = SendError::refused("the data of the event is no JSON");
        assert_eq!(sink.send(&Outgoing::new(1, event.clone())).await, Err(refused));
    }
    assert!(receiver.taken().is_empty());
}

#[actix_web::test]
async fn each_attempt_has_the_same_bytes_and_id_and_a_signature_of_its_own() {
    let now = Arc::new(AtomicI64::new(1_767_323_106));
    let clock =
        move || DateTime::<Utc>::from_timestamp(now.fetch_add(1, Ordering::Relaxed), 0).expect("a time");
    for is_binary in [false, true] {
        let receiver = Receiver::answering(&[500, 503, 401]);
        let sink = HttpSink::new(receiver.url()).expect("a sink").sign(verifier().clock(clock.clone()));
        let sink = if is_binary { sink.binary() } else { sink };
        let store = MemoryStore::new().routes(Routes::new().events("shop"));
        let soon = Duration::from_millis(1);
        let relay =
            Relay::new(store.clone()).sink("shop", sink).backoff(soon, soon).pause(soon, soon).start();
        store.emit(&shipped()).await.expect("a store");
        settled(&store).await;
        relay.stop().await;

        let taken = receiver.taken();
        assert_eq!(taken.len(), 4, "three refusals and then 204");
        let mut signatures = BTreeSet::new();
        for attempt in &taken {
            assert_eq!(attempt.body, taken[0].body);
            assert_eq!(attempt.header("ce-id"), is_binary.then_some("e-1"));
            let header = attempt.header(Signature::HEADER).expect("a signature");
            let signature = Signature::parse(header.as_bytes()).expect("well formed");
            let signed_at =
                DateTime::from_timestamp(signature.seconds().expect("a time"), 0).expect("a time");
            let headers = [(Signature::HEADER, header)];
            assert!(verifier().verify_at(headers, attempt.body.clone(), signed_at).is_ok());
            let forged = [&attempt.body[..], b" "].concat();
            assert!(verifier().verify_at(headers, forged, signed_at).is_err());
            signatures.insert(header.to_owned());
        }
        assert_eq!(signatures.len(), taken.len());
    }
}

#[actix_web::test]
async fn answers_become_what_the_table_says() {
    let soon = || (Utc::now() + Duration::from_secs(3600)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let past = "Fri, 02 Jan 2026 03:04:05 GMT";
    let server = Server::start(1, |config| {
        let answer = |path: web::Path<(u16, String)>| async move {
            let (status, after) = path.into_inner();
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).expect("a status"));
            if after != "-" {
                answer.insert_header(("retry-after", after));
            }
            answer.body("hunter2")
        };
        config.route("/{status}/{after}", web::post().to(answer));
    });
    let outgoing = Outgoing::new(1, shipped());
    for (status, after, expected, waits) in [
        (200, "-", "sent", 0..=0),
        (202, "60", "sent", 0..=0),
        (299, "-", "sent", 0..=0),
        (300, "-", "away", 0..=0),
        (400, "-", "again", 0..=0),
        (401, "-", "away", 0..=0),
        (403, "60", "away", 60..=60),
        (404, "-", "away", 0..=0),
        (408, "5", "again", 5..=5),
        (409, "-", "again", 0..=0),
        (410, "60", "gone", 0..=0),
        (413, "60", "refused", 0..=0),
        (422, "-", "refused", 0..=0),
        (425, "5", "again", 5..=5),
        (429, "-", "away", 0..=0),
        (429, "30", "away", 30..=30),
        (429, "soon", "away", 0..=0),
        (429, past, "away", 0..=0),
        (500, "-", "again", 0..=0),
        (500, "9", "again", 9..=9),
        (502, "-", "away", 0..=0),
        (503, "7", "away", 7..=7),
        (503, &soon(), "away", 3500..=3600),
        (503, "31536000", "away", 21_600..=21_600),
        (504, "-", "away", 0..=0),
        (599, "-", "again", 0..=0),
    ] {
        let sink = HttpSink::new(format!("http://{}/{status}/{after}", server.0)).expect("a sink");
        let came_of_it = sink.send(&outgoing).await;
        let (found, waited) = match &came_of_it {
            Ok(()) => ("sent", None),
            Err(SendError::Again { after, .. }) => ("again", *after),
            Err(SendError::Away { after, .. }) => ("away", *after),
            Err(SendError::Refused { .. }) => ("refused", None),
            Err(SendError::Gone { .. }) => ("gone", None),
            Err(other) => panic!("{status}: {other:?}"),
        };
        assert_eq!(found, expected, "{status}: {came_of_it:?}");
        let waited = waited.unwrap_or_default().as_secs();
        assert!(waits.contains(&waited), "{status} {after}: {came_of_it:?}");
        if let Err(error) = came_of_it {
            let text = format!("{error} {error:?}");
            assert!(text.contains(&status.to_string()) && !text.contains("hunter2"), "{text}");
        }
    }
}

#[actix_web::test]
async fn a_redirect_takes_the_event_nowhere() {
    let other = Receiver::answering(&[]);
    let location = other.url();
    let server = Server::start(1, move |config| {
        let location = location.clone();
        let answer = move |status: web::Path<u16>| {
            let status = StatusCode::from_u16(*status).expect("a status");
            let answer = HttpResponse::build(status).insert_header(("location", location.clone())).finish();
            async move { answer }
        };
        config.route("/{status}", web::post().to(answer));
    });
    for status in [301, 302, 303, 307, 308] {
        let sink = HttpSink::new(format!("http://{}/{status}", server.0)).expect("a sink").sign(verifier());
        let came_of_it = sink.send(&Outgoing::new(1, shipped())).await;
        assert!(matches!(&came_of_it, Err(SendError::Away { .. })), "{status}: {came_of_it:?}");
    }
    assert!(other.taken().is_empty());
}

#[actix_web::test]
async fn while_a_receiver_is_misconfigured_nothing_is_parked_and_then_all_goes_out() {
    let receiver = Receiver::answering(&[404, 401, 403, 307, 429, 503, 404, 401, 410, 405]);
    let store = MemoryStore::new().routes(Routes::new().events("shop"));
    let soon = Duration::from_millis(1);
    let relay = Relay::new(store.clone())
        .sink("shop", HttpSink::new(receiver.url()).expect("a sink"))
        .concurrency(1)
        .attempts(2)
        .pause(soon, soon)
        .start();
    for number in 0..5 {
        let event = shipped().id(format!("e-{number}"));
        assert!(store.emit(&event).await.expect("a store"));
    }
    settled(&store).await;
    relay.stop().await;
    assert!(store.parked("shop", 0, 10).await.expect("a store").is_empty());
    let ids = receiver.taken().into_iter().map(|taken| {
        let event: Value = serde_json::from_slice(&taken.body).expect("JSON");
        event["id"].as_str().expect("an id").to_owned()
    });
    let ids: Vec<String> = ids.collect();
    assert_eq!(ids.len(), 15, "ten refusals and then each once: {ids:?}");
    assert_eq!(ids[10..], ["e-0", "e-1", "e-2", "e-3", "e-4"], "in the order of their subject");
}
