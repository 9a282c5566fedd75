//! A store in this process's memory, for tests.

mod events;
mod outbox;

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use atp_core::{Fingerprint, Notification};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Activity, Claim, Claimed, CompletedDecision, Completion, DEFAULT_REDELIVERY_WINDOW, DeliveryCount,
    DeliveryRow, Event, Known, MAX_KEPT, Question, RecordedQuestion, RefusedDelivery, Routes, Store,
    StoreError, StoredRefusal, Token, Verdict,
};

use events::Events;

/// Remembers until the process ends: for tests. It gives handlers no
/// [`Transaction`](crate::Transaction), so one that takes it is answered 500 here; on SQLite such a
/// handler is tested with `SqliteStore::in_memory`.
#[derive(Clone)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    redelivery_window: Duration,
    fingerprint_key: [u8; 32],
    activity: Activity,
    routes: Routes,
}

type Key = (String, String);

#[derive(Default)]
struct Tables {
    /// By service and key.
    questions: HashMap<Key, Stored>,
    /// The key, by service and notification.
    bound: HashMap<Key, String>,
    decisions: HashMap<Key, Decision>,
    deliveries: BTreeMap<(String, String, [u8; 32], Verdict), DeliveryRow>,
    refused: BTreeMap<i64, Body>,
    /// By service and notification.
    erased: HashSet<Key>,
    events: Events,
}

/// A kept body: its service, what was signed, and the token of a redrive.
type Body = (String, [u8; 32], StoredRefusal, Option<Token>);

struct Stored {
    question: Question,
    recorded: RecordedQuestion,
    invalidated_at: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct Decision {
    claim: Claim,
    leased: DateTime<Utc>,
    /// Whether it was moved to what is refused, as abandoned.
    is_told: bool,
    completed: Option<(DateTime<Utc>, Completion)>,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: Arc::default(),
            clock: Arc::new(Utc::now),
            redelivery_window: DEFAULT_REDELIVERY_WINDOW,
            fingerprint_key: crate::store::token::new_key(),
            activity: Activity::new(),
            routes: Routes::new(),
        }
    }

    /// Asks this clock for the time; the system's unless set.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets [`Store::get_redelivery_window`]; [`DEFAULT_REDELIVERY_WINDOW`] unless set.
    #[must_use]
    pub fn redelivery_window(mut self, window: Duration) -> Self {
        self.redelivery_window = window;
        self
    }

    /// Says which sinks are told of what; none unless set.
    #[must_use]
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change is made whole, so a panic elsewhere leaves nothing half done.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim that was never made where it is not completed. There is nothing to write in it.
#[derive(Debug)]
pub struct Uncommitted(Option<Undo>);

#[derive(Debug)]
struct Undo {
    store: MemoryStore,
    claim: Claim,
    before: Option<Decision>,
}

