//! What was found by attacking the store and the path: as a stranger, as who has once seen a delivery, as a handler that does odd
//! things, and as an operator.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    rt::{self, time::sleep},
    web::Bytes,
};
use atp_actix::{
    AtpResponse, Scheme,
    atp_core::Fingerprint,
    store::{Arrival, Claimed, Completion, DeliveryCount, Redrive, RefusedDelivery, Store, Verdict},
    test::SignedAnswer,
};
use chrono::{TimeDelta, Utc};
use sqlx::Connection as _;

use crate::support::{
    asked::{Clock, answer, approve, asked, claim, record},
    audit::{bodies, is_decided, kept, refused},
    databases::{Database as _, PostgresDatabase, SqliteDatabase, SqliteFile, on_every_store},
    logged,
    mounted::{Mounted, count, counting, decisions, redrive, remembering, runs, webhook, webhook_by},
    watched::Watched,
};

on_every_store!(
    erased_words_do_not_come_back_as_a_raw_spelling_of_a_timestamped_delivery,
    erased_words_do_not_come_back_with_a_repeated_member,
    a_respelled_delivery_does_not_take_the_place_of_the_good_one,
    alternating_spellings_take_no_turn_to_write,
    what_died_under_a_lease_is_listed_although_another_answer_took_over,
    what_is_beyond_enough_is_not_logged_each_time,
    a_token_that_was_used_does_not_hide_a_good_signature,
);

fn header(parts: &[(String, String)], name: &str) -> String {
    parts.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()).expect("a header")
}

/// A captured timestamped delivery, as one that is signed raw.
fn as_raw(sent: &SignedAnswer) -> SignedAnswer {
    let (headers, body) = sent.to_parts();
    let signature = header(&headers, "x-atp-signature");
    let (t, v1) = signature.split_once(",v1=").expect("both");
    let t = t.strip_prefix("t=").expect("t");
    let body = [t.as_bytes(), b".", &body].concat();
    sent.clone().body(Bytes::from(body)).signature(v1)
}

/// A captured canonical delivery, with a member twice: the same canonical text.
fn doubled(sent: &SignedAnswer) -> SignedAnswer {
    let (headers, body) = sent.to_parts();
    let signature = header(&headers, "x-atp-signature");
    let body = [br#"{"action_id":0,"#, &body[1..]].concat();
    sent.clone().body(Bytes::from(body)).signature(signature)
}

/// No body that is kept has the word.
async fn assert_forgotten(store: &impl Store) {
    let bodies = bodies(store).await;
    assert!(!bodies.iter().any(|body| body.contains("whisper")), "{bodies:?}");
}

async fn erased_words_do_not_come_back_as_a_raw_spelling_of_a_timestamped_delivery(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "whisper");
    app.expect(&sent, 200, "run 1").await;
    store.erase("default", "n-1").await.expect("erased");
    println!("{:?}", app.send(&as_raw(&sent)).await);
    assert_forgotten(&store).await;
}

async fn erased_words_do_not_come_back_with_a_repeated_member(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "whisper").scheme(Scheme::PythonCanonical);
    app.expect(&sent, 200, "run 1").await;
    store.erase("default", "n-1").await.expect("erased");
    println!("{:?}", app.send(&doubled(&sent)).await);
    assert_forgotten(&store).await;
}

async fn a_respelled_delivery_does_not_take_the_place_of_the_good_one(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    let sent = answer("n-1", "reject", "no").scheme(Scheme::PythonCanonical);
    // Whoever saw the first one is faster than the second, and the question is recorded too late.
    println!("{:?}", app.send(&doubled(&sent)).await);
    println!("{:?}", app.send(&sent).await);
    record(&store, "n-1").await;
    let refused = refused(&store).await;
    let mut statuses = Vec::new();
    for refused in &refused {
        statuses.push(app.redrive(redrive(&store, refused.id).await).await);
    }
    assert_eq!(count(&runs), 1, "{statuses:?} {:?}", kept(&store).await);
}

async fn alternating_spellings_take_no_turn_to_write(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    let sent = answer("n-1", "reject", "no").scheme(Scheme::PythonCanonical);
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        app.send(&doubled(&sent)).await;
        verdicts.extend(kept(&store).await.first().copied());
        app.send(&sent).await;
        verdicts.extend(kept(&store).await.first().copied());
    }
    verdicts.dedup();
    assert!(verdicts.len() <= 2, "each replay wrote: {verdicts:?}");
}

