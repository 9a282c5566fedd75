//! A store of a third party: all that it returns it can make, and its handlers get its own
//! transactions.

use std::{
    collections::{HashMap, HashSet},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use atp_actix::{
    AtpResponse, Error, Simple, Transaction, Webhook,
    atp_core::{Fingerprint, Notification},
    store::{
        Activity, Claim, Claimed, CompletedDecision, Completion, DEFAULT_REDELIVERY_WINDOW, DeliveryCount,
        DeliveryRow, Known, MAX_KEPT, Outcome, Question, RecordedQuestion, RefusedDelivery, Store,
        StoreError, StoredRefusal, Token, Verdict, contract,
    },
};
use atp_tests::PATH;
use chrono::{DateTime, Utc};

use crate::support::{
    asked::{approve, record, verifier},
    mounted::Mounted,
};

/// A service, and a key or a notification.
type Key = (String, String);

fn key(service: &str, id: &str) -> Key {
    (service.to_owned(), id.to_owned())
}

#[derive(Clone)]
struct OwnStore {
    tables: Arc<Mutex<Tables>>,
    activity: Activity,
    window: Duration,
}

#[derive(Default)]
struct Tables {
    questions: HashMap<Key, Asked>,
    decisions: HashMap<Key, Decision>,
    deliveries: Vec<(Key, DeliveryRow)>,
    refused: Vec<(RefusedDelivery, StoredRefusal, Option<Token>)>,
    last_id: i64,
    erased: HashSet<Key>,
    /// What handlers have written.
    lines: Vec<String>,
}

struct Asked {
    question: Question,
    recorded: RecordedQuestion,
    invalidated_at: Option<DateTime<Utc>>,
}

#[derive(Clone)]
struct Decision {
    claim: Claim,
    leased_at: DateTime<Utc>,
    is_told: bool,
    completed: Option<(CompletedDecision, String)>,
}

impl Decision {
    fn until(&self) -> DateTime<Utc> {
        self.leased_at + self.claim.lease
    }

    fn is_running(&self) -> bool {
        self.completed.is_none() && self.until() > Utc::now()
    }
}

/// What a handler writes, until it is committed.
struct Lines {
    written: Vec<String>,
    _undo: Option<Undo>,
}

/// The claim that was made with a transaction goes with it.
struct Undo {
    store: OwnStore,
    claim: Claim,
    before: Option<Decision>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        let mut tables = self.store.tables();
        if tables.running(&self.claim).is_ok() {
            let id = key(&self.claim.service, &self.claim.notification_id);
            match self.before.take() {
                Some(before) => drop(tables.decisions.insert(id, before)),
                None => drop(tables.decisions.remove(&id)),
            }
        }
    }
}

impl Deref for Lines {
    type Target = Vec<String>;

    fn deref(&self) -> &Vec<String> {
        &self.written
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut Vec<String> {
        &mut self.written
    }
}

impl OwnStore {
    fn new(window: Duration) -> Self {
        Self { tables: Arc::default(), activity: Activity::new(), window }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("nobody panicked")
    }
}

impl Tables {
    fn asked(&mut self, service: &str, id: &str) -> Option<&mut Asked> {
        let mut of_it = self.questions.iter_mut().filter(|((owner, _), _)| owner == service);
        of_it.find(|(_, asked)| asked.recorded.notification.id.as_deref() == Some(id)).map(|(_, asked)| asked)
    }

    fn running(&mut self, claim: &Claim) -> Result<&mut Decision, StoreError> {
        let decision = self.decisions.get_mut(&key(&claim.service, &claim.notification_id));
        let ours = decision.filter(|held| held.completed.is_none() && held.claim.token == claim.token);
        ours.ok_or(StoreError::Fenced)
    }