impl Drop for Uncommitted {
    fn drop(&mut self) {
        let Some(Undo { store, claim, before }) = self.0.take() else { return };
        let mut tables = store.tables();
        if let Ok((id, decision)) = tables.running(&claim) {
            match before {
                Some(before) => *decision = before,
                None => drop(tables.decisions.remove(&id)),
            }
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Store for MemoryStore {
    type Transaction = Uncommitted;

    async fn record(&self, question: &Question) -> Result<(), StoreError> {
        let key = question.checked_key()?.to_owned();
        let (service, notification) = (question.service.clone(), &question.notification);
        let mut tables = self.tables();
        if let Some(stored) = tables.questions.get(&(service.clone(), key.clone())) {
            let same = question.asks_the_same(&stored.question);
            return if same { Ok(()) } else { Err(StoreError::AlreadyRecorded(key)) };
        }
        question.check_deadline((self.clock)())?;
        if let Some(id) = &notification.id {
            match tables.bound.entry((service.clone(), id.clone())) {
                Entry::Occupied(_) => return Err(StoreError::AlreadyRecorded(id.clone())),
                Entry::Vacant(vacant) => vacant.insert(key.clone()),
            };
        }
        let recorded = RecordedQuestion::new(key.clone(), question, (self.clock)());
        let stored = Stored { question: question.clone(), recorded, invalidated_at: None };
        let event = self.routes.asked(question, &key, (self.clock)())?;
        tables.questions.insert((service, key), stored);
        tables.write_events(event.as_slice(), (self.clock)());
        self.activity.hint();
        Ok(())
    }

    async fn bind(&self, service: &str, key: &str, notification_id: &str) -> Result<(), StoreError> {
        crate::store::question::check_length("notification id", notification_id, Notification::MAX_ID)?;
        let mut tables = self.tables();
        let stored = tables.questions.get(&pair(service, key));
        let bound =
            stored.ok_or_else(|| StoreError::NotRecorded(key.to_owned()))?.recorded.notification.id.clone();
        match (bound, tables.bound.get(&pair(service, notification_id))) {
            (None, None) => {}
            (Some(bound), Some(same)) if bound == notification_id && same == key => return Ok(()),
            _ => return Err(StoreError::AlreadyRecorded(notification_id.to_owned())),
        }
        tables.bound.insert(pair(service, notification_id), key.to_owned());
        if let Some(stored) = tables.questions.get_mut(&pair(service, key)) {
            stored.recorded.notification.id = Some(notification_id.to_owned());
        }
        Ok(())
    }

    async fn invalidate(&self, service: &str, notification_id: &str, reason: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let id = pair(service, notification_id);
        if tables.decisions.get(&id).is_some_and(|decision| decision.completed.is_some()) {
            return Err(StoreError::Decided(notification_id.to_owned()));
        }
        let now = (self.clock)();
        if tables.decisions.get(&id).is_some_and(|decision| decision.is_leased(now)) {
            return Err(StoreError::Running(notification_id.to_owned()));
        }
        let stored =
            tables.question(&id).ok_or_else(|| StoreError::NotRecorded(notification_id.to_owned()))?;
        stored.recorded.invalidated.get_or_insert_with(|| reason.to_owned());
        stored.invalidated_at.get_or_insert(now);
        let recorded_at = stored.recorded.recorded_at;
        let event = self.routes.invalidated(service, notification_id, reason, recorded_at, now)?;
        tables.write_events(event.as_slice(), now);
        self.activity.hint();
        Ok(())
    }

    async fn find(
        &self,
        service: &str,
        notification_id: &str,
        answer: Option<Fingerprint>,
    ) -> Result<Known, StoreError> {
        Ok(self.tables().known(&pair(service, notification_id), answer))
    }

    async fn find_by_key(&self, service: &str, key: &str) -> Result<Known, StoreError> {
        let tables = self.tables();
        let Some(stored) = tables.questions.get(&pair(service, key)) else { return Ok(Known::default()) };
        Ok(match &stored.recorded.notification.id {
            Some(id) => tables.known(&pair(service, id), None),
            None => Known { question: Some(stored.recorded.clone()), ..Known::default() },
        })
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let claimed = self.tables().claim(claim, (self.clock)());
        Ok(match claimed {
            Claimed::Started(_) => Claimed::Started(()),
            Claimed::Running => Claimed::Running,
            Claimed::Completed(completed) => Claimed::Completed(completed),
        })
    }

    async fn claim_in_transaction(&self, claim: &Claim) -> Result<Claimed<Uncommitted>, StoreError> {
        let claimed = self.tables().claim(claim, (self.clock)());
        Ok(match claimed {
            Claimed::Started(before) => {
                let undo = Undo { store: self.clone(), claim: claim.clone(), before };
                Claimed::Started(Uncommitted(Some(undo)))
            }
            Claimed::Running => Claimed::Running,
            Claimed::Completed(completed) => Claimed::Completed(completed),
        })
    }

    async fn resume(&self, claim: &Claim) -> Result<Uncommitted, StoreError> {
        self.tables().running(claim).map(|_| Uncommitted(None))
    }

    async fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        _: Option<Uncommitted>,
    ) -> Result<(), StoreError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        let (_, decision) = tables.running(claim)?;
        decision.completed = Some((now, completion.clone()));
        if completion.outcome.is_success() {
            tables.write_events(&claim.events, now);
            tables.write_events(&completion.events, now);
            self.activity.hint();
        }
        Ok(())
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if let Ok((id, _)) = tables.running(claim) {
            tables.decisions.remove(&id);
        }
        Ok(())
    }

    async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        for note in counts {
            tables.count(note, now);
        }
        Ok(())
    }

    async fn keep(&self, kept: &RefusedDelivery) -> Result<bool, StoreError> {
        self.tables().keep(kept, (self.clock)())
    }

