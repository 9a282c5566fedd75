//! What leaves the service, in SQLite.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::SqliteStore;
use crate::{
    limits::{
        LONGEST_BACKOFF, LONGEST_PUTTING_ASIDE, LONGEST_SEND_LEASE, PUT_ASIDE_BATCH, TIDY_BATCH, TIDY_LOOK,
    },
    store::{
        Event, Lag, Outbox, Outgoing, Parked, Settled, StoreError,
        event::without_answer,
        sql::{
            rows::{self, escape},
            statements::{self, sends},
        },
    },
};

// What SQLite does not know of tables that it has not analyzed is said to it here: `INDEXED BY`,
// `CROSS JOIN` and `LIMIT -1` make it look up the few rows that are meant. Left alone it reads all
// that waits and all that was sent, for each of them.

/// What is due at a sink, the oldest first: `$1` the sink, `$2` the time, `$3` how far ahead a lease
/// ends at most, `$4` how many.
macro_rules! due {
    ($before:literal, $is_behind:literal, $after:literal) => {
        concat!(
            $before,
            "(SELECT d.seq FROM (
                SELECT seq, service, subject FROM atp_sends
                WHERE sink = $1 AND due_at IS NOT NULL AND due_at <= $2 AND (leased_until <= $2 OR leased_until > $3)
                ORDER BY due_at, seq LIMIT $4) AS d
            WHERE ",
            $is_behind,
            " (SELECT 1 FROM atp_sends AS o INDEXED BY atp_sends_by_subject
                WHERE o.sink = $1 AND o.service = d.service AND o.subject = d.subject AND o.seq < d.seq))",
            $after
        )
    };
}

impl SqliteStore {
    /// [`Outbox::emit`] in a transaction of the service's own, so that the event is written with
    /// what it tells of, or not at all. It is as durable as that transaction. A relay of this process
    /// is told at once of what is committed by [`SqliteStore::begin`]'s transaction, and finds what
    /// is in another at its next poll.
    pub async fn emit_in(
        &self,
        connection: &mut SqliteConnection,
        event: &Event,
    ) -> Result<bool, StoreError> {
        let event = self.routes.filled_in(event.clone())?;
        Ok(self.write_event(connection, &event).await?)
    }

    /// Writes events that have all that they need.
    pub(super) async fn write_events(
        &self,
        connection: &mut SqliteConnection,
        events: &[Event],
    ) -> sqlx::Result<()> {
        for event in events {
            self.write_event(connection, event).await?;
        }
        Ok(())
    }

    async fn write_event(&self, connection: &mut SqliteConnection, event: &Event) -> sqlx::Result<bool> {
        let (service, subject) = (escape(&event.service), event.subject.as_deref().map(escape));
        let now = (self.clock)().timestamp_micros();
        let seq: Option<i64> = sqlx::query_scalar(
            "INSERT INTO atp_events (service, id, kind, subject, time, data, traceparent, written_at)
             VALUES ($1, $2, $3, $4, $5, iif($8 IS NOT NULL AND EXISTS (
                 SELECT 1 FROM atp_erased WHERE service = $1 AND notification_id = $4), $8, $6), $7, $9)
             ON CONFLICT (service, id) DO NOTHING RETURNING seq",
        )
        .bind(&service)
        .bind(escape(&event.id))
        .bind(escape(&event.kind))
        .bind(&subject)
        .bind(event.time.timestamp_micros())
        .bind(&event.data)
        .bind(&event.traceparent)
        .bind(event.without_answer())
        .bind(now)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(seq) = seq else { return Ok(false) };
        for sink in &event.sinks {
            sqlx::query(
                "INSERT INTO atp_sends (sink, seq, service, subject, due_at, leased_until, attempt, failures)
                 VALUES ($1, $2, $3, $4, $5, 0, 0, 0)",
            )
            .bind(escape(sink))
            .bind(seq)
            .bind(&service)
            .bind(&subject)
            .bind(now)
            .execute(&mut *connection)
            .await?;
        }
        Ok(true)
    }

