//! What every outbox must do, as a test.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for tests, where a panic is the message"
)]

use std::time::Duration;

use atp_core::{Action, Fingerprint, Notification, Scheme};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    Arrival, Claim, Claimed, Completion, Event, Outbox, Outcome, Outgoing, Question, SendEnd, Settled,
    StoreError,
};

/// Long enough to say what came of an attempt.
const LEASE: Duration = Duration::from_mins(1);

/// Tests an outbox: one of this crate's, or your own.
///
/// Give it an empty store whose routes are `Routes::new().events("bus").events("audit").server("atp")`
/// and whose clock goes.
///
/// ```
/// use atp_actix::store::{MemoryStore, Routes, outbox_contract};
///
/// # #[actix_web::main]
/// # async fn main() {
/// let routes = Routes::new().events("bus").events("audit").server("atp");
/// outbox_contract(MemoryStore::new().routes(routes)).await;
/// # }
/// ```
///
/// # Panics
/// Where the store breaks the contract of [`Outbox`], and where its routes are others.
pub async fn outbox_contract(store: impl Outbox) {
    let routes = store.get_routes();
    assert_eq!(
        (routes.get_events(), routes.get_server()),
        (&["bus".to_owned(), "audit".to_owned()][..], Some("atp"))
    );
    an_event_is_written_once_and_goes_to_each_of_its_sinks(&store).await;
    an_event_without_all_that_it_needs_is_refused(&store).await;
    every_text_of_an_event_comes_back(&store).await;
    what_is_leased_is_nobody_elses_until_its_lease_ends(&store).await;
    what_came_of_an_attempt_is_taken_for_that_attempt_alone(&store).await;
    events_about_the_same_are_sent_in_order(&store).await;
    many_who_lease_get_each_event_once(&store).await;
    a_failure_comes_again_after_its_time(&store).await;
    what_is_parked_waits_and_holds_back_its_subject_alone(&store).await;
    what_is_given_up_lets_those_behind_it_go(&store).await;
    a_question_is_sent_once_and_taken_back_once(&store).await;
    a_decision_is_told_with_its_completion_or_not_at_all(&store).await;
    what_a_handler_emits_is_written_with_its_success(&store).await;
    a_decision_that_is_erased_tells_no_answer(&store).await;
    what_waits_is_counted(&store).await;
    what_was_sent_is_forgotten_after_its_time(&store).await;
    what_is_written_is_hinted(&store).await;
}

fn event(id: &str, subject: impl Into<Option<&'static str>>) -> Event {
    let event = Event::new("test", json!({ "of": id })).expect("JSON").id(id).service("acme");
    match subject.into() {
        Some(subject) => event.subject(subject).to("bus"),
        None => event.to("bus"),
    }
}

async fn emit(store: &impl Outbox, event: Event) {
    assert!(store.emit(&event).await.expect("an answer"), "{event:?} is new");
}

async fn lease(store: &impl Outbox, sink: &str) -> Vec<Outgoing> {
    let mut leased: Vec<Outgoing> = Vec::new();
    // Fewer than are due may come at a time, or none: what was behind is put aside meanwhile.
    for _ in 0..3 {
        leased.extend(store.lease(sink, 100, LEASE).await.expect("an answer"));
    }
    leased
}

fn ids(leased: &[Outgoing]) -> Vec<&str> {
    leased.iter().map(|outgoing| &*outgoing.event.id).collect()
}

async fn settle(store: &impl Outbox, sink: &str, leased: &[Outgoing], end: &SendEnd) -> usize {
    let settled: Vec<Settled> = leased.iter().map(|outgoing| Settled::new(outgoing, end.clone())).collect();
    store.settle(sink, &settled).await.expect("an answer")
}

