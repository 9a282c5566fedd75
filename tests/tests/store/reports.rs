//! Every delivery gets one report, when it is known what became of it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, ResponseError, body::BoxBody, http::StatusCode, rt::time::sleep};
use atp_actix::{
    AtpResponse, ErrorReply, Report, Simple, Webhook,
    store::{MemoryStore, Store, Verdict},
};
use tokio::sync::Notify;
use tracing::Level;

use crate::support::{
    asked::{answer, approve, record, verifier},
    databases::on_every_store,
    logged,
    mounted::{Mounted, decisions, remembering, webhook},
    server::{Server, post},
    told::UNAVAILABLE,
};

on_every_store!(
    each_delivery_is_reported_once,
    a_handler_that_outlived_its_503_is_reported_as_what_it_came_to,
    an_observer_that_panics_changes_no_answer,
    what_an_error_quotes_that_carries_a_reply_is_not_told,
);

/// What was reported: verdict, status, and what the sender was told.
type Told = (Option<Verdict>, u16, u16);

#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<Told>>>);

impl Reports {
    fn observer(&self) -> impl Fn(&Report<'_>) + Send + Sync + 'static + use<> {
        let reports = Arc::clone(&self.0);
        move |report| {
            let told = (report.verdict, report.status.as_u16(), report.told.as_u16());
            reports.lock().expect("no panic").push(told);
        }
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }

    async fn next(&self) -> Vec<Told> {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let reports = self.take();
            if !reports.is_empty() || Instant::now() > patience {
                return reports;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn each_delivery_is_reported_once(store: impl Store) {
    async fn refuses(_: AtpResponse<Simple>) -> Result<(), ErrorReply> {
        Err(ErrorReply::new(StatusCode::CONFLICT, "NO", "no"))
    }
    async fn handles(answer: AtpResponse) -> String {
        answer.action_id.clone()
    }
    let reports = Reports::default();
    let webhook = webhook(&store).on("approve", refuses).otherwise(handles).observe(reports.observer());
    let app = Mounted::new(webhook).await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let delay = || answer("n-2", "delay", "1h");
    for (case, sent, expected) in [
        ("refused", approve("n-1"), (Some(Verdict::Refused), 409, 409)),
        ("refused before", approve("n-1"), (Some(Verdict::Replayed), 409, 409)),
        ("handled", delay(), (Some(Verdict::Handled), 200, 200)),
        ("handled before", delay(), (Some(Verdict::Replayed), 200, 200)),
        ("another", answer("n-2", "delay", "1d"), (Some(Verdict::Conflict), 409, 409)),
        ("unfit", answer("n-2", "delay", 7), (Some(Verdict::Conflict), 409, 409)),
        ("unknown", approve("n-3"), (Some(Verdict::Unknown), 503, 503)),
        ("no answer", approve("n-1").body("[]"), (Some(Verdict::Malformed), 400, 400)),
        ("forged", approve("n-1").forged(), (None, 401, 401)),
        ("no signature", approve("n-1").without_header("x-atp-signature"), (None, 401, 401)),
    ] {
        app.send(&sent).await;
        assert_eq!(reports.next().await, [expected], "{case}");
    }
    store.drain(Duration::from_secs(20)).await.expect("a store");
    assert_eq!(app.send(&delay()).await.0, 503);
    assert_eq!(reports.take(), [(Some(Verdict::Failed), 503, 503)]);
}

/// Or whoever makes metrics from reports, or from the log, counts a failure where a decision took
/// effect.
async fn a_handler_that_outlived_its_503_is_reported_as_what_it_came_to(store: impl Store) {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let slow = move |_: AtpResponse<Simple>| {
        let opened = Arc::clone(&opened);
        async move {
            opened.notified().await;
            "done"
        }
    };
    let reports = Reports::default();
    let decisions = decisions(&store).respond_within(Duration::from_millis(30));
    let app =
        Mounted::new(remembering(decisions).on("approve", slow.clone()).observe(reports.observer())).await;
    record(&store, "n-1").await;
    let work = async {
        app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
        assert_eq!(reports.take(), [], "nobody knows yet");
        gate.notify_one();
        reports.next().await
    };
    let (told, log) = logged::during(work).await;
    assert_eq!(told, [(Some(Verdict::Handled), 200, 503)]);
    let events = log.deliveries();
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.level, Level::INFO);
    assert_eq!((&*event.fields["outcome"], &*event.fields["told"]), ("handled", "503"));
    let app = Mounted::new(webhook(&store).on("approve", slow)).await;
    app.expect(&approve("n-1"), 200, "done").await;
}

/// It is told what was decided, and has no say in it.
async fn an_observer_that_panics_changes_no_answer(store: impl Store) {
    async fn fails(_: AtpResponse<Simple>) -> Result<(), ErrorReply> {
        Err(ErrorReply::new(StatusCode::SERVICE_UNAVAILABLE, "LATER", "later"))
    }
    async fn leaves_open(_: AtpResponse) -> Result<(), ErrorReply> {
        Err(ErrorReply::new(StatusCode::CONFLICT, "NOT_YET", "not yet").leave_open())
    }
    let panics = |_: &Report<'_>| panic!("on purpose: the test wants a panic here");
    let failing = webhook(&store).on("approve", fails).otherwise(leaves_open).observe(panics);
    let failing = Mounted::new(failing).await;
    let handling = Mounted::new(webhook(&store).on("approve", || async { "done" }).observe(panics)).await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    for (case, app, sent, expected) in [
        ("later", &failing, approve("n-1"), 503),
        ("left open", &failing, answer("n-2", "delay", "1h"), 409),
        ("forged", &failing, approve("n-1").forged(), 401),
        ("handled", &handling, approve("n-1"), 200),
        ("handled before", &handling, approve("n-1"), 200),
        ("another", &handling, answer("n-1", "delay", "1h"), 409),
        ("handled after it was left open", &handling, approve("n-2"), 200),
    ] {
        let sent = std::panic::AssertUnwindSafe(app.send(&sent));
        let told = futures_util::FutureExt::catch_unwind(sent).await.map(|(status, _)| status);
        assert_eq!(told.ok(), Some(expected), "{case}");
    }
}

/// An error of a service that quotes the answer.
#[derive(Debug)]
struct Quoting(ErrorReply, String);

impl std::fmt::Display for Quoting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no reason", self.1)
    }
}

impl ResponseError for Quoting {
    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.0.error_response()
    }
}

