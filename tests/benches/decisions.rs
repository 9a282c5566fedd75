//! What it costs that a decision takes effect once, beside a bare actix route that does the same
//! UPDATE in one durable transaction.
//!
//! `cargo bench -p atp-tests --bench decisions [-- rounds seconds]`
//!
//! Each server is a process of its own with one worker; the load comes from this process. Rounds
//! are interleaved: the bare route, ours, then the next round; a ratio is of one round. PostgreSQL
//! is measured where one is found (`DATABASE_URL`, else the standard local port). On Linux the
//! processor time of a decision is told too, of the server and of PostgreSQL's processes.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Secret, Simple, SqliteTransaction, Verifier, Webhook,
    store::{PostgresStore, SqliteStore, Store},
    test::Sender,
};
use atp_tests::{PATH, SECRET};
use futures_util::future::join_all;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, SqliteConnection, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().map(String::as_str) == Some("serve") {
        return actix_web::rt::System::new().block_on(serve(&arguments[1], &arguments[2]));
    }
    let number =
        |nth: usize, default| arguments.get(nth).and_then(|text| text.parse().ok()).unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(number(0, 5), Duration::from_secs(number(1, 2) as u64)));
}

// The servers.

async fn serve(kind: &str, url: &str) {
    match (kind, url.strip_prefix("sqlite:")) {
        ("bare", Some(file)) => {
            let options = sqlite_options(Path::new(file));
            // One writes at a time in any case; waiting for the connection is cheaper than for the
            // lock.
            let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(30));
            let pool = web::Data::new(pool.connect_with(options).await.expect("a pool"));
            run(move |config| {
                config.app_data(pool.clone()).route(PATH, web::post().to(bare_sqlite));
            })
            .await;
        }
        ("bare", None) => {
            let pool = PgPoolOptions::new().max_connections(10).acquire_timeout(Duration::from_secs(30));
            let pool = web::Data::new(pool.connect(url).await.expect("a pool"));
            run(move |config| {
                config.app_data(pool.clone()).route(PATH, web::post().to(bare_postgres));
            })
            .await;
        }
        (_, Some(file)) => {
            let store = SqliteStore::open(file).await.expect("a store");
            run(move |config| {
                config.service(webhook(&store).on("approve", ours_sqlite));
            })
            .await;
        }
        (_, None) => {
            let store = PostgresStore::connect(url).await.expect("a store");
            run(move |config| {
                config.service(webhook(&store).on("approve", ours_postgres));
            })
            .await;
        }
    }
}

async fn run(configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) {
    let server = HttpServer::new(move || App::new().configure(configure.clone())).workers(1);
    let server = server.bind("127.0.0.1:0").expect("a port");
    println!("{}", server.addrs()[0]);
    server.run().await.expect("a server");
}

fn webhook(store: &impl Store) -> Webhook {
    Webhook::new(PATH, Verifier::new(Secret::new(SECRET).expect("a secret"))).store(store.clone())
}

fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(file).journal_mode(SqliteJournalMode::Wal);
    options.synchronous(SqliteSynchronous::Full).busy_timeout(Duration::from_secs(5)).create_if_missing(true)
}

#[derive(serde::Deserialize)]
struct Answer {
    notification_id: String,
}

fn success() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"success"}"#)
}

async fn bare_sqlite(answer: web::Json<Answer>, pool: web::Data<SqlitePool>) -> HttpResponse {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
    let query =
        sqlx::query("UPDATE orders SET state = 'approved' WHERE id = ?").bind(&answer.notification_id);
    assert_eq!(query.execute(&mut *tx).await.expect("an update").rows_affected(), 1);
    tx.commit().await.expect("a commit");
    success()
}

async fn bare_postgres(answer: web::Json<Answer>, pool: web::Data<PgPool>) -> HttpResponse {
    let mut tx = pool.begin().await.expect("a transaction");
    let query =
        sqlx::query("UPDATE orders SET state = 'approved' WHERE id = $1").bind(&answer.notification_id);
    assert_eq!(query.execute(&mut *tx).await.expect("an update").rows_affected(), 1);
    tx.commit().await.expect("a commit");
    success()
}

