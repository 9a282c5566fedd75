//! What comes in while a notification is erased, and after it.

use std::time::Duration;

use actix_web::rt::{self, time::sleep};
use atp_actix::{
    Scheme,
    atp_core::Fingerprint,
    store::{Arrival, DeliveryCount, Store, Verdict},
};
use chrono::TimeDelta;

use super::{assert_forgotten, of, writing};
use crate::support::{
    asked::{Clock, answer, approve, record},
    audit::{kept, refused},
    databases::{Database as _, PostgresDatabase, SqliteFile},
    mounted::{Mounted, counting, runs, webhook, webhook_by},
};

#[actix_web::test]
async fn sqlite_what_waits_to_be_kept_while_it_is_erased_is_not_kept() {
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let open = writing(&store).await;
    let erasing = rt::spawn({
        let s = store.clone();
        async move { s.erase("default", "n-1").await }
    });
    sleep(Duration::from_millis(100)).await;
    let keeping = rt::spawn({
        let s = store.clone();
        async move { s.keep(&of("n-1", b"whisper")).await }
    });
    sleep(Duration::from_millis(200)).await;
    drop(open);
    erasing.await.expect("no panic").expect("erased");
    println!("{:?}", keeping.await.expect("no panic"));
    assert_eq!(kept(&store).await, []);
}

fn note(responder: &str) -> DeliveryCount {
    let arrival = Arrival::new(Scheme::Raw, 0).responder(responder.to_owned());
    DeliveryCount::new("default", "n-1", Fingerprint::new("approve", None), Verdict::Conflict, arrival, 409)
}

#[actix_web::test]
async fn postgres_what_waits_to_be_kept_or_counted_while_it_is_erased_is_not_kept() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone();
    record(&store, "n-1").await;
    // Somebody else is about to write the same two rows, and does not in the end.
    let mut other = database.pool.begin().await.expect("begun");
    sqlx::query("INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body) VALUES ('default', $1, 'n-9', 'unfit', 'raw', 0, 0, '')")
        .bind(&[7_u8; 32][..]).execute(&mut *other).await.expect("a row");
    sqlx::query("INSERT INTO atp_deliveries (service, notification_id, fingerprint, verdict, first_seen, last_seen, count, scheme, secret_index, status, duration_us) VALUES ('default', 'n-1', $1, 'conflict', 0, 0, 1, 'raw', 0, 409, 0)")
        .bind(&Fingerprint::new("approve", None).as_bytes()[..]).execute(&mut *other).await.expect("a row");
    let keeping = rt::spawn({
        let s = store.clone();
        async move { s.keep(&of("n-1", b"whisper")).await }
    });
    let noting = rt::spawn({
        let s = store.clone();
        async move { s.count_deliveries(&[note("Jane Doe")]).await }
    });
    sleep(Duration::from_millis(300)).await;
    let erasing = rt::spawn({
        let store = store.clone();
        async move { store.erase("default", "n-1").await }
    });
    sleep(Duration::from_millis(200)).await;
    other.rollback().await.expect("rolled back");
    erasing.await.expect("no panic").expect("erased");
    println!("{:?} {:?}", keeping.await.expect("no panic"), noting.await.expect("no panic"));
    let rows = store.deliveries("default", "n-1").await.expect("rows");
    assert!(
        kept(&store).await.is_empty() && rows.iter().all(|r| r.arrival.responder.is_none()),
        "{:?} {rows:?}",
        kept(&store).await
    );
}

/// The store and its verifier go by one clock.
#[actix_web::test]
async fn sqlite_what_is_erased_and_purged_does_not_come_back() {
    let file = SqliteFile::new();
    let clock = Clock::new();
    let store = {
        let c = clock.clone();
        file.open().await.clock(move || c.now())
    };
    let app = Mounted::new(webhook_by(&clock, &store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "whisper");
    app.expect(&sent, 200, "run 1").await;
    store.erase("default", "n-1").await.expect("erased");
    sleep(Duration::from_millis(300)).await;
    clock.ahead(TimeDelta::hours(100));
    assert_eq!(store.purge(clock.now() - TimeDelta::hours(73)).await.expect("purged"), 1);
    println!("{:?}", app.send(&sent).await);
    assert_forgotten(&store).await;
}

/// Replays from many connections while the notification is erased again and again.
async fn replays_beside_an_erasure(store: impl Store) -> usize {
    let app = std::rc::Rc::new(Mounted::new(webhook(&store).otherwise(counting(&runs()))).await);
    let mut left = 0;
    for nth in 0..15 {
        let id = format!("n-{nth}");
        record(&store, &id).await;
        app.expect(&approve(&id), 200, &format!("run {}", nth + 1)).await;
        let sends = futures_util::future::join_all((0..20).map(|n| {
            let (app, id) = (app.clone(), id.clone());
            async move { app.send(&answer(&id, "reject", format!("no {n}"))).await }
        }));
        let erase = async {
            sleep(Duration::from_millis(nth)).await;
            while store.erase("default", &id).await.is_err() {}
        };
        futures_util::future::join(sends, erase).await;
        for _ in 0..200 {
            if store.get_activity().counters_waiting() == 0 {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(50)).await;
        let kept = refused(&store).await;
        let bodies = kept.iter().filter(|kept| kept.notification_id.as_deref() == Some(&*id)).count();
        let rows = store.deliveries("default", &id).await.expect("rows");
        let responders = rows.iter().filter(|r| r.arrival.responder.is_some()).count();
        println!("{id}: {bodies} bodies, {responders} responders of {} rows", rows.len());
        left += bodies + responders;
    }
    left
}

#[actix_web::test]
async fn sqlite_replays_beside_an_erasure_leave_nothing() {
    assert_eq!(replays_beside_an_erasure(SqliteFile::new().open().await).await, 0);
}

#[actix_web::test]
async fn postgres_replays_beside_an_erasure_leave_nothing() {
    let Some(database) = PostgresDatabase::new().await else { return };
    assert_eq!(replays_beside_an_erasure(database.store().clone()).await, 0);
}