/// Sends all that is due at a sink, until there is nothing more.
async fn send_all(store: &impl Outbox, sink: &str) -> Vec<Outgoing> {
    let mut sent = Vec::new();
    loop {
        let leased = lease(store, sink).await;
        if leased.is_empty() {
            return sent;
        }
        assert_eq!(settle(store, sink, &leased, &SendEnd::Sent).await, leased.len());
        sent.extend(leased);
    }
}

fn again(after: Duration, is_own_fault: bool) -> SendEnd {
    SendEnd::Again { after, is_own_fault, reason: "not now".to_owned() }
}

fn parked() -> SendEnd {
    SendEnd::Parked { reason: "never".to_owned() }
}

async fn an_event_is_written_once_and_goes_to_each_of_its_sinks(store: &impl Outbox) {
    let event = event("once", "s-once").to("audit");
    emit(store, event.clone()).await;
    assert!(!store.emit(&event).await.expect("an answer"), "of two under one id the first stays");
    let other = Event::new("other", 7).expect("JSON").id("once").service("acme");
    assert!(!store.emit(&other).await.expect("an answer"));
    emit(store, Event { service: "globex".to_owned(), ..event.clone() }).await;
    for sink in ["bus", "audit"] {
        let sent = send_all(store, sink).await;
        assert_eq!(ids(&sent), ["once", "once"], "{sink}");
        let expected = Event { sinks: vec![sink.to_owned()], ..event.clone() };
        assert_eq!((&sent[0].event, sent[0].attempt, sent[0].failures), (&expected, 1, 0));
        assert_eq!(sent[1].event.service, "globex");
    }
    // Where an event names no sink it goes to all that the routes name, and to no other.
    let plain = Event::new("plain", ()).expect("JSON").id("plain");
    emit(store, plain).await;
    for (sink, sent) in [("bus", 1), ("audit", 1), ("atp", 0)] {
        assert_eq!(send_all(store, sink).await.len(), sent, "{sink}");
    }
}

async fn an_event_without_all_that_it_needs_is_refused(store: &impl Outbox) {
    for event in [event("", None), event("i".repeat(201).leak(), None), event("no sink", None).to("")] {
        let refused = store.emit(&event).await;
        assert!(matches!(refused, Err(StoreError::Event(_))), "{event:?}: {refused:?}");
    }
    assert!(lease(store, "bus").await.is_empty());
}

async fn every_text_of_an_event_comes_back(store: &impl Outbox) {
    for text in ["a\0b", "\\0", "ü𝄞\u{202e}'\"\n", "\0"] {
        let event =
            Event::new(text, json!({ "\0": text })).expect("JSON").id(text).service(text).subject(text);
        let event =
            event.to("bus").traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        emit(store, event.clone()).await;
        let sent = send_all(store, "bus").await;
        assert_eq!(sent.iter().map(|sent| &sent.event).collect::<Vec<_>>(), [&event]);
    }
    let odd = event("odd sink", None).to("s\0\\");
    emit(store, odd).await;
    assert_eq!(ids(&send_all(store, "s\0\\").await), ["odd sink"]);
    send_all(store, "bus").await;
}

async fn what_is_leased_is_nobody_elses_until_its_lease_ends(store: &impl Outbox) {
    emit(store, event("leased", None)).await;
    let short = store.lease("bus", 100, Duration::from_millis(300)).await.expect("an answer");
    assert_eq!(ids(&short), ["leased"]);
    assert!(lease(store, "bus").await.is_empty(), "it is somebody's");
    sleep(Duration::from_millis(350)).await;
    let later = lease(store, "bus").await;
    assert_eq!(ids(&later), ["leased"]);
    assert_eq!(
        (later[0].attempt, later[0].failures),
        (2, 1),
        "a lease that ended without a word is its own fault"
    );
    assert_eq!(later[0].event, short[0].event, "the same bytes each time");
    assert_eq!(settle(store, "bus", &later, &SendEnd::Sent).await, 1);
}

