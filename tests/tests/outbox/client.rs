//! The calls to an ATP server.

use std::time::Duration;

use atp_actix::{
    ApiKey, Client, ClientError,
    atp_core::{Notification, ServiceRegistration, StatusChange},
};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support::{
    asked::{asked, unnamed},
    atp_server::{AtpServer, KEY, Reply, answers_bytes, nobody},
    logged,
};

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> ApiKey {
    ApiKey::new(KEY).expect("a key")
}

/// A client that does not wait long before it tries again.
fn client(url: &str) -> Client {
    let client = Client::new(url, key()).expect("a client");
    client.backoff(Duration::from_millis(1), Duration::from_millis(2))
}

/// What a service may call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    AsksNamed,
    AsksUnnamed,
    Changes,
    Registers,
}

use Does::{AsksNamed, AsksUnnamed, Changes, Registers};

impl Does {
    async fn with(self, client: &Client) -> Result<String, ClientError> {
        match self {
            AsksNamed => client.notify(&asked("n-1")).await.map(|created| created.notification_id),
            AsksUnnamed => client.notify(&unnamed()).await.map(|created| created.notification_id),
            Changes => {
                let changed = client.change_status("n-1", &StatusChange::invalidated("superseded")).await?;
                Ok(format!("{} {}", changed.notification_id, changed.status))
            }
            Registers => {
                let registration =
                    ServiceRegistration::new("Acme", "Deploys.", "https://acme.example/atp", "w".repeat(32));
                let admin = ApiKey::new("admin_0123456789").expect("a key");
                client.register_service(&registration, &admin).await.map(|registered| registered.service_id)
            }
        }
    }
}

#[actix_web::test]
async fn each_call_is_what_the_protocol_has() {
    for base in ["", "/", "/triage"] {
        let server = AtpServer::start();
        let client = client(&format!("{}{base}", server.url()));
        let prefix = base.trim_end_matches('/');
        for (does, method, path, bearer, body, answers) in [
            (AsksNamed, "POST", "/api/v1/notifications", KEY, json!(asked("n-1")), "n-1"),
            (AsksUnnamed, "POST", "/api/v1/notifications", KEY, json!(unnamed()), "of-server-2"),
            (
                Changes,
                "PATCH",
                "/api/v1/notifications/n-1",
                KEY,
                json!({ "status": "invalidated", "reason": "superseded" }),
                "n-1 invalidated",
            ),
            (
                Registers,
                "POST",
                "/api/v1/services",
                "admin_0123456789",
                json!({ "name": "Acme", "description": "Deploys.", "callback_url": "https://acme.example/atp", "webhook_secret": "w".repeat(32) }),
                "s-1",
            ),
        ] {
            if !prefix.is_empty() {
                // The server knows no path but its own; what was sent is what counts.
                server.answer_next([Reply::error(400, "NO")]);
            }
            let answered = does.with(&client).await;
            let received = server.received().pop().expect("a request");
            assert_eq!((&*received.method, received.path), (method, format!("{prefix}{path}")), "{does:?}");
            assert_eq!(received.authorization, format!("Bearer {bearer}"), "{does:?}");
            assert_eq!(received.content_type, "application/json", "{does:?}");
            let mut sent: serde_json::Value = serde_json::from_str(&received.body).expect("JSON");
            let mut expected = body;
            for json in [&mut sent, &mut expected] {
                // Of two questions that are alike this alone differs.
                if let Some(members) = json.as_object_mut() {
                    members.remove("timestamp");
                }
            }
            assert_eq!(sent, expected, "{does:?}");
            if prefix.is_empty() {
                assert_eq!(answered.expect("an answer"), answers, "{does:?}");
            }
        }
    }
}

