//! Decisions that are asked for over sockets, of servers that are processes of their own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use atp_actix::test::Sender;
use atp_tests::{PATH, SECRET};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Server {
    pub(crate) fn start(kind: &str, url: &str) -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        let mut process =
            command.args(["serve", kind, url]).stdout(Stdio::piped()).spawn().expect("a server");
        let mut address = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("an address");
        Self { process, address: address.trim().to_owned() }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).await.expect("a server");
        stream.set_nodelay(true).expect("a setting");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a load has seen.
pub(crate) struct Seen {
    pub(crate) count: usize,
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) p99: Duration,
}

/// Processor time, in clock ticks of 10 ms, for so many answers.
pub(crate) struct Cpu {
    server: u64,
    database: u64,
    answers: usize,
}

impl Cpu {
    pub(crate) const NONE: Self = Self { server: 0, database: 0, answers: 0 };

    pub(crate) async fn during(&mut self, server: &Server, load: impl Future<Output = Seen>) -> Seen {
        let before = Self::so_far(server.process.id());
        let seen = load.await;
        let after = Self::so_far(server.process.id());
        self.server += after.0 - before.0;
        self.database += after.1.saturating_sub(before.1);
        self.answers += seen.count;
        seen
    }

    /// Of the server, and of all processes of PostgreSQL. Nothing where there is no `/proc`.
    pub(crate) fn so_far(server: u32) -> (u64, u64) {
        let (mut own, mut theirs) = (0, 0);
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
            let used: u64 =
                rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
            if entry.file_name().to_str() == Some(&server.to_string()) {
                own = used;
            } else if head.contains("(postgres") {
                theirs += used;
            }
        }
        (own, theirs)
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = |ticks: u64| ticks * 10_000 / self.answers.max(1) as u64;
        write!(f, "{} + {} us", micros(self.server), micros(self.database))
    }
}

/// Approves one after the other over some connections to some servers, each notification once
/// unless `again`.
pub(crate) async fn load(
    servers: &[&Server],
    connections: usize,
    time: Duration,
    ids: &Ids,
    again: bool,
) -> Seen {
    let until = Instant::now() + time;
    let started = Instant::now();
    let workers = (0..connections).map(|nth| connection(servers[nth % servers.len()], until, ids, again));
    let mut latencies: Vec<Duration> = join_all(workers).await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    Seen { count: latencies.len(), rate, p99: latencies[latencies.len() * 99 / 100] }
}

async fn connection(server: &Server, until: Instant, ids: &Ids, again: bool) -> Vec<Duration> {
    let mut stream = server.connect().await;
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let id = if again { ids.handled() } else { ids.next() };
        latencies.push(approve(&mut stream, id).await);
    }
    latencies
}

/// Sends one approval and waits for its 200; how long that took.
pub(crate) async fn approve(stream: &mut TcpStream, id: String) -> Duration {
    let (headers, body) = Sender::new(SECRET).answer(id, "approve", ()).to_parts();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat();
    let (sent, mut answer, mut len) = (Instant::now(), [0; 2048], 0);
    stream.write_all(&request).await.expect("sent");
    while !answer[..len].ends_with(br#"{"status":"success"}"#) {
        let read = stream.read(&mut answer[len..]).await.expect("an answer");
        assert!(read > 0 && len < 1024, "not 200: {}", String::from_utf8_lossy(&answer[..len]));
        len += read;
    }
    sent.elapsed()
}

/// The notifications of a database.
pub(crate) struct Ids {
    pub(crate) next: AtomicUsize,
    pub(crate) seeded: usize,
}

impl Ids {
    pub(crate) fn next(&self) -> String {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(nth < self.seeded, "more than {} were decided: seed more", self.seeded);
        format!("n-{nth}")
    }

    /// One of the last thousand.
    pub(crate) fn handled(&self) -> String {
        format!("n-{}", self.seeded - 1 - self.next.fetch_add(1, Ordering::Relaxed) % 1000)
    }
}
