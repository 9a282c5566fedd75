//! A service with a webhook and a store, and the command run beside it.

use std::{
    env, fs,
    future::Future,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, rt};
use atp_actix::{
    AtpResponse, Error, Raw, Secret, Verifier, Webhook,
    atp_core::{Action, Notification},
    store::{Event, Outbox, Question, Routes, SendEnd, Settled, SqliteStore, Store},
};
use serde_json::Value;

pub(crate) const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

/// Answered with what does something to a terminal.
pub(crate) const ESCAPES: &str = "\u{1b}[31mred\u{9b}2J\u{202e}";

/// A folder that goes with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = env::temp_dir().join(format!("atp-cli-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, content).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A service that runs, until it is dropped.
pub(crate) struct Service {
    pub(crate) folder: Folder,
    pub(crate) address: String,
    /// The URL of its database.
    pub(crate) database: String,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    /// With SQLite.
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let file = folder.path().join("atp.sqlite");
        let database = format!("sqlite:{}", file.display());
        Self::over(folder, database, async move { SqliteStore::open(file).await.unwrap().routes(routes()) })
    }

    /// With any store.
    pub(crate) fn over<S: Outbox>(
        folder: Folder,
        database: String,
        store: impl Future<Output = S> + Send + 'static,
    ) -> Self {
        let (started, waiting) = mpsc::channel();
        let thread = thread::spawn(move || {
            rt::System::new().block_on(async move {
                let store = store.await;
                fill(&store).await;
                let factory = {
                    let store = store.clone();
                    move || App::new().service(webhook(store.clone()))
                };
                let server = HttpServer::new(factory).workers(1).disable_signals();
                let server = server.bind(("127.0.0.1", 0)).unwrap();
                let address = format!("http://{}", server.addrs()[0]);
                let server = server.run();
                started.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle) = waiting.recv_timeout(Duration::from_mins(1)).unwrap();
        Self { folder, address, database, handle, thread: Some(thread) }
    }

    pub(crate) fn webhook(&self) -> String {
        format!("{}/atp/webhook", self.address)
    }

    /// Runs the command.
    pub(crate) fn atp(&self, arguments: &[&str]) -> Ran {
        self.atp_with(arguments, "")
    }

    /// Runs the command with this standard input.
    pub(crate) fn atp_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
        run(self.folder.path(), arguments, input.as_ref(), &[("DATABASE_URL", &self.database)])
    }

    /// Sends an answer to this notification.
    pub(crate) fn send(&self, notification: &str, action: &str, more: &[&str]) -> Ran {
        let webhook = self.webhook();
        let arguments = ["send", "--to", &webhook, "--notification", notification, "--action", action];
        self.atp(&[&["--json"], &arguments[..], more].concat())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = self.handle.stop(false);
        drop(rt::System::new().block_on(async { rt::time::timeout(Duration::from_secs(5), stopped).await }));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The lines of JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}")))
            .collect()
    }

    /// The only line of JSON.
    pub(crate) fn json(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines[0].clone()
    }
}

/// Runs the command with the secret in the environment.
pub(crate) fn run(folder: &Path, arguments: &[&str], input: &[u8], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atp"));
    command.args(arguments).env("ATP_WEBHOOK_SECRET", SECRET);
    ran(command.current_dir(folder), input, variables)
}

/// Runs any command with these variables, and without those of whoever runs the tests.
pub(crate) fn ran(command: &mut Command, input: &[u8], variables: &[(&str, &str)]) -> Ran {
    let command = command.env_remove("DATABASE_URL").env("NO_COLOR", "1").envs(variables.iter().copied());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that wants no input may be gone already.
    let _ = stdin.write_all(input);
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let ran = Ran {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "the secret is told: {ran:?}");
    ran
}

pub(crate) fn routes() -> Routes {
    Routes::new().events("bus")
}

fn question(id: &str) -> Question {
    let approve = Action::simple("approve", "Approve");
    let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id(id).action(approve);
    let notification = notification.action(Action::simple("reject", "Reject"));
    Question::new(notification.action(Action::json("echo", "Echo")))
}

/// Questions, and an event that is parked.
async fn fill(store: &impl Outbox) {
    for id in ["n-1", "n-2", "n-3"] {
        store.record(&question(id)).await.unwrap();
    }
    for number in 0..40 {
        store.record(&question(&format!("load-{number}"))).await.unwrap();
    }
    for number in 0..2 {
        let event =
            Event::new("orders.shipped", number).unwrap().subject(format!("order-{number}")).service("acme");
        store.emit(&event).await.unwrap();
    }
    let outgoing = store.lease("bus", 10, Duration::from_mins(1)).await.unwrap();
    let parked = |reason: &str| SendEnd::Parked { reason: reason.to_owned() };
    let settled: Vec<_> = outgoing.iter().map(|outgoing| Settled::new(outgoing, parked(ESCAPES))).collect();
    assert_eq!(store.settle("bus", &settled).await.unwrap(), 2);
}

/// Records a question after its answer has come.
pub(crate) async fn record_late(store: &impl Store, id: &str) {
    store.record(&question(id)).await.unwrap();
}

fn webhook<S: Store>(store: S) -> Webhook {
    let verifier = Verifier::new(Secret::new(SECRET).unwrap());
    let webhook = Webhook::new("/atp/webhook", verifier).store(store);
    webhook.on("approve", approve).on("reject", reject).on("echo", echo)
}

async fn approve() -> Result<(), Error> {
    Ok(())
}

async fn reject() -> HttpResponse {
    HttpResponse::UnprocessableEntity().body(ESCAPES)
}

/// Answers with the data, as it was signed.
async fn echo(answer: AtpResponse<Raw>) -> String {
    answer.data.as_ref().map_or_else(String::new, |data| data.as_str().to_owned())
}

/// The address of a server of one connection that answers the first request after this time, and the
/// others at once.
pub(crate) fn stalling(time: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut left = Some(time);
        while read_request(&mut reader).is_some() {
            left.take().into_iter().for_each(thread::sleep);
            (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    address
}

/// The address of a server that answers all with this.
pub(crate) fn answering(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let len = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // What was sent is read, or closing would break the answer off.
            read_request(&mut BufReader::new(&stream));
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    address
}

/// Reads a request, and forgets it.
fn read_request(reader: &mut impl BufRead) -> Option<()> {
    let mut len = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; len]).ok();
        }
    }
}
