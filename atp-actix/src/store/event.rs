//! What is to leave the service, frozen when it is written.

use std::fmt;

use atp_core::Notification;
use chrono::{DateTime, SubsecRound as _, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::token::len;
use crate::limits::{MAX_EVENT_NAME, MAX_SERVICE};

/// What is to leave the service: a row of the outbox, written in the transaction of its cause and
/// sent afterwards, to each of its sinks at least once.
///
/// Its id, its time and its data never change: every attempt sends the same bytes under the same
/// id, so a receiver that remembers service and id takes it once. But of a decision that is erased
/// ([`Store::erase`](super::Store::erase)) `additional_data` is `null` from then on, except in an
/// attempt for which a relay has leased it already.
///
/// ```
/// use atp_actix::store::Event;
///
/// let shipped = Event::new("orders.shipped", serde_json::json!({ "order": 7 }))?.subject("order-7");
/// assert_eq!(shipped.data, r#"{"order":7}"#);
/// # Ok::<(), atp_actix::store::EventError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an event is sent once it is emitted"]
pub struct Event {
    /// Its name for ever: what a receiver knows it by. Of a decision it is
    /// [`Delivery::decision_id`](crate::Delivery::decision_id), which a status change has with
    /// `-processed` behind it; of a question that is taken back one that is made of that question, so
    /// that it is told once; of all others a random UUID, unless set. A service has no two with one id.
    pub id: String,
    /// What happened: the `type` of a CloudEvent. [`Event::DECISION`] and the constants beside it
    /// are those of this crate.
    pub kind: String,
    /// The service that it is of.
    pub service: String,
    /// What it is about: events of one service about the same reach a sink in the order in which
    /// they were written. Of this crate's it is the notification; where there is none, events reach
    /// a sink in any order.
    pub subject: Option<String>,
    /// When it happened, to the microsecond.
    pub time: DateTime<Utc>,
    /// What is told of it: JSON.
    pub data: String,
    /// The W3C `traceparent` of what it happened in, if that is known.
    pub traceparent: Option<String>,
    /// The names of the sinks that are told of it; all that [`Routes::events`](super::Routes)
    /// names where there is none.
    pub sinks: Vec<String>,
}

/// Why there can be no such event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The data has no JSON.
    #[error("the data of the event has no JSON: {0}")]
    NoJson(#[from] serde_json::Error),
    /// A name is empty, or does not fit into a key.
    #[error("the {what} of an event must have 1 to {most} bytes, and has {len}")]
    Length {
        /// Which name.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it may be.
        most: usize,
    },
    /// It would be sent nowhere.
    #[error(
        "the event names no sink, and the store has none for events: name it with `Event::to`, or give the store \
         `Routes::new().events(..)`"
    )]
    NoSink,
}

impl Event {
    /// The kind of a decision: its data is [`UserDecision`](atp_core::UserDecision).
    pub const DECISION: &str = "atp.decision";

    /// The kind of an answer that came too late and went to the handler of those: its data is
    /// [`UserDecision`](atp_core::UserDecision) too.
    pub const LATE_DECISION: &str = "atp.decision.late";

    /// The kind of a question that is to be sent to the ATP server: its data is a
    /// [`Notification`].
    pub const QUESTION: &str = "atp.question";

    /// The kind of what the ATP server is to be told about a question: its data is a
    /// [`StatusChange`](atp_core::StatusChange).
    pub const STATUS: &str = "atp.status";

    /// An event of this kind with this data, as of now, under a random id, about nothing.
    pub fn new(kind: impl Into<String>, data: impl Serialize) -> Result<Self, EventError> {
        Ok(Self {
            id: Uuid::new_v4().to_string(),
            kind: kind.into(),
            service: String::new(),
            subject: None,
            time: Utc::now().trunc_subsecs(6),
            data: serde_json::to_string(&data)?,
            traceparent: None,
            sinks: Vec::new(),
        })
    }

    /// Sets its name for ever: of two with one id, of the same service, the first is written and
    /// the second is not.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the service that it is of; in a handler that of the webhook unless set.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Says what it is about; in a handler the notification unless set.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets when it happened.
    pub fn time(mut self, time: DateTime<Utc>) -> Self {
        self.time = time.trunc_subsecs(6);
        self
    }

    /// Sets the W3C `traceparent` of what it happened in. One that is not well formed is none:
    /// a receiver would throw it away, or the trace that it knows.
    pub fn traceparent(mut self, traceparent: impl Into<Option<String>>) -> Self {
        self.traceparent = traceparent.into().filter(|text| is_traceparent(text));
        self
    }

    /// Names a sink that is told of it, beside those that are named already.
    pub fn to(mut self, sink: impl Into<String>) -> Self {
        let sink = sink.into();
        if !self.sinks.contains(&sink) {
            self.sinks.push(sink);
        }
        self
    }

