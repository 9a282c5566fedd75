//! A decision is on the disk before its 200 is sent: the flush itself is seen, by `strace`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use atp_actix::{store::Store, test::Sender};
use atp_tests::SECRET;
use tokio::time::sleep;

use crate::support::{
    databases::{Database, PostgresDatabase, SqliteDatabase, SqliteFile},
    external,
    victim::{Victim, question},
};

#[actix_web::test]
async fn a_decision_is_flushed_before_its_200_on_sqlite() {
    if external::program("strace").is_some() {
        let database = SqliteDatabase::new().await;
        let victim = Victim::start(&database.url(), None);
        watch(&database, &victim, &[victim.id()], None).await;
    }
}

#[actix_web::test]
async fn a_decision_is_flushed_before_its_200_on_postgres() {
    if external::program("strace").is_none() {
        return;
    }
    let Some(database) = PostgresDatabase::new().await else { return };
    let victim = Victim::start(&database.url(), None);
    // Warm: its connections are open.
    let warm = Sender::new(SECRET).answer("warm", "approve", ());
    database.store().record(&question("warm")).await.expect("a question");
    assert_eq!(victim.deliver(&warm).await, Some(200));
    let processes = database.processes().await;
    if processes.iter().any(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
        eprintln!("SKIPPED: the PostgreSQL server runs elsewhere, so its flushes cannot be seen");
        return;
    }
    watch(&database, &victim, &processes, Some(&database)).await;
}

/// The flushes of some processes.
struct Flushes {
    strace: Child,
    folder: SqliteFile,
}

impl Flushes {
    /// None where processes may not be traced, as in some containers: that is said, also in
    /// continuous integration.
    async fn of(processes: &[u32]) -> Option<Self> {
        let folder = SqliteFile::new();
        let mut command = Command::new("strace");
        command.args(["-f", "-ttt", "-e", "trace=fsync,fdatasync,openat", "-o"]).arg(Self::file(&folder));
        for process in processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut strace = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace");
        sleep(Duration::from_millis(500)).await;
        if strace.try_wait().expect("a state").is_some() {
            eprintln!("SKIPPED: this machine does not let strace attach to a process, so no flush was seen");
            return None;
        }
        Some(Self { strace, folder })
    }

    fn file(folder: &SqliteFile) -> PathBuf {
        folder.beside("trace")
    }

    /// How many flushes began in this time, and which process made each.
    fn between(&self, from: f64, to: f64) -> Vec<u32> {
        let trace = fs::read_to_string(Self::file(&self.folder)).unwrap_or_default();
        let flushes = trace.lines().filter(|line| line.contains("sync(") && !line.contains("resumed"));
        let parsed = flushes.filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse::<u32>().ok()?, words.next()?.parse::<f64>().ok()?))
        });
        parsed.filter(|(_, time)| (from..to).contains(time)).map(|(process, _)| process).collect()
    }
}

impl Drop for Flushes {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// A server of databases may flush at any time, for others too: a decision is flushed by whoever
/// does, and a replay is not flushed by who serves it.
async fn watch(
    database: &impl Database,
    victim: &Victim,
    processes: &[u32],
    server: Option<&PostgresDatabase>,
) {
    let Some(flushes) = Flushes::of(processes).await else { return };
    let sender = Sender::new(SECRET);
    let (mut of_decisions, mut of_replays) = (Vec::new(), Vec::new());
    for (nth, action) in ["approve", "reject", "approve", "reject"].into_iter().enumerate() {
        let id = format!("flushed-{nth}");
        database.store().record(&question(&id)).await.expect("a question");
        let answer = if action == "approve" {
            sender.answer(&id, action, ())
        } else {
            sender.answer(&id, action, "no")
        };
        sleep(Duration::from_millis(100)).await;
        let before = now();
        assert_eq!(victim.deliver(&answer).await, Some(200));
        let answered = now();
        // The tracer writes a little later than it sees.
        sleep(Duration::from_millis(300)).await;
        of_decisions.push(flushes.between(before, answered).len());
        let before = now();
        assert_eq!(victim.deliver(&answer).await, Some(200));
        let answered = now();
        sleep(Duration::from_millis(300)).await;
        let mut flushed_by = flushes.between(before, answered);
        if let Some(server) = server {
            let backends = server.backends().await;
            flushed_by.retain(|process| backends.contains(process));
        }
        of_replays.push(flushed_by.len());
    }
    println!(
        "{}: flushes before the 200: {of_decisions:?} of decisions, {of_replays:?} of replays",
        database.name()
    );
    assert!(of_decisions.iter().all(|flushes| *flushes >= 1), "{of_decisions:?}");
    assert!(of_replays.iter().all(|flushes| *flushes == 0), "{of_replays:?}");
}