/// Somebody else writes, as long as this lives.
async fn writing<S: Store>(store: &S) -> S::Transaction {
    let busy = claim("n-2", "approve", "x").lease(Duration::from_secs(60));
    let Ok(Claimed::Started(open)) = store.claim_in_transaction(&busy).await else { panic!("begun") };
    open
}

/// Approves, and then refuses as many answers as are kept of one notification, and one more: that one.
async fn beyond_enough(app: &Mounted) -> SignedAnswer {
    app.expect(&approve("n-1"), 200, "run 1").await;
    for nth in 0..100 {
        app.send(&answer("n-1", "reject", format!("no {nth}"))).await;
    }
    answer("n-1", "reject", "the one too many")
}

async fn what_died_under_a_lease_is_listed_although_another_answer_took_over(store: impl Store) {
    record(&store, "n-1").await;
    let dead = claim("n-1", "approve", "the answer of a process that died").lease(Duration::from_millis(50));
    assert!(matches!(store.claim(&dead).await, Ok(Claimed::Started(()))));
    sleep(Duration::from_millis(200)).await;
    let other = claim("n-1", "reject", "another answer").lease(Duration::from_secs(60));
    assert!(matches!(store.claim(&other).await, Ok(Claimed::Started(()))));
    let completion = Completion::expected(&other);
    store.complete(&other, &completion, None).await.expect("completed");
    let bodies = bodies(&store).await;
    assert!(bodies.iter().any(|body| body.contains("died")), "it is in no list: {bodies:?}");
}

async fn what_is_beyond_enough_is_not_logged_each_time(store: impl Store) {
    let store = Watched::new(store);
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let captured = beyond_enough(&app).await;
    let ((), log) = logged::during(async {
        for _ in 0..100 {
            app.send(&captured).await;
        }
    })
    .await;
    let lines = log.entries().iter().filter(|e| e.target == "atp_actix").count();
    assert!(lines <= 40, "{lines} lines of 100 replays");
}

async fn a_token_that_was_used_does_not_hide_a_good_signature(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    let sent = approve("n-1");
    app.send(&sent).await;
    record(&store, "n-1").await;
    let id = refused(&store).await[0].id;
    let redrive = redrive(&store, id).await;
    let token = redrive.headers[1].1.clone();
    assert_eq!(app.redrive(redrive).await.0, 200);
    let (status, _) = app.send(&sent.clone().header(Redrive::HEADER, token)).await;
    assert_eq!(status, 200);
}

fn of(id: &str, body: &'static [u8]) -> RefusedDelivery {
    let mut refused = RefusedDelivery::new("default", Verdict::Unfit, Scheme::Raw, 0, body, body)
        .notification_id(id.to_owned());
    refused.digest = [7; 32];
    refused
}

#[actix_web::test]
async fn sqlite_what_waits_to_be_kept_while_it_is_erased_is_not_kept() {
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let open = writing(&store).await;
    let erasing = rt::spawn({
        let s = store.clone();
        async move { s.erase("default", "n-1").await }
    });
    sleep(Duration::from_millis(100)).await;
    let keeping = rt::spawn({
        let s = store.clone();
        async move { s.keep(&of("n-1", b"whisper")).await }
    });
    sleep(Duration::from_millis(200)).await;
    drop(open);
    erasing.await.expect("no panic").expect("erased");
    println!("{:?}", keeping.await.expect("no panic"));
    assert_eq!(kept(&store).await, []);
}

fn note(responder: &str) -> DeliveryCount {
    let arrival = Arrival::new(Scheme::Raw, 0).responder(responder.to_owned());
    DeliveryCount::new("default", "n-1", Fingerprint::new("approve", None), Verdict::Conflict, arrival, 409)
}

