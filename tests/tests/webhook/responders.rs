//! Who may decide, where nothing is remembered.

use actix_web::{App, test};
use atp_actix::{AtpResponse, Verifier, Webhook, test::Sender};
use atp_tests::{PATH, SECRET};

use crate::support::asked::verifier;

async fn handled(answer: AtpResponse) -> String {
    answer.action_id.clone()
}

fn webhook(verifier: Verifier) -> Webhook {
    Webhook::new(PATH, verifier).on("approve", handled).on("comment", handled).humans_only("approve")
}

#[actix_web::test]
async fn only_humans_decide_what_is_for_humans_without_a_store_too() {
    let app = test::init_service(App::new().service(webhook(verifier()))).await;
    let (approve, comment) =
        (Sender::new(SECRET).answer("n-1", "approve", ()), Sender::new(SECRET).answer("n-1", "comment", "x"));
    for (case, sent, status) in [
        ("a human", approve.clone(), 200),
        ("another human", approve.clone().by("boss"), 200),
        ("an agent", approve.clone().by_agent(), 403),
        ("nobody", approve.clone().by_nobody(), 403),
        ("an agent, where that is allowed", comment.by_agent(), 200),
        ("a stranger", approve.by_agent().forged(), 401),
    ] {
        let response = test::call_service(&app, sent.request_id("r").post_to(PATH).to_request()).await;
        assert_eq!(response.status(), status, "{case}");
        let body = test::read_body(response).await;
        let code = r#""code":"NOTIFICATION_ACCESS_DENIED""#;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(
            text.contains(code) && text.contains(r#""request_id":"r""#),
            status == 403,
            "{case}: {text}"
        );
    }
}
