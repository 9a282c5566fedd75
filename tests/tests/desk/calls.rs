//! The calls of the protocol, as a service and a human's client make them.

use atp_cli::desk::{Desk, RunningDesk};
use serde_json::{Value, json};

use super::{address_of, call, call_with, story};

async fn desk() -> RunningDesk {
    Desk::new().start().await.expect("a desk")
}

fn question(id: &str) -> Value {
    json!({
        "id": id, "context": { "title": "Deploy?", "description": "It is ready." },
        "actions": [
            { "id": "approve", "label": "Approve", "response_type": "simple", "flags": ["irreversible"] },
            { "id": "wait", "label": "Wait", "response_type": "number", "constraints": { "min": 1, "max": 3 } },
        ],
    })
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[actix_web::test]
async fn each_wrong_call_is_refused_with_the_codes_of_the_protocol() {
    let desk = desk().await;
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let other = desk.register("others", "http://127.0.0.1:9/").await.expect("a service");
    let (admin, user) = (desk.admin_token().to_owned(), desk.user_token().to_owned());
    let asked = call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question("n-1"))).await;
    assert_eq!(asked.0, 201, "{}", asked.1);
    let without = |member: &str| {
        let mut question = question("n-2");
        question.as_object_mut().expect("an object").remove(member);
        question
    };
    let action = |action: Value| {
        let mut question = question("n-2");
        question["actions"] = json!([action]);
        question
    };
    let register = |url: &str, secret: &str| json!({ "name": "new", "description": "", "callback_url": url, "webhook_secret": secret });
    let answer = |id: &str, action: &str, data: Value| json!({ "notification_id": id, "action_id": action, "response_data": data });
    let (services, notifications) = ("/api/v1/services", "/api/v1/notifications");
    let (respond, change) = ("/api/v1/client/respond", "/api/v1/notifications/n-1");
    let table: Vec<(&str, &str, &str, Value, u16, &str)> = vec![
        ("POST", services, "", register("https://a.example/", ""), 401, "AUTH_INVALID_TOKEN"),
        ("POST", services, "sk_guess", register("https://a.example/", ""), 401, "AUTH_INVALID_TOKEN"),
        (
            "POST",
            services,
            &service.api_key,
            register("https://a.example/", ""),
            403,
            "AUTH_INSUFFICIENT_PERMISSIONS",
        ),
        ("POST", services, &admin, register("http://a.example/", ""), 400, "INVALID_CALLBACK_URL"),
        ("POST", services, &admin, register("ftp://a.example/", ""), 400, "INVALID_CALLBACK_URL"),
        ("POST", services, &admin, register("https://a.example/", "short"), 400, "INVALID_PARAMETER"),
        ("POST", services, &admin, json!({ "description": "" }), 400, "MISSING_REQUIRED_FIELD"),
        (
            "POST",
            services,
            &admin,
            json!({ "name": "orders", "callback_url": "https://a.example" }),
            409,
            "SERVICE_ALREADY_EXISTS",
        ),
        ("POST", notifications, "sk_guess", question("n-2"), 401, "AUTH_INVALID_TOKEN"),
        ("POST", notifications, &user, question("n-2"), 403, "AUTH_INSUFFICIENT_PERMISSIONS"),
        ("POST", notifications, &service.api_key, without("context"), 400, "MISSING_REQUIRED_FIELD"),
        ("POST", notifications, &service.api_key, without("actions"), 400, "MISSING_REQUIRED_FIELD"),
        (
            "POST",
            notifications,
            &service.api_key,
            action(json!({ "id": "a", "label": "A", "response_type": "dance" })),
            400,
            "INVALID_RESPONSE_TYPE",
        ),
        (
            "POST",
            notifications,
            &service.api_key,
            action(json!({ "id": "a", "response_type": "simple" })),
            400,
            "MALFORMED_ACTION",
        ),
        (
            "POST",
            notifications,
            &service.api_key,
            action(json!({ "id": "a", "label": "A", "response_type": "choice", "options": [] })),
            400,
            "MALFORMED_ACTION",
        ),
        ("POST", notifications, &other.api_key, question("n-1"), 400, "INVALID_PARAMETER"),
        // No address leads to these.
        ("POST", notifications, &service.api_key, question("."), 400, "INVALID_PARAMETER"),
        ("POST", notifications, &service.api_key, question(".."), 400, "INVALID_PARAMETER"),
        ("PATCH", change, &other.api_key, json!({ "status": "invalidated" }), 403, "SERVICE_NOT_OWNER"),
        ("PATCH", change, &service.api_key, json!({ "status": "answered" }), 400, "INVALID_STATUS"),
        (
            "PATCH",
            "/api/v1/notifications/none",
            &service.api_key,
            json!({ "status": "invalidated" }),
            404,
            "NOTIFICATION_NOT_FOUND",
        ),
        (
            "POST",
            respond,
            &admin,
            answer("n-1", "approve", Value::Null),
            403,
            "AUTH_INSUFFICIENT_PERMISSIONS",
        ),
        ("POST", respond, &user, answer("none", "approve", Value::Null), 404, "NOTIFICATION_NOT_FOUND"),
        ("POST", respond, &user, answer("n-1", "deny", Value::Null), 400, "INVALID_ACTION_ID"),
        ("POST", respond, &user, answer("n-1", "approve", json!(1)), 400, "INVALID_RESPONSE_DATA"),
        ("POST", respond, &user, answer("n-1", "wait", json!("2")), 400, "INVALID_RESPONSE_DATA"),
        ("POST", respond, &user, answer("n-1", "wait", json!(4)), 422, "CONSTRAINT_VIOLATION"),
    ];
    for (method, path, token, body, status, expected) in table {
        let found = call(&desk, method, path, token, Some(body.clone())).await;
        assert_eq!((found.0, &*code(&found.1)), (status, expected), "{path} {body}: {}", found.1);
    }
    let listed = call(&desk, "GET", "/api/v1/client/notifications", &user, None).await;
    let listed: Value = serde_json::from_str(&listed.1).expect("JSON");
    assert_eq!((&listed["total"], &listed["notifications"][0]["id"]), (&json!(1), &json!("n-1")));
    // Asked again in the same words it is the same question.
    let again = call(&desk, "POST", notifications, &service.api_key, Some(question("n-1"))).await;
    assert_eq!(again.0, 201, "{}", again.1);
    let taken = call(&desk, "POST", respond, &user, Some(answer("n-1", "wait", json!(2)))).await;
    assert_eq!(taken.0, 200, "{}", taken.1);
    desk.stop().await;
}

