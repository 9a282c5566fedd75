//! Events in this process's memory, and what came of each at each sink.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{
    limits::{LONGEST_BACKOFF, LONGEST_SEND_LEASE},
    store::{Event, Lag, Outgoing, Parked, SendEnd, Settled, StoreError},
};

/// Events, and what came of each at each sink.
#[derive(Default)]
pub(super) struct Events {
    last_seq: i64,
    /// With the times at which they were written.
    written: BTreeMap<i64, (Event, DateTime<Utc>)>,
    /// By service and id.
    ids: HashSet<(String, String)>,
    /// By sink and place, until it is sent.
    sends: BTreeMap<(String, i64), Send>,
}

/// An event at one sink.
struct Send {
    due_at: DateTime<Utc>,
    leased_until: Option<DateTime<Utc>>,
    attempt: u32,
    failures: u32,
    state: State,
}

enum State {
    Waiting,
    Parked(DateTime<Utc>, String),
}

impl Send {
    fn new(now: DateTime<Utc>) -> Self {
        Self { due_at: now, leased_until: None, attempt: 0, failures: 0, state: State::Waiting }
    }

    fn is_due(&self, now: DateTime<Utc>) -> bool {
        let is_free = self.leased_until.is_none_or(|until| until <= now || until > now + LONGEST_SEND_LEASE);
        matches!(self.state, State::Waiting) && self.due_at <= now && is_free
    }
}

impl Events {
    /// Writes an event; whether it was not there yet.
    pub(super) fn write(&mut self, event: &Event, is_erased: bool, now: DateTime<Utc>) -> bool {
        if !self.ids.insert((event.service.clone(), event.id.clone())) {
            return false;
        }
        self.last_seq += 1;
        for sink in &event.sinks {
            self.sends.insert((sink.clone(), self.last_seq), Send::new(now));
        }
        let mut event = event.clone();
        if let Some(data) = event.without_answer().filter(|_| is_erased) {
            event.data = data;
        }
        self.written.insert(self.last_seq, (event, now));
        true
    }

    pub(super) fn erase(&mut self, service: &str, notification_id: &str) {
        let of_it = |event: &&mut Event| {
            event.service == service && event.subject.as_deref() == Some(notification_id)
        };
        for event in self.written.values_mut().map(|(event, _)| event).filter(of_it) {
            if let Some(data) = event.without_answer() {
                event.data = data;
            }
        }
    }

    /// The places of what may be sent to a sink: of each subject the oldest that is unsent.
    fn first(&self, sink: &str) -> Vec<i64> {
        let (mut first, mut subjects) = (Vec::new(), HashSet::new());
        for (_, seq) in self.sends.keys().filter(|(to, _)| to == sink) {
            let event = self.written.get(seq);
            let subject = event.and_then(|(event, _)| Some((&event.service, event.subject.as_ref()?)));
            if subject.is_none_or(|subject| subjects.insert(subject)) {
                first.push(*seq);
            }
        }
        first
    }

    fn outgoing(&self, sink: &str, seq: i64) -> Option<Outgoing> {
        let ((event, _), send) = (self.written.get(&seq)?, self.sends.get(&(sink.to_owned(), seq))?);
        let event = Event { sinks: vec![sink.to_owned()], ..event.clone() };
        Some(Outgoing::new(seq, event).attempted(send.attempt, send.failures))
    }

    pub(super) fn lease(
        &mut self,
        sink: &str,
        limit: u32,
        lease: Duration,
        now: DateTime<Utc>,
    ) -> Vec<Outgoing> {
        let place = |seq: i64| (sink.to_owned(), seq);
        let mut due: Vec<(DateTime<Utc>, i64)> = self
            .first(sink)
            .into_iter()
            .filter_map(|seq| self.sends.get(&place(seq)).map(|send| (send, seq)))
            .filter(|(send, _)| send.is_due(now))
            .map(|(send, seq)| (send.due_at, seq))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut leased = Vec::new();
        for (_, seq) in due {
            if let Some(send) = self.sends.get_mut(&place(seq)) {
                send.attempt = send.attempt.saturating_add(1);
                send.failures = send.failures.saturating_add(u32::from(send.leased_until.is_some()));
                send.leased_until = Some(now + lease.min(LONGEST_SEND_LEASE));
            }
            leased.extend(self.outgoing(sink, seq));
        }
        leased
    }

