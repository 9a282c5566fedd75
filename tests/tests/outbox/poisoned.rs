//! An event that can never be sent is parked, and holds up its own subject alone.

use std::time::Duration;

use atp_actix::{
    Relay,
    store::{Outbox, Outgoing, Routes},
};
use tokio::time::sleep;

use crate::support::{
    databases::{Database as _, PostgresDatabase, SqliteFile},
    scripted::{Does, Scripted, emit, emit_apart, store_by_tokio, until, waiting},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn routes() -> Routes {
    Routes::new().events("bus")
}

#[actix_web::test]
async fn only_its_subject_waits_on_memory() {
    let (store, _) = store_by_tokio(routes());
    only_its_subject_waits(store).await;
}

#[actix_web::test]
async fn only_its_subject_waits_on_sqlite() {
    let file = SqliteFile::new();
    only_its_subject_waits(file.open().await.routes(routes())).await;
}

#[actix_web::test]
async fn only_its_subject_waits_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        only_its_subject_waits(database.store().clone().routes(routes())).await;
    }
}

async fn only_its_subject_waits(store: impl Outbox) {
    let mended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_mended = mended.clone();
    let bus = Scripted::new(move |outgoing: &Outgoing| {
        let is_bad = outgoing.event.id.starts_with("bad") && outgoing.event.id.ends_with(".1");
        if is_bad && !is_mended.load(std::sync::atomic::Ordering::SeqCst) { Does::Fail } else { Does::Take }
    });
    let relay =
        Relay::new(store.clone()).sink("bus", bus.clone()).attempts(4).poll(Duration::from_millis(50));
    let relay = relay.backoff(Duration::from_millis(10), Duration::from_millis(40)).start();
    for subject in ["bad-a", "bad-b", "good"] {
        for nth in 1..=3 {
            emit(&store, format!("{subject}.{nth}"), subject).await;
        }
    }
    let is_parked = async || waiting(&store, "bus").await == (4, 2);
    until("both are parked, and what is behind them waits", PATIENCE, is_parked).await;
    assert_eq!(bus.taken(), ["good.1", "good.2", "good.3"]);
    for id in ["bad-a.1", "bad-b.1"] {
        assert_eq!(bus.calls_of(id).len(), 4, "{id}");
    }
    let parked = store.parked("bus", 0, 10).await.expect("an answer");
    let seen: Vec<_> = parked.iter().map(|one| (&*one.event.id, one.attempts, &*one.reason)).collect();
    assert_eq!(seen, [("bad-a.1", 4, "not now"), ("bad-b.1", 4, "not now")]);

    // Released too early it is parked again, after as many attempts as a new one.
    store.release("bus", parked[0].seq).await.expect("it is parked");
    let is_parked_again =
        async || bus.calls_of("bad-a.1").len() == 8 && waiting(&store, "bus").await == (4, 2);
    until("it is parked again", PATIENCE, is_parked_again).await;
    mended.store(true, std::sync::atomic::Ordering::SeqCst);
    store.release("bus", parked[0].seq).await.expect("it is parked");
    store.forget("bus", parked[1].seq).await.expect("it is parked");
    until("all is sent", PATIENCE, async || waiting(&store, "bus").await == (0, 0)).await;
    let of = |subject: &str| -> Vec<String> {
        bus.taken().into_iter().filter(|id| id.starts_with(subject)).collect()
    };
    assert_eq!(of("bad-a"), ["bad-a.1", "bad-a.2", "bad-a.3"]);
    assert_eq!(of("bad-b"), ["bad-b.2", "bad-b.3"]);
    for seq in [parked[0].seq, parked[1].seq] {
        assert!(store.release("bus", seq).await.is_err(), "{seq} is not parked any more");
    }
    let bytes = |id: &str| bus.calls_of(id).into_iter().map(|call| call.data).collect::<Vec<_>>();
    assert_eq!(bytes("bad-a.1"), vec!["\"bad-a.1\""; 9], "the same bytes each time");
    relay.stop().await;
}

/// One that hangs the sink looks as if the sink were away, but others get through.
#[tokio::test(start_paused = true)]
async fn one_that_hangs_the_sink_while_others_get_through_is_parked() {
    for does in [Does::Hang, Does::Away] {
        for (concurrency, pause) in [(1, 3), (32, 3), (1, 30), (32, 30), (32, 200)] {
            let case = format!("{does:?}, {concurrency} at a time, another every {pause} s");
            let (store, _) = store_by_tokio(routes());
            let bus =
                Scripted::new(move |outgoing| if outgoing.event.id == "bad.1" { does } else { Does::Take });
            let relay = Relay::new(store.clone()).sink("bus", bus.clone()).concurrency(concurrency).start();
            emit(&store, "bad.1", "bad").await;
            let mut nth = 0;
            while waiting(&store, "bus").await.1 == 0 {
                nth += 1;
                emit(&store, format!("good-{nth}.1"), &format!("good-{nth}")).await;
                sleep(Duration::from_secs(pause)).await;
                assert!(nth < 50_000, "{case}: it is never parked");
            }
            sleep(Duration::from_mins(2)).await;
            assert_eq!(waiting(&store, "bus").await, (0, 1), "{case}");
            assert_eq!(bus.taken().len(), nth, "{case}: {nth} were written");
            println!(
                "{case}: parked after {} calls and {} s",
                bus.calls_of("bad.1").len(),
                nth as u64 * pause
            );
            relay.stop().await;
        }
    }
}

