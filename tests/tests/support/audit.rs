//! What a store tells afterwards: which deliveries it kept, what it counted, and what is decided.

use std::time::Duration;

use actix_web::rt::time::sleep;
use atp_actix::store::{DeliveryRow, Store, StoredRefusal, Verdict};

/// Every delivery that was refused and kept.
pub(crate) async fn refused(store: &impl Store) -> Vec<StoredRefusal> {
    store.refused("default", 0, 1000).await.expect("an answer")
}

/// Why each of them was refused.
pub(crate) async fn kept(store: &impl Store) -> Vec<Verdict> {
    refused(store).await.iter().map(|refused| refused.verdict).collect()
}

/// Their bodies, as text.
pub(crate) async fn bodies(store: &impl Store) -> Vec<String> {
    refused(store).await.iter().map(|refused| String::from_utf8_lossy(&refused.body).into_owned()).collect()
}

/// What was counted of a notification. What succeeded is counted after it was answered, so this
/// waits until nothing more comes.
pub(crate) async fn noted(store: &impl Store, id: &str) -> Vec<DeliveryRow> {
    let mut before = None;
    loop {
        sleep(Duration::from_millis(200)).await;
        let rows = store.deliveries("default", id).await.expect("an answer");
        let seen = Some(tallies(&rows));
        if seen == before && store.get_activity().counters_waiting() == 0 {
            return rows;
        }
        before = seen;
    }
}

/// How often each verdict was counted of a notification.
pub(crate) async fn counted(store: &impl Store, id: &str) -> Vec<(Verdict, u64)> {
    tallies(&noted(store, id).await)
}

fn tallies(rows: &[DeliveryRow]) -> Vec<(Verdict, u64)> {
    let mut tallies: Vec<_> = rows.iter().map(|row| (row.verdict, row.count)).collect();
    tallies.sort_unstable();
    tallies
}

/// Whether a decision on this notification stands.
pub(crate) async fn is_decided(store: &impl Store, id: &str) -> bool {
    store.find("default", id, None).await.expect("an answer").decision.is_some()
}