    /// Blanks what the events about a notification say that a human said.
    pub(super) async fn erase_events(
        connection: &mut SqliteConnection,
        service: &str,
        notification_id: &str,
    ) -> Result<(), StoreError> {
        let said: Vec<rows::SaidRow> = sqlx::query_as(statements::SAID)
            .bind(escape(service))
            .bind(escape(notification_id))
            .fetch_all(&mut *connection)
            .await?;
        for rows::SaidRow { seq, kind, data } in said {
            if let Some(data) = without_answer(&kind, &data) {
                sqlx::query(statements::UNSAY).bind(seq).bind(data).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }

    /// Puts aside what is behind an older one, of so many that are due, each once, until that is
    /// sent; and leases others. With it goes whether any were put aside.
    async fn lease_some(
        &self,
        sink: &str,
        limit: u32,
        batch: u32,
        lease: Duration,
    ) -> Result<(Vec<Outgoing>, bool), StoreError> {
        let mut quick = self.turn().await?.quick().await?;
        let mut open = quick.connection_mut().begin_with("BEGIN IMMEDIATE").await?;
        let now = (self.clock)().timestamp_micros();
        let farthest = now.saturating_add(rows::micros(LONGEST_SEND_LEASE));
        let put_aside = sqlx::query(due!(
            "UPDATE atp_sends SET due_at = NULL, leased_until = 0 WHERE sink = $1 AND seq IN ",
            "EXISTS",
            ""
        ))
        .bind(escape(sink))
        .bind(now)
        .bind(farthest)
        .bind(i64::from(batch))
        .execute(&mut *open)
        .await?;
        let seqs: Vec<i64> = sqlx::query_scalar(due!(
            "UPDATE atp_sends SET leased_until = $5, attempt = attempt + 1, failures = failures + (leased_until > 0)
             WHERE sink = $1 AND seq IN ",
            "NOT EXISTS",
            " RETURNING seq"
        ))
        .bind(escape(sink))
        .bind(now)
        .bind(farthest)
        .bind(i64::from(limit))
        .bind(now.saturating_add(rows::micros(lease.min(LONGEST_SEND_LEASE))))
        .fetch_all(&mut *open)
        .await?;
        let rows: Vec<rows::SendRow> = sqlx::query_as(sends!(
            "FROM json_each($2) AS n CROSS JOIN atp_sends AS s ON s.sink = $1 AND s.seq = n.value
             JOIN atp_events AS e ON e.seq = s.seq ORDER BY s.due_at, s.seq"
        ))
        .bind(escape(sink))
        .bind(json!(seqs).to_string())
        .fetch_all(&mut *open)
        .await?;
        open.commit().await?;
        quick.give_back();
        let leased = rows.into_iter().map(|row| rows::outgoing(row, sink)).collect();
        Ok((leased, put_aside.rows_affected() > 0))
    }

    /// Lets the oldest of these services and subjects be due, unless it is parked.
    async fn promote(
        connection: &mut SqliteConnection,
        sink: &str,
        gone: &[(String, Option<String>)],
        now: i64,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE atp_sends SET due_at = $3 WHERE sink = $1 AND due_at IS NULL AND parked_at IS NULL AND seq IN (
                 SELECT (SELECT min(o.seq) FROM atp_sends AS o INDEXED BY atp_sends_by_subject
                     WHERE o.sink = $1 AND o.service = n.value ->> 0 AND o.subject = n.value ->> 1)
                 FROM json_each($2) AS n)",
        )
        .bind(escape(sink))
        .bind(json!(gone).to_string())
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
    }

    /// Deletes a batch of events behind a place that are older than a time and sent. With how many
    /// goes from which place on to look for more. To look for them costs no turn of those who write.
    async fn tidy_batch(&self, behind: i64, before: i64) -> Result<(Option<i64>, u64), StoreError> {
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(seq) FROM (SELECT seq, written_at FROM atp_events WHERE seq > $1 ORDER BY seq LIMIT $2)
             WHERE written_at < $3",
        )
        .bind(behind)
        .bind(TIDY_LOOK)
        .bind(before)
        .fetch_one(&self.readers)
        .await?;
        let sent: Vec<i64> = sqlx::query_scalar(
            "SELECT seq FROM atp_events WHERE seq > $1 AND seq <= $2 AND written_at < $3
                 AND NOT EXISTS (SELECT 1 FROM atp_sends AS s WHERE s.seq = atp_events.seq)
             ORDER BY seq LIMIT $4",
        )
        .bind(behind)
        .bind(last)
        .bind(before)
        .bind(TIDY_BATCH)
        .fetch_all(&self.readers)
        .await?;
        let Some(last_sent) = sent.last() else { return Ok((last, 0)) };
        let mut quick = self.turn().await?.quick().await?;
        let gone = sqlx::query("DELETE FROM atp_events WHERE seq IN (SELECT value FROM json_each($1))")
            .bind(json!(sent).to_string())
            .execute(quick.connection_mut())
            .await?;
        quick.give_back();
        let is_full = i64::try_from(sent.len()).is_ok_and(|len| len >= TIDY_BATCH);
        Ok((if is_full { Some(*last_sent) } else { last }, gone.rows_affected()))
    }
}

