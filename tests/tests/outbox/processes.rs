//! Relays in processes of their own, on a store that they gave no routes.
//!
//! 1,000 events unless `ATP_RELAYS` says how many.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use atp_actix::{
    Relay,
    store::{Event, OpenTransaction, Outbox, PostgresStore, Routes, SqliteStore, StoreError},
};
use atp_tests::socket::Line;
use sqlx::{Postgres, Sqlite};
use tokio::time::sleep;

use crate::support::{
    databases::{Database as _, PostgresDatabase, SqliteDatabase},
    lines::Receiver,
    scripted::{Does, Scripted, emit, event, until, waiting},
    victim::Victim,
};

const PATIENCE: Duration = Duration::from_secs(240);

/// A store with transactions of the service's own.
trait Writes: Outbox {
    type Open;

    async fn try_open(&self) -> Result<Self::Open, StoreError>;
    async fn write(&self, open: &mut Self::Open, event: &Event);
    async fn commit(&self, open: Self::Open);

    /// Whoever finds the database busy comes again.
    async fn open(&self) -> Self::Open {
        loop {
            match self.try_open().await {
                Ok(open) => return open,
                Err(error) => println!("a transaction begins later: {error}"),
            }
        }
    }
}

macro_rules! writes {
    ($store:ty, $database:ty) => {
        impl Writes for $store {
            type Open = OpenTransaction<$database>;

            async fn try_open(&self) -> Result<Self::Open, StoreError> {
                self.begin().await
            }

            async fn write(&self, open: &mut Self::Open, event: &Event) {
                assert!(self.emit_in(&mut *open, event).await.expect("an answer"), "{event:?} is new");
            }

            async fn commit(&self, open: Self::Open) {
                open.commit().await.expect("a commit");
            }
        }
    };
}

writes!(SqliteStore, Sqlite);
writes!(PostgresStore, Postgres);

fn routes() -> Routes {
    Routes::new().events("bus")
}

#[actix_web::test]
async fn two_relays_in_two_processes_share_the_work_on_sqlite() {
    let database = SqliteDatabase::new().await;
    share("SQLite", database.store().clone().routes(routes()), &database.url()).await;
}

#[actix_web::test]
async fn two_relays_in_two_processes_share_the_work_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        share("PostgreSQL", database.store().clone().routes(routes()), &database.url()).await;
    }
}

async fn share(name: &str, store: impl Writes, url: &str) {
    let events = env::var("ATP_RELAYS").map_or(1000, |text| text.parse().expect("a number of events"));
    // It takes its time, so that there is something left for the second to come.
    let receiver = Receiver::new(async |_: &Line| sleep(Duration::from_millis(20)).await).await;
    let relays = [(); 2].map(|()| Victim::sending(url, &receiver.address, &["--relay"]));
    let started = Instant::now();
    for first in (0..events).step_by(50) {
        let mut open = store.open().await;
        for nth in first..(first + 50).min(events) {
            let subject = format!("s-{}", nth % 97);
            let event = Event::new("test", nth).expect("JSON").id(format!("e-{nth}")).subject(subject);
            store.write(&mut open, &event).await;
        }
        store.commit(open).await;
        // Who sends is at work while others write.
        sleep(Duration::from_millis(1)).await;
    }
    until("all is sent", PATIENCE, async || waiting(&store, "bus").await == (0, 0)).await;
    let took = started.elapsed();
    let received = receiver.received();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let mut by: BTreeMap<u32, usize> = BTreeMap::new();
    for line in &received {
        let nth: usize = line.data.parse().expect("a number");
        let before = last.insert(line.subject.clone(), nth);
        assert!(before.is_none_or(|before| before < nth), "{name}: {nth} came after {before:?}");
        *by.entry(line.process).or_default() += 1;
    }
    assert_eq!(receiver.counts(), (events, events), "{name}: lost, or twice");
    let shares: Vec<usize> = by.into_values().collect();
    assert_eq!(shares.len(), 2, "{name}: one of them did nothing: {shares:?}");
    println!(
        "{name}: {events} events about 97 subjects by two processes in {:.1} s: 0 lost, 0 twice, all in order; \
         {shares:?} each",
        took.as_secs_f64()
    );
    drop(relays);
}

#[actix_web::test]
async fn what_a_service_writes_in_its_own_transaction_is_sent_after_its_commit_on_sqlite() {
    let database = SqliteDatabase::new().await;
    sent_after_its_commit(database.store().clone().routes(routes()), &database.url()).await;
}

#[actix_web::test]
async fn what_a_service_writes_in_its_own_transaction_is_sent_after_its_commit_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        sent_after_its_commit(database.store().clone().routes(routes()), &database.url()).await;
    }
}

async fn sent_after_its_commit(store: impl Writes, url: &str) {
    let receiver = Receiver::new(async |_: &Line| {}).await;
    let relay = Victim::sending(url, &receiver.address, &["--relay"]);
    let ids = || receiver.received().into_iter().map(|line| line.id).collect::<Vec<_>>();

    let mut open = store.open().await;
    store.write(&mut open, &event("rolled back", "one")).await;
    sleep(Duration::from_millis(500)).await;
    drop(open);
    let mut open = store.open().await;
    store.write(&mut open, &event("first", "one")).await;
    store.write(&mut open, &event("second", "one")).await;
    sleep(Duration::from_millis(500)).await;
    assert!(ids().is_empty(), "sent before its commit: {:?}", ids());
    store.commit(open).await;
    until("both are sent", PATIENCE, async || ids().len() == 2).await;
    assert_eq!(ids(), ["first", "second"]);
    // The id of what was rolled back is as good as new.
    emit(&store, "rolled back", "one").await;
    until("it is sent", PATIENCE, async || ids().len() == 3).await;
    drop(relay);
}

/// A sink that only the relay beside the service has, and one that only the other has.
#[actix_web::test]
async fn each_relay_sends_to_the_sinks_that_it_has() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus").events("beside"));
    let receiver = Receiver::new(async |_: &Line| {}).await;
    let other = Victim::sending(&database.url(), &receiver.address, &["--relay"]);
    let beside = Scripted::new(|_| Does::Take);
    let relay = Relay::new(store.clone()).sink("beside", beside.clone()).start();
    for nth in 0..20 {
        emit(&store, format!("e-{nth}"), "one").await;
    }
    until("all is sent", PATIENCE, async || {
        waiting(&store, "bus").await == (0, 0) && waiting(&store, "beside").await == (0, 0)
    })
    .await;
    assert_eq!((beside.taken().len(), receiver.counts()), (20, (20, 20)));
    relay.stop().await;
    drop(other);
}
