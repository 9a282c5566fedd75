//! What leaves the service, in PostgreSQL.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{FromRow as _, PgConnection, Row as _};

use super::{PostgresStore, Steps, reached::START};
use crate::{
    limits::{
        LONGEST_BACKOFF, LONGEST_PUTTING_ASIDE, LONGEST_SEND_LEASE, LONGEST_STEP, PUT_ASIDE_BATCH,
        ROOM_TO_HEAR, TIDY_BATCH, TIDY_LOOK,
    },
    store::{
        Event, Hints, Lag, Outbox, Outgoing, Parked, Settled, StoreError,
        event::without_answer,
        sql::{
            rows::{self, escape},
            statements,
            transaction::TransactionConnection as _,
        },
    },
};

impl PostgresStore {
    /// [`Outbox::emit`] in a transaction of the service's own, so that the event is written with
    /// what it tells of, or not at all. It is as durable as that transaction.
    pub async fn emit_in(&self, connection: &mut PgConnection, event: &Event) -> Result<bool, StoreError> {
        self.steps.emit_in(connection, event).await
    }
}

/// Events as `atp_emit` takes them, a JSON text; none if there are none.
pub(super) fn to_emit(events: &[Event]) -> Option<String> {
    let event = |event: &Event| {
        let sinks: Vec<_> = event.sinks.iter().map(|sink| escape(sink)).collect();
        json!({
            "service": escape(&event.service),
            "id": escape(&event.id),
            "kind": escape(&event.kind),
            "subject": event.subject.as_deref().map(escape),
            "time": event.time.timestamp_micros(),
            "data": event.data,
            "erased": event.without_answer(),
            "traceparent": event.traceparent,
            "sinks": sinks,
        })
    };
    (!events.is_empty()).then(|| events.iter().map(event).collect::<Value>().to_string())
}

/// Looks at the time behind the lease, for each row of it.
const LEASE: &str = "SELECT * FROM atp_lease($1, $2, $3, $4, $5, $6)
     WHERE CASE WHEN clock_timestamp() < statement_timestamp() + $7 * interval '1 microsecond' THEN true ELSE atp_too_late() END";

impl Steps {
    async fn emit_in(&self, connection: &mut PgConnection, event: &Event) -> Result<bool, StoreError> {
        let event = self.routes.filled_in(event.clone())?;
        Ok(self.write_events(connection, &[event]).await? > 0)
    }

    /// Writes events that have all that they need; how many were not there yet.
    pub(super) async fn write_events(
        &self,
        connection: &mut PgConnection,
        events: &[Event],
    ) -> Result<i64, StoreError> {
        let Some(events) = to_emit(events) else { return Ok(0) };
        let written = sqlx::query_scalar("SELECT atp_emit($1::JSON, $2)").bind(events).bind(self.notifies);
        Ok(written.fetch_one(connection).await?)
    }

    /// Whether other processes are told of a decision's events: where this one sends, its relay is
    /// told without them.
    pub(super) fn tells_others(&self) -> bool {
        self.notifies && !self.activity.has_listeners()
    }

    async fn emit(&self, event: &Event) -> Result<bool, StoreError> {
        let mut open = self.write().await?;
        let is_new = self.emit_in(open.connection_mut(), event).await?;
        open.finish().await?;
        self.activity.hint();
        Ok(is_new)
    }

    async fn lease_due(&self, sink: &str, limit: u32, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        let began = Instant::now();
        let since = self.reached.since(sink);
        let (mut leased, mut is_behind) = self.lease_some(sink, (limit, limit), lease, since, began).await?;
        if leased.is_empty() && since != START {
            (leased, is_behind) = self.lease_some(sink, (limit, limit), lease, START, began).await?;
        }
        // Whoever finds nothing asks again after a while: what is behind others of its subject must
        // not hide the others so long.
        while leased.is_empty() && is_behind && began.elapsed() < LONGEST_PUTTING_ASIDE {
            let most = (limit, limit.max(PUT_ASIDE_BATCH));
            (leased, is_behind) = self.lease_some(sink, most, lease, START, began).await?;
        }
        if leased.is_empty() && is_behind {
            self.activity.hint();
        }
        Ok(leased)
    }

