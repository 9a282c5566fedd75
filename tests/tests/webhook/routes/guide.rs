//! The functions of the protocol's guide.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::{App, HttpResponse, Responder, test, web};
use atp_actix::{AtpResponse, Error, Form, Simple};
use atp_tests::PATH;
use serde::Deserialize;
use serde_json::json;

use super::{Seen, answer, webhook};
use crate::support::logged;

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
