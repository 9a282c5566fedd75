//! Every example does what it says, over a real socket.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use atp_actix::{
    Scheme,
    test::{Sender, SignedAnswer},
};
use atp_examples::client::{self, Answer};
use serde_json::{Value, json};

const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
const PREVIOUS: &str = "whsec_fedcba9876543210fedcba9876543210";

/// An example that runs until this is dropped.
struct Service {
    process: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Service {
    /// Starts a program on a free port, and waits until it says which.
    fn start(program: &str, configure: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(program);
        command
            .env("PORT", "0")
            .env("ATP_WEBHOOK_SECRET", SECRET)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = configure(&mut command).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address =
            line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{program}: {line:?}"));
        let address = address.trim_end().parse().unwrap();
        Self { process, output, address }
    }

    fn post(&self, path: &str, delivery: &SignedAnswer) -> Answer {
        client::post(self.address, path, delivery).unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        client::get(self.address, path).unwrap()
    }

    #[track_caller]
    fn assert(&self, path: &str, delivery: &SignedAnswer, status: u16, body: &str) {
        let answer = self.post(path, delivery);
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }

    #[track_caller]
    fn assert_refuses_a_forgery(&self, path: &str) {
        let forged = Sender::new(SECRET).answer("n-1", "approve", ()).forged();
        self.assert(path, &forged, 401, r#"{"error":"Invalid signature"}"#);
    }

    /// Ends the program and returns its log.
    fn log(mut self) -> String {
        self.process.kill().unwrap();
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder that is empty, and stays for who wants to look.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn hello() {
    let service = Service::start(env!("CARGO_BIN_EXE_hello"), |command| command);
    let approval = Sender::new(SECRET).answer("n-1", "approve", ());
    service.assert("/atp/webhook", &approval, 200, "n-1 is approved\n");
    service.assert_refuses_a_forgery("/atp/webhook");
}

#[test]
fn hello_says_that_the_secret_is_missing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
    let output = command.env_remove("ATP_WEBHOOK_SECRET").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        message.starts_with("Error: the environment variable ATP_WEBHOOK_SECRET is not set"),
        "{message}"
    );
}

#[test]
fn middleware_only() {
    let service = Service::start(env!("CARGO_BIN_EXE_middleware_only"), |command| command);
    let sender = Sender::new(SECRET);
    service.assert("/answers", &sender.answer("n-1", "approve", ()), 200, "n-1 is approved\n");
    service.assert("/answers", &sender.answer("n-1", "reject", "no"), 200, "n-1 is rejected: no\n");
    let other = sender.answer("n-1", "delay", ()).body(r#"{"notification_id":"n-1","action_id":"delay"}"#);
    service.assert("/answers", &other, 400, "no `delay` here (45 bytes, timestamped)\n");
    assert_eq!(service.get("/answers").body, "An ATP server posts signed answers here.\n");
    let unsigned = sender.answer("n-1", "approve", ()).without_header("x-atp-signature");
    assert_eq!(service.post("/answers", &unsigned).status, 404);
    service.assert_refuses_a_forgery("/answers");
}

#[test]
fn own_router() {
    let service = Service::start(env!("CARGO_BIN_EXE_own_router"), |command| command);
    let sender = Sender::new(SECRET);
    for path in ["/atp/webhook", "/atp/parts"] {
        for scheme in Scheme::ALL {
            let approval = sender.answer("n-1", "approve", ()).scheme(scheme);
            service.assert(path, &approval, 200, "n-1 is approved\n");
        }
        let long = "x".repeat(9_999);
        let rejection = sender.answer("n-1", "reject", &long);
        service.assert(path, &rejection, 200, &format!("n-1 is rejected: {long}\n"));
        service.assert_refuses_a_forgery(path);
        for (delivery, status) in [
            (sender.answer("n-1", "approve", ()).stale(), 401),
            (sender.answer("n-1", "approve", ()).without_header("x-atp-signature"), 401),
            (sender.answer("n-1", "approve", ()).body("approve"), 400),
            (sender.answer("n-1", "reject", 7), 400),
            (sender.answer("n-1", "delay", ()), 500),
            (sender.answer("n-1", "reject", "x".repeat(70_000)), 413),
        ] {
            assert_eq!(service.post(path, &delivery).status, status, "{delivery:?}");
        }
    }
    assert_eq!(service.get("/atp/webhook").status, 405);
}

#[test]
fn rotate_secret() {
    let start = |until: &str| {
        Service::start(env!("CARGO_BIN_EXE_rotate_secret"), |command| {
            command.env("ATP_PREVIOUS_SECRET", PREVIOUS).env("ATP_PREVIOUS_UNTIL", until)
        })
    };
    let approval = |secret| Sender::new(secret).answer("n-1", "approve", ());
    let service = start("2999-01-01T00:00:00Z");
    service.assert("/atp/webhook", &approval(SECRET), 200, "signed with the secret\n");
    service.assert("/atp/webhook", &approval(PREVIOUS), 200, "signed with the previous secret\n");
    assert_eq!(service.post("/atp/webhook", &approval(SECRET).scheme(Scheme::Raw)).status, 401);
    service.assert_refuses_a_forgery("/atp/webhook");

    let service = start("2020-01-01T00:00:00Z");
    assert_eq!(service.post("/atp/webhook", &approval(SECRET)).status, 200);
    assert_eq!(service.post("/atp/webhook", &approval(PREVIOUS)).status, 401);
}

#[test]
fn guide() {
    let folder = folder("guide");
    let events = folder.join("events.jsonl");
    let service = Service::start(env!("CARGO_BIN_EXE_guide"), |command| command.env("EVENTS", &events));
    let sender = Sender::new(SECRET);
    let contact = json!({ "name": "Ada", "email": "ada@example.org", "reason": "the report" });
    let file = json!({ "name": "../a.txt", "data": "aGVsbG8=" });
    for (delivery, body) in [
        (sender.answer("n-1", "comment", "señal"), "a comment of 5 characters\n"),
        (sender.answer("n-1", "contact", contact), "Ada <ada@example.org> writes: the report\n"),
        (sender.answer("n-1", "attach", file), "\"../a.txt\": 5 bytes\n"),
        (sender.answer("n-1", "approve", ()), "n-1 is approved\n"),
        (sender.answer("n-1", "reject", json!({ "reason": "no" })), "n-1 is rejected: no\n"),
        (sender.answer("n-1", "reject", json!({})), "n-1 is rejected: no reason given\n"),
    ] {
        service.assert("/atp/webhook", &delivery, 200, body);
    }
    let lines = fs::read_to_string(&events).unwrap();
    let told: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 5);
    assert_eq!(told[0]["event_type"], "user_decision");
    assert_eq!(told[0]["additional_data"], "señal");

    let incomplete = sender.answer("n-2", "contact", json!({ "name": "Ada", "email": "ada@example.org" }));
    let refused = service.post("/atp/webhook", &incomplete);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("INVALID_RESPONSE_DATA"), "{}", refused.body);
    assert_eq!(fs::read_to_string(&events).unwrap(), lines, "nothing was processed");

    fs::remove_dir_all(&folder).unwrap();
    let unavailable = r#"{"error":"Service temporarily unavailable"}"#;
    service.assert("/atp/webhook", &sender.answer("n-3", "approve", ()), 503, unavailable);
    service.assert_refuses_a_forgery("/atp/webhook");

    let log = service.log();
    assert!(log.contains("must have the member `reason`"), "the log names the missing field: {log}");
    assert!(!log.contains("ada@example.org"), "no data in the log: {log}");
}

#[test]
fn approvals_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_approvals")).arg("--once").output().unwrap();
    let (table, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{table}{log}");
    assert_eq!(log, "", "nothing is left over, and nothing is to be explained");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.first().unwrap(), &["case", "expected", "got", "task"], "{table}");
    assert_eq!(lines.last().unwrap(), &["43", "checks,", "0", "wrong"], "{table}");
    let effects: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&["effects", "of"])).collect();
    assert_eq!(effects.len(), 6, "{table}");
    for effect in effects {
        let times = if effect[0] == "refund-1043" { ["0", "0", "pending"] } else { ["1", "1", "approved"] };
        assert_eq!(effect[1..], times, "{table}");
    }
}

