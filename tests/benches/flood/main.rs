//! What an honest sender notices of a flood by somebody who knows no secret, and what a flood
//! leaves behind.
//!
//! `cargo bench -p atp-tests --bench flood [-- seconds]` prints a table for each store: an honest
//! answer's median and 99th percentile beside the calm of the same seconds, for each kind of flood
//! over 64, 512 and 2,048 connections. A cell takes so many seconds (8), half of them calm, in
//! rounds of calm and flood. `-- 1 small` is the form for continuous integration: one round, 64
//! connections.
//!
//! `cargo bench -p atp-tests --bench flood -- million [count]` sends so many hostile requests of
//! all kinds, by chance, and prints what they left in memory, on the disk and in the tables. It
//! fails where rows grow with requests.
//!
//! Settings, `name=value`: `kinds=forged,respelt`, `connections=64,512`, `stores=sqlite,postgres`,
//! `rate=5000` (requests a second of a flood; 0 is as many as are answered), `honest=100` (answers
//! a second), `rounds=2`.
//!
//! Server, flood and honest sender are three processes of one machine, so the flood takes cores
//! that it would not take from afar. It runs at a lower priority, and at a rate; the last columns
//! say how much of the machine worked, and how much of it was the server's. Where the machine is
//! full, the cores bound the cell.
//!
//! Nothing of time is asserted. In the end every honest answer was answered 200 and took effect
//! once, and nothing panicked.

mod captured;
mod chance;
mod database;
mod honest;
mod hostile;
mod http;
mod left;
mod machine;
#[path = "../measured/memory.rs"]
mod memory;
mod server;
mod table;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures_util::FutureExt as _;

use captured::Captured;
use database::Database;
use honest::Honest;
use hostile::Kind;
use server::Server;

fn main() {
    machine::raise_open_files();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("serve") => actix_web::rt::System::new().block_on(server::serve(&arguments[1])),
        Some("attack") => runtime.block_on(hostile::attack(&arguments[1..])),
        _ => runtime.block_on(measure(&Settings::of(&arguments))),
    }
}

struct Settings {
    seconds: f64,
    /// How many requests, if what they leave is measured.
    million: Option<usize>,
    kinds: Vec<Kind>,
    connections: Vec<usize>,
    stores: Vec<String>,
    rate: usize,
    honest: usize,
    rounds: usize,
    /// How long the server gets after a flood to end what it began.
    rest: Duration,
}

impl Settings {
    fn of(arguments: &[String]) -> Self {
        let is_given = |word: &str| arguments.iter().any(|argument| argument == word);
        let pairs: HashMap<_, _> = arguments.iter().filter_map(|argument| argument.split_once('=')).collect();
        let number = arguments.iter().find_map(|argument| argument.parse::<usize>().ok());
        let list = |name: &str| pairs.get(name).map(|value| value.split(',').map(str::to_owned).collect());
        let setting = |name: &str, default: usize| {
            pairs
                .get(name)
                .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
        };
        let numbers = |list: Vec<String>| list.iter().map(|text| text.parse().expect("a number")).collect();
        let kinds = |list: Vec<String>| {
            list.iter().map(|name| name.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
        };
        let (is_small, is_million) = (is_given("small"), is_given("million"));
        Self {
            seconds: number.filter(|_| !is_million).map_or(8.0, |seconds| seconds as f64),
            million: is_million.then(|| number.unwrap_or(1_000_000)),
            kinds: list("kinds").map_or(Kind::ALL.to_vec(), kinds),
            connections: list("connections")
                .map_or_else(|| if is_small { vec![64] } else { vec![64, 512, 2048] }, numbers),
            stores: list("stores").unwrap_or_else(|| Database::NAMES.map(str::to_owned).to_vec()),
            rate: setting("rate", if is_million { 0 } else { 5000 }),
            honest: setting("honest", 100),
            rounds: setting("rounds", if is_small { 1 } else { 2 }),
            rest: Duration::from_millis(if is_small { 100 } else { 1000 }),
        }
    }
}

async fn measure(settings: &Settings) {
    for name in &settings.stores {
        let Some(database) = Database::new(name).await else {
            println!("no {name} was found, so nothing was measured on it");
            continue;
        };
        // Whatever happens, the database is gone with the run.
        let outcome = AssertUnwindSafe(run(settings, &database)).catch_unwind().await;
        database.end().await;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
}

async fn run(settings: &Settings, database: &Database) {
    let server = Server::start(&database.url(), database.folder());
    Captured::make(database, &server.address).await;
    let run = Run { settings, honest: Honest::new(&server.address, database), database, server };
    match settings.million {
        Some(count) => left::print(&run, count).await,
        None => table::print(&run).await,
    }
    run.nothing_is_lost().await;
}

/// One store, and the server that is flooded.
struct Run<'a> {
    settings: &'a Settings,
    honest: Honest<'a>,
    database: &'a Database,
    server: Server,
}

impl Run<'_> {
    /// Every honest answer was answered 200 in the end and took effect once, and the server
    /// panicked nowhere.
    async fn nothing_is_lost(&self) {
        self.honest.deliver_again().await;
        let decided = i64::try_from(self.honest.asked()).expect("few") + Captured::HANDLED;
        let effects = self.database.effects().await;
        assert_eq!(
            effects,
            (decided, decided),
            "effects, and notifications that had one, of {decided} answers"
        );
        assert_eq!(self.server.panics(), 0, "the server panicked");
        println!("{}: all {decided} honest answers took effect, each once\n", self.database.name());
    }
}