    /// With what it takes the place of.
    fn claim(&mut self, claim: &Claim) -> Claimed<Option<Decision>> {
        let id = key(&claim.service, &claim.notification_id);
        let before = self.decisions.get(&id).cloned();
        match &before {
            Some(Decision { completed: Some((decision, _)), .. }) => {
                return Claimed::Completed(decision.clone());
            }
            Some(decision) if decision.is_running() => return Claimed::Running,
            Some(left) if !left.is_told && left.claim.fingerprint != claim.fingerprint => {
                self.insert(RefusedDelivery::abandoned(&left.claim));
            }
            _ => {}
        }
        let is_erased = self.erased.contains(&id);
        let mut claim = claim.clone();
        if is_erased {
            claim.data = None;
            claim.arrival.responder = None;
        }
        let decision = Decision { claim, leased_at: Utc::now(), is_told: is_erased, completed: None };
        self.decisions.insert(id, decision);
        Claimed::Started(before)
    }

    fn known(&mut self, service: &str, id: &str, answer: Option<Fingerprint>) -> Known {
        let mut known = Known::default();
        let decision = self.decisions.get(&key(service, id)).and_then(|decision| decision.completed.clone());
        known.question = self.asked(service, id).map(|asked| asked.recorded.clone());
        if let (Some(question), Some((_, state))) = (&mut known.question, &decision) {
            question.state = Some(state.clone());
        }
        known.decision = decision.map(|(decision, _)| decision);
        let rows = self.deliveries.iter().filter(|(of, _)| *of == key(service, id)).map(|(_, row)| row);
        known.first_seen = rows.clone().map(|row| row.first_seen).min();
        let judged = rows.filter(|row| !matches!(row.verdict, Verdict::Forbidden | Verdict::Stale));
        let same = judged.filter(|row| Some(row.fingerprint) == answer);
        known.answer_seen = same.map(|row| row.first_seen).min();
        if known.question.is_none() {
            let mut others = self.questions.iter();
            let other = others.find(|(_, asked)| asked.recorded.notification.id.as_deref() == Some(id));
            known.other_service = other.map(|((service, _), _)| service.clone());
        }
        known
    }

    fn insert(&mut self, refused: RefusedDelivery) {
        let is_same =
            |kept: &RefusedDelivery| (&kept.service, kept.digest) == (&refused.service, refused.digest);
        if self.refused.iter().any(|(kept, ..)| is_same(kept)) {
            return;
        }
        self.last_id += 1;
        let row = StoredRefusal::new(self.last_id, &refused, Utc::now());
        self.refused.push((refused, row, None));
    }
}

impl Store for OwnStore {
    type Transaction = Lines;

    async fn record(&self, question: &Question) -> Result<(), StoreError> {
        let (name, service) = (question.checked_key()?, question.get_service());
        let mut tables = self.tables();
        if let Some(asked) = tables.questions.get(&key(service, name)) {
            let is_same = question.asks_the_same(&asked.question);
            return is_same.then_some(()).ok_or_else(|| StoreError::AlreadyRecorded(name.to_owned()));
        }
        question.check_deadline(Utc::now())?;
        if let Some(id) = question.notification().id.as_deref()
            && tables.asked(service, id).is_some()
        {
            return Err(StoreError::AlreadyRecorded(id.to_owned()));
        }
        let recorded = RecordedQuestion::new(name, question, Utc::now());
        let asked = Asked { question: question.clone(), recorded, invalidated_at: None };
        tables.questions.insert(key(service, name), asked);
        Ok(())
    }

    async fn bind(&self, service: &str, name: &str, id: &str) -> Result<(), StoreError> {
        if id.len() > Notification::MAX_ID {
            return Err(StoreError::TooLong { what: "notification id", most: Notification::MAX_ID });
        }
        let mut tables = self.tables();
        let taken = tables.asked(service, id).map(|asked| asked.recorded.key.clone());
        let asked = tables.questions.get_mut(&key(service, name));
        let asked = asked.ok_or_else(|| StoreError::NotRecorded(name.to_owned()))?;
        match (asked.recorded.notification.id.as_deref(), taken.as_deref()) {
            (None, None) => asked.recorded.notification.id = Some(id.to_owned()),
            (Some(bound), Some(_)) if bound == id => {}
            _ => return Err(StoreError::AlreadyRecorded(id.to_owned())),
        }
        Ok(())
    }

