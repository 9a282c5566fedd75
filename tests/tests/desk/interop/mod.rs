//! Programs that are not ours at a desk: services in Flask and in Express that check signatures as
//! the protocol's guide does, and a client that was written from the protocol's section 4 alone.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use atp_actix::{
    Scheme,
    atp_core::{Secret, Verifier},
};
use atp_cli::desk::{Desk, Fault, RunningDesk};
use atp_tests::{PATH, SECRET};
use chrono::Utc;
use serde_json::{Value, value::RawValue};

use super::{story, until};
use crate::support::{
    external,
    server::{Address, request},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/desk/interop/");

/// A service of somebody else, a process of its own that ends with this.
struct Foreign {
    process: Child,
    address: Address,
    /// What it said of each delivery.
    said: Arc<Mutex<Vec<Value>>>,
}

impl Foreign {
    fn start(program: &str, file: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(format!("{FOLDER}{file}")).env("ATP_WEBHOOK_SECRET", SECRET).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the program");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let port: u16 = lines.next().expect("a line").expect("a line").parse().expect("a port");
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("JSON");
                heard.lock().expect("nobody panicked").push(line);
            }
        });
        Self { process, address: Address(([127, 0, 0, 1], port).into()), said }
    }

    /// What it said of the deliveries with this request id.
    fn said_of(&self, request_id: &str) -> Vec<Value> {
        let said = self.said.lock().expect("nobody panicked");
        said.iter().filter(|line| line["request_id"] == request_id).cloned().collect()
    }

    /// What it answers to this delivery.
    async fn judges(&self, signature: Option<&str>, body: &str) -> u16 {
        let mut headers = vec![("content-type", "application/json"), ("connection", "close")];
        headers.extend(signature.map(|signature| ("x-atp-signature", signature)));
        let answer = self.address.exchange(&request("POST", PATH, &headers, body.as_bytes())).await;
        answer.expect("an answer").status
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The last line that the client prints; it ends well.
fn client(python: &str, arguments: &[&str]) -> Value {
    calls(python, arguments).pop().expect("a line")
}

/// All that it prints.
fn calls(python: &str, arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(python).arg(format!("{FOLDER}client.py")).args(arguments).output();
    let output = output.expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("a text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What is answered to each action, as JSON that Python, V8 and we would write in different ways.
const ANSWERS: [(&str, &str); 10] = [
    ("simple", "null"),
    ("binary", "false"),
    ("choice", r#""1h""#),
    ("multi_choice", r#"["1d"]"#),
    ("text", r#""é \ud83d\ude00 \u2028 \" \\ \/ \u007f \u0001 <&>""#),
    ("number", "1e+21"),
    ("select", r#"["1d","1h"]"#),
    ("form", r#"{"name":"Ada","__proto__":{"x":1},"age":36.0}"#),
    ("json", r#"{"b":[1.0,-0.0,1e21,1E-7,0.1],"10":1,"9":{"é":"\ud83d\ude00","Z":null},"a":""}"#),
    ("file", r#"{"size":2,"name":"a.txt","content_type":"text/plain","data":"aGk="}"#),
];

/// What a service says to each attempt of an answer with which this goes wrong.
const FAULTS: [(Option<Fault>, &[(u16, &str)]); 5] = [
    (None, &[(200, "handled")]),
    (Some(Fault::WrongSignature), &[(401, "Invalid signature"), (200, "handled")]),
    (Some(Fault::Respell), &[(200, "handled")]),
    (Some(Fault::Duplicate), &[(200, "handled"), (200, "known")]),
    (Some(Fault::Stale), &[(400, "Invalid timestamp"), (200, "handled")]),
];

/// Flask hands a view the parsed body, and the guide's `verify_signature` signs what `json.dumps`
/// makes of that: so a service in Python has senders that sign the canonical text.
#[actix_web::test]
async fn a_service_in_flask_takes_what_is_signed_canonically_and_refuses_the_rest() {
    let Some(python) = external::python_with("flask") else { return };
    holds(&python, &Foreign::start(&python, "service.py"), Scheme::PythonCanonical).await;
}

/// Express replaces the body by what it parsed, and the guide's check for Node signs what
/// `JSON.stringify` makes of that: so a service in Node has senders that sign the compact text.
#[actix_web::test]
async fn a_service_in_express_takes_what_is_signed_compactly_and_refuses_the_rest() {
    let Some(node) = external::node_with("express") else { return };
    let Some(python) = external::program("python3") else { return };
    holds(&python, &Foreign::start(&node, "service.js"), Scheme::NodeCompact).await;
}

async fn holds(python: &str, service: &Foreign, scheme: Scheme) {
    let waits = (Duration::from_millis(20), Duration::from_millis(100));
    let desk = Desk::new().backoff(waits.0, waits.1).start().await.expect("a desk");
    let callback = format!("http://{}{PATH}", service.address.0);
    let registered = client(python, &["register", &desk.url(), desk.admin_token(), &callback, SECRET]);
    let text = |name: &str| registered[name].as_str().expect("a text").to_owned();
    desk.set_scheme(&text("service_id"), scheme).await.expect("a scheme");
    let mut answers = 0;
    for (fault, expected) in FAULTS {
        let asked = client(python, &["ask", &desk.url(), &text("api_key")]);
        for (action, data) in ANSWERS {
            let id = asked[action].as_str().expect("an id");
            is_delivered(&desk, service, (id, action, data), (fault, expected)).await;
            answers += 1;
        }
        if fault.is_none() {
            refuses_forgeries(&desk, service, asked["json"].as_str().expect("an id"), scheme).await;
        }
    }
    println!("{}: {answers} answers, {} deliveries", scheme.name(), service.said.lock().expect("it").len());
    desk.stop().await;
}

/// Answers a question, and compares what the desk and the service tell of it.
async fn is_delivered(
    desk: &RunningDesk,
    service: &Foreign,
    (id, action, data): (&str, &str, &str),
    (fault, expected): (Option<Fault>, &[(u16, &str)]),
) {
    desk.faults(|faults| fault.into_iter().for_each(|fault| faults.next(fault, 1)));
    let written: &RawValue = serde_json::from_str(data).expect("JSON");
    desk.answer(id, action, &written).await.expect("an answer");
    let what = format!("{action} with {fault:?}");
    until(&what, async || story(desk, id).await["deliveries"][0]["outcome"] == "taken").await;
    let story = story(desk, id).await;
    let delivery = &story["deliveries"][0];
    let statuses: Vec<_> =
        delivery["attempts"].as_array().expect("attempts").iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, expected.iter().map(|said| said.0).collect::<Vec<_>>(), "{what}: {delivery}");
    let request_id = delivery["request_id"].as_str().expect("an id");
    until(&what, async || service.said_of(request_id).len() >= expected.len()).await;
    let said = service.said_of(request_id);
    assert_eq!(said.len(), expected.len(), "{what}: {said:?}");
    for (said, (status, words)) in said.iter().zip(expected) {
        assert_eq!((&said["status"], &said["what"]), (&(*status).into(), &(*words).into()), "{what}: {said}");
        if *status == 200 {
            let heard = (said["notification_id"].as_str(), said["action_id"].as_str());
            assert_eq!(heard, (Some(id), Some(action)), "{what}");
            let sent = serde_json::from_str(data).expect("JSON");
            assert_eq!(doubles(&said["response_data"]), doubles(&sent), "{what}");
        }
    }
    assert_eq!(story["status"], "completed", "{what}");
}

/// With each number as a double, which is all that V8 knows of it.
fn doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(values) => values.iter().map(doubles).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), doubles(value))).collect())
        }
        other => other.clone(),
    }
}

/// What a stranger makes of a delivery that was seen, and what is signed in the other schemes.
async fn refuses_forgeries(desk: &RunningDesk, service: &Foreign, id: &str, scheme: Scheme) {
    let attempt = story(desk, id).await["deliveries"][0]["attempts"][0].clone();
    let body = attempt["body"].as_str().expect("a body");
    let signature = attempt["headers"]["X-ATP-Signature"].as_str().expect("a signature");
    assert_eq!(service.judges(Some(signature), body).await, 200, "it is good");
    for altered in [body.replace(r#""json""#, r#""file""#), body.replace("0.1", "0.2")] {
        assert_ne!(altered, body);
        assert_eq!(service.judges(Some(signature), &altered).await, 401, "{altered}");
    }
    for signature in ["", "0", &signature.replace(|_: char| true, "0")] {
        assert_eq!(service.judges(Some(signature), body).await, 401, "{signature}");
    }
    assert_eq!(service.judges(None, body).await, 401, "without a signature");
    let verifier = Verifier::new(Secret::new(SECRET).expect("a secret"));
    for other in Scheme::ALL {
        let signature = verifier.sign_at(other, body.as_bytes(), Utc::now()).expect("it is JSON").to_string();
        let expected = if other == scheme { 200 } else { 401 };
        assert_eq!(service.judges(Some(&signature), body).await, expected, "{}", other.name());
    }
    assert_eq!(service.judges(Some(signature), "{").await, 400, "no JSON");
}

/// What a desk says of what is wrong; a desk suspends no service and has one human, so it has no use
/// for `SERVICE_SUSPENDED` and `NOTIFICATION_ACCESS_DENIED`.
const CODES: [(u16, &str); 17] = [
    (400, "INVALID_ACTION_ID"),
    (400, "INVALID_CALLBACK_URL"),
    (400, "INVALID_PARAMETER"),
    (400, "INVALID_RESPONSE_DATA"),
    (400, "INVALID_RESPONSE_TYPE"),
    (400, "INVALID_STATUS"),
    (400, "MALFORMED_ACTION"),
    (400, "MISSING_REQUIRED_FIELD"),
    (401, "AUTH_INVALID_TOKEN"),
    (403, "AUTH_INSUFFICIENT_PERMISSIONS"),
    (403, "SERVICE_NOT_OWNER"),
    (404, "NOTIFICATION_NOT_FOUND"),
    (409, "NOTIFICATION_ALREADY_RESPONDED"),
    (409, "NOTIFICATION_EXPIRED"),
    (409, "NOTIFICATION_INVALIDATED"),
    (409, "SERVICE_ALREADY_EXISTS"),
    (422, "CONSTRAINT_VIOLATION"),
];

#[actix_web::test]
async fn a_client_written_from_the_protocol_uses_every_call() {
    let Some(python) = external::program("python3") else { return };
    // A minute does not pass meanwhile, however slow the machine is.
    let began = Utc::now();
    let desk = Desk::new().clock(move || began).start().await.expect("a desk");
    let calls = calls(&python, &["calls", &desk.url(), desk.admin_token(), desk.user_token()]);
    let refused: BTreeSet<(u64, &str)> =
        calls.iter().filter_map(|call| Some((call["status"].as_u64()?, call["code"].as_str()?))).collect();
    let limited = (429, "RATE_LIMIT_EXCEEDED");
    let expected = CODES.into_iter().chain([limited]).map(|(status, code)| (status.into(), code)).collect();
    assert_eq!(refused, expected);
    println!("{} calls, {} kinds of refusals", calls.len(), refused.len());
    desk.stop().await;
}