    /// Leases of a batch that is due since a time those that are not behind an older one, up to a limit,
    /// and puts those aside that are. With it goes whether any were put aside. `began` is when whoever
    /// waits for it began to.
    async fn lease_some(
        &self,
        sink: &str,
        (limit, batch): (u32, u32),
        lease: Duration,
        since: i64,
        began: Instant,
    ) -> Result<(Vec<Outgoing>, bool), StoreError> {
        let mut statement = self.one_statement().await?;
        // What takes the server so long that nobody waits for it any more must not be leased: nobody would
        // send it, and that is held to be its fault.
        let left = LONGEST_STEP.saturating_sub(began.elapsed()).saturating_sub(ROOM_TO_HEAR);
        let rows = sqlx::query(LEASE)
            .bind(escape(sink))
            .bind(i64::from(limit))
            .bind(i64::from(batch))
            .bind(rows::micros(lease.min(LONGEST_SEND_LEASE)))
            .bind(rows::micros(LONGEST_SEND_LEASE))
            .bind(since)
            .bind(rows::micros(left))
            .fetch_all(statement.connection_mut())
            .await?;
        statement.done().await?;
        let (mut leased, mut is_behind) = (Vec::new(), false);
        for row in &rows {
            match row.try_get::<Option<i64>, _>("seq")? {
                Some(_) => leased.push(rows::outgoing(rows::SendRow::from_row(row)?, sink)),
                None => is_behind = true,
            }
        }
        match rows.last() {
            Some(last) if u32::try_from(leased.len()).is_ok_and(|len| len >= limit) => {
                self.reached.more(sink, since, last.try_get("due_at")?);
            }
            _ => self.reached.end(sink),
        }
        Ok((leased, is_behind))
    }

