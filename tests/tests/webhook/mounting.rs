//! What is wrong with how webhooks are mounted is said when the server starts.

use std::panic::AssertUnwindSafe;

use actix_web::{App, guard, test, web};
use atp_actix::{
    Decisions, Secret, Verifier, Webhook,
    store::{DEFAULT_SERVICE, MemoryStore, Store as _},
};
use atp_tests::SECRET;
use futures_util::FutureExt as _;

use crate::support::{
    asked::{approve, record},
    logged,
};

fn webhook(path: &str, secret: &str) -> Webhook {
    Webhook::new(path, Verifier::new(Secret::new(secret).expect("a good secret"))).otherwise(|| async { "" })
}

/// Mounts these in one app; the text of the panic, if there is one.
async fn mount(services: impl FnOnce(&mut web::ServiceConfig)) -> Option<String> {
    let app = test::init_service(App::new().configure(services));
    let panic = AssertUnwindSafe(app).catch_unwind().await.err()?;
    Some(panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[actix_web::test]
async fn a_second_webhook_at_a_path_is_told() {
    let twice = mount(|config| {
        config.service(webhook("/a", SECRET)).service(webhook("/b", SECRET)).service(webhook("/a", SECRET));
    });
    let text = twice.await.expect("a panic");
    assert!(text.contains("a second webhook at \"/a\""), "{text}");
    for _ in 0..2 {
        let once = mount(|config| {
            config.service(webhook("/a", SECRET)).service(webhook("/b", SECRET));
            config.service(web::scope("/acme").service(webhook("/a", SECRET)));
            config.service(web::scope("/globex").guard(guard::Post()).service(webhook("/a", SECRET)));
        });
        assert_eq!(once.await, None, "another app, and other scopes");
    }
}

/// Or who holds the one secret could decide what was asked under the other.
#[actix_web::test]
async fn a_service_belongs_to_the_secrets_that_it_was_mounted_with() {
    const OTHER: &str = "another tenant's webhook secret";
    let store = MemoryStore::new();
    let of = |service: &str, path: &str, secret: &str| {
        webhook(path, secret).store(Decisions::in_store(store.clone()).service(service))
    };
    let with = |path: &str, secret: &str| of(DEFAULT_SERVICE, path, secret);
    let same = |config: &mut web::ServiceConfig| {
        config.service(with("/a", SECRET)).service(with("/b", SECRET));
        config.service(of("globex", "/c", OTHER));
    };
    // As on each worker.
    for _ in 0..2 {
        assert_eq!(mount(same).await, None);
    }
    let text = mount(|config| {
        config.service(with("/d", OTHER));
    })
    .await
    .expect("a panic");
    assert!(text.contains("\"default\"") && text.contains("different secrets"), "{text}");
    assert!(!text.contains(OTHER) && !text.contains(SECRET), "{text}");
    let text = mount(|config| {
        config.service(of("globex", "/e", SECRET));
    })
    .await;
    assert!(text.expect("a panic").contains("\"globex\""));
    assert_eq!(
        mount(|config| {
            config.service(webhook("/f", OTHER));
        })
        .await,
        None,
        "without a store"
    );
}

/// No signature covers the path, so a delivery for one tenant could be sent to another's.
#[actix_web::test]
async fn a_path_with_a_parameter_has_no_store() {
    let store = MemoryStore::new();
    let text = mount(|config| {
        config.service(webhook("/t/{tenant}/webhook", SECRET).store(store.clone()));
    });
    let text = text.await.expect("a panic");
    assert!(text.contains("/t/{tenant}/webhook") && text.contains("Decisions::service"), "{text}");
    let without = |config: &mut web::ServiceConfig| {
        config.service(webhook("/t/{tenant}/webhook", SECRET));
    };
    assert_eq!(mount(without).await, None, "nothing is remembered there");
}

/// A scope's path is not known when the webhook is mounted in it.
#[actix_web::test]
async fn behind_a_scope_with_a_parameter_nothing_is_handled() {
    let store = MemoryStore::new();
    record(&store, "n-1").await;
    let webhook = webhook("/webhook", SECRET).store(store.clone());
    let app = test::init_service(App::new().service(web::scope("/t/{tenant}").service(webhook))).await;
    for tenant in ["acme", "globex"] {
        let request = approve("n-1").post_to(&format!("/t/{tenant}/webhook")).to_request();
        let (response, log) = logged::during(test::call_service(&app, request)).await;
        assert_eq!(response.status(), 500, "{tenant}");
        let events = log.deliveries();
        let reason = &events.last().expect("an event").fields["reason"];
        assert!(reason.contains("\"tenant\"") && !reason.contains(tenant), "{reason}");
    }
    assert!(store.find(DEFAULT_SERVICE, "n-1", None).await.expect("an answer").decision.is_none());
}

/// However deep it is, and whatever it is called.
#[actix_web::test]
async fn behind_scopes_within_scopes_nothing_is_handled_if_one_has_a_parameter() {
    let store = MemoryStore::new();
    record(&store, "n-1").await;
    let mounted = || webhook("/webhook", SECRET).store(store.clone());
    let within = |outer: &str, inner: &str| web::scope(outer).service(web::scope(inner).service(mounted()));
    for (outer, inner, path, is_handled) in [
        ("/t/{tenant}", "/v1", "/t/acme/v1/webhook", false),
        ("/v1", "/t/{tenant}", "/v1/t/acme/webhook", false),
        ("/{a}", "/{a}", "/x/y/webhook", false),
        ("/{a:[a-z]*}", "/{b:.*}", "/x/y/z/webhook", false),
        ("/v1", "/t", "/v1/t/webhook", true),
    ] {
        let app = test::init_service(App::new().service(within(outer, inner))).await;
        let response = test::call_service(&app, approve("n-1").post_to(path).to_request()).await;
        assert_eq!(response.status().is_success(), is_handled, "{outer}{inner}");
        let known = store.find(DEFAULT_SERVICE, "n-1", None).await.expect("an answer");
        assert_eq!(known.decision.is_some(), is_handled, "{outer}{inner}");
    }
}

/// A tail without a name is a parameter that cannot be asked for, and no signature covers it either.
#[actix_web::test]
async fn a_path_with_a_tail_has_no_store() {
    for path in ["/webhook/{tail}*", "/webhook/{tail:.*}", "/webhook*"] {
        let text = mount(|config| {
            config.service(webhook(path, SECRET).store(MemoryStore::new()));
        });
        let text = text.await.unwrap_or_else(|| panic!("{path} is mounted"));
        assert!(text.contains(path), "{text}");
    }
}
