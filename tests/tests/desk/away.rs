//! A desk that does not serve for a while: all services, or one.

use std::time::Duration;

use actix_web::rt::time::sleep;
use atp_actix::store::{Outbox as _, Question, Store as _};
use atp_cli::desk::{Desk, RunningDesk};
use serde_json::{Value, json};

use super::{Routed as _, Service, address_of, call, try_ask, until};
use crate::support::{
    asked::asked,
    databases::{Database as _, SqliteDatabase},
};

/// What a question gets that a service asks.
async fn ask(desk: &RunningDesk, key: &str) -> (u16, Value) {
    let question = serde_json::to_value(asked("by hand")).expect("JSON");
    let (status, body) = call(desk, "POST", "/api/v1/notifications", key, Some(question)).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[actix_web::test]
async fn a_service_that_is_not_served_asks_later_and_loses_no_question() {
    let desk = Desk::new().start().await.expect("a desk");
    let service = Service::start(&desk, SqliteDatabase::new().await).await;
    let (id, key) = (&service.registered.service_id, &service.registered.api_key);
    let path = format!("/desk/api/services/{id}");
    let (all, one) = ("/desk/api/faults", &*path);
    for (nth, (path, method, member, status, code)) in [
        (all, "PUT", "away", 503, "SERVICE_UNAVAILABLE"),
        (one, "PATCH", "suspended", 403, "SERVICE_SUSPENDED"),
    ]
    .into_iter()
    .enumerate()
    {
        let set = async |is: bool| {
            let (status, body) =
                call(&desk, method, path, desk.admin_token(), Some(json!({ member: is }))).await;
            assert_eq!(status, 200, "{body}");
        };
        set(true).await;
        let (found, body) = ask(&desk, key).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{body}");
        let (store, question) = (service.database.store().routed(), format!("n-{nth}"));
        store.record(&Question::new(asked(&question))).await.expect("a question");
        // Time enough to be refused.
        sleep(Duration::from_millis(500)).await;
        assert!(desk.answer(&question, "approve", &json!(null)).await.is_err(), "it was asked");
        set(false).await;
        until("it is not asked", async || desk.answer(&question, "approve", &json!(null)).await.is_ok())
            .await;
        until("it is not decided", async || service.told().contains(&question)).await;
        assert_eq!(store.parked("atp", 0, 10).await.expect("an answer").len(), 0);
    }
    desk.stop().await;
}

#[actix_web::test]
async fn an_address_says_which_methods_it_takes() {
    let desk = Desk::new().start().await.expect("a desk");
    for (method, path, allowed) in [
        ("GET", "/api/v1/services", "POST"),
        ("PUT", "/api/v1/notifications/n-1", "PATCH"),
        ("DELETE", "/settings", "GET, POST"),
        ("POST", "/desk/api/faults", "GET, PUT"),
        ("GET", "/questions/n-1/answer", "POST"),
    ] {
        let answer = try_ask(&address_of(&desk), method, path, "", "").await.expect("an answer");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
        let body = String::from_utf8(answer.body).expect("a text");
        let is_call = path.contains("/api/");
        let told = if is_call { "\"METHOD_NOT_ALLOWED\"" } else { "<h1>That did not work</h1>" };
        assert!(body.contains(told), "{method} {path}: {body}");
    }
    desk.stop().await;
}
