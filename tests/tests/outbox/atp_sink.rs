//! What the sink of an ATP server says of each event.

use std::time::Duration;

use atp_actix::{
    ApiKey, AtpSink, Client, SendError, Sink,
    atp_core::{Notification, StatusChange},
    store::{Event, MemoryStore, Outgoing, Question, Store},
};
use futures_util::future::join_all;

use crate::support::{
    asked::{self, asked},
    atp_server::{AtpServer, KEY, Reply, nobody},
    databases::SqliteFile,
};

fn client(url: &str) -> Client {
    Client::new(url, ApiKey::new(KEY).expect("a key")).expect("a client")
}

fn outgoing(event: Event) -> Outgoing {
    Outgoing::new(1, event)
}

fn question(notification: &Notification, subject: &str) -> Outgoing {
    let event = Event::new(Event::QUESTION, notification).expect("JSON");
    outgoing(event.id(format!("asks {subject}")).service("default").subject(subject).to("atp"))
}

fn named(id: &str) -> Outgoing {
    question(&asked(id), id)
}

fn unnamed(key: &str) -> Outgoing {
    question(&asked::unnamed(), key)
}

fn change(id: &str, change: &StatusChange) -> Outgoing {
    let event = Event::new(Event::STATUS, change).expect("JSON");
    outgoing(event.service("default").subject(id).to("atp"))
}

fn invalidated(id: &str) -> Outgoing {
    change(id, &StatusChange::invalidated("superseded"))
}

fn processed(id: &str) -> Outgoing {
    change(id, &StatusChange::processed())
}

/// What becomes of an event, in a word.
fn said(ended: &Result<(), SendError>) -> &'static str {
    match ended {
        Ok(()) => "sent",
        Err(SendError::Again { .. }) => "again",
        Err(SendError::Later { .. }) => "later",
        Err(SendError::Refused { .. }) => "refused",
        Err(SendError::Away { .. }) => "away",
        Err(SendError::Gone { .. }) => "gone",
        Err(_) => "something else",
    }
}

fn asks_for(ended: &Result<(), SendError>) -> Option<Duration> {
    match ended {
        Err(
            SendError::Again { after, .. } | SendError::Later { after, .. } | SendError::Away { after, .. },
        ) => *after,
        _ => None,
    }
}

/// A store in which a question waits for the server's id.
async fn store(key: &str) -> MemoryStore {
    let store = MemoryStore::new();
    record_unnamed(&store, key).await;
    store
}

async fn record_unnamed(store: &impl Store, key: &str) {
    store.record(&Question::new(asked::unnamed()).key(key)).await.expect("a question");
}