#[actix_web::test]
async fn any_id_names_its_notification_alone() {
    let server = AtpServer::start();
    let client = client(&server.url());
    for id in ["../../services", "a/b", "a?b#c", "%2e%2e", "a\nb\t\0", "ünï", &"x".repeat(1000)] {
        server.answer_next([Reply::status(204)]);
        let changed = client.change_status(id, &StatusChange::processed()).await.expect("an answer");
        assert_eq!((&*changed.notification_id, &*changed.status), (id, "processed"));
        let path = server.received().pop().expect("a request").path;
        let segment = path.strip_prefix("/api/v1/notifications/").unwrap_or_else(|| panic!("{id:?}: {path}"));
        assert!(!segment.contains(['/', '?', '#', '\n']), "{id:?}: {path}");
    }
    let asked = server.count();
    for id in ["", ".", ".."] {
        let changed = client.change_status(id, &StatusChange::processed()).await;
        assert!(matches!(changed, Err(ClientError::Id(_))), "{id:?}: {changed:?}");
    }
    assert_eq!(server.count(), asked, "nothing is sent to what cannot be named");
}

#[actix_web::test]
async fn each_answer_has_its_error() {
    let server = AtpServer::start();
    let created = r#"{"notification_id":"n-1","status":"created"}"#;
    let later = (Utc::now() + TimeDelta::hours(1)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let error = Reply::error;
    let said = |status: u16, code: &str| {
        format!("the ATP server has answered {status} {code}: It is so. (request req_1)")
    };
    let alone = |status: u16| format!("the ATP server has answered {status}");
    let garbled =
        |status: u16, why: &str| format!("the ATP server has answered {status}, and its answer {why}");
    let odd = "is not what the protocol has there";
    for (reply, told, code, asks_for) in [
        (error(400, "MALFORMED_ACTION"), said(400, "MALFORMED_ACTION"), Some("MALFORMED_ACTION"), None),
        (error(401, "AUTH_INVALID_TOKEN"), said(401, "AUTH_INVALID_TOKEN"), Some("AUTH_INVALID_TOKEN"), None),
        (error(403, "SERVICE_SUSPENDED"), said(403, "SERVICE_SUSPENDED"), Some("SERVICE_SUSPENDED"), None),
        (
            error(409, "NOTIFICATION_EXPIRED"),
            said(409, "NOTIFICATION_EXPIRED"),
            Some("NOTIFICATION_EXPIRED"),
            None,
        ),
        (
            error(422, "CONSTRAINT_VIOLATION"),
            said(422, "CONSTRAINT_VIOLATION"),
            Some("CONSTRAINT_VIOLATION"),
            None,
        ),
        (error(500, "INTERNAL"), said(500, "INTERNAL"), Some("INTERNAL"), None),
        (error(503, "AWAY").header("retry-after", "3600"), said(503, "AWAY"), Some("AWAY"), Some(HOUR)),
        (error(503, "AWAY").header("retry-after", &*later), said(503, "AWAY"), Some("AWAY"), Some(HOUR)),
        (error(503, "AWAY").header("retry-after", "soon"), said(503, "AWAY"), Some("AWAY"), None),
        (Reply::status(404), alone(404), None, None),
        (Reply::status(502).body("<html>secret of the house</html>"), alone(502), None, None),
        (Reply::status(400).body(r#"{"error":"secret of the house"}"#), alone(400), None, None),
        (Reply::status(400).body(r#"["secret of the house"]"#), alone(400), None, None),
        (Reply::status(400).body("\u{0}".repeat(1 << 20)), alone(400), None, None),
        (error(400, &"x".repeat(1 << 20)), alone(400), None, None),
        (error(401, KEY), alone(401), None, None),
        (Reply::status(302).header("location", "/api/v1/elsewhere"), alone(302), None, None),
        (Reply::status(304), alone(304), None, None),
        (Reply::status(201), garbled(201, odd), None, None),
        (Reply::status(201).body("<html>"), garbled(201, odd), None, None),
        (Reply::status(201).body("{}"), garbled(201, odd), None, None),
        (
            Reply::status(201).body(format!("{created}{}", " ".repeat(1 << 20))),
            garbled(201, "is too long"),
            None,
            None,
        ),
    ] {
        server.answer_next([reply.clone()]);
        let error = client(&server.url()).tries(1).notify(&asked("n-1")).await.expect_err("an error");
        assert_eq!((&*error.to_string(), error.get_code()), (&*told, code), "{reply:?}");
        assert_eq!(error.get_status(), Some(reply.status), "{reply:?}");
        let found = error.get_retry_after();
        let is_near = match (asks_for, found) {
            // The server's clock goes on while it answers.
            (Some(expected), Some(found)) => expected.abs_diff(found) < Duration::from_mins(10),
            (expected, found) => expected == found,
        };
        assert!(is_near, "{reply:?}: {found:?}");
        let shown = format!("{error:?}");
        assert!(!shown.contains("secret of the house") && !shown.contains(KEY), "{reply:?}: {shown}");
    }
    server.answer_next([Reply::error(409, "NOTIFICATION_EXPIRED")]);
    match client(&server.url()).notify(&asked("n-1")).await {
        Err(ClientError::Server { status: 409, error: Some(error), .. }) => {
            assert_eq!(error.request_id.as_deref(), Some("req_1"));
            assert_eq!(json!(error.details), json!({ "a": 1 }));
        }
        other => panic!("{other:?}"),
    }
}

#[actix_web::test]
async fn only_what_is_safe_is_tried_again() {
    let status = Reply::status;
    let soon = |code| status(code).header("retry-after", "0");
    let hour = |code| status(code).header("retry-after", "3600");
    for (does, replies, requests, ends_well) in [
        (AsksNamed, vec![status(500), status(502), status(503)], 4, true),
        (AsksNamed, vec![status(500); 4], 4, false),
        (AsksNamed, vec![status(504), soon(429), status(408)], 4, true),
        (AsksNamed, vec![status(400)], 1, false),
        (AsksNamed, vec![status(409)], 1, false),
        (AsksNamed, vec![status(307).header("location", "/api/v1/notifications")], 1, false),
        (AsksNamed, vec![status(201)], 1, false),
        (AsksNamed, vec![hour(503)], 1, false),
        (AsksNamed, vec![hour(429)], 1, false),
        (AsksUnnamed, vec![status(429), soon(503), status(408), status(425)], 4, false),
        (AsksUnnamed, vec![status(429), soon(503), status(425)], 4, true),
        (AsksUnnamed, vec![status(503)], 1, false),
        (AsksUnnamed, vec![status(500)], 1, false),
        (AsksUnnamed, vec![soon(502)], 1, false),
        (Changes, vec![status(500), status(503)], 3, true),
        (Changes, vec![status(404)], 1, false),
        (Registers, vec![soon(429), soon(503)], 3, true),
        (Registers, vec![status(500)], 1, false),
    ] {
        let server = AtpServer::start();
        if does == Changes {
            AsksNamed.with(&client(&server.url())).await.expect("a notification");
        }
        let before = server.count();
        server.answer_next(replies.clone());
        let ended = does.with(&client(&server.url())).await;
        let seen = (server.count() - before, ended.is_ok());
        assert_eq!(seen, (requests, ends_well), "{does:?} {replies:?}: {ended:?}");
        if replies.iter().any(|reply| reply.headers.contains(&("retry-after", "3600".to_owned()))) {
            assert_eq!(ended.expect_err("an error").get_retry_after(), Some(HOUR), "{replies:?}");
        }
    }
}

#[actix_web::test]
async fn a_server_that_is_not_there_was_told_nothing_and_one_that_is_silent_may_have_been() {
    let slow = AtpServer::start();
    slow.answer_next([Reply::status(201).after(Duration::from_secs(5))]);
    let (broken, seen) = answers_bytes(b"").await;
    let (odd, _) = answers_bytes(b"SSH-2.0-OpenSSH_9.6\r\n").await;
    for (url, may_be_done) in [
        (format!("http://{}", nobody().await), false),
        (slow.url(), true),
        (format!("http://{broken}"), true),
        (format!("http://{odd}"), true),
    ] {
        let client = client(&url).call_within(Duration::from_millis(300));
        let error = client.notify(&unnamed()).await.expect_err("an error");
        assert!(error.is_temporary(), "{url}: {error}");
        assert_eq!(error.may_be_done(), may_be_done, "{url}: {error}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("http://") && !told.contains(KEY), "{told}");
    }
    assert_eq!((slow.count(), seen.lock().expect("nobody panicked").len()), (1, 1), "sent once");
    // One with an id of its own is known again.
    let ended = client(&format!("http://{broken}")).tries(3).notify(&asked("n-1")).await;
    assert!(matches!(ended, Err(ClientError::Unanswered { .. })), "{ended:?}");
    assert_eq!(seen.lock().expect("nobody panicked").len(), 4);
}

#[actix_web::test]
async fn nothing_is_sent_before_there_is_tls() {
    let (address, seen) = answers_bytes(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
    let error = client(&format!("https://{address}")).tries(1).notify(&asked("n-1")).await;
    assert!(matches!(error, Err(ClientError::Unreached { .. })), "{error:?}");
    let seen = seen.lock().expect("nobody panicked");
    // A handshake, and nothing that could be read.
    assert_eq!(seen[0].first_chunk(), Some(&[22_u8, 3]));
    assert!(!String::from_utf8_lossy(&seen[0]).contains(KEY));
}

#[actix_web::test]
async fn a_redirect_is_not_followed() {
    let (server, other) = (AtpServer::start(), AtpServer::start());
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = format!("{}/api/v1/notifications", other.url());
        server.answer_next([Reply::status(status).header("location", elsewhere)]);
        let error = client(&server.url()).notify(&asked("n-1")).await.expect_err("an error");
        assert_eq!((error.get_status(), error.is_temporary()), (Some(status), false), "{status}");
    }
    assert_eq!((server.count(), other.received()), (5, Vec::new()));
}

#[actix_web::test]
async fn clones_share_what_may_be_sent_in_a_minute() {
    let server = AtpServer::start();
    let client = client(&server.url()).notifications_a_minute(3).turn_within(Duration::from_millis(20));
    for nth in 0..3 {
        client.clone().notify(&asked(&format!("n-{nth}"))).await.expect("a turn");
    }
    let waits = client.clone().notify(&asked("n-4")).await;
    assert!(matches!(waits, Err(ClientError::NotItsTurn { .. })), "{waits:?}");
    assert_eq!(server.count(), 3);
    // The other kind of call has a limit of its own.
    Changes.with(&client).await.expect("a turn of its own");
    assert_eq!(server.count(), 4);
}

#[actix_web::test]
async fn after_a_429_no_call_of_its_kind_goes_out_before_its_time() {
    let server = AtpServer::start();
    let client = client(&server.url()).turn_within(Duration::from_millis(20));
    server.answer_next([Reply::error(429, "RATE_LIMIT_EXCEEDED").header("retry-after", "3600")]);
    let error = client.notify(&asked("n-1")).await.expect_err("too many");
    assert_eq!(error.get_retry_after(), Some(HOUR));
    let waits = client.notify(&asked("n-2")).await;
    assert!(matches!(waits, Err(ClientError::NotItsTurn { .. })), "{waits:?}");
    assert_eq!(server.count(), 1);
}

#[actix_web::test]
async fn a_question_that_nobody_could_answer_is_not_sent() {
    let server = AtpServer::start();
    let ended = client(&server.url()).notify(&Notification::new("Deploy?", "")).await;
    assert!(matches!(ended, Err(ClientError::Question(_))), "{ended:?}");
    assert_eq!(server.count(), 0);
}

#[actix_web::test]
async fn the_key_is_in_no_log() {
    let server = AtpServer::start();
    server.answer_next([
        Reply::error(429, KEY),
        Reply::error(503, "AWAY").header("retry-after", "0"),
        Reply::status(500).body(KEY),
    ]);
    let (ended, log) = logged::during(async {
        let client = client(&server.url());
        (client.notify(&asked("n-1")).await, format!("{client:?}"))
    })
    .await;
    assert!(ended.0.is_ok(), "{ended:?}");
    assert!(!ended.1.contains(KEY), "{}", ended.1);
    let log = log.text();
    assert!(log.contains("a call is tried again"), "{log}");
    assert!(!log.contains(KEY) && !log.contains("Version 2.1.0"), "{log}");
}
