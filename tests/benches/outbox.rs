//! What it costs to send what leaves the service: the rate of a relay to a sink that takes at once,
//! on PostgreSQL beside a loop that is written by hand; the rate with a million events waiting over
//! that with a thousand; the memory of the relay meanwhile; and what an event adds to a decision.
//!
//! `cargo bench -p atp-tests --bench outbox [-- rounds [waiting [seconds [sqlite | postgres [relay]]]]]`;
//! with `relay` nothing is measured but how long decisions take beside one.
//!
//! The loop by hand locks a batch (`FOR UPDATE SKIP LOCKED`), hands it to the same sink in the same
//! process, deletes it and commits. It keeps no order, no time at which anything is due, no failure
//! and nothing that was sent, and a batch that fails in part is sent again as a whole. It is measured
//! with a flush for each batch, as it comes by itself, and without; with a lease, which it takes before
//! and deletes afterwards under its attempt, as one does who holds no transaction open while a sink is
//! called and counts what a dead process had begun; and beside NATS JetStream
//! (`NATS_URL`), to which both publish a batch at once and wait until all of it is acknowledged.
//!
//! Rounds are interleaved: one way after the other, then the next round; a ratio is of one round.
//! PostgreSQL is measured where one is found (`DATABASE_URL`, else the standard local port).

mod measured;
#[path = "measured/memory.rs"]
mod memory;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, message::PublishMessage};
use atp_actix::{
    NatsSink, Relay, RunningRelay, SendError, Sink,
    atp_core::{Fingerprint, Scheme},
    limits::DEFAULT_CONCURRENCY,
    store::{
        Arrival, Claim, Claimed, Completion, Event, Outbox, Outgoing, PostgresStore, Routes, SqliteStore,
        Store,
    },
};
use chrono::Utc;
use futures_util::future::join_all;
use serde_json::json;
use sqlx::{
    Connection as _, PgConnection, PgPool, Row as _, SqliteConnection,
    postgres::{PgPoolOptions, PgRow},
};
use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
    time::{sleep, sleep_until},
};
use tracing::{Metadata, Subscriber, span, subscriber::Interest};

use self::measured::{
    database::{Database, seed, sqlite_options},
    load::{Cpu, Ids, Server, approve, load},
    ours::{self, Beside},
    ratio::{median, spread},
};
use self::memory::memory;

/// How many events are sent in a round beside a loop by hand: enough that what is deleted is felt.
const A_RUN: usize = 20_000;

/// How many events are sent in a round where the number of those that wait is measured.
const A_ROUND: usize = 4000;

/// How many decisions a second a webhook is sent beside a relay: a part of what it can.
const A_SECOND: u32 = 200;

/// How many wait at least, beside those of the round.
const FEW: usize = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().map(String::as_str) == Some("serve") {
        return actix_web::rt::System::new().block_on(serve(&arguments[1], &arguments[2]));
    }
    let number =
        |nth: usize, default: usize| arguments.get(nth).and_then(|text| text.parse().ok()).unwrap_or(default);
    let plan = Plan {
        rounds: number(0, 5),
        waiting: number(1, 1_000_000),
        time: Duration::from_secs(number(2, 2) as u64),
        is_relay_alone: arguments.get(4).is_some_and(|part| part == "relay"),
    };
    let only = arguments.get(3).map(String::as_str);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&plan, only));
}

/// Who is told of decisions by a relay beside the webhook.
#[derive(Clone, Copy)]
enum Receiver {
    Takes,
    Hangs,
    Fails,
    IsAway,
}

impl Sink for Receiver {
    async fn send(&self, _: &Outgoing) -> Result<(), SendError> {
        match self {
            Self::Takes => Ok(()),
            Self::Hangs => pending().await,
            Self::Fails => Err(SendError::again("it fails")),
            Self::IsAway => Err(SendError::away("it is away")),
        }
    }
}

