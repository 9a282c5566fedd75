//! What every store must do, as a test.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for tests, where a panic is the message"
)]

use std::time::Duration;

use atp_core::{Action, Fingerprint, Notification, RawJson, Scheme};
use bytes::Bytes;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    Arrival, Claim, Claimed, CompletedDecision, Completion, DeliveryCount, MAX_KEPT, Outcome, Question,
    RefusedDelivery, STATE_LATE, STATE_REFUSED, Store, StoreError, Token, Verdict,
};

/// Tests a store: one of this crate's, or your own. It panics where the store breaks the contract
/// of [`Store`].
///
/// Give it an empty store whose redelivery window is zero, as it purges what it has made. What only
/// a second process, a killed one or a power cut can show is not in it.
///
/// ```
/// use std::time::Duration;
/// use atp_actix::store::{MemoryStore, contract};
///
/// # #[actix_web::main]
/// # async fn main() {
/// contract(MemoryStore::new().redelivery_window(Duration::ZERO)).await;
/// # }
/// ```
pub async fn contract(store: impl Store) {
    a_question_is_recorded_once(&store).await;
    a_question_whose_deadline_moved_is_the_same(&store).await;
    a_question_that_came_too_late_is_not_recorded(&store).await;
    a_question_is_bound_to_the_servers_id(&store).await;
    a_question_is_found_by_its_key(&store).await;
    what_was_decided_is_read_back(&store).await;
    another_services_question_is_named(&store).await;
    what_is_decided_cannot_be_taken_back(&store).await;
    services_do_not_see_each_other(&store).await;
    of_many_claims_one_starts(&store).await;
    a_claim_is_fenced_once_another_took_it(&store).await;
    a_released_claim_was_never_made(&store).await;
    a_decision_is_completed_with_its_transaction_or_not_at_all(&store).await;
    what_a_handler_refuses_is_recorded_alone(&store).await;
    a_claim_is_completed_in_a_transaction_that_is_opened_later(&store).await;
    a_lease_that_ended_and_nobody_took_is_not_lost(&store).await;
    deliveries_are_counted(&store).await;
    a_decision_is_told_without_its_counter(&store).await;
    what_is_refused_is_kept_once_and_redriven_once(&store).await;
    of_one_notification_only_so_much_is_kept(&store).await;
    what_was_left_under_a_lease_is_refused_as_abandoned(&store).await;
    only_a_recorded_refusal_is_reopened(&store).await;
    every_text_comes_back(&store).await;
    what_could_not_be_read_again_is_not_recorded(&store).await;
    what_a_human_said_can_be_erased(&store).await;
    purge_forgets_what_is_over_and_nothing_else(&store).await;
}

fn question(service: &str, id: &str) -> Question {
    let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id(id);
    Question::new(notification.action(Action::simple("approve", "Approve"))).service(service)
}

fn fingerprint(answer: &str) -> Fingerprint {
    Fingerprint::new(answer, None)
}

/// What the human said in every claim.
const DATA: &str = r#"{"reason":"\u0000"}"#;

fn claim(service: &str, id: &str, answer: &str) -> Claim {
    let arrival =
        Arrival::new(Scheme::NodeCompact, 1).request_id("req_1".to_owned()).responder("user_9".to_owned());
    let body = format!("{id} {answer} as it came");
    Claim::new(service, id, fingerprint(answer), answer, arrival, body)
        .signed_text(format!("{id} {answer} as it was signed"))
        .data(DATA.to_owned())
}

fn outcome(status: u16, text: &'static str) -> Outcome {
    Outcome::new(status, Some("text/plain".to_owned()), Bytes::from_static(text.as_bytes()))
}

fn completion(text: &'static str) -> Completion {
    completed(outcome(200, text)).state("approved")
}

/// Ends a claim that is in time.
fn completed(outcome: Outcome) -> Completion {
    Completion::new(&claim("any", "any", "approve"), outcome)
}

/// Claims in a transaction.
async fn begin<S: Store>(store: &S, claim: &Claim) -> S::Transaction {
    match store.claim_in_transaction(claim).await.expect("an answer") {
        Claimed::Started(transaction) => transaction,
        Claimed::Running => panic!("somebody is at it"),
        Claimed::Completed(completed) => panic!("it is over: {completed:?}"),
    }
}

