//! A transaction that is opened after work elsewhere, on each store that has one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{http::StatusCode, rt::time::sleep};
use atp_actix::{
    AtpResponse, Deferred, Error, ErrorReply, Number, Simple,
    store::{MemoryStore, Store, Verdict},
};
use uuid::Uuid;

use crate::support::{
    asked::{answer, approve, record},
    logged,
    mounted::{Mounted, webhook},
    orders::{Orders, Transactional, Tx, good, on_each_database, write},
};

on_each_database!(
    work_before_the_transaction_takes_longer_than_that_may,
    a_decision_whose_transaction_was_not_begun_is_completed,
    work_before_a_failure_is_done_again_under_the_same_key,
    a_refusal_that_leaves_open_rolls_back,
    it_is_begun_beside_others_that_write,
    whatever_is_done_with_it_what_is_written_is_written_with_its_decision,
    one_that_outlived_its_503_and_leaves_open_can_be_answered_again,
);

/// The store's transaction limit is half a second here.
async fn work_before_the_transaction_takes_longer_than_that_may<D: Transactional>(orders: Orders<D>) {
    let pays = |answer: AtpResponse<Simple>, deferred: Deferred<Tx<D>>| async move {
        sleep(Duration::from_millis(800)).await;
        let mut tx = deferred.begin().await?;
        write::<D>(&mut tx, &answer.notification_id).await
    };
    for _ in 0..2 {
        assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", pays)).await, 200);
    }
    assert_eq!(orders.notes().await, ["n-1"]);
}

async fn a_decision_whose_transaction_was_not_begun_is_completed<D: Transactional>(orders: Orders<D>) {
    let leaves_it = |_: AtpResponse<Simple>, _: Deferred<Tx<D>>| async { "done" };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", leaves_it)).await, 200);
    assert!(orders.is_decided("n-1").await);
    assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", good::<D>)).await, 200);
    assert_eq!(orders.notes().await, [""; 0]);
}

async fn work_before_a_failure_is_done_again_under_the_same_key<D: Transactional>(orders: Orders<D>) {
    let (paid, attempts) = (Arc::<std::sync::Mutex<Vec<Uuid>>>::default(), Arc::<AtomicUsize>::default());
    let (paying, attempting) = (Arc::clone(&paid), Arc::clone(&attempts));
    let fails_first = move |answer: AtpResponse<Simple>, deferred: Deferred<Tx<D>>| {
        paying.lock().expect("no panic").push(answer.delivery().decision_id());
        let is_first = attempting.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut tx = deferred.begin().await?;
            write::<D>(&mut tx, &answer.notification_id).await?;
            if is_first { Err(Error::from(std::fmt::Error)) } else { Ok(()) }
        }
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", fails_first.clone())).await, 503);
    orders.until_handled_by("n-1", |webhook| webhook.on("approve", fails_first.clone())).await;
    assert_eq!(orders.notes().await, ["n-1"]);
    let paid = paid.lock().expect("no panic");
    assert_eq!(paid.len(), 2);
    assert_eq!(paid[0], paid[1]);
}

async fn a_refusal_that_leaves_open_rolls_back<D: Transactional>(orders: Orders<D>) {
    let refuses = |mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        Err::<(), Error>(ErrorReply::new(StatusCode::BAD_REQUEST, "WRONG", "not so").leave_open().into())
    };
    let refuses_later = |_: AtpResponse<Simple>, deferred: Deferred<Tx<D>>| async move {
        let mut tx = deferred.begin().await?;
        write::<D>(&mut tx, "lost").await?;
        Err::<(), Error>(ErrorReply::new(StatusCode::BAD_REQUEST, "WRONG", "not so").leave_open().into())
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", refuses)).await, 400);
    assert_eq!(orders.deliver_again("n-1", |webhook| webhook.on("approve", refuses_later)).await, 400);
    assert!(!orders.is_decided("n-1").await);
    let kept = orders.store.refused("default", 0, 10).await.expect("an answer");
    assert!(kept.iter().all(|kept| kept.verdict == Verdict::LeftOpen), "{kept:?}");
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}

/// What is paid for holds up nobody: all others write meanwhile.
async fn it_is_begun_beside_others_that_write<D: Transactional>(orders: Orders<D>) {
    let others = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&others);
    let pays = move |answer: AtpResponse<Simple>, deferred: Deferred<Tx<D>>| {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.notified().await;
            let mut tx = deferred.begin().await?;
            write::<D>(&mut tx, &answer.notification_id).await
        }
    };
    let paid = orders.deliver("n-1", |webhook| webhook.on("approve", pays));
    let written = async {
        for id in ["n-2", "n-3"] {
            assert_eq!(orders.deliver(id, |webhook| webhook.on("approve", good::<D>)).await, 200);
        }
        others.notify_one();
    };
    assert_eq!(futures_util::future::join(paid, written).await.0, 200);
    assert_eq!(orders.notes().await, ["n-1", "n-2", "n-3"]);
}