/// A relay to these, if there are any.
struct Receivers<'a>(&'a [(&'a str, Receiver)]);

impl Beside for Receivers<'_> {
    type Running = Option<RunningRelay>;

    fn start(&self, store: &impl Outbox) -> Self::Running {
        let relay = Relay::new(store.clone());
        let relay = self.0.iter().fold(relay, |relay, (name, receiver)| relay.sink(*name, *receiver));
        (!self.0.is_empty()).then(|| relay.start())
    }
}

/// Serves decisions of which nobody is told, or sinks with a relay that sends to them or without.
async fn serve(kind: &str, url: &str) {
    let in_trouble = [("hangs", Receiver::Hangs), ("fails", Receiver::Fails), ("is away", Receiver::IsAway)];
    let (sinks, is_sent): (&[_], bool) = match kind {
        "untold" => (&[], false),
        "told" => (&[("bus", Receiver::Takes)], false),
        "sent" => (&[("bus", Receiver::Takes)], true),
        "told to sinks in trouble" => (&in_trouble, false),
        _ => (&in_trouble, true),
    };
    let routes = sinks.iter().fold(Routes::new(), |routes, (name, _)| routes.events(*name));
    ours::serve(url, routes, &Receivers(if is_sent { sinks } else { &[] })).await;
}

struct Plan {
    rounds: usize,
    /// How many events wait where many do.
    waiting: usize,
    /// How long a load of decisions takes.
    time: Duration,
    is_relay_alone: bool,
}

async fn measure(plan: &Plan, only: Option<&str>) {
    let Plan { rounds, waiting, .. } = plan;
    println!(
        "Medians (least to most) of {rounds} rounds of {A_RUN} events, or {A_ROUND} where {waiting} wait. Beside a relay: \
         percentiles of all rounds together.\n"
    );
    if only != Some("postgres") {
        let [few, many] = [Database::sqlite(0).await, Database::sqlite(1).await];
        let stores = [open_sqlite(&few).await, open_sqlite(&many).await];
        measure_on([few, many], stores, plan).await;
    }
    if only == Some("sqlite") {
        return;
    }
    let (Some(few), Some(many)) = (Database::postgres(0).await, Database::postgres(1).await) else {
        return println!("no PostgreSQL was found, so nothing was measured on it");
    };
    let stores = [open_postgres(&few).await, open_postgres(&many).await];
    if !plan.is_relay_alone {
        beside_by_hand(&few, &stores[0], plan).await;
        beside_nats_by_hand(&few, &stores[0], plan).await;
    }
    measure_on([few, many], stores, plan).await;
}

async fn open_sqlite(database: &Database) -> SqliteStore {
    let url = database.url();
    let file = url.strip_prefix("sqlite:").expect("a file");
    SqliteStore::open(file).await.expect("a store").routes(Routes::new().events("bus"))
}

async fn open_postgres(database: &Database) -> PostgresStore {
    PostgresStore::connect(&database.url()).await.expect("a store").routes(Routes::new().events("bus"))
}

async fn measure_on<S: Outbox>([few, many]: [Database; 2], stores: [S; 2], plan: &Plan) {
    if !plan.is_relay_alone {
        beside_many([&few, &many], &stores, plan).await;
    }
    drop(stores);
    many.end().await;
    let ids = Ids { next: AtomicUsize::new(0), seeded: 600_000 };
    for statement in seed(ids.seeded) {
        few.run(&statement).await;
    }
    if !plan.is_relay_alone {
        beside_untold(&few, &ids, plan).await;
    }
    beside_a_relay(&few, &ids, plan).await;
    few.end().await;
}

// What is sent.

/// Takes what it is given at once, and tells when that is enough.
#[derive(Default)]
struct Taker {
    taken: AtomicUsize,
    enough: AtomicUsize,
    is_enough: Notify,
}

impl Taker {
    fn of(enough: usize) -> Arc<Self> {
        Arc::new(Self { enough: enough.into(), ..Self::default() })
    }

    fn take(&self, data: &str) {
        std::hint::black_box(data);
        if self.taken.fetch_add(1, Ordering::Relaxed) + 1 == self.enough.load(Ordering::Relaxed) {
            self.is_enough.notify_one();
        }
    }
}

/// Takes nothing but what it is let.
struct Gate {
    taker: Arc<Taker>,
    open: Semaphore,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { taker: Taker::of(usize::MAX), open: Semaphore::new(0) })
    }

    /// Events a second of so many.
    async fn let_through(&self, count: usize) -> f64 {
        self.taker.enough.store(self.taker.taken.load(Ordering::Relaxed) + count, Ordering::Relaxed);
        let started = Instant::now();
        self.open.add_permits(count);
        self.taker.is_enough.notified().await;
        count as f64 / started.elapsed().as_secs_f64()
    }
}

