//! What is wrong with how webhooks are mounted is said when the server starts.

use std::panic::AssertUnwindSafe;

use actix_web::{App, guard, test, web};
use atp_actix::{
    Decisions, Secret, Verifier, Webhook,
    store::{DEFAULT_SERVICE, MemoryStore},
};
use futures_util::FutureExt as _;

use crate::server::SECRET;

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
