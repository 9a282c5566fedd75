//! How fast events go from a SQLite file to a channel of the same process.
//!
//! `cargo bench -p atp-tests --bench channel [-- events]`
//!
//! The events are there when the relay starts. Each has a subject of its own, or none; a row of the
//! table is the time until the last one was acknowledged and the store knows it.

use std::time::{Duration, Instant};

use atp_actix::{
    ChannelSink, Relay,
    store::{Event, Outbox, Routes, SqliteStore},
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let events = arguments.filter_map(|argument| argument.parse().ok()).next().unwrap_or(20_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("| subjects | concurrency | events/s | µs of processor an event |\n|---|---|---|---|");
    for concurrency in [8, 32, 128, 512] {
        for has_subjects in [true, false] {
            runtime.block_on(measure(has_subjects, concurrency, events));
        }
    }
}

async fn measure(has_subjects: bool, concurrency: u32, events: usize) {
    let folder = std::env::temp_dir().join(format!("atp_bench_channel_{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("atp.sqlite");
    let store = SqliteStore::open(&path).await.expect("a store").routes(Routes::new().events("here"));
    let options = SqliteConnectOptions::new().filename(&path).busy_timeout(Duration::from_secs(5));
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the file");
    let mut transaction = connection.begin().await.expect("a transaction");
    for number in 0..events {
        let data = serde_json::json!({ "number": number, "text": "x".repeat(400) });
        let event = Event::new("counted", data).expect("JSON").service("shop");
        let event = if has_subjects { event.subject(format!("s-{number}")) } else { event };
        store.emit_in(&mut transaction, &event).await.expect("an event");
    }
    transaction.commit().await.expect("a commit");

    let (sink, mut receiver) = ChannelSink::new(concurrency as usize);
    let (began, used) = (Instant::now(), processor_time());
    let relay = Relay::new(store.clone()).sink("here", sink).concurrency(concurrency).start();
    for _ in 0..events {
        receiver.recv().await.expect("the relay runs").ack();
    }
    relay.stop().await;
    let (took, used) = (began.elapsed(), processor_time() - used);
    assert!(store.lag().await.expect("a store").is_empty(), "everything is sent");
    let subjects = if has_subjects { "one each" } else { "none" };
    let rate = events as f64 / took.as_secs_f64();
    let cost = used.as_secs_f64() * 1e6 / events as f64;
    println!("| {subjects} | {concurrency} | {rate:.0} | {cost:.0} |");
    store.close().await;
    std::fs::remove_dir_all(&folder).expect("the folder");
}

/// What this process has used of the processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