struct Gated(Arc<Gate>);

impl Sink for Gated {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let open = self.0.open.acquire().await;
        open.map_err(|error| SendError::gone(error.to_string()))?.forget();
        self.0.taker.take(&outgoing.event.data);
        Ok(())
    }
}

/// A stream of JetStream.
struct Published {
    taker: Arc<Taker>,
    nats: NatsSink,
}

impl Sink for Published {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        self.nats.send(outgoing).await?;
        self.taker.take(&outgoing.event.data);
        Ok(())
    }
}

/// A relay to a gate. What it does when it starts, it counts what waits, is over.
async fn gated(store: &impl Outbox, gate: &Arc<Gate>) -> RunningRelay {
    let relay = Relay::new(store.clone()).sink("bus", Gated(Arc::clone(gate)));
    let relay = relay.send_within(Duration::from_mins(10)).start();
    sleep(Duration::from_secs(2)).await;
    relay
}

/// Events a second of a relay that is started for so many.
async fn relayed_to(store: &impl Outbox, sink: impl Sink, taker: &Taker, count: usize) -> f64 {
    let started = Instant::now();
    let relay = Relay::new(store.clone()).sink("bus", sink).start();
    taker.is_enough.notified().await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    relay.stop().await;
    rate
}

/// Events a second of the loop by hand, which hands each batch on by `publish`.
async fn by_hand(pool: &PgPool, count: usize, publish: impl AsyncFn(&[PgRow])) -> f64 {
    let started = Instant::now();
    let mut taken = 0;
    while taken < count {
        let mut tx = pool.begin().await.expect("a transaction");
        let events = sqlx::query(
            "SELECT seq, service, id, kind, subject, time, data, traceparent FROM by_hand
             ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED",
        );
        let events = events.bind(i64::from(DEFAULT_CONCURRENCY)).fetch_all(&mut *tx).await.expect("events");
        publish(&events).await;
        taken += events.len();
        let seqs: Vec<i64> = events.iter().map(|event| event.get("seq")).collect();
        let delete = sqlx::query("DELETE FROM by_hand WHERE seq = ANY($1)").bind(seqs);
        delete.execute(&mut *tx).await.expect("deleted");
        tx.commit().await.expect("a commit");
        // As a loop does that looks whether it is to stop.
        yield_now().await;
    }
    taken as f64 / started.elapsed().as_secs_f64()
}

/// Events a second of a loop by hand that leases before it sends, with no transaction open meanwhile.
async fn by_hand_with_leases(pool: &PgPool, count: usize, publish: impl Fn(&PgRow)) -> f64 {
    let started = Instant::now();
    let mut taken = 0;
    while taken < count {
        let events = sqlx::query(
            "UPDATE by_hand AS h SET leased_until = now() + interval '30 s', attempt = attempt + 1 FROM (
                 SELECT seq FROM by_hand WHERE leased_until <= now() ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED) AS due
             WHERE h.seq = due.seq
             RETURNING h.seq, service, id, kind, subject, time, data, traceparent, attempt",
        );
        let events = events.bind(i64::from(DEFAULT_CONCURRENCY)).fetch_all(pool).await.expect("events");
        events.iter().for_each(&publish);
        taken += events.len();
        let delete = "DELETE FROM by_hand AS h USING unnest($1, $2) AS sent (seq, attempt)
            WHERE h.seq = sent.seq AND h.attempt = sent.attempt";
        let seqs: Vec<i64> = events.iter().map(|event| event.get("seq")).collect();
        let attempts: Vec<i64> = events.iter().map(|event| event.get("attempt")).collect();
        sqlx::query(delete).bind(seqs).bind(attempts).execute(pool).await.expect("deleted");
        yield_now().await;
    }
    taken as f64 / started.elapsed().as_secs_f64()
}

