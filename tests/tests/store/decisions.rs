//! Every decision takes effect once: the path of a delivery with a store, on every store.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{Error as ActixError, HttpResponse, http::StatusCode, rt::time::sleep, web};
use atp_actix::{
    AtpResponse, Correlation, Delivery, Error, ErrorReply, Number, Scheme, Simple, Task, Text, Webhook,
    atp_core::{Fingerprint, RawJson},
    store::{Question, STATE_LATE, STATE_REFUSED, Store, Verdict},
};
use atp_tests::PATH;
use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    asked::{Clock, answer, approve, asked, record, verifier},
    audit::{counted, is_decided, kept},
    databases::on_every_store,
    logged,
    mounted::{
        Mounted, count, counting, decisions, redrive, remembering, runs, slower_than_its_answer, webhook,
    },
    told::{OPAQUE, SUCCESS, UNAVAILABLE},
};

on_every_store!(
    the_same_delivery_again_gets_the_same_answer_and_runs_nothing,
    another_answer_is_refused_once_one_stands,
    what_was_not_asked_is_refused,
    an_answer_may_be_faster_than_record,
    only_humans_decide_what_is_for_humans,
    late_answers_are_refused_unless_somebody_takes_them,
    a_decision_stands_whatever_the_deadline_says_now,
    stale_deliveries_are_refused_and_kept,
    a_failing_handler_leaves_no_trace,
    an_extractor_that_refuses_decides_nothing,
    what_cannot_be_recorded_is_released,
    a_slow_handler_is_answered_for_and_found_done,
    a_handler_beyond_its_lease_is_dropped,
    a_handler_that_panics_leaves_no_trace,
    of_many_at_once_one_runs,
    handlers_get_what_was_asked,
    the_state_is_the_action_unless_set,
    what_is_refused_can_be_redriven,
    a_recorded_refusal_can_be_reopened,
    deliveries_are_counted_by_verdict,
    services_answer_only_their_own_questions,
    a_long_answer_is_replayed_as_success,
    the_log_tells_a_replay_from_a_decision,
);

async fn state(store: &impl Store, id: &str) -> Option<String> {
    store.find("default", id, None).await.expect("an answer").question.expect("the question").state
}

async fn the_same_delivery_again_gets_the_same_answer_and_runs_nothing(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    for (id, action, data) in [
        ("n-1", "approve", Value::Null),
        ("n-2", "reject", json!("no")),
        ("n-3", "refund", json!({"cents": 1})),
    ] {
        record(&store, id).await;
        let before = count(&runs);
        let first = app.send(&answer(id, action, data.clone())).await;
        assert_eq!(first, (200, format!("run {}", before + 1)), "{action}");
        for again in [
            answer(id, action, data.clone()),
            answer(id, action, data.clone()).scheme(Scheme::Raw).request_id("another"),
            answer(id, action, data.clone()).member("attempt", 3).by_agent(),
            answer(id, action, data.clone()).at(Utc::now() - TimeDelta::hours(5)),
        ] {
            assert_eq!(app.send(&again).await, first, "{again:?}");
        }
        assert_eq!(count(&runs), before + 1, "{action}");
    }
    assert_eq!(kept(&store).await, [], "nothing was refused");
}