    pub(super) fn settle(
        &mut self,
        sink: &str,
        Settled { seq, attempt, end }: &Settled,
        now: DateTime<Utc>,
    ) -> bool {
        let place = (sink.to_owned(), *seq);
        let Some(send) = self.sends.get_mut(&place) else { return false };
        if send.attempt != *attempt || send.leased_until.take().is_none() {
            return false;
        }
        match end {
            SendEnd::Sent => {
                self.sends.remove(&place);
            }
            SendEnd::Again { after, is_own_fault, .. } => {
                send.due_at = now + (*after).min(LONGEST_BACKOFF);
                send.failures = send.failures.saturating_add(u32::from(*is_own_fault));
            }
            SendEnd::Parked { reason } => {
                send.failures = send.failures.saturating_add(1);
                send.state = State::Parked(now, reason.clone());
            }
        }
        true
    }

    fn parked(&mut self, sink: &str, seq: i64) -> Result<&mut Send, StoreError> {
        let send = self.sends.get_mut(&(sink.to_owned(), seq));
        send.filter(|send| matches!(send.state, State::Parked(..)))
            .ok_or_else(|| StoreError::NotParked { sink: sink.to_owned(), seq })
    }

    pub(super) fn tidy(&mut self, before: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
        for send in self.sends.values_mut() {
            if send.due_at > now + LONGEST_BACKOFF {
                send.due_at = now;
            }
        }
        let left: HashSet<i64> = self.sends.keys().map(|(_, seq)| *seq).collect();
        let count = self.written.len();
        let ids = &mut self.ids;
        self.written.retain(|seq, (event, written_at)| {
            let stays = left.contains(seq) || *written_at >= before;
            if !stays {
                ids.remove(&(event.service.clone(), event.id.clone()));
            }
            stays
        });
        u64::try_from(count - self.written.len()).unwrap_or(u64::MAX)
    }

    /// What is parked at a sink behind a place.
    pub(super) fn all_parked(&self, sink: &str, after: i64, limit: u32) -> Vec<Parked> {
        let behind = self.sends.range((sink.to_owned(), after.saturating_add(1))..);
        let parked = behind.take_while(|((to, _), _)| to == sink).filter_map(|((_, seq), send)| {
            let State::Parked(at, reason) = &send.state else { return None };
            let outgoing = self.outgoing(sink, *seq)?;
            Some(Parked::new(*seq, sink, outgoing.event, send.attempt, *at, reason))
        });
        parked.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }

    pub(super) fn release(&mut self, sink: &str, seq: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
        let send = self.parked(sink, seq)?;
        (send.state, send.failures, send.due_at) = (State::Waiting, 0, now);
        Ok(())
    }

    pub(super) fn forget(&mut self, sink: &str, seq: i64) -> Result<(), StoreError> {
        self.parked(sink, seq)?;
        self.sends.remove(&(sink.to_owned(), seq));
        Ok(())
    }

    pub(super) fn lag(&self) -> Vec<Lag> {
        let mut lags: BTreeMap<&str, Lag> = BTreeMap::new();
        for ((sink, _), send) in &self.sends {
            let lag = lags.entry(sink).or_insert_with(|| Lag::new(&**sink, 0, 0, None));
            if matches!(send.state, State::Parked(..)) {
                lag.parked += 1;
            } else {
                lag.waiting += 1;
            }
        }
        let oldest = |sink: &str| {
            let waits = |seq: &i64| {
                let send = self.sends.get(&(sink.to_owned(), *seq));
                send.is_some_and(|send| matches!(send.state, State::Waiting))
            };
            // They come in the order of their places.
            let (_, written_at) = self.written.get(&self.first(sink).into_iter().find(waits)?)?;
            Some(*written_at)
        };
        for (sink, lag) in &mut lags {
            lag.oldest = oldest(sink);
        }
        lags.into_values().collect()
    }
}