/// Fills tables with events that are due, each with a number of its own.
struct Filler<'a> {
    database: &'a Database,
    /// How many events are about one subject, one behind the other.
    a_subject: usize,
    filled: usize,
}

impl<'a> Filler<'a> {
    fn new(database: &'a Database, a_subject: usize) -> Self {
        Self { database, a_subject, filled: 0 }
    }

    /// The next events, as columns.
    fn next(&mut self, count: usize) -> String {
        let (first, last) = (self.filled + 1, self.filled + count);
        self.filled = last;
        let numbers = match self.database {
            Database::Sqlite(_) => format!(
                "(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
                 SELECT i FROM n)"
            ),
            Database::Postgres { .. } => format!("generate_series({first}, {last}) AS n(i)"),
        };
        let data = json!({
            "event_type": "user_decision", "source": "atp", "timestamp": "2026-01-02T03:05:07.123456Z",
            "user_id": "user_123", "request_id": "r-1", "decision": "approve", "additional_data": null,
            "metadata": { "notification_id": "n-1", "original_timestamp": "2026-01-02T03:05:07Z" },
        });
        let a_subject = self.a_subject;
        format!(
            "SELECT 'default', 'of {a_subject}: ' || i, 'atp.decision', 'n-' || (i / {a_subject}),
                 1700000000000000 + i, '{data}' FROM {numbers} ORDER BY i"
        )
    }

    /// Into the outbox.
    async fn waiting(&mut self, count: usize) {
        let events = self.next(count);
        let now = Utc::now().timestamp_micros();
        let fill = format!(
            "INSERT INTO atp_events (service, id, kind, subject, time, data, written_at)
             SELECT *, {now} FROM ({events}) AS e;
             INSERT INTO atp_sends (sink, seq, service, subject, due_at, leased_until, attempt, failures)
             SELECT 'bus', seq, service, subject, time, 0, 0, 0 FROM atp_events
             WHERE seq > (SELECT coalesce(max(seq), 0) FROM atp_sends)"
        );
        self.database.run(&fill).await;
    }

    /// Into the table of the loop by hand.
    async fn waiting_by_hand(&mut self, count: usize) {
        let events = self.next(count);
        let fill = format!("INSERT INTO by_hand (service, id, kind, subject, time, data) {events}");
        self.database.run(&fill).await;
    }
}

/// A relay beside the loop by hand.
async fn beside_by_hand(database: &Database, store: &PostgresStore, plan: &Plan) {
    let table =
        "CREATE TABLE by_hand (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, service TEXT NOT NULL,
        id TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT, time BIGINT NOT NULL, data TEXT NOT NULL,
        traceparent TEXT, leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity', attempt BIGINT NOT NULL DEFAULT 0,
        UNIQUE (service, id))";
    database.run(table).await;
    let pool = |is_flushed: &'static str| {
        let options: sqlx::postgres::PgConnectOptions = database.url().parse().expect("a URL");
        let options = options.options([("synchronous_commit", is_flushed)]);
        PgPoolOptions::new().max_connections(1).connect_lazy_with(options)
    };
    let (flushed, unflushed) = (pool("on"), pool("off"));
    for a_subject in [1, 2] {
        let mut filler = Filler::new(database, a_subject);
        filler.waiting(FEW).await;
        filler.waiting_by_hand(FEW).await;
        database.rest().await;
        // It runs already, as it does in a service.
        let gate = Gate::new();
        let relay = gated(store, &gate).await;
        let (mut over, mut over_unflushed, mut over_leased, mut rates) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            filler.waiting(A_RUN).await;
            filler.waiting_by_hand(3 * A_RUN).await;
            database.rest().await;
            let ours = gate.let_through(A_RUN).await;
            let taker = Taker::of(usize::MAX);
            let take = async |events: &[PgRow]| events.iter().for_each(|event| taker.take(event.get("data")));
            over.push(ours / by_hand(&flushed, A_RUN, take).await);
            over_unflushed.push(ours / by_hand(&unflushed, A_RUN, take).await);
            let take = |event: &PgRow| taker.take(event.get("data"));
            over_leased.push(ours / by_hand_with_leases(&unflushed, A_RUN, take).await);
            rates.push(ours);
        }
        println!(
            "PostgreSQL, {a_subject} a subject: {:.0} events/s, {} of the loop by hand, {} of one that does not flush, {} of \
             one that leases and does not flush",
            median(&mut rates),
            spread(&mut over),
            spread(&mut over_unflushed),
            spread(&mut over_leased)
        );
        gate.open.close();
        relay.stop().await;
        let began = Instant::now();
        let tidied = store.tidy(Duration::ZERO).await.expect("an answer");
        println!(
            "PostgreSQL, {a_subject} a subject: {:.0} sent events/s are deleted",
            tidied as f64 / began.elapsed().as_secs_f64()
        );
        // What is left of these is not of the next.
        database.run("DELETE FROM by_hand; DELETE FROM atp_sends; DELETE FROM atp_events").await;
    }
}

