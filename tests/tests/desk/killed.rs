//! A desk and a service may be killed at any time: each answer has one effect, every event comes out,
//! and the two records agree.
//!
//! Some kills unless `ATP_DESK_KILLS` says how many; `ATP_SEED` repeats a run.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    env,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_web::rt::{self, time::sleep};
use atp_actix::{
    atp_core::{Action, Notification, TextRules},
    store::{Outbox as _, Question, Store as _, Verdict},
};
use atp_tests::{
    PATH, SECRET,
    desk::{ADMIN_TOKEN, USER_TOKEN},
    socket::AT_ONCE,
};
use serde_json::{Value, json};

use super::{Routed, try_call, until};
use crate::support::{
    databases::{Database, PostgresDatabase, SqliteDatabase, SqliteFile},
    lines::Receiver,
    random::{Random, seed},
    server::Address,
    victim::Victim,
};

#[actix_web::test]
async fn a_desk_and_a_service_that_are_killed_agree_on_sqlite() {
    kill_both(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn a_desk_and_a_service_that_are_killed_agree_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        kill_both(database).await;
    }
}

async fn kill_both<D: Database<Store: Routed> + 'static>(database: D) {
    let kills: usize = env::var("ATP_DESK_KILLS").map_or(4, |text| text.parse().expect("a number of kills"));
    let (seed, started) = (seed(), Instant::now());
    let mut random = Random(seed);
    let receiver = Receiver::new(async |_| {}).await;
    let file = SqliteFile::new();
    let at = free_addresses(&mut random);
    let mut desk = Process::start(at[0], vec![format!("desk:{}", file.path().display())], &[]).await;
    let key = register(&desk.address, &format!("http://{}{PATH}", at[1])).await;
    let environment = [
        ("VICTIM_SINK", &*receiver.address),
        ("VICTIM_DESK", &format!("http://{}", at[0])),
        ("VICTIM_KEY", &key),
    ];
    let mut service = Process::start(at[1], vec![database.url()], &environment).await;
    let scene = Rc::new(Scene::new(database, Address(at[0]), random.next()));
    let [asking, answering] =
        [rt::spawn(Rc::clone(&scene).ask_all_the_time()), rt::spawn(Rc::clone(&scene).answer_all_the_time())];

    let mut killed = BTreeMap::<_, usize>::new();
    for _ in 0..kills {
        sleep(Duration::from_micros(random.next() % 250_000)).await;
        let whom = random.one(&["desk", "service", "both"]);
        *killed.entry(whom).or_default() += 1;
        if whom != "service" {
            desk.kill();
        }
        if whom != "desk" {
            service.kill();
        }
        // What is tried meanwhile finds nobody.
        sleep(Duration::from_micros(random.next() % 30_000)).await;
        desk.start_again().await;
        service.start_again().await;
    }
    scene.is_over.set(true);
    asking.await.expect("it asks");
    answering.await.expect("it answers");
    scene.settles().await;
    let counts = scene.agrees(&receiver, seed).await;
    println!(
        "{}: killed {killed:?} of {kills} in {} s, ATP_SEED={seed}: {counts}, {:?} events without and with repeats",
        scene.database.name(),
        started.elapsed().as_secs(),
        receiver.counts(),
    );
    // A question without an id is asked once more where the answer to it is lost.
    assert!(counts.asked_twice <= kills * AT_ONCE as usize, "ATP_SEED={seed}: {counts}");
}

/// Two addresses where nobody listens, and from where nobody connects: their ports are below those that
/// the system gives to whoever connects, so they are free again as soon as their process has died.
fn free_addresses(random: &mut Random) -> [SocketAddr; 2] {
    let mut listen = || loop {
        let port = 20_000 + u16::try_from(random.below(10_000)).expect("a port");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    };
    [listen(), listen()].map(|listener| listener.local_addr().expect("an address"))
}

/// A program that is killed and started again, on the same port.
struct Process {
    address: Address,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    running: Option<Victim>,
}