    async fn settle(&self, sink: &str, settled: &[Settled]) -> Result<usize, StoreError> {
        let rows = rows::settled(settled);
        let mut statement = self.one_statement().await?;
        let stood: i64 = sqlx::query_scalar("SELECT atp_settle($1, $2, $3, $4, $5, $6)")
            .bind(escape(sink))
            .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.3).collect::<Vec<_>>())
            .bind(rows.into_iter().map(|row| row.4).collect::<Vec<_>>())
            .fetch_one(statement.connection_mut())
            .await?;
        statement.done().await?;
        Ok(usize::try_from(stood).unwrap_or_default())
    }

    async fn parked(&self, sink: &str, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError> {
        let mut pooled = self.pooled().await?;
        let rows: Vec<rows::SendRow> = sqlx::query_as(statements::PARKED)
            .bind(escape(sink))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(pooled.connection_mut())
            .await?;
        pooled.done();
        Ok(rows.into_iter().map(|row| rows::parked(row, sink)).collect())
    }

    async fn release(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        let mut open = self.write().await?;
        let now: i64 = sqlx::query_scalar("SELECT atp_now()").fetch_one(open.connection_mut()).await?;
        let released = sqlx::query(statements::RELEASE)
            .bind(escape(sink))
            .bind(seq)
            .bind(now)
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
        let forgotten: Option<(String, Option<String>)> = sqlx::query_as(statements::FORGET)
            .bind(escape(sink))
            .bind(seq)
            .fetch_optional(open.connection_mut())
            .await?;
        let Some((service, subject)) = forgotten else {
            return Err(StoreError::NotParked { sink: sink.to_owned(), seq });
        };
        sqlx::query("SELECT atp_promote($1, $2, $3)")
            .bind(escape(sink))
            .bind([service])
            .bind([subject])
            .execute(open.connection_mut())
            .await?;
        open.finish().await?;
        self.activity.hint();
        Ok(())
    }

    async fn lag(&self) -> Result<Vec<Lag>, StoreError> {
        let mut pooled = self.pooled().await?;
        let rows: Vec<rows::LagRow> =
            sqlx::query_as(statements::LAG).fetch_all(pooled.connection_mut()).await?;
        pooled.done();
        Ok(rows.iter().map(rows::lag).collect())
    }

    /// Lets one batch be due of what is due too far ahead; how many those were, and what time it is.
    ///
    /// Sink by sink, each found in the index behind the last, and of each those that are due last: a
    /// condition on the time alone would read all that waits.
    async fn pull_back_batch(&self) -> Result<(i64, i64), StoreError> {
        let mut pooled = self.pooled().await?;
        let pulled_back = sqlx::query_as(
            "WITH RECURSIVE n AS MATERIALIZED (SELECT atp_now() AS now WHERE atp_quick()),
             sinks (sink) AS (
                 SELECT min(sink) FROM atp_sends WHERE due_at IS NOT NULL
                 UNION ALL SELECT (
                     SELECT min(o.sink) FROM atp_sends AS o WHERE o.sink > s.sink AND o.due_at IS NOT NULL)
                 FROM sinks AS s WHERE s.sink IS NOT NULL),
             far AS MATERIALIZED (
                 SELECT f.sink, f.seq FROM sinks AS s CROSS JOIN LATERAL (
                     SELECT o.sink, o.seq FROM atp_sends AS o
                     WHERE o.sink = s.sink AND o.due_at > (SELECT now FROM n) + $1
                     ORDER BY o.sink DESC, o.due_at DESC, o.seq DESC LIMIT $2 FOR UPDATE SKIP LOCKED) AS f),
             pulled AS (
                 UPDATE atp_sends AS s SET due_at = (SELECT now FROM n) FROM far
                 WHERE s.sink = far.sink AND s.seq = far.seq RETURNING 1)
             SELECT (SELECT count(*) FROM pulled), (SELECT now FROM n)",
        )
        .bind(rows::micros(LONGEST_BACKOFF))
        .bind(TIDY_BATCH)
        .fetch_one(pooled.connection_mut())
        .await?;
        pooled.done();
        Ok(pulled_back)
    }

    /// Deletes a batch of events behind a place that are older than a time and sent. With how many
    /// goes from which place on to look for more.
    async fn tidy_batch(&self, behind: i64, before: i64) -> Result<(Option<i64>, i64), StoreError> {
        let mut pooled = self.pooled().await?;
        let tidied = sqlx::query_as("SELECT * FROM atp_tidy($1, $2, $3, $4)")
            .bind(behind)
            .bind(before)
            .bind(TIDY_LOOK)
            .bind(TIDY_BATCH)
            .fetch_one(pooled.connection_mut())
            .await?;
        pooled.done();
        Ok(tidied)
    }

    /// Blanks what the events about a notification say that a human said.
    pub(super) async fn erase_events(
        connection: &mut PgConnection,
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
}

impl Outbox for PostgresStore {
    async fn emit(&self, event: &Event) -> Result<bool, StoreError> {
        self.in_time(self.steps.emit(event)).await
    }

    async fn lease(&self, sink: &str, limit: u32, lease: Duration) -> Result<Vec<Outgoing>, StoreError> {
        self.in_time(self.steps.lease_due(sink, limit, lease)).await
    }

    async fn settle(&self, sink: &str, settled: &[Settled]) -> Result<usize, StoreError> {
        self.in_time(self.steps.settle(sink, settled)).await
    }

    async fn parked(&self, sink: &str, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError> {
        self.in_time(self.steps.parked(sink, after, limit)).await
    }

    async fn release(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.in_time(self.steps.release(sink, seq)).await
    }

    async fn forget(&self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.in_time(self.steps.forget(sink, seq)).await
    }

    async fn lag(&self) -> Result<Vec<Lag>, StoreError> {
        self.in_time(self.steps.lag()).await
    }

    /// Each step of it has its own time.
    async fn tidy(&self, keep_sent: Duration) -> Result<u64, StoreError> {
        let now = loop {
            let (pulled_back, now) = self.in_time(self.steps.pull_back_batch()).await?;
            if pulled_back == 0 {
                break now;
            }
        };
        let before = now.saturating_sub(rows::micros(keep_sent));
        let (mut tidied, mut behind) = (0, Some(0));
        while let Some(place) = behind {
            let (last, events) = self.in_time(self.steps.tidy_batch(place, before)).await?;
            tidied += u64::try_from(events).unwrap_or_default();
            behind = last;
        }
        Ok(tidied)
    }

    /// Those of other processes too, as long as the server tells of them.
    fn hints(&self) -> Hints {
        let hints = self.steps.activity.hints();
        self.steps.listen();
        hints
    }
}