/// Each time it hangs others get through, so that no other is to wait for it.
#[tokio::test(start_paused = true)]
async fn one_that_hangs_while_others_get_through_holds_up_none_of_them() {
    let (store, _) = store_by_tokio(routes());
    let bus = Scripted::new(|outgoing| if outgoing.event.id == "bad.1" { Does::Hang } else { Does::Take });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).attempts(3).start();
    emit(&store, "bad.1", "bad").await;
    for nth in 0..60 {
        sleep(Duration::from_millis(870)).await;
        emit(&store, format!("good-{nth}.1"), &format!("good-{nth}")).await;
        sleep(Duration::from_millis(40)).await;
        assert_eq!(bus.taken().len(), nth + 1, "good-{nth} waits for another");
    }
    assert_eq!((bus.calls_of("bad.1").len(), waiting(&store, "bus").await), (3, (0, 1)));
    relay.stop().await;
}

/// A sink that dies of each load and comes back parks nothing: it is away, and no event is at fault.
#[tokio::test(start_paused = true)]
async fn a_sink_that_comes_and_goes_parks_nothing() {
    let (store, _) = store_by_tokio(routes());
    let began = tokio::time::Instant::now();
    // It takes one event each minute, and is away in between.
    let minute = std::sync::Mutex::new(None);
    let bus = Scripted::new(move |_| {
        let now = began.elapsed().as_secs() / 60;
        if minute.lock().expect("nobody panicked").replace(now) == Some(now) {
            Does::Away
        } else {
            Does::Take
        }
    });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).start();
    emit_apart(&store, 300).await;
    sleep(Duration::from_hours(4)).await;
    let (left, parked) = waiting(&store, "bus").await;
    println!("one a minute for four hours: {} taken, {left} wait, {parked} are parked", bus.taken().len());
    assert_eq!(parked, 0);
    sleep(Duration::from_hours(8)).await;
    assert_eq!(waiting(&store, "bus").await, (0, 0));
    relay.stop().await;
}

#[actix_web::test]
async fn one_that_kills_its_process_is_parked_after_its_attempts_on_memory() {
    let (store, _) = store_by_tokio(routes());
    one_that_kills_its_process(store).await;
}

#[actix_web::test]
async fn one_that_kills_its_process_is_parked_after_its_attempts_on_sqlite() {
    let file = SqliteFile::new();
    one_that_kills_its_process(file.open().await.routes(routes())).await;
}

#[actix_web::test]
async fn one_that_kills_its_process_is_parked_after_its_attempts_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        one_that_kills_its_process(database.store().clone().routes(routes())).await;
    }
}

/// Its lease ends again and again without a word.
async fn one_that_kills_its_process(store: impl Outbox) {
    emit(&store, "bad.1", "bad").await;
    emit(&store, "bad.2", "bad").await;
    let lease = Duration::from_millis(30);
    for failures in 0..4 {
        let mut leased = Vec::new();
        until("it is due again", PATIENCE, async || {
            leased = store.lease("bus", 10, lease).await.expect("an answer");
            !leased.is_empty()
        })
        .await;
        let seen: Vec<_> = leased.iter().map(|one| (&*one.event.id, one.attempt, one.failures)).collect();
        assert_eq!(seen, [("bad.1", failures + 1, failures)]);
    }
    let bus = Scripted::new(|_| Does::Take);
    let relay =
        Relay::new(store.clone()).sink("bus", bus.clone()).attempts(4).poll(Duration::from_millis(20));
    let relay = relay.start();
    until("it is parked", PATIENCE, async || waiting(&store, "bus").await == (1, 1)).await;
    assert!(bus.calls().is_empty(), "it would have killed this one too");
    let parked = store.parked("bus", 0, 10).await.expect("an answer");
    assert!(parked[0].reason.contains("died"), "{:?}", parked[0]);
    store.release("bus", parked[0].seq).await.expect("it is parked");
    until("both are sent", PATIENCE, async || waiting(&store, "bus").await == (0, 0)).await;
    assert_eq!(bus.taken(), ["bad.1", "bad.2"]);
    relay.stop().await;
}