    async fn invalidate(&self, service: &str, id: &str, reason: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        match tables.decisions.get(&key(service, id)) {
            Some(Decision { completed: Some(_), .. }) => return Err(StoreError::Decided(id.to_owned())),
            Some(decision) if decision.is_running() => return Err(StoreError::Running(id.to_owned())),
            _ => {}
        }
        let asked = tables.asked(service, id).ok_or_else(|| StoreError::NotRecorded(id.to_owned()))?;
        asked.recorded.invalidated.get_or_insert_with(|| reason.to_owned());
        asked.invalidated_at.get_or_insert_with(Utc::now);
        Ok(())
    }

    async fn find(&self, service: &str, id: &str, answer: Option<Fingerprint>) -> Result<Known, StoreError> {
        Ok(self.tables().known(service, id, answer))
    }

    async fn find_by_key(&self, service: &str, name: &str) -> Result<Known, StoreError> {
        let mut tables = self.tables();
        let Some(asked) = tables.questions.get(&key(service, name)) else { return Ok(Known::default()) };
        let recorded = asked.recorded.clone();
        if let Some(id) = &recorded.notification.id {
            return Ok(tables.known(service, id, None));
        }
        let mut known = Known::default();
        known.question = Some(recorded);
        Ok(known)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        Ok(match self.tables().claim(claim) {
            Claimed::Started(_) => Claimed::Started(()),
            Claimed::Completed(decision) => Claimed::Completed(decision),
            _ => Claimed::Running,
        })
    }

    async fn claim_in_transaction(&self, claim: &Claim) -> Result<Claimed<Lines>, StoreError> {
        Ok(match self.tables().claim(claim) {
            Claimed::Started(before) => {
                let undo = Undo { store: self.clone(), claim: claim.clone(), before };
                Claimed::Started(Lines { written: Vec::new(), _undo: Some(undo) })
            }
            Claimed::Completed(decision) => Claimed::Completed(decision),
            _ => Claimed::Running,
        })
    }

    async fn resume(&self, claim: &Claim) -> Result<Lines, StoreError> {
        self.tables().running(claim)?;
        Ok(Lines { written: Vec::new(), _undo: None })
    }

    async fn complete(
        &self,
        claim: &Claim,
        completion: &Completion,
        transaction: Option<Lines>,
    ) -> Result<(), StoreError> {
        {
            let mut tables = self.tables();
            let decision = tables.running(claim)?;
            let outcome = completion.outcome.clone();
            let completed = CompletedDecision::new(&decision.claim, outcome, Utc::now());
            decision.completed = Some((completed, completion.state.clone()));
            if let (true, Some(lines)) = (completion.outcome.is_success(), &transaction) {
                tables.lines.extend_from_slice(&lines.written);
            }
        }
        // It finds the claim completed, and undoes nothing.
        drop(transaction);
        Ok(())
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if tables.running(claim).is_ok() {
            tables.decisions.remove(&key(&claim.service, &claim.notification_id));
        }
        Ok(())
    }

    async fn count_deliveries(&self, counts: &[DeliveryCount]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for counted in counts {
            let id = key(&counted.service, &counted.notification_id);
            let mut new = DeliveryRow::new(counted, Utc::now());
            if tables.erased.contains(&id) {
                new.arrival.responder = None;
            }
            let mut rows = tables.deliveries.iter_mut();
            let same = |row: &DeliveryRow| (row.fingerprint, row.verdict) == (new.fingerprint, new.verdict);
            match rows.find(|(of, row)| *of == id && same(row)) {
                Some((_, row)) => {
                    (new.first_seen, new.count) = (row.first_seen, new.count + row.count);
                    *row = new;
                }
                None => tables.deliveries.push((id, new)),
            }
        }
        Ok(())
    }

