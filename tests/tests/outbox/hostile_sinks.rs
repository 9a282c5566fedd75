//! A sink may do what it likes: nothing is lost, and no other sink waits for it. The time is
//! tokio's, paused, so that hours go by at once.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use atp_actix::{
    Relay,
    store::{Outbox, Routes},
};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    random::{Random, seed},
    scripted::{Call, Does, Scripted, emit, emit_apart, store_by_tokio, until, waiting},
};

const HOUR: Duration = Duration::from_hours(1);

/// Each event of a subject behind those that were written before it.
fn assert_order(case: &str, taken: &[String]) {
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    for id in taken {
        let (subject, nth) = id.rsplit_once('.').expect("a subject");
        let nth: u32 = nth.parse().expect("a number");
        let before = last.insert(subject, nth);
        assert!(before.is_none_or(|before| before < nth), "{case}: {id} came after {before:?}");
    }
}

fn gaps(calls: &[Call]) -> Vec<Duration> {
    calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// Whether a wait after the nth failure is as the table in `Relay` says: twice as long each time,
/// of each between half and the whole. What wakes the relay is as exact as a timer.
fn is_in_table(gap: Duration, nth: u32, longest: Duration, slack: Duration) -> bool {
    let whole = Duration::from_secs(2_u64.pow(nth.min(20))).min(longest);
    (whole / 2..=whole + slack).contains(&gap)
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_for_an_hour_gets_everything_and_the_others_are_on_time() {
    for (does, most_calls) in [(Does::Away, 130), (Does::Gone, 130), (Does::Hang, 130)] {
        let (store, asked) = store_by_tokio(Routes::new().events("bus").events("audit"));
        let began = Instant::now();
        let bus = Scripted::new(move |_| if began.elapsed() < HOUR { does } else { Does::Take });
        let audit = Scripted::new(|_| Does::Take);
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).sink("audit", audit.clone()).start();
        let mut written = BTreeMap::new();
        for round in 0..60 {
            for subject in 0..2 {
                let id = format!("s-{subject}.{round}");
                written.insert(id.clone(), Instant::now());
                emit(&store, id, &format!("s-{subject}")).await;
            }
            sleep(Duration::from_mins(1)).await;
        }
        let before: Vec<Call> = bus.calls();
        assert!(before.len() <= most_calls, "{does:?}: called {} times in vain", before.len());
        assert!(bus.taken().is_empty());
        until("it gets what waited", Duration::from_mins(3), async || waiting(&store, "bus").await.0 == 0)
            .await;
        let taken = bus.taken();
        assert_eq!(taken.len(), 120, "{does:?}");
        assert_order(&format!("{does:?}"), &taken);
        assert_eq!(waiting(&store, "bus").await, (0, 0), "{does:?}: parked");
        for call in audit.calls() {
            let late = call.at - written[&call.id];
            assert!(late < Duration::from_millis(100), "{does:?}: {} was late by {late:?}", call.id);
        }
        assert_eq!(audit.taken().len(), 120, "{does:?}");
        // Two relays that poll each second, and what was written.
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked < 20_000, "{does:?}: the store was asked {asked} times in an hour");
        println!("{does:?} for an hour: called {} times, the store {asked} times", before.len());
        relay.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_is_left_alone_as_the_table_says() {
    for (does, takes, first) in [(Does::Away, 0, 0), (Does::Hang, 10, 0), (Does::Gone, 0, 6)] {
        let (store, _) = store_by_tokio(Routes::new().events("bus"));
        let bus = Scripted::new(move |_| does);
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).start();
        emit(&store, "one.1", "one").await;
        sleep(HOUR).await;
        for (nth, gap) in (first..).zip(gaps(&bus.calls())) {
            // The store's clock may say a little later that it is due: then a poll finds it.
            let pause = gap - Duration::from_secs(takes);
            let fits = is_in_table(pause, nth, Duration::from_mins(1), Duration::from_secs(1));
            assert!(fits, "{does:?}: {nth}: {pause:?}");
        }
        assert!(bus.calls().len() > 50, "{does:?}: {} calls", bus.calls().len());
        assert_eq!(waiting(&store, "bus").await, (1, 0), "{does:?}");
        relay.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_comes_again_as_the_table_says_and_is_parked_after_its_attempts() {
    for does in [Does::Fail, Does::Panic, Does::PanicAtOnce] {
        // Whatever is polled does not matter: when it is due is known here.
        for poll in [Duration::from_secs(1), Duration::MAX] {
            let (store, _) = store_by_tokio(Routes::new().events("bus"));
            let bus =
                Scripted::new(move |outgoing| if outgoing.event.id == "bad.1" { does } else { Does::Take });
            let relay = Relay::new(store.clone()).sink("bus", bus.clone()).poll(poll).start();
            emit(&store, "bad.1", "bad").await;
            emit(&store, "bad.2", "bad").await;
            sleep(Duration::from_hours(3)).await;
            emit(&store, "good.1", "good").await;
            sleep(Duration::from_millis(10)).await;
            let calls = bus.calls_of("bad.1");
            let case = format!("{does:?}, polling every {poll:?}");
            assert_eq!(calls.len(), 20, "{case}");
            for (nth, gap) in (0..).zip(gaps(&calls)) {
                let fits = is_in_table(gap, nth, Duration::from_mins(10), Duration::from_millis(50));
                assert!(fits, "{case}: {nth}: {gap:?}");
            }
            assert_eq!(bus.taken(), ["good.1"], "{case}");
            let parked = store.parked("bus", 0, 10).await.expect("an answer");
            assert_eq!(parked.iter().map(|parked| parked.attempts).collect::<Vec<_>>(), [20], "{case}");
            relay.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_asks_for_is_waited_for_and_not_for_ever() {
    for (asked, least, most) in [
        (Duration::from_secs(90), Duration::from_secs(90), Duration::from_secs(92)),
        (Duration::ZERO, Duration::from_millis(500), Duration::from_secs(2)),
        (Duration::MAX, Duration::from_hours(6), Duration::from_hours(6) + Duration::from_secs(2)),
    ] {
        for does in [Does::FailFor(asked), Does::LaterFor(asked), Does::AwayFor(asked)] {
            let (store, _) = store_by_tokio(Routes::new().events("bus"));
            let bus = Scripted::new(move |_| does);
            let relay = Relay::new(store.clone()).sink("bus", bus.clone()).start();
            emit(&store, "one.1", "one").await;
            sleep(Duration::from_hours(7)).await;
            let gap = gaps(&bus.calls())[0];
            assert!((least..=most).contains(&gap), "{does:?}: {gap:?}");
            relay.stop().await;
        }
    }
}

/// Every answer there is, at random: what it took is all there is, in order, and nothing twice.
#[tokio::test(start_paused = true)]
async fn a_sink_that_answers_at_random_gets_everything_once() {
    let seed = seed();
    let mut random = Random(seed);
    let (store, _) = store_by_tokio(Routes::new().events("bus"));
    let answers = std::sync::Mutex::new(Random(random.next()));
    let bus = Scripted::new(move |_| {
        answers.lock().expect("nobody panicked").one(&[
            Does::Take,
            Does::Take,
            Does::TakeAfter(Duration::from_secs(3)),
            Does::Fail,
            Does::FailFor(Duration::from_secs(7)),
            Does::Away,
            Does::Gone,
            Does::Hang,
            Does::Panic,
            Does::PanicAtOnce,
        ])
    });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).attempts(u32::MAX).start();
    for nth in 0..50 {
        let subject = random.below(10);
        emit(&store, format!("s-{subject}.{nth}"), &format!("s-{subject}")).await;
    }
    let is_sent = async || waiting(&store, "bus").await.0 == 0;
    until(&format!("ATP_SEED={seed}"), Duration::from_hours(72), is_sent).await;
    let taken = bus.taken();
    assert_order(&format!("ATP_SEED={seed}"), &taken);
    assert_eq!(taken.len(), 50, "ATP_SEED={seed}: twice, or lost");
    relay.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_parked_at_once() {
    let (store, _) = store_by_tokio(Routes::new().events("bus"));
    let bus = Scripted::new(|outgoing| match outgoing.event.subject.as_deref() {
        Some("bad") => Does::Refuse,
        _ => Does::Take,
    });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).start();
    emit(&store, "bad.1", "bad").await;
    emit(&store, "bad.2", "bad").await;
    emit(&store, "good.1", "good").await;
    sleep(HOUR).await;
    assert_eq!((bus.taken(), bus.calls().len()), (vec!["good.1".to_owned()], 2));
    assert_eq!(waiting(&store, "bus").await, (1, 1));
    relay.stop().await;
}

/// An event that another relay has sent, or that was given up, is not waited for without a pause.
#[tokio::test(start_paused = true)]
async fn a_relay_whose_sink_was_away_rests_where_nothing_is_left_to_send() {
    let (store, asked) = store_by_tokio(Routes::new().events("bus"));
    let bus = Scripted::new(|_| Does::Away);
    let relay = Relay::new(store.clone()).sink("bus", bus).start();
    emit(&store, "one.1", "one").await;
    sleep(Duration::from_millis(10)).await;
    relay.stop().await;
    let away = Scripted::new(|outgoing| if outgoing.event.id == "two.1" { Does::Away } else { Does::Hang });
    let relay = Relay::new(store.clone()).sink("bus", away).send_within(Duration::from_mins(4)).start();
    emit(&store, "two.1", "two").await;
    let before = asked.load(Ordering::Relaxed);
    sleep(Duration::from_mins(3)).await;
    let asked = asked.load(Ordering::Relaxed) - before;
    assert!(asked < 1000, "the store was asked {asked} times in three minutes");
    drop(relay);
}

#[tokio::test(start_paused = true)]
async fn no_setting_ends_a_relay() {
    for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let (store, _) = store_by_tokio(Routes::new().events("bus"));
        let bus = Scripted::new(move |outgoing| match (&*outgoing.event.id, outgoing.attempt) {
            ("one.1", 1) => Does::Away,
            ("one.1", 2) => Does::Fail,
            _ => Does::Take,
        });
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).poll(time).backoff(time, time);
        let relay = relay.pause(time, time).keep_sent(time).concurrency(u32::MAX).attempts(u32::MAX).start();
        emit(&store, "one.1", "one").await;
        // The longest wait of all is six hours; where there is none, each would be millions of turns.
        sleep(if time == Duration::MAX { Duration::from_hours(13) } else { Duration::from_mins(1) }).await;
        emit(&store, "two.1", "two").await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(bus.taken(), ["one.1", "two.1"], "{time:?}");
        relay.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_stopped_or_dropped_ends_what_it_is_at_and_leaves_the_rest() {
    for is_dropped in [false, true] {
        let (store, _) = store_by_tokio(Routes::new().events("bus"));
        let bus = Scripted::new(|_| Does::TakeAfter(Duration::from_secs(1)));
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).concurrency(5).start();
        emit_apart(&store, 40).await;
        sleep(Duration::from_millis(2500)).await;
        if is_dropped {
            drop(relay);
            sleep(Duration::from_secs(5)).await;
        } else {
            timeout(Duration::from_secs(2), relay.stop()).await.expect("it ends with what it is at");
        }
        assert_eq!((bus.calls().len(), waiting(&store, "bus").await), (15, (25, 0)), "{is_dropped}");
        // Nothing is leased any more: another sends the rest at once.
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).start();
        sleep(Duration::from_secs(3)).await;
        let mut taken = bus.taken();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!((taken.len(), bus.calls().len()), (40, 40), "{is_dropped}");
        relay.stop().await;
    }
}
