//! Hears of what other processes have written: a hint, on which nothing rests.

use std::sync::atomic::Ordering;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::{
    select,
    time::{sleep, timeout},
};

use super::Steps;
use crate::limits::{BETWEEN_HEARINGS, LONGEST_HEARING, PATIENCE};

impl Steps {
    /// Listens as long as anybody waits for hints, over a connection of its own; once a store.
    pub(super) fn listen(&self) {
        if !self.notifies || self.is_listening.swap(true, Ordering::AcqRel) {
            return;
        }
        let steps = self.clone();
        tokio::spawn(async move {
            while steps.activity.has_listeners() && !steps.pool.is_closed() {
                select! {
                    // Behind a pooler of transactions nothing is ever heard; the relays poll.
                    lost = timeout(LONGEST_HEARING, steps.hear()) => if let Ok(lost) = lost {
                        if let Err(error) = lost {
                            tracing::debug!(target: "atp_actix::relay", %error, "no server tells of events");
                        }
                        sleep(BETWEEN_HEARINGS).await;
                    },
                    () = steps.activity.unheard() => {}
                    () = steps.pool.close_event() => {}
                }
            }
            steps.is_listening.store(false, Ordering::Release);
        });
    }

    /// Until the connection breaks.
    async fn hear(&self) -> sqlx::Result<()> {
        let options = self.pool.connect_options().as_ref().clone();
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen("atp_outbox").await?;
        // What was written while nobody listened.
        self.activity.hint();
        while listener.try_recv().await?.is_some() {
            self.activity.hint();
        }
        Ok(())
    }
}
