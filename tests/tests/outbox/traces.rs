//! The trace of a delivery goes on to the sinks of its events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atp_actix::{
    AtpResponse, Decisions, Error, Events, Simple,
    store::{Event, MemoryStore, Outbox, Routes, SendEnd, Settled},
};

use crate::support::{
    asked::{approve, record},
    databases::SqliteFile,
    logged,
    mounted::{Mounted, remembering},
};

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn routes() -> Routes {
    Routes::new().events("bus")
}

async fn ships(_: AtpResponse<Simple>, events: Events) -> Result<(), Error> {
    events.emit(Event::new("shipped", 7)?)?;
    events.emit(Event::new("traced", 7)?.traceparent(OWN.to_owned()))?;
    Ok(())
}

/// The kind and the trace of all that is to be sent, in its order.
async fn sent(store: &impl Outbox) -> Vec<(String, Option<String>)> {
    let mut sent = Vec::new();
    loop {
        let leased = store.lease("bus", 10, Duration::from_secs(30)).await.expect("an answer");
        if leased.is_empty() {
            return sent;
        }
        let settled: Vec<_> = leased.iter().map(|leased| Settled::new(leased, SendEnd::Sent)).collect();
        store.settle("bus", &settled).await.expect("an answer");
        sent.extend(leased.into_iter().map(|leased| (leased.event.kind, leased.event.traceparent)));
    }
}

async fn what_the_hook_says_goes_with_the_events(store: impl Outbox) {
    type Hook = fn() -> Option<String>;
    let cases: [(&str, Option<Hook>, Option<&str>); 6] = [
        ("no hook", None, None),
        ("well formed", Some(|| Some(GOOD.to_owned())), Some(GOOD)),
        ("outside of any trace", Some(|| None), None),
        ("too short", Some(|| Some(GOOD[..54].to_owned())), None),
        ("a line break", Some(|| Some(GOOD.replace("-01", "\r\n1"))), None),
        ("it panics", Some(|| panic!("on purpose: the test wants a panic here")), None),
    ];
    for (case, hook, expected) in cases {
        record(&store, case).await;
        let decisions = Decisions::in_store(store.clone());
        let decisions = match hook {
            Some(hook) => decisions.traceparent(hook),
            None => decisions,
        };
        let app = Mounted::new(remembering(decisions).on("approve", ships)).await;
        // What a request says of itself is not signed.
        let (status, body) = app.send(&approve(case).header("traceparent", OWN)).await;
        assert_eq!(status, 200, "{case}: {body}");
        let expected = [(Event::DECISION, expected), ("shipped", expected), ("traced", Some(OWN))];
        let expected = expected.map(|(kind, trace)| (kind.to_owned(), trace.map(str::to_owned)));
        let mut sent = sent(&store).await;
        sent.sort();
        assert_eq!(sent, expected, "{case}");
    }
}

#[actix_web::test]
async fn what_the_hook_says_goes_with_the_events_in_memory() {
    what_the_hook_says_goes_with_the_events(MemoryStore::new().routes(routes())).await;
}

#[actix_web::test]
async fn what_the_hook_says_goes_with_the_events_on_sqlite() {
    let file = SqliteFile::new();
    what_the_hook_says_goes_with_the_events(file.open().await.routes(routes())).await;
}

#[actix_web::test]
async fn the_hook_is_not_asked_where_nobody_is_told() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let store = MemoryStore::new();
    record(&store, "n-1").await;
    let decisions = Decisions::in_store(store).traceparent(move || {
        count.fetch_add(1, Ordering::Relaxed);
        None
    });
    let app = Mounted::new(remembering(decisions).on("approve", || async { "done" })).await;
    app.expect(&approve("n-1"), 200, "done").await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// The innermost span on this thread.
fn current() -> Option<&'static str> {
    tracing::Span::current().metadata().map(tracing::Metadata::name)
}

#[actix_web::test]
async fn a_delivery_is_handled_in_its_span_and_so_the_hook_is_asked_there() {
    async fn sees(_: AtpResponse<Simple>, events: Events) -> Result<String, Error> {
        events.emit(Event::new("shipped", 7)?)?;
        Ok(format!("{:?}", current()))
    }
    let work = async {
        let store = MemoryStore::new().routes(routes());
        record(&store, "n-1").await;
        let decisions = Decisions::in_store(store.clone())
            .traceparent(|| Some(GOOD.to_owned()).filter(|_| current() == Some("delivery")));
        let app = Mounted::new(remembering(decisions).on("approve", sees)).await;
        app.expect(&approve("n-1"), 200, r#"Some("delivery")"#).await;
        // And without a store.
        let webhook = atp_actix::Webhook::new(atp_tests::PATH, crate::support::asked::verifier());
        let app = Mounted::new(webhook.on("approve", || async { format!("{:?}", current()) })).await;
        app.expect(&approve("n-2"), 200, r#"Some("delivery")"#).await;
        store
    };
    let (store, log) = logged::during(work).await;
    let events: Vec<_> = sent(&store).await;
    assert_eq!(events, [Event::DECISION, "shipped"].map(|kind| (kind.to_owned(), Some(GOOD.to_owned()))));
    let spans: Vec<_> = log
        .entries()
        .into_iter()
        .filter(|entry| {
            entry.fields.get("notification_id").is_some_and(|id| id == "n-1")
                && !entry.fields.contains_key("message")
        })
        .map(|entry| entry.fields["action_id"].clone())
        .collect();
    assert_eq!(spans, ["approve"], "{}", log.text());
    let decisions = log.entries().into_iter().filter_map(|entry| entry.fields.get("decision_id").cloned());
    let decisions: Vec<_> = decisions.collect();
    assert_eq!(decisions.len(), 1, "{}", log.text());
    assert!(uuid::Uuid::parse_str(&decisions[0]).is_ok(), "{decisions:?}");
}
