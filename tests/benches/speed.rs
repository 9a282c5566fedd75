//! What a delivery costs a server, beside the least that any receiver in actix does.
//!
//! `cargo bench -p atp-tests --bench speed [-- rounds seconds]`
//!
//! Each server is a process of its own with one worker, on core 0 where `taskset` is found; the
//! load comes from this process, on the other cores, over 32 connections. Cost is user and system
//! time of the server over the requests that it answered. Rounds are interleaved: every server
//! once, then the next round; a ratio is of one round.

#[allow(dead_code, reason = "fields are there to be deserialized")]
mod common;

use std::{
    borrow::Cow,
    hint::black_box,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use atp_actix::{AtpResponse, Form, Scheme, Secret, Verifier, Webhook, test::Sender};
use common::{Borrowed, Owned, SIZES, Small, body};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const SECRET: &str = "whsec_bench_0123456789abcdef0123456789";
const CONNECTIONS: usize = 32;
const LIMIT: usize = 2 << 20;

/// A server, and the scheme that its requests are signed in.
const SERVERS: [(&str, Scheme); 6] = [
    ("base", Scheme::Timestamped),
    ("timestamped", Scheme::Timestamped),
    ("timestamped, pinned", Scheme::Timestamped),
    ("Python, pinned", Scheme::PythonCanonical),
    ("Python, all accepted", Scheme::PythonCanonical),
    ("timestamped, two secrets", Scheme::Timestamped),
];

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => actix_web::rt::System::new().block_on(serve(&arguments[1])),
        _ => {
            let number = |nth: usize, default| {
                arguments.get(nth).and_then(|text| text.parse().ok()).unwrap_or(default)
            };
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(measure(number(0, 5), number(1, 2)))
        }
    }
}

// The servers.

async fn serve(name: &str) -> std::io::Result<()> {
    let key = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    let verifier = Verifier::new(Secret::new(SECRET).expect("a secret")).without_payload_time();
    let verifier = match name {
        "timestamped, pinned" => verifier.schemes([Scheme::Timestamped]),
        "Python, pinned" => verifier.schemes([Scheme::PythonCanonical]),
        "timestamped, two secrets" => verifier.or(Secret::new("another secret of ours").expect("a secret")),
        _ => verifier,
    };
    let is_base = name == "base";
    let server = HttpServer::new(move || {
        let app = App::new().app_data(web::PayloadConfig::new(LIMIT)).app_data(web::Data::new(key.clone()));
        let ours = |path, handler: fn(Webhook) -> Webhook| {
            handler(Webhook::new(path, verifier.clone()).limit(LIMIT))
        };
        if is_base {
            app.route("/0", web::post().to(base_small))
                .route("/1", web::post().to(base_form))
                .route("/2", web::post().to(base_raw))
        } else {
            app.service(ours("/0", |webhook| webhook.on("approve", small)))
                .service(ours("/1", |webhook| webhook.on("approve", form)))
                .service(ours("/2", |webhook| webhook.on("approve", raw)))
        }
    })
    .workers(1)
    .bind("127.0.0.1:0")?;
    println!("{}", server.addrs()[0]);
    server.run().await
}

/// The base: `web::Bytes`, one hash with a prepared key, one parse that borrows what it can.
#[derive(Deserialize)]
#[allow(dead_code, reason = "fields are there to be deserialized")]
struct Payload<'a, T> {
    #[serde(borrow)]
    notification_id: Cow<'a, str>,
    #[serde(borrow)]
    action_id: Cow<'a, str>,
    response_data: T,
    #[serde(borrow)]
    responded_at: Cow<'a, str>,
    #[serde(borrow)]
    responder: Responder<'a>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "fields are there to be deserialized")]
struct Responder<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

type Key = web::Data<Hmac<Sha256>>;

fn receive<'a, T: Deserialize<'a>>(
    request: &actix_web::HttpRequest,
    body: &'a [u8],
    key: &Hmac<Sha256>,
) -> HttpResponse {
    let header =
        request.headers().get("x-atp-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((t, hex)) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")) else {
        return HttpResponse::Unauthorized().finish();
    };
    let mut tag = [0; 32];
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    for (byte, pair) in tag.iter_mut().zip(digits) {
        *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default();
    }
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let fresh = t.parse::<u64>().is_ok_and(|t| t.abs_diff(now) <= 300);
    let mac = key.clone().chain_update(t).chain_update(".").chain_update(body);
    if !fresh || mac.verify_slice(&tag).is_err() {
        return HttpResponse::Unauthorized().finish();
    }
    match serde_json::from_slice::<Payload<'a, T>>(body) {
        Ok(payload) => {
            black_box(&payload);
            HttpResponse::Ok().content_type("application/json").body(r#"{"status":"success"}"#)
        }
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}

async fn base_small(request: actix_web::HttpRequest, body: web::Bytes, key: Key) -> HttpResponse {
    receive::<Small<Cow<'_, str>>>(&request, &body, &key)
}