    /// Refuses what does not fit into the keys of a database.
    pub fn check(&self) -> Result<(), EventError> {
        let names = [("id", &*self.id, MAX_EVENT_NAME), ("kind", &*self.kind, MAX_EVENT_NAME)];
        let subject = self.subject.iter().map(|subject| ("subject", &**subject, Notification::MAX_ID));
        let sinks = self.sinks.iter().map(|sink| ("sink", &**sink, MAX_EVENT_NAME));
        let service = [("service", &*self.service, MAX_SERVICE)];
        let names = names.into_iter().chain(subject).chain(sinks).chain(service);
        for (what, name, most) in names {
            let len = name.len();
            if name.is_empty() || len > most {
                return Err(EventError::Length { what, len, most });
            }
        }
        if self.sinks.is_empty() { Err(EventError::NoSink) } else { Ok(()) }
    }

    /// Its data without what the human said, if it is a decision: what a store keeps of it where the
    /// notification is erased.
    #[must_use]
    pub fn without_answer(&self) -> Option<String> {
        without_answer(&self.kind, &self.data)
    }
}

/// Shows no data.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("service", &self.service)
            .field("subject", &self.subject)
            .field("time", &self.time)
            .field("data", &len(&self.data))
            .field("traceparent", &self.traceparent)
            .field("sinks", &self.sinks)
            .finish()
    }
}

/// Whether this is a W3C `traceparent` in the form of its version 00: version, trace, parent and
/// flags in lower hexadecimal, where neither id is zero and the version is not ff.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |len: usize, forbidden: u8| {
        parts.next().is_some_and(|part| {
            let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hex && part.len() == len && part.bytes().any(|byte| byte != forbidden)
        })
    };
    // Flags may be anything.
    part(2, b'f') && part(32, b'0') && part(16, b'0') && part(2, b'-') && parts.next().is_none()
}

/// [`Event::without_answer`] of an event of this kind with this data.
pub(super) fn without_answer(kind: &str, data: &str) -> Option<String> {
    #[derive(Deserialize, Serialize)]
    struct Erased<'a> {
        #[serde(borrow)]
        event_type: &'a RawValue,
        source: &'a RawValue,
        timestamp: &'a RawValue,
        user_id: &'a RawValue,
        request_id: &'a RawValue,
        decision: &'a RawValue,
        #[serde(skip_deserializing)]
        additional_data: (),
        metadata: &'a RawValue,
    }
    if !matches!(kind, Event::DECISION | Event::LATE_DECISION) {
        return None;
    }
    let erased: Erased<'_> = serde_json::from_str(data).ok()?;
    serde_json::to_string(&erased).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_human_said_is_taken_out_and_nothing_else() {
        let data = r#"{"event_type":"user_decision","source":"atp","timestamp":"2026-01-02T03:05:07Z","user_id":null,"request_id":"r","decision":"reject","additional_data":{"reason":"\u0000no"},"metadata":{"notification_id":"n-1","original_timestamp":null}}"#;
        let erased = data.replace(r#"{"reason":"\u0000no"}"#, "null");
        assert_eq!(without_answer(Event::DECISION, data), Some(erased));
        assert_eq!(without_answer("orders.shipped", data), None);
    }

    #[test]
    fn a_traceparent_that_is_not_well_formed_is_none() {
        const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (zero_trace, zero_parent) = ("0".repeat(32), "0".repeat(16));
        for (text, is_good) in [
            (GOOD.to_owned(), true),
            (GOOD.replace("-01", "-00"), true),
            (GOOD.replacen("00", "cc", 1), true),
            (GOOD.replacen("00", "ff", 1), false),
            (GOOD.to_uppercase(), false),
            (format!("{GOOD}-"), false),
            (format!("{GOOD}-00"), false),
            (format!(" {GOOD}"), false),
            (format!("{GOOD}\r\nx: y"), false),
            (GOOD.replace('-', "_"), false),
            (GOOD.replace("0af7651916cd43dd8448eb211c80319c", &zero_trace), false),
            (GOOD.replace("b7ad6b7169203331", &zero_parent), false),
            (GOOD.replace("-b7ad6b7169203331", "b-7ad6b7169203331"), false),
            (GOOD.replace("b7ad6b71", "b7ad6b7ü"), false),
            (GOOD.replace("-01", ""), false),
            (String::new(), false),
        ] {
            let event = Event::new("kind", 7).expect("JSON").traceparent(text.clone());
            assert_eq!(event.traceparent, is_good.then_some(text.clone()), "{text:?}");
        }
    }

    #[test]
    fn names_that_fit_into_no_key_are_refused() {
        let event = || Event::new("kind", 7).expect("JSON").service("acme").to("bus");
        for (event, fault) in [
            (event(), None),
            (event().id(""), Some("the id of an event must have 1 to 200 bytes, and has 0")),
            (event().subject(""), Some("the subject of an event must have 1 to 1000 bytes, and has 0")),
            (event().to("s".repeat(201)), Some("the sink of an event must have 1 to 200 bytes, and has 201")),
            (
                event().service("s".repeat(251)),
                Some("the service of an event must have 1 to 250 bytes, and has 251"),
            ),
        ] {
            let found = event.check().err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), fault, "{event:?}");
        }
        let nowhere = Event::new("kind", 7).expect("JSON").service("acme");
        assert!(matches!(nowhere.check(), Err(EventError::NoSink)));
    }
}