async fn what_an_error_quotes_that_carries_a_reply_is_not_told(store: impl Store) {
    async fn quotes(answer: AtpResponse<atp_actix::Text>) -> Result<(), Quoting> {
        let reply = ErrorReply::new(StatusCode::CONFLICT, "NO_REASON", "that is none").leave_open();
        Err(Quoting(reply, answer.data.to_string()))
    }
    let reasons = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&reasons);
    let observer = move |report: &Report<'_>| told.lock().expect("no panic").extend(report.reason());
    let app = Mounted::new(webhook(&store).on("reject", quotes).observe(observer)).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "hunter2");
    let ((), log) = logged::during(app.refuses(&sent, 409, "NO_REASON")).await;
    assert_eq!(*reasons.lock().expect("no panic"), ["NO_REASON: that is none"]);
    assert!(!log.contains("hunter2"), "{}", log.text());
}

/// Whoever hangs up may have been handled all the same.
#[actix_web::test]
async fn a_sender_that_hangs_up_is_reported_once() {
    async fn slow(_: AtpResponse<Simple>) -> &'static str {
        sleep(Duration::from_millis(300)).await;
        "done"
    }
    let (reports, store) = (Reports::default(), MemoryStore::new());
    record(&store, "n-1").await;
    let told = reports.clone();
    let server = Server::start(1, move |config| {
        let at = |path: &str| Webhook::new(path, verifier()).on("approve", slow).observe(told.observer());
        config.service(at("/with").store(store.clone())).service(at("/without"));
    });
    for path in ["/with", "/without"] {
        let mut client = server.connect().await;
        client.send(&post(path, &approve("n-1"))).await.expect("a connection");
        sleep(Duration::from_millis(100)).await;
        drop(client);
        assert_eq!(reports.next().await.len(), 1, "{path}");
    }
}
