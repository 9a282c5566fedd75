//! The service that is flooded, in a process of its own: one store, two workers, a handler with one
//! INSERT.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use actix_web::{App, HttpServer};
use atp_actix::{
    AtpResponse, Error, PostgresTransaction, Secret, SqliteTransaction, Verifier, Webhook,
    store::{PostgresStore, SqliteStore, Store},
};
use atp_tests::{PATH, SECRET};

/// Serves with the store at this URL until it is killed. The log goes to the standard error.
pub(crate) async fn serve(url: &str) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    if let Some(file) = url.strip_prefix("sqlite:") {
        run(SqliteStore::open(file).await.expect("a store"), |webhook| webhook.on("approve", on_sqlite))
            .await;
    } else {
        let store = PostgresStore::connect(url).await.expect("a store");
        run(store, |webhook| webhook.on("approve", on_postgres)).await;
    }
}

async fn run(store: impl Store, handlers: impl Fn(Webhook) -> Webhook + Clone + Send + 'static) {
    let verifier = Verifier::new(Secret::new(SECRET).expect("a secret"));
    let app = move || {
        let webhook = Webhook::new(PATH, verifier.clone()).store(store.clone());
        App::new().service(handlers(webhook))
    };
    let server = HttpServer::new(app).workers(2).bind("127.0.0.1:0").expect("a port");
    println!("{}", server.addrs()[0]);
    server.run().await.expect("a server");
}

async fn on_sqlite(answer: AtpResponse, mut tx: SqliteTransaction) -> Result<(), Error> {
    let insert = sqlx::query("INSERT INTO effects VALUES (?)");
    insert.bind(&answer.notification_id).execute(&mut *tx).await?;
    Ok(())
}

async fn on_postgres(answer: AtpResponse, mut tx: PostgresTransaction) -> Result<(), Error> {
    let insert = sqlx::query("INSERT INTO effects VALUES ($1)");
    insert.bind(&answer.notification_id).execute(&mut *tx).await?;
    Ok(())
}

/// The process, which ends with this.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    log: PathBuf,
}

impl Server {
    /// Starts one, with its log in this folder.
    pub(crate) fn start(url: &str, folder: &Path) -> Self {
        let log = folder.join("server.log");
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.args(["serve", url]).stdout(Stdio::piped()).stderr(File::create(&log).expect("a log"));
        let mut process = command.spawn().expect("a server");
        let mut address = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("an address");
        assert!(!address.is_empty(), "the server did not start: {}", tail(&log));
        Self { process, address: address.trim().to_owned(), log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How long the log is, in bytes.
    pub(crate) fn log_size(&self) -> u64 {
        self.log.metadata().map_or(0, |log| log.len())
    }

    /// The panics that the log tells of.
    pub(crate) fn panics(&self) -> usize {
        let log = File::open(&self.log).expect("a log");
        BufReader::new(log).lines().map_while(Result::ok).filter(|line| line.contains("panicked at")).count()
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
