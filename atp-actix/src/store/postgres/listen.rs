//! Hears of what other processes have written: a hint, on which nothing rests.

use std::sync::atomic::Ordering;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};

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
                // Behind a pooler of transactions nothing is ever heard; the relays poll.
                if let Err(error) = steps.hear().await {
                    tracing::debug!(target: "atp_actix::relay", %error, "the server does not tell of events");
                }
                sleep(BETWEEN_HEARINGS).await;
            }
            steps.is_listening.store(false, Ordering::Release);
        });
    }

    /// Until the connection breaks, or nobody waits any more.
    async fn hear(&self) -> sqlx::Result<()> {
        let options = self.pool.connect_options().as_ref().clone();
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen("atp_outbox").await?;
        // What was written while nobody listened.
        self.activity.hint();
        while self.activity.has_listeners() && !self.pool.is_closed() {
            match timeout(LONGEST_HEARING, listener.try_recv()).await {
                Ok(Ok(Some(_))) => self.activity.hint(),
                Ok(Ok(None)) | Err(_) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
