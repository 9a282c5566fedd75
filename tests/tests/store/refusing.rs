//! What a handler's refusal does to its question, and what is told of it.

use std::fmt;

use actix_web::{App, HttpResponse, ResponseError, body::BoxBody, http::StatusCode, test, web};
use atp_actix::{
    AtpResponse, Correlation, Error, ErrorReply, Number, Simple, Text,
    store::{Question, Store, Verdict},
};
use serde_json::{Value, json};
use tracing::Level;

use crate::support::{
    asked::{answer, approve, asked, record},
    audit::{is_decided, kept},
    databases::on_every_store,
    logged,
    mounted::{Mounted, count, counting, runs, webhook},
    told::OPAQUE,
};

on_every_store!(
    a_refusal_that_leaves_the_question_open_is_no_decision,
    a_wrong_answer_that_is_left_open_can_be_mended,
    a_refusal_that_closes_is_told_apart_from_an_answer_that_stands,
    what_fits_the_question_and_not_the_handler_is_told_to_its_author,
    a_reply_keeps_hook_and_request_id_in_any_error_type,
    the_log_tells_what_a_service_can_mend,
    the_log_names_the_service_that_asked,
    an_altered_refusal_is_replayed_as_it_was_told,
);

fn conflict(code: &'static str) -> ErrorReply {
    ErrorReply::new(StatusCode::CONFLICT, code, "no")
}

/// Whoever may not decide does not close the question for who may.
async fn a_refusal_that_leaves_the_question_open_is_no_decision(store: impl Store) {
    async fn boss_only(answer: AtpResponse<Simple>) -> Result<&'static str, ErrorReply> {
        let is_boss = answer.responder.as_ref().is_some_and(|responder| responder.id == "boss");
        let refusal = ErrorReply::new(StatusCode::FORBIDDEN, "NOT_YOURS", "only the boss decides this");
        if is_boss { Ok("approved") } else { Err(refusal.leave_open()) }
    }
    let app = Mounted::new(webhook(&store).on("approve", boss_only)).await;
    record(&store, "n-1").await;
    let requested = approve("n-1").by("requester");
    for _ in 0..2 {
        app.refuses(&requested, 403, "NOT_YOURS").await;
        assert!(!is_decided(&store, "n-1").await);
    }
    assert_eq!(kept(&store).await, [Verdict::LeftOpen], "once, and it can be sent in again");
    app.expect(&approve("n-1").by("boss"), 200, "approved").await;
    app.expect(&requested, 200, "approved").await;
}

async fn a_wrong_answer_that_is_left_open_can_be_mended(store: impl Store) {
    async fn pay(amount: AtpResponse<Number>) -> Result<String, Error> {
        if amount.data > 1000.0 {
            Err(ErrorReply::new(StatusCode::BAD_REQUEST, "TOO_MUCH", "at most 1000").leave_open())?;
        }
        Ok(format!("paid {}", amount.data))
    }
    let app = Mounted::new(webhook(&store).on("pay", pay)).await;
    record(&store, "n-1").await;
    app.refuses(&answer("n-1", "pay", 5000), 400, "TOO_MUCH").await;
    app.expect(&answer("n-1", "pay", 50), 200, "paid 50").await;
    app.refuses(&answer("n-1", "pay", 5000), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
}

async fn a_refusal_that_closes_is_told_apart_from_an_answer_that_stands(store: impl Store) {
    async fn refuses(_: AtpResponse<Simple>) -> Result<(), ErrorReply> {
        Err(conflict("OUT_OF_STOCK"))
    }
    let runs = runs();
    let app = Mounted::new(webhook(&store).on("approve", refuses).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    app.refuses(&approve("n-1"), 409, "OUT_OF_STOCK").await;
    app.refuses(&answer("n-1", "reject", "no"), 409, "ALREADY_REFUSED").await;
    app.refuses(&approve("n-1"), 409, "OUT_OF_STOCK").await;
    store.reopen("default", "n-1").await.expect("a recorded refusal");
    app.expect(&answer("n-1", "reject", "no"), 200, "run 1").await;
    app.refuses(&approve("n-1"), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
    assert_eq!(count(&runs), 1);
}

/// It is a fault of the program, that its author finds by the log; the body waits for a mended
/// handler.
async fn what_fits_the_question_and_not_the_handler_is_told_to_its_author(store: impl Store) {
    async fn wants_a_number(_: AtpResponse<Number<u8>>) -> &'static str {
        "handled"
    }
    let app = Mounted::new(webhook(&store).on("pay", wants_a_number)).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "pay", 70_707);
    let ((), log) = logged::during(app.expect(&sent, 500, OPAQUE)).await;
    let told = log.deliveries();
    let [event] = &told[..] else { panic!("{told:?}") };
    assert_eq!(event.level, Level::ERROR);
    let reason = &event.fields["reason"];
    for part in ["\"pay\"", "Number<u8>", "response_data"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(!reason.contains("70707"), "{reason}");
    assert_eq!(kept(&store).await, [Verdict::Failed]);
}

/// An error type of a service, as services have them.
#[derive(Debug)]
enum Own {
    Refused(ErrorReply),
    Caused(ErrorReply),
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the order is not there")
    }
}

impl std::error::Error for Own {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(reply) | Self::Caused(reply) => Some(reply),
        }
    }
}

