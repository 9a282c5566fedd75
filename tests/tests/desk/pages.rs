//! The page of a desk, as a browser and as who would misuse one asks for it.

use atp_cli::desk::{Desk, RunningDesk};
use serde_json::json;

use super::{call, call_with, story};
use crate::support::server::Address;

async fn desk_with_a_question(title: &str) -> RunningDesk {
    let desk = Desk::new().start().await.expect("a desk");
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let question = json!({
        "id": "n-1", "context": { "title": title, "description": title, "project": title, "metadata": { title: title } },
        "actions": [
            { "id": "approve", "label": title, "response_type": "simple", "flags": ["irreversible"] },
            { "id": "say", "label": title, "response_type": "text", "constraints": { "placeholder": title } },
        ],
    });
    let asked = call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question)).await;
    assert_eq!(asked.0, 201, "{}", asked.1);
    desk
}

/// Sends a form, with more headers.
async fn post(desk: &RunningDesk, path: &str, form: &str, more: &str) -> u16 {
    let address = Address(desk.url().trim_start_matches("http://").parse().expect("an address"));
    let host = if more.to_lowercase().contains("host:") {
        String::new()
    } else {
        format!("host: {}\r\n", address.0)
    };
    let request = format!(
        "POST {path} HTTP/1.1\r\n{host}content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n{more}connection: close\r\n\r\n{form}",
        form.len()
    );
    let mut client = address.connect().await;
    client.send(request.as_bytes()).await.expect("sent");
    client.answer().await.expect("an answer").status
}

/// The token that a page has in its forms.
async fn token(desk: &RunningDesk) -> String {
    let page = call(desk, "GET", "/questions/n-1", "", None).await.1;
    let (_, rest) = page.split_once(r#"name="token" value=""#).expect("a form");
    rest.split('"').next().expect("a token").to_owned()
}

#[actix_web::test]
async fn text_of_strangers_shows_as_text() {
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "[x](javascript:alert(1))",
        "\u{202e}gnp.exe\u{2066}",
        "</textarea></title><svg onload=alert(1)>",
    ] {
        let desk = desk_with_a_question(hostile).await;
        for path in ["/", "/questions/n-1", "/settings"] {
            let (status, page) = call(&desk, "GET", path, "", None).await;
            assert_eq!(status, 200, "{path}");
            for part in ["<script>alert", "<img", "<svg", "onerror=alert(1)>\"", "href=\"javascript"] {
                assert!(!page.contains(part), "{path} {hostile}: {part}: {page}");
            }
        }
        desk.stop().await;
    }
}

#[actix_web::test]
async fn half_a_character_and_a_very_long_text_show_too() {
    let desk = Desk::new().start().await.expect("a desk");
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let long = "long ".repeat(200_000);
    for (id, title) in [("n-1", r"cut \ud83d here".to_owned()), ("n-2", long)] {
        let question = format!(
            r#"{{"id":"{id}","context":{{"title":"{title}","description":"{title}"}},
            "actions":[{{"id":"a","label":"{title}","response_type":"text"}}]}}"#
        );
        let (status, body) =
            call_with(&desk, "POST", "/api/v1/notifications", &service.api_key, &question).await;
        assert_eq!(status, 201, "{body}");
    }
    let answer = r#"{"notification_id":"n-1","action_id":"a","response_data":"half \ude00"}"#;
    let (status, body) = call_with(&desk, "POST", "/api/v1/client/respond", desk.user_token(), answer).await;
    assert_eq!(status, 200, "{body}");
    for (path, part) in [
        ("/?show=all", "cut \u{fffd} here"),
        ("/questions/n-1", "cut \u{fffd} here"),
        ("/questions/n-2", "long long"),
    ] {
        let (status, page) = call(&desk, "GET", path, "", None).await;
        assert!(status == 200 && page.contains(part), "{path}: {status}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn only_a_form_of_the_page_decides() {
    let desk = desk_with_a_question("Deploy?").await;
    let good = token(&desk).await;
    let form = format!("token={good}&action=0&sure=yes");
    let answer = "/questions/n-1/answer";
    let own = format!("origin: {}\r\n", desk.url());
    // A link that is followed decides nothing.
    for path in [answer.to_owned(), format!("{answer}?{form}")] {
        let (status, _) = call(&desk, "GET", &path, "", None).await;
        assert_eq!(status, 405);
    }
    for (form, more, status) in [
        ("action=0&sure=yes".to_owned(), "", 403),
        (form.replace(&good, "0123456789abcdef0123456789abcdef"), "", 403),
        (form.clone(), "origin: https://evil.example\r\n", 403),
        (form.clone(), "origin: null\r\n", 403),
        (form.clone(), "host: evil.example\r\n", 400),
        (form.replace("&sure=yes", ""), "", 422),
    ] {
        assert_eq!(post(&desk, answer, &form, more).await, status, "{form} {more}");
        assert_eq!(story(&desk, "n-1").await["status"], "acknowledged", "{form} {more}");
    }
    assert_eq!(post(&desk, answer, &form, &own).await, 303);
    assert_eq!(story(&desk, "n-1").await["status"], "responded");
    assert_eq!(post(&desk, answer, &form, &own).await, 409, "a second answer");
    desk.stop().await;
}

#[actix_web::test]
async fn a_desk_that_others_can_reach_asks_for_a_token() {
    let open = "0.0.0.0:0".parse().expect("an address");
    let refused = Desk::new().listen(open).start().await.err().expect("it is open to all");
    assert!(refused.to_string().contains("set a token"), "{refused}");
    let desk = Desk::new().page_token("let-me-in-let-me-in").start().await.expect("a desk");
    for path in ["/", "/settings", "/questions/n-1"] {
        assert_eq!(call(&desk, "GET", path, "", None).await.0, 303, "{path}");
    }
    assert_eq!(call(&desk, "GET", "/changes", "", None).await.0, 401);
    assert_eq!(post(&desk, "/settings", "fault=drop", "").await, 403);
    assert_eq!(post(&desk, "/settings", "fault=drop", "cookie: atp_desk=guess\r\n").await, 403);
    let cookie = "cookie: atp_desk=let-me-in-let-me-in\r\n";
    assert_eq!(post(&desk, "/settings", "fault=drop", cookie).await, 403, "without the page's token");
    desk.stop().await;
}

#[actix_web::test]
async fn what_cannot_be_read_is_said_to_humans_as_a_page_and_to_programs_as_the_protocol_has_it() {
    let desk = Desk::new().start().await.expect("a desk");
    for (path, status, part) in [
        ("/nowhere", 404, "<h1>That did not work</h1>"),
        ("/?skip=x", 400, "<h1>That did not work</h1>"),
        ("/api/v1/nowhere", 404, r#""code":"NOT_FOUND""#),
        ("/api/v1/client/notifications?offset=x", 400, r#""code":"INVALID_PARAMETER""#),
    ] {
        let (found, body) = call(&desk, "GET", path, desk.user_token(), None).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(part), "{path}: {body}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn whoever_searches_keeps_the_words_in_another_part_of_the_inbox() {
    let desk = Desk::new().start().await.expect("a desk");
    for (path, link) in [
        ("/?words=a%26b", r#"href="/?show=all&amp;words=a%26b""#),
        ("/?show=expired", r#"href="/?show=all""#),
    ] {
        let (status, body) = call(&desk, "GET", path, desk.user_token(), None).await;
        assert!(status == 200 && body.contains(link), "{path}: {body}");
    }
    desk.stop().await;
}
