//! Brings answers to their services, again and again until they are taken, and misbehaves if told.

use std::{
    collections::BTreeSet,
    io, iter,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, future::join_all, stream};
use reqwest::{Body, Client, StatusCode};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use super::{
    error::DeskError,
    fault::{Begin, Fault},
    inner::Inner,
    records::{After, AttemptRow, DeliveryRow, ServiceRow, Tried},
    refusal::Refusal,
    signing::{new_secret, sign},
};
use crate::{
    https::{builder, tls},
    limits::{ANSWER_KEPT, BETWEEN_WRITES, BURST, DELIVERIES_AT_ONCE, OVERTAKEN_WITHIN},
};

/// Delivers until the desk stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut under_way = JoinSet::new();
    let mut taken = BTreeSet::new();
    let mut unwritten = Vec::new();
    loop {
        write_down(&inner, &mut unwritten, &mut taken).await;
        let wait = begin(&inner, &mut under_way, &mut taken).await;
        let is_full = taken.len() >= DELIVERIES_AT_ONCE;
        tokio::select! {
            Some(ended) = under_way.join_next() => {
                let ended = iter::once(ended).chain(iter::from_fn(|| under_way.try_join_next()));
                unwritten.extend(ended.filter_map(Result::ok));
            }
            () = inner.answered.notified(), if !is_full => {}
            () = sleep(wait), if !is_full || !unwritten.is_empty() => {}
            () = inner.stopped() => break,
        }
    }
    // What is under way ends, broken off, and is told with all that was not written down yet.
    while let Some(ended) = under_way.join_next().await {
        unwritten.extend(ended.ok());
    }
    write_down(&inner, &mut unwritten, &mut taken).await;
}

/// Begins with all that is due, as far as there is room; how long until more is.
async fn begin(inner: &Arc<Inner>, under_way: &mut JoinSet<Tried>, taken: &mut BTreeSet<i64>) -> Duration {
    let room = DELIVERIES_AT_ONCE.saturating_sub(taken.len());
    if room == 0 {
        return until(inner, None);
    }
    let now = Instant::now();
    let mut busy = taken.clone();
    busy.extend(inner.faults().delayed(now).map(|(delivery, _)| delivery));
    let due =
        inner.records.due(inner.now(), inner.settings.longest_wait, room, &busy).await.unwrap_or_default();
    for delivery in due {
        busy.insert(delivery.nth);
        if let Begin::Now(fault) = inner.faults().begin(delivery.nth, now) {
            taken.insert(delivery.nth);
            let inner = Arc::clone(inner);
            under_way.spawn(async move { deliver(&inner, delivery, fault).await });
        }
    }
    // Where there is no room left, whatever ends makes some.
    let is_full = taken.len() >= DELIVERIES_AT_ONCE;
    let next = if is_full { None } else { inner.records.next_due(&busy).await.ok().flatten() };
    let first = inner.faults().delayed(now).map(|(_, until)| until - now).min();
    until(inner, next).min(first.unwrap_or(Duration::MAX))
}

/// Keeps what came of attempts. What cannot be kept now is kept later, and nothing of it is sent again
/// before.
async fn write_down(inner: &Inner, unwritten: &mut Vec<Tried>, taken: &mut BTreeSet<i64>) {
    if unwritten.is_empty() {
        return;
    }
    if let Err(refusal) = inner.records.attempted(unwritten, inner.now()).await {
        let questions: Vec<&str> = unwritten.iter().map(|tried| &*tried.delivery.question).collect();
        tracing::error!(target: "atp_cli::desk", %refusal, ?questions, "not written down yet");
        // It has its reasons for longer than a moment.
        return sleep(BETWEEN_WRITES).await;
    }
    for tried in unwritten.drain(..) {
        taken.remove(&tried.delivery.nth);
    }
    inner.changed();
}

/// Lets deadlines pass until the desk stops.
pub(super) async fn expire(inner: Arc<Inner>) {
    loop {
        let passed = inner.records.expire(inner.now()).await.unwrap_or_default();
        if passed > 0 {
            inner.changed();
        }
        let next = inner.records.next_deadline().await.ok().flatten();
        let wait = until(&inner, next);
        tokio::select! {
            () = sleep(wait.max(Duration::from_millis(10))) => {}
            () = inner.stopped() => return,
        }
    }
}