#[actix_web::test]
async fn half_a_character_loses_no_question_and_no_answer() {
    let desk = desk().await;
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let actions = r#""actions":[{"id":"t","label":"T","response_type":"text"}]"#;
    for (id, about) in [
        ("n-1", r#""title":"cut \ud83d""#),
        ("n-2", r#""title":"T","description":"cut \ud83d""#),
        ("n-3", r#""title":"T","k\ud83d":1"#),
    ] {
        let question = format!(r#"{{"id":"{id}",{about},{actions}}}"#);
        let (status, body) =
            call_with(&desk, "POST", "/api/v1/notifications", &service.api_key, &question).await;
        assert_eq!(status, 201, "{question}: {body}");
    }
    let (path, user) = ("/api/v1/client/respond", desk.user_token());
    for (id, data, beside, delivered) in [
        ("n-1", r#""x""#, r#""k\ud83d":1"#, r#""response_data":"x""#),
        ("n-2", r#""half \ude00""#, r#""k":"\ud83d""#, r#""response_data":"half \ude00""#),
        ("n-3", r#""half \ude00""#, r#""k\ud83d":1"#, r#""response_data":"half \ufffd""#),
    ] {
        let answer =
            format!(r#"{{"notification_id":"{id}","action_id":"t","response_data":{data},{beside}}}"#);
        let (status, body) = call_with(&desk, "POST", path, user, &answer).await;
        assert_eq!(status, 200, "{answer}: {body}");
        let story = story(&desk, id).await;
        let body = story["deliveries"][0]["body"].as_str().expect("a body");
        assert!(body.contains(delivered), "{answer}: {body}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn a_request_that_is_too_large_is_refused_as_the_protocol_has_it() {
    let desk = desk().await;
    for (method, path) in [
        ("POST", "/api/v1/notifications"),
        ("PATCH", "/api/v1/notifications/n-1"),
        ("POST", "/api/v1/client/respond"),
        ("PUT", "/desk/api/faults"),
    ] {
        let address = address_of(&desk);
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: 99999999\r\n\r\n", address.0);
        let mut client = address.connect().await;
        client.send(head.as_bytes()).await.expect("sent");
        let answer = client.answer().await.expect("an answer");
        let body = String::from_utf8(answer.body).expect("a text");
        assert_eq!((answer.status, &*code(&body)), (413, "TOO_LARGE"), "{method} {path}: {body}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn a_service_that_asks_too_much_is_told_when_it_may_again() {
    let desk = desk().await;
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    for nth in 0..101 {
        let asked = question(&format!("n-{nth}"));
        let found = call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(asked)).await;
        let expected = if nth < 100 { (201, "") } else { (429, "RATE_LIMIT_EXCEEDED") };
        assert_eq!((found.0, &*code(&found.1)), expected, "{nth}");
    }
    desk.stop().await;
}