async fn another_answer_is_refused_once_one_stands(store: impl Store) {
    let (runs, told) = (runs(), Arc::new(AtomicUsize::new(0)));
    let telling = Arc::clone(&told);
    let hook = move |delivery: &Delivery| {
        assert_eq!(delivery.answer().notification_id, "n-1");
        telling.fetch_add(1, Ordering::SeqCst);
    };
    let app = Mounted::new(remembering(decisions(&store).on_conflict(hook)).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    let others = [answer("n-1", "reject", "no"), answer("n-1", "approve", ()).without_data()];
    for other in &others {
        app.refuses(other, 409, "NOTIFICATION_ALREADY_RESPONDED").await;
    }
    // Missing data and null are two answers, as the fingerprint goes.
    assert_eq!((count(&runs), count(&told)), (1, 2));
    assert_eq!(kept(&store).await, [Verdict::Conflict, Verdict::Conflict]);
    app.expect(&approve("n-1"), 200, "run 1").await;
}

async fn what_was_not_asked_is_refused(store: impl Store) {
    let runs = runs();
    let app =
        Mounted::new(webhook(&store).on("approve", counting(&runs)).on("reject", counting(&runs))).await;
    record(&store, "n-1").await;
    for (sent, status, code) in [
        (answer("n-1", "else", ()), 400, "INVALID_ACTION_ID"),
        (answer("n-1", "approve", "words"), 400, "INVALID_RESPONSE_DATA"),
        (answer("n-1", "reject", "eleven more"), 400, "INVALID_RESPONSE_DATA"),
        (answer("n-1", "reject", ()), 400, "INVALID_RESPONSE_DATA"),
        (answer("n-1", "delay", "2h"), 400, "INVALID_RESPONSE_DATA"),
        (answer("n-1", "refund", json!({})), 400, "INVALID_RESPONSE_DATA"),
        (answer("n-1", "approve", ()).body("{}"), 400, "MALFORMED_PAYLOAD"),
    ] {
        app.refuses(&sent, status, code).await;
    }
    // Ours may be deployed a minute later.
    app.expect(&answer("n-1", "delay", "1h"), 500, OPAQUE).await;
    assert_eq!(count(&runs), 0);
    let mut expected = vec![Verdict::Unfit; 6];
    expected.extend([Verdict::Malformed, Verdict::Failed]);
    assert_eq!(kept(&store).await, expected);
    app.expect(&answer("n-1", "reject", "ten or so!"), 200, "run 1").await;
}

async fn an_answer_may_be_faster_than_record(store: impl Store) {
    let (runs, clock) = (runs(), Clock::new());
    let webhook = Webhook::new(PATH, clock.verifier()).store(store.clone()).otherwise(counting(&runs));
    let app = Mounted::new(webhook).await;
    let at = |ahead: i64| Utc::now() + TimeDelta::minutes(ahead);
    for id in ["early", "never"] {
        clock.ahead(TimeDelta::zero());
        app.expect(&approve(id), 503, UNAVAILABLE).await;
        clock.ahead(TimeDelta::minutes(9));
        app.expect(&approve(id).at(at(9)), 503, UNAVAILABLE).await;
    }
    record(&store, "early").await;
    app.expect(&approve("early").at(at(9)), 200, "run 1").await;
    // Its first arrival is written after it was answered.
    counted(&store, "never").await;
    clock.ahead(TimeDelta::minutes(11));
    app.refuses(&approve("never").at(at(11)), 404, "NOTIFICATION_NOT_FOUND").await;
    assert_eq!(count(&runs), 1);
    assert!(kept(&store).await.iter().all(|verdict| *verdict == Verdict::Unknown));
}

async fn only_humans_decide_what_is_for_humans(store: impl Store) {
    let runs = runs();
    let webhook = webhook(&store).on("approve", counting(&runs)).on("reject", counting(&runs));
    let app = Mounted::new(webhook.humans_only("approve")).await;
    for id in ["n-1", "n-2"] {
        record(&store, id).await;
    }
    for sent in [
        approve("n-1").by_agent(),
        approve("n-1").by_nobody(),
        approve("n-1").by_nobody().member("responder", json!({"id": "r", "type": "robot"})),
    ] {
        app.refuses(&sent, 403, "NOTIFICATION_ACCESS_DENIED").await;
    }
    assert_eq!(count(&runs), 0);
    assert_eq!(counted(&store, "n-1").await, [(Verdict::Forbidden, 3)]);
    app.expect(&approve("n-1"), 200, "run 1").await;
    app.expect(&answer("n-2", "reject", "no").by_agent(), 200, "run 2").await;
}

async fn late_answers_are_refused_unless_somebody_takes_them(store: impl Store) {
    let (timely, late) = (runs(), runs());
    let strict = Mounted::new(webhook(&store).otherwise(counting(&timely))).await;
    let lenient =
        Mounted::new(remembering(decisions(&store).late(counting(&late))).on("approve", counting(&timely)))
            .await;
    let deadline = Utc::now() + TimeDelta::seconds(2);
    for id in ["expired", "unsigned time", "in time"] {
        store.record(&Question::new(asked(id).deadline(deadline))).await.expect("a question");
    }
    tokio::time::sleep((deadline - Utc::now()).to_std().unwrap_or_default()).await;
    record(&store, "taken back").await;
    store.invalidate("default", "taken back", "superseded").await.expect("an open question");
    strict.refuses(&approve("expired"), 409, "NOTIFICATION_EXPIRED").await;
    strict.refuses(&approve("taken back"), 409, "NOTIFICATION_INVALIDATED").await;
    // Without a time of its own it is judged by its first arrival.
    let timeless = |id: &str| {
        approve(id)
            .body(json!({"notification_id": id, "action_id": "approve", "response_data": null}).to_string())
    };
    strict.refuses(&timeless("unsigned time"), 409, "NOTIFICATION_EXPIRED").await;
    // When the human answered counts, not when that came through.
    let answered = json!({
        "notification_id": "in time", "action_id": "approve", "response_data": null,
        "responded_at": (deadline - TimeDelta::seconds(1)).to_rfc3339(),
        "timestamp": Utc::now().to_rfc3339(),
    });
    strict.expect(&approve("in time").body(answered.to_string()), 200, "run 1").await;
    assert_eq!((count(&timely), count(&late)), (1, 0));
    lenient.expect(&approve("expired"), 200, "run 1").await;
    lenient.expect(&approve("taken back"), 200, "run 2").await;
    assert_eq!((count(&timely), count(&late)), (1, 2));
    for (id, expected) in
        [("in time", Some("approve")), ("expired", Some(STATE_LATE)), ("taken back", Some(STATE_LATE))]
    {
        assert_eq!(state(&store, id).await.as_deref(), expected, "{id}");
        let found = store.find("default", id, None).await.expect("an answer").decision.expect("a decision");
        assert_eq!((found.is_late, &*found.action_id), (id != "in time", "approve"), "{id}");
    }
    strict.expect(&approve("expired"), 200, "run 1").await;
}

async fn a_decision_stands_whatever_the_deadline_says_now(store: impl Store) {
    let (runs, clock) = (runs(), Clock::new());
    let app =
        Mounted::new(Webhook::new(PATH, clock.verifier()).store(store.clone()).otherwise(counting(&runs)))
            .await;
    let deadline = Utc::now() + TimeDelta::minutes(1);
    store.record(&Question::new(asked("n-1").deadline(deadline))).await.expect("a question");
    app.expect(&approve("n-1"), 200, "run 1").await;
    clock.ahead(TimeDelta::hours(2));
    app.expect(&approve("n-1").at(Utc::now() + TimeDelta::hours(2)), 200, "run 1").await;
    app.expect(&approve("n-1"), 200, "run 1").await;
}

async fn stale_deliveries_are_refused_and_kept(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    let ago = |hours: i64| Utc::now() - TimeDelta::hours(hours);
    for scheme in Scheme::ALL {
        app.expect(&approve("n-1").scheme(scheme).at(ago(73)), 401, r#"{"error":"Invalid signature"}"#).await;
    }
    assert!(kept(&store).await.iter().all(|verdict| *verdict == Verdict::Stale));
    for scheme in Scheme::ALL {
        let future = approve("n-1").scheme(scheme).at(Utc::now() + TimeDelta::hours(1));
        app.expect(&future, 401, r#"{"error":"Invalid signature"}"#).await;
    }
    app.expect(&approve("n-1").forged(), 401, r#"{"error":"Invalid signature"}"#).await;
    assert_eq!(count(&runs), 0);
    // A redelivery days later is no replay: nothing was decided yet.
    app.expect(&approve("n-1").at(ago(71)), 200, "run 1").await;
    // A bare digest without a time is judged by when the question was recorded.
    record(&store, "n-2").await;
    let timeless =
        json!({"notification_id": "n-2", "action_id": "approve", "response_data": null}).to_string();
    app.expect(&approve("n-2").scheme(Scheme::Raw).body(timeless), 200, "run 2").await;
}

/// Fails at first, then counts.
fn failing_first(
    failures: usize,
    runs: &Arc<AtomicUsize>,
) -> impl Fn(AtpResponse) -> Ready<Result<String, Error>> + Clone + use<> {
    let runs = Arc::clone(runs);
    move |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
        ready(if run > failures { Ok(format!("run {run}")) } else { Err(std::fmt::Error.into()) })
    }
}

async fn a_failing_handler_leaves_no_trace(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(failing_first(2, &runs))).await;
    record(&store, "n-1").await;
    for _ in 0..2 {
        app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
        assert_eq!(state(&store, "n-1").await, None);
    }
    app.expect(&approve("n-1"), 200, "run 3").await;
    app.expect(&approve("n-1"), 200, "run 3").await;
    assert_eq!(count(&runs), 3);
    assert_eq!(
        counted(&store, "n-1").await,
        [(Verdict::Handled, 1), (Verdict::Replayed, 1), (Verdict::Failed, 2)]
    );
}

async fn an_extractor_that_refuses_decides_nothing(store: impl Store) {
    async fn small(number: AtpResponse<Number<u8>>) -> String {
        number.data.to_string()
    }
    async fn never(_: AtpResponse<Simple>, _: web::Data<String>) -> String {
        "it ran".to_owned()
    }
    let app = Mounted::new(webhook(&store).on("pay", small).on("approve", never)).await;
    for id in ["n-1", "n-2"] {
        record(&store, id).await;
    }
    // Fits the question, and not the type of the handler's: our fault.
    app.expect(&answer("n-1", "pay", 300), 500, OPAQUE).await;
    app.expect(&approve("n-2"), 500, OPAQUE).await;
    for id in ["n-1", "n-2"] {
        assert!(!is_decided(&store, id).await);
    }
    assert_eq!(kept(&store).await, [Verdict::Failed, Verdict::Failed]);
    app.expect(&answer("n-1", "pay", 3), 200, "3").await;
}

async fn what_cannot_be_recorded_is_released(store: impl Store) {
    async fn redirect(_: AtpResponse<Simple>) -> HttpResponse {
        HttpResponse::Found().finish()
    }
    async fn stream(_: AtpResponse<Text>) -> HttpResponse {
        let chunks = futures_util::stream::iter([Ok::<_, ActixError>(web::Bytes::from_static(b"x"))]);
        HttpResponse::Ok().streaming(chunks)
    }
    let app = Mounted::new(webhook(&store).on("approve", redirect).on("reject", stream)).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 500, OPAQUE).await;
    app.expect(&answer("n-1", "reject", "no"), 500, OPAQUE).await;
    assert!(!is_decided(&store, "n-1").await);
}

async fn a_slow_handler_is_answered_for_and_found_done(store: impl Store) {
    let runs = runs();
    let app = slower_than_its_answer(&store, &runs).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    // While it runs, nobody else does: neither the same answer nor another.
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    app.expect(&answer("n-1", "reject", "no"), 503, UNAVAILABLE).await;
    sleep(Duration::from_millis(600)).await;
    app.expect(&approve("n-1"), 200, "done").await;
    assert_eq!(count(&runs), 1);
}

async fn the_log_tells_a_replay_from_a_decision(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let twice = async {
        app.expect(&approve("n-1"), 200, "run 1").await;
        app.expect(&approve("n-1"), 200, "run 1").await;
    };
    let ((), log) = logged::during(twice).await;
    let outcomes: Vec<String> =
        log.deliveries().into_iter().filter_map(|mut entry| entry.fields.remove("outcome")).collect();
    assert_eq!(outcomes, ["handled", "replayed"], "{}", log.text());
}

async fn a_handler_beyond_its_lease_is_dropped(store: impl Store) {
    let runs = runs();
    let counted = Arc::clone(&runs);
    let stuck = move |_: AtpResponse| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            "done"
        }
    };
    let app =
        Mounted::new(remembering(decisions(&store).lease(Duration::from_secs(1))).otherwise(stuck)).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    app.expect(&approve("n-1"), 200, "done").await;
    assert_eq!(count(&runs), 2);
}

