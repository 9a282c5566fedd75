//! The flood, from a process of its own that knows no secret.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io::Read as _,
    path::Path,
    process::Stdio,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use atp_tests::PATH;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{sleep, sleep_until, timeout},
};

use crate::{
    captured::{Captured, Delivery},
    chance::Chance,
    http::{self, Connection},
};

/// What a flood is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Timestamped, with a digest of nobody's.
    Forged,
    /// A bare digest of nobody's, which the three other schemes must be tried for.
    ForgedBare,
    /// One handled delivery again and again.
    Replayed,
    /// Refused deliveries again and again.
    Refused,
    /// What is signed, and no answer, again and again.
    Malformed,
    /// Well-formed tokens of redrives that nobody made.
    Junk,
    /// The same beside a good signature.
    JunkSigned,
    /// Bare digests, each time with the same JSON in other bytes.
    Respelt,
    /// Bodies that trickle.
    Slow,
    /// Each of the others but the slow ones, by chance.
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Forged,
        Self::ForgedBare,
        Self::Replayed,
        Self::Refused,
        Self::Malformed,
        Self::Junk,
        Self::JunkSigned,
        Self::Respelt,
        Self::Slow,
    ];

    /// Replays twice: most of a flood is of what was seen.
    const MIX: [Self; 9] = [
        Self::Replayed,
        Self::Replayed,
        Self::Refused,
        Self::Malformed,
        Self::Respelt,
        Self::Junk,
        Self::JunkSigned,
        Self::Forged,
        Self::ForgedBare,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::ForgedBare => "forged-bare",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Junk => "junk",
            Self::JunkSigned => "junk-signed",
            Self::Respelt => "respelt",
            Self::Slow => "slow",
            Self::Mixed => "mixed",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().chain([Self::Mixed]).find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("no flood is called {name:?}: there are {:?}", Self::ALL.map(Self::name)))
    }
}

/// How a flood comes.
pub(crate) struct Flood {
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    /// Requests a second of all connections together; as many as are answered if it is 0.
    pub(crate) rate: usize,
    /// It ends after so many.
    pub(crate) count: usize,
}

/// The process of a flood, seen by who started it.
pub(crate) struct Attack {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    started: Instant,
}

/// What came of a flood: so many of each status. 0 is a connection that ended without one.
pub(crate) struct Outcome {
    pub(crate) statuses: BTreeMap<u16, usize>,
    pub(crate) time: Duration,
}

impl Outcome {
    pub(crate) fn count(&self) -> usize {
        self.statuses.values().sum()
    }
}

impl Attack {
    /// Starts one; it floods when this returns.
    pub(crate) async fn start(flood: &Flood, address: &str, folder: &Path) -> Self {
        let Flood { kind, connections, rate, count } = flood;
        let this = std::env::current_exe().expect("this program");
        let numbers = [connections, rate, count].map(ToString::to_string);
        let mut command = Command::new(this);
        command.args(["attack", kind.name(), address]).args(numbers).arg(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("a flood");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = lines.next_line().await.expect("a line");
        assert_eq!(ready.as_deref(), Some("ready"), "the flood did not start");
        Self { process, lines, started: Instant::now() }
    }

    /// Ends it now.
    pub(crate) async fn stop(mut self) -> Outcome {
        drop(self.process.stdin.take());
        self.end().await
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Outcome {
        let line = self.lines.next_line().await.expect("a line").expect("what came of it");
        let time = self.started.elapsed();
        let number = |text: &str| text.parse().expect("a number");
        let statuses = line.split_whitespace().filter_map(|part| part.split_once(':'));
        let statuses = statuses.map(|(status, count)| (status.parse().expect("a status"), number(count)));
        let statuses = statuses.collect();
        let _ = self.process.wait().await;
        Outcome { statuses, time }
    }
}

/// The process itself. It stops when its standard input ends.
pub(crate) async fn attack(arguments: &[String]) {
    // A flood comes from elsewhere: it takes no turn of those who are measured.
    let _ = rustix::process::nice(10);
    let number = |nth: usize| arguments[nth].parse::<usize>().expect("a number");
    let flood = Flood {
        kind: arguments[0].parse().expect("a kind"),
        connections: number(2),
        rate: number(3),
        count: number(4),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopping.store(true, Ordering::Relaxed);
    });
    let captured = Captured::read(Path::new(&arguments[5]));
    let attacker = Attacker {
        address: &arguments[1],
        respelt: captured.respelt.each_ref().map(|one| serde_json::from_slice(&one.body).expect("JSON")),
        captured: &captured,
        statuses: RefCell::default(),
        left: Cell::new(flood.count),
        stop: &stop,
        flood: &flood,
    };
    let connections: Vec<_> = join_all((0..flood.connections).map(|_| Connection::open(&arguments[1]))).await;
    println!("ready");
    let floods = connections.into_iter().enumerate().map(|(nth, open)| attacker.flood(nth, open.ok()));
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // What is under way when it stops is left alone.
    tokio::select! {
        _ = join_all(floods) => {}
        () = stopped => {}
    }
    let statuses: Vec<String> =
        attacker.statuses.borrow().iter().map(|(status, count)| format!("{status}:{count}")).collect();
    println!("{} ", statuses.join(" "));
    std::process::exit(0);
}

struct Attacker<'a> {
    address: &'a str,
    captured: &'a Captured,
    /// The bodies that are respelt.
    respelt: [Value; 2],
    flood: &'a Flood,
    statuses: RefCell<BTreeMap<u16, usize>>,
    left: Cell<usize>,
    stop: &'a AtomicBool,
}

