//! What a flood leaves: in memory, on the disk, in the tables and in the log.

use crate::{
    Run,
    captured::Captured,
    hostile::{Attack, Flood, Kind},
    memory,
};

/// In so many parts a flood comes, so that what grows is told from what is there once.
const PARTS: usize = 4;
const CONNECTIONS: usize = 128;
const TABLES: [&str; 4] = ["atp_questions", "atp_decisions", "atp_deliveries", "atp_refused"];

/// Sends so many hostile requests, with honest answers between them.
///
/// # Panics
/// If what is refused, or counted, has more rows than there were different deliveries.
pub(crate) async fn print(run: &Run<'_>, count: usize) {
    println!(
        "| {}: hostile requests | a second | answered | memory | database | log | {} |\n|---:|---:|---|---:|---:|---:|{}",
        run.database.name(),
        TABLES.join(" | "),
        "---:|".repeat(TABLES.len())
    );
    // What a server takes once, for its first requests, is no growth.
    flood(run, count / 100).await;
    let (mut sent, mut honest) = (count / 100, 0);
    row(run, sent, "", "").await;
    for _ in 0..PARTS {
        let ids = run.honest.ask(run.settings.honest).await;
        honest += ids.len();
        let (seen, (rate, answered)) =
            tokio::join!(run.honest.deliver(&ids, run.settings.honest), flood(run, count / PARTS));
        assert_eq!(seen.count(), ids.len());
        run.honest.deliver_again().await;
        sent += count / PARTS;
        row(run, sent, &rate, &answered).await;
    }
    let (refused, noted) =
        (run.database.rows("atp_refused").await, run.database.rows("atp_deliveries").await);
    // An honest answer that had to come again is also there as one that failed, or was running.
    let most = 3 * i64::try_from(honest).expect("few") + Captured::NOTED;
    assert!(
        noted <= most,
        "{noted} rows in atp_deliveries, of {honest} honest answers: rows grow with requests"
    );
    let again = refused - Captured::REFUSED;
    assert!(
        again <= i64::try_from(honest).expect("few"),
        "{refused} rows in atp_refused: rows grow with requests"
    );
}

async fn flood(run: &Run<'_>, count: usize) -> (String, String) {
    let flood = Flood { kind: Kind::Mixed, connections: CONNECTIONS, rate: run.settings.rate, count };
    let outcome = Attack::start(&flood, &run.server.address, run.database.folder()).await.end().await;
    let rate = outcome.count() as f64 / outcome.time.as_secs_f64();
    let answered: Vec<String> =
        outcome.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    (format!("{rate:.0}"), answered.join(", "))
}

async fn row(run: &Run<'_>, sent: usize, rate: &str, answered: &str) {
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let mut rows = Vec::new();
    for table in TABLES {
        rows.push(run.database.rows(table).await.to_string());
    }
    println!(
        "| {sent} | {rate} | {answered} | {} | {} | {} | {} |",
        mebibytes(memory::memory(run.server.id()) * 1024),
        mebibytes(run.database.size().await),
        mebibytes(run.server.log_size()),
        rows.join(" | ")
    );
}