/// A relay beside the loop by hand, both to JetStream.
async fn beside_nats_by_hand(database: &Database, store: &PostgresStore, plan: &Plan) {
    let Ok(url) = std::env::var("NATS_URL") else {
        return println!("NATS_URL is not set, so nothing was measured with NATS");
    };
    let client = async_nats::connect(url).await.expect("a server");
    let jetstream = async_nats::jetstream::new(client.clone());
    let name = format!("atp-bench-{}", std::process::id());
    let subjects = vec![format!("{name}.>")];
    let stream = jetstream::stream::Config { name: name.clone(), subjects, ..Default::default() };
    jetstream.create_stream(stream).await.expect("a stream");
    let subject = format!("{name}.events");
    let publish = async |events: &[PgRow]| {
        let sent = events.iter().map(async |event| {
            let message = PublishMessage::build().payload(event.get::<String, _>("data").into());
            let message = message.message_id(format!("by hand {}", event.get::<i64, _>("seq")));
            jetstream.send_publish(subject.clone(), message).await.expect("sent").await.expect("acknowledged")
        });
        join_all(sent).await;
    };
    let pool = PgPoolOptions::new().max_connections(1).connect(&database.url()).await.expect("a server");
    let mut filler = Filler::new(database, 1);
    filler.waiting(FEW).await;
    filler.waiting_by_hand(FEW).await;
    database.rest().await;
    let (mut over, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        filler.waiting(A_RUN).await;
        filler.waiting_by_hand(A_RUN).await;
        let taker = Taker::of(A_RUN);
        let nats = NatsSink::new(client.clone(), &subject).expect("a subject");
        let sink = Published { taker: Arc::clone(&taker), nats };
        let ours = relayed_to(store, sink, &taker, A_RUN).await;
        over.push(ours / by_hand(&pool, A_RUN, publish).await);
        rates.push(ours);
    }
    println!(
        "PostgreSQL to JetStream: {:.0} events/s, {} of the loop by hand",
        median(&mut rates),
        spread(&mut over)
    );
    jetstream.delete_stream(&name).await.expect("an end");
    database.run("DELETE FROM by_hand; DELETE FROM atp_sends; DELETE FROM atp_events").await;
}

/// With many waiting, over with few.
async fn beside_many<S: Outbox>([few, many]: [&Database; 2], stores: &[S; 2], plan: &Plan) {
    for a_subject in [1, 2] {
        let mut fillers = [Filler::new(few, a_subject), Filler::new(many, a_subject)];
        fillers[0].waiting(FEW).await;
        fillers[1].waiting(plan.waiting).await;
        few.rest().await;
        many.rest().await;
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        let gates = [Gate::new(), Gate::new()];
        let relays = [gated(&stores[0], &gates[0]).await, gated(&stores[1], &gates[1]).await];
        let before = memory(std::process::id());
        let mut most = before;
        for _ in 0..plan.rounds {
            let mut round = Vec::new();
            for (filler, gate) in fillers.iter_mut().zip(&gates) {
                filler.waiting(A_ROUND).await;
                let (rate, used) = watched(gate.let_through(A_ROUND)).await;
                round.push(rate);
                most = most.max(used);
            }
            ratios.push(round[1] / round[0]);
            rates.push(round[0]);
        }
        println!(
            "{}, {a_subject} a subject: {:.0} events/s with {FEW} waiting, with {} {} of it; the memory of both relays \
             grew by {} KiB",
            few.name(),
            median(&mut rates),
            plan.waiting,
            spread(&mut ratios),
            most - before
        );
        for (relay, gate) in relays.into_iter().zip(&gates) {
            gate.open.close();
            relay.stop().await;
        }
        for database in [few, many] {
            database.run("DELETE FROM atp_sends; DELETE FROM atp_events").await;
        }
    }
}