/// How long until a time of the desk's clock; no longer than a second, since somebody may set it.
fn until(inner: &Inner, next: Option<i64>) -> Duration {
    let longest = Duration::from_secs(1);
    next.map_or(longest, |next| {
        let wait = TimeDelta::microseconds(next - inner.now().timestamp_micros());
        wait.to_std().unwrap_or_default().min(longest)
    })
}

/// Sends the answer of a question once more, as it was sent first; one that waits goes out at once.
pub(super) async fn again(inner: &Inner, question: &str) -> Result<(), Refusal> {
    let delivery = inner.records.again(question, inner.now()).await?;
    inner.faults().hurry(delivery, Instant::now());
    inner.answered.notify_one();
    inner.changed();
    Ok(())
}

/// One attempt, or several where the fault is that there are.
async fn deliver(inner: &Inner, delivery: DeliveryRow, fault: Option<Fault>) -> Tried {
    let (attempts, after) = match prepare(inner, &delivery, fault).await {
        Ok(service) => attempt(inner, &delivery, &service, fault).await,
        Err(refusal) => {
            tracing::error!(target: "atp_cli::desk", %refusal, question = delivery.question, "not delivered");
            (Vec::new(), later(inner, &delivery))
        }
    };
    inner.sent.send_modify(|count| *count += 1);
    Tried { delivery, attempts, after }
}

/// Whom it goes to, with what a fault changes there.
async fn prepare(inner: &Inner, delivery: &DeliveryRow, fault: Option<Fault>) -> Result<ServiceRow, Refusal> {
    if fault == Some(Fault::RotateSecret) {
        let secret = inner.next_secret(&delivery.service).unwrap_or_else(new_secret);
        inner.records.set_secret(&delivery.service, &secret).await?;
    }
    let service = inner.records.service(&delivery.service).await?;
    service.ok_or_else(|| Refusal::new("INTERNAL_ERROR", "The service of the question is gone."))
}

async fn attempt(
    inner: &Inner,
    delivery: &DeliveryRow,
    service: &ServiceRow,
    fault: Option<Fault>,
) -> (Vec<AttemptRow>, After) {
    let sent = async || {
        // Nothing is sent by a desk that stops.
        if inner.is_stopped() { None } else { Some(send(inner, delivery, service, fault).await) }
    };
    let attempts = match fault {
        Some(Fault::Drop) => vec![Some(not_sent(inner, service, fault, "dropped on purpose, and not sent"))],
        Some(Fault::Reorder) => {
            let mut others = inner.sent.subscribe();
            tokio::select! {
                _ = others.changed() => {}
                () = sleep(OVERTAKEN_WITHIN) => {}
                () = inner.stopped() => {}
            }
            vec![sent().await]
        }
        Some(Fault::Duplicate) => vec![sent().await, sent().await],
        Some(Fault::Burst) => join_all((0..BURST).map(|_| sent())).await,
        _ => vec![sent().await],
    };
    let attempts: Vec<AttemptRow> = attempts.into_iter().flatten().collect();
    let after = judge(inner, delivery, &attempts, fault);
    (attempts, after)
}

/// What a sender makes of the answers: success takes it, a fault of the service's side is tried
/// again, and all else is final, unless the desk itself has damaged what it sent.
fn judge(inner: &Inner, delivery: &DeliveryRow, attempts: &[AttemptRow], fault: Option<Fault>) -> After {
    let is_success = |attempt: &AttemptRow| attempt.status.is_some_and(|status| (200..300).contains(&status));
    let is_passing = |attempt: &AttemptRow| {
        attempt.status.is_none_or(|status| status >= 500 || status == 408 || status == 429)
    };
    if fault != Some(Fault::DropAnswer) && attempts.iter().any(is_success) {
        After::Taken
    } else if inner.is_stopped() && attempts.iter().all(|attempt| attempt.status.is_none()) {
        // It goes on when a desk is started on the file.
        After::Again(inner.now())
    } else if fault.is_some_and(Fault::is_damage) || attempts.iter().any(is_passing) {
        later(inner, delivery)
    } else {
        After::Refused
    }
}

