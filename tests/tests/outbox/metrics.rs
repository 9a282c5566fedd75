//! What is measured moves as its table says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use actix_web::{http::StatusCode, rt::time::sleep};
use atp_actix::{
    AtpResponse, Choice, ErrorReply, Relay, Report, Secret, SendError, Simple, Sink, Verifier, Webhook,
    metrics::describe,
    store::{Event, MemoryStore, Outbox as _, Outgoing, Routes, SendEnd, Settled, Store},
    test::{Sender, SignedAnswer},
};
use atp_tests::{PATH, SECRET};
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::{
    asked::{answer, approve, record},
    databases::on_every_store,
    measured::Measured,
    mounted::Mounted,
};

on_every_store!(each_metric_of_a_delivery_moves_as_its_table_says);

const PREVIOUS: &str = "whsec_UHJldmlvdXNTZWNyZXRPZkxhc3RZZWFy";

/// The time that the service's clock shows.
fn now() -> DateTime<Utc> {
    "2026-01-02T03:05:06Z".parse().expect("a time")
}

fn verifier() -> Verifier {
    let secret = |text: &str| Secret::new(text).expect("a good secret");
    Verifier::new(secret(SECRET)).or(secret(PREVIOUS)).clock(now)
}

/// Signed a minute ago with the secret before this one.
fn with_previous(id: &str) -> SignedAnswer {
    Sender::new(PREVIOUS).answer(id, "approve", ()).at(now() - TimeDelta::minutes(1))
}

fn webhook() -> Webhook {
    async fn approves(_: AtpResponse<Simple>) -> &'static str {
        "approved"
    }
    async fn refuses(_: AtpResponse<Choice<String>>) -> Result<(), ErrorReply> {
        Err(ErrorReply::new(StatusCode::CONFLICT, "NO", "no"))
    }
    Webhook::new(PATH, verifier()).on("approve", approves).on("delay", refuses)
}

/// Delivers one after the other, and expects of each that it adds one to this counter alone.
async fn deliver(app: &Mounted, measured: &Measured, cases: Vec<(&str, SignedAnswer, &str, u16)>) {
    let all = |measured: &Measured| -> BTreeMap<String, Option<f64>> {
        let series = measured.all("atp_deliveries_total").into_keys();
        series.map(|series| (series.clone(), measured.value(&series))).collect()
    };
    for (case, sent, verdict, status) in cases {
        let mut expected = all(measured);
        app.send(&sent).await;
        let series = format!("atp_deliveries_total{{service=default,verdict={verdict},status={status}}}");
        let count = expected.get(&series).copied().flatten().unwrap_or_default();
        expected.insert(series, Some(count + 1.0));
        assert_eq!(all(measured), expected, "{case}");
    }
}

