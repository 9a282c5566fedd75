//! Deliveries that the real CPython and the real Node sign and send.

use std::{
    collections::BTreeMap,
    env, io,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
};

use actix_web::web;
use atp_actix::{
    AtpResponse, Binary, Choice, Error, File, Form, Json, MultiChoice, Number, ResponseType, Scheme, Secret,
    Select, Simple, Text, Verifier, Webhook,
};
use atp_tests::{PATH, SECRET};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::server::Server;

/// What a process saw of one delivery.
#[derive(Debug, Deserialize)]
struct Sent {
    kind: String,
    scheme: String,
    forged: bool,
    status: u16,
    body: String,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read by Debug")]
struct Contact {
    name: String,
    email: String,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Delay {
    Hour,
    Day,
}

/// Each response type, data as it is sent, and what the handler must get, as `Debug` prints it.
fn answers() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("simple", json!(null), "()"),
        ("binary", json!(true), "true"),
        ("choice", json!("day"), "Day"),
        ("multi_choice", json!(["hour", "day"]), "[Hour, Day]"),
        (
            "text",
            json!("Straße 😀 \"quoted\" \\ \u{7f}\u{2028}\n\0"),
            r#""Straße 😀 \"quoted\" \\ \u{7f}\u{2028}\n\0""#,
        ),
        ("number", json!(-12.5), "-12.5"),
        ("select", json!("x"), r#"["x"]"#),
        (
            "form",
            json!({"reason": "für 😀", "name": "Ada", "email": "ada@example.com"}),
            r#"Contact { name: "Ada", email: "ada@example.com", reason: Some("für 😀") }"#,
        ),
        (
            "json",
            json!({"z": [1, 2.5, null, "é"], "a": {"é": true, "e": {}}}),
            r#"Object {"a": Object {"e": Object {}, "é": Bool(true)}, "z": Array [Number(1), Number(2.5), Null, String("é")]}"#,
        ),
        (
            "file",
            json!({"name": "a.txt", "content_type": "text/plain", "size": 2, "data": "aGk="}),
            r#"File { name: "a.txt", content_type: Some("text/plain"), size: Some(2), content: Bytes(2 bytes) }"#,
        ),
    ]
}

/// What handlers got, by notification id: how often, the scheme and the last data.
type Got = Arc<Mutex<BTreeMap<String, (u32, Scheme, String)>>>;

/// A handler for one type, which keeps what it gets.
fn on<R>(webhook: Webhook, action: &str, got: &Got) -> Webhook
where
    R: ResponseType + 'static,
    R::Data: std::fmt::Debug,
{
    let got = Arc::clone(got);
    webhook.on(action, move |answer: AtpResponse<R>| {
        let mut got = got.lock().expect("nobody panicked");
        let scheme = answer.delivery().scheme();
        let entry = got.entry(answer.notification_id.clone()).or_insert((0, scheme, String::new()));
        *entry = (entry.0 + 1, scheme, format!("{:?}", answer.data));
        async { Ok::<(), Error>(()) }
    })
}

fn serve(got: &Got) -> Server {
    let got = Arc::clone(got);
    Server::start(2, move |config: &mut web::ServiceConfig| {
        let webhook = Webhook::new(PATH, Verifier::new(Secret::new(SECRET).expect("a good secret")));
        let webhook = on::<Simple>(webhook, "simple", &got);
        let webhook = on::<Binary>(webhook, "binary", &got);
        let webhook = on::<Choice<Delay>>(webhook, "choice", &got);
        let webhook = on::<MultiChoice<Delay>>(webhook, "multi_choice", &got);
        let webhook = on::<Text>(webhook, "text", &got);
        let webhook = on::<Number>(webhook, "number", &got);
        let webhook = on::<Select>(webhook, "select", &got);
        let webhook = on::<Form<Contact>>(webhook, "form", &got);
        let webhook = on::<Json>(webhook, "json", &got);
        config.service(on::<File>(webhook, "file", &got));
    })
}

/// Runs a script as a sender against a webhook; `None` where the program is not installed.
async fn send(program: &str, script: &str, server: &Server) -> Option<Vec<Sent>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("senders").join(script);
    let process = Command::new(program)
        .arg(script)
        .arg(format!("http://{}/atp/webhook", server.0))
        .arg(SECRET)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut process = match process {
        Ok(process) => process,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert_ne!(
                env::var("CI").as_deref(),
                Ok("true"),
                "{program} is not installed, and CI must have it"
            );
            eprintln!("SKIPPED: {program} is not installed, so nothing that it signs was sent");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let answers: serde_json::Map<_, _> =
        answers().into_iter().map(|(kind, data, _)| (kind.to_owned(), data)).collect();
    let mut input = process.stdin.take().expect("its input");
    input.write_all(&serde_json::to_vec(&answers).expect("JSON")).await.expect("it reads");
    drop(input);
    let output = process.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{program}: {}", output.status);
    let lines = String::from_utf8(output.stdout).expect("text");
    Some(lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

/// All ten types in all four schemes: what is signed arrives once as the right value, what is
/// forged never.
async fn check(program: &str, script: &str) {
    let got = Got::default();
    let server = serve(&got);
    let Some(sent) = send(program, script, &server).await else { return };
    drop(server);

    assert_eq!(sent.len(), 10 * 4 * 2, "{program}");
    for Sent { kind, scheme, forged, status, body } in &sent {
        let seen = (*status, &**body);
        let expected = match forged {
            true => (401, r#"{"error":"Invalid signature"}"#),
            false => (200, r#"{"status":"success"}"#),
        };
        assert_eq!(seen, expected, "{program}: {kind} in {scheme}, forged: {forged}");
    }
    let got = got.lock().expect("nobody panicked");
    assert_eq!(got.len(), 10 * 4, "{program}");
    for (kind, _, data) in answers() {
        for scheme in Scheme::ALL {
            let expected = (1, scheme, data.to_owned());
            assert_eq!(
                got.get(&format!("{kind}/{scheme}")),
                Some(&expected),
                "{program}: {kind} in {scheme}"
            );
        }
    }
    println!("{program}: {} deliveries, {} of them handled", sent.len(), got.len());
}

#[actix_web::test]
async fn what_cpython_signs_and_sends_arrives() {
    check("python3", "sender.py").await;
}

#[actix_web::test]
async fn what_node_signs_and_sends_arrives() {
    check("node", "sender.mjs").await;
}
