//! How much a desk bears: asking, answering and delivering a second, and how long its pages take while
//! many questions wait.
//!
//! `cargo bench -p atp-tests --bench desk [-- questions [looks [memory | file]]]`
//!
//! The desk runs in this process, on a thread of its own, as in a user's tests; whoever asks and answers
//! does it over 16 connections, and the receiver of the answers is a server of its own thread that says
//! 200 at once. It says nothing until all is answered, so that what is delivered a second is measured
//! with all of it waiting. A page's time is that between the request and the last byte of its answer, on
//! this machine's loopback: more than the server's own.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, rt::System, web};
use atp_cli::desk::{Desk, RunningDesk};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

/// How many ask or answer at once.
const CONNECTIONS: usize = 16;

/// Questions on a page of the desk.
const PAGE: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number =
        |nth: usize, default: usize| arguments.get(nth).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (questions, looks) = (number(0, 10_000), number(1, 100));
    let only = arguments.get(2).map(String::as_str);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if only != Some("file") {
            println!("In memory:");
            measure(None, questions, looks).await;
        }
        if only != Some("memory") {
            println!("On a file:");
            let folder = std::env::temp_dir().join(format!("atp-bench-desk-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder");
            measure(Some(folder.join("desk.sqlite")), questions, looks).await;
            std::fs::remove_dir_all(folder).expect("it is ours");
        }
    });
}

async fn measure(file: Option<PathBuf>, questions: usize, looks: usize) {
    let receiver = Receiver::start();
    // Who is held up by the receiver is not to be given up.
    let desk = Desk::new().unpaced().answer_within(Duration::from_secs(3600));
    let desk = file.into_iter().fold(desk, Desk::file).start().await.expect("a desk");
    let callback = format!("http://{}/", receiver.address);
    let service = desk.register("bench", &callback).await.expect("a service");
    let ask = |nth| ("/api/v1/notifications", question(nth));
    rate("asked", &desk, &service.api_key, questions, ask).await;
    looked_at(&desk, questions, looks).await;
    let answer = |nth| {
        let answer = json!({ "notification_id": id(nth), "action_id": "approve", "response_data": null });
        ("/api/v1/client/respond", answer)
    };
    rate("answered", &desk, desk.user_token(), questions, answer).await;
    let began = Instant::now();
    receiver.open.send_replace(true);
    while receiver.taken.load(Ordering::Relaxed) < questions {
        sleep(Duration::from_millis(1)).await;
    }
    told("delivered", questions, began.elapsed());
    desk.stop().await;
}

fn id(nth: usize) -> String {
    format!("550e8400-e29b-41d4-a716-{nth:012}")
}

/// As long as those of real services.
fn question(nth: usize) -> Value {
    json!({
        "id": id(nth), "version": "1.0", "timestamp": "2025-05-25T10:30:00Z", "deadline": "2199-05-25T11:00:00Z",
        "context": {
            "title": format!("Deploy version 2.{nth}.0 to production?"),
            "description": "The new version is **ready**. ".repeat(20), "project": "backend-api",
            "metadata": { "version": format!("2.{nth}.0"), "changes": nth },
        },
        "actions": [
            { "id": "approve", "label": "Approve Deployment", "response_type": "simple" },
            { "id": "reject", "label": "Reject", "response_type": "text", "constraints": { "placeholder": "Reason" } },
        ],
    })
}

/// Posts one after the other over some connections.
async fn rate(
    what: &str,
    desk: &RunningDesk,
    token: &str,
    count: usize,
    body: impl Fn(usize) -> (&'static str, Value),
) {
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    join_all((0..CONNECTIONS).map(async |_| {
        let mut connection = Connection::to(desk).await;
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= count {
                return;
            }
            let (path, body) = body(nth);
            connection.call("POST", path, token, &body.to_string()).await;
        }
    }))
    .await;
    told(what, count, began.elapsed());
}

fn told(what: &str, count: usize, time: Duration) {
    println!(
        "  {what:<24} {:>8.0} a second ({count} in {:.2} s)",
        count as f64 / time.as_secs_f64(),
        time.as_secs_f64()
    );
}

