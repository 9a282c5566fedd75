//! A database that is away for a while parks nothing and loses nothing, and is found again.

use std::{collections::BTreeSet, env, time::Duration};

use atp_actix::{
    Relay,
    store::{Outbox, PostgresStore, Routes},
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::time::sleep;

use crate::support::{
    bouncers::Bouncer,
    clusters::Cluster,
    databases::SqliteFile,
    scripted::{Does, Scripted, emit, until, waiting},
};

const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: usize = 40;

fn routes() -> Routes {
    Routes::new().events("bus")
}

/// Takes its time, so that much is under way when the database goes.
fn slow() -> Scripted {
    Scripted::new(|_| Does::TakeAfter(Duration::from_millis(300)))
}

async fn write(store: &impl Outbox, what: &str) {
    for nth in 0..EVENTS {
        emit(store, format!("{what}.{nth}"), &format!("s-{}", nth % 20)).await;
    }
}

/// All that was written was sent, and what came again was under way when the database went.
fn assert_sent(case: &str, bus: &Scripted, rounds: usize) {
    let taken = bus.taken();
    let ids: BTreeSet<&String> = taken.iter().collect();
    assert_eq!(ids.len(), rounds * EVENTS, "{case}: lost");
    println!("{case}: {} events, 0 lost, {} came twice", ids.len(), taken.len() - ids.len());
}

#[actix_web::test]
async fn a_file_that_another_program_locks_parks_nothing() {
    let file = SqliteFile::new();
    let (store, other) = (file.open().await.routes(routes()), file.open().await.routes(routes()));
    let bus = slow();
    // One fault would park it.
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).attempts(1).start();
    write(&other, "before").await;
    until("some are under way", PATIENCE, async || !bus.calls().is_empty()).await;
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut locker = SqliteConnection::connect_with(&options).await.expect("the file");
    sqlx::raw_sql("PRAGMA busy_timeout = 5000; BEGIN EXCLUSIVE")
        .execute(&mut locker)
        .await
        .expect("its lock");
    sleep(Duration::from_secs(7)).await;
    let during = bus.calls().len();
    assert!(during <= 32, "nothing can be leased meanwhile, and {during} were");
    locker.close().await.expect("no lock");
    write(&other, "after").await;
    until("all is sent", PATIENCE, async || waiting(&store, "bus").await == (0, 0)).await;
    assert_sent("SQLite, locked for 7 s", &bus, 2);
    assert_eq!(bus.taken().len(), 2 * EVENTS, "what came of it was told once the lock was gone");
    relay.stop().await;
}

/// However its relay hears of what is written.
#[actix_web::test]
async fn a_server_that_goes_and_comes_parks_nothing() {
    let Some(cluster) = Cluster::new().await else { return };
    let bouncer = Bouncer::new(&cluster).await;
    let url = cluster.url();
    let direct = || PostgresStore::connect(&url);
    let (seldom, often) = (Duration::from_hours(1), Duration::from_millis(200));
    let told = direct().await.expect("a store");
    let untold = direct().await.expect("a store").without_notify();
    let pooled = match &bouncer {
        Some(bouncer) => Some(PostgresStore::connect(&bouncer.url()).await.expect("a store behind it")),
        None => None,
    };
    for (case, relaying, writing, poll) in [
        ("told by the server", Some(told), direct().await.expect("a store"), seldom),
        ("polling", Some(untold), direct().await.expect("a store").without_notify(), often),
        ("behind PgBouncer", pooled, direct().await.expect("a store"), often),
    ] {
        let Some(relaying) = relaying else { continue };
        let writing = writing.routes(routes());
        for crashes in [false, true] {
            let case = format!("PostgreSQL {}, {case}", if crashes { "crashed" } else { "restarted" });
            let bus = slow();
            let relay = Relay::new(relaying.clone()).sink("bus", bus.clone()).poll(poll);
            let relay = relay.send_within(Duration::from_millis(600)).start();
            write(&writing, &format!("{case} before")).await;
            until("some are under way", PATIENCE, async || !bus.calls().is_empty()).await;
            if crashes {
                cluster.stop()
            } else {
                cluster.shut_down()
            }
            // The first of them for a minute, where there is time.
            let is_long = env::var_os("ATP_OUTAGES").is_some() && poll == seldom && !crashes;
            sleep(Duration::from_secs(if is_long { 60 } else { 3 })).await;
            cluster.start();
            until("it is written again", PATIENCE, async || writing.lag().await.is_ok()).await;
            write(&writing, &format!("{case} after")).await;
            until(&case, PATIENCE, async || waiting(&writing, "bus").await == (0, 0)).await;
            // And what it hears after that it hears as before.
            write(&writing, &format!("{case} later")).await;
            until(&case, Duration::from_secs(15), async || waiting(&writing, "bus").await == (0, 0)).await;
            assert_sent(&case, &bus, 3);
            relay.stop().await;
        }
    }
}