async fn what_came_of_an_attempt_is_taken_for_that_attempt_alone(store: &impl Outbox) {
    emit(store, event("fenced", None)).await;
    let overtaken = store.lease("bus", 100, Duration::from_millis(1)).await.expect("an answer");
    sleep(Duration::from_millis(20)).await;
    let later = lease(store, "bus").await;
    assert_eq!(ids(&later), ["fenced"]);
    for end in [SendEnd::Sent, again(Duration::ZERO, true), parked()] {
        assert_eq!(settle(store, "bus", &overtaken, &end).await, 0, "{end:?}");
    }
    assert!(lease(store, "bus").await.is_empty(), "it is still leased");
    assert_eq!(settle(store, "audit", &later, &SendEnd::Sent).await, 0, "of another sink");
    assert_eq!(settle(store, "bus", &later, &SendEnd::Sent).await, 1);
    assert_eq!(settle(store, "bus", &later, &again(Duration::ZERO, true)).await, 0, "it is sent");
    assert!(lease(store, "bus").await.is_empty());
    // Whoever is late is heard as long as nobody has leased it again.
    emit(store, event("late", None)).await;
    let late = store.lease("bus", 100, Duration::from_millis(1)).await.expect("an answer");
    sleep(Duration::from_millis(20)).await;
    assert_eq!(settle(store, "bus", &late, &SendEnd::Sent).await, 1);
    assert!(lease(store, "bus").await.is_empty());
}

async fn events_about_the_same_are_sent_in_order(store: &impl Outbox) {
    for (id, subject) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
        emit(store, event(id, subject)).await;
    }
    emit(store, Event { service: "globex".to_owned(), ..event("other's", "a") }).await;
    let first = lease(store, "bus").await;
    assert_eq!(ids(&first), ["a1", "b1", "other's"]);
    assert!(lease(store, "bus").await.is_empty());
    // Not by a failure either.
    assert_eq!(settle(store, "bus", &first[..1], &again(Duration::ZERO, true)).await, 1);
    assert_eq!(settle(store, "bus", &first[1..], &SendEnd::Sent).await, 2);
    let second = lease(store, "bus").await;
    let mut second_ids = ids(&second);
    second_ids.sort_unstable();
    assert_eq!(second_ids, ["a1", "b2"]);
    settle(store, "bus", &second, &SendEnd::Sent).await;
    assert_eq!(ids(&send_all(store, "bus").await), ["a2", "a3"]);
}

async fn many_who_lease_get_each_event_once(store: &impl Outbox) {
    for nth in 0..60 {
        let subject = ["x", "y", "z"].get(nth % 5).copied();
        emit(store, event(format!("many {nth:02}").leak(), subject)).await;
    }
    let mut sent: Vec<Outgoing> = Vec::new();
    while sent.len() < 60 {
        let leased = join_all((0..8).map(|_| store.lease("bus", 5, LEASE))).await;
        for leased in leased {
            let leased = leased.expect("an answer");
            settle(store, "bus", &leased, &SendEnd::Sent).await;
            sent.extend(leased);
        }
    }
    let mut all = ids(&sent);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 60);
    for subject in ["x", "y", "z"] {
        let of_it = sent.iter().filter(|sent| sent.event.subject.as_deref() == Some(subject));
        assert!(of_it.map(|sent| sent.seq).is_sorted(), "{subject} in order");
    }
}

async fn a_failure_comes_again_after_its_time(store: &impl Outbox) {
    emit(store, event("again", None)).await;
    let leased = lease(store, "bus").await;
    settle(store, "bus", &leased, &again(Duration::from_millis(200), true)).await;
    assert!(lease(store, "bus").await.is_empty(), "not before its time");
    sleep(Duration::from_millis(250)).await;
    let leased = lease(store, "bus").await;
    assert_eq!((leased[0].attempt, leased[0].failures), (2, 1));
    settle(store, "bus", &leased, &again(Duration::ZERO, false)).await;
    let leased = lease(store, "bus").await;
    assert_eq!(
        (leased[0].attempt, leased[0].failures),
        (3, 1),
        "what was no fault of its own does not count"
    );
    settle(store, "bus", &leased, &SendEnd::Sent).await;
}

