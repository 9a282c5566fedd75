//! What SQLite is tidied by: what was left behind, and what is over.

use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::{
    limits::PURGE_BATCH,
    store::{
        StoreError,
        sql::{
            rows::{self, escape},
            statements,
        },
    },
};

impl SqliteStore {
    /// Moves what was left under a lease that ended to what is refused.
    pub(super) async fn tell_abandoned(&self, service: &str) -> Result<(), StoreError> {
        let now = (self.clock)().timestamp_micros();
        let is_left = sqlx::query(
            "SELECT 1 FROM atp_decisions
             WHERE service = $1 AND lease_until < $2 AND completed_at IS NULL AND delivery IS NOT NULL LIMIT 1",
        )
        .bind(escape(service))
        .bind(now)
        .fetch_optional(&self.readers)
        .await?;
        if is_left.is_none() {
            return Ok(());
        }
        let mut open = self.write().await?;
        for statement in [
            "INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body)
             SELECT service, signed, notification_id, 'abandoned', scheme, secret_index, $2, delivery FROM atp_decisions
             WHERE service = $1 AND lease_until < $2 AND completed_at IS NULL AND delivery IS NOT NULL
             ORDER BY lease_until, notification_id
             ON CONFLICT (service, digest) DO UPDATE SET verdict = excluded.verdict",
            "UPDATE atp_decisions SET signed = NULL, delivery = NULL
             WHERE service = $1 AND lease_until < $2 AND completed_at IS NULL AND delivery IS NOT NULL",
        ] {
            sqlx::query(statement).bind(escape(service)).bind(now).execute(open.connection_mut()).await?;
        }
        open.finish().await
    }

    /// Looks through one batch of questions, and forgets those that were over by `before`: how
    /// many, and where it ended.
    pub(super) async fn purge_questions(
        connection: &mut SqliteConnection,
        before: i64,
        (recorded_at, service, key): rows::Place,
    ) -> Result<(u64, Option<rows::Place>), StoreError> {
        let aged: Vec<rows::AgedRow> = sqlx::query_as(statements::AGED_QUESTIONS)
            .bind(before)
            .bind(recorded_at)
            .bind(service)
            .bind(key)
            .bind(PURGE_BATCH)
            .fetch_all(&mut *connection)
            .await?;
        let (mut purged, mut last) = (0, None);
        for rows::AgedRow { recorded_at, service, key, notification_id, over_at } in aged {
            if over_at.is_some_and(|over_at| over_at < before) {
                for statement in [
                    "DELETE FROM atp_decisions WHERE service = $1 AND notification_id = $2",
                    statements::FORGET_DELIVERIES,
                    statements::FORGET_REFUSED,
                ] {
                    let query = sqlx::query(statement).bind(&service).bind(&notification_id);
                    query.execute(&mut *connection).await?;
                }
                let query = sqlx::query("DELETE FROM atp_questions WHERE service = $1 AND key = $2");
                purged += query.bind(&service).bind(&key).execute(&mut *connection).await?.rows_affected();
            }
            last = Some((recorded_at, service, key));
        }
        Ok((purged, last))
    }

    /// Forgets one batch of what is of no question; how many rows that were.
    pub(super) async fn purge_strangers(
        connection: &mut SqliteConnection,
        before: i64,
    ) -> Result<u64, StoreError> {
        let mut rows = 0;
        for statement in [statements::PURGE_DELIVERIES, statements::PURGE_REFUSED] {
            let query = sqlx::query(statement).bind(before).bind(PURGE_BATCH);
            rows += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(rows)
    }
}