    async fn keep(&self, refused: &RefusedDelivery) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let mut kept = tables.refused.iter_mut();
        let same = kept.find(|(kept, ..)| (&kept.service, kept.digest) == (&refused.service, refused.digest));
        if let Some((_, row, _)) = same {
            row.verdict = refused.verdict;
            return Ok(false);
        }
        if let Some(id) = &refused.notification_id {
            if tables.erased.contains(&key(&refused.service, id)) {
                return Ok(false);
            }
            let of_it = tables.refused.iter().filter(|(kept, ..)| {
                kept.service == refused.service && kept.notification_id.as_ref() == Some(id)
            });
            if of_it.count() >= usize::try_from(MAX_KEPT).expect("it fits") {
                return Err(StoreError::KeptEnough);
            }
        }
        tables.insert(refused.clone());
        Ok(true)
    }

    async fn refused(&self, service: &str, after: i64, limit: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        let mut tables = self.tables();
        let mut left = Vec::new();
        for decision in tables.decisions.values_mut().filter(|decision| decision.claim.service == service) {
            if decision.completed.is_none() && !decision.is_told && decision.until() < Utc::now() {
                decision.is_told = true;
                left.push(RefusedDelivery::abandoned(&decision.claim));
            }
        }
        left.into_iter().for_each(|left| tables.insert(left));
        let of_it = tables.refused.iter().filter(|(kept, row, _)| kept.service == service && row.id > after);
        let rows = of_it.map(|(_, row, _)| row.clone());
        Ok(rows.take(usize::try_from(limit).expect("it fits")).collect())
    }

    async fn redrive(&self, service: &str, id: i64, token: Token) -> Result<StoredRefusal, StoreError> {
        let mut tables = self.tables();
        let mut kept = tables.refused.iter_mut();
        let kept = kept.find(|(kept, row, _)| kept.service == service && row.id == id);
        let (_, row, expected) = kept.ok_or(StoreError::NotKept(id))?;
        *expected = Some(token);
        Ok(row.clone())
    }

