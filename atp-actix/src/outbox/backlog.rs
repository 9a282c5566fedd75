//! Reads what waits every so often, for the metrics.

use chrono::Utc;
use tokio::{select, sync::watch, time::sleep};

use crate::{limits::BETWEEN_LAG_READINGS, metrics::Waiting, store::Outbox};

/// Tells what waits for each sink until it is told to stop. Where the store is away what was told
/// last stays: who sends says so in the log.
pub(super) async fn tell(store: impl Outbox, sinks: Vec<String>, mut stop: watch::Receiver<bool>) {
    let mut waiting = Waiting::new(sinks);
    while !*stop.borrow() {
        let read = async {
            if let Ok(lag) = store.lag().await {
                waiting.tell(&lag, Utc::now());
            }
            sleep(BETWEEN_LAG_READINGS).await;
        };
        select! {
            _ = stop.changed() => {}
            () = read => {}
        }
    }
}
