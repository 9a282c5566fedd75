//! What PostgreSQL is tidied by: what was left behind, and what is over.

use sqlx::PgConnection;

use super::Steps;
use crate::{
    limits::PURGE_BATCH,
    store::{
        StoreError,
        sql::{
            rows::{self, escape},
            statements,
            transaction::TransactionConnection,
        },
    },
};

impl Steps {
    /// Moves what was left under a lease that ended to what is refused. Whatever somebody is at is
    /// left for the next time.
    pub(super) async fn tell_abandoned(&self, service: &str) -> Result<(), StoreError> {
        let mut pooled = self.pooled().await?;
        let is_left = sqlx::query(
            "SELECT 1 FROM atp_decisions
             WHERE service = $1 AND lease_until < atp_now() AND completed_at IS NULL AND delivery IS NOT NULL LIMIT 1",
        )
        .bind(escape(service))
        .fetch_optional(pooled.connection_mut())
        .await?;
        pooled.done();
        if is_left.is_none() {
            return Ok(());
        }
        let mut open = self.write().await?;
        sqlx::query(
            "WITH gone AS (
                 SELECT service, notification_id, signed, scheme, secret_index, delivery, lease_until FROM atp_decisions
                 WHERE service = $1 AND lease_until < atp_now() AND completed_at IS NULL AND delivery IS NOT NULL
                 FOR UPDATE SKIP LOCKED),
             told AS (
                 INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body)
                 SELECT service, signed, notification_id, 'abandoned', scheme, secret_index, atp_now(), delivery
                 FROM (SELECT DISTINCT ON (signed) * FROM gone) AS once
                 ORDER BY lease_until, notification_id
                 ON CONFLICT (service, digest) DO UPDATE SET verdict = excluded.verdict)
             UPDATE atp_decisions AS d SET signed = NULL, delivery = NULL FROM gone
             WHERE d.service = gone.service AND d.notification_id = gone.notification_id",
        )
        .bind(escape(service))
        .execute(open.connection_mut())
        .await?;
        open.finish().await
    }

    /// Looks through one batch of questions, and forgets those that were over by `before`: how
    /// many, and where it ended.
    pub(super) async fn purge_questions(
        connection: &mut PgConnection,
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
                purged += Self::purge_question(connection, before, &service, &key, notification_id).await?;
            }
            last = Some((recorded_at, service, key));
        }
        Ok((purged, last))
    }

    pub(super) async fn purge_question(
        connection: &mut PgConnection,
        before: i64,
        service: &str,
        key: &str,
        notification_id: Option<String>,
    ) -> Result<u64, StoreError> {
        // Who is at it has a decision that nobody sees yet, and that would be left without its
        // question.
        let is_alone: bool = sqlx::query_scalar("SELECT $2 IS NULL OR atp_alone($1, $2)")
            .bind(service)
            .bind(&notification_id)
            .fetch_one(&mut *connection)
            .await?;
        if !is_alone {
            return Ok(0);
        }
        sqlx::query(
            "DELETE FROM atp_decisions WHERE service = $1 AND notification_id = $2
                 AND coalesce(completed_at, lease_until) < $3",
        )
        .bind(service)
        .bind(&notification_id)
        .bind(before)
        .execute(&mut *connection)
        .await?;
        // A claim may have been made since it was selected.
        let forgotten = sqlx::query(
            "DELETE FROM atp_questions AS q WHERE q.service = $1 AND q.key = $2 AND NOT EXISTS (
                 SELECT 1 FROM atp_decisions AS d
                 WHERE d.service = q.service AND d.notification_id = q.notification_id)",
        )
        .bind(service)
        .bind(key)
        .execute(&mut *connection)
        .await?;
        if forgotten.rows_affected() == 0 {
            return Ok(0);
        }
        for statement in [statements::FORGET_DELIVERIES, statements::FORGET_REFUSED] {
            let query = sqlx::query(statement).bind(service).bind(&notification_id);
            query.execute(&mut *connection).await?;
        }
        Ok(1)
    }

    /// Forgets one batch of what is of no question; how many rows that were.
    pub(super) async fn purge_strangers(
        connection: &mut PgConnection,
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
