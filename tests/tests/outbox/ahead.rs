//! What is leased before there is room to send it. The time is tokio's, paused.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use atp_actix::{Relay, store::Routes};
use tokio::time::{Instant, sleep};

use crate::support::{
    scripted::{Call, Does, Scripted, emit, emit_apart, store_by_tokio, waiting},
    watched::Watched,
};

const A_SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn no_more_are_sent_at_a_time_than_the_relay_is_set_to_and_no_fewer() {
    for concurrency in [1, 2, 5] {
        let (store, _) = store_by_tokio(Routes::new().events("bus"));
        emit_apart(&store, 10 * concurrency).await;
        let began = Instant::now();
        let bus = Scripted::new(|_| Does::TakeAfter(A_SECOND));
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).concurrency(concurrency).start();
        sleep(20 * A_SECOND).await;
        relay.stop().await;
        let at: Vec<u64> = bus.calls().iter().map(|call| (call.at - began).as_secs()).collect();
        let expected = (0..10).flat_map(|second| vec![second; concurrency as usize]);
        assert!(at.iter().copied().eq(expected), "{concurrency} at a time: {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_leased_ahead_of_a_sink_that_goes_away_is_not_tried_and_loses_nothing() {
    for does in [Does::Away, Does::Gone, Does::Hang] {
        let (store, _) = store_by_tokio(Routes::new().events("bus"));
        emit_apart(&store, 40).await;
        let began = Instant::now();
        let bus = Scripted::new(move |_| if began.elapsed() < 30 * A_SECOND { does } else { Does::Take });
        // Each that was tried without need would be parked by it.
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).concurrency(5).attempts(1).start();
        sleep(30 * A_SECOND).await;
        let before: Vec<Call> = bus.calls();
        let at_once = before.iter().filter(|call| call.at - began < A_SECOND / 2).count();
        assert_eq!(at_once, 5, "{does:?}: {before:#?}");
        assert!(before.len() < 15, "{does:?}: it was called {} times in vain", before.len());
        sleep(90 * A_SECOND).await;
        let mut taken = bus.taken();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!((taken.len(), waiting(&store, "bus").await), (40, (0, 0)), "{does:?}");
        relay.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_store_gave_too_late_to_end_within_its_lease_is_leased_anew() {
    let (store, _) = store_by_tokio(Routes::new().events("bus"));
    let store = Watched::new(store);
    emit_apart(&store, 5).await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&attempts);
    let bus = Scripted::new(move |outgoing| {
        told.lock().expect("nobody panicked").push((outgoing.event.id.clone(), outgoing.attempt));
        Does::TakeAfter(A_SECOND)
    });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).concurrency(1).start();
    sleep(A_SECOND / 2).await;
    let held = store.hold().await;
    // Of a lease of 30 s there are not 10 left, and none has ended yet.
    sleep(24 * A_SECOND).await;
    drop(held);
    sleep(20 * A_SECOND).await;
    relay.stop().await;
    let mut attempts = attempts.lock().expect("nobody panicked").clone();
    attempts.sort_unstable();
    let expected = [("s-0.1", 1), ("s-1.1", 1), ("s-2.1", 2), ("s-3.1", 1), ("s-4.1", 1)];
    assert!(attempts.iter().map(|(id, attempt)| (&**id, *attempt)).eq(expected), "{attempts:?}");
    assert_eq!(waiting(&store, "bus").await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_leased_ahead_does_not_wait_as_long_as_one_receiver_asks_for_itself() {
    let (store, _) = store_by_tokio(Routes::new().events("bus"));
    emit_apart(&store, 10).await;
    let bus = Scripted::new(|outgoing| match &*outgoing.event.id {
        "s-0.1" => Does::AwayFor(Duration::from_hours(6)),
        "s-1.1" => Does::TakeAfter(A_SECOND),
        _ => Does::Take,
    });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).concurrency(2).start();
    sleep(5 * A_SECOND).await;
    let mut taken = bus.taken();
    taken.sort_unstable();
    assert!(taken.iter().eq(&(1..10).map(|nth| format!("s-{nth}.1")).collect::<Vec<_>>()), "{taken:?}");
    relay.stop().await;
}

/// Nobody else would ask before the next poll.
#[tokio::test(start_paused = true)]
async fn what_was_behind_another_is_sent_though_the_store_failed_when_it_was_told_of_that() {
    for fails in ["settle", "lease"] {
        let (store, _) = store_by_tokio(Routes::new().events("bus"));
        let store = Watched::new(store);
        for nth in 1..=3 {
            emit(&store, format!("one.{nth}"), "one").await;
        }
        let bus = Scripted::new(|_| Does::TakeAfter(A_SECOND));
        let relay = Relay::new(store.clone()).sink("bus", bus.clone()).poll(Duration::from_hours(1)).start();
        sleep(A_SECOND / 2).await;
        store.fail_next(fails);
        sleep(10 * A_SECOND).await;
        assert!(store.has_failed());
        assert_eq!(bus.taken(), ["one.1", "one.2", "one.3"], "{fails}");
        relay.stop().await;
    }
}
