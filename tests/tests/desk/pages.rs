//! The page of a desk, as a browser and as who would misuse one asks for it.

use atp_cli::desk::{Desk, RunningDesk};
use serde_json::{Value, json};

use super::{call, call_with, story};
use crate::support::{asked::asked, databases::SqliteFile, server::Address};

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
    post_for_page(desk, path, form, more).await.0
}

/// [`post`], with the page that comes.
async fn post_for_page(desk: &RunningDesk, path: &str, form: &str, more: &str) -> (u16, String) {
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
    let answer = client.answer().await.expect("an answer");
    (answer.status, String::from_utf8(answer.body).expect("a text"))
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
        (form.clone(), "host: evil.example\r\n", 421),
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
async fn what_was_filled_in_comes_back_whatever_is_wrong_with_it() {
    let desk = Desk::new().start().await.expect("a desk");
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let question = json!({
        "id": "n-1", "context": { "title": "Which?" },
        "actions": [{ "id": "set", "label": "Set it", "response_type": "json" }],
    });
    let asked = call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question)).await;
    assert_eq!(asked.0, 201, "{}", asked.1);
    let token = token(&desk).await;
    for data in [r#"{"a":1,"a":2,"long":"typed"}"#, r#"["typed"]"#, r#"{"typed":"#] {
        let form = format!("token={token}&action=0&data={}", data.replace('"', "%22"));
        let (status, page) = post_for_page(&desk, "/questions/n-1/answer", &form, "").await;
        assert!(status == 422 && page.contains("form class=\"answer\""), "{data}: {status} {page}");
        assert!(page.contains(&data.replace('"', "&quot;")), "{data}: {page}");
        assert!(page.contains("class=\"fault\""), "{data}: {page}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn a_form_that_is_open_over_a_new_start_can_be_sent() {
    let file = SqliteFile::new();
    let open = || Desk::new().file(file.path()).start();
    let desk = open().await.expect("a desk");
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    desk.ask(&service.service_id, &asked("n-1")).await.expect("asked");
    let token = token(&desk).await;
    desk.stop().await;
    let desk = open().await.expect("a desk");
    let form = format!("token={token}&action=0&sure=yes");
    assert_eq!(post(&desk, "/questions/n-1/answer", &form, "").await, 303);
    desk.stop().await;
}

#[actix_web::test]
async fn who_asks_is_who_was_registered_whatever_name_it_gives_itself() {
    let desk = Desk::new().start().await.expect("a desk");
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    for (nth, (claimed, shown)) in [
        (json!({ "id": "payroll", "name": "Payroll" }), "<bdi>orders</bdi> as <bdi>Payroll</bdi> asks"),
        (json!({ "id": "payroll" }), "<bdi>orders</bdi> asks"),
        (json!({ "id": service.service_id, "name": "orders" }), "<bdi>orders</bdi> asks"),
        (json!(null), "<bdi>orders</bdi> asks"),
    ]
    .into_iter()
    .enumerate()
    {
        let question = json!({
            "id": format!("n-{nth}"), "service": claimed, "context": { "title": "Pay?" },
            "actions": [{ "id": "a", "label": "Pay", "response_type": "simple" }],
        });
        let (status, body) =
            call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question)).await;
        assert_eq!(status, 201, "{body}");
        let page = call(&desk, "GET", &format!("/questions/n-{nth}"), "", None).await.1;
        assert!(page.contains(shown), "{claimed}: {page}");
    }
    let listed = call(&desk, "GET", "/api/v1/client/notifications", desk.user_token(), None).await.1;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    for question in listed["notifications"].as_array().expect("a list") {
        assert_eq!(question["service"], json!({ "id": service.service_id, "name": "orders" }), "{question}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn what_has_no_name_to_be_seen_can_be_chosen() {
    let desk = desk_with_a_question(" ").await;
    for (path, part) in [
        ("/", "<bdi>A question without a title</bdi></a>"),
        ("/questions/n-1", "<h1><bdi>A question without a title</bdi></h1>"),
        ("/questions/n-1", r#"<button type="submit"><bdi>approve</bdi></button>"#),
    ] {
        let page = call(&desk, "GET", path, "", None).await.1;
        assert!(page.contains(part), "{path}: {page}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn numbers_are_shown_as_they_were_answered() {
    let desk = Desk::new().start().await.expect("a desk");
    let service = desk.register("orders", "http://127.0.0.1:9/").await.expect("a service");
    let number = "123456789012345678901234567890.10";
    for (kind, data, shown) in [
        ("number", number.to_owned(), number.to_owned()),
        ("form", format!(r#"{{"n":{number}}}"#), format!("{{\n  &quot;n&quot;: {number}\n}}")),
        ("json", format!(r#"{{"n":[{number}]}}"#), format!("{{\n  &quot;n&quot;: [{number}]\n}}")),
        ("text", r#""a\nb""#.to_owned(), "a\nb".to_owned()),
    ] {
        let question = json!({
            "id": kind, "context": { "title": "How many?" },
            "actions": [{ "id": "a", "label": "A", "response_type": kind, "fields": [{ "name": "n" }] }],
        });
        let (status, body) =
            call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question)).await;
        assert_eq!(status, 201, "{body}");
        let answer = format!(r#"{{"notification_id":"{kind}","action_id":"a","response_data":{data}}}"#);
        let (status, body) =
            call_with(&desk, "POST", "/api/v1/client/respond", desk.user_token(), &answer).await;
        assert_eq!(status, 200, "{body}");
        let page = call(&desk, "GET", &format!("/questions/{kind}"), "", None).await.1;
        assert!(page.contains(&format!("<pre tabindex=\"0\">{shown}</pre>")), "{kind}: {page}");
    }
    desk.stop().await;
}

#[actix_web::test]
async fn a_desk_that_others_can_reach_asks_for_a_token() {
    let open = "0.0.0.0:0".parse().expect("an address");
    let refused = Desk::new().listen(open).start().await.err().expect("it is open to all");
    assert!(refused.to_string().contains("set the token"), "{refused}");
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