impl ResponseError for Own {
    fn status_code(&self) -> StatusCode {
        StatusCode::CONFLICT
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        match self {
            Self::Refused(reply) | Self::Caused(reply) => reply.error_response(),
        }
    }
}

async fn a_reply_keeps_hook_and_request_id_in_any_error_type(store: impl Store) {
    async fn itself(_: AtpResponse<Simple>) -> Result<(), ErrorReply> {
        Err(conflict("ITSELF"))
    }
    async fn by_question_mark(_: AtpResponse<Text>) -> Result<(), Error> {
        Err(conflict("BY_QUESTION_MARK"))?;
        Ok(())
    }
    async fn in_an_error_of_its_own(_: AtpResponse<Number>) -> Result<(), Own> {
        Err(Own::Refused(conflict("OF_ITS_OWN")))
    }
    async fn as_a_cause(_: AtpResponse) -> Result<(), Error> {
        Err(Own::Caused(conflict("AS_A_CAUSE")))?;
        Ok(())
    }
    let hook = |reply: &ErrorReply| json!([reply.code, reply.request_id]);
    let webhook = webhook(&store).on("approve", itself).on("reject", by_question_mark);
    let webhook = webhook.on("pay", in_an_error_of_its_own).otherwise(as_a_cause).error_body(hook);
    let app = Mounted::new(webhook).await;
    for (id, action, data, code) in [
        ("n-1", "approve", Value::Null, "ITSELF"),
        ("n-2", "reject", json!("no"), "BY_QUESTION_MARK"),
        ("n-3", "pay", json!(5), "OF_ITS_OWN"),
        ("n-4", "delay", json!("1h"), "AS_A_CAUSE"),
    ] {
        record(&store, id).await;
        let sent = answer(id, action, data).request_id("r");
        // Also when it is asked again, and no handler runs.
        for _ in 0..2 {
            let ((), log) = logged::during(app.expect(&sent, 409, &format!(r#"["{code}","r"]"#))).await;
            assert!(
                log.deliveries().iter().all(|event| event.level != Level::ERROR),
                "{code}: {}",
                log.text()
            );
        }
    }
}

async fn the_log_tells_what_a_service_can_mend(store: impl Store) {
    #[derive(serde::Deserialize)]
    struct Deploy {
        version: u32,
    }
    async fn wants_data(_: AtpResponse<Simple>, number: web::Data<u64>) -> String {
        number.to_string()
    }
    async fn wants_a_context(_: AtpResponse<Text>, origin: Correlation<Deploy>) -> String {
        origin.context.version.to_string()
    }
    let app = Mounted::new(webhook(&store).on("approve", wants_data).on("reject", wants_a_context)).await;
    let question = |id| Question::new(asked(id)).context(json!({"version": "a secret version"}));
    for (id, sent, parts) in [
        ("n-1", approve("n-1"), &["application data is not configured"][..]),
        ("n-2", answer("n-2", "reject", "no"), &["\"reject\"", "Deploy", "context/version", "u32"][..]),
    ] {
        store.record(&question(id)).await.expect("a question");
        let ((), log) = logged::during(app.expect(&sent, 500, OPAQUE)).await;
        let reason = log.deliveries().pop().expect("an event").fields["reason"].clone();
        for part in parts {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert!(!reason.contains("a secret version"), "{reason}");
    }
}

/// Two services on one store, and a webhook that is mounted for the wrong one. The sender learns
/// nothing of the other.
async fn the_log_names_the_service_that_asked(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    store.record(&Question::new(asked("n-1")).service("billing")).await.expect("a question");
    for (id, expected) in [("n-1", true), ("n-2", false)] {
        let (told, log) = logged::during(app.send(&approve(id))).await;
        assert_eq!(told.0, 503, "{id}");
        assert!(!told.1.contains("billing"), "{}", told.1);
        let reason = log.deliveries().pop().expect("an event").fields["reason"].clone();
        assert_eq!(reason.contains("it is recorded for \"billing\""), expected, "{id}: {reason}");
    }
}

/// Whoever asks again is told what the first was told, whatever was done to the response of a reply.
async fn an_altered_refusal_is_replayed_as_it_was_told(store: impl Store) {
    async fn alters(answer: AtpResponse) -> HttpResponse {
        let mut response = HttpResponse::from_error(conflict("WRONG"));
        match &*answer.notification_id {
            "status" => *response.status_mut() = StatusCode::GONE,
            "body" => return response.set_body(BoxBody::new("<b>no</b>")),
            _ => {
                let html = actix_web::http::header::HeaderValue::from_static("text/html");
                response.headers_mut().insert(actix_web::http::header::CONTENT_TYPE, html);
            }
        }
        response
    }
    let app = test::init_service(App::new().service(webhook(&store).otherwise(alters))).await;
    for id in ["status", "body", "type"] {
        record(&store, id).await;
        let mut told = Vec::new();
        for _ in 0..2 {
            let request = approve(id).request_id("r-1").post_to("/atp/webhook").to_request();
            let response = test::call_service(&app, request).await;
            let content_type = response.headers().get("content-type").cloned();
            told.push((response.status(), content_type, test::read_body(response).await));
        }
        assert_eq!(told[0], told[1], "{id}");
    }
}

/// Whoever has seen the delivery makes the handler run again, and nothing grows by it.
#[actix_web::test]
async fn a_delivery_that_is_left_open_again_and_again_takes_no_room() {
    let file = crate::support::databases::SqliteFile::new();
    let store = file.open().await;
    let refuses =
        || async { Err::<(), _>(ErrorReply::new(StatusCode::CONFLICT, "NOT_YET", "not yet").leave_open()) };
    let app = Mounted::new(webhook(&store).on("approve", refuses)).await;
    record(&store, "n-1").await;
    let sent = approve("n-1");
    let times = 600;
    for _ in 0..times {
        app.refuses(&sent, 409, "NOT_YET").await;
    }
    assert_eq!(kept(&store).await, [Verdict::LeftOpen]);
    store.drain(std::time::Duration::from_secs(20)).await.expect("a store");
    let counted = store.deliveries("default", "n-1").await.expect("an answer");
    assert_eq!(
        counted.iter().map(|row| (row.verdict, row.count)).collect::<Vec<_>>(),
        [(Verdict::LeftOpen, times)]
    );
    // What was written is in the journal, which is written back when it is long, and begun anew.
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(store.pool()).await.expect("one file");
    let sizes = ["atp.sqlite", "atp.sqlite-wal"]
        .map(|name| file.beside(name).metadata().map_or(0, |file| file.len()));
    assert!(sizes.iter().sum::<u64>() < 1 << 20, "{sizes:?}");
}