    async fn redeem(&self, service: &str, id: i64, token: Token) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let mut kept = tables.refused.iter_mut();
        let kept = kept.find(|(kept, row, expected)| {
            kept.service == service && row.id == id && *expected == Some(token)
        });
        Ok(kept.map(|(.., expected)| *expected = None).is_some())
    }

    async fn deliveries(&self, service: &str, id: &str) -> Result<Vec<DeliveryRow>, StoreError> {
        let tables = self.tables();
        let of_it = tables.deliveries.iter().filter(|(of, _)| *of == key(service, id));
        let mut rows: Vec<_> = of_it.map(|(_, row)| row.clone()).collect();
        if let Some(Decision { claim, leased_at, completed: Some((decision, _)), .. }) =
            tables.decisions.get(&key(service, id))
        {
            let took = (decision.completed_at - *leased_at).to_std().unwrap_or_default();
            let told = DeliveryRow::of_decision(claim, decision, took);
            if rows.iter().all(|row| (row.fingerprint, row.verdict) != (told.fingerprint, told.verdict)) {
                rows.push(told);
            }
        }
        rows.sort_by_key(|row| row.first_seen);
        Ok(rows)
    }

    async fn reopen(&self, service: &str, id: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let decision = tables.decisions.get(&key(service, id));
        let completed = decision.and_then(|decision| decision.completed.as_ref());
        match completed {
            Some((decision, _)) if !decision.outcome.is_success() => {
                tables.decisions.remove(&key(service, id));
                Ok(())
            }
            _ => Err(StoreError::NotRefused(id.to_owned())),
        }
    }

    async fn purge(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        if before > Utc::now() {
            return Err(StoreError::TooRecent { window: self.get_redelivery_window() });
        }
        let mut tables = self.tables();
        let tables = &mut *tables;
        let is_over = |asked: &Asked, id: Option<&Key>| {
            let over_at = match id.and_then(|id| tables.decisions.get(id)) {
                Some(Decision { completed: Some((decision, _)), .. }) => Some(decision.completed_at),
                Some(decision) if decision.until() >= before => None,
                _ => asked.invalidated_at.or(asked.recorded.notification.deadline),
            };
            let is_seen = tables.deliveries.iter().any(|(of, row)| Some(of) == id && row.last_seen >= before);
            let is_refused = tables.refused.iter().any(|(kept, row, _)| {
                let of = kept.notification_id.as_ref().map(|notification| key(&kept.service, notification));
                of.is_some() && of.as_ref() == id && row.refused_at >= before
            });
            asked.recorded.recorded_at < before
                && over_at.is_some_and(|over_at| over_at < before)
                && !is_seen
                && !is_refused
        };
        let id_of = |(service, _): &Key, asked: &Asked| {
            asked.recorded.notification.id.as_ref().map(|id| key(service, id))
        };
        let questions = tables.questions.iter();
        let over: Vec<_> = questions
            .map(|(place, asked)| (place, asked, id_of(place, asked)))
            .filter(|(_, asked, id)| is_over(asked, id.as_ref()))
            .map(|(place, _, id)| (place.clone(), id))
            .collect();
        for (place, id) in &over {
            tables.questions.remove(place);
            if let Some(id) = id {
                tables.decisions.remove(id);
                tables.deliveries.retain(|(of, _)| of != id);
                tables.refused.retain(|(kept, ..)| {
                    kept.notification_id.as_ref().map(|of| key(&kept.service, of)).as_ref() != Some(id)
                });
            }
        }
        let known: HashSet<Key> =
            tables.questions.iter().filter_map(|(place, asked)| id_of(place, asked)).collect();
        tables.deliveries.retain(|(of, row)| known.contains(of) || row.last_seen >= before);
        tables.refused.retain(|(kept, row, _)| {
            let of = kept.notification_id.as_ref().map(|of| key(&kept.service, of));
            of.is_some_and(|of| known.contains(&of)) || row.refused_at >= before
        });
        Ok(over.len().try_into().expect("it fits"))
    }

    async fn erase(&self, service: &str, id: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let of = key(service, id);
        if let Some(decision) = tables.decisions.get_mut(&of) {
            if decision.is_running() {
                return Err(StoreError::Running(id.to_owned()));
            }
            decision.is_told = true;
            decision.claim.arrival.responder = None;
            if let Some((completed, _)) = &mut decision.completed {
                (completed.data, completed.responder) = (None, None);
            }
        }
        let rows = tables.deliveries.iter_mut().filter(|(owner, _)| *owner == of);
        rows.for_each(|(_, row)| row.arrival.responder = None);
        tables
            .refused
            .retain(|(kept, ..)| (&*kept.service, kept.notification_id.as_deref()) != (service, Some(id)));
        tables.erased.insert(of);
        Ok(())
    }

    fn get_redelivery_window(&self) -> Duration {
        self.window
    }

    fn get_fingerprint_key(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn get_activity(&self) -> &Activity {
        &self.activity
    }
}

#[actix_web::test]
async fn a_store_of_a_third_party_keeps_the_contract() {
    contract(OwnStore::new(Duration::ZERO)).await;
}

#[actix_web::test]
async fn handlers_write_in_the_transaction_of_a_store_of_a_third_party() {
    async fn approve_it(answer: AtpResponse<Simple>, mut tx: Transaction<Lines>) -> Result<(), Error> {
        tx.push(answer.notification_id.clone());
        if answer.notification_id == "fails" { Err(std::io::Error::other("it fails").into()) } else { Ok(()) }
    }
    let store = OwnStore::new(DEFAULT_REDELIVERY_WINDOW);
    let webhook = Webhook::new(PATH, verifier()).store(store.clone()).on("approve", approve_it);
    let app = Mounted::new(webhook).await;
    for (id, status) in [("fails", 503), ("done", 200), ("done", 200)] {
        record(&store, id).await;
        assert_eq!(app.send(&approve(id)).await.0, status, "{id}");
    }
    assert_eq!(store.tables().lines, ["done"]);
    let found = store.find("default", "done", None).await.expect("an answer").decision;
    assert_eq!(found.expect("a decision").outcome, Outcome::success());
}
