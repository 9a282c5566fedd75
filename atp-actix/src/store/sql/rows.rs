//! What rows of either database mean.

use std::{borrow::Cow, time::Duration};

use atp_core::{Fingerprint, Scheme};
use chrono::{DateTime, Utc};
use serde::Serialize;

use sqlx::Row;

use super::super::{
    Arrival, CompletedDecision, DEFAULT_SERVICE, DeliveryRow, Event, Known, Lag, Outcome, Outgoing, Parked,
    Question, RecordedQuestion, SendEnd, Settled, Store, StoreError, StoredRefusal, Verdict,
};
use crate::limits::{LONGEST_BACKOFF, LONGEST_SEND_REASON};

/// Rows with named columns, read alike from either database.
macro_rules! rows {
    ($($(#[$meta:meta])* struct $name:ident { $($column:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        pub(in crate::store) struct $name {
            $(pub(in crate::store) $column: $type,)*
        }

        #[cfg(feature = "sqlite")]
        impl<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> for $name {
            fn from_row(row: &'r sqlx::sqlite::SqliteRow) -> sqlx::Result<Self> {
                Ok(Self { $($column: row.try_get(stringify!($column))?,)* })
            }
        }

        #[cfg(feature = "postgres")]
        impl<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> for $name {
            fn from_row(row: &'r sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                Ok(Self { $($column: row.try_get(stringify!($column))?,)* })
            }
        }
    )*};
}

rows! {
    /// What was asked, to be compared with what is asked.
    struct AskedRow {
        question: String,
        user_id: Option<String>,
        request_id: Option<String>,
        context: String,
    }

    /// A question, where it is recorded, and what is known of it.
    struct QuestionRow {
        key: Option<String>,
        notification_id: Option<String>,
        question: Option<String>,
        user_id: Option<String>,
        request_id: Option<String>,
        context: Option<String>,
        recorded_at: Option<i64>,
        invalidated_why: Option<String>,
        state: Option<String>,
        first_seen: Option<i64>,
        answer_seen: Option<i64>,
        other_service: Option<String>,
    }

    /// A decision that is completed.
    struct DecisionRow {
        fingerprint: Vec<u8>,
        action_id: String,
        data: Option<String>,
        responder: Option<String>,
        completed_at: i64,
        is_late: bool,
        status: i64,
        content_type: Option<String>,
        body: Vec<u8>,
    }

    /// A refused delivery that is kept.
    struct RefusedRow {
        id: i64,
        notification_id: Option<String>,
        verdict: String,
        scheme: String,
        secret_index: i64,
        refused_at: i64,
        body: Vec<u8>,
    }

    /// Counted deliveries.
    struct CountedRow {
        fingerprint: Vec<u8>,
        verdict: String,
        first_seen: i64,
        last_seen: i64,
        count: i64,
        request_id: Option<String>,
        scheme: String,
        secret_index: i64,
        responder: Option<String>,
        status: i64,
        duration_us: i64,
    }

    /// An event, leased or parked.
    struct SendRow {
        seq: i64,
        service: String,
        id: String,
        kind: String,
        subject: Option<String>,
        time: i64,
        data: String,
        traceparent: Option<String>,
        attempt: i64,
        failures: i64,
        parked_at: Option<i64>,
        reason: Option<String>,
    }

    /// What waits for a sink.
    struct LagRow {
        sink: String,
        waiting: i64,
        parked: i64,
        oldest: Option<i64>,
    }

    /// What a sent event holds of what a human said.
    struct SaidRow {
        seq: i64,
        kind: String,
        data: String,
    }

    /// What is known of a body that is to be kept.
    struct KeptRow {
        verdict: Option<String>,
        is_erased: bool,
        kept_of_it: i64,
    }

    /// How far a decision is.
    struct StandingRow {
        is_completed: bool,
        is_running: bool,
    }

    /// A question that may be forgotten.
    struct AgedRow {
        recorded_at: i64,
        service: String,
        key: String,
        notification_id: Option<String>,
        over_at: Option<i64>,
    }
}