async fn each_metric_of_a_delivery_moves_as_its_table_says(store: impl Store) {
    let measured = Measured::default();
    let _told = metrics::set_default_local_recorder(&measured);
    let app = Mounted::new(webhook().store(store.clone())).await;
    for id in ["n-1", "n-2", "n-4"] {
        record(&store, id).await;
    }
    let hour_ago = now() - TimeDelta::hours(1);
    let approve = |id: &str| approve(id).at(hour_ago);
    let stale = |sent: SignedAnswer| sent.at(now() - TimeDelta::hours(73));
    deliver(
        &app,
        &measured,
        vec![
            ("handled", approve("n-1"), "handled", 200),
            ("again", approve("n-1"), "replayed", 200),
            ("again, once more", approve("n-1"), "replayed", 200),
            ("another", answer("n-1", "delay", "1d").at(hour_ago), "conflict", 409),
            ("refused by its handler", answer("n-2", "delay", "1d").at(hour_ago), "refused", 409),
            ("unknown", approve("n-3"), "unknown", 503),
            ("too old, with the secret before", stale(with_previous("n-4")), "stale", 401),
            ("no answer", approve("n-1").body("[]"), "malformed", 400),
            ("forged", approve("n-1").forged(), "unverified", 401),
            ("no signature", approve("n-1").without_header("x-atp-signature"), "unverified", 401),
        ],
    )
    .await;
    let counted = |name: &str, of: &[(&str, usize)]| {
        let expected = of.iter().map(|(verdict, count)| (format!("{name}{{verdict={verdict}}}"), *count));
        assert_eq!(measured.all(name), expected.collect());
    };
    let read =
        [("conflict", 1), ("handled", 1), ("refused", 1), ("replayed", 2), ("stale", 1), ("unknown", 1)];
    counted("atp_delivery_seconds", &[&read[..], &[("malformed", 1), ("unverified", 2)]].concat());
    counted("atp_store_seconds", &read);
    counted("atp_handler_seconds", &[("handled", 1), ("refused", 1)]);
    counted("atp_signature_skew_seconds", &read);
    assert_eq!(measured.values("atp_verification_seconds").len(), 7);
    assert_eq!(measured.values("atp_signature_skew_seconds{verdict=handled}"), [-3600.0]);
    assert_eq!(measured.values("atp_signature_skew_seconds{verdict=stale}"), [-73.0 * 3600.0]);
    // What is too old is no use of a secret.
    let used = |secret: u8| {
        measured.value(&format!("atp_secret_last_used_seconds{{service=default,secret={secret}}}"))
    };
    let at = u32::try_from(now().timestamp()).expect("this century").into();
    assert_eq!((used(0), used(1)), (Some(at), None));
    app.send(&with_previous("n-4")).await;
    assert_eq!(used(1), Some(at));
}

/// Without a store, and of routes that are no webhook's, what is known is told.
#[actix_web::test]
async fn without_a_store_what_is_known_is_told() {
    let measured = Measured::default();
    let _told = metrics::set_default_local_recorder(&measured);
    let times = |report: &Report<'_>| {
        assert_eq!(report.service, "default");
        assert_eq!(report.verification_time().is_some(), report.delivery.is_some());
        assert_eq!(report.store_time(), None);
    };
    let app = Mounted::new(webhook().observe(times)).await;
    let sent = || approve("n-1").at(now());
    deliver(
        &app,
        &measured,
        vec![
            ("handled", sent(), "handled", 200),
            ("again", sent(), "handled", 200),
            ("too old, which nobody has looked into", sent().stale(), "unverified", 401),
            ("forged", sent().forged(), "unverified", 401),
        ],
    )
    .await;
    assert_eq!(measured.values("atp_handler_seconds{verdict=handled}").len(), 2);
    assert_eq!(measured.values("atp_signature_skew_seconds{verdict=handled}"), [0.0, 0.0]);
    assert_eq!(measured.all("atp_store_seconds"), BTreeMap::new());
}

/// Says of each event what its kind says, the first time.
#[derive(Default)]
struct Scripted(Mutex<BTreeSet<String>>);