async fn what_is_parked_waits_and_holds_back_its_subject_alone(store: &impl Outbox) {
    for (id, subject) in [("poison", "p"), ("behind", "p"), ("beside", "q")] {
        emit(store, event(id, subject).to("audit")).await;
    }
    let leased = lease(store, "bus").await;
    assert_eq!(ids(&leased), ["poison", "beside"]);
    settle(store, "bus", &leased[..1], &parked()).await;
    settle(store, "bus", &leased[1..], &SendEnd::Sent).await;
    assert!(lease(store, "bus").await.is_empty(), "what is behind a parked one waits");
    assert_eq!(send_all(store, "audit").await.len(), 3, "another sink has them all");
    let listed = store.parked("bus", 0, 10).await.expect("an answer");
    assert_eq!(listed.iter().map(|parked| &*parked.event.id).collect::<Vec<_>>(), ["poison"]);
    assert_eq!((&*listed[0].reason, listed[0].attempts, &*listed[0].sink), ("never", 1, "bus"));
    assert_eq!(listed[0].event, leased[0].event);
    assert!(store.parked("bus", listed[0].seq, 10).await.expect("an answer").is_empty());
    assert!(store.parked("audit", 0, 10).await.expect("an answer").is_empty());
    store.release("bus", listed[0].seq).await.expect("it is parked");
    let leased = lease(store, "bus").await;
    assert_eq!(ids(&leased), ["poison"]);
    assert_eq!((leased[0].attempt, leased[0].failures), (2, 0), "with as many attempts as a new one");
    settle(store, "bus", &leased, &SendEnd::Sent).await;
    assert_eq!(ids(&send_all(store, "bus").await), ["behind"]);
    for refused in [store.release("bus", listed[0].seq).await, store.forget("bus", listed[0].seq).await] {
        assert!(matches!(refused, Err(StoreError::NotParked { .. })), "{refused:?}");
    }
}

async fn what_is_given_up_lets_those_behind_it_go(store: &impl Outbox) {
    for id in ["given up", "goes on"] {
        emit(store, event(id, "g")).await;
    }
    let leased = lease(store, "bus").await;
    settle(store, "bus", &leased, &parked()).await;
    assert!(lease(store, "bus").await.is_empty());
    store.forget("bus", leased[0].seq).await.expect("it is parked");
    assert_eq!(ids(&send_all(store, "bus").await), ["goes on"]);
    assert!(store.parked("bus", 0, 10).await.expect("an answer").is_empty());
}

fn question(id: &str) -> Question {
    let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id(id);
    Question::new(notification.action(Action::simple("approve", "Approve"))).service("acme")
}