/// With the most memory that was used meanwhile, in KiB.
async fn watched<T>(doing: impl Future<Output = T>) -> (T, u64) {
    let mut most = 0;
    let mut doing = std::pin::pin!(doing);
    loop {
        tokio::select! {
            biased;
            done = &mut doing => return (done, most.max(memory(std::process::id()))),
            () = sleep(Duration::from_millis(20)) => most = most.max(memory(std::process::id())),
        }
    }
}

// What an event adds to a decision.

async fn beside_untold(database: &Database, ids: &Ids, plan: &Plan) {
    database.rest().await;
    if let Database::Postgres { .. } = database {
        // What was sent before takes room that is not of these.
        for table in ["atp_events", "atp_sends"] {
            database.run(&format!("VACUUM FULL {table}")).await;
        }
    }
    let servers = ["untold", "told"].map(|kind| Server::start(kind, &database.url()));
    for connections in [1, 32] {
        for server in &servers {
            load(&[server], connections, plan.time / 4, ids, false).await;
        }
        // PostgreSQL keeps a plan that it made for a table that it had counted as empty.
        database.rest().await;
        let (mut ratios, mut tails, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        let mut used = [const { Cpu::NONE }; 2];
        for _ in 0..plan.rounds {
            let mut round = Vec::new();
            for (server, used) in servers.iter().zip(&mut used) {
                let seen = used.during(server, load(&[server], connections, plan.time, ids, false)).await;
                round.push(seen);
            }
            ratios.push(round[0].rate / round[1].rate);
            tails.push(round[1].p99.as_secs_f64() / round[0].p99.as_secs_f64());
            rates.push(round[0].rate);
        }
        println!(
            "{}, {connections} connections: a decision that is told takes {} of the time of one that is not ({:.0}/s), \
             at the 99th percentile {}; processor time {} and {}",
            database.name(),
            spread(&mut ratios),
            median(&mut rates),
            spread(&mut tails),
            used[1],
            used[0]
        );
    }
    drop(servers);
    database.rest().await;
    println!(
        "{}: an event takes {:.0} bytes of the tables and their indexes",
        database.name(),
        bytes(database).await
    );
    let [untold, told] = match database {
        Database::Sqlite(_) => statements(&open_sqlite(database).await).await,
        Database::Postgres { .. } => statements(&open_postgres(database).await).await,
    };
    println!(
        "{}: {told} statements for a decision that is told, {untold} for one that is not\n",
        database.name()
    );
}

/// The webhook with a relay in its process over that without, at a steady rate.
async fn beside_a_relay(database: &Database, ids: &Ids, plan: &Plan) {
    for (sinks, without, with) in [
        ("a sink that takes at once", "told", "sent"),
        ("three that hang, fail and are away", "told to sinks in trouble", "sent to sinks in trouble"),
    ] {
        database.run("DELETE FROM atp_sends; DELETE FROM atp_events").await;
        database.rest().await;
        // Without it twice: what of a ratio is of this machine shows by these two.
        let kinds = [without, with, without];
        let mut seen = [const { Vec::new() }; 3];
        for round in 0..plan.rounds {
            // Each comes after each other as often.
            let order = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1], [0, 2, 1], [1, 2, 0]];
            for nth in order[round % order.len()] {
                // One at a time, or the relay of one sends what the other is told.
                let server = Server::start(kinds[nth], &database.url());
                load(&[&server], 1, plan.time / 4, ids, false).await;
                seen[nth].extend(steady(&server, plan.time * 5, ids).await);
                drop(server);
                database.run("DELETE FROM atp_sends; DELETE FROM atp_events").await;
            }
        }
        let percentiles = seen.map(|mut latencies| {
            latencies.sort_unstable();
            [50, 99].map(|percent| latencies[latencies.len() * percent / 100].as_secs_f64())
        });
        let [without, with, again] = percentiles;
        println!(
            "{}, {A_SECOND} decisions/s, a relay to {sinks}: {:.2} of the time without it, at the 99th percentile {:.2} \
             (of {:.1} ms); without it once more {:.2} and {:.2}",
            database.name(),
            with[0] / without[0],
            with[1] / without[1],
            without[1] * 1000.0,
            again[0] / without[0],
            again[1] / without[1],
        );
    }
    println!();
}