async fn a_handler_that_panics_leaves_no_trace(store: impl Store) {
    let runs = runs();
    let counted = Arc::clone(&runs);
    let panics = move |_: AtpResponse| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            assert!(!first, "on purpose: the test wants a panic here");
            "done"
        }
    };
    let app = Mounted::new(webhook(&store).otherwise(panics)).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 500, OPAQUE).await;
    app.expect(&approve("n-1"), 200, "done").await;
}

async fn of_many_at_once_one_runs(store: impl Store) {
    let runs = runs();
    let counted = Arc::clone(&runs);
    let slow = move |answer: AtpResponse| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(Duration::from_millis(20)).await;
            answer.action_id.clone()
        }
    };
    let app = Mounted::new(webhook(&store).otherwise(slow)).await;
    record(&store, "n-1").await;
    let answers = [approve("n-1"), answer("n-1", "reject", "no"), answer("n-1", "delay", "1h")];
    let sent = (0..24).map(|nth| app.send(&answers[nth % 3]));
    let seen = join_all(sent).await;
    let handled: Vec<_> = seen.iter().filter(|(status, _)| *status == 200).collect();
    assert!(!handled.is_empty() && handled.iter().all(|seen| *seen == handled[0]), "{seen:?}");
    assert!(seen.iter().all(|(status, _)| [200, 409, 503].contains(status)), "{seen:?}");
    assert_eq!(count(&runs), 1);
}