async fn ours_sqlite(answer: AtpResponse<Simple>, mut tx: SqliteTransaction) -> Result<(), Error> {
    sqlx::query("UPDATE orders SET state = 'approved' WHERE id = ?")
        .bind(&answer.notification_id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn ours_postgres(answer: AtpResponse<Simple>, mut tx: PostgresTransaction) -> Result<(), Error> {
    sqlx::query("UPDATE orders SET state = 'approved' WHERE id = $1")
        .bind(&answer.notification_id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

// The load.

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(kind: &str, url: &str) -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        let mut process =
            command.args(["serve", kind, url]).stdout(Stdio::piped()).spawn().expect("a server");
        let mut address = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("an address");
        Self { process, address: address.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a load has seen.
struct Seen {
    count: usize,
    /// Answers a second.
    rate: f64,
    p99: Duration,
}

/// Processor time, in clock ticks of 10 ms, for so many answers.
#[derive(Default)]
struct Cpu {
    server: u64,
    database: u64,
    answers: usize,
}

impl Cpu {
    async fn during(&mut self, server: &Server, load: impl Future<Output = Seen>) -> Seen {
        let before = Self::so_far(server.process.id());
        let seen = load.await;
        let after = Self::so_far(server.process.id());
        self.server += after.0 - before.0;
        self.database += after.1.saturating_sub(before.1);
        self.answers += seen.count;
        seen
    }

    /// Of the server, and of all processes of PostgreSQL. Nothing where there is no `/proc`.
    fn so_far(server: u32) -> (u64, u64) {
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
async fn load(servers: &[&Server], connections: usize, time: Duration, ids: &Ids, again: bool) -> Seen {
    let until = Instant::now() + time;
    let started = Instant::now();
    let workers = (0..connections).map(|nth| connection(servers[nth % servers.len()], until, ids, again));
    let mut latencies: Vec<Duration> = join_all(workers).await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    Seen { count: latencies.len(), rate, p99: latencies[latencies.len() * 99 / 100] }
}

async fn connection(server: &Server, until: Instant, ids: &Ids, again: bool) -> Vec<Duration> {
    let mut stream = TcpStream::connect(&server.address).await.expect("a server");
    stream.set_nodelay(true).expect("a setting");
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let id = if again { ids.handled() } else { ids.next() };
        latencies.push(approve(&mut stream, id).await);
    }
    latencies
}

/// Sends one approval and waits for its 200; how long that took.
async fn approve(stream: &mut TcpStream, id: String) -> Duration {
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
struct Ids {
    next: AtomicUsize,
    seeded: usize,
}

impl Ids {
    fn next(&self) -> String {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(nth < self.seeded, "more than {} were decided: seed more", self.seeded);
        format!("n-{nth}")
    }

    fn handled(&self) -> String {
        format!("n-{}", self.next.fetch_add(1, Ordering::Relaxed) % 1000)
    }
}

/// Questions and orders from one number up to another.
fn seed(from: usize, to: usize) -> [String; 2] {
    let question = r#"{"id":"n","version":"1.0","context":{"title":"Deploy?","description":""},"actions":[{"id":"approve","label":"Approve","response_type":"simple"}]}"#;
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {})", to - 1);
    [
        format!(
            "{numbers} INSERT INTO atp_questions (service, key, notification_id, question, context, recorded_at)
             SELECT 'default', 'n-' || i, 'n-' || i, '{question}', 'null', 0 FROM n"
        ),
        format!("{numbers} INSERT INTO orders SELECT 'n-' || i, 'waiting' FROM n"),
    ]
}

/// Decisions that were made long ago, with their questions and audit.
fn history(count: usize, blob: &str) -> [String; 3] {
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})");
    [
        format!(
            "{numbers} INSERT INTO atp_questions (service, key, notification_id, question, context, recorded_at)
             SELECT 'default', 'old-' || i, 'old-' || i, '{{}}', 'null', i FROM n"
        ),
        format!(
            "{numbers} INSERT INTO atp_decisions (service, notification_id, fingerprint, action_id, token, leased_at,
                 lease_until, completed_at, status, content_type, body, scheme, secret_index, is_late)
             SELECT 'default', 'old-' || i, {blob}, 'approve', {blob}, i, i, i, 200, 'application/json', {blob}, 'timestamped',
                 0, false FROM n"
        ),
        format!(
            "{numbers} INSERT INTO atp_deliveries (service, notification_id, fingerprint, verdict, first_seen, last_seen,
                 count, scheme, secret_index, status, duration_us)
             SELECT 'default', 'old-' || i, {blob}, 'handled', i, i, 1, 'timestamped', 0, 200, 100 FROM n"
        ),
    ]
}

enum Database {
    Sqlite(PathBuf),
    Postgres { server: String, name: String },
}

impl Database {
    const ORDERS: &str = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT NOT NULL)";

    async fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("atp-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let this = Self::Sqlite(folder.join("atp.sqlite"));
        SqliteStore::open(folder.join("atp.sqlite")).await.expect("a store");
        this.run(Self::ORDERS).await;
        this
    }

    async fn postgres() -> Option<Self> {
        let url = std::env::var("DATABASE_URL")
            .unwrap_or_else(|_| "postgres://postgres:postgres@127.0.0.1:5432/postgres".to_owned());
        let mut connection = PgConnection::connect(&url).await.ok()?;
        let name = format!("atp_bench_{}", std::process::id());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("a database");
        let this = Self::Postgres { server: url, name };
        PostgresStore::connect(&this.url()).await.expect("a store");
        this.run(Self::ORDERS).await;
        Some(this)
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Postgres { server, name } => {
                format!("{}/{name}", server.rsplit_once('/').expect("a database").0)
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    fn blob(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "randomblob(32)",
            Self::Postgres { .. } => "sha256(i::text::bytea)",
        }
    }

    async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(file) => {
                let mut connection =
                    SqliteConnection::connect_with(&sqlite_options(file)).await.expect("a file");
                sqlx::raw_sql(sql).execute(&mut connection).await.expect("a statement");
                connection.close().await.expect("an end");
            }
            Self::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.url()).await.expect("a server");
                sqlx::raw_sql(sql).execute(&mut connection).await.expect("a statement");
            }
        }
    }

    async fn end(self) {
        match &self {
            Self::Sqlite(file) => {
                let _ = std::fs::remove_dir_all(file.parent().expect("a folder"));
            }
            Self::Postgres { server, name } => {
                let mut connection = PgConnection::connect(server).await.expect("a server");
                let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                let _ = sqlx::raw_sql(drop).execute(&mut connection).await;
            }
        }
    }
}