    async fn refused(&self, service: &str, after: i64, limit: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        let mut tables = self.tables();
        tables.tell_abandoned(service, (self.clock)());
        let rows = tables.refused.range(after.saturating_add(1)..);
        let of_it = rows.filter(|(_, (owner, ..))| owner == service).map(|(_, (_, _, refused, _))| refused);
        Ok(of_it.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn redrive(&self, service: &str, id: i64, token: Token) -> Result<StoredRefusal, StoreError> {
        let mut tables = self.tables();
        let row = tables.refused.get_mut(&id).filter(|(owner, ..)| owner == service);
        let (_, _, refused, expected) = row.ok_or(StoreError::NotKept(id))?;
        *expected = Some(token);
        Ok(refused.clone())
    }

    async fn redeem(&self, service: &str, id: i64, token: Token) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let row = tables.refused.get_mut(&id).filter(|(owner, ..)| owner == service);
        let expected = row.filter(|(.., expected)| *expected == Some(token));
        Ok(expected.map(|(.., expected)| *expected = None).is_some())
    }

    async fn deliveries(&self, service: &str, notification_id: &str) -> Result<Vec<DeliveryRow>, StoreError> {
        let tables = self.tables();
        let id = pair(service, notification_id);
        let mut noted = tables.noted(&id);
        let decision = tables.decisions.get(&id).and_then(Decision::noted);
        noted.extend(decision.filter(|decision| {
            noted
                .iter()
                .all(|noted| (noted.fingerprint, noted.verdict) != (decision.fingerprint, decision.verdict))
        }));
        noted.sort_by_key(|noted| noted.first_seen);
        Ok(noted)
    }

    async fn reopen(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        match tables.decisions.entry(pair(service, notification_id)) {
            Entry::Occupied(entry) if entry.get().is_refusal() => {
                entry.remove();
                Ok(())
            }
            _ => Err(StoreError::NotRefused(notification_id.to_owned())),
        }
    }

    async fn purge(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        crate::store::error::check_purge(before, (self.clock)(), self.redelivery_window)?;
        let mut tables = self.tables();
        let mut gone = Vec::new();
        for ((service, key), stored) in &tables.questions {
            let id = stored.recorded.notification.id.clone();
            let decision = id.and_then(|id| tables.decisions.get(&(service.clone(), id)));
            let over = match decision {
                Some(Decision { completed: Some((at, _)), .. }) => Some(*at),
                Some(decision) if !decision.lease_ended(before) => None,
                _ => stored.invalidated_at.or(stored.recorded.notification.deadline),
            };
            let id = stored.recorded.notification.id.clone().map(|id| (service.clone(), id));
            let is_quiet = id.is_none_or(|id| !tables.is_seen_since(&id, before));
            if over.is_some_and(|over| over < before) && stored.recorded.recorded_at < before && is_quiet {
                gone.push((service.clone(), key.clone()));
            }
        }
        for place in &gone {
            let stored = tables.questions.remove(place);
            let Some(id) = stored.and_then(|stored| stored.recorded.notification.id) else { continue };
            let id = (place.0.clone(), id);
            tables.bound.remove(&id);
            tables.decisions.remove(&id);
            tables
                .deliveries
                .retain(|(service, notification, ..), _| (service, notification) != (&id.0, &id.1));
            tables.refused.retain(|_, (service, _, refused, _)| {
                *service != id.0 || refused.notification_id.as_ref() != Some(&id.1)
            });
        }
        let Tables { bound, deliveries, refused, .. } = &mut *tables;
        let known = |service: &str, id: &str| bound.contains_key(&pair(service, id));
        deliveries.retain(|(service, id, ..), noted| known(service, id) || noted.last_seen >= before);
        refused.retain(|_, (service, _, refused, _)| {
            let known = refused.notification_id.as_ref().is_some_and(|id| known(service, id));
            known || refused.refused_at >= before
        });
        Ok(u64::try_from(gone.len()).unwrap_or(u64::MAX))
    }

    async fn erase(&self, service: &str, notification_id: &str) -> Result<(), StoreError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        let id = pair(service, notification_id);
        if let Some(decision) = tables.decisions.get_mut(&id) {
            if decision.completed.is_none() && decision.is_leased(now) {
                return Err(StoreError::Running(notification_id.to_owned()));
            }
            decision.erase();
        }
        for ((owner, id, ..), noted) in &mut tables.deliveries {
            if (&**owner, &**id) == (service, notification_id) {
                noted.arrival.responder = None;
            }
        }
        tables.refused.retain(|_, (owner, _, refused, _)| {
            owner != service || refused.notification_id.as_deref() != Some(notification_id)
        });
        tables.erased.insert(id);
        tables.events.erase(service, notification_id);
        Ok(())
    }

