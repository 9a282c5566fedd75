//! A process may be killed anywhere: no answer is lost and none takes effect twice.
//!
//! One kill at each point unless `ATP_KILLS` says how many in all; `ATP_SEED` repeats a run.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use atp_actix::{
    store::{Store, Verdict},
    test::Sender,
};
use atp_tests::{SECRET, killing::Point};
use tokio::time::{sleep, timeout};

use crate::support::{
    databases::{Database, PostgresDatabase, SqliteDatabase},
    random::{Random, seed},
    victim::{Victim, question},
};

#[actix_web::test]
async fn a_kill_anywhere_loses_no_answer_and_doubles_none_on_sqlite() {
    kill_everywhere(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn a_kill_anywhere_loses_no_answer_and_doubles_none_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        kill_everywhere(database).await;
    }
}

/// What a run has seen.
#[derive(Default)]
struct Tally {
    kills: BTreeMap<&'static str, u32>,
    /// What was found after a kill.
    found: BTreeMap<&'static str, u32>,
    deliveries: u32,
}

async fn kill_everywhere(database: impl Database) {
    let kills =
        env::var("ATP_KILLS").map_or(Point::ALL.len(), |text| text.parse().expect("a number of kills"));
    let seed = seed();
    let (mut random, mut tally, started) = (Random(seed), Tally::default(), Instant::now());
    for nth in 0..kills {
        let point = Point::ALL[nth % Point::ALL.len()];
        kill_once(&database, point, &format!("n-{nth}"), &mut random, &mut tally).await;
    }
    let (kills, effects) = (tally.kills.values().sum::<u32>(), database.effects().await.len());
    println!(
        "{}: {kills} kills in {} s, ATP_SEED={seed}; by point {:?}; found after them {:?}; {} deliveries, \
         {effects} effects, 0 lost, 0 doubled",
        database.name(),
        started.elapsed().as_secs(),
        tally.kills,
        tally.found,
        tally.deliveries,
    );
}

async fn kill_once(
    database: &impl Database,
    point: &'static str,
    id: &str,
    random: &mut Random,
    tally: &mut Tally,
) {
    database.store().record(&question(id)).await.expect("a question");
    let sender = Sender::new(SECRET);
    let plain = ["before claim", "after claim", "plain handler"].contains(&point);
    let refused = point.ends_with("keep");
    let answer = if plain { sender.answer(id, "reject", "no") } else { sender.answer(id, "approve", ()) };
    let mut victim = Victim::start(&database.url(), Some(point));
    if point == "at random" {
        let killed_at = Duration::from_micros(random.next() % 12_000);
        let delivery = victim.deliver(&answer);
        // Dropped while it waits: the sender is gone, and then so is the server.
        let _ = timeout(killed_at, delivery).await;
        victim.kill();
        *tally.kills.entry(point).or_default() += 1;
    } else {
        // What is refused is kept: an answer that does not fit.
        let unfit = sender.answer(id, "approve", "words");
        let status = victim.deliver(if refused { &unfit } else { &answer }).await;
        let late = point.ends_with("note");
        if late {
            // It is counted after the answer was sent.
            sleep(Duration::from_millis(50)).await;
        }
        assert!(late || status.is_none(), "{point}: answered {status:?}");
        let ended = victim.has_ended() || {
            sleep(Duration::from_millis(200)).await;
            victim.has_ended()
        };
        assert!(ended, "{point}: still alive");
        *tally.kills.entry(point).or_default() += 1;
    }
    tally.deliveries += 1;
    drop(victim);
    let found = database.store().find("default", id, None).await.expect("an answer");
    *tally.found.entry(if found.decision.is_some() { "completed" } else { "open" }).or_default() += 1;
    if found.decision.is_some() {
        let told = database.store().deliveries("default", id).await.expect("an answer");
        let is_told =
            told.iter().any(|told| told.verdict == Verdict::Handled && told.arrival.responder.is_some());
        assert!(is_told, "{point}: the decision is there, and not in the audit: {told:?}");
    }
    if plain && point != "before claim" {
        // Its lease is short.
        sleep(Duration::from_millis(350)).await;
        let left = database.store().refused("default", 0, 10_000).await.expect("an answer");
        let left = left.iter().find(|left| left.notification_id.as_deref() == Some(id));
        let left = left.map(|left| (left.verdict, left.body.clone()));
        assert_eq!(left, Some((Verdict::Abandoned, answer.to_parts().1)), "{point}: what died is in no list");
    }

    // The ATP server delivers again until it hears a 200.
    let victim = Victim::start(&database.url(), None);
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        tally.deliveries += 1;
        match victim.deliver(&answer).await {
            Some(200) => break,
            Some(503) | None => sleep(Duration::from_millis(40)).await,
            other => panic!("{point}: {other:?}"),
        }
        assert!(Instant::now() < patience, "{point}: lost");
    }
    // And once more, as it would if it had not heard that.
    tally.deliveries += 1;
    assert_eq!(victim.deliver(&answer).await, Some(200), "{point}");
    let effects = database.effects().await.into_iter().filter(|effect| effect == id).count();
    assert_eq!(effects, usize::from(!plain), "{point}: effects of {id}");
    let state =
        database.store().find("default", id, None).await.expect("an answer").question.expect("it").state;
    assert_eq!(state.as_deref(), Some(if plain { "reject" } else { "approved" }), "{point}");
    if refused {
        let kept = database.store().refused("default", 0, 10_000).await.expect("an answer");
        let is_kept = kept.iter().any(|kept| kept.notification_id.as_deref() == Some(id));
        // Killed before it, nobody was told that it was refused: the ATP server delivers it again.
        assert!(is_kept || point == "before keep", "{point}: not kept");
    }
}
