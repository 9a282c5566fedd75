//! How a webhook is mounted, and which handler a delivery reaches.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use actix_web::{App, test, web};
use atp_actix::{AtpResponse, Delivery, Scheme, Secret, Text, VerifySignature, Webhook, guard, test::Sender};
use atp_tests::{PATH, SECRET};
use chrono::DateTime;
use serde_json::{Value, json};

use super::{Seen, answer, deliver, say, webhook};
use crate::support::{
    asked::verifier,
    logged,
    told::{OPAQUE, UNAUTHORIZED},
};

#[actix_web::test]
async fn it_mounts_in_an_app_a_scope_and_a_service_config() {
    async fn whose(path: web::Path<(String, u32)>, answer: AtpResponse<Text>) -> String {
        format!("{} {} {}", path.0, path.1, answer.data)
    }
    fn configure(config: &mut web::ServiceConfig) {
        config.service(Webhook::new("/configured", verifier()).on("a", say));
    }
    let app = test::init_service(
        App::new()
            .service(webhook().on("a", say))
            .service(
                web::scope("/tenants/{tenant}")
                    .service(Webhook::new("/hook/{nth}", verifier()).on("a", whose)),
            )
            .configure(configure)
            .service(web::scope("/inner").configure(configure)),
    )
    .await;
    for (path, body) in [
        (PATH, "hello"),
        ("/tenants/acme/hook/7", "acme 7 hello"),
        ("/configured", "hello"),
        ("/inner/configured", "hello"),
    ] {
        let sent = answer("a", json!("hello"));
        let seen = Seen::of(test::call_service(&app, sent.post_to(path).to_request()).await).await;
        seen.assert(path, 200, body);
        let seen = Seen::of(test::call_service(&app, sent.forged().post_to(path).to_request()).await).await;
        seen.assert(path, 401, UNAUTHORIZED);
    }
}

#[actix_web::test]
async fn answers_are_routed_by_action() {
    let routed = || {
        webhook()
            .on("approve", || async { "approved" })
            .on("reject", || async { "rejected" })
            .on("änd\"ern", || async { "changed" })
            .otherwise(|delivery: Delivery| async move { format!("other: {}", delivery.answer().action_id) })
    };
    for (action, body) in [
        ("approve", "approved"),
        ("reject", "rejected"),
        ("änd\"ern", "changed"),
        ("Approve", "other: Approve"),
        ("approve ", "other: approve "),
        ("later", "other: later"),
    ] {
        for scheme in Scheme::ALL {
            let seen = deliver(routed(), &answer(action, Value::Null).scheme(scheme)).await;
            seen.assert(&format!("{action:?} {scheme}"), 200, body);
        }
    }
}

#[actix_web::test]
async fn an_action_without_a_handler_is_an_opaque_500_and_the_log_says_what_to_do() {
    let (seen, log) =
        logged::during(deliver(webhook().on("approve", say), &answer("escalate", Value::Null))).await;
    seen.assert("no handler", 500, OPAQUE);
    assert!(log.contains("escalate") && log.contains(".otherwise("), "{}", log.text());
}

/// The text of a panic.
fn panic_of(run: impl FnOnce() -> Webhook + panic::UnwindSafe) -> String {
    let panic = panic::catch_unwind(|| drop(run())).expect_err("a panic");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[actix_web::test]
async fn a_second_handler_for_one_action_panics_and_names_both_places() {
    let first = line!() + 2;
    let text = panic_of(|| {
        let webhook = webhook().on("approve", say);
        webhook.on("approve", say)
    });
    for part in ["approve".to_owned(), place(first), place(first + 1)] {
        assert!(text.contains(&part), "no {part} in {text}");
    }
    let first = line!() + 2;
    let text = panic_of(|| {
        let webhook = webhook().otherwise(say);
        webhook.otherwise(say)
    });
    for part in ["otherwise".to_owned(), place(first), place(first + 1)] {
        assert!(text.contains(&part), "no {part} in {text}");
    }
}

fn place(line: u32) -> String {
    format!("{}:{line}:", file!())
}

#[actix_web::test]
async fn guards_route_what_is_signed_and_what_was_chosen() {
    let app = test::init_service(
        App::new()
            .service(
                web::resource("/hook")
                    .guard(guard::Signed)
                    .wrap(VerifySignature::new(verifier()))
                    .route(web::post().guard(guard::Action::new("approve")).to(|| async { "approved" }))
                    .route(web::post().guard(guard::Action::new("comment")).to(say))
                    .route(web::route().to(|| async { "another action" })),
            )
            .route("/hook", web::to(|| async { "unsigned" })),
    )
    .await;
    let approve = || answer("approve", Value::Null);
    for (case, sent, status, body) in [
        ("approve", approve(), 200, "approved"),
        ("comment", answer("comment", json!("hi")), 200, "hi"),
        ("other", answer("other", json!("hi")), 200, "another action"),
        ("forged", approve().forged(), 401, UNAUTHORIZED),
        ("no signature", approve().without_header("x-atp-signature"), 200, "unsigned"),
        ("malformed signature", approve().signature("t=5"), 200, "unsigned"),
        ("two signatures", approve().doubled(), 200, "unsigned"),
    ] {
        Seen::of(test::call_service(&app, sent.post_to("/hook").to_request()).await)
            .await
            .assert(case, status, body);
    }
}

#[actix_web::test]
async fn a_rotation_ends_by_the_clock() {
    const OLD: &str = "whsec_of_last_year_0123456789abcdef";
    let now = Arc::new(AtomicI64::new(1_800_000_000));
    let time = |seconds: i64| DateTime::from_timestamp(seconds, 0).expect("a time");
    let clock = Arc::clone(&now);
    let verifier = verifier()
        .or_until(Secret::new(OLD).expect("a good secret"), time(1_800_000_100))
        .clock(move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).expect("a time"));
    let which = |delivery: Delivery| async move { delivery.secret_index().to_string() };
    let app = test::init_service(App::new().service(Webhook::new(PATH, verifier).otherwise(which))).await;
    for (seconds, secret, status, body) in [
        (1_800_000_000, SECRET, 200, "0"),
        (1_800_000_000, OLD, 200, "1"),
        (1_800_000_099, OLD, 200, "1"),
        (1_800_000_100, OLD, 401, UNAUTHORIZED),
        (1_800_000_100, SECRET, 200, "0"),
        (1_900_000_000, OLD, 401, UNAUTHORIZED),
        (1_800_000_000, "whsec_of_nobody_0123456789abcdef", 401, UNAUTHORIZED),
    ] {
        now.store(seconds, Ordering::Relaxed);
        for scheme in Scheme::ALL {
            let sent = Sender::new(secret).answer("n", "a", ()).at(time(seconds)).scheme(scheme);
            let response = test::call_service(&app, sent.post_to(PATH).to_request()).await;
            Seen::of(response).await.assert(&format!("{seconds} {secret} {scheme}"), status, body);
        }
        // A sender in the middle of the rotation signs with both.
        let sent = Sender::new("whsec_of_nobody_0123456789abcdef").answer("n", "a", ()).at(time(seconds));
        let sent = sent.also_signed_with(secret);
        let response = test::call_service(&app, sent.post_to(PATH).to_request()).await;
        assert_eq!(response.status(), status, "{seconds} {secret}, signed twice");
    }
}