impl Sink for Scripted {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let kind = &*outgoing.event.kind;
        match (kind, self.0.lock().expect("nobody panicked").insert(kind.to_owned())) {
            ("again", true) => Err(SendError::again("not now")),
            ("away", true) => Err(SendError::away("nobody is there")),
            ("gone", true) => Err(SendError::gone("moved")),
            ("refused", _) => Err(SendError::refused("never")),
            _ => Ok(()),
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < patience, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn event(kind: &str) -> Event {
    Event::new(kind, 7).expect("JSON").subject(kind)
}

/// Two events wait for a sink that has no relay, since an hour, and the first of them is parked.
async fn leave_behind(store: &MemoryStore) {
    for kind in ["first", "second"] {
        store.emit(&event(kind).to("elsewhere")).await.expect("an event");
    }
    let first = store.lease("elsewhere", 1, Duration::from_secs(30)).await.expect("an event");
    let parked = first.iter().map(|first| Settled::new(first, SendEnd::Parked { reason: "no".to_owned() }));
    store.settle("elsewhere", &parked.collect::<Vec<_>>()).await.expect("an answer");
}

async fn send_what_is_scripted(measured: &Measured) {
    let an_hour_ago = || Utc::now() - TimeDelta::hours(1);
    let store = MemoryStore::new().clock(an_hour_ago).routes(Routes::new().events("bus"));
    leave_behind(&store).await;
    for kind in ["good", "again", "away", "gone", "refused"] {
        store.emit(&event(kind)).await.expect("an event");
    }
    let (quick, waits) = (Duration::from_millis(1), "atp_outbox_waiting{sink=elsewhere}");
    let relay = Relay::new(store.clone()).sink("bus", Scripted::default()).sink("idle", Scripted::default());
    let relay = relay.concurrency(1).backoff(quick, quick).pause(quick, quick).poll(quick).start();
    until("all that is for the bus is sent", async || {
        let lag = store.lag().await.expect("an answer");
        lag.iter().all(|lag| lag.sink != "bus" || lag.waiting == 0)
    })
    .await;
    until("what waits is told", async || measured.value(waits).is_some()).await;
    relay.stop().await;
}

#[actix_web::test]
async fn each_metric_of_a_relay_moves_as_its_table_says() {
    let measured = Measured::default();
    let _told = metrics::set_default_local_recorder(&measured);
    send_what_is_scripted(&measured).await;
    for (result, count) in [("sent", 4.0), ("again", 1.0), ("away", 1.0), ("gone", 1.0), ("parked", 1.0)] {
        let series = format!("atp_outbox_attempts_total{{sink=bus,result={result}}}");
        assert_eq!(measured.value(&series), Some(count), "{result}");
    }
    assert_eq!(measured.values("atp_outbox_send_seconds{sink=bus}").len(), 8);
    for (series, value) in [
        ("atp_outbox_waiting{sink=elsewhere}", 1.0),
        ("atp_outbox_parked{sink=elsewhere}", 1.0),
        ("atp_outbox_waiting{sink=idle}", 0.0),
        ("atp_outbox_parked{sink=idle}", 0.0),
        ("atp_outbox_oldest_seconds{sink=idle}", 0.0),
    ] {
        assert_eq!(measured.value(series), Some(value), "{series}");
    }
    let oldest = measured.value("atp_outbox_oldest_seconds{sink=elsewhere}").expect("an age");
    assert!((3600.0..7200.0).contains(&oldest), "{oldest}");
}

/// The rows of the table in the module's documentation: name, type, unit, labels.
fn documented() -> BTreeMap<String, (String, String, Vec<String>)> {
    const SOURCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../atp-actix/src/metrics.rs"));
    let names = |cell: &str| -> Vec<String> {
        cell.split(',')
            .map(|name| name.trim().trim_matches('`').to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let rows = SOURCE.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        (name, (cells[1].to_owned(), cells[2].to_owned(), names(cells[3])))
    })
    .collect()
}

#[actix_web::test]
async fn the_table_in_the_documentation_has_the_names_types_units_and_labels_of_the_code() {
    let measured = Measured::default();
    let _told = metrics::set_default_local_recorder(&measured);
    let store = MemoryStore::new();
    let app = Mounted::new(webhook().store(store.clone())).await;
    record(&store, "n-1").await;
    app.send(&approve("n-1").at(now())).await;
    send_what_is_scripted(&measured).await;
    let documented = documented();
    assert!(!documented.is_empty());
    let described = measured.described();
    let units = described.iter().map(|(name, (kind, unit))| (name.clone(), (*kind, unit.as_str())));
    let in_table = documented.iter().map(|(name, (kind, unit, _))| (name.clone(), (&**kind, &**unit)));
    assert_eq!(units.collect::<BTreeMap<_, _>>(), in_table.collect());
    let in_table = documented.into_iter().map(|(name, (kind, _, labels))| (name, kind, labels));
    let told = measured.told().into_iter().map(|(name, kind, labels)| (name, kind.to_owned(), labels));
    assert_eq!(told.collect::<BTreeSet<_>>(), in_table.collect());
    // For a recorder that was installed later.
    let later = Measured::default();
    metrics::with_local_recorder(&later, describe);
    assert_eq!(later.described(), described);
}