#[actix_web::test]
async fn postgres_what_waits_to_be_kept_or_counted_while_it_is_erased_is_not_kept() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone();
    record(&store, "n-1").await;
    // Somebody else is about to write the same two rows, and does not in the end.
    let mut other = database.pool.begin().await.expect("begun");
    sqlx::query("INSERT INTO atp_refused (service, digest, notification_id, verdict, scheme, secret_index, refused_at, body) VALUES ('default', $1, 'n-9', 'unfit', 'raw', 0, 0, '')")
        .bind(&[7_u8; 32][..]).execute(&mut *other).await.expect("a row");
    sqlx::query("INSERT INTO atp_deliveries (service, notification_id, fingerprint, verdict, first_seen, last_seen, count, scheme, secret_index, status, duration_us) VALUES ('default', 'n-1', $1, 'conflict', 0, 0, 1, 'raw', 0, 409, 0)")
        .bind(&Fingerprint::new("approve", None).as_bytes()[..]).execute(&mut *other).await.expect("a row");
    let keeping = rt::spawn({
        let s = store.clone();
        async move { s.keep(&of("n-1", b"whisper")).await }
    });
    let noting = rt::spawn({
        let s = store.clone();
        async move { s.count_deliveries(&[note("Jane Doe")]).await }
    });
    sleep(Duration::from_millis(300)).await;
    let erasing = rt::spawn({
        let store = store.clone();
        async move { store.erase("default", "n-1").await }
    });
    sleep(Duration::from_millis(200)).await;
    other.rollback().await.expect("rolled back");
    erasing.await.expect("no panic").expect("erased");
    println!("{:?} {:?}", keeping.await.expect("no panic"), noting.await.expect("no panic"));
    let rows = store.deliveries("default", "n-1").await.expect("rows");
    assert!(
        kept(&store).await.is_empty() && rows.iter().all(|r| r.arrival.responder.is_none()),
        "{:?} {rows:?}",
        kept(&store).await
    );
}

/// The store and its verifier go by one clock.
#[actix_web::test]
async fn sqlite_what_is_erased_and_purged_does_not_come_back() {
    let file = SqliteFile::new();
    let clock = Clock::new();
    let store = {
        let c = clock.clone();
        file.open().await.clock(move || c.now())
    };
    let app = Mounted::new(webhook_by(&clock, &store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "whisper");
    app.expect(&sent, 200, "run 1").await;
    store.erase("default", "n-1").await.expect("erased");
    sleep(Duration::from_millis(300)).await;
    clock.ahead(TimeDelta::hours(100));
    assert_eq!(store.purge(clock.now() - TimeDelta::hours(73)).await.expect("purged"), 1);
    println!("{:?}", app.send(&sent).await);
    assert_forgotten(&store).await;
}

#[actix_web::test]
async fn sqlite_a_used_token_takes_no_turn() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    app.send(&approve("n-1")).await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let id = refused(&store).await[0].id;
    let redrive = redrive(&store, id).await;
    assert_eq!(app.redrive(redrive.clone()).await.0, 200);
    let open = writing(&store).await;
    let used = tokio::time::timeout(Duration::from_secs(1), app.redrive(redrive)).await;
    drop(open);
    assert!(used.is_ok(), "a used token waits for its turn to write");
}

#[actix_web::test]
async fn sqlite_beyond_enough_takes_no_turn() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let captured = beyond_enough(&app).await;
    app.send(&captured).await;
    sleep(Duration::from_millis(200)).await;
    let open = writing(&store).await;
    let again = tokio::time::timeout(Duration::from_secs(1), app.send(&captured)).await;
    drop(open);
    assert!(again.is_ok(), "a replay waits for its turn to write");
}

#[actix_web::test]
async fn sqlite_two_stores_on_one_file_decide_once() {
    let database = SqliteDatabase::new().await;
    let (one, other) = (
        database.store().clone(),
        atp_actix::store::SqliteStore::open(database.file.path()).await.expect("open"),
    );
    let runs = runs();
    let apps = [
        Mounted::new(webhook(&one).otherwise(counting(&runs))).await,
        Mounted::new(webhook(&other).otherwise(counting(&runs))).await,
    ];
    for nth in 0..20 {
        let id = format!("n-{nth}");
        record(&one, &id).await;
        let sent = approve(&id);
        let all = (0..10).map(|n| apps[n % 2].send(&sent));
        let statuses = futures_util::future::join_all(all).await;
        assert!(statuses.iter().all(|(s, _)| matches!(s, 200 | 503)), "{statuses:?}");
        assert_eq!(count(&runs), nth + 1, "{statuses:?}");
    }
}