async fn base_form(request: actix_web::HttpRequest, body: web::Bytes, key: Key) -> HttpResponse {
    receive::<Borrowed<'_>>(&request, &body, &key)
}

async fn base_raw(request: actix_web::HttpRequest, body: web::Bytes, key: Key) -> HttpResponse {
    receive::<&RawValue>(&request, &body, &key)
}

async fn small(answer: AtpResponse<Form<Small<String>>>) -> Result<(), atp_actix::Error> {
    black_box(&answer.data);
    Ok(())
}

async fn form(answer: AtpResponse<Form<Owned>>) -> Result<(), atp_actix::Error> {
    black_box(&answer.data);
    Ok(())
}

async fn raw(answer: AtpResponse) -> Result<(), atp_actix::Error> {
    black_box(&answer.data);
    Ok(())
}

// The load.

struct Server {
    name: &'static str,
    scheme: Scheme,
    process: Child,
    address: String,
}

impl Server {
    fn start(name: &'static str, scheme: Scheme) -> std::io::Result<Self> {
        let this = std::env::current_exe()?;
        let pinned = Command::new("taskset").arg("-V").output().is_ok();
        let mut command = if pinned { Command::new("taskset") } else { Command::new(&this) };
        if pinned {
            command.args(["-c", "0"]).arg(&this);
        }
        // glibc moves these by what it has seen freed, and then 1 MiB costs now this and now that.
        command.env("MALLOC_TRIM_THRESHOLD_", "268435456").env("MALLOC_MMAP_THRESHOLD_", "33554432");
        let mut process = command.args(["serve", name]).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut address)?;
        Ok(Self { name, scheme, process, address: address.trim().to_owned() })
    }

    /// User and system time so far.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |nth: usize| fields.get(nth).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        Duration::from_millis(10) * (ticks(11) + ticks(12))
    }

    /// Loads it for a while; nanoseconds of its time a request.
    async fn load(&self, size: usize, time: Duration) -> f64 {
        let answer =
            Sender::new(SECRET).answer("n", "approve", ()).scheme(self.scheme).body(body(SIZES[size].1));
        let (headers, body) = answer.to_parts();
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("POST /{size} HTTP/1.1\r\nhost: bench\r\n{lines}content-length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), &body].concat();
        let (until, before) = (Instant::now() + time, self.cpu());
        let load = (0..CONNECTIONS).map(|_| connection(&self.address, &request, until));
        let done: u32 = futures_util::future::join_all(load).await.into_iter().sum();
        let spent = self.cpu() - before;
        spent.as_secs_f64() * 1e9 / f64::from(done)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Requests one after the other; how many were answered 200.
async fn connection(address: &str, request: &[u8], until: Instant) -> u32 {
    let mut stream = TcpStream::connect(address).await.expect("a server");
    let (mut done, mut answer) = (0, [0; 2048]);
    while Instant::now() < until {
        stream.write_all(request).await.expect("a server that reads");
        let mut len = 0;
        while !answer[..len].ends_with(br#"{"status":"success"}"#) {
            let read = stream.read(&mut answer[len..]).await.expect("an answer");
            assert!(read > 0, "not 200: {}", String::from_utf8_lossy(&answer[..len]));
            len += read;
        }
        done += 1;
    }
    done
}

async fn measure(rounds: usize, seconds: usize) -> std::io::Result<()> {
    let servers = SERVERS.map(|(name, scheme)| Server::start(name, scheme));
    let servers = servers.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!(
        "CPU of the server a request, over that of `base` in the same round: median (least to most) of {rounds}."
    );
    println!(
        "| server | {} |\n|---|---:|---:|---:|",
        SIZES.map(|(name, _)| format!("{name}, ratio and µs")).join(" | ")
    );
    let mut cells = vec![Vec::new(); servers.len()];
    for size in 0..SIZES.len() {
        for server in &servers {
            server.load(size, Duration::from_millis(300)).await;
        }
        let mut costs = vec![Vec::new(); servers.len()];
        for _ in 0..rounds {
            for (server, costs) in servers.iter().zip(&mut costs) {
                costs.push(server.load(size, Duration::from_secs(seconds as u64)).await);
            }
        }
        for (nth, cell) in cells.iter_mut().enumerate() {
            let mut ratios: Vec<f64> =
                costs[nth].iter().zip(&costs[0]).map(|(ours, base)| ours / base).collect();
            ratios.sort_by(f64::total_cmp);
            let mut own = costs[nth].clone();
            own.sort_by(f64::total_cmp);
            let (median, least, most) = (ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
            cell.push(format!("{median:.3} ({least:.3}–{most:.3}), {:.1}", own[rounds / 2] / 1000.0));
        }
    }
    for (server, cells) in servers.iter().zip(cells) {
        println!("| {} | {} |", server.name, cells.join(" | "));
    }
    Ok(())
}
