//! What rows of either database mean.

use std::{borrow::Cow, time::Duration};

use atp_core::{Fingerprint, Scheme};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    CompletedDecision, DeliveryRow, Known, Outcome, Question, RecordedQuestion, StoreError, StoredRefusal,
    Verdict,
};

/// Questions of one batch of a purge.
pub(super) const BATCH: i64 = 200;

/// `question, user_id, request_id, context, recorded_at, invalidated_why, state`, `fingerprint, status, content_type, body`,
/// `first_seen` and `answer_seen`.
pub(super) type Find = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<String>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<i64>,
);

/// `question, user_id, request_id, context`.
pub(super) type Asked = (String, Option<String>, Option<String>, String);

/// `fingerprint, status, content_type, body`.
pub(super) type Decision = (Vec<u8>, i64, Option<String>, Vec<u8>);

/// `id, notification_id, verdict, scheme, secret, refused_at, body`.
pub(super) type RefusedDelivery = (i64, Option<String>, String, String, i64, i64, Vec<u8>);

/// `fingerprint, verdict, first_seen, last_seen, count, request_id, scheme, secret, responder, status, duration_us`.
pub(super) type Delivery =
    (Vec<u8>, String, i64, i64, i64, Option<String>, String, i64, Option<String>, i64, i64);

/// `recorded_at, service, key` as they are stored: a place in the order in which questions are looked through.
pub(super) type Place = (i64, String, String);

/// Of a decision: whether it is completed, and whether somebody is at it.
pub(super) fn check_undecided(
    decided: Option<(bool, bool)>,
    notification_id: &str,
) -> Result<(), StoreError> {
    match decided {
        Some((true, _)) => Err(StoreError::Decided(notification_id.to_owned())),
        Some((false, true)) => Err(StoreError::Running(notification_id.to_owned())),
        Some((false, false)) | None => Ok(()),
    }
}

/// The key that fingerprints are hashed with, as it is stored.
pub(super) fn key(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        StoreError::Backend(format!("the table atp_key holds {} bytes instead of 32", bytes.len()).into())
    })
}

/// Before all others.
pub(super) const FIRST_PLACE: Place = (i64::MIN, String::new(), String::new());

/// `recorded_at, service, key, notification_id` as they are stored, and when the question was over, if it is.
pub(super) type Aged = (i64, String, String, Option<String>, Option<i64>);

/// Whether a question was recorded before.
pub(super) fn is_same(
    (notification, user_id, request_id, context): Asked,
    question: &Question,
) -> Result<bool, StoreError> {
    let notification = serde_json::from_str(&notification).map_err(backend)?;
    let earlier = Question {
        user_id: user_id.as_deref().map(unescape),
        request_id: request_id.as_deref().map(unescape),
        context: serde_json::from_str(&context).map_err(backend)?,
        ..Question::new(notification)
    };
    Ok(question.asks_the_same(&earlier))
}

pub(super) fn found(row: Find, notification_id: &str) -> Result<Known, StoreError> {
    let (
        question,
        user_id,
        request_id,
        context,
        recorded_at,
        why,
        state,
        fingerprint,
        status,
        content_type,
        body,
        seen,
        answer_seen,
    ) = row;
    let question = match (question, context, recorded_at) {
        (Some(question), Some(context), Some(recorded_at)) => {
            let mut notification: atp_core::Notification =
                serde_json::from_str(&question).map_err(backend)?;
            notification.id = Some(notification_id.to_owned());
            Some(RecordedQuestion {
                notification,
                user_id: user_id.as_deref().map(unescape),
                request_id: request_id.as_deref().map(unescape),
                context: serde_json::from_str(&context).map_err(backend)?,
                recorded_at: time(recorded_at),
                invalidated: why.as_deref().map(unescape),
                state: state.as_deref().map(unescape),
            })
        }
        _ => None,
    };
    let decision = match (fingerprint, status, body) {
        (Some(fingerprint), Some(status), Some(body)) => {
            Some(completed((fingerprint, status, content_type, body))?)
        }
        _ => None,
    };
    Ok(Known { question, decision, first_seen: seen.map(time), answer_seen: answer_seen.map(time) })
}

pub(super) fn completed(
    (fingerprint, status, content_type, body): Decision,
) -> Result<CompletedDecision, StoreError> {
    let outcome = Outcome { status: number(status), content_type, body: body.into() };
    Ok(CompletedDecision { fingerprint: self::fingerprint(&fingerprint)?, outcome })
}

pub(super) fn refused(
    (id, notification_id, verdict, scheme, secret, refused_at, body): RefusedDelivery,
) -> Result<StoredRefusal, StoreError> {
    Ok(StoredRefusal {
        id,
        notification_id: notification_id.as_deref().map(unescape),
        verdict: self::verdict(&verdict)?,
        scheme: self::scheme(&scheme)?,
        secret: usize::try_from(secret).unwrap_or_default(),
        refused_at: time(refused_at),
        body: body.into(),
    })
}

pub(super) fn noted(row: Delivery) -> Result<DeliveryRow, StoreError> {
    let (
        fingerprint,
        verdict,
        first_seen,
        last_seen,
        count,
        request_id,
        scheme,
        secret,
        responder,
        status,
        duration,
    ) = row;
    Ok(DeliveryRow {
        fingerprint: self::fingerprint(&fingerprint)?,
        verdict: self::verdict(&verdict)?,
        first_seen: time(first_seen),
        last_seen: time(last_seen),
        count: u64::try_from(count).unwrap_or_default(),
        request_id: request_id.as_deref().map(unescape),
        scheme: self::scheme(&scheme)?,
        secret: usize::try_from(secret).unwrap_or_default(),
        responder: responder.as_deref().map(unescape),
        status: number(status),
        duration: Duration::from_micros(u64::try_from(duration).unwrap_or_default()),
    })
}

/// The migrations that a database of version `found` still needs, with the version that each makes.
pub(super) fn migrations(
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
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.chars());
    while let Some(char) = rest.next() {
        match char {
            '\\' => out.extend(rest.next().map(|escaped| if escaped == '0' { '\0' } else { escaped })),
            char => out.push(char),
        }
    }
    out
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(backend)
}

pub(super) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

pub(super) fn micros(duration: Duration) -> i64 {
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
pub(super) fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

pub(super) fn backend(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Box::new(error))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        backend(error)
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