#[actix_web::test]
async fn odd_statuses_of_handlers() {
    for status in [100_u16, 101, 103, 204, 205, 301, 304, 399, 400, 408, 499, 500, 503, 599, 999] {
        let store = atp_actix::store::MemoryStore::new();
        record(&store, "n-1").await;
        let handler = move |_: AtpResponse| async move {
            HttpResponse::build(actix_web::http::StatusCode::from_u16(status).expect("a status")).finish()
        };
        let app = Mounted::new(webhook(&store).otherwise(handler)).await;
        let first = app.send(&approve("n-1")).await;
        let decided =
            store.find("default", "n-1", None).await.expect("found").decision.map(|d| d.outcome.status);
        println!("{status}: {first:?} {decided:?}");
        assert_eq!(
            decided.is_some(),
            (200..300).contains(&status) || ((400..500).contains(&status) && status != 408)
        );
    }
}

/// The after-work of a failure is under way too.
#[actix_web::test]
async fn draining_waits_for_what_a_failure_leaves_behind() {
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    record(&store, "n-2").await;
    let keeps = |_: AtpResponse, tx: atp_actix::SqliteTransaction| async move {
        sleep(Duration::from_millis(300)).await;
        rt::spawn(async move {
            sleep(Duration::from_millis(800)).await;
            drop(tx);
        });
        "kept it"
    };
    let app = std::rc::Rc::new(Mounted::new(webhook(&store).otherwise(keeps)).await);
    let sending = rt::spawn({
        let app = app.clone();
        async move { app.send(&approve("n-1")).await }
    });
    sleep(Duration::from_millis(100)).await;
    let left = store.drain(Duration::from_secs(20)).await.expect("drained");
    let now = kept(&store).await.len();
    println!("{left} left; {:?}", sending.await.expect("sent"));
    sleep(Duration::from_millis(2000)).await;
    let then = kept(&store).await.len();
    assert_eq!((left, now), (0, then), "drain came back before the failed answer was kept");
}

#[actix_web::test]
async fn debug_of_what_holds_bodies_tells_none() {
    let kept = of("n-1", b"whisper");
    let claim = claim("n-1", "approve", "whisper").lease(Duration::ZERO).data("whisper".to_owned());
    let shown = format!("{kept:?} {claim:?}");
    assert!(!shown.contains("whisper"), "{shown}");
}

#[actix_web::test]
async fn memory_and_sqlite_tell_of_what_is_abandoned_beyond_enough_alike() {
    async fn abandoned(store: impl Store) -> bool {
        record(&store, "n-1").await;
        for nth in 0..100_u8 {
            let mut kept = of("n-1", b"x");
            kept.digest = [nth; 32];
            store.keep(&kept).await.expect("kept");
        }
        let dead = claim("n-1", "approve", "died").lease(Duration::from_millis(20));
        assert!(matches!(store.claim(&dead).await, Ok(Claimed::Started(()))));
        sleep(Duration::from_millis(100)).await;
        kept(&store).await.contains(&Verdict::Abandoned)
    }
    let file = SqliteFile::new();
    assert_eq!(abandoned(atp_actix::store::MemoryStore::new()).await, abandoned(file.open().await).await);
}

/// A decision that stands, with its row in the audit.
async fn decided_and_counted() -> (SqliteDatabase, Mounted) {
    let database = SqliteDatabase::new().await;
    let app = Mounted::new(webhook(database.store()).otherwise(counting(&runs()))).await;
    record(database.store(), "n-1").await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    sleep(Duration::from_millis(300)).await;
    (database, app)
}

#[actix_web::test]
async fn sqlite_draining_writes_the_batch_that_is_being_written() {
    let (database, app) = decided_and_counted().await;
    let store = database.store().clone();
    let other = database.file.lock().await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    sleep(Duration::from_millis(100)).await;
    let drained = store.drain(Duration::from_secs(5)).await;
    let rows = store.deliveries("default", "n-1").await.expect("rows");
    other.close().await.expect("closed");
    assert!(
        drained.is_err() || rows.iter().any(|r| r.verdict == Verdict::Replayed),
        "drained: {drained:?}, waiting {}, {rows:?}",
        store.get_activity().counters_waiting()
    );
}