/// `recorded_at, service, key` as they are stored: a place in the order in which questions are
/// looked through.
pub(in crate::store) type Place = (i64, String, String);

/// What is known of a notification, with its decision if that is completed.
pub(in crate::store) struct FoundRow {
    recorded: QuestionRow,
    decided: Option<DecisionRow>,
}

impl<'r, R: Row> sqlx::FromRow<'r, R> for FoundRow
where
    QuestionRow: sqlx::FromRow<'r, R>,
    DecisionRow: sqlx::FromRow<'r, R>,
    Option<i64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    &'static str: sqlx::ColumnIndex<R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let is_decided = row.try_get::<Option<i64>, _>("completed_at")?.is_some();
        let decided = is_decided.then(|| DecisionRow::from_row(row)).transpose()?;
        Ok(Self { recorded: QuestionRow::from_row(row)?, decided })
    }
}

/// Refuses what a decision has overtaken, or is about to.
pub(in crate::store) fn check_undecided(
    standing: Option<&StandingRow>,
    notification_id: &str,
) -> Result<(), StoreError> {
    match standing {
        Some(StandingRow { is_completed: true, .. }) => Err(StoreError::Decided(notification_id.to_owned())),
        Some(StandingRow { is_running: true, .. }) => Err(StoreError::Running(notification_id.to_owned())),
        Some(_) | None => Ok(()),
    }
}

/// The key that fingerprints are hashed with, as it is stored.
pub(in crate::store) fn key(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        StoreError::Backend(format!("the table atp_key holds {} bytes instead of 32", bytes.len()).into())
    })
}

/// Before all others.
pub(in crate::store) const FIRST_PLACE: Place = (i64::MIN, String::new(), String::new());

/// Whether a question was recorded before.
fn is_same(asked: &AskedRow, question: &Question) -> Result<bool, StoreError> {
    let notification = serde_json::from_str(&asked.question).map_err(backend)?;
    let earlier = Question {
        user_id: asked.user_id.as_deref().map(unescape),
        request_id: asked.request_id.as_deref().map(unescape),
        context: serde_json::from_str(&asked.context).map_err(backend)?,
        ..Question::new(notification)
    };
    Ok(question.asks_the_same(&earlier))
}

/// What came of recording a question that was not inserted, with what is recorded under its key: it
/// is the same, or another, or came too late.
pub(in crate::store) fn not_inserted(
    asked: Option<&AskedRow>,
    question: &Question,
    key: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    match asked.map(|asked| is_same(asked, question)).transpose()? {
        Some(true) => return Ok(()),
        Some(false) => {}
        None => question.check_deadline(now)?,
    }
    Err(StoreError::AlreadyRecorded(key.to_owned()))
}

/// Whether a binding was made; [`StoreError::AlreadyRecorded`] if another question has the id.
pub(in crate::store) fn bound<R>(
    bound: Result<R, sqlx::Error>,
    notification_id: &str,
) -> Result<R, StoreError> {
    bound.map_err(|error| match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => {
            StoreError::AlreadyRecorded(notification_id.to_owned())
        }
        error => error.into(),
    })
}

/// What is known of a notification.
pub(in crate::store) fn known(FoundRow { recorded: row, decided }: FoundRow) -> Result<Known, StoreError> {
    let first_seen = row.first_seen.map(time);
    let answer_seen = row.answer_seen.map(time);
    let other_service = row.other_service.as_deref().map(unescape);
    let decision = decided.map(completed).transpose()?;
    Ok(Known { question: recorded(row)?, decision, first_seen, answer_seen, other_service })
}