async fn a_question_is_sent_once_and_taken_back_once(store: &impl Outbox) {
    let asked = question("q-1");
    for _ in 0..2 {
        store.record(&asked).await.expect("recorded");
    }
    for _ in 0..2 {
        store.invalidate("acme", "q-1", "superseded").await.expect("taken back");
    }
    let keyed = Notification::new("Deploy?", "Which id it has the server says.");
    let keyed = Question::new(keyed.action(Action::simple("approve", "Approve"))).service("acme").key("k-1");
    store.record(&keyed).await.expect("recorded");
    let sent = send_all(store, "atp").await;
    let told = |sent: &Outgoing| (sent.event.kind.clone(), sent.event.subject.clone().unwrap_or_default());
    let mut told: Vec<_> = sent.iter().map(told).collect();
    told.sort();
    let expected = [(Event::QUESTION, "k-1"), (Event::QUESTION, "q-1"), (Event::STATUS, "q-1")];
    assert_eq!(told, expected.map(|(kind, subject)| (kind.to_owned(), subject.to_owned())));
    let of_it: Vec<&Outgoing> =
        sent.iter().filter(|sent| sent.event.subject.as_deref() == Some("q-1")).collect();
    let notification: Notification = serde_json::from_str(&of_it[0].event.data).expect("the notification");
    assert_eq!(&notification, asked.notification(), "as it was recorded, before it is taken back");
    assert_eq!(of_it[1].event.data, r#"{"status":"invalidated","reason":"superseded"}"#);
    assert!(send_all(store, "bus").await.is_empty());
}

fn claim(id: &str) -> Claim {
    let arrival = Arrival::new(Scheme::Raw, 0);
    let told = Event::new(
        Event::DECISION,
        json!({"event_type":"user_decision","source":"atp","timestamp":"t",
        "user_id":null,"request_id":null,"decision":"approve","additional_data":"yes","metadata":{}}),
    );
    let told = told.expect("JSON").id(format!("decision of {id}")).service("acme").subject(id).to("bus");
    Claim::new("acme", id, Fingerprint::new("approve", None), "approve", arrival, "{}").events(vec![told])
}

async fn a_decision_is_told_with_its_completion_or_not_at_all(store: &impl Outbox) {
    let refusal = |claim: &Claim| Completion::new(claim, Outcome::new(422, None, ""));
    // Claimed, and completed without a transaction.
    for (id, is_told) in [("d-1", true), ("d-2", false)] {
        let claim = claim(id);
        assert_eq!(store.claim(&claim).await.expect("an answer"), Claimed::Started(()));
        assert!(lease(store, "bus").await.is_empty(), "nothing is decided");
        let completion = if is_told { Completion::expected(&claim) } else { refusal(&claim) };
        store.complete(&claim, &completion, None).await.expect("completed");
        assert!(store.complete(&claim, &completion, None).await.is_err(), "it is over");
        assert_eq!(send_all(store, "bus").await.len(), usize::from(is_told), "{id}");
    }
    // In the transaction that was opened with the claim, and in one that was opened later.
    for (id, resumes, end) in [
        ("d-3", false, Some(true)),
        ("d-4", false, Some(false)),
        ("d-5", false, None),
        ("d-6", true, Some(true)),
        ("d-7", true, Some(false)),
        ("d-8", true, None),
    ] {
        let claim = claim(id);
        let open = if resumes {
            assert_eq!(store.claim(&claim).await.expect("an answer"), Claimed::Started(()));
            store.resume(&claim).await.expect("its transaction")
        } else {
            match store.claim_in_transaction(&claim).await.expect("an answer") {
                Claimed::Started(open) => open,
                _ => panic!("{id} is somebody's"),
            }
        };
        match end {
            Some(is_told) => {
                let completion = if is_told { Completion::expected(&claim) } else { refusal(&claim) };
                store.complete(&claim, &completion, Some(open)).await.expect("completed");
            }
            None => drop(open),
        }
        let sent = send_all(store, "bus").await;
        assert_eq!(sent.len(), usize::from(end == Some(true)), "{id}");
        assert!(sent.iter().all(|sent| sent.event == claim.events[0]), "{id}");
    }
}

async fn what_a_handler_emits_is_written_with_its_success(store: &impl Outbox) {
    for (id, in_transaction, status, sent) in [
        ("h-1", false, 200, 2),
        ("h-2", true, 200, 2),
        ("h-3", true, 201, 2),
        ("h-4", true, 422, 0),
        ("h-5", false, 422, 0),
    ] {
        let claim = claim(id);
        let open = if in_transaction {
            match store.claim_in_transaction(&claim).await.expect("an answer") {
                Claimed::Started(open) => Some(open),
                _ => panic!("{id} is somebody's"),
            }
        } else {
            assert_eq!(store.claim(&claim).await.expect("an answer"), Claimed::Started(()));
            None
        };
        let own = Event::new("own", id)
            .expect("JSON")
            .id(format!("own of {id}"))
            .service("acme")
            .subject(id)
            .to("bus");
        let completion = Completion::new(&claim, Outcome::new(status, None, "")).events(vec![own]);
        store.complete(&claim, &completion, open).await.expect("completed");
        assert_eq!(send_all(store, "bus").await.len(), sent, "{id}");
    }
}

async fn a_decision_that_is_erased_tells_no_answer(store: &impl Outbox) {
    for (id, erases_before) in [("e-1", false), ("e-2", true)] {
        if erases_before {
            store.erase("acme", id).await.expect("erased");
        }
        let claim = claim(id);
        let Claimed::Started(open) = store.claim_in_transaction(&claim).await.expect("an answer") else {
            panic!("{id} is somebody's");
        };
        store.complete(&claim, &Completion::expected(&claim), Some(open)).await.expect("completed");
        if !erases_before {
            store.erase("acme", id).await.expect("erased");
        }
        let sent = send_all(store, "bus").await;
        assert_eq!(sent.len(), 1);
        let expected =
            claim.events[0].data.replace(r#""additional_data":"yes""#, r#""additional_data":null"#);
        assert_eq!(sent[0].event.without_answer(), claim.events[0].without_answer());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&sent[0].event.data).expect("JSON"),
            serde_json::from_str::<serde_json::Value>(&expected).expect("JSON"),
            "{id}"
        );
    }
}

