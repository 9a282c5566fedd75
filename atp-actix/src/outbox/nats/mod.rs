//! A stream of NATS JetStream as a place that is told.

mod subject;

use std::{fmt, time::Duration};

use async_nats::{
    Client, HeaderMap, HeaderValue, Request,
    client::{RequestError, RequestErrorKind},
    connection::State,
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use self::subject::{SubjectTemplate, escape};
use super::{
    cloud_event::{CloudEvent, JSON},
    sink::{SendError, Sink},
};
use crate::{
    limits::DEFAULT_ACK_WITHIN,
    store::{Event, Outgoing},
};

pub use self::subject::NatsSubjectError;

/// Publishes events to NATS JetStream: sent is what the stream has acknowledged.
///
/// ```no_run
/// use atp_actix::{NatsSink, Relay, async_nats, store::Routes};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = atp_actix::store::MemoryStore::new();
/// let store = store.routes(Routes::new().events("bus")); // The webhook's store, on any backend.
/// // So the service starts though NATS is away, and what there is to send waits for it.
/// let nats = async_nats::ConnectOptions::new().retry_on_initial_connect();
/// let nats = nats.connect("nats://nats.example.com").await?;
/// let relay = Relay::new(store).sink("bus", NatsSink::new(nats, "atp.{service}.{kind>}")?).start();
/// # relay.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// A stream must take the subjects, here `atp.>`, and acknowledge; this makes none. Until there is
/// one the sink counts as away: events wait, and none is parked. How safe an event is that was
/// acknowledged is the stream's own matter (its replicas, and `sync_interval` of the server).
///
/// # Once
///
/// The header `Nats-Msg-Id` is the service and the id of the event with a `/` between them, the
/// service and id escaped as in a subject: ids are unique in a service, and a stream may hold events
/// of several. A stream that is sent an event again, after a crash or a lost acknowledgement, says
/// that it has it already. It knows that only for its `duplicate_window`, of 2 minutes unless set:
/// what is sent again later, since nobody knew that it had come through or since it was
/// [released](crate::store::Outbox::release), is in the stream twice. So let the window be longer
/// than your longest outage, or let consumers remember `ce-id`.
///
/// # Subject
///
/// A template of tokens with dots between them. A token is fixed, or a placeholder:
///
/// | placeholder | is |
/// |---|---|
/// | `{service}` | the service, as one token |
/// | `{kind}` | the kind, as one token: `atp%2Edecision` |
/// | `{kind>}` | the kind with its dots, as several: `atp.decision`; it must be last |
/// | `{subject}` | what the event is about, as one token |
///
/// Letters and digits of ASCII, `-` and `_` stand for themselves; of everything else each byte is
/// `%` and two hex digits, and what is empty, or not there, is `%` alone. So what a service or an id
/// contains makes no more tokens, no wildcard, and no subject that another event has.
///
/// # Message
///
/// The data of the event, byte for byte, with the headers of the CloudEvents 1.0 binding for NATS in
/// binary mode, the same that an HTTP receiver is sent: `ce-specversion`, `ce-id`, `ce-source`
/// (`/atp/` and the service), `ce-type` (the kind), `ce-subject`, `ce-time` and `content-type`; and
/// `traceparent`, also as `ce-traceparent`, if the event has one that is well formed. In headers that
/// begin with `ce-` a space, `"`, `%` and all that is not printable ASCII is percent-encoded, as that
/// binding has it.
///
/// # What becomes of an event
///
/// | | it is |
/// |---|---|
/// | not connected, no acknowledgement in time, no stream for the subject, JetStream is out of room or has no leader | [away](SendError::Away) |
/// | larger than the server's `max_payload` or the stream's `max_msg_size`, or its subject or headers too long | [refused](SendError::Refused) |
/// | not taken for any other reason, such as an answer by something that is no stream | [tried again](SendError::Again) |
///
/// While there is no connection nothing is handed to the client, so nothing piles up in it;
/// async-nats connects again by itself. Of a peer that vanished without a word it learns by pings,
/// see [`ConnectOptions::ping_interval`](async_nats::ConnectOptions::ping_interval).
#[derive(Clone)]
#[must_use = "a sink is told nothing until a relay has it"]
pub struct NatsSink {
    client: Client,
    subject: SubjectTemplate,
    ack_within: Duration,
}

impl NatsSink {
    /// Publishes with this client under subjects of this template.
    ///
    /// # Errors
    /// If the template makes no subject that can be published under.
    pub fn new(client: Client, subject: &str) -> Result<Self, NatsSubjectError> {
        Ok(Self { client, subject: subject.parse()?, ack_within: DEFAULT_ACK_WITHIN })
    }

    /// Sets how long an acknowledgement is waited for; [`DEFAULT_ACK_WITHIN`] unless set. Let it be
    /// less than [`Relay::send_within`](crate::Relay::send_within), which ends the wait too.
    pub fn ack_within(mut self, time: Duration) -> Self {
        self.ack_within = time;
        self
    }

    /// The template of its subjects.
    #[must_use]
    pub fn get_subject(&self) -> &str {
        self.subject.as_str()
    }
}

impl Sink for NatsSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let event = &outgoing.event;
        // The client would queue it, and send it at some time after we said that it was not sent.
        if self.client.connection_state() != State::Connected {
            return Err(SendError::away("there is no connection to NATS"));
        }
        let subject = self.subject.fill_in(event)?;
        let told = CloudEvent::new(event, None).map_err(|error| {
            SendError::refused(format!("its data is no JSON, at column {}", error.column()))
        })?;
        let data = Bytes::from(told.data().to_owned());
        // Bounded here, so that the way to the server counts too.
        let request = Request::new().headers(headers(event, &told)).payload(data).timeout(None);
        let asking = timeout(self.ack_within, self.client.send_request(subject.clone(), request));
        match asking.await {
            Ok(Ok(answer)) => acknowledged(&answer.payload),
            Ok(Err(error)) => Err(not_published(&error, &subject)),
            Err(_) => Err(SendError::away(format!(
                "no acknowledgement from NATS within {} ms",
                self.ack_within.as_millis()
            ))),
        }
    }
}