/// Approves so many a second, however long the answers take: one that comes late to its turn counts
/// from when that was. How long each took.
async fn steady(server: &Server, time: Duration, ids: &Ids) -> Vec<Duration> {
    /// Enough that one which is slow holds up no other.
    const CONNECTIONS: u32 = 16;
    let started = Instant::now();
    let workers = (0..CONNECTIONS).map(async |nth| {
        let mut stream = server.connect().await;
        let mut latencies = Vec::new();
        for turn in 0.. {
            let due = started + Duration::from_secs(1) * (turn * CONNECTIONS + nth) / A_SECOND;
            if due > started + time {
                break;
            }
            sleep_until(due.into()).await;
            approve(&mut stream, ids.next()).await;
            latencies.push(due.elapsed());
        }
        latencies
    });
    join_all(workers).await.into_iter().flatten().collect()
}

/// What an event takes in the tables, with its row for one sink.
async fn bytes(database: &Database) -> f64 {
    let url = database.url();
    let (events, bytes): (i64, i64) = if let Some(file) = url.strip_prefix("sqlite:") {
        let mut connection =
            SqliteConnection::connect_with(&sqlite_options(file.as_ref())).await.expect("a file");
        let sizes = "SELECT (SELECT count(*) FROM atp_events), sum(pgsize) FROM dbstat WHERE name IN (
            SELECT name FROM sqlite_schema WHERE tbl_name IN ('atp_events', 'atp_sends'))";
        sqlx::query_as(sizes).fetch_one(&mut connection).await.expect("sizes")
    } else {
        let mut connection = PgConnection::connect(&url).await.expect("a server");
        let sizes = "SELECT (SELECT count(*) FROM atp_events),
            pg_total_relation_size('atp_events') + pg_total_relation_size('atp_sends')";
        sqlx::query_as(sizes).fetch_one(&mut connection).await.expect("sizes")
    };
    bytes as f64 / events.max(1) as f64
}

/// How many statements a decision takes in the transaction of its claim, without an event and with
/// one.
async fn statements<S: Store>(store: &S) -> [usize; 2] {
    Counting::start();
    let mut counts = [0; 2];
    // The first of each opens a connection.
    for nth in 0..4 {
        let id = format!("counted-{nth}");
        let arrival = Arrival::new(Scheme::Raw, 0);
        let claim = Claim::new("default", &*id, Fingerprint::new("approve", None), "approve", arrival, "{}");
        let event = Event::new(Event::DECISION, json!({})).expect("JSON").id(&*id).service("default");
        let events = if nth % 2 == 1 { vec![event.subject(&*id).to("bus")] } else { Vec::new() };
        let claim = claim.events(events);
        Counting::take();
        let Claimed::Started(open) = store.claim_in_transaction(&claim).await.expect("an answer") else {
            panic!("{id} is somebody's")
        };
        store.complete(&claim, &Completion::expected(&claim), Some(open)).await.expect("completed");
        counts[nth % 2] = Counting::take();
    }
    counts
}

/// Counts what sqlx tells of statements.
struct Counting;

static COUNTED: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn start() {
        static IS_STARTED: AtomicBool = AtomicBool::new(false);
        if !IS_STARTED.swap(true, Ordering::Relaxed) {
            tracing::subscriber::set_global_default(Self).expect("no other");
        }
    }

    fn take() -> usize {
        COUNTED.swap(0, Ordering::Relaxed)
    }
}

impl Subscriber for Counting {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        COUNTED.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