async fn what_waits_is_counted(store: &impl Outbox) {
    assert!(store.lag().await.expect("an answer").is_empty());
    emit(store, event("w-1", "w")).await;
    for (id, subject) in [("w-2", "w"), ("w-3", "v")] {
        emit(store, event(id, subject).to("audit")).await;
    }
    let leased = lease(store, "bus").await;
    settle(store, "bus", &leased[1..], &parked()).await;
    let told = store.lag().await.expect("an answer");
    let told: Vec<_> = told.iter().map(|lag| (&*lag.sink, lag.waiting, lag.parked)).collect();
    assert_eq!(told, [("audit", 2, 0), ("bus", 2, 1)]);
    let oldest = async || {
        let lags = store.lag().await.expect("an answer");
        [lags[0].oldest, lags[1].oldest]
    };
    let [audit, bus] = oldest().await;
    assert!(bus.is_some() && bus <= audit, "{bus:?} was written before {audit:?}");
    settle(store, "bus", &leased[..1], &parked()).await;
    assert!(lease(store, "bus").await.is_empty(), "what is left is behind a parked one");
    assert_eq!(oldest().await, [audit, None]);
    for parked in &leased {
        store.forget("bus", parked.seq).await.expect("it is parked");
    }
    send_all(store, "bus").await;
    send_all(store, "audit").await;
    assert!(store.lag().await.expect("an answer").is_empty());
}

async fn what_was_sent_is_forgotten_after_its_time(store: &impl Outbox) {
    store.tidy(Duration::ZERO).await.expect("an answer");
    emit(store, event("t-1", None).to("audit")).await;
    emit(store, event("t-2", None)).await;
    send_all(store, "bus").await;
    sleep(Duration::from_millis(5)).await;
    assert_eq!(store.tidy(LEASE).await.expect("an answer"), 0, "it was sent a moment ago");
    assert_eq!(store.tidy(Duration::ZERO).await.expect("an answer"), 1, "the other waits for a sink");
    assert_eq!(ids(&send_all(store, "audit").await), ["t-1"]);
    sleep(Duration::from_millis(5)).await;
    assert_eq!(store.tidy(Duration::ZERO).await.expect("an answer"), 1);
    emit(store, event("t-1", None)).await;
    send_all(store, "bus").await;
}

async fn what_is_written_is_hinted(store: &impl Outbox) {
    let mut hints = store.hints();
    emit(store, event("hinted", None)).await;
    timeout(Duration::from_secs(10), hints.next()).await.expect("a hint");
    send_all(store, "bus").await;
}
