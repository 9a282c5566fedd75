//! Which sinks are told of what.

use atp_core::{StatusChange, UserDecision};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    error::StoreError,
    event::{Event, EventError},
    question::{DEFAULT_SERVICE, Question},
};

/// Which sinks are told of what. A store is given it when it is opened, by every process that
/// writes, and a [`Relay`](crate::Relay) sends to the sinks of these names, in the same process or
/// another. A store without routes writes nothing that is to be sent.
///
/// ```
/// use atp_actix::store::{MemoryStore, Routes};
///
/// let store = MemoryStore::new().routes(Routes::new().events("bus").server("atp"));
/// # drop(store);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "routes do nothing until they are given to a store with `.routes(..)`"]
pub struct Routes {
    events: Vec<String>,
    server: Option<String>,
    is_told_of_processed: bool,
}

impl Default for Routes {
    /// To nowhere.
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// To nowhere.
    pub const fn new() -> Self {
        Self { events: Vec::new(), server: None, is_told_of_processed: true }
    }

    /// Names a sink that is told of each decision, and of the service's own events that name no
    /// sink. There may be several.
    pub fn events(mut self, sink: impl Into<String>) -> Self {
        let sink = sink.into();
        if !self.events.contains(&sink) {
            self.events.push(sink);
        }
        self
    }

    /// Names the sink that leads to the ATP server: it is sent each question that is recorded, and
    /// told of those that are taken back and of those whose answer was handled.
    pub fn server(mut self, sink: impl Into<String>) -> Self {
        self.server = Some(sink.into());
        self
    }

    /// Does not tell the ATP server that an answer was handled. The reference does not name that
    /// status, so a server may refuse it, which does no harm.
    pub fn without_processed(mut self) -> Self {
        self.is_told_of_processed = false;
        self
    }

    /// The sinks that are told of decisions.
    #[must_use]
    pub fn get_events(&self) -> &[String] {
        &self.events
    }

    /// The sink that leads to the ATP server.
    #[must_use]
    pub fn get_server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// What a question that is recorded for the first time is sent by.
    pub(crate) fn asked(
        &self,
        question: &Question,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Event>, StoreError> {
        let Some(sink) = &self.server else { return Ok(None) };
        let notification = question.notification();
        let subject = notification.id.as_deref().unwrap_or(key);
        let event = Event::new(Event::QUESTION, notification)?.subject(subject).time(now).to(sink);
        Ok(Some(event.service(question.get_service())))
    }

    /// What tells the ATP server that a question is taken back: one event, however often it is.
    pub(crate) fn invalidated(
        &self,
        service: &str,
        notification_id: &str,
        reason: &str,
        recorded_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<Event>, StoreError> {
        let Some(sink) = &self.server else { return Ok(None) };
        let event = Event::new(Event::STATUS, StatusChange::invalidated(reason))?.subject(notification_id);
        let id = taken_back(service, notification_id, recorded_at);
        Ok(Some(event.id(id).service(service).time(now).to(sink)))
    }

    /// What tells of a decision that takes effect: to all who want to know, and to the ATP server.
    pub(crate) fn decided(
        &self,
        service: &str,
        decision: &UserDecision,
        decision_id: Uuid,
        is_late: bool,
    ) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        let notification_id = &*decision.metadata.notification_id;
        if !self.events.is_empty() {
            let kind = if is_late { Event::LATE_DECISION } else { Event::DECISION };
            let event = Event::new(kind, decision)?.id(decision_id.to_string()).time(decision.timestamp);
            let event = event.service(service).subject(notification_id);
            events.push(self.events.iter().fold(event, Event::to));
        }
        // A late answer is none to the server, which has closed the question.
        if let Some(sink) = self.server.as_ref().filter(|_| self.is_told_of_processed && !is_late) {
            let event = Event::new(Event::STATUS, StatusChange::processed())?.subject(notification_id);
            events.push(event.id(format!("{decision_id}-processed")).service(service).to(sink));
        }
        Ok(events)
    }

    /// An event of the service's own, with all that it needs to be written.
    pub(crate) fn filled_in(&self, mut event: Event) -> Result<Event, EventError> {
        if event.sinks.is_empty() {
            event.sinks.clone_from(&self.events);
        }
        if event.service.is_empty() {
            DEFAULT_SERVICE.clone_into(&mut event.service);
        }
        let named = std::mem::take(&mut event.sinks);
        let event = named.into_iter().fold(event, Event::to);
        event.check()?;
        Ok(event)
    }
}

/// The id of the event that a question was taken back. When it was recorded is part of it, since it may
/// be purged and asked again.
fn taken_back(service: &str, notification_id: &str, recorded_at: DateTime<Utc>) -> String {
    /// Of this crate's events about questions: a UUID of version 4, made for it.
    const NAMESPACE: Uuid = Uuid::from_u128(0x0d6b_57a1_2f7e_4c1b_9a54_c9f2_8e60_3d17);
    // With its length, so that no two pairs of texts join to the same.
    let recorded_at = recorded_at.timestamp_micros();
    let name = format!("{} {service} {recorded_at} {notification_id}", service.len());
    Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_by_default_are_new_ones() {
        assert_eq!(Routes::default(), Routes::new());
    }

    #[test]
    fn a_sink_that_is_named_twice_gets_an_event_once() {
        let mut event = Event::new("kind", 7).expect("JSON");
        event.sinks = ["bus", "audit", "bus"].map(str::to_owned).to_vec();
        let filled_in = Routes::new().filled_in(event).expect("an event");
        assert_eq!(filled_in.sinks, ["bus", "audit"]);
    }
}
