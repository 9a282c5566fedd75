//! What stands behind the verification, and what stands around it.

use actix_web::{
    App, Error as ActixError,
    dev::{Service as _, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    test, web,
};
use atp_actix::{
    AtpResponse, Delivery, Error, ErrorReply, Scheme, VerifySignature, Webhook, test::SignedAnswer,
};
use atp_tests::PATH;
use chrono::Utc;
use serde_json::{Value, json};

use super::{Seen, answer, deliver, say, webhook};
use crate::support::{asked::verifier, logged, told::UNAUTHORIZED};

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
