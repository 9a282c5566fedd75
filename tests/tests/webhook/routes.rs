//! How a webhook is mounted and routed, what handlers get, and what senders see.

use std::{
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use actix_web::{
    App, Either, Error as ActixError, HttpRequest, HttpResponse, Responder,
    body::MessageBody,
    dev::{Service as _, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    test, web,
};
use atp_actix::{
    AtpResponse, Binary, Choice, Delivery, Error, ErrorReply, File, FileContent, Form, Json, MultiChoice,
    Number, Refusal, Scheme, Secret, Select, Simple, Text, VerifySignature, Webhook, guard,
    test::{Sender, SignedAnswer},
};
use atp_tests::{PATH, SECRET};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    asked::verifier,
    logged,
    told::{OPAQUE, SUCCESS, UNAUTHORIZED, UNAVAILABLE},
};

fn webhook() -> Webhook {
    Webhook::new(PATH, verifier())
}

fn answer(action: &str, data: Value) -> SignedAnswer {
    Sender::new(SECRET).answer("n-1", action, data)
}

/// Status, the headers and the body of one delivery to an app with these services.
struct Seen {
    status: u16,
    headers: actix_web::http::header::HeaderMap,
    body: String,
}

impl Seen {
    async fn of<B: MessageBody>(response: ServiceResponse<B>) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = String::from_utf8_lossy(&test::read_body(response).await).into_owned();
        Self { status, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    fn assert(&self, case: &str, status: u16, body: &str) {
        assert_eq!((self.status, &*self.body), (status, body), "{case}");
    }

    fn code(&self) -> Value {
        serde_json::from_str::<Value>(&self.body).unwrap_or_default()["code"].clone()
    }
}

/// One delivery to one webhook.
async fn deliver(webhook: Webhook, answer: &SignedAnswer) -> Seen {
    deliver_to(PATH, webhook, answer).await
}

async fn deliver_to(path: &str, webhook: Webhook, answer: &SignedAnswer) -> Seen {
    let app = test::init_service(App::new().service(webhook)).await;
    Seen::of(test::call_service(&app, answer.post_to(path).to_request()).await).await
}

/// A handler that says what it got.
async fn say(answer: AtpResponse<Text>) -> String {
    answer.into_data()
}

#[actix_web::test]
async fn it_mounts_in_an_app_a_scope_and_a_service_config() {
    async fn whose(path: web::Path<(String, u32)>, answer: AtpResponse<Text>) -> String {
        format!("{} {} {}", path.0, path.1, answer.data)
    }
    fn configure(config: &mut web::ServiceConfig) {
        config.service(Webhook::new("/configured", verifier()).on("a", say));
    }
    let app = test::init_service(
        App::new()
            .service(webhook().on("a", say))
            .service(
                web::scope("/tenants/{tenant}")
                    .service(Webhook::new("/hook/{nth}", verifier()).on("a", whose)),
            )
            .configure(configure)
            .service(web::scope("/inner").configure(configure)),
    )
    .await;
    for (path, body) in [
        (PATH, "hello"),
        ("/tenants/acme/hook/7", "acme 7 hello"),
        ("/configured", "hello"),
        ("/inner/configured", "hello"),
    ] {
        let sent = answer("a", json!("hello"));
        let seen = Seen::of(test::call_service(&app, sent.post_to(path).to_request()).await).await;
        seen.assert(path, 200, body);
        let seen = Seen::of(test::call_service(&app, sent.forged().post_to(path).to_request()).await).await;
        seen.assert(path, 401, UNAUTHORIZED);
    }
}

#[actix_web::test]
async fn answers_are_routed_by_action() {
    let routed = || {
        webhook()
            .on("approve", || async { "approved" })
            .on("reject", || async { "rejected" })
            .on("änd\"ern", || async { "changed" })
            .otherwise(|delivery: Delivery| async move { format!("other: {}", delivery.answer().action_id) })
    };
    for (action, body) in [
        ("approve", "approved"),
        ("reject", "rejected"),
        ("änd\"ern", "changed"),
        ("Approve", "other: Approve"),
        ("approve ", "other: approve "),
        ("later", "other: later"),
    ] {
        for scheme in Scheme::ALL {
            let seen = deliver(routed(), &answer(action, Value::Null).scheme(scheme)).await;
            seen.assert(&format!("{action:?} {scheme}"), 200, body);
        }
    }
}

#[actix_web::test]
async fn an_action_without_a_handler_is_an_opaque_500_and_the_log_says_what_to_do() {
    let (seen, log) =
        logged::during(deliver(webhook().on("approve", say), &answer("escalate", Value::Null))).await;
    seen.assert("no handler", 500, OPAQUE);
    assert!(log.contains("escalate") && log.contains(".otherwise("), "{}", log.text());
}

/// The text of a panic.
fn panic_of(run: impl FnOnce() -> Webhook + panic::UnwindSafe) -> String {
    let panic = panic::catch_unwind(|| drop(run())).expect_err("a panic");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[actix_web::test]
async fn a_second_handler_for_one_action_panics_and_names_both_places() {
    let first = line!() + 2;
    let text = panic_of(|| {
        let webhook = webhook().on("approve", say);
        webhook.on("approve", say)
    });
    for part in ["approve".to_owned(), place(first), place(first + 1)] {
        assert!(text.contains(&part), "no {part} in {text}");
    }
    let first = line!() + 2;
    let text = panic_of(|| {
        let webhook = webhook().otherwise(say);
        webhook.otherwise(say)
    });
    for part in ["otherwise".to_owned(), place(first), place(first + 1)] {
        assert!(text.contains(&part), "no {part} in {text}");
    }
}

fn place(line: u32) -> String {
    format!("{}:{line}:", file!())
}

#[actix_web::test]
async fn a_handler_without_words_says_success() {
    async fn nothing() -> Result<(), Error> {
        Ok(())
    }
    let sent = answer("a", Value::Null);
    let cases: Vec<(&str, Webhook)> = vec![
        ("Ok(())", webhook().on("a", nothing)),
        ("another error type", webhook().on("a", || async { Ok::<(), ActixError>(()) })),
        ("204", webhook().on("a", || async { HttpResponse::NoContent().finish() })),
        ("200 without a body", webhook().on("a", || async { HttpResponse::Ok().finish() })),
        ("202 without a body", webhook().on("a", || async { HttpResponse::Accepted().finish() })),
        ("an empty text", webhook().on("a", || async { "" })),
        ("otherwise", webhook().otherwise(nothing)),
    ];
    for (case, webhook) in cases {
        let seen = deliver(webhook, &sent).await;
        seen.assert(case, 200, SUCCESS);
        assert_eq!(seen.header("content-type"), Some("application/json"), "{case}");
    }
}

#[actix_web::test]
async fn what_a_handler_answers_passes_unchanged() {
    let sent = answer("a", Value::Null);
    let json = || async { HttpResponse::Created().insert_header(("x-own", "1")).json(json!({"id": 7})) };
    let seen = deliver(webhook().on("a", json), &sent).await;
    seen.assert("201", 201, r#"{"id":7}"#);
    assert_eq!((seen.header("x-own"), seen.header("content-type")), (Some("1"), Some("application/json")));

    let cases: Vec<(u16, &str, Webhook)> = vec![
        (200, "done", webhook().on("a", || async { "done" })),
        (404, "", webhook().on("a", || async { HttpResponse::NotFound().finish() })),
        (409, "twice", webhook().on("a", || async { HttpResponse::Conflict().body("twice") })),
        (500, "mine", webhook().on("a", || async { HttpResponse::InternalServerError().body("mine") })),
        (302, "", webhook().on("a", || async { HttpResponse::Found().finish() })),
    ];
    for (status, body, webhook) in cases {
        deliver(webhook, &sent).await.assert(&status.to_string(), status, body);
    }
    // An error of the handler's own keeps its status too.
    let own = || async { Err::<(), _>(actix_web::error::ErrorGone("gone for good")) };
    deliver(webhook().on("a", own), &sent).await.assert("own error", 410, "gone for good");
}

#[actix_web::test]
async fn every_error_is_a_503_that_keeps_its_words_to_itself() {
    const WORDS: &str = "InnerWordsOfTheFault";
    async fn io() -> Result<(), Error> {
        Err(std::io::Error::other(WORDS))?;
        Ok(())
    }
    async fn serde() -> Result<String, Error> {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let nothing: Nothing = serde_json::from_str(&format!("{{\"{WORDS}\":1}}"))?;
        Ok(format!("{nothing:?}"))
    }
    // The text of serde_json quotes what it read, which may be an answer: of it only kind and place are told.
    let cases: [(&str, fn() -> Webhook, &str); 3] = [
        ("io", || webhook().on("a", io), WORDS),
        ("serde_json", || webhook().on("a", serde), "Data error of JSON at line 1 column 23"),
        ("otherwise", || webhook().otherwise(io), WORDS),
    ];
    for (case, webhook, told) in cases {
        for scheme in Scheme::ALL {
            let sent = answer("a", Value::Null).scheme(scheme).request_id("req_1");
            let (seen, log) = logged::during(deliver(webhook(), &sent)).await;
            seen.assert(case, 503, UNAVAILABLE);
            let after = seen.header("retry-after");
            assert!(after.is_some_and(|after| after.parse::<u32>().is_ok()), "{case}: {after:?}");
            assert!(log.contains(told), "{case}: the log does not say why: {}", log.text());
            assert!(told == WORDS || !log.contains(WORDS), "{case}: the log quotes what was read");
        }
    }
}

/// A handler of type `R` that keeps what it got as text, and what it was given.
async fn typed<R>(sent: &SignedAnswer) -> (Seen, Option<String>)
where
    R: atp_actix::ResponseType + 'static,
    R::Data: std::fmt::Debug,
{
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let handler = move |answer: AtpResponse<R>| {
        *keep.lock().expect("nobody panicked") = Some(format!("{:?}", answer.data));
        async { HttpResponse::Ok().finish() }
    };
    let seen = deliver(webhook().on("a", handler), sent).await;
    let got = kept.lock().expect("nobody panicked").take();
    (seen, got)
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read by Debug")]
struct Rejection {
    reason: String,
    urgent: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Delay {
    Hour,
    Day,
}

/// Data that fits with what the handler gets, and data that does not.
async fn check<R>(name: &str, fits: &[(Value, &str)], unfit: &[Value])
where
    R: atp_actix::ResponseType + 'static,
    R::Data: std::fmt::Debug,
{
    for scheme in Scheme::ALL {
        for (data, expected) in fits {
            let (seen, got) = typed::<R>(&answer("a", data.clone()).scheme(scheme)).await;
            seen.assert(&format!("{name} {scheme} {data}"), 200, SUCCESS);
            assert_eq!(got.as_deref(), Some(*expected), "{name} {scheme} {data}");
        }
        for data in unfit {
            let sent = answer("a", data.clone()).scheme(scheme).request_id("req_42");
            let (seen, got) = typed::<R>(&sent).await;
            assert_eq!((seen.status, got), (400, None), "{name} {scheme} {data}: {}", seen.body);
            let body: Value = serde_json::from_str(&seen.body).expect("JSON");
            assert_eq!(body["code"], "INVALID_RESPONSE_DATA", "{name} {scheme} {data}");
            assert_eq!(body["request_id"], "req_42", "{name} {scheme} {data}");
            assert!(body["error"].as_str().is_some_and(|text| text.contains("response_data")), "{body}");
        }
    }
}

#[actix_web::test]
async fn each_response_type_gives_its_value_or_a_400() {
    let text = |len: usize| Value::from("x".repeat(len));
    check::<Simple>("simple", &[(json!(null), "()")], &[json!(false), json!(""), json!({})]).await;
    let fits = [(json!(true), "true"), (json!(false), "false")];
    check::<Binary>("binary", &fits, &[json!(null), json!(1), json!("true"), json!([true])]).await;
    let fits = [(json!("hour"), "Hour"), (json!("day"), "Day")];
    check::<Choice<Delay>>("choice", &fits, &[json!("week"), json!(null), json!(["day"]), json!(1)]).await;
    let fits = [(json!(["day", "hour"]), "[Day, Hour]"), (json!([]), "[]")];
    let unfit = [json!("day"), json!(["day", "day"]), json!(["week"]), json!([1]), json!(null)];
    check::<MultiChoice<Delay>>("multi_choice", &fits, &unfit).await;
    let fits = [(json!(""), r#""""#), (json!("né \u{1f600}\n"), "\"né \u{1f600}\\n\"")];
    check::<Text>("text", &fits, &[json!(null), json!(1), text(10_001), json!({"text": "x"})]).await;
    assert_eq!(typed::<Text>(&answer("a", text(10_000))).await.0.status, 200, "10,000 characters");
    let fits = [(json!(1.5), "1.5"), (json!(-3), "-3.0"), (json!(0), "0.0")];
    check::<Number>("number", &fits, &[json!("1"), json!(null), json!([1]), json!(true)]).await;
    let fits = [(json!(9_007_199), "9007199")];
    check::<Number<u32>>("number, whole", &fits, &[json!(1.5), json!(-1), json!(4_294_967_296_u64)]).await;
    let fits = [(json!("day"), "[Day]"), (json!(["hour", "day"]), "[Hour, Day]")];
    check::<Select<Delay>>("select", &fits, &[json!("week"), json!(["day", "day"]), json!(1), json!(null)])
        .await;
    let fits = [
        (json!({"reason": "no"}), r#"Rejection { reason: "no", urgent: None }"#),
        (json!({"reason": "", "urgent": true, "more": 1}), r#"Rejection { reason: "", urgent: Some(true) }"#),
    ];
    let unfit =
        [json!({}), json!({"reason": 1}), json!({"reason": "x", "urgent": "yes"}), json!("no"), json!(null)];
    check::<Form<Rejection>>("form", &fits, &unfit).await;
    check::<Json<Rejection>>("json, typed", &fits, &unfit).await;
    let fits = [(json!({"a": [1, "x"]}), r#"Object {"a": Array [Number(1), String("x")]}"#)];
    check::<Json>("json", &fits, &[json!([]), json!("x"), json!(null)]).await;
}

#[actix_web::test]
async fn a_file_arrives_as_bytes_or_as_an_address() {
    async fn file(answer: AtpResponse<File>) -> String {
        let file = answer.into_data();
        match file.content {
            FileContent::Bytes(bytes) => {
                format!("{} {:?} {:?} {bytes:?}", file.name, file.content_type, file.size)
            }
            FileContent::Url(url) => format!("{} {:?} {:?} {url}", file.name, file.content_type, file.size),
            _ => String::new(),
        }
    }
    let fits = [
        (
            json!({"name": "a.txt", "content_type": "text/plain", "size": 2, "data": "aGk="}),
            r#"a.txt Some("text/plain") Some(2) b"hi""#,
        ),
        (json!({"name": "a", "url": "https://example.com/a"}), "a None None https://example.com/a"),
    ];
    for (data, body) in fits {
        deliver(webhook().on("a", file), &answer("a", data.clone())).await.assert(
            &data.to_string(),
            200,
            body,
        );
    }
    for data in [
        json!(null),
        json!("a.txt"),
        json!({}),
        json!({"name": "a"}),
        json!({"data": "aGk="}),
        json!({"name": "a", "data": "aGk"}),
        json!({"name": "a", "data": "aGk=", "size": 3}),
        json!({"name": "a", "url": "file:///etc/passwd"}),
        json!({"name": "a", "url": "https://example.com/a", "data": "aGk="}),
        json!({"name": 1, "data": "aGk="}),
    ] {
        let seen = deliver(webhook().on("a", file), &answer("a", data.clone())).await;
        assert_eq!(
            (seen.status, seen.code()),
            (400, json!("INVALID_RESPONSE_DATA")),
            "{data}: {}",
            seen.body
        );
    }
}

#[actix_web::test]
async fn missing_data_is_not_null() {
    let missing = answer("a", Value::Null).without_data();
    assert_eq!(typed::<Simple>(&missing).await.1.as_deref(), Some("()"));
    for (seen, got) in
        [typed::<Text>(&missing).await, typed::<Number>(&missing).await, typed::<Json>(&missing).await]
    {
        assert_eq!((seen.status, seen.code(), got), (400, json!("INVALID_RESPONSE_DATA"), None));
    }
    let raw = |answer: AtpResponse| async move {
        format!("{:?}", answer.data.map(|data| data.as_str().to_owned()))
    };
    deliver(webhook().on("a", raw), &missing).await.assert("missing", 200, "None");
    deliver(webhook().on("a", raw), &answer("a", Value::Null)).await.assert("null", 200, "Some(\"null\")");
}

#[actix_web::test]
async fn extractors_compose() {
    async fn optional(answer: Option<AtpResponse<Text>>) -> String {
        format!("{:?}", answer.map(AtpResponse::into_data))
    }
    async fn fallible(answer: Result<AtpResponse<Text>, Refusal>) -> String {
        match answer {
            Ok(answer) => answer.into_data(),
            Err(Refusal::UnfitForHandler { violations, .. }) => {
                format!("unfit: {}", violations.iter().count())
            }
            Err(other) => format!("{other}"),
        }
    }
    async fn either(answer: Either<AtpResponse<Binary>, AtpResponse<Text>>) -> String {
        match answer {
            Either::Left(binary) => format!("binary {}", binary.data),
            Either::Right(text) => format!("text {}", text.data),
        }
    }
    async fn both(first: AtpResponse<Text>, second: AtpResponse<Choice>, delivery: Delivery) -> String {
        format!("{} {} {}", first.data, second.data, delivery.answer().action_id)
    }
    let cases: Vec<(&str, fn() -> Webhook, Value, u16, &str)> = vec![
        ("Option", || webhook().on("a", optional), json!("x"), 200, r#"Some("x")"#),
        ("Option, unfit", || webhook().on("a", optional), json!(1), 200, "None"),
        ("Result", || webhook().on("a", fallible), json!("x"), 200, "x"),
        ("Result, unfit", || webhook().on("a", fallible), json!(1), 200, "unfit: 1"),
        ("Either, left", || webhook().on("a", either), json!(true), 200, "binary true"),
        ("Either, right", || webhook().on("a", either), json!("x"), 200, "text x"),
        ("both", || webhook().on("a", both), json!("x"), 200, "x x a"),
    ];
    for (case, webhook, data, status, body) in cases {
        deliver(webhook(), &answer("a", data)).await.assert(case, status, body);
    }
    // Neither fits: what the sender sees is up to actix, but it is a fault of his.
    let seen = deliver(webhook().on("a", either), &answer("a", json!(1))).await;
    assert_eq!(
        (seen.status, seen.code()),
        (400, json!("INVALID_RESPONSE_DATA")),
        "Either, neither: {}",
        seen.body
    );
}

#[actix_web::test]
async fn handlers_get_what_other_extractors_give() {
    async fn all(
        count: web::Data<AtomicUsize>,
        bytes: web::Bytes,
        answer: AtpResponse<Text>,
        request: HttpRequest,
    ) -> String {
        count.fetch_add(1, Ordering::Relaxed);
        let json: Value = serde_json::from_slice(&bytes).expect("JSON");
        format!("{} {} {}", answer.data, json["response_data"], request.path())
    }
    let count = web::Data::new(AtomicUsize::new(0));
    let app = test::init_service(App::new().app_data(count.clone()).service(webhook().on("a", all))).await;
    let response = test::call_service(&app, answer("a", json!("x")).post_to(PATH).to_request()).await;
    Seen::of(response).await.assert("all", 200, r#"x "x" /atp/webhook"#);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

/// A body that says more than was signed must not be seen behind the verification.
#[actix_web::test]
async fn bodies_behind_it_are_the_signed_text() {
    async fn bytes(bytes: web::Bytes, delivery: Delivery) -> String {
        assert_eq!(&bytes, delivery.signed_text());
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }
    async fn json(json: web::Json<Value>) -> String {
        json["response_data"].to_string()
    }
    async fn raw(answer: AtpResponse) -> String {
        answer.data.as_ref().map(|data| data.as_str().to_owned()).unwrap_or_default()
    }
    async fn text(text: String) -> String {
        text
    }
    let now = Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
    let body = |data: &str| {
        format!(r#" {{"response_data" :{data},"notification_id":"n","action_id":"a","timestamp":"{now}"}} "#)
    };
    let node = |data: &str| {
        format!(r#"{{"response_data":{data},"notification_id":"n","action_id":"a","timestamp":"{now}"}}"#)
    };
    let python = |data: &str| {
        format!(
            r#"{{"action_id": "a", "notification_id": "n", "response_data": {data}, "timestamp": "{now}"}}"#
        )
    };
    let cases = [
        (Scheme::Raw, "1e999", body("1e999"), "1e999"),
        (Scheme::Timestamped, "9007199254740993", body("9007199254740993"), "9007199254740993"),
        (Scheme::NodeCompact, "1e999", node("null"), "null"),
        (Scheme::NodeCompact, "9007199254740993", node("9007199254740992"), "9007199254740992"),
        (Scheme::NodeCompact, "1.0", node("1"), "1"),
        (Scheme::NodeCompact, r#""\u00e9""#, node(r#""é""#), r#""é""#),
        (Scheme::PythonCanonical, "9007199254740993", python("9007199254740993"), "9007199254740993"),
        (Scheme::PythonCanonical, "1E2", python("100.0"), "100.0"),
        (Scheme::PythonCanonical, r#""é""#, python(r#""\u00e9""#), r#""\u00e9""#),
        (Scheme::PythonCanonical, r#"{"b":1,"a":2}"#, python(r#"{"a": 2, "b": 1}"#), r#"{"a": 2, "b": 1}"#),
    ];
    for (scheme, data, signed, signed_data) in cases {
        let sent = answer("a", Value::Null).body(body(data)).scheme(scheme);
        let case = format!("{scheme} {data}");
        deliver(webhook().on("a", bytes), &sent).await.assert(&case, 200, &signed);
        deliver(webhook().on("a", text), &sent).await.assert(&case, 200, &signed);
        deliver(webhook().on("a", raw), &sent).await.assert(&case, 200, signed_data);
        if data != "1e999" || scheme == Scheme::NodeCompact {
            let value: Value = serde_json::from_str(signed_data).expect("JSON");
            deliver(webhook().on("a", json), &sent).await.assert(&case, 200, &value.to_string());
        }
    }
    // What Python signs as `Infinity` is no JSON.
    let sent = answer("a", Value::Null).body(body("1e999")).scheme(Scheme::PythonCanonical);
    let seen = deliver(webhook().on("a", raw), &sent).await;
    assert_eq!((seen.status, seen.code()), (400, json!("MALFORMED_PAYLOAD")), "Infinity: {}", seen.body);
}

#[actix_web::test]
async fn the_limit_is_that_of_other_extractors_too() {
    async fn bytes(bytes: web::Bytes) -> String {
        bytes.len().to_string()
    }
    async fn json(json: web::Json<Value>) -> String {
        json["response_data"].as_str().map_or(0, str::len).to_string()
    }
    const MIB: usize = 1 << 20;
    for scheme in Scheme::ALL {
        let sent = answer("a", Value::from("x".repeat(MIB))).scheme(scheme);
        let long = |handler: fn(Webhook) -> Webhook| handler(webhook().limit(2 * MIB));
        let seen = deliver(long(|webhook| webhook.on("a", bytes)), &sent).await;
        assert_eq!(seen.status, 200, "{scheme}");
        assert!(seen.body.parse::<usize>().is_ok_and(|len| len > MIB), "{scheme}: {}", seen.body);
        let seen = deliver(long(|webhook| webhook.on("a", json)), &sent).await;
        seen.assert(scheme.name(), 200, &MIB.to_string());
        assert_eq!(deliver(webhook().on("a", bytes), &sent).await.status, 413, "{scheme}: unless set");
    }
    // The canonical text may be six times as long as the body.
    let sent = answer("a", Value::from("\u{7f}".repeat(MIB))).scheme(Scheme::PythonCanonical);
    let seen = deliver(webhook().limit(2 * MIB).on("a", bytes), &sent).await;
    assert!(seen.body.parse::<usize>().is_ok_and(|len| len > 6 * MIB), "{} {}", seen.status, seen.body);
}

#[actix_web::test]
async fn extractors_fail_closed_where_nothing_was_verified() {
    let app = test::init_service(
        App::new()
            .route("/answer", web::post().to(say))
            .route("/delivery", web::post().to(|_: Delivery| async { "delivered" }))
            .route("/action", web::post().guard(guard::Action::new("a")).to(|| async { "routed" })),
    )
    .await;
    for (path, missing) in [("/answer", "AtpResponse"), ("/delivery", "Delivery")] {
        let request = answer("a", json!("x")).post_to(path).to_request();
        let (response, log) = logged::during(test::call_service(&app, request)).await;
        Seen::of(response).await.assert(path, 500, OPAQUE);
        let text = log.text();
        assert!(text.contains(missing) && text.contains("VerifySignature"), "{path}: {text}");
    }
    let request = answer("a", json!("x")).post_to("/action").to_request();
    assert_eq!(test::call_service(&app, request).await.status(), 404, "no verified action, no route");
}

#[actix_web::test]
async fn half_of_a_surrogate_pair_arrives_as_the_replacement_character() {
    let now = Utc::now().to_rfc3339();
    let body = |data: &str| {
        format!(r#"{{"notification_id":"n","action_id":"a","response_data":{data},"timestamp":"{now}"}}"#)
    };
    for scheme in Scheme::ALL {
        let sent = answer("a", Value::Null).scheme(scheme);
        for (data, text) in [
            (r#""cut \ud83d""#, "\"cut \u{fffd}\""),
            (r#""\ude00 cut""#, "\"\u{fffd} cut\""),
            (r#""\ud83d\ude00""#, "\"\u{1f600}\""),
        ] {
            let (seen, got) = typed::<Text>(&sent.clone().body(body(data))).await;
            assert_eq!((seen.status, got.as_deref()), (200, Some(text)), "{scheme} {data}: {}", seen.body);
            let form = body(&format!(r#"{{"reason":{data}}}"#));
            let (seen, got) = typed::<Form<Rejection>>(&sent.clone().body(form)).await;
            let form = format!("Rejection {{ reason: {text}, urgent: None }}");
            assert_eq!((seen.status, got), (200, Some(form)), "{scheme} {data}: {}", seen.body);
        }
    }
}

#[actix_web::test]
async fn a_hook_changes_the_bodies_of_refusals_and_not_their_status() {
    async fn fails() -> Result<(), Error> {
        Err(std::io::Error::other("inner"))?;
        Ok(())
    }
    let hooked = || {
        let webhook = webhook().limit(1000).on("text", say).on("fails", fails);
        webhook.on("own", || async { HttpResponse::Conflict().body("own") }).error_body(
            |reply| json!({"mine": reply.status.as_u16(), "code": reply.code, "request": reply.request_id}),
        )
    };
    let good = || answer("text", json!("x")).request_id("req_1");
    let cases = [
        ("forged", good().forged(), 401, json!({"mine": 401, "code": null, "request": null})),
        (
            "type",
            good().header("content-type", "text/plain"),
            415,
            json!({"mine": 415, "code": null, "request": null}),
        ),
        (
            "long",
            answer("text", Value::from("x".repeat(2000))),
            413,
            json!({"mine": 413, "code": null, "request": null}),
        ),
        (
            "unfit",
            answer("text", json!(1)).request_id("req_1"),
            400,
            json!({"mine": 400, "code": "INVALID_RESPONSE_DATA", "request": "req_1"}),
        ),
        (
            "fails",
            answer("fails", json!(1)).request_id("req_1"),
            503,
            json!({"mine": 503, "code": null, "request": "req_1"}),
        ),
        (
            "none",
            answer("none", json!(1)).request_id("req_1"),
            500,
            json!({"mine": 500, "code": null, "request": "req_1"}),
        ),
    ];
    for (case, sent, status, body) in cases {
        let seen = deliver(hooked(), &sent).await;
        let got: Value = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!((seen.status, got), (status, body), "{case}");
    }
    deliver(hooked(), &answer("own", json!(1))).await.assert("a handler's own", 409, "own");
    deliver(hooked(), &good()).await.assert("handled", 200, "x");
}

#[actix_web::test]
async fn guards_route_what_is_signed_and_what_was_chosen() {
    let app = test::init_service(
        App::new()
            .service(
                web::resource("/hook")
                    .guard(guard::Signed)
                    .wrap(VerifySignature::new(verifier()))
                    .route(web::post().guard(guard::Action::new("approve")).to(|| async { "approved" }))
                    .route(web::post().guard(guard::Action::new("comment")).to(say))
                    .route(web::route().to(|| async { "another action" })),
            )
            .route("/hook", web::to(|| async { "unsigned" })),
    )
    .await;
    let approve = || answer("approve", Value::Null);
    for (case, sent, status, body) in [
        ("approve", approve(), 200, "approved"),
        ("comment", answer("comment", json!("hi")), 200, "hi"),
        ("other", answer("other", json!("hi")), 200, "another action"),
        ("forged", approve().forged(), 401, UNAUTHORIZED),
        ("no signature", approve().without_header("x-atp-signature"), 200, "unsigned"),
        ("malformed signature", approve().signature("t=5"), 200, "unsigned"),
        ("two signatures", approve().doubled(), 200, "unsigned"),
    ] {
        Seen::of(test::call_service(&app, sent.post_to("/hook").to_request()).await)
            .await
            .assert(case, status, body);
    }
}

#[actix_web::test]
async fn the_middleware_protects_a_scope_and_a_whole_app() {
    let scoped = test::init_service(
        App::new()
            .service(
                web::scope("/in").wrap(VerifySignature::new(verifier())).route("/a", web::post().to(say)),
            )
            .route("/out", web::post().to(|| async { "outside" })),
    )
    .await;
    let wrapped = test::init_service(
        App::new().wrap(VerifySignature::new(verifier())).route("/a", web::post().to(say)),
    )
    .await;
    let sent = answer("a", json!("x"));
    let to = |sent: &SignedAnswer, path: &str| sent.post_to(path).to_request();
    Seen::of(test::call_service(&scoped, to(&sent, "/in/a")).await).await.assert("scope", 200, "x");
    Seen::of(test::call_service(&scoped, to(&sent.clone().forged(), "/in/a")).await).await.assert(
        "scope, forged",
        401,
        UNAUTHORIZED,
    );
    Seen::of(test::call_service(&scoped, to(&sent.clone().forged(), "/out")).await)
        .await
        .assert("outside", 200, "outside");
    Seen::of(test::call_service(&wrapped, to(&sent, "/a")).await).await.assert("app", 200, "x");
    // Even what has no route is refused first.
    for path in ["/a", "/none"] {
        let seen = Seen::of(test::call_service(&wrapped, to(&sent.clone().forged(), path)).await).await;
        seen.assert(path, 401, UNAUTHORIZED);
    }
    assert_eq!(test::call_service(&wrapped, to(&sent, "/none")).await.status(), 404);
}

#[actix_web::test]
async fn middleware_outside_runs_on_every_answer() {
    let app = test::init_service(App::new().service(webhook().limit(1000).on("text", say)).wrap_fn(
        |request, next| {
            let response = next.call(request);
            async move {
                let mut response: ServiceResponse<_> = response.await?;
                let name = HeaderName::from_static("x-outer");
                response.headers_mut().insert(name, HeaderValue::from_static("1"));
                Ok(response)
            }
        },
    ))
    .await;
    for (sent, status) in [
        (answer("text", json!("x")), 200),
        (answer("text", json!(1)), 400),
        (answer("text", json!("x")).body("{}"), 400),
        (answer("text", json!("x")).forged(), 401),
        (answer("text", json!("x")).stale(), 401),
        (answer("text", json!("x")).future(), 401),
        (answer("text", json!("x")).truncated(), 401),
        (answer("text", json!("x")).doubled(), 401),
        (answer("text", Value::from("x".repeat(2000))), 413),
        (answer("text", json!("x")).header("content-type", "text/plain"), 415),
        (answer("none", json!("x")), 500),
    ] {
        let seen = Seen::of(test::call_service(&app, sent.post_to(PATH).to_request()).await).await;
        assert_eq!((seen.status, seen.header("x-outer")), (status, Some("1")), "{sent:?}");
    }
}

#[actix_web::test]
async fn middleware_behind_that_gives_up_is_told_and_its_refusal_keeps_our_form() {
    let give_up = |error: fn() -> ActixError| {
        web::resource(PATH)
            .wrap_fn(move |_, _| async move { Err::<ServiceResponse, _>(error()) })
            .wrap(VerifySignature::new(verifier()).error_body(|reply| json!([reply.error, reply.request_id])))
            .to(say)
    };
    let cases: [(fn() -> ActixError, u16, &str); 3] = [
        (|| ErrorReply::new(StatusCode::CONFLICT, "LATE", "too late").into(), 409, r#"["too late","r"]"#),
        (|| Error::from(std::fmt::Error).into(), 503, r#"["Service temporarily unavailable","r"]"#),
        (|| actix_web::error::ErrorImATeapot("of its own"), 418, "of its own"),
    ];
    for (error, status, body) in cases {
        let run = async {
            let app = test::init_service(App::new().service(give_up(error))).await;
            let sent = answer("text", json!("x")).request_id("r");
            let response = test::try_call_service(&app, sent.post_to(PATH).to_request()).await;
            let response = response.expect_err("an error").error_response();
            let status = response.status().as_u16();
            let body = actix_web::body::to_bytes(response.into_body()).await.unwrap_or_default();
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        let (seen, log) = logged::during(run).await;
        assert_eq!(seen, (status, body.to_owned()));
        let told = log.deliveries();
        assert_eq!(told.len(), 1, "{}", log.text());
        assert_eq!(told[0].fields["status"], status.to_string());
    }
}

#[actix_web::test]
async fn a_refusal_that_was_compressed_behind_is_sent_as_it_is() {
    let resource = web::resource(PATH)
        .wrap_fn(|request, next| {
            let response = next.call(request);
            async move {
                let mut response: ServiceResponse<_> = response.await?;
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
                Ok(response)
            }
        })
        .wrap(VerifySignature::new(verifier()))
        .to(say);
    let app = test::init_service(App::new().service(resource)).await;
    for (data, status, encoding) in [(json!("x"), 200, Some("br")), (json!(1), 400, None)] {
        let request = answer("text", data).post_to(PATH).to_request();
        let seen = Seen::of(test::call_service(&app, request).await).await;
        assert_eq!((seen.status, seen.header("content-encoding")), (status, encoding));
    }
}

#[actix_web::test]
async fn a_time_that_is_null_is_none_and_the_other_one_counts() {
    let fresh = Utc::now().to_rfc3339();
    for (times, status) in [
        (format!(r#""timestamp":null,"responded_at":"{fresh}""#), 200),
        (format!(r#""timestamp":"{fresh}","responded_at":null"#), 200),
        (format!(r#""timestamp":"yesterday","responded_at":"{fresh}""#), 401),
        (r#""timestamp":null,"responded_at":null"#.to_owned(), 401),
    ] {
        let body = format!(r#"{{"notification_id":"n-1","action_id":"text","response_data":"x",{times}}}"#);
        for scheme in [Scheme::Raw, Scheme::PythonCanonical, Scheme::NodeCompact] {
            let sent = answer("text", Value::Null).body(body.clone()).scheme(scheme);
            assert_eq!(deliver(webhook().on("text", say), &sent).await.status, status, "{scheme} {times}");
        }
    }
}

/// The names of a human's members are his words too.
#[actix_web::test]
async fn a_refusal_stays_short_however_long_a_member_is_named() {
    let handler = |_: AtpResponse<Form<std::collections::HashMap<String, u8>>>| async { "" };
    let name = "n".repeat(100_000);
    let sent = answer("form", json!({ "a": 1, name: "x" }));
    let seen = deliver(webhook().on("form", handler), &sent).await;
    assert_eq!((seen.status, seen.code()), (400, json!("INVALID_RESPONSE_DATA")));
    assert!(seen.body.len() < 500, "{} bytes", seen.body.len());
    assert!(seen.body.contains("found a string of 1 characters"), "{}", seen.body);
}

// Plain `test` is actix's module here.
#[core::prelude::v1::test]
fn what_handlers_keep_can_go_to_other_threads() {
    fn send<T: Send>() {}
    send::<AtpResponse>();
    send::<AtpResponse<Form<Rejection>>>();
    send::<AtpResponse<File>>();
    send::<Delivery>();
    send::<Refusal>();
    send::<VerifySignature>();
}

#[actix_web::test]
async fn a_rotation_ends_by_the_clock() {
    const OLD: &str = "whsec_of_last_year_0123456789abcdef";
    let now = Arc::new(AtomicI64::new(1_800_000_000));
    let time = |seconds: i64| DateTime::from_timestamp(seconds, 0).expect("a time");
    let clock = Arc::clone(&now);
    let verifier = verifier()
        .or_until(Secret::new(OLD).expect("a good secret"), time(1_800_000_100))
        .clock(move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).expect("a time"));
    let which = |delivery: Delivery| async move { delivery.secret_index().to_string() };
    let app = test::init_service(App::new().service(Webhook::new(PATH, verifier).otherwise(which))).await;
    for (seconds, secret, status, body) in [
        (1_800_000_000, SECRET, 200, "0"),
        (1_800_000_000, OLD, 200, "1"),
        (1_800_000_099, OLD, 200, "1"),
        (1_800_000_100, OLD, 401, UNAUTHORIZED),
        (1_800_000_100, SECRET, 200, "0"),
        (1_900_000_000, OLD, 401, UNAUTHORIZED),
        (1_800_000_000, "whsec_of_nobody_0123456789abcdef", 401, UNAUTHORIZED),
    ] {
        now.store(seconds, Ordering::Relaxed);
        for scheme in Scheme::ALL {
            let sent = Sender::new(secret).answer("n", "a", ()).at(time(seconds)).scheme(scheme);
            let response = test::call_service(&app, sent.post_to(PATH).to_request()).await;
            Seen::of(response).await.assert(&format!("{seconds} {secret} {scheme}"), status, body);
        }
        // A sender in the middle of the rotation signs with both.
        let sent = Sender::new("whsec_of_nobody_0123456789abcdef").answer("n", "a", ()).at(time(seconds));
        let sent = sent.also_signed_with(secret);
        let response = test::call_service(&app, sent.post_to(PATH).to_request()).await;
        assert_eq!(response.status(), status, "{seconds} {secret}, signed twice");
    }
}

/// The guide's `handle_form_response`: a missing field is logged, and nothing is processed.
#[actix_web::test]
async fn the_guides_form_is_processed_whole_or_not_at_all() {
    #[derive(Deserialize)]
    struct Contact {
        name: String,
        email: String,
        reason: String,
    }
    async fn process(answer: AtpResponse<Form<Contact>>, processed: web::Data<AtomicUsize>) -> String {
        processed.fetch_add(1, Ordering::Relaxed);
        let Contact { name, email, reason } = answer.into_data();
        format!("{name} {email} {reason}")
    }
    let processed = web::Data::new(AtomicUsize::new(0));
    let app =
        test::init_service(App::new().app_data(processed.clone()).service(webhook().on("contact", process)))
            .await;
    let whole = json!({"name": "Ada", "email": "ada@example.com", "reason": "curious"});
    for missing in ["name", "email", "reason"] {
        let mut data = whole.clone();
        data.as_object_mut().expect("an object").remove(missing);
        let request = answer("contact", data).post_to(PATH).to_request();
        let (response, log) = logged::during(test::call_service(&app, request)).await;
        let seen = Seen::of(response).await;
        assert_eq!(
            (seen.status, seen.code()),
            (400, json!("INVALID_RESPONSE_DATA")),
            "{missing}: {}",
            seen.body
        );
        assert!(seen.body.contains(missing), "{missing}: {}", seen.body);
        let warned = |entry: &logged::Entry| {
            entry.level == tracing::Level::WARN && entry.fields.values().any(|value| value.contains(missing))
        };
        assert!(log.entries().iter().any(warned), "{missing}: {}", log.text());
    }
    assert_eq!(processed.load(Ordering::Relaxed), 0, "nothing is processed");
    let response = test::call_service(&app, answer("contact", whole).post_to(PATH).to_request()).await;
    Seen::of(response).await.assert("whole", 200, "Ada ada@example.com curious");
    assert_eq!(processed.load(Ordering::Relaxed), 1);
}

/// The guide's `process_response`: `reject` hands on `response_data.reason`, which may be missing.
#[actix_web::test]
async fn the_guides_two_actions_set_their_states() {
    #[derive(Deserialize)]
    struct Reason {
        reason: Option<String>,
    }
    type States = web::Data<Mutex<Vec<String>>>;
    async fn approve(answer: AtpResponse<Simple>, states: States) -> Result<(), Error> {
        states.lock().expect("nobody panicked").push(format!("{} approved", answer.notification_id));
        Ok(())
    }
    async fn reject(answer: AtpResponse<Form<Reason>>, states: States) -> impl Responder {
        let state = format!("{} rejected: {:?}", answer.notification_id, answer.data.reason);
        states.lock().expect("nobody panicked").push(state);
        HttpResponse::Ok()
    }
    let states: States = web::Data::new(Mutex::default());
    let app = test::init_service(
        App::new().app_data(states.clone()).service(webhook().on("approve", approve).on("reject", reject)),
    )
    .await;
    for (action, data, status, state) in [
        ("approve", json!(null), 200, Some("n-1 approved")),
        ("reject", json!({"reason": "too risky"}), 200, Some(r#"n-1 rejected: Some("too risky")"#)),
        ("reject", json!({}), 200, Some("n-1 rejected: None")),
        ("reject", json!({"reason": null}), 200, Some("n-1 rejected: None")),
        ("reject", json!({"reason": 5}), 400, None),
        ("reject", json!(null), 400, None),
        ("approve", json!({"reason": "?"}), 400, None),
    ] {
        let request = answer(action, data.clone()).post_to(PATH).to_request();
        assert_eq!(test::call_service(&app, request).await.status(), status, "{action} {data}");
        assert_eq!(states.lock().expect("nobody panicked").pop().as_deref(), state, "{action} {data}");
    }
}