/// Claims what a transaction held that was dropped, and that may still be on its way out.
async fn claim_soon(store: &impl Store, claim: &Claim) {
    for _ in 0..1000 {
        if store.claim(claim).await.expect("an answer") == Claimed::Started(()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("what was dropped is never free again");
}

/// Claims and completes.
async fn decide(store: &impl Store, service: &str, id: &str, answer: &str, completion: &Completion) {
    let claim = claim(service, id, answer);
    assert_eq!(store.claim(&claim).await.expect("a claim"), Claimed::Started(()), "{service} {id}");
    store.complete(&claim, completion, None).await.expect("a completion");
}

async fn a_question_is_recorded_once(store: &impl Store) {
    const OURS: &str = "recorded once";
    let asked = question(OURS, "n").user_id("user_9").request_id("req_1").context(json!({"a": [1]}));
    store.record(&asked).await.expect("a question");
    store.record(&asked).await.expect("the same question again");
    let other = question(OURS, "n").user_id("somebody else");
    assert!(matches!(store.record(&other).await, Err(StoreError::AlreadyRecorded(_))));
    let found = store.find(OURS, "n", None).await.expect("an answer").question.expect("the question");
    assert_eq!(found.notification, asked.notification);
    assert_eq!(found.user_id.as_deref(), Some("user_9"));
    assert_eq!(found.request_id.as_deref(), Some("req_1"));
    assert_eq!(found.context, json!({"a": [1]}));
    assert_eq!((found.invalidated, found.state), (None, None));
    assert!((Utc::now() - found.recorded_at).abs() < TimeDelta::minutes(5), "{}", found.recorded_at);
    let unanswerable = Question::new(Notification::new("Deploy?", "").id("m")).service(OURS);
    assert!(matches!(store.record(&unanswerable).await, Err(StoreError::Question(_))));
    let unnamed = Notification::new("Deploy?", "").action(Action::simple("approve", "Approve"));
    assert!(matches!(store.record(&Question::new(unnamed)).await, Err(StoreError::NoKey)));
    let keyed_by_bytes = std::collections::HashMap::from([([0_u8], 0)]);
    let unfit = question(OURS, "unfit").context(keyed_by_bytes);
    assert!(matches!(store.record(&unfit).await, Err(StoreError::Context(_))));
    let nothing = store.find(OURS, "unknown", None).await.expect("an answer");
    assert!(nothing.question.is_none() && nothing.decision.is_none() && nothing.first_seen.is_none());
}

fn due(question: Question, deadline: DateTime<Utc>) -> Question {
    Question { notification: question.notification.clone().deadline(deadline), ..question }
}

/// Records a question, and waits until its deadline has passed.
async fn record_expiring(store: &impl Store, asked: Question) {
    for tenths in 1..100 {
        let deadline = Utc::now() + TimeDelta::milliseconds(100 * tenths);
        match store.record(&due(asked.clone(), deadline)).await {
            // A machine may be so busy that it has passed before the question is recorded.
            Err(StoreError::DeadlinePassed { .. }) => {}
            recorded => {
                recorded.expect("a question");
                let until = (deadline - Utc::now()).to_std().unwrap_or_default();
                return tokio::time::sleep(until + Duration::from_millis(2)).await;
            }
        }
    }
    panic!("every deadline passes before it is recorded");
}

async fn a_question_whose_deadline_moved_is_the_same(store: &impl Store) {
    const OURS: &str = "deadline moved";
    let first = Utc::now().trunc_subsecs(6) + TimeDelta::hours(1);
    store.record(&due(question(OURS, "n"), first)).await.expect("a question");
    for moved in [TimeDelta::hours(9), TimeDelta::hours(-9)] {
        store.record(&due(question(OURS, "n"), first + moved)).await.expect("the same question");
    }
    store.record(&question(OURS, "n")).await.expect("the same question without a deadline");
    let found = store.find(OURS, "n", None).await.expect("an answer").question.expect("the question");
    assert_eq!(found.notification.deadline, Some(first), "the first stands");
    let other = due(question(OURS, "n").user_id("somebody else"), first - TimeDelta::hours(9));
    assert!(matches!(store.record(&other).await, Err(StoreError::AlreadyRecorded(_))));
}

async fn a_question_that_came_too_late_is_not_recorded(store: &impl Store) {
    const OURS: &str = "too late";
    let passed = Utc::now() - TimeDelta::hours(1);
    match store.record(&due(question(OURS, "late"), passed)).await {
        Err(StoreError::DeadlinePassed { deadline, now }) => assert!(deadline < now, "{deadline} {now}"),
        other => panic!("a deadline that has passed is recorded: {other:?}"),
    }
    assert!(store.find(OURS, "late", None).await.expect("an answer").question.is_none());
    record_expiring(store, question(OURS, "in time")).await;
    let again = due(question(OURS, "in time"), passed);
    store.record(&again).await.expect("what is recorded already is the same question");
}

async fn a_question_is_found_by_its_key(store: &impl Store) {
    const OURS: &str = "by key";
    let notification = Notification::new("Deploy?", "").action(Action::simple("approve", "Approve"));
    let asked = Question::new(notification).service(OURS).key("ours").user_id("user_9");
    let nothing = store.find_by_key(OURS, "ours").await.expect("an answer");
    assert!(nothing.question.is_none() && nothing.decision.is_none());
    store.record(&asked).await.expect("a question");
    let unbound = store.find_by_key(OURS, "ours").await.expect("an answer");
    let recorded = unbound.question.expect("it is recorded");
    assert_eq!((&*recorded.key, recorded.notification.id.as_deref()), ("ours", None));
    assert_eq!(recorded.user_id.as_deref(), Some("user_9"));
    assert!(unbound.decision.is_none());
    store.bind(OURS, "ours", "theirs").await.expect("a binding");
    decide(store, OURS, "theirs", "approve", &completion("done")).await;
    let found = store.find(OURS, "theirs", None).await.expect("an answer");
    let by_key = store.find_by_key(OURS, "ours").await.expect("an answer");
    let recorded = by_key.question.expect("the question");
    assert_eq!((&*recorded.key, recorded.notification.id.as_deref()), ("ours", Some("theirs")));
    assert_eq!(recorded.state.as_deref(), Some("approved"));
    assert_eq!(by_key.decision, found.decision);
    assert!(by_key.decision.is_some() && by_key.first_seen == found.first_seen);
    assert!(store.find_by_key("another", "ours").await.expect("an answer").question.is_none());
}

async fn what_was_decided_is_read_back(store: &impl Store) {
    const OURS: &str = "read back";
    for (id, is_late, status, state) in [
        ("handled", false, 200, "approve"),
        ("late", true, 200, STATE_LATE),
        ("refused", false, 409, STATE_REFUSED),
        ("late and refused", true, 409, STATE_REFUSED),
    ] {
        store.record(&question(OURS, id)).await.expect("a question");
        let claim = claim(OURS, id, "approve").late(is_late);
        let before = Utc::now() - TimeDelta::minutes(5);
        let transaction = begin(store, &claim).await;
        let completion = Completion::new(&claim, outcome(status, id));
        store.complete(&claim, &completion, Some(transaction)).await.expect("a completion");
        let found = store.find(OURS, id, None).await.expect("an answer");
        let decision = found.decision.expect("a decision");
        assert_eq!((decision.fingerprint, &*decision.action_id), (fingerprint("approve"), "approve"), "{id}");
        assert_eq!((decision.data.as_deref(), decision.is_late), (Some(DATA), is_late), "{id}");
        assert_eq!(
            (decision.responder.as_deref(), &decision.outcome),
            (Some("user_9"), &outcome(status, id))
        );
        assert!(before < decision.completed_at && decision.completed_at < before + TimeDelta::minutes(10));
        assert_eq!(found.question.expect("the question").state.as_deref(), Some(state), "{id}");
        store.erase(OURS, id).await.expect("erased");
        let erased = store.find(OURS, id, None).await.expect("an answer").decision.expect("it stands");
        assert_eq!((erased.data, erased.responder), (None, None), "{id}");
    }
}

async fn another_services_question_is_named(store: &impl Store) {
    store.record(&question("asked it", "elsewhere")).await.expect("a question");
    for (service, id, other) in [
        ("got the answer", "elsewhere", Some("asked it")),
        ("asked it", "elsewhere", None),
        ("got the answer", "nowhere", None),
    ] {
        let found = store.find(service, id, None).await.expect("an answer");
        assert_eq!(found.other_service.as_deref(), other, "{service} {id}");
    }
}

async fn a_question_is_bound_to_the_servers_id(store: &impl Store) {
    const OURS: &str = "bound";
    let notification = Notification::new("Deploy?", "").action(Action::simple("approve", "Approve"));
    let keyed = |key: &str| Question::new(notification.clone()).service(OURS).key(key);
    for key in ["ours", "other"] {
        store.record(&keyed(key)).await.expect("a question");
    }
    assert!(store.find(OURS, "ours", None).await.expect("an answer").question.is_none(), "a key is no id");
    store.bind(OURS, "ours", "theirs").await.expect("a binding");
    store.bind(OURS, "ours", "theirs").await.expect("the same again");
    store.record(&keyed("ours")).await.expect("the same question again");
    let found = store.find(OURS, "theirs", None).await.expect("an answer").question.expect("the question");
    assert_eq!(found.notification.id.as_deref(), Some("theirs"));
    assert!(matches!(store.bind(OURS, "ours", "else").await, Err(StoreError::AlreadyRecorded(_))));
    assert!(matches!(store.bind(OURS, "other", "theirs").await, Err(StoreError::AlreadyRecorded(_))));
    assert!(matches!(store.bind(OURS, "none", "x").await, Err(StoreError::NotRecorded(_))));
}

async fn what_is_decided_cannot_be_taken_back(store: &impl Store) {
    const OURS: &str = "taken back";
    for id in ["open", "decided"] {
        store.record(&question(OURS, id)).await.expect("a question");
    }
    store.invalidate(OURS, "open", "superseded").await.expect("an open question");
    store.invalidate(OURS, "open", "twice").await.expect("once more");
    store.record(&question(OURS, "running")).await.expect("a question");
    let running = claim(OURS, "running", "approve");
    assert_eq!(store.claim(&running).await.expect("a claim"), Claimed::Started(()));
    assert!(matches!(store.invalidate(OURS, "running", "late").await, Err(StoreError::Running(_))));
    store.release_claim(&running).await.expect("a release");
    store.invalidate(OURS, "running", "superseded").await.expect("nobody is at it any more");
    let found = store.find(OURS, "open", None).await.expect("an answer").question.expect("the question");
    assert_eq!(found.invalidated.as_deref(), Some("superseded"), "the first reason stays");
    decide(store, OURS, "decided", "approve", &completion("done")).await;
    assert!(matches!(store.invalidate(OURS, "decided", "late").await, Err(StoreError::Decided(_))));
    assert!(matches!(store.invalidate(OURS, "none", "x").await, Err(StoreError::NotRecorded(_))));
}

async fn services_do_not_see_each_other(store: &impl Store) {
    store.record(&question("one", "shared")).await.expect("a question");
    store
        .record(&question("other", "shared").user_id("user_2"))
        .await
        .expect("another's question of the same id");
    decide(store, "one", "shared", "approve", &completion("done")).await;
    let other = store.find("other", "shared", None).await.expect("an answer");
    assert!(other.decision.is_none());
    assert_eq!(other.question.expect("the question").user_id.as_deref(), Some("user_2"));
    assert!(store.find("third", "shared", None).await.expect("an answer").question.is_none());
}

async fn of_many_claims_one_starts(store: &impl Store) {
    const OURS: &str = "one starts";
    store.record(&question(OURS, "n")).await.expect("a question");
    let claims = (0..16).map(|nth| claim(OURS, "n", if nth % 2 == 0 { "approve" } else { "reject" }));
    let claims: Vec<Claim> = claims.collect();
    let claimed = join_all(claims.iter().map(|claim| store.claim(claim))).await;
    let claimed: Vec<Claimed> = claimed.into_iter().map(|claimed| claimed.expect("a claim")).collect();
    let winners: Vec<usize> = (0..16).filter(|nth| claimed[*nth] == Claimed::Started(())).collect();
    assert_eq!(winners.len(), 1, "{claimed:?}");
    assert_eq!(claimed.iter().filter(|claimed| **claimed == Claimed::Running).count(), 15);
    let winner = &claims[winners[0]];
    store.complete(winner, &completion("done"), None).await.expect("a completion");
    let again = store.claim(&claim(OURS, "n", "approve")).await.expect("a claim");
    let found = store.find(OURS, "n", None).await.expect("an answer");
    let decision = found.decision.expect("a decision");
    let expected = CompletedDecision::new(winner, outcome(200, "done"), decision.completed_at);
    assert_eq!(decision, expected);
    assert_eq!(again, Claimed::Completed(expected));
    assert_eq!(found.question.expect("the question").state.as_deref(), Some("approved"));
}

async fn a_claim_is_fenced_once_another_took_it(store: &impl Store) {
    const OURS: &str = "fenced";
    store.record(&question(OURS, "n")).await.expect("a question");
    let short = Claim { lease: Duration::ZERO, ..claim(OURS, "n", "approve") };
    assert_eq!(store.claim(&short).await.expect("a claim"), Claimed::Started(()));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let next = claim(OURS, "n", "reject");
    drop(begin(store, &next).await);
    let never = Claim { token: Token::random(), ..short.clone() };
    assert!(matches!(store.complete(&never, &completion("x"), None).await, Err(StoreError::Fenced)));
    let unfinished = store.find(OURS, "n", None).await.expect("an answer");
    assert_eq!(unfinished.decision, None);
    claim_soon(store, &next).await;
    assert!(matches!(store.claim_in_transaction(&short).await, Ok(Claimed::Running)));
    let late = store.complete(&short, &completion("late"), None).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    store.release_claim(&short).await.expect("no harm");
    store.complete(&next, &completion("done"), None).await.expect("a completion");
    let twice = store.complete(&next, &completion("twice"), None).await;
    assert!(matches!(twice, Err(StoreError::Fenced)), "{twice:?}");
    store.release_claim(&next).await.expect("no harm");
    let decision = store.find(OURS, "n", None).await.expect("an answer").decision.expect("a decision");
    assert_eq!(decision.outcome, outcome(200, "done"));
}

async fn a_released_claim_was_never_made(store: &impl Store) {
    const OURS: &str = "released";
    store.record(&question(OURS, "n")).await.expect("a question");
    let first = claim(OURS, "n", "approve");
    assert_eq!(store.claim(&first).await.expect("a claim"), Claimed::Started(()));
    store.release_claim(&first).await.expect("a release");
    let next = claim(OURS, "n", "reject");
    assert_eq!(store.claim(&next).await.expect("a claim"), Claimed::Started(()));
    assert!(matches!(store.complete(&first, &completion("x"), None).await, Err(StoreError::Fenced)));
    store.release_claim(&next).await.expect("a release");
}

async fn a_decision_is_completed_with_its_transaction_or_not_at_all(store: &impl Store) {
    const OURS: &str = "transaction";
    for id in ["dropped", "committed"] {
        store.record(&question(OURS, id)).await.expect("a question");
    }
    let dropped = claim(OURS, "dropped", "approve");
    drop(begin(store, &dropped).await);
    assert!(store.find(OURS, "dropped", None).await.expect("an answer").decision.is_none());
    let released = store.complete(&dropped, &completion("x"), None).await;
    assert!(matches!(released, Err(StoreError::Fenced)), "{released:?}");
    let next = claim(OURS, "dropped", "approve");
    claim_soon(store, &next).await;
    assert!(matches!(store.claim_in_transaction(&dropped).await, Ok(Claimed::Running)));
    store.release_claim(&next).await.expect("a release");
    let committed = claim(OURS, "committed", "approve");
    let transaction = begin(store, &committed).await;
    store.complete(&committed, &completion("in it"), Some(transaction)).await.expect("a completion");
    let found = store.find(OURS, "committed", None).await.expect("an answer");
    let decision = found.decision.expect("a decision");
    assert_eq!(decision.outcome, outcome(200, "in it"));
    assert_eq!(found.question.expect("the question").state.as_deref(), Some("approved"));
    match store.claim_in_transaction(&claim(OURS, "committed", "reject")).await {
        Ok(Claimed::Completed(completed)) => assert_eq!(completed, decision),
        _ => panic!("a completed decision can be begun"),
    }
}

async fn what_a_handler_refuses_is_recorded_alone(store: &impl Store) {
    const OURS: &str = "refused in it";
    store.record(&question(OURS, "n")).await.expect("a question");
    let claim = claim(OURS, "n", "approve");
    let transaction = begin(store, &claim).await;
    let refusal = completed(outcome(409, "no"));
    store.complete(&claim, &refusal, Some(transaction)).await.expect("a completion");
    let found = store.find(OURS, "n", None).await.expect("an answer");
    assert_eq!(found.decision.expect("a decision").outcome, outcome(409, "no"));
    assert_eq!(found.question.expect("the question").state.as_deref(), Some(STATE_REFUSED));
}

async fn a_claim_is_completed_in_a_transaction_that_is_opened_later(store: &impl Store) {
    const OURS: &str = "opened later";
    for id in ["done", "refused"] {
        store.record(&question(OURS, id)).await.expect("a question");
        let claim = claim(OURS, id, "approve");
        assert!(matches!(store.resume(&claim).await, Err(StoreError::Fenced)), "nobody has claimed it");
        assert_eq!(store.claim(&claim).await.expect("a claim"), Claimed::Started(()));
        drop(store.resume(&claim).await.expect("a transaction"));
        let transaction = loop {
            // The one that was dropped may still be on its way out.
            if let Ok(transaction) = store.resume(&claim).await {
                break transaction;
            }
        };
        let status = if id == "done" { 200 } else { 409 };
        let completion = completed(outcome(status, id));
        store.complete(&claim, &completion, Some(transaction)).await.expect("a completion");
        let found = store.find(OURS, id, None).await.expect("an answer");
        assert_eq!(found.decision.expect("a decision").outcome, outcome(status, id));
        assert!(matches!(store.resume(&claim).await, Err(StoreError::Fenced)), "it is over");
    }
}

async fn a_lease_that_ended_and_nobody_took_is_not_lost(store: &impl Store) {
    const OURS: &str = "not lost";
    store.record(&question(OURS, "n")).await.expect("a question");
    let short = Claim { lease: Duration::ZERO, ..claim(OURS, "n", "approve") };
    assert_eq!(store.claim(&short).await.expect("a claim"), Claimed::Started(()));
    tokio::time::sleep(Duration::from_millis(2)).await;
    store.complete(&short, &completion("done"), None).await.expect("still ours");
}

fn note(service: &str, id: &str, answer: &str, verdict: Verdict) -> DeliveryCount {
    let arrival =
        Arrival::new(Scheme::Timestamped, 1).request_id("req_1".to_owned()).responder("user_9".to_owned());
    DeliveryCount::new(service, id, fingerprint(answer), verdict, arrival, 200)
        .duration(Duration::from_micros(1234))
}

async fn deliveries_are_counted(store: &impl Store) {
    const OURS: &str = "counted";
    for (answer, verdict) in [
        ("approve", Verdict::Handled),
        ("approve", Verdict::Replayed),
        ("approve", Verdict::Replayed),
        ("reject", Verdict::Conflict),
        ("reject", Verdict::Conflict),
        ("reject", Verdict::Conflict),
    ] {
        store.count_deliveries(&[note(OURS, "n", answer, verdict)]).await.expect("a note");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let many = |answer| DeliveryCount { count: 7, ..note(OURS, "other", answer, Verdict::Replayed) };
    for _ in 0..2 {
        store.count_deliveries(&[many("approve"), many("reject")]).await.expect("two notes");
    }
    store.count_deliveries(&[]).await.expect("nothing");
    let others = store.deliveries(OURS, "other").await.expect("an answer");
    assert_eq!(others.iter().map(|noted| noted.count).collect::<Vec<_>>(), [14, 14]);
    let noted = store.deliveries(OURS, "n").await.expect("an answer");
    let counts: Vec<_> = noted.iter().map(|noted| (noted.verdict, noted.count)).collect();
    assert_eq!(counts, [(Verdict::Handled, 1), (Verdict::Replayed, 2), (Verdict::Conflict, 3)]);
    assert!(noted[2].last_seen > noted[2].first_seen);
    assert_eq!((noted[0].fingerprint, noted[2].fingerprint), (fingerprint("approve"), fingerprint("reject")));
    let last = &noted[2];
    assert_eq!(
        (last.arrival.request_id.as_deref(), last.arrival.responder.as_deref()),
        (Some("req_1"), Some("user_9"))
    );
    assert_eq!((last.arrival.scheme, last.arrival.secret_index, last.status), (Scheme::Timestamped, 1, 200));
    assert_eq!(last.duration, Duration::from_micros(1234));
    let found = store.find(OURS, "n", None).await.expect("an answer");
    assert_eq!((found.first_seen, found.answer_seen), (Some(noted[0].first_seen), None));
    let of = |answer| store.find(OURS, "n", Some(fingerprint(answer)));
    for (answer, seen) in
        [("approve", Some(noted[0].first_seen)), ("reject", Some(last.first_seen)), ("delay", None)]
    {
        let found = of(answer).await.expect("an answer");
        assert_eq!((found.first_seen, found.answer_seen), (Some(noted[0].first_seen), seen), "{answer}");
    }
}

async fn a_decision_is_told_without_its_counter(store: &impl Store) {
    const OURS: &str = "told";
    for (id, status, verdict) in [("done", 200, Verdict::Handled), ("refused", 409, Verdict::Refused)] {
        store.record(&question(OURS, id)).await.expect("a question");
        let completion = completed(outcome(status, id));
        decide(store, OURS, id, "approve", &completion).await;
        let noted = store.deliveries(OURS, id).await.expect("an answer");
        assert_eq!(noted.len(), 1, "{id}: {noted:?}");
        let told = &noted[0];
        assert_eq!(
            (told.fingerprint, told.verdict, told.count),
            (fingerprint("approve"), verdict, 1),
            "{id}"
        );
        assert_eq!(
            (told.arrival.scheme, told.arrival.secret_index, told.status),
            (Scheme::NodeCompact, 1, status),
            "{id}"
        );
        assert_eq!(told.arrival.request_id.as_deref(), Some("req_1"), "{id}");
        assert_eq!(told.arrival.responder.as_deref(), Some("user_9"), "{id}");
        // The counter, which knows more, takes its place.
        let mut counted = note(OURS, id, "approve", verdict);
        counted.arrival.request_id = Some("req_2".to_owned());
        store.count_deliveries(&[counted]).await.expect("a note");
        let noted = store.deliveries(OURS, id).await.expect("an answer");
        let told: Vec<_> =
            noted.iter().map(|noted| (noted.count, noted.arrival.request_id.as_deref())).collect();
        assert_eq!(told, [(1, Some("req_2"))], "{id}");
    }
    store.record(&question(OURS, "running")).await.expect("a question");
    let running = claim(OURS, "running", "approve");
    assert_eq!(store.claim(&running).await.expect("a claim"), Claimed::Started(()));
    assert_eq!(store.deliveries(OURS, "running").await.expect("an answer"), []);
}

fn kept(service: &str, id: Option<&str>, signed: &'static str, verdict: Verdict) -> RefusedDelivery {
    RefusedDelivery::new(service, verdict, Scheme::PythonCanonical, 1, signed.as_bytes(), signed)
        .notification_id(id.map(str::to_owned))
}

async fn what_is_refused_is_kept_once_and_redriven_once(store: &impl Store) {
    const OURS: &str = "kept";
    let spelt = |body: &'static str, kept: RefusedDelivery| RefusedDelivery {
        body: Bytes::from_static(body.as_bytes()),
        ..kept
    };
    for (kept, is_new) in [
        (kept(OURS, Some("n"), "one", Verdict::Late), true),
        (kept(OURS, Some("n"), "one", Verdict::Late), false),
        (spelt("o n e", kept(OURS, Some("n"), "one", Verdict::Late)), false),
        (kept(OURS, Some("n"), "one", Verdict::Conflict), false),
        (kept(OURS, None, "two", Verdict::Malformed), true),
        (kept("another", Some("n"), "one", Verdict::Late), true),
    ] {
        assert_eq!(store.keep(&kept).await.expect("kept"), is_new, "{kept:?}");
    }
    let refused = store.refused(OURS, 0, 10).await.expect("an answer");
    let bodies: Vec<_> = refused.iter().map(|refused| (&refused.body[..], refused.verdict)).collect();
    assert_eq!(bodies, [(&b"one"[..], Verdict::Conflict), (&b"two"[..], Verdict::Malformed)]);
    assert_eq!(
        (refused[0].notification_id.as_deref(), refused[1].notification_id.as_deref()),
        (Some("n"), None)
    );
    assert_eq!((refused[0].scheme, refused[0].secret_index), (Scheme::PythonCanonical, 1));
    assert_eq!(store.refused(OURS, 0, 1).await.expect("an answer"), refused[..1]);
    assert_eq!(store.refused(OURS, refused[0].id, 10).await.expect("an answer"), refused[1..]);

    let (id, other) = (refused[0].id, refused[1].id);
    let (stale, good) = (Token::random(), Token::random());
    for token in [stale, good] {
        assert_eq!(store.redrive(OURS, id, token).await.expect("a redrive"), refused[0]);
    }
    for (service, id, token) in
        [(OURS, id, stale), (OURS, other, good), ("another", id, good), (OURS, id, Token::random())]
    {
        assert!(!store.redeem(service, id, token).await.expect("an answer"), "{service} {id}");
    }
    assert!(store.redeem(OURS, id, good).await.expect("an answer"));
    assert!(!store.redeem(OURS, id, good).await.expect("an answer"), "a token is good once");
    assert!(matches!(store.redrive("another", id, good).await, Err(StoreError::NotKept(_))));
    assert!(matches!(store.redrive(OURS, i64::MAX, good).await, Err(StoreError::NotKept(_))));
}

async fn of_one_notification_only_so_much_is_kept(store: &impl Store) {
    const OURS: &str = "kept enough";
    let nth = |id: &str, nth: u32| RefusedDelivery {
        digest: super::token::digest(format!("{id} {nth}").as_bytes()),
        ..kept(OURS, Some(id), "it", Verdict::Unfit)
    };
    for number in 0..MAX_KEPT {
        assert!(store.keep(&nth("n", number)).await.expect("kept"), "{number}");
    }
    let more = store.keep(&nth("n", MAX_KEPT)).await;
    assert!(matches!(more, Err(StoreError::KeptEnough)), "{more:?}");
    let known = RefusedDelivery { verdict: Verdict::Late, ..nth("n", 0) };
    assert!(!store.keep(&known).await.expect("what is there stays, and is told anew"));
    assert!(store.keep(&nth("other", 0)).await.expect("another's"));
    let refused = store.refused(OURS, 0, 1000).await.expect("an answer");
    assert_eq!(refused.len(), 101);
    assert_eq!(refused[0].verdict, Verdict::Late);
}

async fn what_was_left_under_a_lease_is_refused_as_abandoned(store: &impl Store) {
    const OURS: &str = "abandoned";
    for id in ["left", "done", "given back", "running", "later done"] {
        store.record(&question(OURS, id)).await.expect("a question");
        let lease = if id == "running" { Duration::from_mins(1) } else { Duration::ZERO };
        let claim = Claim { lease, ..claim(OURS, id, "approve") };
        assert_eq!(store.claim(&claim).await.expect("a claim"), Claimed::Started(()), "{id}");
        match id {
            "done" => store.complete(&claim, &completion("done"), None).await.expect("a completion"),
            "given back" => store.release_claim(&claim).await.expect("a release"),
            _ => {}
        }
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    for _ in 0..2 {
        let refused = store.refused(OURS, 0, 10).await.expect("an answer");
        let mut ids: Vec<_> = refused.iter().map(|row| row.notification_id.as_deref()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [Some("later done"), Some("left")]);
        let left = refused.iter().find(|row| row.notification_id.as_deref() == Some("left")).expect("a row");
        assert_eq!((left.verdict, &left.body[..]), (Verdict::Abandoned, &b"left approve as it came"[..]));
        assert_eq!((left.scheme, left.secret_index), (Scheme::NodeCompact, 1));
    }
    let again = kept(OURS, Some("left"), "left approve as it was signed", Verdict::Abandoned);
    assert!(!store.keep(&again).await.expect("an answer"), "it is known by what was signed");
    decide(store, OURS, "later done", "approve", &completion("done")).await;
}

async fn what_could_not_be_read_again_is_not_recorded(store: &impl Store) {
    const OURS: &str = "deep";
    let deep = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let asked = |id: &str, depth| question(OURS, id).context(deep(depth));
    store.record(&asked("shallow", 127)).await.expect("what can be read again");
    let found = store.find(OURS, "shallow", None).await.expect("an answer").question.expect("the question");
    assert_eq!(found.context, deep(127));
    assert!(matches!(store.record(&asked("deep", 128)).await, Err(StoreError::Context(_))));
    let notification = question(OURS, "told").notification.metadata("tree", deep(126));
    let told = Question::new(notification).service(OURS);
    assert!(matches!(store.record(&told).await, Err(StoreError::Unreadable(_))));
    for id in ["deep", "told"] {
        assert!(store.find(OURS, id, None).await.expect("an answer").question.is_none(), "{id}");
    }
}

async fn only_a_recorded_refusal_is_reopened(store: &impl Store) {
    const OURS: &str = "reopened";
    for id in ["refused", "done", "running"] {
        store.record(&question(OURS, id)).await.expect("a question");
    }
    let refusal = completed(outcome(409, "too late"));
    decide(store, OURS, "refused", "approve", &refusal).await;
    let state =
        store.find(OURS, "refused", None).await.expect("an answer").question.expect("the question").state;
    assert_eq!(state.as_deref(), Some(STATE_REFUSED));
    decide(store, OURS, "done", "approve", &completion("done")).await;
    let running = claim(OURS, "running", "approve");
    assert_eq!(store.claim(&running).await.expect("a claim"), Claimed::Started(()));
    for id in ["done", "running", "none"] {
        assert!(matches!(store.reopen(OURS, id).await, Err(StoreError::NotRefused(_))), "{id}");
    }
    store.release_claim(&running).await.expect("a release");
    store.reopen(OURS, "refused").await.expect("a recorded refusal");
    decide(store, OURS, "refused", "reject", &completion("done")).await;
}

async fn every_text_comes_back(store: &impl Store) {
    let astral = "\u{1f600}".repeat(10_000);
    let texts =
        ["a\0b", "'; DROP TABLE atp_questions; --", "\"\\0\\\\", "\u{202e}\u{5d0}", &astral, "\u{fffd}"];
    for text in texts {
        // As much of it as a key holds.
        let id: &str = &text.chars().take(60).collect::<String>();
        let asked = question(id, id).user_id(text).request_id(text).context(json!({ text: text }));
        store.record(&asked).await.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let data = RawJson::new(r#"{"\u0000":"\ud83d"}"#).expect("JSON").as_str().to_owned();
        let claim = Claim { data: Some(data), ..claim(id, id, text) };
        assert_eq!(store.claim(&claim).await.expect("a claim"), Claimed::Started(()), "{text:?}");
        let completion = completion("done").state(text);
        store.complete(&claim, &completion, None).await.expect("a completion");
        let mut note = note(id, id, text, Verdict::Handled);
        note.arrival = note.arrival.request_id(text.to_owned()).responder(text.to_owned());
        store.count_deliveries(&[note]).await.expect("a note");
        let found = store.find(id, id, None).await.expect("an answer");
        assert_eq!(found.decision.expect("a decision").fingerprint, fingerprint(text), "{text:?}");
        let question = found.question.expect("the question");
        assert_eq!(question.notification.id.as_deref(), Some(id));
        for found in [question.user_id, question.request_id, question.state] {
            assert_eq!(found.as_deref(), Some(text));
        }
        assert_eq!(question.context, json!({ text: text }));
        let noted = store.deliveries(id, id).await.expect("an answer");
        let of_it = (noted[0].arrival.request_id.as_deref(), noted[0].arrival.responder.as_deref());
        assert_eq!(of_it, (Some(text), Some(text)));
    }
    let long = "n".repeat(Notification::MAX_ID + 1);
    let keyed = Question::new(question("long", "n").notification).key(&*long);
    assert!(matches!(store.record(&keyed).await, Err(StoreError::TooLong { .. })));
    assert!(matches!(store.record(&question(&long, "n")).await, Err(StoreError::TooLong { .. })));
    assert!(matches!(store.bind("long", "n", &long).await, Err(StoreError::TooLong { .. })));
}

async fn what_a_human_said_can_be_erased(store: &impl Store) {
    const OURS: &str = "erased";
    store.record(&question(OURS, "n")).await.expect("a question");
    decide(store, OURS, "n", "approve", &completion("done")).await;
    store.count_deliveries(&[note(OURS, "n", "approve", Verdict::Handled)]).await.expect("a note");
    store.keep(&kept(OURS, Some("n"), "said", Verdict::Conflict)).await.expect("kept");
    store.keep(&kept(OURS, Some("other"), "said otherwise", Verdict::Conflict)).await.expect("kept");
    let running = claim(OURS, "running", "approve");
    assert_eq!(store.claim(&running).await.expect("a claim"), Claimed::Started(()));
    assert!(matches!(store.erase(OURS, "running").await, Err(StoreError::Running(_))));
    store.release_claim(&running).await.expect("a release");
    for id in ["n", "n", "unknown", "running"] {
        store.erase(OURS, id).await.expect("erased");
    }
    let found = store.find(OURS, "n", None).await.expect("an answer");
    assert_eq!(found.decision.expect("the decision stands").outcome, outcome(200, "done"));
    // What comes later, or waited to be counted, is counted and says nothing.
    store.count_deliveries(&[note(OURS, "n", "approve", Verdict::Handled)]).await.expect("a note");
    store.count_deliveries(&[note(OURS, "n", "approve", Verdict::Replayed)]).await.expect("a note");
    let noted = store.deliveries(OURS, "n").await.expect("an answer");
    let told: Vec<_> = noted.iter().map(|noted| (noted.count, noted.arrival.responder.as_deref())).collect();
    assert_eq!(told, [(2, None), (1, None)]);
    for id in ["n", "unknown"] {
        assert!(
            !store.keep(&kept(OURS, Some(id), "said again", Verdict::Conflict)).await.expect("an answer")
        );
    }
    let left = Claim { lease: Duration::ZERO, ..claim(OURS, "running", "approve") };
    assert_eq!(store.claim(&left).await.expect("a claim"), Claimed::Started(()));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let refused = store.refused(OURS, 0, 10).await.expect("an answer");
    assert_eq!(refused.iter().map(|refused| &refused.body[..]).collect::<Vec<_>>(), [b"said otherwise"]);
    // Of a decision that nobody counted, too.
    decide(store, OURS, "running", "approve", &completion("done")).await;
    let noted = store.deliveries(OURS, "running").await.expect("an answer");
    assert_eq!(noted.iter().map(|noted| noted.arrival.responder.as_deref()).collect::<Vec<_>>(), [None]);
}

async fn purge_forgets_what_is_over_and_nothing_else(store: &impl Store) {
    const OURS: &str = "purged";
    for id in ["expired", "left behind"] {
        record_expiring(store, question(OURS, id)).await;
    }
    // By a process that died.
    let left = Claim { lease: Duration::ZERO, ..claim(OURS, "left behind", "approve") };
    assert_eq!(store.claim(&left).await.expect("a claim"), Claimed::Started(()));
    for id in ["done", "running", "waiting", "taken back"] {
        store.record(&question(OURS, id)).await.expect("a question");
    }
    decide(store, OURS, "done", "approve", &completion("done")).await;
    store.count_deliveries(&[note(OURS, "done", "approve", Verdict::Handled)]).await.expect("a note");
    // A delivery that was under way when its question was purged is counted as what it came to.
    for verdict in Verdict::ALL.into_iter().filter(|verdict| *verdict != Verdict::Handled) {
        store.count_deliveries(&[note(OURS, "unknown", "approve", verdict)]).await.expect("a note");
    }
    store.keep(&kept(OURS, Some("done"), "of the decided", Verdict::Conflict)).await.expect("kept");
    store.keep(&kept(OURS, None, "of nobody", Verdict::Malformed)).await.expect("kept");
    store.invalidate(OURS, "taken back", "superseded").await.expect("an invalidation");
    store.erase(OURS, "done").await.expect("erased");
    assert_eq!(store.claim(&claim(OURS, "running", "approve")).await.expect("a claim"), Claimed::Started(()));
    for id in ["seen since", "refused since"] {
        store.record(&question(OURS, id)).await.expect("a question");
        decide(store, OURS, id, "approve", &completion("done")).await;
    }
    // What the other tests have left was recorded before this, and so was all of ours.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let before = Utc::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    store.count_deliveries(&[note(OURS, "seen since", "approve", Verdict::Replayed)]).await.expect("a note");
    store.keep(&kept(OURS, Some("refused since"), "just now", Verdict::Conflict)).await.expect("kept");
    let future = store.purge(Utc::now() + TimeDelta::hours(1)).await;
    assert!(matches!(future, Err(StoreError::TooRecent { .. })), "{future:?}");
    assert!(store.purge(before).await.expect("a purge") >= 4);
    for (id, stays) in [
        ("done", false),
        ("expired", false),
        ("left behind", false),
        ("taken back", false),
        ("running", true),
        ("waiting", true),
    ] {
        let found = store.find(OURS, id, None).await.expect("an answer");
        assert_eq!(found.question.is_some(), stays, "{id}");
        assert!(found.decision.is_none(), "{id}");
    }
    for id in ["seen since", "refused since"] {
        let found = store.find(OURS, id, None).await.expect("an answer");
        assert!(found.question.is_some() && found.decision.is_some(), "{id}");
    }
    for id in ["done", "unknown"] {
        assert_eq!(store.deliveries(OURS, id).await.expect("an answer"), [], "{id}");
    }
    let refused = store.refused(OURS, 0, 10).await.expect("an answer");
    assert_eq!(refused.iter().map(|refused| &refused.body[..]).collect::<Vec<_>>(), [b"just now"]);
    assert_eq!(store.purge(before).await.expect("a purge"), 0);
}