    fn get_redelivery_window(&self) -> Duration {
        self.redelivery_window
    }

    fn get_routes(&self) -> &Routes {
        &self.routes
    }

    fn get_fingerprint_key(&self) -> &[u8; 32] {
        &self.fingerprint_key
    }

    fn get_activity(&self) -> &Activity {
        &self.activity
    }
}

fn pair(service: &str, id: &str) -> Key {
    (service.to_owned(), id.to_owned())
}

impl Tables {
    /// Writes events; how many were not there yet.
    fn write_events(&mut self, events: &[Event], now: DateTime<Utc>) -> usize {
        let Self { events: written, erased, .. } = self;
        let is_erased = |event: &Event| {
            event.subject.as_ref().is_some_and(|id| erased.contains(&(event.service.clone(), id.clone())))
        };
        events.iter().filter(|event| written.write(event, is_erased(event), now)).count()
    }

    fn question(&mut self, id: &Key) -> Option<&mut Stored> {
        let key = self.bound.get(id)?.clone();
        self.questions.get_mut(&(id.0.clone(), key))
    }

    /// The decision that is claimed, if it still is.
    fn running(&mut self, claim: &Claim) -> Result<(Key, &mut Decision), StoreError> {
        let id = pair(&claim.service, &claim.notification_id);
        match self.decisions.get_mut(&id) {
            Some(held) if held.claim.token == claim.token && held.completed.is_none() => Ok((id, held)),
            _ => Err(StoreError::Fenced),
        }
    }

    /// With what the claim takes the place of.
    fn claim(&mut self, claim: &Claim, now: DateTime<Utc>) -> Claimed<Option<Decision>> {
        let id = pair(&claim.service, &claim.notification_id);
        let standing = self.decisions.get(&id);
        if let Some(completed) = standing.and_then(Decision::completed) {
            return Claimed::Completed(completed);
        }
        if standing.is_some_and(|decision| decision.is_leased(now)) {
            return Claimed::Running;
        }
        let mut decision = Decision { claim: claim.clone(), leased: now, is_told: false, completed: None };
        if self.erased.contains(&id) {
            decision.erase();
        }
        let before = self.decisions.insert(id, decision);
        // What died under its lease is not lost where another answer takes its place.
        let left =
            before.as_ref().filter(|left| !left.is_told && left.claim.fingerprint != claim.fingerprint);
        if let Some(left) = left {
            self.abandon(&RefusedDelivery::abandoned(&left.claim), now);
        }
        Claimed::Started(before)
    }

    /// The counted deliveries of a notification.
    fn noted(&self, (service, notification): &Key) -> Vec<DeliveryRow> {
        let rows = self.deliveries.iter();
        let of_it = rows.filter(|((owner, id, ..), _)| (owner, id) == (service, notification));
        of_it.map(|(_, noted)| noted.clone()).collect()
    }

    /// Whether anything of a notification came or was refused since.
    fn is_seen_since(&self, id: &Key, since: DateTime<Utc>) -> bool {
        let is_of_it = |owner: &String, refused: &StoredRefusal| {
            owner == &id.0 && refused.notification_id.as_ref() == Some(&id.1)
        };
        let mut refused = self.refused.values();
        self.noted(id).iter().any(|noted| noted.last_seen >= since)
            || refused.any(|(owner, _, refused, _)| is_of_it(owner, refused) && refused.refused_at >= since)
    }

    fn keep(&mut self, kept: &RefusedDelivery, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut rows = self.refused.values_mut();
        if let Some((_, _, refused, _)) =
            rows.find(|(service, signed, ..)| *service == kept.service && *signed == kept.digest)
        {
            refused.verdict = kept.verdict;
            return Ok(false);
        }
        if let Some(id) = &kept.notification_id {
            if self.erased.contains(&(kept.service.clone(), id.clone())) {
                return Ok(false);
            }
            let rows = self.refused.values();
            let of_it = rows.filter(|(service, _, refused, _)| {
                *service == kept.service && refused.notification_id.as_ref() == Some(id)
            });
            if of_it.count() >= usize::try_from(MAX_KEPT).unwrap_or(usize::MAX) {
                return Err(StoreError::KeptEnough);
            }
        }
        self.insert(kept, now);
        Ok(true)
    }