/// A handler that takes a transaction of another store than the webhook has is told which.
#[actix_web::test]
async fn the_transaction_of_another_store_is_named() {
    let store = MemoryStore::new();
    record(&store, "n-1").await;
    let at_once = |_: AtpResponse<Simple>, _: atp_actix::SqliteTransaction| async { "" };
    let later = |_: AtpResponse<Number>, _: Deferred<atp_actix::SqliteTransaction>| async { "" };
    let app = Mounted::new(webhook(&store).on("approve", at_once).on("pay", later)).await;
    for sent in [approve("n-1"), answer("n-1", "pay", 5)] {
        let (told, log) = logged::during(app.send(&sent)).await;
        assert_eq!(told.0, 500);
        let events = log.deliveries();
        let reason = &events.last().expect("an event").fields["reason"];
        assert!(reason.contains("OpenTransaction<") && reason.contains("Uncommitted"), "{reason}");
    }
}

/// Two at once, one beside a transaction, one that is leaked, spawned, given up or begun too late.
async fn whatever_is_done_with_it_what_is_written_is_written_with_its_decision<D: Transactional>(
    orders: Orders<D>,
) {
    type Later<D> = Deferred<Tx<D>>;
    let one_after_the_other = |_: AtpResponse<Simple>, first: Later<D>, second: Later<D>| async move {
        write::<D>(&mut first.begin().await?, "lost").await?;
        let mut tx = second.begin().await?;
        write::<D>(&mut tx, "lost").await
    };
    let both_at_once = |_: AtpResponse<Simple>, first: Later<D>, second: Later<D>| async move {
        let (first, second) = futures_util::future::join(first.begin(), second.begin()).await;
        for tx in [first, second] {
            let Ok(mut tx) = tx else { continue };
            let _ = write::<D>(&mut tx, "lost").await;
        }
        Ok::<_, Error>(())
    };
    let beside = |mut tx: Tx<D>, deferred: Later<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        drop(deferred.begin().await);
        Ok::<_, Error>(())
    };
    let first_beside = |deferred: Later<D>, mut tx: Tx<D>| async move {
        write::<D>(&mut tx, "lost").await?;
        drop(tx);
        drop(deferred.begin().await);
        Ok::<_, Error>(())
    };
    let kept = |_: AtpResponse<Simple>, deferred: Later<D>| async move {
        let mut tx = deferred.begin().await?;
        write::<D>(&mut tx, "lost").await?;
        actix_web::rt::spawn(async move {
            sleep(Duration::from_millis(100)).await;
            let _ = write::<D>(&mut tx, "lost").await;
        });
        Ok::<_, Error>(())
    };
    let cut_off = |_: AtpResponse<Simple>, deferred: Later<D>| async move {
        let mut tx = deferred.begin().await?;
        write::<D>(&mut tx, "lost").await?;
        sleep(Duration::from_secs(20)).await;
        Ok::<_, Error>(())
    };
    macro_rules! undone {
        ($($name:ident),*) => {$(
            let id = stringify!($name);
            let status = orders.deliver(id, |webhook| webhook.on("approve", $name)).await;
            assert!(status == 500 || status == 503, "{id}: {status}");
            assert!(!orders.is_decided(id).await, "{id}");
            orders.until_handled(id).await;
            assert_eq!(orders.notes().await.iter().filter(|note| *note == "lost").count(), 0, "{id}");
            assert_eq!(orders.notes().await.iter().filter(|note| *note == id).count(), 1, "{id}");
        )*};
    }
    undone!(one_after_the_other, both_at_once, beside, first_beside, kept, cut_off);
    // It is the handler's all the same if it comes to its end before the handler is concluded.
    let spawned = |answer: AtpResponse<Simple>, deferred: Later<D>| async move {
        actix_web::rt::spawn(async move {
            let mut tx = deferred.begin().await?;
            write::<D>(&mut tx, &answer.notification_id).await
        });
        tokio::task::yield_now().await;
        Ok::<_, Error>(())
    };
    let given_up = |_: AtpResponse<Simple>, deferred: Later<D>| async move {
        let mut begin = Box::pin(deferred.begin());
        for _ in 0..3 {
            if futures_util::FutureExt::now_or_never(&mut begin).is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        Ok::<_, Error>(())
    };
    macro_rules! decided_or_undone {
        ($($name:ident),*) => {$(
            let id = stringify!($name);
            let status = orders.deliver(id, |webhook| webhook.on("approve", $name)).await;
            sleep(Duration::from_millis(300)).await;
            assert_eq!(status == 200, orders.is_decided(id).await, "{id}: {status}");
            orders.until_handled(id).await;
            let notes = orders.notes().await;
            assert!(notes.iter().filter(|note| *note == id).count() <= 1, "{id}: {status}: {notes:?}");
        )*};
    }
    decided_or_undone!(spawned, given_up);
}

async fn one_that_outlived_its_503_and_leaves_open_can_be_answered_again<D: Transactional>(
    mut orders: Orders<D>,
) {
    orders.respond_within = Duration::from_millis(50);
    let leaves_open = |_: AtpResponse<Simple>, deferred: Deferred<Tx<D>>| async move {
        sleep(Duration::from_millis(200)).await;
        let mut tx = deferred.begin().await?;
        write::<D>(&mut tx, "lost").await?;
        Err::<(), Error>(ErrorReply::new(StatusCode::BAD_REQUEST, "WRONG", "not so").leave_open().into())
    };
    assert_eq!(orders.deliver("n-1", |webhook| webhook.on("approve", leaves_open)).await, 503);
    orders.respond_within = Duration::from_secs(4);
    orders.until_handled("n-1").await;
    assert_eq!(orders.notes().await, ["n-1"]);
}