fn recorded(row: QuestionRow) -> Result<Option<RecordedQuestion>, StoreError> {
    let (Some(key), Some(question), Some(context), Some(recorded_at)) =
        (row.key, row.question, row.context, row.recorded_at)
    else {
        return Ok(None);
    };
    let mut notification: atp_core::Notification = serde_json::from_str(&question).map_err(backend)?;
    if let Some(id) = row.notification_id {
        notification.id = Some(unescape(&id));
    }
    Ok(Some(RecordedQuestion {
        key: unescape(&key),
        notification,
        user_id: row.user_id.as_deref().map(unescape),
        request_id: row.request_id.as_deref().map(unescape),
        context: serde_json::from_str(&context).map_err(backend)?,
        recorded_at: time(recorded_at),
        invalidated: row.invalidated_why.as_deref().map(unescape),
        state: row.state.as_deref().map(unescape),
    }))
}

pub(in crate::store) fn completed(row: DecisionRow) -> Result<CompletedDecision, StoreError> {
    Ok(CompletedDecision {
        fingerprint: fingerprint(&row.fingerprint)?,
        action_id: unescape(&row.action_id),
        data: row.data,
        responder: row.responder.as_deref().map(unescape),
        completed_at: time(row.completed_at),
        is_late: row.is_late,
        outcome: Outcome::new(number(row.status), row.content_type, row.body),
    })
}

pub(in crate::store) fn refused(row: RefusedRow) -> Result<StoredRefusal, StoreError> {
    Ok(StoredRefusal {
        id: row.id,
        notification_id: row.notification_id.as_deref().map(unescape),
        verdict: verdict(&row.verdict)?,
        scheme: scheme(&row.scheme)?,
        secret_index: usize::try_from(row.secret_index).unwrap_or_default(),
        refused_at: time(row.refused_at),
        body: row.body.into(),
    })
}

pub(in crate::store) fn counted(row: &CountedRow) -> Result<DeliveryRow, StoreError> {
    Ok(DeliveryRow {
        fingerprint: fingerprint(&row.fingerprint)?,
        verdict: verdict(&row.verdict)?,
        first_seen: time(row.first_seen),
        last_seen: time(row.last_seen),
        count: u64::try_from(row.count).unwrap_or_default(),
        arrival: Arrival {
            request_id: row.request_id.as_deref().map(unescape),
            scheme: scheme(&row.scheme)?,
            secret_index: usize::try_from(row.secret_index).unwrap_or_default(),
            responder: row.responder.as_deref().map(unescape),
        },
        status: number(row.status),
        duration: Duration::from_micros(u64::try_from(row.duration_us).unwrap_or_default()),
    })
}

/// An event that was leased, or that is parked, for this sink.
fn event(row: &mut SendRow, sink: &str) -> Event {
    Event {
        id: unescape(&row.id),
        kind: unescape(&row.kind),
        service: unescape(&row.service),
        subject: row.subject.as_deref().map(unescape),
        time: time(row.time),
        data: std::mem::take(&mut row.data),
        traceparent: row.traceparent.take(),
        sinks: vec![sink.to_owned()],
    }
}

pub(in crate::store) fn outgoing(mut row: SendRow, sink: &str) -> Outgoing {
    let event = event(&mut row, sink);
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Outgoing::new(row.seq, event).attempted(count(row.attempt), count(row.failures))
}

pub(in crate::store) fn parked(mut row: SendRow, sink: &str) -> Parked {
    let event = event(&mut row, sink);
    let attempts = u32::try_from(row.attempt).unwrap_or(u32::MAX);
    let parked_at = time(row.parked_at.unwrap_or_default());
    let reason = row.reason.as_deref().map(unescape).unwrap_or_default();
    Parked::new(row.seq, sink, event, attempts, parked_at, reason)
}

pub(in crate::store) fn lag(row: &LagRow) -> Lag {
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    Lag::new(unescape(&row.sink), count(row.waiting), count(row.parked), row.oldest.map(time))
}

/// What came of an attempt: its event's place, its number, how long that waits if it is due again,
/// how many faults it adds, and why it was not sent if it was not.
pub(in crate::store) type SettledRow = (i64, i64, Option<i64>, i64, Option<String>);

