//! A process that decides and sends may be killed anywhere: each event comes out at least once,
//! under one id and with the same bytes, never before its decision and never of one that was rolled
//! back.
//!
//! Some kills unless `ATP_SENDING_KILLS` says how many; `ATP_SEED` repeats a run.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    env,
    rc::Rc,
    time::{Duration, Instant},
};

use atp_actix::{
    store::{Outbox, Store},
    test::Sender,
};
use atp_tests::{
    SECRET,
    killing::Point,
    socket::{AT_ONCE, Line},
};
use tokio::time::{sleep, timeout};

use crate::support::{
    databases::{Database, PostgresDatabase, SqliteDatabase},
    lines::Receiver,
    random::{Random, seed},
    victim::{Victim, question},
};

#[actix_web::test]
async fn a_kill_anywhere_on_the_way_out_loses_no_event_on_sqlite() {
    kill_everywhere(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn a_kill_anywhere_on_the_way_out_loses_no_event_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        kill_everywhere(database).await;
    }
}

async fn kill_everywhere<D: Database<Store: Outbox>>(database: D) {
    let kills = env::var("ATP_SENDING_KILLS")
        .map_or(Point::SENDING.len(), |text| text.parse().expect("a number of kills"));
    let (seed, started) = (seed(), Instant::now());
    let mut random = Random(seed);
    let store = database.store().clone();
    let before_commit = Rc::<RefCell<Vec<String>>>::default();
    let too_early = Rc::clone(&before_commit);
    // Nothing is told before its decision is there for all to see.
    let receiver = Receiver::new(async move |line: &Line| {
        loop {
            match store.find("default", &line.subject, None).await {
                Ok(known) if known.decision.is_some() => return,
                Ok(_) => return too_early.borrow_mut().push(line.id.clone()),
                Err(error) => println!("looked for again: {error}"),
            }
        }
    })
    .await;
    let (mut killed, mut repeated) = (BTreeMap::<_, u32>::new(), BTreeMap::<_, usize>::new());
    let mut ids = BTreeSet::new();
    for nth in 0..kills {
        let (id, point) = (format!("n-{nth}"), Point::SENDING[nth % Point::SENDING.len()]);
        let before = receiver.counts();
        kill_once(&database, &receiver, point, &id, &mut random).await;
        let after = receiver.counts();
        *killed.entry(point).or_default() += 1;
        *repeated.entry(point).or_default() += (after.1 - after.0) - (before.1 - before.0);
        ids.insert(id);
    }
    // What was leased by who died is free again when its lease ends.
    let last = Victim::sending(&database.url(), &receiver.address, &["--relay"]);
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let lags = database.store().lag().await;
        if lags.as_ref().is_ok_and(Vec::is_empty) {
            break;
        }
        assert!(Instant::now() < patience, "ATP_SEED={seed}: it stays: {lags:?}");
        sleep(Duration::from_millis(100)).await;
    }
    drop(last);
    assert!(before_commit.borrow().is_empty(), "ATP_SEED={seed}: before their decisions: {before_commit:?}");

    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in receiver.events() {
        out.entry(line.subject).or_default().push(line.kind);
    }
    for id in &ids {
        let kinds = out.remove(id).unwrap_or_default();
        assert_eq!(kinds, ["atp.decision", "own"], "ATP_SEED={seed}: {id}");
    }
    assert!(out.is_empty(), "ATP_SEED={seed}: what was rolled back is told: {out:?}");
    let mut effects = database.effects().await;
    effects.sort_unstable();
    assert_eq!(effects, ids.into_iter().collect::<Vec<_>>(), "ATP_SEED={seed}: effects");
    let (events, received) = receiver.counts();
    let repeats = received - events;
    // Each of them was under way when its process died, or was leased for it by then.
    let explained = kills * AT_ONCE as usize;
    assert!(repeats <= explained, "ATP_SEED={seed}: {repeats} repeats of {kills} kills");
    let mut attempts = BTreeSet::new();
    for line in receiver.received() {
        let (id, attempt) = (line.id, line.attempt);
        assert!(attempts.insert((id.clone(), attempt)), "ATP_SEED={seed}: {id}: attempt {attempt} twice");
    }
    println!(
        "{}: {kills} kills in {} s, ATP_SEED={seed}: {events} events, 0 lost, {repeats} repeats; by point \
         {killed:?}, repeats that came in a round (a lease that ended is seen in a later one) {repeated:?}",
        database.name(),
        started.elapsed().as_secs(),
    );
}

async fn kill_once<D: Database>(
    database: &D,
    receiver: &Receiver,
    point: &'static str,
    id: &str,
    random: &mut Random,
) {
    let (sender, rolled_back) = (Sender::new(SECRET), format!("rolls-back-{id}"));
    for id in [id, &rolled_back] {
        database.store().record(&question(id)).await.expect("a question");
    }
    let answer = sender.answer(id, "approve", ());
    let mut victim = Victim::sending(&database.url(), &receiver.address, &["--kill", point]);
    if point == "at random" {
        let killed_at = Duration::from_micros(random.next() % 25_000);
        let delivery = async {
            let _ = victim.deliver(&answer).await;
            sleep(Duration::from_secs(1)).await;
        };
        let _ = timeout(killed_at, delivery).await;
        victim.kill();
    } else {
        let patience = Instant::now() + Duration::from_secs(20);
        let mut statuses = Vec::new();
        while !victim.has_ended() {
            assert!(Instant::now() < patience, "{point}: {id}: still alive, and answered {statuses:?}");
            statuses.push(victim.deliver(&answer).await);
            sleep(Duration::from_millis(20)).await;
        }
    }
    drop(victim);
    let victim = Victim::sending(&database.url(), &receiver.address, &[]);
    // What fails after it has emitted emits nothing.
    let failed = victim.deliver(&sender.answer(&rolled_back, "approve", ())).await;
    assert!(matches!(failed, Some(500 | 503)), "{point}: {failed:?}");
    let patience = Instant::now() + Duration::from_secs(20);
    while victim.deliver(&answer).await != Some(200) {
        assert!(Instant::now() < patience, "{point}: {id}: lost");
        sleep(Duration::from_millis(40)).await;
    }
}
