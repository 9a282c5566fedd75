//! What a sender gets of what a handler answers.

use actix_web::{Error as ActixError, HttpResponse};
use atp_actix::{AtpResponse, Error, Form, Scheme, Webhook};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer, deliver, say, webhook};
use crate::support::{
    logged,
    told::{SUCCESS, UNAVAILABLE},
};

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
    // The text of serde_json quotes what it read, which may be an answer: of it only kind and place
    // are told.
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