/// Shows no server: its address may have a password.
impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink")
            .field("subject", &self.get_subject())
            .field("ack_within", &self.ack_within)
            .finish_non_exhaustive()
    }
}

/// What is told of an event beside its data. It is the same at every attempt.
fn headers(event: &Event, told: &CloudEvent<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        // One with a line break would be none, and there is none.
        if let Ok(value) = value.parse::<HeaderValue>() {
            headers.insert(name, value);
        }
    };
    add("Nats-Msg-Id", &format!("{}/{}", escape(&event.service), escape(&event.id)));
    for (name, value) in told.headers() {
        add(name, &value);
    }
    add("content-type", JSON);
    if let Some(traceparent) = told.traceparent() {
        add("traceparent", traceparent);
    }
    headers
}

/// Why there is no answer.
fn not_published(error: &RequestError, subject: &str) -> SendError {
    match error.kind() {
        RequestErrorKind::NoResponders => SendError::away(format!(
            "no stream takes the subject `{subject}`: make one, on a server with JetStream"
        )),
        RequestErrorKind::MaxPayloadExceeded => {
            SendError::refused(format!("too large for the NATS server: {error}"))
        }
        RequestErrorKind::InvalidSubject => SendError::refused(format!("`{subject}` is no subject of NATS")),
        RequestErrorKind::TimedOut | RequestErrorKind::Other => {
            SendError::away(format!("not sent to NATS: {error}"))
        }
    }
}

/// Whether this is a stream's word that it has the event.
fn acknowledged(answer: &[u8]) -> Result<(), SendError> {
    #[derive(Deserialize)]
    struct Answer {
        stream: Option<String>,
        seq: Option<u64>,
        error: Option<Fault>,
    }
    match serde_json::from_slice(answer) {
        Ok(Answer { error: Some(fault), .. }) => Err(fault.into()),
        Ok(Answer { stream: Some(_), seq: Some(_), .. }) => Ok(()),
        _ => Err(SendError::again(
            "what answered is no stream of JetStream: something else is subscribed to the subject",
        )),
    }
}

/// Why a stream has not taken an event.
#[derive(Deserialize)]
struct Fault {
    code: u16,
    #[serde(default)]
    err_code: u16,
    #[serde(default)]
    description: String,
}

impl From<Fault> for SendError {
    fn from(Fault { code, err_code, description }: Fault) -> Self {
        /// The message, or its headers, are larger than the stream takes.
        const TOO_LARGE: [u16; 2] = [10054, 10097];
        /// Out of memory, storage or its own limits; or JetStream is not enabled, for this account.
        const FOR_ALL_ALIKE: [u16; 8] = [10002, 10023, 10028, 10039, 10047, 10076, 10077, 10109];
        let reason = format!("JetStream has not taken it: {description} ({code}, {err_code})");
        if TOO_LARGE.contains(&err_code) {
            Self::refused(reason)
        } else if FOR_ALL_ALIKE.contains(&err_code) || code >= 500 {
            Self::away(reason)
        } else {
            Self::again(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jetstream_answers_decides_what_becomes_of_the_event() {
        for (answer, becomes) in [
            (r#"{"stream":"atp","seq":7}"#, "sent"),
            (r#"{"stream":"atp","seq":7,"duplicate":true,"domain":"hub"}"#, "sent"),
            (
                r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#,
                "refused",
            ),
            (
                r#"{"error":{"code":400,"err_code":10097,"description":"header size exceeds maximum allowed of 64k"}}"#,
                "refused",
            ),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"atp","seq":0}"#,
                "away",
            ),
            (
                r#"{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}"#,
                "away",
            ),
            (r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}"#, "again"),
            (r#"{"error":{"code":500}}"#, "away"),
            (r#"{"stream":"atp"}"#, "again"),
            ("+OK", "again"),
            ("", "again"),
        ] {
            let found = match acknowledged(answer.as_bytes()) {
                Ok(()) => "sent",
                Err(SendError::Refused { .. }) => "refused",
                Err(SendError::Away { .. }) => "away",
                Err(SendError::Again { .. }) => "again",
                Err(SendError::Later { .. }) => "later",
                Err(SendError::Gone { .. }) => "gone",
            };
            assert_eq!(found, becomes, "{answer}");
        }
    }

    #[test]
    fn headers_tell_the_event_and_nothing_else() {
        let event = Event::new("orders shipped", "secret").expect("JSON").service("a/b").id("50%\"\r\n");
        let event = event.traceparent("00-0\r\nx: y".to_owned());
        let told = CloudEvent::new(&event, None).expect("JSON");
        let headers = headers(&event, &told);
        let time = event.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        for (name, value) in [
            ("Nats-Msg-Id", Some("a%2Fb/50%25%22%0D%0A")),
            ("ce-specversion", Some("1.0")),
            ("ce-id", Some("50%25%22%0D%0A")),
            ("ce-source", Some("/atp/a%252Fb")),
            ("ce-type", Some("orders%20shipped")),
            ("ce-time", Some(&*time)),
            ("ce-subject", None),
            ("content-type", Some("application/json")),
            ("traceparent", None),
        ] {
            assert_eq!(headers.get(name).map(async_nats::HeaderValue::as_str), value, "{name}");
        }
        assert_eq!(headers.len(), 7);
    }
}
