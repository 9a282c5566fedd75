//! Many deliveries at once, to two processes: one handler runs, and one answer wins everywhere.
//!
//! Twenty rounds unless `ATP_RACES` says how many.

use std::{env, fs, time::Instant};

use atp_actix::{
    store::{Question, Store},
    test::{Sender, SignedAnswer},
};
use atp_tests::SECRET;
use futures_util::future::join_all;

use crate::support::{
    databases::{Database, PostgresDatabase, SqliteDatabase, SqliteFile},
    victim::{Victim, question},
};

const CONNECTIONS: usize = 64;

#[actix_web::test]
async fn one_of_many_deliveries_runs_its_handler_on_sqlite() {
    race(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn one_of_many_deliveries_runs_its_handler_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        race(database).await;
    }
}

async fn race(database: impl Database) {
    let rounds: usize = env::var("ATP_RACES").map_or(20, |text| text.parse().expect("a number of rounds"));
    let (started, sender) = (Instant::now(), Sender::new(SECRET));
    let folder = SqliteFile::new();
    let runs = folder.beside("runs");
    let victims = [Victim::counting(&database.url(), &runs), Victim::counting(&database.url(), &runs)];
    let mut seen = [0_usize; 3];
    for round in 0..rounds {
        // The same answer from all.
        let id = format!("same-{round}");
        database.store().record(&question(&id)).await.expect("a question");
        let same = sender.answer(&id, "approve", ());
        let statuses = until_handled(&victims, &mut seen, |_| same.clone()).await;
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{id}: {statuses:?}");

        // Eight different ones.
        let id = format!("different-{round}");
        database.store().record(&eight_ways(&id)).await.expect("a question");
        let different = |nth: usize| sender.answer(&id, "approve", format!("{}", nth % 8));
        let statuses = until_handled(&victims, &mut seen, different).await;
        assert!(statuses.iter().all(|status| matches!(status, 200 | 409 | 503)), "{id}: {statuses:?}");
        let winners: Vec<usize> =
            (0..CONNECTIONS).filter(|nth| statuses[*nth] == 200).map(|nth| nth % 8).collect();
        assert!(winners.iter().all(|winner| *winner == winners[0]), "{id}: {statuses:?}");
        // Afterwards the same one wins at both.
        for victim in &victims {
            for nth in 0..8 {
                let expected = if nth == winners[0] { 200 } else { 409 };
                assert_eq!(victim.deliver(&different(nth)).await, Some(expected), "{id}: answer {nth}");
            }
        }
    }
    let (runs, effects) = (fs::read_to_string(runs).expect("runs"), database.effects().await);
    assert_eq!((runs.lines().count(), effects.len()), (rounds * 2, rounds * 2), "handlers and effects");
    for round in 0..rounds {
        for id in [format!("same-{round}"), format!("different-{round}")] {
            assert_eq!(effects.iter().filter(|effect| **effect == id).count(), 1, "{id}");
        }
    }
    println!(
        "{}: {rounds} rounds of each kind, {CONNECTIONS} connections, 2 processes, {} s: 200 {}, 409 {}, 503 {}; one \
         handler run a round",
        database.name(),
        started.elapsed().as_secs(),
        seen[0],
        seen[1],
        seen[2],
    );
}

fn tally(seen: &mut [usize; 3], statuses: &[u16]) {
    for (place, status) in [200, 409, 503].into_iter().enumerate() {
        seen[place] += statuses.iter().filter(|seen| **seen == status).count();
    }
}

/// Sends to both at once, and again as long as nobody is told that his answer was handled: on a
/// machine that is busy enough all of them are asked to come again.
async fn until_handled(
    victims: &[Victim; 2],
    seen: &mut [usize; 3],
    answer: impl Fn(usize) -> SignedAnswer,
) -> Vec<u16> {
    for _ in 0..50 {
        let statuses = at_once(victims, &answer).await;
        tally(seen, &statuses);
        if statuses.contains(&200) {
            return statuses;
        }
    }
    panic!("of fifty times 64 deliveries none was handled");
}

async fn at_once(victims: &[Victim; 2], answer: impl Fn(usize) -> SignedAnswer) -> Vec<u16> {
    let sent = (0..CONNECTIONS).map(|nth| {
        let answer = answer(nth);
        async move { victims[nth % 2].deliver(&answer).await.expect("an answer") }
    });
    join_all(sent).await
}

fn eight_ways(id: &str) -> Question {
    use atp_actix::atp_core::{Action, Notification, Options};
    let options = Options::new((0..8).map(|nth| (nth.to_string(), nth.to_string())));
    Question::new(Notification::new("Which?", "").id(id).action(Action::choice("approve", "Choose", options)))
}