async fn measure(rounds: usize, time: Duration) {
    println!("Ratios of one round, median (least to most) of {rounds} rounds of {} s.\n", time.as_secs());
    measure_on(Database::sqlite().await, rounds, time).await;
    match Database::postgres().await {
        Some(database) => measure_on(database, rounds, time).await,
        None => println!("no PostgreSQL was found, so nothing was measured on it"),
    }
}

async fn measure_on(database: Database, rounds: usize, time: Duration) {
    let name = database.name();
    let ids = Ids { next: AtomicUsize::new(0), seeded: 400_000 };
    for statement in seed(0, ids.seeded) {
        database.run(&statement).await;
    }
    let bare = Server::start("bare", &database.url());
    let ours = Server::start("ours", &database.url());
    println!(
        "| {name} | a decision over the bare UPDATE, time | p99 | decisions/s | p99 | processor time | bare |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    );
    for connections in [1, 32] {
        load(&[&bare], connections, time / 4, &ids, false).await;
        load(&[&ours], connections, time / 4, &ids, false).await;
        let (mut ratios, mut tails, mut rates, mut p99s) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut of_bare, mut of_ours) = (Cpu::default(), Cpu::default());
        for _ in 0..rounds {
            let bare = of_bare.during(&bare, load(&[&bare], connections, time, &ids, false)).await;
            let ours = of_ours.during(&ours, load(&[&ours], connections, time, &ids, false)).await;
            ratios.push(bare.rate / ours.rate);
            tails.push(ours.p99.as_secs_f64() / bare.p99.as_secs_f64());
            rates.push(ours.rate);
            p99s.push(ours.p99.as_secs_f64() * 1000.0);
        }
        let (ratio, tail) = (spread(&mut ratios), spread(&mut tails));
        println!(
            "| {connections} connections | {ratio} | {tail} | {:.0} | {:.2} ms | {of_ours} | {of_bare} |",
            median(&mut rates),
            median(&mut p99s)
        );
    }

    // What was decided comes again.
    let decided = Ids { next: AtomicUsize::new(0), seeded: ids.seeded };
    decide(&ours, 1000).await;
    let mut replays = Vec::new();
    for _ in 0..rounds {
        let decisions = load(&[&ours], 32, time, &ids, false).await;
        let again = load(&[&ours], 32, time, &decided, true).await;
        replays.push(again.rate / decisions.rate);
    }
    println!("\n{name}: replays over decisions, 32 connections: {}", spread(&mut replays));

    if let Database::Postgres { .. } = database {
        let other = Server::start("ours", &database.url());
        let mut twos = Vec::new();
        for _ in 0..rounds {
            let one = load(&[&ours], 32, time, &ids, false).await;
            let two = load(&[&ours, &other], 32, time, &ids, false).await;
            twos.push(two.rate / one.rate);
        }
        println!("{name}: two processes over one, 32 connections: {}", spread(&mut twos));
    }

    // A thousand and a million stored decisions.
    let mut few = Vec::new();
    for _ in 0..rounds {
        few.push(load(&[&ours], 32, time, &ids, false).await.rate);
    }
    for statement in history(1_000_000, database.blob()) {
        database.run(&statement).await;
    }
    if let Database::Postgres { .. } = database {
        // What the server would do by itself in the next minutes.
        database.run("VACUUM ANALYZE").await;
    }
    let mut many = Vec::new();
    for _ in 0..rounds {
        many.push(load(&[&ours], 32, time, &ids, false).await.rate);
    }
    println!(
        "{name}: decisions/s with few stored {:.0}, with a million more {:.0}: {:.3}\n",
        median(&mut few),
        median(&mut many),
        median(&mut many) / median(&mut few)
    );
    drop((bare, ours));
    database.end().await;
}

/// Decides the first notifications, so that they can come again.
async fn decide(server: &Server, count: usize) {
    let first = Ids { next: AtomicUsize::new(0), seeded: count };
    let mut stream = TcpStream::connect(&server.address).await.expect("a server");
    for _ in 0..count {
        approve(&mut stream, first.next()).await;
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &mut [f64]) -> String {
    let median = median(values);
    format!("{median:.2} ({:.2}–{:.2})", values[0], values[values.len() - 1])
}