async fn handlers_get_what_was_asked(store: impl Store) {
    #[derive(serde::Deserialize)]
    struct Deploy {
        version: String,
    }
    async fn origin(_: AtpResponse<Simple>, origin: Correlation<Deploy>, delivery: Delivery) -> String {
        let (user, request) = (origin.user_id.as_deref(), origin.request_id.as_deref());
        assert_eq!(origin.notification.context.title, "Deploy?");
        assert!(origin.asked_at() <= Utc::now());
        format!("{} {user:?} {request:?} {}", origin.context.version, delivery.decision_id())
    }
    async fn wrong(_: AtpResponse<Text>, _: Correlation<Vec<u8>>) -> String {
        "it ran".to_owned()
    }
    let app = Mounted::new(webhook(&store).on("approve", origin).on("reject", wrong)).await;
    let context = json!({"version": "2.1.0"});
    let question = Question::new(asked("n-1")).user_id("user_9").request_id("req_7").context(context);
    store.record(&question).await.expect("a question");
    app.expect(&answer("n-1", "reject", "no"), 500, OPAQUE).await;
    let (status, body) = app.send(&approve("n-1")).await;
    assert_eq!(status, 200);
    let (start, id) = body.rsplit_once(' ').expect("four words");
    assert_eq!(start, r#"2.1.0 Some("user_9") Some("req_7")"#);
    // It is of the store's own: nobody else can tell it from the answer.
    let expected = Fingerprint::new("approve", Some(&RawJson::new("null").expect("JSON")));
    assert_eq!(id, decision_id("n-1", expected.keyed(store.get_fingerprint_key())).to_string());
    assert_ne!(id, decision_id("n-1", expected).to_string());
}

/// uuid5(NAMESPACE, len(service) service len(notification) notification fingerprint)
fn decision_id(notification_id: &str, fingerprint: Fingerprint) -> Uuid {
    let namespace = Uuid::from_u128(0x6d1f_2a54_9c3b_4e0e_8f57_1b0c_7de4_a921);
    let named = |text: &str| [&(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat();
    let name = [named("default"), named(notification_id), fingerprint.as_bytes().to_vec()].concat();
    Uuid::new_v5(&namespace, &name)
}

async fn the_state_is_the_action_unless_set(store: impl Store) {
    async fn sets(_: AtpResponse<Simple>, task: Task) -> &'static str {
        task.set("first");
        task.set("approved by a human");
        ""
    }
    async fn says_nothing(_: AtpResponse<Text>) -> Result<(), Error> {
        Ok(())
    }
    async fn refuses(_: AtpResponse<Number>, task: Task) -> Result<(), ErrorReply> {
        task.set("not this");
        Err(ErrorReply::new(StatusCode::CONFLICT, "OUT_OF_STOCK", "there is none left"))
    }
    let app =
        Mounted::new(webhook(&store).on("approve", sets).on("reject", says_nothing).on("pay", refuses)).await;
    for (id, sent, status, expected) in [
        ("n-1", approve("n-1"), 200, Some("approved by a human")),
        ("n-2", answer("n-2", "reject", "no"), 200, Some("reject")),
        ("n-3", answer("n-3", "pay", 5), 409, Some(STATE_REFUSED)),
    ] {
        record(&store, id).await;
        let first = app.send(&sent).await;
        assert_eq!(first.0, status, "{id}");
        assert_eq!(state(&store, id).await.as_deref(), expected, "{id}");
        assert_eq!(app.send(&sent).await, first, "a refusal is final too");
    }
    app.expect(&answer("n-2", "reject", "no"), 200, SUCCESS).await;
}

async fn what_is_refused_can_be_redriven(store: impl Store) {
    let runs = runs();
    // Deployed without the handler at first.
    let before = Mounted::new(webhook(&store).on("approve", counting(&runs))).await;
    let after = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    let stale = Utc::now() - TimeDelta::hours(100);
    for (scheme, sent) in [
        (Scheme::Timestamped, answer("n-1", "delay", "1h").at(stale)),
        (Scheme::PythonCanonical, answer("n-1", "delay", "1d").at(stale)),
    ] {
        before.expect(&sent.scheme(scheme), 401, r#"{"error":"Invalid signature"}"#).await;
    }
    let refused = store.refused("default", 0, 10).await.expect("an answer");
    assert_eq!(refused.len(), 2);
    let once = redrive(&store, refused[1].id).await;
    assert_eq!(after.redrive(once.clone()).await, (200, "run 1".to_owned()));
    let again = after.redrive(once.clone()).await;
    assert_eq!(again.0, 401, "a token is good once");
    // Exactly that body.
    let mut altered = redrive(&store, refused[1].id).await;
    altered.body = web::Bytes::from(String::from_utf8_lossy(&altered.body).replace("1d", "1h"));
    assert_eq!(after.redrive(altered).await.0, 401);
    assert_eq!(count(&runs), 1);
    // Without a store the header means nothing.
    let stateless = Mounted::new(Webhook::new(PATH, verifier()).otherwise(counting(&runs))).await;
    let last = redrive(&store, refused[1].id).await;
    assert_eq!(stateless.redrive(last).await.0, 401);
}

async fn a_recorded_refusal_can_be_reopened(store: impl Store) {
    let runs = runs();
    let counted = Arc::clone(&runs);
    let refuses_first = move |_: AtpResponse| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        ready(if first {
            Err(ErrorReply::new(StatusCode::CONFLICT, "OUT_OF_STOCK", "there is none left"))
        } else {
            Ok("done")
        })
    };
    let app = Mounted::new(webhook(&store).otherwise(refuses_first)).await;
    record(&store, "n-1").await;
    for _ in 0..2 {
        app.refuses(&approve("n-1"), 409, "OUT_OF_STOCK").await;
    }
    store.reopen("default", "n-1").await.expect("a recorded refusal");
    app.expect(&approve("n-1"), 200, "done").await;
    assert_eq!(count(&runs), 2);
}

async fn deliveries_are_counted_by_verdict(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    for _ in 0..5 {
        app.expect(&approve("n-1").request_id("r"), 200, "run 1").await;
    }
    for _ in 0..3 {
        app.refuses(&answer("n-1", "reject", "no"), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
        app.expect(&approve("n-1").forged(), 401, r#"{"error":"Invalid signature"}"#).await;
    }
    assert_eq!(
        counted(&store, "n-1").await,
        [(Verdict::Handled, 1), (Verdict::Replayed, 4), (Verdict::Conflict, 3)]
    );
    let rows = store.deliveries("default", "n-1").await.expect("an answer");
    let of = |verdict| rows.iter().find(|row| row.verdict == verdict).expect("a row");
    assert_eq!(of(Verdict::Handled).arrival.request_id.as_deref(), Some("r"));
    assert_eq!((of(Verdict::Handled).status, of(Verdict::Conflict).status), (200, 409));
    assert_eq!(of(Verdict::Handled).arrival.responder.as_deref(), Some("user_123"));
}

async fn services_answer_only_their_own_questions(store: impl Store) {
    let runs = runs();
    let app =
        Mounted::new(remembering(decisions(&store).service("billing")).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 503, UNAVAILABLE).await;
    store.record(&Question::new(asked("n-2")).service("billing")).await.expect("a question");
    app.expect(&approve("n-2"), 200, "run 1").await;
    assert!(store.find("default", "n-2", None).await.expect("an answer").question.is_none());
}

async fn a_long_answer_is_replayed_as_success(store: impl Store) {
    async fn long(_: AtpResponse<Simple>) -> String {
        "x".repeat(20_000)
    }
    let app = Mounted::new(webhook(&store).on("approve", long)).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 200, &"x".repeat(20_000)).await;
    app.expect(&approve("n-1"), 200, SUCCESS).await;
}