/// What came of attempts, in the order of the places, or two who settle would wait for each other's
/// rows.
pub(in crate::store) fn settled(settled: &[Settled]) -> Vec<SettledRow> {
    let reason = |text: &str| {
        let short = text.get(..text.floor_char_boundary(LONGEST_SEND_REASON)).unwrap_or(text);
        Some(escape(short).into_owned())
    };
    let row = |settled: &Settled| {
        let (seq, attempt) = (settled.seq, i64::from(settled.attempt));
        match &settled.end {
            SendEnd::Sent => (seq, attempt, None, 0, None),
            SendEnd::Again { after, is_own_fault, reason: why } => {
                let wait = micros((*after).min(LONGEST_BACKOFF));
                (seq, attempt, Some(wait), i64::from(*is_own_fault), reason(why))
            }
            SendEnd::Parked { reason: why } => (seq, attempt, None, 1, reason(why)),
        }
    };
    let mut rows: Vec<SettledRow> = settled.iter().map(row).collect();
    rows.sort_unstable_by_key(|row| row.0);
    rows
}

/// Looks for a notification that is not there: other tables under the names of ours are found when
/// the program starts, and not by the first answer.
pub(in crate::store) async fn check_tables(store: &impl Store) -> Result<(), StoreError> {
    match store.find(DEFAULT_SERVICE, "", None).await {
        Err(StoreError::Backend(error)) => Err(StoreError::OtherTables(error)),
        found => found.map(drop),
    }
}

/// The migrations that a database of version `found` still needs, with the version that each makes.
pub(in crate::store) fn migrations(
    known: &'static [&'static str],
    found: i64,
) -> Result<impl Iterator<Item = (i64, &'static str)>, StoreError> {
    let last = i64::try_from(known.len()).unwrap_or(i64::MAX);
    if found > last {
        return Err(StoreError::NewerSchema { found, known: last });
    }
    Ok((1..).zip(known.iter().copied()).filter(move |(version, _)| *version > found))
}

/// A text for a column that cannot hold NUL: that is written `\0`, and a backslash `\\`.
pub(in crate::store) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(in crate::store) fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.chars());
    while let Some(char) = rest.next() {
        match char {
            '\\' => out.extend(rest.next().map(|escaped| if escaped == '0' { '\0' } else { escaped })),
            char => out.push(char),
        }
    }
    out
}

pub(in crate::store) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(backend)
}

pub(in crate::store) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

pub(in crate::store) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn scheme(name: &str) -> Result<Scheme, StoreError> {
    let found = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
    found.ok_or_else(|| StoreError::Backend(format!("no scheme is named {name:?}").into()))
}

fn verdict(name: &str) -> Result<Verdict, StoreError> {
    let found = Verdict::ALL.into_iter().find(|verdict| verdict.name() == name);
    found.ok_or_else(|| StoreError::Backend(format!("no verdict is named {name:?}").into()))
}

fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    bytes.try_into().map(Fingerprint::from_bytes).map_err(backend)
}

/// Statuses are small; one that is not was not written by us.
fn number(status: i64) -> u16 {
    u16::try_from(status).unwrap_or(500)
}

/// For a column of 64 bits with a sign.
pub(in crate::store) fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

pub(in crate::store) fn backend(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Box::new(error))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => backend(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_plain_ones_stay_readable() {
        for (text, stored) in [
            ("n-1", "n-1"),
            ("", ""),
            ("a\0b", "a\\0b"),
            ("a\\0b", "a\\\\0b"),
            ("\0\0\\", "\\0\\0\\\\"),
            ("ü𝄞\u{202e}'\"", "ü𝄞\u{202e}'\""),
        ] {
            assert_eq!(escape(text), stored, "{text:?}");
            assert_eq!(unescape(stored), text, "{text:?}");
        }
    }
}