#[actix_web::test]
async fn each_answer_of_a_server_says_what_becomes_of_each_event() {
    let server = AtpServer::start();
    let error = Reply::error;
    let created =
        |id: &str| Reply::status(201).body(format!(r#"{{"notification_id":"{id}","status":"new"}}"#));
    // Of a question with an id, one without, one that is taken back, one that was handled.
    for (reply, expected) in [
        (created("n-1"), ["sent", "sent", "sent", "sent"]),
        (created("n-2"), ["refused", "sent", "sent", "sent"]),
        (Reply::status(201), ["again", "refused", "sent", "sent"]),
        (Reply::status(204), ["again", "refused", "sent", "sent"]),
        (Reply::status(200).body("<html>"), ["again", "refused", "sent", "sent"]),
        (Reply::status(302).header("location", "/"), ["away", "away", "away", "away"]),
        (error(400, "INVALID_STATUS"), ["refused", "refused", "sent", "sent"]),
        (error(400, "MISSING_REQUIRED_FIELD"), ["refused", "refused", "refused", "sent"]),
        (Reply::status(400), ["refused", "refused", "refused", "sent"]),
        (error(401, "AUTH_INVALID_TOKEN"), ["away", "away", "away", "away"]),
        (error(403, "SERVICE_SUSPENDED"), ["away", "away", "away", "away"]),
        (Reply::status(403), ["away", "away", "away", "away"]),
        (error(403, "SERVICE_NOT_OWNER"), ["refused", "refused", "refused", "refused"]),
        (error(403, "NOTIFICATION_ACCESS_DENIED"), ["refused", "refused", "refused", "refused"]),
        (error(404, "NOTIFICATION_NOT_FOUND"), ["away", "away", "sent", "sent"]),
        (Reply::status(405), ["away", "away", "refused", "refused"]),
        (error(408, "SLOW"), ["away", "away", "away", "away"]),
        (error(409, "NOTIFICATION_ALREADY_RESPONDED"), ["sent", "refused", "sent", "sent"]),
        (error(410, "GONE"), ["gone", "gone", "sent", "sent"]),
        (error(413, "TOO_LARGE"), ["refused", "refused", "refused", "refused"]),
        (error(422, "CONSTRAINT_VIOLATION"), ["refused", "refused", "refused", "sent"]),
        (error(429, "RATE_LIMIT_EXCEEDED"), ["later", "later", "later", "later"]),
        (error(500, "INTERNAL"), ["away", "away", "away", "away"]),
        (Reply::status(502).body("<html>"), ["away", "away", "away", "away"]),
        (error(503, "AWAY"), ["away", "away", "away", "away"]),
    ] {
        for (event, expected) in
            [named("n-1"), unnamed("k-1"), invalidated("n-1"), processed("n-1")].into_iter().zip(expected)
        {
            let sink = AtpSink::new(client(&server.url()), store("k-1").await);
            let before = server.count();
            let asked = Duration::from_secs(7);
            server.answer_next([reply.clone().header("retry-after", "7")]);
            let ended = sink.send(&event).await;
            let context = format!("{} after {reply:?}: {ended:?}", event.event.kind);
            assert_eq!(said(&ended), expected, "{context}");
            assert_eq!(server.count() - before, 1, "{context}");
            if reply.status != 200
                && matches!(expected, "away" | "later")
                && ![404, 405].contains(&reply.status)
            {
                assert_eq!(asks_for(&ended), Some(asked), "{context}");
            }
            let (code, error) =
                (reply.body.contains("It is so."), ended.err().map(|error| error.to_string()));
            if let (true, Some(told)) = (code, &error) {
                assert!(told.contains("It is so.") && told.contains("req_1"), "{context}");
            }
            assert!(
                error.is_none_or(|told| !told.contains(KEY) && !told.contains("Version 2.1.0")),
                "{context}"
            );
            // As it was frozen, byte for byte.
            assert_eq!(server.received().pop().expect("a request").body, event.event.data, "{context}");
        }
    }
}

#[actix_web::test]
async fn a_server_that_names_a_question_otherwise_is_told_with_both_names() {
    let server = AtpServer::start();
    server.answer_next([Reply::status(201).body(r#"{"notification_id":"n-2"}"#)]);
    let ended = AtpSink::new(client(&server.url()), MemoryStore::new()).send(&named("n-1")).await;
    let told = ended.expect_err("refused").to_string();
    assert!(told.contains("\"n-1\"") && told.contains("\"n-2\""), "{told}");
}

#[actix_web::test]
async fn what_no_server_takes_is_refused_before_it_is_sent() {
    let server = AtpServer::start();
    let event = |kind: &str, data: &str| {
        let mut event = Event::new(kind, 7).expect("JSON").service("default");
        data.clone_into(&mut event.data);
        outgoing(event)
    };
    for (what, event) in [
        ("of another kind", event(Event::DECISION, "{}")),
        ("a question that is none", event(Event::QUESTION, "7")),
        ("a question without an id and a key", event(Event::QUESTION, "{}")),
        ("a question that is not recorded", unnamed("k-2")),
        ("a change of no question", event(Event::STATUS, r#"{"status":"processed"}"#)),
        ("a change that is none", outgoing(event(Event::STATUS, "7").event.subject("n-1"))),
        ("a change of what no address names", processed("..")),
    ] {
        let ended = AtpSink::new(client(&server.url()), store("k-1").await).send(&event).await;
        assert_eq!(said(&ended), "refused", "{what}: {ended:?}");
    }
    assert_eq!(server.count(), 0);
}

#[actix_web::test]
async fn a_server_that_is_not_there_is_away() {
    let slow = AtpServer::start();
    slow.answer_next([Reply::status(201).after(Duration::from_secs(5))]);
    for url in [format!("http://{}", nobody().await), slow.url()] {
        let client = client(&url).call_within(Duration::from_millis(300));
        let ended = AtpSink::new(client, MemoryStore::new()).send(&named("n-1")).await;
        assert_eq!(said(&ended), "away", "{url}: {ended:?}");
    }
}

#[actix_web::test]
async fn the_id_that_the_server_chose_is_bound_and_the_question_is_not_sent_again() {
    let (server, store) = (AtpServer::start(), store("k-1").await);
    for attempt in ["the first", "one whose end was lost"] {
        // Of another process each.
        let sink = AtpSink::new(client(&server.url()), store.clone());
        sink.send(&unnamed("k-1")).await.expect(attempt);
        let known = store.find("default", "of-server-1", None).await.expect("the store").question;
        assert_eq!(known.expect("a question").key, "k-1", "{attempt}");
        assert_eq!(server.count(), 1, "{attempt}");
    }
}

#[actix_web::test]
async fn an_id_that_the_store_cannot_take_yet_is_kept_and_not_asked_for_again() {
    let (server, file) = (AtpServer::start(), SqliteFile::new());
    let store = file.open().await;
    record_unnamed(&store, "k-1").await;
    let sink = AtpSink::new(client(&server.url()), store.clone());
    let lock = file.lock().await;
    for _ in 0..2 {
        let ended = sink.send(&unnamed("k-1")).await;
        assert_eq!(said(&ended), "later", "{ended:?}");
        let told = ended.expect_err("an error").to_string();
        assert!(told.contains("of-server-1"), "{told}");
    }
    drop(lock);
    sink.send(&unnamed("k-1")).await.expect("bound");
    let known = store.find("default", "of-server-1", None).await.expect("the store").question;
    assert_eq!(known.expect("a question").key, "k-1");
    assert_eq!(server.count(), 1);
}

#[actix_web::test]
async fn an_id_that_is_another_questions_is_bound_to_none() {
    let (server, store) = (AtpServer::start(), store("k-1").await);
    store.record(&Question::new(asked("n-1"))).await.expect("another question");
    for id in ["n-1", &"x".repeat(1001)] {
        server.answer_next([Reply::status(201).body(format!(r#"{{"notification_id":"{id}"}}"#))]);
        let ended = AtpSink::new(client(&server.url()), store.clone()).send(&unnamed("k-1")).await;
        assert_eq!(said(&ended), "refused", "{id}: {ended:?}");
    }
}

#[actix_web::test]
async fn a_limit_that_is_reached_uses_no_attempt_up() {
    let server = AtpServer::start();
    let client = client(&server.url()).notifications_a_minute(2);
    let sink = AtpSink::new(client, MemoryStore::new());
    let ended =
        [sink.send(&named("n-1")).await, sink.send(&named("n-2")).await, sink.send(&named("n-3")).await];
    assert_eq!(ended.each_ref().map(said), ["sent", "sent", "later"], "{ended:?}");
    assert!(asks_for(&ended[2]).is_some_and(|wait| wait > Duration::from_secs(10)), "{ended:?}");
    assert_eq!(server.count(), 2);
}

#[actix_web::test]
async fn of_several_services_one_that_fails_holds_up_no_other() {
    let (of_acme, of_globex) = (AtpServer::start(), AtpServer::start());
    let (acme, globex) = (client(&of_acme.url()), client(&of_globex.url()));
    let clients = move |service: &str| match service {
        "acme" => Some(acme.clone()),
        "globex" => Some(globex.clone()),
        _ => None,
    };
    let sink = AtpSink::for_services(clients, MemoryStore::new());
    let of = |service: &str, id: &str| outgoing(named(id).event.service(service));
    of_acme.answer_next([Reply::error(401, "AUTH_INVALID_TOKEN")]);
    for (service, id, expected, of_acme_seen, of_globex_seen) in [
        ("initech", "n-1", "refused", 0, 0),
        ("acme", "n-2", "later", 1, 0),
        // Not asked again before its time.
        ("acme", "n-3", "later", 1, 0),
        ("globex", "n-4", "sent", 1, 1),
    ] {
        let ended = sink.send(&of(service, id)).await;
        assert_eq!(said(&ended), expected, "{service} {id}: {ended:?}");
        assert_eq!((of_acme.count(), of_globex.count()), (of_acme_seen, of_globex_seen), "{service} {id}");
        if service == "acme" {
            assert!(asks_for(&ended).is_some_and(|wait| wait <= Duration::from_secs(1)), "{ended:?}");
        }
        if service == "initech" {
            assert!(ended.expect_err("refused").to_string().contains("\"initech\""));
        }
    }
    // It is back, and so is what is of it.
    actix_web::rt::time::sleep(Duration::from_millis(1100)).await;
    for id in ["n-2", "n-3"] {
        sink.send(&of("acme", id)).await.expect("sent");
    }
}

/// All that is of it is due at the same time.
#[actix_web::test]
async fn of_what_waits_for_a_service_that_was_away_one_finds_out_whether_it_is_back() {
    let server = AtpServer::start();
    let acme = client(&server.url());
    let sink = AtpSink::for_services(move |_| Some(acme.clone()), MemoryStore::new());
    let of_acme = |nth: usize| outgoing(named(&format!("n-{nth}")).event.service("acme"));
    server.answer_next([Reply::error(503, "AWAY")]);
    sink.send(&of_acme(0)).await.expect_err("away");
    for (failures, seen) in [(1, 2), (2, 3)] {
        actix_web::rt::time::sleep(Duration::from_millis(1100 * failures)).await;
        server.answer_next([Reply::error(503, "AWAY")]);
        // Nothing is heard of the server by what is not sent to it.
        let other = Event::new("other", 7).expect("JSON").service("acme");
        assert_eq!(said(&sink.send(&outgoing(other)).await), "refused");
        let events: Vec<Outgoing> = (1..20).map(of_acme).collect();
        let ended = join_all(events.iter().map(|event| sink.send(event))).await;
        assert!(ended.iter().all(|ended| said(ended) == "later"), "{ended:?}");
        assert_eq!(server.count(), seen, "after {failures}");
    }
}