#[actix_web::test]
async fn sqlite_closing_tells_of_counters_that_were_lost() {
    let (database, app) = decided_and_counted().await;
    let store = database.store().clone();
    let other = database.file.lock().await;
    app.expect(&approve("n-1"), 200, "run 1").await;
    sleep(Duration::from_millis(100)).await;
    let ((), log) = logged::during(store.close()).await;
    other.close().await.expect("closed");
    let again = database.file.open().await;
    let rows = again.deliveries("default", "n-1").await.expect("rows");
    let is_there = rows.iter().any(|r| r.verdict == Verdict::Replayed);
    assert!(
        is_there || log.contains("counters were lost"),
        "{rows:?} waiting {} log {}",
        store.get_activity().counters_waiting(),
        log.text()
    );
}

#[actix_web::test]
async fn sqlite_counters_that_cannot_be_written_do_not_flood_the_log() {
    let (database, app) = decided_and_counted().await;
    sqlx::raw_sql("CREATE TRIGGER no BEFORE INSERT ON atp_deliveries BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        .execute(&database.pool).await.expect("a trigger");
    let ((), log) = logged::during(async {
        for _ in 0..100 {
            app.expect(&approve("n-1"), 200, "run 1").await;
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let lines = log
        .entries()
        .iter()
        .filter(|e| e.target == "atp_actix" && e.fields.get("message").is_none_or(|m| m != "delivery"))
        .count();
    assert!(lines <= 30, "{lines} lines of 100 replays");
}

/// Drains within a handler, twice at once, and closes twice.
#[actix_web::test]
async fn draining_within_a_handler_and_closing_twice_ends() {
    let file = SqliteFile::new();
    let store = file.open().await;
    record(&store, "n-1").await;
    let inner = store.clone();
    let drains = move |_: AtpResponse| {
        let s = inner.clone();
        async move { format!("{:?}", s.drain(Duration::from_millis(200)).await.is_ok()) }
    };
    let app = Mounted::new(webhook(&store).otherwise(drains)).await;
    app.expect(&approve("n-1"), 200, "true").await;
    let (a, b) =
        futures_util::future::join(store.drain(Duration::from_secs(1)), store.drain(Duration::from_secs(1)))
            .await;
    assert_eq!((a.expect("drained"), b.expect("drained")), (0, 0));
    futures_util::future::join(store.close(), store.close()).await;
    assert!(store.find("default", "n-1", None).await.is_err());
    let rows = file.open().await.deliveries("default", "n-1").await.expect("rows");
    assert_eq!(rows.iter().map(|r| (r.verdict, r.count)).collect::<Vec<_>>(), [(Verdict::Handled, 1)]);
}

#[actix_web::test]
async fn sqlite_a_redrive_is_good_once_at_once_and_for_its_service_alone() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    let other =
        Mounted::new(remembering(decisions(&store).service("other")).otherwise(counting(&runs))).await;
    app.send(&approve("n-1")).await;
    record(&store, "n-1").await;
    let id = refused(&store).await[0].id;
    let first = redrive(&store, id).await;
    let second = redrive(&store, id).await;
    assert_eq!(app.redrive(first.clone()).await.0, 401, "the later one took its place");
    assert_eq!(other.redrive(second.clone()).await.0, 401);
    let all = futures_util::future::join_all((0..20).map(|_| app.redrive(second.clone()))).await;
    assert_eq!(all.iter().filter(|(s, _)| *s == 200).count(), 1, "{all:?}");
    assert_eq!(count(&runs), 1);
}

fn timeless(id: &str, action: &str, data: &str, kind: &str) -> SignedAnswer {
    approve(id).body(format!(
        r#"{{"notification_id":"{id}","action_id":"{action}","response_data":{data},"responder":{{"id":"u","type":"{kind}"}}}}"#
    ))
}

/// Lateness goes by the answer's own arrival; what an agent was forbidden is another's.
#[actix_web::test]
async fn a_late_answer_is_not_in_time_because_an_agent_said_the_same_before() {
    let (runs, clock) = (runs(), Clock::new());
    let store = atp_actix::store::MemoryStore::new();
    let app = Mounted::new(
        webhook_by(&clock, &store)
            .on("approve", counting(&runs))
            .otherwise(counting(&runs))
            .humans_only("approve"),
    )
    .await;
    let deadline = Utc::now() + TimeDelta::minutes(1);
    store
        .record(&atp_actix::store::Question::new(asked("n-1").deadline(deadline)))
        .await
        .expect("a question");
    assert_eq!(app.send(&timeless("n-1", "approve", "null", "agent")).await.0, 403);
    sleep(Duration::from_millis(300)).await;
    clock.ahead(TimeDelta::hours(1));
    let late = timeless("n-1", "approve", "null", "human").at(clock.now());
    let (status, text) = app.send(&late).await;
    assert_eq!((status, count(&runs)), (409, 0), "{text}");
}

#[actix_web::test]
async fn what_is_respelled_to_be_no_answer_is_not_kept() {
    let clock = Clock::new();
    let store = atp_actix::store::MemoryStore::new();
    let app = Mounted::new(webhook_by(&clock, &store).otherwise(counting(&runs()))).await;
    let python = answer("n-1", "reject", "no").scheme(Scheme::PythonCanonical);
    let timestamped = approve("n-1");
    let (python, raw) = (doubled(&python), as_raw(&timestamped));
    clock.ahead(TimeDelta::days(1000));
    let statuses = [app.send(&python).await.0, app.send(&raw).await.0];
    assert_eq!((statuses, kept(&store).await.len()), ([400, 401], 0));
}

/// Replays from many connections while the notification is erased again and again.
async fn replays_beside_an_erasure(store: impl Store) -> usize {
    let app = std::rc::Rc::new(Mounted::new(webhook(&store).otherwise(counting(&runs()))).await);
    let mut left = 0;
    for nth in 0..15 {
        let id = format!("n-{nth}");
        record(&store, &id).await;
        app.expect(&approve(&id), 200, &format!("run {}", nth + 1)).await;
        let sends = futures_util::future::join_all((0..20).map(|n| {
            let (app, id) = (app.clone(), id.clone());
            async move { app.send(&answer(&id, "reject", format!("no {n}"))).await }
        }));
        let erase = async {
            sleep(Duration::from_millis(nth)).await;
            while store.erase("default", &id).await.is_err() {}
        };
        futures_util::future::join(sends, erase).await;
        for _ in 0..200 {
            if store.get_activity().counters_waiting() == 0 {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(50)).await;
        let kept = refused(&store).await;
        let bodies = kept.iter().filter(|kept| kept.notification_id.as_deref() == Some(&*id)).count();
        let rows = store.deliveries("default", &id).await.expect("rows");
        let responders = rows.iter().filter(|r| r.arrival.responder.is_some()).count();
        println!("{id}: {bodies} bodies, {responders} responders of {} rows", rows.len());
        left += bodies + responders;
    }
    left
}

#[actix_web::test]
async fn sqlite_replays_beside_an_erasure_leave_nothing() {
    assert_eq!(replays_beside_an_erasure(SqliteFile::new().open().await).await, 0);
}

#[actix_web::test]
async fn postgres_replays_beside_an_erasure_leave_nothing() {
    let Some(database) = PostgresDatabase::new().await else { return };
    assert_eq!(replays_beside_an_erasure(database.store().clone()).await, 0);
}

/// Drains while replays and first deliveries go on: what was answered 200 is there, and nothing hangs.
#[actix_web::test]
async fn draining_beside_deliveries_loses_no_decision_and_no_count() {
    let file = SqliteFile::new();
    let store = file.open().await;
    let runs = runs();
    let app = std::rc::Rc::new(Mounted::new(webhook(&store).otherwise(counting(&runs))).await);
    for nth in 0..60 {
        record(&store, &format!("n-{nth}")).await;
    }
    let sends = futures_util::future::join_all((0..60).map(|n| {
        let app = app.clone();
        async move {
            sleep(Duration::from_millis(n * 3)).await;
            let id = format!("n-{n}");
            [app.send(&approve(&id)).await.0, app.send(&approve(&id)).await.0]
        }
    }));
    let drain = async {
        sleep(Duration::from_millis(90)).await;
        store.drain(Duration::from_secs(10)).await.expect("drained")
    };
    let (statuses, left) = futures_util::future::join(sends, drain).await;
    assert_eq!(left, 0);
    store.close().await;
    let again = file.open().await;
    for (n, [first, second]) in statuses.into_iter().enumerate() {
        let id = format!("n-{n}");
        assert_eq!(is_decided(&again, &id).await, first == 200, "{id}: {first} {second}");
        let counts: u64 = again.deliveries("default", &id).await.expect("rows").iter().map(|r| r.count).sum();
        let sent = u64::from(first == 200) + u64::from(second == 200);
        assert_eq!(counts, sent, "{id}: {first} {second}");
    }
}