/// Looks at each kind of page, while all wait.
async fn looked_at(desk: &RunningDesk, questions: usize, looks: usize) {
    let mut connection = Connection::to(desk).await;
    let list = |skip: usize| format!("/api/v1/client/notifications?offset={skip}");
    let last = questions.saturating_sub(PAGE);
    // Whoever sees a question for the first time makes it delivered.
    look(&mut connection, desk, "client list, unseen", looks.min(questions / PAGE / 2), |nth| {
        list(nth * PAGE)
    })
    .await;
    let unseen = |nth| format!("/?skip={}", last - nth * PAGE);
    look(&mut connection, desk, "inbox, unseen", looks.min(questions / PAGE / 2), unseen).await;
    look(&mut connection, desk, "client list, first", looks, |_| list(0)).await;
    look(&mut connection, desk, "client list, last", looks, |_| list(last)).await;
    look(&mut connection, desk, "inbox, first", looks, |_| "/".to_owned()).await;
    look(&mut connection, desk, "inbox, last", looks, |_| format!("/?skip={last}")).await;
    look(&mut connection, desk, "inbox, a filter", looks, |_| "/?show=all".to_owned()).await;
    let search = |nth| format!("/?words=version+2.{}.0", nth * 97 % questions);
    look(&mut connection, desk, "inbox, a search", looks, search).await;
    let question = |nth| format!("/questions/{}", id(nth * 97 % questions));
    look(&mut connection, desk, "a question", looks, question).await;
}

async fn look(
    connection: &mut Connection,
    desk: &RunningDesk,
    what: &str,
    looks: usize,
    path: impl Fn(usize) -> String,
) {
    let mut times = Vec::new();
    for nth in 0..looks.max(1) {
        let began = Instant::now();
        connection.call("GET", &path(nth), desk.user_token(), "").await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("  {what:<24} {:>8.1} ms, p99 {:.1} ms", millis(median), millis(p99));
}

/// Who takes the answers, from when it is opened.
struct Receiver {
    address: std::net::SocketAddr,
    taken: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

impl Receiver {
    fn start() -> Self {
        let (taken, open) = (Arc::<AtomicUsize>::default(), watch::Sender::new(false));
        let (counted, gate) = (Arc::clone(&taken), open.clone());
        let (started, address) = mpsc::channel();
        // It ends with this process.
        thread::spawn(move || {
            System::new().block_on(async move {
                let app = move || {
                    let (counted, gate) = (Arc::clone(&counted), gate.clone());
                    let take = move |_: web::Bytes| {
                        let (counted, mut open) = (Arc::clone(&counted), gate.subscribe());
                        async move {
                            open.wait_for(|open| *open).await.expect("it is opened");
                            counted.fetch_add(1, Ordering::Relaxed);
                            HttpResponse::Ok().json(json!({ "status": "success" }))
                        }
                    };
                    App::new().route("/", web::post().to(take))
                };
                let server =
                    HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").expect("a port");
                started.send(server.addrs()[0]).expect("somebody waits");
                server.run().await.expect("it runs");
            });
        });
        Self { address: address.recv().expect("it starts"), taken, open }
    }
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
    host: String,
    received: Vec<u8>,
}

impl Connection {
    async fn to(desk: &RunningDesk) -> Self {
        let host = desk.url().trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await.expect("a desk");
        stream.set_nodelay(true).expect("a setting");
        Self { stream, host, received: Vec::new() }
    }

    /// A request, and its answer to the last byte.
    async fn call(&mut self, method: &str, path: &str, token: &str, body: &str) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len(),
        );
        self.stream.write_all(request.as_bytes()).await.expect("sent");
        let end = loop {
            match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.more().await,
            }
        };
        let head = String::from_utf8_lossy(&self.received[..end]).to_ascii_lowercase();
        let is_good = head.starts_with("http/1.1 20");
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length: usize = length.split('\r').next().expect("a line").parse().expect("a number");
        while self.received.len() < end + length {
            self.more().await;
        }
        let answer: Vec<u8> = self.received.drain(..end + length).collect();
        assert!(is_good, "{method} {path}: {}", String::from_utf8_lossy(&answer));
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.received).await.expect("an answer");
        assert!(read > 0, "the desk is gone");
    }
}