fn later(inner: &Inner, delivery: &DeliveryRow) -> After {
    let attempts = u32::try_from(delivery.attempts).unwrap_or(u32::MAX);
    if attempts.saturating_add(1) >= inner.settings.attempts {
        return After::GivenUp;
    }
    let wait = inner.settings.first_wait.saturating_mul(2_u32.saturating_pow(attempts.min(20)));
    let wait = wait.min(inner.settings.longest_wait);
    After::Again(inner.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::hours(1)))
}

fn not_sent(inner: &Inner, service: &ServiceRow, fault: Option<Fault>, why: &str) -> AttemptRow {
    AttemptRow {
        at: inner.now().timestamp_micros(),
        url: service.callback_url.clone(),
        fault: fault.map(|fault| fault.to_string()),
        headers: "{}".to_owned(),
        body: String::new(),
        status: None,
        answer: why.to_owned(),
        micros: 0,
    }
}

async fn send(
    inner: &Inner,
    delivery: &DeliveryRow,
    service: &ServiceRow,
    fault: Option<Fault>,
) -> AttemptRow {
    let now: DateTime<Utc> = inner.now();
    let signed = match sign(&delivery.body, &service.secret, service.scheme(), now, fault) {
        Ok(signed) => signed,
        Err(error) => return not_sent(inner, service, fault, &format!("it cannot be signed: {error}")),
    };
    let headers = [
        ("Content-Type", "application/json"),
        ("X-ATP-Signature", &*signed.signature),
        ("X-ATP-Request-ID", &*delivery.request_id),
    ];
    let mut request = inner.client.post(&service.callback_url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(body(&signed.body, fault));
    let began = Instant::now();
    let answered = async {
        let response = request.send().await.map_err(|error| told(&error))?;
        Ok::<_, String>((response.status(), start_of(response).await))
    };
    let within = inner.settings.answer_within;
    let answered = tokio::select! {
        biased;
        answered = answered => answered,
        () = sleep(within) => Err(format!("no answer within {} ms", within.as_millis())),
        () = inner.stopped() => Err("broken off: the desk stopped".to_owned()),
    };
    let (status, answer) = match answered {
        Ok((status, answer)) if fault == Some(Fault::DropAnswer) => {
            (None, format!("its answer was lost on purpose; it was {}: {answer}", status.as_u16()))
        }
        Ok((status, answer)) => (Some(i64::from(StatusCode::as_u16(&status))), answer),
        Err(why) => (None, why),
    };
    AttemptRow {
        at: now.timestamp_micros(),
        url: service.callback_url.clone(),
        fault: fault.map(|fault| fault.to_string()),
        headers: json!(headers.iter().copied().collect::<std::collections::BTreeMap<_, _>>()).to_string(),
        body: signed.body,
        status,
        answer,
        micros: i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX),
    }
}

/// The whole, or half of it, after which the connection breaks or nothing comes.
fn body(text: &str, fault: Option<Fault>) -> Body {
    let half = || Ok(Bytes::copy_from_slice(text.as_bytes().get(..text.len() / 2).unwrap_or_default()));
    match fault {
        Some(Fault::Truncate) => {
            let broken = Err(io::Error::new(io::ErrorKind::BrokenPipe, "broken off on purpose"));
            Body::wrap_stream(stream::iter([half(), broken]))
        }
        Some(Fault::TimeOut) => {
            Body::wrap_stream(stream::iter([half()]).chain(stream::pending::<io::Result<Bytes>>()))
        }
        _ => Body::from(text.to_owned()),
    }
}

/// What was wrong, with all that led to it, without the address.
fn told(error: &reqwest::Error) -> String {
    let mut told = String::from("not delivered");
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

/// The start of what the service said.
async fn start_of(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(part)) = response.chunk().await {
        body.extend_from_slice(&part);
        if body.len() > ANSWER_KEPT {
            body.truncate(ANSWER_KEPT);
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// A client that follows no redirect, through no proxy: whom it is for is on this machine, as a rule.
/// Where the system trusts nobody, nobody is reached by https.
pub(super) fn client() -> Result<Client, DeskError> {
    let tls = tls(true).or_else(|_| tls(false)).map_err(|error| DeskError::Tls(error.to_string()))?;
    let client = builder(tls).no_proxy().user_agent(concat!("atp-desk/", env!("CARGO_PKG_VERSION")));
    Ok(client.build()?)
}