impl Attacker<'_> {
    async fn flood(&self, nth: usize, mut open: Option<Connection>) {
        let Flood { connections, rate, .. } = *self.flood;
        let pause = match rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(connections as f64 / rate as f64),
        };
        let mut chance = Chance::new(std::process::id(), nth);
        let mut due = Instant::now() + pause.mul_f64(nth as f64 / connections as f64);
        while self.left.get() > 0 && !self.stop.load(Ordering::Relaxed) {
            self.left.set(self.left.get() - 1);
            if rate > 0 {
                sleep_until(due.into()).await;
                // What came too late is not made up for.
                due = (due + pause).max(Instant::now());
            }
            let status = self.once(&mut open, &mut chance).await;
            *self.statuses.borrow_mut().entry(status).or_default() += 1;
            if status == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// One request; its status.
    async fn once(&self, open: &mut Option<Connection>, chance: &mut Chance) -> u16 {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => match Connection::open(self.address).await {
                Ok(connection) => connection,
                Err(_) => return 0,
            },
        };
        let reply = match self.flood.kind {
            Kind::Slow => trickle(&mut connection, chance).await,
            kind => connection.exchange(&self.request(kind, chance)).await,
        };
        let Ok(reply) = reply else { return 0 };
        if !reply.closes {
            *open = Some(connection);
        }
        reply.status
    }

    fn request(&self, kind: Kind, chance: &mut Chance) -> Vec<u8> {
        let good = &self.captured.good;
        match kind {
            Kind::Forged => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
                signed(&format!("t={now},v1={}", chance.hex(64)), &good.body)
            }
            Kind::ForgedBare => signed(&chance.hex(64), &good.body),
            Kind::Replayed => replay(good),
            Kind::Refused => replay(chance.pick(&self.captured.refused)),
            Kind::Malformed => replay(&self.captured.malformed),
            Kind::Junk => http::post(PATH, &redrive(chance), &good.body),
            Kind::JunkSigned => {
                let lines = format!("{}x-atp-signature: {}\r\n", redrive(chance), good.signature);
                http::post(PATH, &lines, &good.body)
            }
            Kind::Respelt => {
                let which = chance.below(self.respelt.len());
                let body = chance.respell(&self.respelt[which]);
                signed(&self.captured.respelt[which].signature, body.as_bytes())
            }
            Kind::Mixed => {
                let kind = *chance.pick(&Kind::MIX);
                self.request(kind, chance)
            }
            Kind::Slow => unreachable!("it is no one request"),
        }
    }
}

fn replay(delivery: &Delivery) -> Vec<u8> {
    signed(&delivery.signature, &delivery.body)
}

fn signed(signature: &str, body: &[u8]) -> Vec<u8> {
    http::post(PATH, &format!("x-atp-signature: {signature}\r\n"), body)
}

/// A header with a token that is well formed: a number of 128 bits alone, or one that claims a
/// place, a time and a digest.
fn redrive(chance: &mut Chance) -> String {
    let nonce = chance.hex(32);
    if chance.below(2) == 0 {
        return format!("x-atp-redrive: {nonce}\r\n");
    }
    let (id, body, mac) = (chance.below(1000), chance.hex(64), chance.hex(64));
    format!("x-atp-redrive: 1.{id}.{nonce}.timestamped.0.4102444800.{body}.{mac}\r\n")
}

/// Sends a byte now and then, until the server has enough of it.
async fn trickle(connection: &mut Connection, chance: &mut Chance) -> std::io::Result<http::Reply> {
    let whole = signed(&chance.hex(64), &[b' '; 1000]);
    let head = whole.len() - 1000;
    connection.send(&whole[..head]).await?;
    for byte in &whole[head..] {
        connection.send(&[*byte]).await?;
        if let Ok(reply) = timeout(Duration::from_millis(250), connection.reply()).await {
            return reply;
        }
    }
    connection.reply().await
}
