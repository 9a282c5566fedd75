//! Claims in PostgreSQL: how one is taken, and how it ends.

use sqlx::PgConnection;

use super::{Steps, outbox::to_emit};
use crate::store::{
    Claim, Claimed, Completion, StoreError,
    sql::{
        rows::{self, escape},
        statements,
        transaction::{ENDED, TransactionConnection},
    },
};

impl Steps {
    /// What became of a claim that did not start.
    pub(super) async fn standing<T>(&self, claim: &Claim) -> Result<Claimed<T>, StoreError> {
        let mut pooled = self.pooled().await?;
        let row: Option<rows::DecisionRow> = sqlx::query_as(statements::DECIDED)
            .bind(escape(&claim.service))
            .bind(escape(&claim.notification_id))
            .fetch_optional(pooled.connection_mut())
            .await?;
        pooled.done();
        Ok(row.map(rows::completed).transpose()?.map_or(Claimed::Running, Claimed::Completed))
    }

    /// Takes the right to decide, if nobody else has it; whether it did. A completed claim is one
    /// of a transaction, where nobody sees it before it is committed.
    pub(super) async fn take(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        completion: Option<&Completion>,
    ) -> sqlx::Result<bool> {
        // No lease is so long that the time of its end overflows.
        let lease = rows::micros(claim.lease).min(i64::MAX / 2);
        let outcome = completion.map(|completion| &completion.outcome);
        let state = completion.map(|completion| completion.state.as_str());
        // Of a claim alone the body is left behind, if the process of its handler dies.
        let arrival = &claim.arrival;
        let left_behind = completion.is_none().then(|| (claim.digest(), &claim.body));
        // Who is at it may hold the row's lock, or be about to insert it: that is seen without
        // waiting for it. Where it is waited for all the same, the row is judged by the time after
        // that, or what another has leased meanwhile would start in the future.
        let events =
            completion.filter(|completion| completion.outcome.is_success()).map(|_| &claim.events[..]);
        let taken = sqlx::query(
            "WITH taken AS (
             INSERT INTO atp_decisions (service, notification_id, fingerprint, action_id, data, token, leased_at,
                 lease_until, completed_at, status, content_type, body, state, request_id, scheme, secret_index, responder,
                 signed, delivery, is_late)
             SELECT $1, $2, $3, $4, CASE WHEN NOT n.is_erased THEN $5 END, $6, n.now, n.now + $7,
                 CASE WHEN $8 THEN n.now END, $9, $10, $11, $12, $13, $14, $15, CASE WHEN NOT n.is_erased THEN $16 END,
                 $17, CASE WHEN NOT n.is_erased THEN $18 END, $19
             FROM (SELECT atp_now() AS now, CASE WHEN atp_alone($1, $2) THEN atp_is_erased($1, $2) END AS is_erased) AS n
             WHERE CASE WHEN $8 THEN atp_durable() ELSE atp_quick() END AND n.is_erased IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM atp_decisions WHERE service = $1 AND notification_id = $2
                 AND (completed_at IS NOT NULL OR lease_until > n.now AND leased_at <= n.now))
             ON CONFLICT (service, notification_id) DO UPDATE SET fingerprint = excluded.fingerprint,
                 action_id = excluded.action_id, data = excluded.data, token = excluded.token,
                 leased_at = atp_now(), lease_until = atp_now() + $7,
                 completed_at = excluded.completed_at, status = excluded.status,
                 content_type = excluded.content_type, body = excluded.body, state = excluded.state,
                 request_id = excluded.request_id, scheme = excluded.scheme, secret_index = excluded.secret_index,
                 responder = excluded.responder, signed = excluded.signed, delivery = excluded.delivery,
                 is_late = excluded.is_late
             WHERE atp_decisions.completed_at IS NULL
                 AND (atp_decisions.lease_until <= atp_now() OR atp_decisions.leased_at > atp_now())
             RETURNING 1)
             SELECT CASE WHEN $20 IS NOT NULL THEN atp_emit($20::JSON, $21) END FROM taken",
        )
        .bind(escape(&claim.service))
        .bind(escape(&claim.notification_id))
        .bind(&claim.fingerprint.as_bytes()[..])
        .bind(escape(&claim.action_id))
        .bind(&claim.data)
        .bind(&claim.token.as_bytes()[..])
        .bind(lease)
        .bind(completion.is_some())
        .bind(outcome.map(|outcome| i64::from(outcome.status)))
        .bind(outcome.and_then(|outcome| outcome.content_type.as_deref()))
        .bind(outcome.map(|outcome| &outcome.body[..]))
        .bind(state.map(escape))
        .bind(arrival.request_id.as_deref().map(escape))
        .bind(arrival.scheme.name())
        .bind(rows::integer(arrival.secret_index))
        .bind(arrival.responder.as_deref().map(escape))
        .bind(left_behind.as_ref().map(|(signed, _)| &signed[..]))
        .bind(left_behind.as_ref().map(|(_, body)| &body[..]))
        .bind(claim.is_late)
        .bind(events.and_then(to_emit))
        .bind(self.tells_others())
        .fetch_optional(connection)
        .await?;
        Ok(taken.is_some())
    }

    /// Ends a claim; whether it was there.
    pub(super) async fn end(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        Completion { outcome, state, events }: &Completion,
    ) -> sqlx::Result<bool> {
        let events = if outcome.is_success() { [&claim.events[..], events].concat() } else { Vec::new() };
        let ended = sqlx::query(
            "WITH ended AS (
             UPDATE atp_decisions SET completed_at = atp_now(), status = $4, content_type = $5, body = $6, state = $7,
                 signed = NULL, delivery = NULL
             WHERE service = $1 AND notification_id = $2 AND token = $3 AND completed_at IS NULL AND atp_durable()
             RETURNING 1)
             SELECT CASE WHEN $8 IS NOT NULL THEN atp_emit($8::JSON, $9) END FROM ended",
        )
        .bind(escape(&claim.service))
        .bind(escape(&claim.notification_id))
        .bind(&claim.token.as_bytes()[..])
        .bind(i64::from(outcome.status))
        .bind(&outcome.content_type)
        .bind(&outcome.body[..])
        .bind(escape(state))
        .bind(to_emit(&events))
        .bind(self.tells_others())
        .fetch_optional(connection)
        .await?;
        Ok(ended.is_some())
    }

    /// Says what came of a claim that was ended first of all in a handler's transaction: nothing
    /// new, as a rule. This transaction has not written it if the handler has ended that one.
    pub(super) async fn restate(
        connection: &mut PgConnection,
        claim: &Claim,
        completion: &Completion,
    ) -> Result<(), StoreError> {
        let restated = if completion.is_expected(claim) {
            sqlx::query(
                "SELECT 1 FROM atp_decisions WHERE service = $1 AND notification_id = $2 AND token = $3
                     AND xmin = pg_current_xact_id()::xid AND atp_finish()",
            )
            .bind(escape(&claim.service))
            .bind(escape(&claim.notification_id))
            .bind(&claim.token.as_bytes()[..])
            .execute(connection)
            .await?
        } else {
            let Completion { outcome, state, .. } = completion;
            sqlx::query(
                "UPDATE atp_decisions SET status = $4, content_type = $5, body = $6, state = $7
                 WHERE service = $1 AND notification_id = $2 AND token = $3
                     AND xmin = pg_current_xact_id()::xid AND atp_finish()",
            )
            .bind(escape(&claim.service))
            .bind(escape(&claim.notification_id))
            .bind(&claim.token.as_bytes()[..])
            .bind(i64::from(outcome.status))
            .bind(&outcome.content_type)
            .bind(&outcome.body[..])
            .bind(escape(state))
            .execute(connection)
            .await?
        };
        if restated.rows_affected() == 1 { Ok(()) } else { Err(ENDED) }
    }
}