impl Process {
    async fn start(at: SocketAddr, arguments: Vec<String>, environment: &[(&str, &str)]) -> Self {
        let own = [("VICTIM_LISTEN".to_owned(), at.to_string())];
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = own.into_iter().chain(environment).collect();
        let mut process = Self { address: Address(at), arguments, environment, running: None };
        process.start_again().await;
        process
    }

    fn kill(&mut self) {
        self.running = None;
    }

    /// If it is dead.
    async fn start_again(&mut self) {
        if self.running.is_some() {
            return;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        // It waits for the program's first line, and others go on meanwhile.
        let started = tokio::task::spawn_blocking(|| Victim::spawn(command)).await;
        self.running = Some(started.expect("it starts"));
    }
}

/// Registers the service; its key.
async fn register(desk: &Address, callback: &str) -> String {
    let body = json!({ "name": "orders", "callback_url": callback, "webhook_secret": SECRET });
    let told = try_call(desk, "POST", "/api/v1/services", ADMIN_TOKEN, &body.to_string()).await;
    let (status, body) = told.expect("an answer");
    assert_eq!(status, 201, "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    body["api_key"].as_str().expect("a key").to_owned()
}

/// What is asked and answered, by whom nobody kills.
struct Scene<D: Database> {
    database: D,
    store: D::Store,
    desk: Address,
    random: RefCell<Random>,
    is_over: Cell<bool>,
    /// Ids, of which the service has each.
    named: RefCell<Vec<String>>,
    /// Keys of questions that the desk is to name.
    unnamed: RefCell<Vec<String>>,
    /// Ids of those that the service has taken back.
    withdrawn: RefCell<BTreeSet<String>>,
    /// Ids of those that somebody tried to answer.
    tried: RefCell<BTreeSet<String>>,
}

impl<D: Database<Store: Routed>> Scene<D> {
    fn new(database: D, desk: Address, seed: u64) -> Self {
        Self {
            store: database.store().routed(),
            database,
            desk,
            random: RefCell::new(Random(seed)),
            is_over: Cell::default(),
            named: RefCell::default(),
            unnamed: RefCell::default(),
            withdrawn: RefCell::default(),
            tried: RefCell::default(),
        }
    }

    fn below(&self, limit: usize) -> usize {
        self.random.borrow_mut().below(limit)
    }

    // What the service's own program does.

    async fn ask_all_the_time(self: Rc<Self>) {
        for nth in 0.. {
            if self.is_over.get() {
                return;
            }
            self.ask(nth).await;
            if self.below(6) == 0 {
                self.withdraw().await;
            }
            sleep(Duration::from_millis(5 + self.below(20) as u64)).await;
        }
    }

    async fn ask(&self, nth: usize) {
        let id = format!("n-{nth}");
        let asked = Notification::new(&*id, "Version 2.1.0 is ready.")
            .action(Action::simple("approve", "Approve"))
            .action(Action::text("reject", "Reject", TextRules::new()));
        let is_named = self.below(6) > 0;
        let question = if is_named { Question::new(asked.id(&*id)) } else { Question::new(asked).key(&*id) };
        while let Err(error) = self.store.record(&question).await {
            println!("{id} is recorded again: {error}");
            sleep(Duration::from_millis(20)).await;
        }
        if is_named { &self.named } else { &self.unnamed }.borrow_mut().push(id);
    }

    /// One of the latest.
    async fn withdraw(&self) {
        let id = {
            let named = self.named.borrow();
            let Some(back) = named.len().checked_sub(1 + self.below(5)) else { return };
            named[back].clone()
        };
        // It may be decided already.
        if self.store.invalidate("default", &id, "not needed").await.is_ok() {
            self.withdrawn.borrow_mut().insert(id);
        }
    }

    // What a human does.

    async fn answer_all_the_time(self: Rc<Self>) {
        while !self.is_over.get() {
            for id in self.waiting().await.unwrap_or_default() {
                if self.below(2) == 0 {
                    self.answer(&id).await;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the desk says in JSON, if it lives to say it.
    async fn get(&self, path: &str, token: &str) -> Option<Value> {
        let (status, body) = try_call(&self.desk, "GET", path, token, "").await?;
        assert_eq!(status, 200, "{path}: {body}");
        Some(serde_json::from_str(&body).expect("JSON"))
    }

    async fn list(&self, status: &str, offset: usize) -> Option<Vec<Value>> {
        let path = format!("/api/v1/client/notifications?status={status}&offset={offset}");
        Some(self.get(&path, USER_TOKEN).await?["notifications"].as_array().expect("a list").clone())
    }

    async fn waiting(&self) -> Option<Vec<String>> {
        let listed = self.list("waiting", 0).await?;
        Some(listed.iter().map(|listed| listed["id"].as_str().expect("an id").to_owned()).collect())
    }

    async fn answer(&self, id: &str) {
        self.tried.borrow_mut().insert(id.to_owned());
        let data = if action_of(id) == "approve" { Value::Null } else { json!("no") };
        let body = json!({ "notification_id": id, "action_id": action_of(id), "response_data": data });
        let told =
            try_call(&self.desk, "POST", "/api/v1/client/respond", USER_TOKEN, &body.to_string()).await;
        // It may be answered already, where the word of it was lost, or withdrawn.
        assert!(told.as_ref().is_none_or(|told| [200, 409].contains(&told.0)), "{id}: {told:?}");
    }

    // What came of it.

    /// Until nothing waits any more, here or there.
    async fn settles(&self) {
        until("everything is sent", async || {
            for id in self.waiting().await.expect("a desk") {
                self.answer(&id).await;
            }
            self.is_all_sent().await
        })
        .await;
        for id in self.listed().await.keys() {
            until(&format!("{id} is delivered"), async || {
                self.waiting().await.is_some_and(|waiting| waiting.is_empty())
                    && is_settled(&self.story(id).await)
            })
            .await;
        }
        until("all that was decided is told", async || self.is_all_sent().await).await;
    }

    /// No kill has an event parked, however often one meets it.
    async fn is_all_sent(&self) -> bool {
        let lags = self.store.lag().await.expect("a store");
        assert!(lags.iter().all(|lag| lag.parked == 0), "{lags:?}");
        lags.is_empty()
    }

    async fn story(&self, id: &str) -> Value {
        self.get(&format!("/desk/api/questions/{id}"), ADMIN_TOKEN).await.expect("a desk")
    }

    /// The ids of all that the desk was asked, with their titles.
    async fn listed(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        loop {
            let page = self.list("all", all.len()).await.expect("a desk");
            if page.is_empty() {
                return all;
            }
            for one in page {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                let before = all.insert(text(&one["id"]), text(&one["context"]["title"]));
                assert_eq!(before, None, "{one}: listed twice");
            }
        }
    }

    /// Compares the desk's record, the service's, and what both told.
    async fn agrees(&self, receiver: &Receiver, seed: u64) -> Counts {
        let at_the_desk = self.listed().await;
        let mut counts = Counts { asked: at_the_desk.len(), ..Counts::default() };
        let mut known: BTreeSet<String> = self.named.borrow().iter().cloned().collect();
        let unnamed = self.unnamed.take();
        for key in &unnamed {
            let bound = self.store.find_by_key("default", key).await.expect("a store").question;
            known.insert(bound.expect("a question").notification.id.expect("it is bound"));
            let copies = at_the_desk.values().filter(|title| *title == key).count();
            counts.asked_twice += copies - 1;
        }
        for id in &known {
            assert!(at_the_desk.contains_key(id), "ATP_SEED={seed}: {id} was not asked");
        }
        assert_eq!(counts.asked, known.len() + counts.asked_twice, "ATP_SEED={seed}: what the desk has");

        let mut told = BTreeMap::<String, Vec<String>>::new();
        for line in receiver.events() {
            told.entry(line.subject).or_default().push(line.kind);
        }
        let mut effects = BTreeMap::<String, usize>::new();
        for id in self.database.effects().await {
            *effects.entry(id).or_default() += 1;
        }
        for id in at_the_desk.keys() {
            let story = self.story(id).await;
            let what = format!("ATP_SEED={seed}: {id}: {story}");
            let found = self.store.find("default", id, None).await.expect("a store");
            let is_decided = found.decision.is_some();
            let is_withdrawn = self.withdrawn.borrow().contains(id);
            assert_eq!(story["deliveries"][0]["outcome"] == "taken", is_decided, "{what}");
            assert_eq!(happened(&story, "asked"), 1, "{what}");
            assert_eq!(happened(&story, "answered") == 1, story["status"] != "invalidated", "{what}");
            let is_approved = is_decided && action_of(id) == "approve";
            assert_eq!(effects.remove(id).unwrap_or_default(), usize::from(is_approved), "{what}");
            let expected: &[&str] = match (is_decided, is_approved) {
                (true, true) => &["atp.decision", "own"],
                (true, false) => &["atp.decision"],
                _ => &[],
            };
            assert_eq!(told.remove(id).unwrap_or_default(), expected, "{what}");
            let attempts = story["deliveries"][0]["attempts"].as_array().map_or(0, Vec::len);
            counts.attempts += attempts;
            if is_decided {
                counts.decided += 1;
                // `Store::invalidate`: an answer that came a moment before may still take effect.
                counts.overtaking += usize::from(is_withdrawn);
                assert!(self.tried.borrow().contains(id), "{what}");
                assert_eq!(story["action_id"], action_of(id), "{what}");
                let audit = self.store.deliveries("default", id).await.expect("a store");
                assert!(audit.iter().any(|row| row.verdict == Verdict::Handled), "{what}: {audit:?}");
            } else if story["status"] == "invalidated" {
                counts.withdrawn += 1;
                assert!(is_withdrawn, "{what}");
            } else {
                // The answer came after it was taken back; or to a copy of which the service knows nothing.
                counts.refused += 1;
                assert!(is_withdrawn || !known.contains(id), "{what}");
                assert_eq!(story["deliveries"][0]["outcome"], "refused", "{what}");
            }
        }
        assert!(effects.is_empty() && told.is_empty(), "ATP_SEED={seed}: nobody asked: {effects:?} {told:?}");
        counts
    }
}

/// What is answered to a question, however often it is tried.
fn action_of(id: &str) -> &'static str {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    if hasher.finish().is_multiple_of(4) { "reject" } else { "approve" }
}

/// Whether nothing more happens to a question at the desk.
fn is_settled(story: &Value) -> bool {
    story["status"] == "invalidated" || story["deliveries"][0]["outcome"].is_string()
}

/// How often this happened to a question.
fn happened(story: &Value, what: &str) -> usize {
    story["happened"].as_array().expect("a list").iter().filter(|happened| happened["what"] == what).count()
}

/// What a run came to.
#[derive(Default)]
struct Counts {
    /// Questions at the desk.
    asked: usize,
    /// Those of them that are copies of one without an id.
    asked_twice: usize,
    decided: usize,
    /// Those of them that came a moment before the question was taken back.
    overtaking: usize,
    withdrawn: usize,
    /// Answers that the service refused, since it had taken the question back or did not know it.
    refused: usize,
    /// Attempts to deliver.
    attempts: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { asked, asked_twice, decided, overtaking, withdrawn, refused, attempts } = self;
        write!(
            f,
            "{asked} questions ({asked_twice} of them copies), {decided} decided ({overtaking} of them while \
             they were taken back), {withdrawn} withdrawn, {refused} refused, {attempts} deliveries; 0 lost, 0 doubled"
        )
    }
}