impl Outbox for SqliteStore {
    async fn emit(&self, event: &Event) -> Result<bool, StoreError> {
        let mut open = self.write().await?;
        let is_new = self.emit_in(open.connection_mut(), event).await?;
        open.finish().await?;
        self.activity.hint();
        Ok(is_new)
    }

    async fn lease(&self, sink: &str, limit: u32, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        let farthest = rows::micros(LONGEST_SEND_LEASE);
        let now = (self.clock)().timestamp_micros();
        // To look whether there is anything costs no turn of those who write.
        let is_due = sqlx::query(
            "SELECT 1 FROM atp_sends WHERE sink = $1 AND due_at IS NOT NULL AND due_at <= $2
                 AND (leased_until <= $2 OR leased_until > $3) LIMIT 1",
        )
        .bind(escape(sink))
        .bind(now)
        .bind(now.saturating_add(farthest))
        .fetch_optional(&self.readers)
        .await?;
        if is_due.is_none() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let (mut leased, mut is_behind) = self.lease_some(sink, limit, limit, lease).await?;
        // Whoever finds nothing asks again after a while: what is behind others of its subject must
        // not hide the others so long.
        while leased.is_empty() && is_behind && began.elapsed() < LONGEST_PUTTING_ASIDE {
            (leased, is_behind) = self.lease_some(sink, limit, limit.max(PUT_ASIDE_BATCH), lease).await?;
        }
        if leased.is_empty() && is_behind {
            self.activity.hint();
        }
        Ok(leased)
    }

