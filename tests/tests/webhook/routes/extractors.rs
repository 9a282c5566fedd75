//! What a handler gets: the answer as its response type, and what other extractors give.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::{App, Either, HttpRequest, HttpResponse, test, web};
use atp_actix::{
    AtpResponse, Binary, Choice, Delivery, File, FileContent, Form, Json, MultiChoice, Number, Refusal,
    Scheme, Select, Simple, Text, VerifySignature, Webhook, guard, test::SignedAnswer,
};
use atp_tests::PATH;
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Seen, answer, deliver, say, webhook};
use crate::support::{
    logged,
    told::{OPAQUE, SUCCESS},
};

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
