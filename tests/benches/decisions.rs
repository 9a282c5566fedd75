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

mod measured;

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use actix_web::{FromRequest, Handler, HttpResponse, web};
use atp_actix::{atp_core::Notification, store::Routes};
use atp_tests::PATH;
use sqlx::{PgPool, SqlitePool, postgres::PgPoolOptions, sqlite::SqlitePoolOptions};

use self::measured::{
    database::{Database, seed, sqlite_options},
    load::{Cpu, Ids, Server, approve, load},
    ours::{self, run},
    ratio::{median, spread},
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
        ("ours", _) => ours::serve(url, Routes::new(), &()).await,
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
    remember(&few, 1000).await;
    remember(&many, 1000 + stored).await;
    few.rest().await;
    many.rest().await;
    beside_others(&few, rounds, time, &ids).await;
    beside_replays(&few, rounds, time, &ids).await;
    beside_many(&few, &many, rounds, time, &ids, stored).await;
    few.end().await;
    many.end().await;
}

/// Decisions that were made long ago, with their questions and audit, and as many that were
/// processed by hand.
async fn remember(database: &Database, count: usize) {
    let (numbers, blob) = match database {
        Database::Sqlite(_) => (
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"
            ),
            "randomblob(32)",
        ),
        Database::Postgres { .. } => {
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
        database.run(&statement).await;
    }
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
    let mut stream = server.connect().await;
    for _ in 0..1000 {
        approve(&mut stream, ids.next()).await;
    }
}