    async fn settle(&self, sink: &str, settled: &[Settled]) -> Result<usize, StoreError> {
        let items = json!(rows::settled(settled)).to_string();
        let mut quick = self.turn().await?.quick().await?;
        // Whoever sends the older one and lets nobody behind it be due would hold them back for ever.
        let mut open = quick.connection_mut().begin_with("BEGIN IMMEDIATE").await?;
        let now = (self.clock)().timestamp_micros();
        let gone: Vec<(String, Option<String>)> = sqlx::query_as(
            "DELETE FROM atp_sends WHERE sink = $1 AND leased_until > 0 AND (seq, attempt) IN (
                 SELECT value ->> 0, value ->> 1 FROM json_each($2) WHERE value ->> 4 IS NULL)
             RETURNING service, subject",
        )
        .bind(escape(sink))
        .bind(&items)
        .fetch_all(&mut *open)
        .await?;
        let mut stood = gone.len();
        if stood < settled.len() {
            let others = sqlx::query(
                "UPDATE atp_sends SET leased_until = 0, failures = failures + n.fault, reason = n.reason,
                     due_at = CASE WHEN n.wait IS NOT NULL THEN $3 + n.wait END,
                     parked_at = CASE WHEN n.wait IS NULL THEN $3 END
                 FROM (
                     SELECT $1 AS sink, value ->> 0 AS seq, value ->> 1 AS attempt, value ->> 2 AS wait,
                         value ->> 3 AS fault, value ->> 4 AS reason FROM json_each($2)
                     WHERE value ->> 4 IS NOT NULL LIMIT -1) AS n
                 WHERE atp_sends.sink = n.sink AND atp_sends.seq = n.seq AND atp_sends.attempt = n.attempt
                     AND leased_until > 0",
            );
            let others = others.bind(escape(sink)).bind(&items).bind(now).execute(&mut *open).await?;
            stood += usize::try_from(others.rows_affected()).unwrap_or_default();
        }
        if !gone.is_empty() {
            Self::promote(&mut open, sink, &gone, now).await?;
        }
        open.commit().await?;
        quick.give_back();
        Ok(stood)
    }

    async fn parked(&self, sink: &str, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError> {
        let rows: Vec<rows::SendRow> = sqlx::query_as(statements::PARKED)
            .bind(escape(sink))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(|row| rows::parked(row, sink)).collect())
    }

    async fn release(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        let released = sqlx::query(statements::RELEASE)
            .bind(escape(sink))
            .bind(seq)
            .bind((self.clock)().timestamp_micros())
            .execute(open.connection_mut())
            .await?;
        if released.rows_affected() == 0 {
            return Err(StoreError::NotParked { sink: sink.to_owned(), seq });
        }
        open.finish().await?;
        self.activity.hint();
        Ok(())
    }

    async fn forget(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        let now = (self.clock)().timestamp_micros();
        let forgotten = sqlx::query_as(statements::FORGET)
            .bind(escape(sink))
            .bind(seq)
            .fetch_optional(open.connection_mut())
            .await?;
        let Some(gone) = forgotten else {
            return Err(StoreError::NotParked { sink: sink.to_owned(), seq });
        };
        Self::promote(open.connection_mut(), sink, &[gone], now).await?;
        open.finish().await?;
        self.activity.hint();
        Ok(())
    }

    async fn lag(&self) -> Result<Vec<Lag>, StoreError> {
        let rows: Vec<rows::LagRow> = sqlx::query_as(statements::LAG).fetch_all(&self.readers).await?;
        Ok(rows.iter().map(rows::lag).collect())
    }

    async fn tidy(&self, keep_sent: Duration) -> Result<u64, StoreError> {
        let now = (self.clock)().timestamp_micros();
        let before = now.saturating_sub(rows::micros(keep_sent));
        let mut quick = self.turn().await?.quick().await?;
        // Sink by sink, each found in the index behind the last: a condition on the time alone would
        // read all that waits.
        sqlx::query(
            "WITH RECURSIVE sinks (sink) AS (
                 SELECT min(sink) FROM atp_sends WHERE due_at IS NOT NULL
                 UNION ALL SELECT (
                     SELECT min(o.sink) FROM atp_sends AS o WHERE o.sink > s.sink AND o.due_at IS NOT NULL)
                 FROM sinks AS s WHERE s.sink IS NOT NULL)
             UPDATE atp_sends SET due_at = $1 WHERE sink IN (SELECT sink FROM sinks) AND due_at > $2",
        )
        .bind(now)
        .bind(now.saturating_add(rows::micros(LONGEST_BACKOFF)))
        .execute(quick.connection_mut())
        .await?;
        quick.give_back();
        let (mut tidied, mut behind) = (0, Some(0));
        while let Some(place) = behind {
            let (last, events) = self.tidy_batch(place, before).await?;
            tidied += events;
            behind = last;
        }
        Ok(tidied)
    }
}