    fn insert(&mut self, kept: &RefusedDelivery, now: DateTime<Utc>) {
        let id = self.refused.keys().next_back().copied().unwrap_or_default() + 1;
        let refused = StoredRefusal::new(id, kept, now);
        self.refused.insert(id, (kept.service.clone(), kept.digest, refused, None));
    }

    /// What a process left is kept also where enough is kept.
    fn abandon(&mut self, kept: &RefusedDelivery, now: DateTime<Utc>) {
        if let Err(StoreError::KeptEnough) = self.keep(kept, now) {
            self.insert(kept, now);
        }
    }

    /// Moves what was left under a lease that ended to what is refused.
    fn tell_abandoned(&mut self, service: &str, now: DateTime<Utc>) {
        let left = self.decisions.values_mut().filter(|decision| {
            let is_over = decision.completed.is_some() || decision.is_told;
            decision.claim.service == service && !is_over && decision.lease_ended(now)
        });
        let mut abandoned: Vec<(DateTime<Utc>, RefusedDelivery)> = left
            .map(|decision| {
                decision.is_told = true;
                (decision.leased, RefusedDelivery::abandoned(&decision.claim))
            })
            .collect();
        abandoned.sort_by(|(one, a), (other, b)| (one, &a.notification_id).cmp(&(other, &b.notification_id)));
        for (_, kept) in abandoned {
            self.abandon(&kept, now);
        }
    }

    fn count(&mut self, note: &DeliveryCount, now: DateTime<Utc>) {
        let is_erased = self.erased.contains(&pair(&note.service, &note.notification_id));
        let id =
            (note.service.clone(), note.notification_id.clone(), *note.fingerprint.as_bytes(), note.verdict);
        let mut row = DeliveryRow::new(note, now);
        if let Some(earlier) = self.deliveries.get(&id) {
            row.first_seen = earlier.first_seen;
            row.count = row.count.saturating_add(earlier.count);
        }
        row.arrival.responder = row.arrival.responder.filter(|_| !is_erased);
        self.deliveries.insert(id, row);
    }

    fn known(&self, id: &Key, answer: Option<Fingerprint>) -> Known {
        let of_it = self.noted(id);
        let was_judged = |noted: &DeliveryRow| !matches!(noted.verdict, Verdict::Forbidden | Verdict::Stale);
        let same = of_it.iter().filter(|noted| Some(noted.fingerprint) == answer && was_judged(noted));
        let decision = self.decisions.get(id);
        let stored = self.bound.get(id).and_then(|key| self.questions.get(&(id.0.clone(), key.clone())));
        let question = stored.map(|stored| {
            let state = decision.and_then(Decision::state);
            RecordedQuestion { state, ..stored.recorded.clone() }
        });
        let is_unknown = question.is_none();
        let others = self.bound.keys().filter(|(_, other)| is_unknown && *other == id.1);
        Known {
            question,
            decision: decision.and_then(Decision::completed),
            first_seen: of_it.iter().map(|noted| noted.first_seen).min(),
            answer_seen: same.map(|noted| noted.first_seen).min(),
            other_service: others.map(|(service, _)| service.clone()).min(),
        }
    }
}

impl Decision {
    fn completed(&self) -> Option<CompletedDecision> {
        let (at, completion) = self.completed.as_ref()?;
        Some(CompletedDecision::new(&self.claim, completion.outcome.clone(), *at))
    }

    fn state(&self) -> Option<String> {
        self.completed.as_ref().map(|(_, completion)| completion.state.clone())
    }

    /// What the audit tells of it.
    fn noted(&self) -> Option<DeliveryRow> {
        let decision = self.completed()?;
        let took = (decision.completed_at - self.leased).to_std().unwrap_or_default();
        Some(DeliveryRow::of_decision(&self.claim, &decision, took))
    }

    fn erase(&mut self) {
        self.claim.data = None;
        self.claim.arrival.responder = None;
        (self.claim.signed_text, self.claim.body) = (Bytes::new(), Bytes::new());
        // What was blanked is not told as what a process left.
        self.is_told = true;
    }

    fn is_leased(&self, now: DateTime<Utc>) -> bool {
        self.leased <= now && (now - self.leased).to_std().is_ok_and(|held| held < self.claim.lease)
    }

    fn lease_ended(&self, before: DateTime<Utc>) -> bool {
        (before - self.leased).to_std().is_ok_and(|held| held > self.claim.lease)
    }

    fn is_refusal(&self) -> bool {
        self.completed.as_ref().is_some_and(|(_, completion)| (400..500).contains(&completion.outcome.status))
    }
}
