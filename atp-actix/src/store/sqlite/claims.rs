//! Claims in SQLite: how one is taken, and how it ends.

use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::{
    limits::FARTHEST_LEASE,
    store::{
        Claim, Claimed, Completion, Event, StoreError,
        sql::{
            rows::{self, escape},
            statements,
        },
    },
};

impl SqliteStore {
    /// What became of a claim that did not start.
    pub(super) async fn standing<T>(&self, claim: &Claim) -> Result<Claimed<T>, StoreError> {
        let row: Option<rows::DecisionRow> = sqlx::query_as(statements::DECIDED)
            .bind(escape(&claim.service))
            .bind(escape(&claim.notification_id))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(rows::completed).transpose()?.map_or(Claimed::Running, Claimed::Completed))
    }

    /// Takes the right to decide, if nobody else has it; whether it did. A completed claim is one
    /// of a transaction, where nobody sees it before it is committed.
    pub(super) async fn take(
        &self,
        connection: &mut SqliteConnection,
        claim: &Claim,
        completion: Option<&Completion>,
    ) -> sqlx::Result<bool> {
        // Another process may have leased while this one waits for the file's lock: such a lease
        // starts in its future, though no clock was set back.
        let now = (self.clock)().timestamp_micros();
        let future = now.saturating_add(rows::micros(FARTHEST_LEASE));
        let outcome = completion.map(|completion| &completion.outcome);
        let state = completion.map(|completion| completion.state.as_str());
        // Of a claim alone the body is left behind, if the process of its handler dies.
        let arrival = &claim.arrival;
        let left_behind = completion.is_none().then(|| (claim.digest(), &claim.body));
        let taken = sqlx::query(
            "INSERT INTO atp_decisions (service, notification_id, fingerprint, action_id, data, token, leased_at,
                 lease_until, completed_at, status, content_type, body, state, request_id, scheme, secret_index,
                 responder, signed, delivery, is_late)
             SELECT $1, $2, $3, $4, iif(e.is_erased, NULL, $5), $6, $7, $8, $9, $10, $11, $12, $13, $15, $16, $17,
                 iif(e.is_erased, NULL, $18), $19, iif(e.is_erased, NULL, $20), $21
             FROM (SELECT EXISTS (SELECT 1 FROM atp_erased WHERE service = $1 AND notification_id = $2)
                 AS is_erased) AS e
             WHERE true
             ON CONFLICT (service, notification_id) DO UPDATE SET fingerprint = excluded.fingerprint,
                 action_id = excluded.action_id, data = excluded.data, token = excluded.token,
                 leased_at = excluded.leased_at, lease_until = excluded.lease_until,
                 completed_at = excluded.completed_at, status = excluded.status,
                 content_type = excluded.content_type, body = excluded.body, state = excluded.state,
                 request_id = excluded.request_id, scheme = excluded.scheme, secret_index = excluded.secret_index,
                 responder = excluded.responder, signed = excluded.signed, delivery = excluded.delivery,
                 is_late = excluded.is_late
             WHERE completed_at IS NULL AND (lease_until <= $7 OR leased_at > $14)",
        )
        .bind(escape(&claim.service))
        .bind(escape(&claim.notification_id))
        .bind(&claim.fingerprint.as_bytes()[..])
        .bind(escape(&claim.action_id))
        .bind(&claim.data)
        .bind(&claim.token.as_bytes()[..])
        .bind(now)
        .bind(now.saturating_add(rows::micros(claim.lease)))
        .bind(completion.map(|_| now))
        .bind(outcome.map(|outcome| i64::from(outcome.status)))
        .bind(outcome.and_then(|outcome| outcome.content_type.as_deref()))
        .bind(outcome.map(|outcome| &outcome.body[..]))
        .bind(state.map(escape))
        .bind(future)
        .bind(arrival.request_id.as_deref().map(escape))
        .bind(arrival.scheme.name())
        .bind(rows::integer(arrival.secret_index))
        .bind(arrival.responder.as_deref().map(escape))
        .bind(left_behind.as_ref().map(|(signed, _)| &signed[..]))
        .bind(left_behind.as_ref().map(|(_, body)| &body[..]))
        .bind(claim.is_late)
        .execute(connection)
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Ends a claim with a success, and writes what is to be sent.
    pub(super) async fn end_with_events(
        &self,
        claim: &Claim,
        now: i64,
        completion: &Completion,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        if !Self::end(open.connection_mut(), claim, now, completion, false).await? {
            return Err(StoreError::Fenced);
        }
        self.write_events(open.connection_mut(), events).await?;
        open.finish().await?;
        self.activity.hint();
        Ok(())
    }

    /// Ends a claim, or says what came of one that was ended in the same transaction; whether it
    /// was there.
    pub(super) async fn end(
        connection: &mut SqliteConnection,
        claim: &Claim,
        now: i64,
        Completion { outcome, state, .. }: &Completion,
        is_ended: bool,
    ) -> sqlx::Result<bool> {
        let ended = sqlx::query(
            "UPDATE atp_decisions SET completed_at = $4, status = $5, content_type = $6, body = $7, state = $8,
                 signed = NULL, delivery = NULL
             WHERE service = $1 AND notification_id = $2 AND token = $3 AND (completed_at IS NOT NULL) = $9",
        )
        .bind(escape(&claim.service))
        .bind(escape(&claim.notification_id))
        .bind(&claim.token.as_bytes()[..])
        .bind(now)
        .bind(i64::from(outcome.status))
        .bind(&outcome.content_type)
        .bind(&outcome.body[..])
        .bind(escape(state))
        .bind(is_ended)
        .execute(connection)
        .await?;
        Ok(ended.rows_affected() == 1)
    }
}
