//! What it costs that a decision takes effect once, beside two routes of actix and sqlx that do the
//! same UPDATE in one durable transaction: a bare one, which decides as often as it is asked, and
//! one that is written by hand to be safe, which looks the question up and notes what it has
//! processed. Neither checks a signature.
//!
//! `cargo bench -p atp-tests --bench decisions [-- rounds seconds [stored [sqlite | postgres]]]`
//!
//! Each server is a process of its own with one worker; the load comes from this process. Rounds
//! are interleaved: one server after the other, then the next round; a ratio is of one round.
//! PostgreSQL is measured where one is found (`DATABASE_URL`, else the standard local port). On
//! Linux the processor time of a decision is told too, of the server and of PostgreSQL's processes.
//!
//! In the end the rates are measured on two databases, one of which holds `stored` decisions more,
//! a million unless said otherwise.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use actix_web::{App, FromRequest, Handler, HttpResponse, HttpServer, web};
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Secret, Simple, SqliteTransaction, Verifier, Webhook,
    atp_core::Notification,
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
        |nth: usize, default: usize| arguments.get(nth).and_then(|text| text.parse().ok()).unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(
        number(0, 5),
        Duration::from_secs(number(1, 2) as u64),
        number(2, 1_000_000),
        arguments.get(3).map(String::as_str),
    ));
}

// The servers.

async fn serve(kind: &str, url: &str) {
    match (kind, url.strip_prefix("sqlite:")) {
        ("ours", Some(file)) => {
            let store = SqliteStore::open(file).await.expect("a store");
            run(move |config| {
                config.service(webhook(&store).on("approve", ours_sqlite));
            })
            .await;
        }
        ("ours", None) => {
            let store = PostgresStore::connect(url).await.expect("a store");
            run(move |config| {
                config.service(webhook(&store).on("approve", ours_postgres));
            })
            .await;
        }
        (kind, Some(file)) => {
            let options = sqlite_options(Path::new(file));
            // One writes at a time in any case; waiting for the connection is cheaper than for the
            // lock.
            let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(30));
            let pool = web::Data::new(pool.connect_with(options).await.expect("a pool"));
            match kind {
                "bare" => run_route(pool, bare_sqlite).await,
                _ => run_route(pool, by_hand_sqlite).await,
            }
        }
        (kind, None) => {
            let pool = PgPoolOptions::new().max_connections(10).acquire_timeout(Duration::from_secs(30));
            let pool = web::Data::new(pool.connect(url).await.expect("a pool"));
            match kind {
                "bare" => run_route(pool, bare_postgres).await,
                _ => run_route(pool, by_hand_postgres).await,
            }
        }
    }
}

async fn run(configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) {
    let server = HttpServer::new(move || App::new().configure(configure.clone())).workers(1);
    let server = server.bind("127.0.0.1:0").expect("a port");
    println!("{}", server.addrs()[0]);
    server.run().await.expect("a server");
}