/// The commands that the service prints work as printed, and what they did is there after a
/// restart.
#[test]
fn approvals_with_pasted_commands() {
    if !tools_are_there() {
        return;
    }
    let database = folder("approvals").join("approvals.sqlite");
    let start = || {
        Service::start(env!("CARGO_BIN_EXE_approvals"), |command| {
            command.env_remove("ATP_WEBHOOK_SECRET").args(["--port", "0", "--database"]).arg(&database)
        })
    };
    let mut service = start();
    let commands = commands(&mut service);
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in &commands {
        // Pasted twice, each has the effect of once.
        for _ in 0..2 {
            let output = Command::new("sh").args(["-c", command]).output().unwrap();
            let answer = String::from_utf8(output.stdout).unwrap();
            assert_eq!(answer, "{\"status\":\"success\"}\n", "{command}");
        }
    }
    service.assert_refuses_a_forgery("/atp/webhook");
    let tasks: Vec<Value> = serde_json::from_str(&service.get("/tasks").body).unwrap();
    assert_eq!(tasks.len(), 3);
    for task in &tasks {
        assert_eq!(task["state"], "approved", "{task}");
        assert_eq!(task["event"]["event_type"], "user_decision", "{task}");
    }
    assert_eq!(tasks[1]["event"]["user_id"], "user_8");
    assert!(service.get("/").body.contains("12.50 back for order 1042"));
    let log = service.log();
    assert!(!log.contains("ap-south") && !log.contains("whsec_"), "{log}");

    let mut again = start();
    assert_eq!(self::commands(&mut again).len(), 0, "nothing is pending");
    assert!(again.get("/tasks").body.contains(r#""state":"approved""#));
}

#[test]
fn approvals_escapes_what_humans_write() {
    let database = folder("escapes").join("approvals.sqlite");
    let service =
        Service::start(env!("CARGO_BIN_EXE_approvals"), |command| command.arg("--database").arg(&database));
    let rejection = Sender::new(SECRET).answer("deploy", "reject", "<script>alert('x')</script> & \u{0}\"");
    service.assert("/atp/webhook", &rejection, 200, r#"{"status":"success"}"#);
    let page = service.get("/").body;
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; "), "{page}");
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn approvals_of_two_answers_at_once_one_stands() {
    let database = folder("at-once").join("approvals.sqlite");
    let service =
        Service::start(env!("CARGO_BIN_EXE_approvals"), |command| command.arg("--database").arg(&database));
    let (sender, address) = (Sender::new(SECRET), service.address);
    let answers: Vec<_> =
        (0..8).map(|nth| sender.answer("deploy", "reject", format!("reason {nth}"))).collect();
    let threads: Vec<_> = answers
        .iter()
        .cloned()
        .map(|answer| thread::spawn(move || client::post(address, "/atp/webhook", &answer).unwrap().status))
        .collect();
    let mut statuses: Vec<u16> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for (answer, status) in answers.iter().zip(&mut statuses) {
        assert!(matches!(*status, 200 | 409 | 503), "{status}");
        // Told to come again, while another was handled.
        if *status == 503 {
            *status = service.post("/atp/webhook", answer).status;
        }
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(service.get("/").body.matches("reason ").count(), 1, "one of them took effect");
}

/// The secret is in them.
#[cfg(unix)]
#[test]
fn approvals_keeps_its_files_to_itself() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder("private");
    let database = folder.join("approvals.sqlite");
    let _service =
        Service::start(env!("CARGO_BIN_EXE_approvals"), |command| command.arg("--database").arg(&database));
    for file in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has {mode:o}", file.path());
    }
}

#[test]
fn approvals_asks_again_for_an_answer_that_overtakes_its_question() {
    let database = folder("early").join("approvals.sqlite");
    let service =
        Service::start(env!("CARGO_BIN_EXE_approvals"), |command| command.arg("--database").arg(&database));
    let unknown = Sender::new(SECRET).answer("lunch", "approve", ());
    let unavailable = r#"{"error":"Service temporarily unavailable"}"#;
    service.assert("/atp/webhook", &unknown, 503, unavailable);
}

/// It needs two servers. A machine without them skips, and says so; continuous integration must not.
#[test]
fn fleet_once() {
    let folder = folder("fleet");
    let Some((database, bus)) = servers(&folder) else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_fleet"))
        .arg("--once")
        .env("DATABASE_URL", database)
        .env("NATS_URL", &bus.url)
        .output()
        .unwrap();
    let (table, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{table}{log}");
    assert_eq!(log, "", "nothing is left over, and nothing is to be explained");
    assert_eq!(table.lines().last().unwrap(), "9 checks, 0 wrong", "{table}");
    for name in ["effects by process one", "effects by process two"] {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        assert_ne!(line.split_whitespace().last(), Some("0"), "{table}");
    }
}

#[test]
fn fleet_says_what_to_start() {
    let nowhere = "postgres://nobody:hunter2@127.0.0.1:1/nothing";
    for (database, bus, told) in [
        (None, None, ["  DATABASE_URL is not set\n", "  NATS_URL is not set\n"]),
        (
            Some(nowhere),
            Some("nats://nobody:hunter2@127.0.0.1:1"),
            ["  no PostgreSQL at DATABASE_URL: ", "  no NATS server at NATS_URL: "],
        ),
        (
            Some("nonsense"),
            None,
            ["  DATABASE_URL is no address of a PostgreSQL: ", "  NATS_URL is not set\n"],
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.arg("--once").env_remove("DATABASE_URL").env_remove("NATS_URL");
        command.envs(database.map(|url| ("DATABASE_URL", url))).envs(bus.map(|url| ("NATS_URL", url)));
        let output = command.output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(
            message.starts_with("fleet needs a PostgreSQL and a NATS server with JetStream:\n"),
            "{message}"
        );
        for told in told {
            assert!(message.contains(told), "{told:?}: {message}");
        }
        assert!(message.contains("nats-server -js") && message.contains("export DATABASE_URL="), "{message}");
        assert!(!message.contains("hunter2"), "no password in {message}");
    }
}

/// A NATS server, ended with this if it is our own.
struct Bus {
    url: String,
    process: Option<Child>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The PostgreSQL of `DATABASE_URL`, else one on the standard local port; and the NATS server of
/// `NATS_URL`, else one that is started here.
fn servers(folder: &Path) -> Option<(String, Bus)> {
    let postgres = env::var("DATABASE_URL").ok().or_else(|| {
        let local = TcpStream::connect("127.0.0.1:5432").ok();
        local.map(|_| "postgres://postgres:postgres@127.0.0.1:5432/postgres".to_owned())
    });
    let bus = match env::var("NATS_URL") {
        Ok(url) => Some(Bus { url, process: None }),
        Err(_) => start_bus(folder),
    };
    if let (Some(postgres), Some(bus)) = (postgres, bus) {
        return Some((postgres, bus));
    }
    assert!(env::var_os("CI").is_none(), "CI needs DATABASE_URL, and NATS_URL or nats-server");
    eprintln!("SKIPPED: no PostgreSQL, or neither NATS_URL nor nats-server, so the fleet was not tried");
    None
}

fn start_bus(folder: &Path) -> Option<Bus> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let process = Command::new("nats-server")
        .args(["-js", "-a", "127.0.0.1", "-p", &address.port().to_string(), "-sd"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let bus = Bus { url: format!("nats://{address}"), process: Some(process) };
    for _ in 0..600 {
        if TcpStream::connect(address).is_ok() {
            return Some(bus);
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("nats-server does not listen on {address}");
}

/// The commands among what the service prints at its start.
fn commands(service: &mut Service) -> Vec<String> {
    let lines = (&mut service.output).lines().map(Result::unwrap);
    let start: Vec<String> = lines.take_while(|line| !line.starts_with("To begin anew")).collect();
    start.into_iter().filter(|line| line.starts_with('(')).collect()
}

/// Skips aloud on a machine without them, but not in CI.
fn tools_are_there() -> bool {
    let missing =
        ["openssl", "curl"].into_iter().find(|tool| Command::new(tool).arg("--help").output().is_err());
    let Some(tool) = missing else { return true };
    assert!(env::var_os("CI").is_none(), "CI needs {tool}");
    eprintln!("SKIPPED: {tool} is not there, so the printed commands were not tried");
    false
}