async fn run_route<P: Send + Sync + 'static, F, Args>(pool: web::Data<P>, handler: F)
where
    F: Handler<Args, Output = HttpResponse> + Send,
    Args: FromRequest + 'static,
{
    run(move |config| {
        config.app_data(pool.clone()).route(PATH, web::post().to(handler.clone()));
    })
    .await;
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
    action_id: String,
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

// Safe by hand: an answer is for a question that was asked and for one of its actions, and its id is
// noted in the transaction of its effect.

/// Whether the question that was asked has this action.
fn has_action(question: &str, action_id: &str) -> bool {
    let question: Notification = serde_json::from_str(question).expect("a question");
    question.actions.iter().any(|action| action.id == action_id)
}

async fn by_hand_sqlite(answer: web::Json<Answer>, pool: web::Data<SqlitePool>) -> HttpResponse {
    let asked: Option<String> = sqlx::query_scalar(
        "SELECT question FROM atp_questions WHERE service = 'default' AND notification_id = ?",
    )
    .bind(&answer.notification_id)
    .fetch_optional(&**pool)
    .await
    .expect("a question");
    if !asked.is_some_and(|question| has_action(&question, &answer.action_id)) {
        return HttpResponse::NotFound().finish();
    }
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
    let noted = sqlx::query("INSERT INTO processed (id, action) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(&answer.notification_id)
        .bind(&answer.action_id)
        .execute(&mut *tx)
        .await;
    if noted.expect("an insert").rows_affected() == 0 {
        return success();
    }
    let query =
        sqlx::query("UPDATE orders SET state = 'approved' WHERE id = ?").bind(&answer.notification_id);
    assert_eq!(query.execute(&mut *tx).await.expect("an update").rows_affected(), 1);
    tx.commit().await.expect("a commit");
    success()
}

async fn by_hand_postgres(answer: web::Json<Answer>, pool: web::Data<PgPool>) -> HttpResponse {
    let asked: Option<String> = sqlx::query_scalar(
        "SELECT question FROM atp_questions WHERE service = 'default' AND notification_id = $1",
    )
    .bind(&answer.notification_id)
    .fetch_optional(&**pool)
    .await
    .expect("a question");
    if !asked.is_some_and(|question| has_action(&question, &answer.action_id)) {
        return HttpResponse::NotFound().finish();
    }
    let mut tx = pool.begin().await.expect("a transaction");
    let noted = sqlx::query("INSERT INTO processed (id, action) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(&answer.notification_id)
        .bind(&answer.action_id)
        .execute(&mut *tx)
        .await;
    if noted.expect("an insert").rows_affected() == 0 {
        return success();
    }
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
struct Cpu {
    server: u64,
    database: u64,
    answers: usize,
}

impl Cpu {
    const NONE: Self = Self { server: 0, database: 0, answers: 0 };

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

    /// One of the last thousand.
    fn handled(&self) -> String {
        format!("n-{}", self.seeded - 1 - self.next.fetch_add(1, Ordering::Relaxed) % 1000)
    }
}

/// Questions and orders, from number 0 on.
fn seed(count: usize) -> [String; 2] {
    let question = r#"{"id":"n","version":"1.0","context":{"title":"Deploy?","description":""},"actions":[{"id":"approve","label":"Approve","response_type":"simple"}]}"#;
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})", count - 1);
    [
        format!(
            "{numbers} INSERT INTO atp_questions (service, key, notification_id, question, context, recorded_at)
             SELECT 'default', 'n-' || i, 'n-' || i, '{question}', 'null', 0 FROM n"
        ),
        format!("{numbers} INSERT INTO orders SELECT 'n-' || i, 'waiting' FROM n"),
    ]
}

enum Database {
    Sqlite(PathBuf),
    Postgres { server: String, name: String },
}

impl Database {
    const TABLES: &str = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT NOT NULL);
        CREATE TABLE processed (id TEXT PRIMARY KEY, action TEXT NOT NULL)";

    async fn sqlite(nth: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("atp-bench-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let this = Self::Sqlite(folder.join("atp.sqlite"));
        SqliteStore::open(folder.join("atp.sqlite")).await.expect("a store");
        this.run(Self::TABLES).await;
        this
    }

    async fn postgres(nth: usize) -> Option<Self> {
        let url = std::env::var("DATABASE_URL")
            .unwrap_or_else(|_| "postgres://postgres:postgres@127.0.0.1:5432/postgres".to_owned());
        let mut connection = PgConnection::connect(&url).await.ok()?;
        let name = format!("atp_bench_{}_{nth}", std::process::id());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("a database");
        let this = Self::Postgres { server: url, name };
        PostgresStore::connect(&this.url()).await.expect("a store");
        this.run(Self::TABLES).await;
        Some(this)
    }

    /// Decisions that were made long ago, with their questions and audit, and as many that were
    /// processed by hand.
    async fn remember(&self, count: usize) {
        let (numbers, blob) = match self {
            Self::Sqlite(_) => (
                format!(
                    "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"
                ),
                "randomblob(32)",
            ),
            Self::Postgres { .. } => {
                (format!("generate_series(1, {count}) AS n(i)"), "sha256(i::text::bytea)")
            }
        };
        for statement in [
            format!(
                "INSERT INTO atp_questions (service, key, notification_id, question, context, recorded_at)
                 SELECT 'default', 'old-' || i, 'old-' || i, '{{}}', 'null', i FROM {numbers}"
            ),
            format!(
                "INSERT INTO atp_decisions (service, notification_id, fingerprint, action_id, token, leased_at,
                     lease_until, completed_at, status, content_type, body, scheme, secret_index, is_late)
                 SELECT 'default', 'old-' || i, {blob}, 'approve', {blob}, i, i, i, 200, 'application/json', {blob},
                     'timestamped', 0, false FROM {numbers}"
            ),
            format!(
                "INSERT INTO atp_deliveries (service, notification_id, fingerprint, verdict, first_seen, last_seen,
                     count, scheme, secret_index, status, duration_us)
                 SELECT 'default', 'old-' || i, {blob}, 'handled', i, i, 1, 'timestamped', 0, 200, 100 FROM {numbers}"
            ),
            format!("INSERT INTO processed SELECT 'old-' || i, 'approve' FROM {numbers}"),
        ] {
            self.run(&statement).await;
        }
    }

    /// Does what a server would do by itself in the next minutes, and so in the midst of a load.
    async fn rest(&self) {
        let statements: &[&str] = match self {
            Self::Sqlite(_) => &["PRAGMA wal_checkpoint(TRUNCATE)"],
            Self::Postgres { .. } => &["VACUUM ANALYZE", "CHECKPOINT"],
        };
        for statement in statements {
            self.run(statement).await;
        }
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

async fn measure(rounds: usize, time: Duration, stored: usize, only: Option<&str>) {
    println!("Ratios of one round, median (least to most) of {rounds} rounds of {} s.\n", time.as_secs());
    if only != Some("postgres") {
        measure_on([Database::sqlite(0).await, Database::sqlite(1).await], rounds, time, stored).await;
    }
    if only == Some("sqlite") {
        return;
    }
    match (Database::postgres(0).await, Database::postgres(1).await) {
        (Some(few), Some(many)) => measure_on([few, many], rounds, time, stored).await,
        _ => println!("no PostgreSQL was found, so nothing was measured on it"),
    }
}

async fn measure_on([few, many]: [Database; 2], rounds: usize, time: Duration, stored: usize) {
    let ids = Ids { next: AtomicUsize::new(0), seeded: 400_000 };
    for statement in seed(ids.seeded) {
        few.run(&statement).await;
        many.run(&statement).await;
    }
    few.remember(1000).await;
    many.remember(1000 + stored).await;
    few.rest().await;
    many.rest().await;
    beside_others(&few, rounds, time, &ids).await;
    beside_replays(&few, rounds, time, &ids).await;
    beside_many(&few, &many, rounds, time, &ids, stored).await;
    few.end().await;
    many.end().await;
}

/// Ours beside the two other ways.
async fn beside_others(database: &Database, rounds: usize, time: Duration, ids: &Ids) {
    let servers = ["bare", "by hand", "ours"].map(|kind| Server::start(kind, &database.url()));
    println!(
        "| {} | ours over bare, time | p99 | ours over by hand, time | p99 | ours | p99 | processor time: bare | by hand | ours |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        database.name()
    );
    for connections in [1, 32] {
        for server in &servers {
            load(&[server], connections, time / 4, ids, false).await;
        }
        let mut over = [const { (Vec::new(), Vec::new()) }; 2];
        let (mut rates, mut p99s) = (Vec::new(), Vec::new());
        let mut used = [const { Cpu::NONE }; 3];
        for _ in 0..rounds {
            let mut seen = Vec::new();
            for (server, used) in servers.iter().zip(&mut used) {
                seen.push(used.during(server, load(&[server], connections, time, ids, false)).await);
            }
            let ours = &seen[2];
            for (other, (ratios, tails)) in seen.iter().zip(&mut over) {
                ratios.push(other.rate / ours.rate);
                tails.push(ours.p99.as_secs_f64() / other.p99.as_secs_f64());
            }
            rates.push(ours.rate);
            p99s.push(ours.p99.as_secs_f64() * 1000.0);
        }
        let told =
            over.map(|(mut ratios, mut tails)| format!("{} | {}", spread(&mut ratios), spread(&mut tails)));
        println!(
            "| {connections} connections | {} | {:.0}/s | {:.2} ms | {} |",
            told.join(" | "),
            median(&mut rates),
            median(&mut p99s),
            used.map(|used| used.to_string()).join(" | ")
        );
    }
}

/// What was decided comes again; and a second process.
async fn beside_replays(database: &Database, rounds: usize, time: Duration, ids: &Ids) {
    let (name, ours) = (database.name(), Server::start("ours", &database.url()));
    let first = ids.next.fetch_add(1000, Ordering::Relaxed);
    let decided = Ids { next: AtomicUsize::new(first), seeded: first + 1000 };
    decide(&ours, &decided).await;
    let mut replays = Vec::new();
    for _ in 0..rounds {
        let decisions = load(&[&ours], 32, time, ids, false).await;
        let again = load(&[&ours], 32, time, &decided, true).await;
        replays.push(again.rate / decisions.rate);
    }
    println!("\n{name}: replays over decisions, 32 connections: {}", spread(&mut replays));
    if let Database::Postgres { .. } = database {
        let other = Server::start("ours", &database.url());
        let mut twos = Vec::new();
        for _ in 0..rounds {
            let one = load(&[&ours], 32, time, ids, false).await;
            let two = load(&[&ours, &other], 32, time, ids, false).await;
            twos.push(two.rate / one.rate);
        }
        println!("{name}: two processes over one, 32 connections: {}", spread(&mut twos));
    }
}

/// The rate where many more decisions are stored, over that where a thousand are.
async fn beside_many(
    few: &Database,
    many: &Database,
    rounds: usize,
    time: Duration,
    ids: &Ids,
    stored: usize,
) {
    for kind in ["by hand", "ours"] {
        let (at_few, at_many) = (Server::start(kind, &few.url()), Server::start(kind, &many.url()));
        for server in [&at_few, &at_many] {
            load(&[server], 32, time, ids, false).await;
        }
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let of_few = load(&[&at_few], 32, time, ids, false).await.rate;
            let of_many = load(&[&at_many], 32, time, ids, false).await.rate;
            ratios.push(of_many / of_few);
            rates.push(of_few);
        }
        println!(
            "{}, {kind}: with {stored} more stored {} of the rate of {:.0}/s",
            few.name(),
            spread(&mut ratios),
            median(&mut rates)
        );
    }
    println!();
}

/// Decides a thousand notifications, so that they can come again.
async fn decide(server: &Server, ids: &Ids) {
    let mut stream = TcpStream::connect(&server.address).await.expect("a server");
    for _ in 0..1000 {
        approve(&mut stream, ids.next()).await;
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
