//! What strangers and broken senders send, byte for byte: each gets its status, and the server serves on.

use std::{
    env, fs,
    io::{self, BufRead as _, Read as _},
    ops::Deref,
    process::{self, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, web};
use atp_actix::{
    AtpResponse, Scheme, Text, Webhook,
    store::{MemoryStore, Store},
    test::{Sender, SignedAnswer},
};
use atp_tests::SECRET;
use bytes::Bytes;
use chrono::DateTime;
use tokio::time::sleep;

use crate::support::{
    asked::{record, verifier},
    server::{Address, Answer, Client, Server, post, request},
    told::UNAUTHORIZED,
    watched::{Calls, Watched},
};

/// The same tests for webhooks without a store, and with each store.
macro_rules! with_and_without_a_store {
    ($($name:ident),* $(,)?) => {
        mod stateless {
            $(#[actix_web::test]
            async fn $name() {
                super::$name(super::Site::stateless()).await;
            })*
        }
        mod stateful {
            $(async fn $name(store: impl atp_actix::store::Store) {
                super::$name(super::Site::over(store).await).await;
            })*
            crate::support::databases::on_every_store!($($name),*);
        }
    };
}

// A body without end, a large one and a slow one are cut off before there is anything to remember.
with_and_without_a_store!(
    each_form_of_the_signature_header_has_its_status,
    only_plain_json_is_read,
    a_compressed_body_is_not_unpacked,
    other_methods_are_refused_and_post_is_named,
    the_limit_is_exact,
    a_body_that_breaks_off_is_no_delivery,
    ambiguous_framing_is_refused,
    a_sender_may_ask_before_it_sends_the_body,
    pipelined_requests_are_not_confused,
    bodies_that_are_not_strict_json_in_utf_8_are_malformed_when_signed_and_401_when_not,
);

/// Stands in what strangers send, wherever text can stand. No answer may hold it.
const MARKER: &str = "Xq7StrangersOwnWordsXq7";
const BODY_WITHIN: Duration = Duration::from_millis(300);
const BIG_LIMIT: usize = 16 << 20;

fn sender() -> Sender {
    Sender::new(SECRET)
}

fn good() -> SignedAnswer {
    sender().answer("n-1", "approve", ())
}

async fn accepted() -> HttpResponse {
    HttpResponse::Ok().body("accepted")
}

/// `/small` has the limit that is set unless one sets it, `/big` 16 MiB, and at `/epoch` it is five seconds past 1970.
fn webhooks() -> [Webhook; 3] {
    let epoch = verifier().clock(|| DateTime::from_timestamp(5, 0).expect("a time"));
    [
        Webhook::new("/small", verifier()).body_within(BODY_WITHIN).otherwise(accepted),
        Webhook::new("/big", verifier()).limit(BIG_LIMIT).otherwise(accepted),
        Webhook::new("/epoch", epoch).otherwise(accepted),
    ]
}

fn mount(config: &mut web::ServiceConfig) {
    for webhook in webhooks() {
        config.service(webhook);
    }
}

/// Without a store; one worker, so that whoever stalls it stalls everybody.
fn serve() -> Server {
    Server::start(1, mount)
}

/// [`webhooks`], served without a store or with one that tells what it was asked.
struct Site {
    server: Server,
    calls: Option<Calls>,
}

impl Site {
    fn stateless() -> Self {
        Self { server: serve(), calls: None }
    }

    /// The question of [`good`] is recorded, and answered so.
    async fn over(store: impl Store) -> Self {
        record(&store, "n-1").await;
        let store = Watched::new(store);
        let calls = store.calls.clone();
        let server = Server::start(1, move |config: &mut web::ServiceConfig| {
            for webhook in webhooks() {
                config.service(webhook.store(store.clone()));
            }
        });
        let site = Self { server, calls: Some(calls) };
        site.serves_on("nothing").await;
        site
    }

    fn has_a_store(&self) -> bool {
        self.calls.is_some()
    }

    /// A good request on a new connection is served.
    async fn serves_on(&self, after: &str) {
        self.server.serves_on(after).await;
        let asked = self.calls.as_ref().map(Calls::take);
        assert!(asked.is_none_or(|asked| asked.contains(&"find")), "{after}: the store is not watched");
    }

    /// The store was not asked for anything since the last good request.
    fn assert_untouched(&self, case: &str) {
        let asked = self.calls.as_ref().map(Calls::take).unwrap_or_default();
        assert!(asked.is_empty(), "{case}: the store was asked to {asked:?}");
    }

    /// A stranger learns nothing, and the store does not learn of him.
    fn assert_tells_nothing(&self, answer: &Answer, case: &str) {
        assert_tells_nothing(answer, case);
        if matches!(answer.status, 401 | 405 | 408 | 413 | 415) {
            self.assert_untouched(case);
        }
    }
}

impl Deref for Site {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Address {
    /// A good request on a new connection is served.
    async fn serves_on(&self, after: &str) {
        let answer = self.exchange(&post("/small", &good())).await;
        assert_eq!(
            answer.map(|answer| answer.status),
            Some(200),
            "the server does not serve on after {after}"
        );
    }
}

/// The digest over `<t>.<body>` for any text `t`, as a sender would make it that writes `t` like this.
fn digest(t: &str, body: &[u8]) -> String {
    let text = [t.as_bytes(), b".", body].concat();
    verifier().sign(Scheme::Raw, &text).expect("any bytes can be signed").to_string()
}

/// What a stranger may see of a refusal: its status and a fixed text.
fn assert_tells_nothing(answer: &Answer, case: &str) {
    assert!(!answer.holds(MARKER), "{case}: the answer repeats what was sent: {answer:?}");
    let texts = [
        (401, UNAUTHORIZED),
        (405, r#"{"error":"Method not allowed"}"#),
        (408, r#"{"error":"Request timeout"}"#),
        (413, r#"{"error":"Payload too large"}"#),
        (415, r#"{"error":"Unsupported media type"}"#),
    ];
    if let Some((_, text)) = texts.iter().find(|(status, _)| *status == answer.status) {
        assert_eq!(answer.text(), *text, "{case}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{case}");
    }
}

async fn each_form_of_the_signature_header_has_its_status(server: Site) {
    let (_, body) = good().member("note", MARKER).to_parts();
    let seconds = DateTime::from_timestamp(5, 0).expect("a time");
    let right = good().body(body.clone()).at(seconds).to_parts().0.remove(1).1;
    let hex = right.strip_prefix("t=5,v1=").expect("the timestamped form").to_owned();
    let upper = hex.to_uppercase();
    let padded = |len: usize| {
        let start = format!("{right},note=");
        format!("{start}{}", "y".repeat(len - start.len()))
    };
    let with_time = |t: &str| format!("t={t},v1={}", digest(t, &body));
    // It is authentic. With a store its age is judged after that, and not at all where the decision is taken.
    let ahead = if server.has_a_store() { 200 } else { 401 };
    let cases: Vec<(&str, Vec<String>, u16)> = vec![
        ("one good header", vec![right.clone()], 200),
        ("no header", vec![], 401),
        ("two good header lines", vec![right.clone(), right.clone()], 401),
        ("a good and an empty line", vec![right.clone(), String::new()], 401),
        ("a bad and a good line", vec![MARKER.to_owned(), right.clone()], 401),
        ("two in one line", vec![format!("{right},{right}")], 401),
        ("two lines, joined as proxies do", vec![format!("{right}, {right}")], 401),
        ("an empty value", vec![String::new()], 401),
        ("1 KiB", vec![padded(1024)], 200),
        ("1 KiB and 1", vec![padded(1025)], 401),
        ("64 KiB", vec![padded(64 << 10)], 401),
        ("an element of the stranger's", vec![format!("t=5,v1={},note={MARKER}", "0".repeat(64))], 401),
        ("bare `t=`", vec!["t=".to_owned()], 401),
        ("empty `t`", vec![with_time("")], 401),
        ("`t` alone", vec!["t=5".to_owned()], 401),
        ("`v1` alone", vec![format!("v1={hex}")], 401),
        ("`t` of 18 digits", vec![with_time("999999999999999999")], 401),
        ("`t` of 19 digits", vec![with_time("9999999999999999999")], 401),
        ("`t` past 64 bits", vec![with_time("99999999999999999999999999")], 401),
        ("i64::MAX", vec![with_time("9223372036854775807")], 401),
        ("i64::MIN", vec![with_time("-9223372036854775808")], 401),
        ("negative `t` within the tolerance", vec![with_time("-5")], 401),
        ("`t` with a fraction", vec![with_time("5.7")], 401),
        ("`t` with an exponent", vec![with_time("5e0")], 401),
        ("`t` in hexadecimal", vec![with_time("0x5")], 401),
        ("`t` with a plus", vec![with_time("+5")], 401),
        ("`t` with a leading zero", vec![with_time("05")], 401),
        ("`t` in milliseconds", vec![with_time("5000")], ahead),
        ("`t` = 5", vec![with_time("5")], 200),
        ("`t` = 0", vec![with_time("0")], 200),
        ("`t` on the edge", vec![with_time("305")], 200),
        ("`t` past the edge", vec![with_time("306")], ahead),
        ("two `t`", vec![format!("t=5,{right}")], 401),
        ("8 `v1`", vec![format!("t=5{}", format!(",v1={hex}").repeat(8))], 200),
        ("9 `v1`", vec![format!("t=5{}", format!(",v1={hex}").repeat(9))], 401),
        ("upper-case digits", vec![format!("t=5,v1={upper}")], 401),
        ("63 digits", vec![format!("t=5,v1={}", &hex[1..])], 401),
        ("65 digits", vec![format!("t=5,v1={hex}0")], 401),
        ("a plus among the digits", vec![format!("t=5,v1=+f{}", &hex[2..])], 401),
        ("another digest", vec![format!("t=5,v1={}", "0".repeat(64))], 401),
        ("a bare digest of nothing here", vec!["0".repeat(64)], 401),
        ("a bare digest in upper case", vec![upper], 401),
        ("a bare digest of 63 digits", vec![hex[1..].to_owned()], 401),
        ("a bare digest of 65 digits", vec![format!("{hex}0")], 401),
        ("the timestamped digest, bare", vec![hex.clone()], 401),
        ("`sha256=`", vec![format!("sha256={hex}")], 401),
    ];
    let mut wrong = Vec::new();
    for (case, signatures, status) in &cases {
        let mut headers = vec![("content-type", "application/json"), ("x-atp-request-id", MARKER)];
        headers.extend(signatures.iter().map(|value| ("x-atp-signature", &**value)));
        let sent = request("POST", &format!("/epoch?{MARKER}"), &headers, &body);
        let answer = server.exchange(&sent).await.unwrap_or_else(|| panic!("{case}: no answer"));
        if answer.status != *status {
            wrong.push(format!("{case}: {} instead of {status}: {signatures:?}", answer.status));
        }
        server.assert_tells_nothing(&answer, case);
        server.serves_on(case).await;
    }
    println!("{} forms of the signature header", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn only_plain_json_is_read(server: Site) {
    let (json, gzip) = ("application/json", "content-encoding");
    let cases: &[(&str, &[(&str, &str)], u16)] = &[
        ("plain", &[("content-type", json)], 200),
        ("no type", &[], 415),
        ("two types", &[("content-type", json), ("content-type", json)], 415),
        ("two types in one line", &[("content-type", "application/json, application/json")], 415),
        ("an empty type", &[("content-type", "")], 415),
        ("text", &[("content-type", "text/plain")], 415),
        ("a form", &[("content-type", "application/x-www-form-urlencoded")], 415),
        ("the stranger's own", &[("content-type", MARKER)], 415),
        ("a longer name", &[("content-type", "application/jsonp")], 415),
        ("a suffix", &[("content-type", "application/vnd.api+json")], 415),
        ("upper case", &[("content-type", "Application/JSON")], 200),
        ("latin-1", &[("content-type", "application/json; charset=latin-1")], 415),
        ("UTF-16", &[("content-type", "application/json;charset=utf-16")], 415),
        ("UTF-8", &[("content-type", "application/json; charset=UTF-8")], 200),
        ("quoted", &[("content-type", "application/json; charset=\"utf-8\"")], 200),
        ("two charsets", &[("content-type", "application/json; charset=utf-8; charset=latin-1")], 415),
        ("another parameter", &[("content-type", "application/json; q=1")], 200),
        ("gzip", &[("content-type", json), (gzip, "gzip")], 415),
        ("deflate", &[("content-type", json), (gzip, "deflate")], 415),
        ("an encoding of the stranger's", &[("content-type", json), (gzip, MARKER)], 415),
        ("identity", &[("content-type", json), (gzip, "identity")], 200),
        ("Identity", &[("content-type", json), (gzip, "Identity")], 200),
        ("identity and gzip", &[("content-type", json), (gzip, "identity"), (gzip, "gzip")], 415),
        ("identity, gzip", &[("content-type", json), (gzip, "identity, gzip")], 415),
    ];
    for scheme in Scheme::ALL {
        let (signed, body) = good().scheme(scheme).to_parts();
        for (case, headers, status) in cases {
            let mut headers = headers.to_vec();
            headers.push(("x-atp-signature", &signed[1].1));
            let answer = server.exchange(&request("POST", "/small", &headers, &body)).await;
            let answer = answer.unwrap_or_else(|| panic!("{scheme}, {case}: no answer"));
            assert_eq!(answer.status, *status, "{scheme}, {case}: {headers:?}");
            server.assert_tells_nothing(&answer, case);
            server.serves_on(case).await;
        }
    }
}

/// A body that says gzip and is gzip is not unpacked: a small one could become a huge one.
async fn a_compressed_body_is_not_unpacked(server: Site) {
    // An empty gzip member: enough to tell whether anyone tries.
    let packed: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    for (case, answer, status) in [
        ("encoded, signed", good().body(packed).header("content-encoding", "gzip"), 415),
        ("encoded, forged", good().body(packed).header("content-encoding", "gzip").forged(), 415),
        ("not told, signed", good().body(packed), 400),
        ("not told, forged", good().body(packed).forged(), 401),
    ] {
        let answer = server.exchange(&post("/small", &answer)).await.expect("an answer");
        assert_eq!(answer.status, status, "{case}");
        server.assert_tells_nothing(&answer, case);
        server.serves_on(case).await;
    }
}

async fn other_methods_are_refused_and_post_is_named(server: Site) {
    let (headers, body) = good().to_parts();
    for method in ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "BREW"] {
        for body in [&b""[..], &body] {
            let mut client = server.connect().await;
            let path = format!("/small?{MARKER}");
            client.send(&request(method, &path, &headers, body)).await.expect("sent");
            let answer = if method == "HEAD" { client.answer_to_head().await } else { client.answer().await };
            let answer = answer.unwrap_or_else(|| panic!("{method}: no answer"));
            assert_eq!(answer.status, 405, "{method} with {} bytes", body.len());
            assert_eq!(answer.header("allow"), Some("POST"), "{method}");
            if method != "HEAD" {
                server.assert_tells_nothing(&answer, method);
            }
            server.serves_on(method).await;
        }
    }
}

/// Sends without end, until the server no longer takes it. Gives the answer, and how many bytes were taken.
async fn endless(client: &mut Client, head: &[u8], chunk: &[u8]) -> usize {
    let mut taken = 0;
    if client.send(head).await.is_err() {
        return taken;
    }
    while client.send(chunk).await.is_ok() {
        taken += chunk.len();
    }
    taken
}

#[actix_web::test]
async fn a_body_without_end_is_cut_off() {
    let (server, curt) = (serve(), Server::start_lingering(1, Duration::ZERO, mount));
    let chunk = [format!("{:x}\r\n", 64 << 10).into_bytes(), vec![b' '; 64 << 10], b"\r\n".to_vec()].concat();
    let chunked =
        |answer: SignedAnswer| answer.header("transfer-encoding", "chunked").header("x-marker", MARKER);
    let long = |answer: SignedAnswer| answer.header("content-length", (1_u64 << 40).to_string());
    for (case, path, answer, status) in [
        ("chunks, signed", "/small", chunked(good()), 413),
        ("chunks, signed, 16 MiB", "/big", chunked(good()), 413),
        ("chunks, bare digest", "/small", chunked(good().signature("0".repeat(64))), 413),
        ("chunks, no signature", "/small", chunked(good().without_header("x-atp-signature")), 401),
        ("chunks, stale", "/small", chunked(good().stale()), 401),
        ("chunks, not JSON", "/small", chunked(good().header("content-type", "text/plain")), 415),
        ("a tebibyte is announced, signed", "/small", long(good()), 413),
        ("a tebibyte is announced, bare digest", "/small", long(good().signature("0".repeat(64))), 413),
        (
            "a tebibyte is announced, no signature",
            "/small",
            long(good().without_header("x-atp-signature")),
            401,
        ),
    ] {
        let (headers, _) = answer.to_parts();
        let head = request("POST", path, &headers, b"");
        let started = Instant::now();
        let mut client = server.connect().await;
        let taken = endless(&mut client, &head, &chunk).await;
        let took = started.elapsed();
        // actix discards what comes in the second that it lingers for unless told otherwise; how much that is, is up to
        // the machine, so the bound is the time.
        println!("{case}: {} MiB taken in {} ms", taken >> 20, took.as_millis());
        assert!(took < Duration::from_secs(10), "{case}: still open after {took:?}");
        server.serves_on(case).await;

        // Where actix does not linger, no more is taken than was asked for and what the sockets hold.
        let mut client = curt.connect().await;
        let taken = endless(&mut client, &head, &chunk).await;
        println!("{case}: {} KiB taken without lingering", taken >> 10);
        assert!(taken < BIG_LIMIT + (32 << 20), "{case}: {taken} bytes taken");
        curt.serves_on(case).await;

        // The sender that stops at the answer sees it, and then the end.
        let mut client = server.connect().await;
        client.send(&head).await.expect("sent");
        let wanted = if path == "/big" { BIG_LIMIT } else { 256 << 10 };
        if case.starts_with("chunks") && status == 413 {
            for _ in 0..=wanted / (64 << 10) {
                client.send(&chunk).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            }
        }
        let answer = client.answer().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header("connection"), Some("close"), "{case}");
        assert_tells_nothing(&answer, case);
        assert!(client.is_closed_within(Duration::from_secs(5)).await, "{case}: still open");
        server.serves_on(case).await;
    }
}

async fn the_limit_is_exact(server: Site) {
    for (path, limit) in [("/small", 256 << 10), ("/big", BIG_LIMIT)] {
        for (len, status) in [(limit, 200), (limit + 1, 413)] {
            // White space after the value belongs to the body and to what is signed.
            let (_, mut body) = {
                let (headers, body) = good().to_parts();
                (headers, body.to_vec())
            };
            body.resize(len, b' ');
            let answer = good().body(body);
            let announced = server.exchange(&post(path, &answer)).await.expect("an answer");
            assert_eq!(announced.status, status, "{path}: {len} bytes, announced");

            let (mut headers, body) = answer.to_parts();
            headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
            let mut sent = request("POST", path, &headers, b"");
            for part in body.chunks(10_000) {
                sent.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                sent.extend_from_slice(part);
                sent.extend_from_slice(b"\r\n");
            }
            sent.extend_from_slice(b"0\r\n\r\n");
            let chunked = server.exchange(&sent).await.expect("an answer");
            assert_eq!(chunked.status, status, "{path}: {len} bytes, in chunks");
            server.serves_on(path).await;
        }
    }
}

async fn a_body_that_breaks_off_is_no_delivery(server: Site) {
    let (headers, body) = good().to_parts();
    let whole = request("POST", "/small", &headers, &body);
    for cut in [1, body.len() / 2, body.len() - 1, body.len()] {
        // The sender says that it has no more.
        let mut client = server.connect().await;
        client.send(&whole[..whole.len() - cut]).await.expect("sent");
        client.end().await;
        let answer = client.answer().await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(matches!(status, None | Some(400)), "cut by {cut}, then half closed: {answer:?}");
        assert!(client.is_closed_within(Duration::from_secs(5)).await, "cut by {cut}: still open");
        server.assert_untouched("a half-closed connection");
        server.serves_on("a half-closed connection").await;

        // The sender is gone.
        let mut client = server.connect().await;
        client.send(&whole[..whole.len() - cut]).await.expect("sent");
        drop(client);
        server.serves_on("a dropped connection").await;
    }
    // The chunks are not what HTTP says.
    let mut chunked = headers.clone();
    chunked.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    for rubbish in ["zz\r\n{}\r\n0\r\n\r\n", "-1\r\n{}", "ffffffffffffffffff\r\n{}", "2\r\n{}XX"] {
        let sent = [request("POST", "/small", &chunked, b""), rubbish.as_bytes().to_vec()].concat();
        let answer = server.exchange(&sent).await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(matches!(status, None | Some(400)), "{rubbish:?}: {answer:?}");
        server.assert_untouched(rubbish);
        server.serves_on(rubbish).await;
    }
}

/// Where two readers could see two bodies, there is none.
async fn ambiguous_framing_is_refused(server: Site) {
    let (headers, body) = good().to_parts();
    let len = body.len().to_string();
    let cases: &[&[(&str, &str)]] = &[
        &[("content-length", &len), ("content-length", "5")],
        &[("content-length", "5"), ("content-length", &len)],
        &[("content-length", &len), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "chunked"), ("content-length", &len)],
        &[("transfer-encoding", "chunked, identity")],
        &[("transfer-encoding", "xchunked")],
        &[("content-length", "-1")],
        &[("content-length", "+5")],
        &[("content-length", "0x10")],
        &[("content-length", "18446744073709551616")],
        &[("content-length", "99999999999999999999999999999999")],
    ];
    for framing in cases {
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        headers.extend(*framing);
        let mut client = server.connect().await;
        let _ = client.send(&request("POST", "/small", &headers, &body)).await;
        client.end().await;
        let answer = client.answer().await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(matches!(status, None | Some(400)), "{framing:?}: {answer:?}");
        server.assert_untouched(&format!("{framing:?}"));
        server.serves_on(&format!("{framing:?}")).await;
    }
}

/// A sender that asks before it sends a body, as curl does with a long one.
async fn a_sender_may_ask_before_it_sends_the_body(server: Site) {
    // With a store an answer may come late.
    let stale = if server.has_a_store() { 200 } else { 401 };
    for (case, answer, status) in [
        ("good", good(), 200),
        ("forged", good().forged(), 401),
        ("stale", good().stale(), stale),
        ("no signature", good().without_header("x-atp-signature"), 401),
        ("not JSON", good().header("content-type", "text/plain"), 415),
        ("too long", good().body(vec![b' '; 300 << 10]), 413),
    ] {
        let sent = post("/small", &answer.header("expect", "100-continue"));
        let head = sent.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let mut client = server.connect().await;
        client.send(&sent[..head]).await.expect("sent");
        let mut answer = client.interim().await.unwrap_or_else(|| panic!("{case}: no answer"));
        if answer.status == 100 {
            let _ = client.send(&sent[head..]).await;
            answer = client.answer().await.unwrap_or_else(|| panic!("{case}: no final answer"));
        }
        assert_eq!(answer.status, status, "{case}");
        server.assert_tells_nothing(&answer, case);
        server.serves_on(case).await;
    }
}

#[actix_web::test]
async fn a_trickled_body_is_given_up_and_stalls_nobody() {
    let server = Site::over(MemoryStore::new()).await;
    for (case, answer) in
        [("signed", good()), ("bare digest", good().signature("0".repeat(64)).member("note", MARKER))]
    {
        let sent = post("/small", &answer);
        let (head, body) = sent.split_at(sent.len() - answer.to_parts().1.len());
        let mut slow = server.connect().await;
        slow.send(head).await.expect("sent");
        let started = Instant::now();
        let (mut trickled, mut served) = (0, 0);
        while started.elapsed() < BODY_WITHIN * 3 && trickled < body.len() {
            if slow.send(&body[trickled..=trickled]).await.is_err() {
                break;
            }
            trickled += 1;
            let asked = Instant::now();
            server.serves_on("a slow sender").await;
            served += 1;
            assert!(asked.elapsed() < Duration::from_secs(2), "{case}: a slow sender stalls others");
            sleep(Duration::from_millis(60)).await;
        }
        assert!(served > 1, "{case}");
        let answer = slow.answer().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, 408, "{case} after {trickled} bytes");
        server.assert_tells_nothing(&answer, case);
        assert!(slow.is_closed_within(Duration::from_secs(5)).await, "{case}: still open");
        server.serves_on(case).await;
    }
    // A sender that sends nothing more at all.
    let (headers, body) = good().to_parts();
    let sent = request("POST", "/small", &headers, &body);
    let mut silent = server.connect().await;
    silent.send(&sent[..sent.len() - 1]).await.expect("sent");
    assert_eq!(silent.answer().await.expect("an answer").status, 408, "a silent sender");
    server.serves_on("a silent sender").await;
}

/// Several requests in one packet: each gets its own answer or the connection ends, and no byte of a body is taken for a
/// request.
async fn pipelined_requests_are_not_confused(server: Site) {
    // If the body of the first were taken for a request it would be answered 200.
    let smuggled = post("/small", &good());
    let chunked = |answer: SignedAnswer| {
        let (mut headers, body) = answer.to_parts();
        headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        let mut sent = request("POST", "/small", &headers, b"");
        sent.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        sent.extend_from_slice(&body);
        sent.extend_from_slice(b"\r\n0\r\n\r\n");
        sent
    };
    let wrapped = |answer: SignedAnswer| answer.body(smuggled.clone());
    // With a store an answer may come late, so it is read.
    let stale = if server.has_a_store() { 400 } else { 401 };
    // (case, the first request, its status, whether the second one must be answered)
    let cases: Vec<(&str, Vec<u8>, u16, bool)> = vec![
        ("good", post("/small", &good()), 200, true),
        ("a wrong digest, body read", post("/small", &wrapped(good().forged())), 401, true),
        ("a wrong digest, chunks read", chunked(wrapped(good().forged())), 401, true),
        ("signed, not JSON", post("/small", &wrapped(good())), 400, true),
        ("no signature", post("/small", &wrapped(good().without_header("x-atp-signature"))), 401, false),
        ("no signature, chunks", chunked(wrapped(good().without_header("x-atp-signature"))), 401, false),
        ("stale", post("/small", &wrapped(good().stale())), stale, server.has_a_store()),
        ("not JSON", post("/small", &wrapped(good().header("content-type", "text/plain"))), 415, false),
        ("too long", post("/small", &good().body(vec![b' '; 300 << 10])), 413, false),
        ("GET without a body", request("GET", "/small", &[("x", "y")], b""), 405, false),
        ("GET with a body", request("GET", "/small", &[("x", "y")], &smuggled), 405, false),
    ];
    for (case, first, status, must_answer) in cases {
        let mut client = server.connect().await;
        let _ =
            client.send(&[first, post("/small", &good()), post("/small", &good().forged())].concat()).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, status, "{case}");
        let second = client.answer().await.map(|answer| answer.status);
        if must_answer {
            assert_eq!(second, Some(200), "{case}: the second request");
        }
        let third = client.answer().await.map(|answer| answer.status);
        let sound = matches!((second, third), (None, None) | (Some(200), None | Some(401)));
        assert!(sound, "{case}: then {second:?} and {third:?}");
        server.serves_on(case).await;
    }
}

fn payload(data: &str) -> Vec<u8> {
    let now = chrono::Utc::now().to_rfc3339();
    format!(r#"{{"notification_id":"n-1","action_id":"a","responded_at":"{now}","response_data":{data}}}"#)
        .into()
}

fn utf_16(text: &[u8], unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    String::from_utf8_lossy(text).encode_utf16().flat_map(unit).collect()
}

/// The statuses of one body: signed in the timestamped scheme, signed raw, and with digests of nobody. To a webhook with a
/// store it is another answer than the one that stands.
async fn judge(server: &Site, case: &str, path: &str, bytes: Vec<u8>, signed: u16) {
    let signed = if signed == 200 && server.has_a_store() { 409 } else { signed };
    let bytes = Bytes::from(bytes);
    let deliver = |scheme| good().body(bytes.clone()).scheme(scheme);
    let unsigned = good().body(bytes.clone()).signature("0".repeat(64));
    for (how, answer, status) in [
        ("timestamped", deliver(Scheme::Timestamped), signed),
        ("raw", deliver(Scheme::Raw), signed),
        ("timestamped, forged", deliver(Scheme::Timestamped).forged(), 401),
        ("a bare digest, forged", unsigned, 401),
    ] {
        let answer = server.exchange(&post(path, &answer)).await;
        let answer = answer.unwrap_or_else(|| panic!("{case}, {how}: no answer"));
        assert_eq!(answer.status, status, "{case}, {how}: {}", answer.text());
        match answer.status {
            400 => {
                assert!(answer.text().contains(r#""code":"MALFORMED_PAYLOAD""#), "{case}, {how}: {answer:?}")
            }
            401 => server.assert_tells_nothing(&answer, case),
            409 => {
                assert!(answer.text().contains("NOTIFICATION_ALREADY_RESPONDED"), "{case}, {how}: {answer:?}")
            }
            _ => {}
        }
        server.serves_on(case).await;
    }
}

async fn bodies_that_are_not_strict_json_in_utf_8_are_malformed_when_signed_and_401_when_not(server: Site) {
    let plain = payload("null");
    let with_bom = |bom: &[u8], text: &[u8]| [bom, text].concat();
    let replaced = |data: &[u8]| {
        let text = payload("\"@\"");
        let at = text.iter().position(|byte| *byte == b'@').expect("the place");
        [&text[..at], data, &text[at + 1..]].concat()
    };
    let bodies = [
        ("plain", plain.clone(), 200),
        ("empty", Vec::new(), 400),
        ("white space", b" \n".to_vec(), 400),
        ("half", plain[..plain.len() / 2].to_vec(), 400),
        ("twice", [&plain[..], &plain].concat(), 400),
        ("a byte after it", [&plain[..], b"x"].concat(), 400),
        ("NUL after it", [&plain[..], b"\0"].concat(), 400),
        ("only NUL", vec![0; 1000], 400),
        ("an array", b"[]".to_vec(), 400),
        ("null", b"null".to_vec(), 400),
        ("an empty object", b"{}".to_vec(), 400),
        ("invalid UTF-8", replaced(b"\xff"), 400),
        ("half a code point", replaced(b"\xe2\x82"), 400),
        ("an overlong code point", replaced(b"\xc0\xaf"), 400),
        ("a raw surrogate", replaced(b"\xed\xa0\x80"), 400),
        ("a raw control character", replaced(b"\n"), 400),
        ("BOM", with_bom(b"\xef\xbb\xbf", &plain), 400),
        ("UTF-16 LE", utf_16(&plain, u16::to_le_bytes), 400),
        ("UTF-16 BE", utf_16(&plain, u16::to_be_bytes), 400),
        ("UTF-16 LE with BOM", with_bom(b"\xff\xfe", &utf_16(&plain, u16::to_le_bytes)), 400),
        ("UTF-16 BE with BOM", with_bom(b"\xfe\xff", &utf_16(&plain, u16::to_be_bytes)), 400),
        ("NaN", payload("NaN"), 400),
        ("Infinity", payload("-Infinity"), 400),
        ("a comment", payload("/**/null"), 400),
        ("a comma too many", payload("[1,]"), 400),
        ("a leading zero", payload("01"), 400),
        ("single quotes", payload("'a'"), 400),
        ("a member twice", payload(r#"{"a":1,"a":1}"#), 400),
        ("a member twice, spelt otherwise", payload(r#"{"a":1,"\u0061":1}"#), 400),
        ("NUL in a text", payload(r#""\u0000""#), 200),
        ("half of a surrogate pair", payload(r#""\ud83d""#), 200),
        ("depth 127", payload(&format!("{}{}", "[".repeat(127), "]".repeat(127))), 200),
        ("depth 129", payload(&format!("{}{}", "[".repeat(128), "]".repeat(128))), 400),
        ("a float out of range", payload("1e999999999"), 200),
        ("an integer past 64 bits", payload("123456789012345678901234567890"), 200),
    ];
    for (case, bytes, signed) in bodies {
        judge(&server, case, "/small", bytes, signed).await;
    }
}

/// The variable that makes [`serves_in_a_process_of_its_own`] a server.
const CHILD: &str = "ATP_TESTS_SERVE";

/// Not a test by itself: a server in its own process, whose memory is then its own too. It ends with its input.
#[actix_web::test]
async fn serves_in_a_process_of_its_own() {
    if env::var_os(CHILD).is_some() {
        let server = serve();
        println!("{CHILD}={}", server.0);
        let _ = io::stdin().read(&mut [0]);
    }
}

struct Child {
    process: process::Child,
    address: Address,
}

impl Child {
    fn start() -> Self {
        let this = env::current_exe().expect("this test has a file");
        let mut process = process::Command::new(this)
            .args(["--exact", "webhook::hostile::serves_in_a_process_of_its_own", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = io::BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut addresses = lines.map_while(Result::ok).filter_map(|line| {
            let (_, address) = line.split_once(&format!("{CHILD}="))?;
            address.parse().ok()
        });
        let address = Address(addresses.next().expect("the server starts"));
        Self { process, address }
    }

    /// The memory that it has (`VmRSS`), or the most that it has had (`VmHWM`), in bytes.
    fn memory(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name);
        line.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<usize>().ok()).expect("KiB") << 10
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Members with the shortest names there are, as many as the limit has room for.
fn short_members() -> String {
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let mut text = String::new();
    for mut nth in 1..1_800_000 {
        text.push_str(if text.is_empty() { "\"" } else { ",\"" });
        while nth > 0 {
            text.push(digits[nth % digits.len()]);
            nth /= digits.len();
        }
        text.push_str("\":0");
    }
    text
}

fn members(prefix: &str, count: usize, step: usize) -> String {
    let members: Vec<_> = (0..count).map(|nth| format!(r#""{prefix}{}":0"#, nth * step)).collect();
    members.join(",")
}

/// A payload with more members at its root.
fn with_members(members: &str) -> Vec<u8> {
    let mut text = payload("null");
    text.pop();
    [&text, format!(",{members}}}").as_bytes()].concat()
}

fn object(members: &str) -> Vec<u8> {
    payload(&format!("{{{members}}}"))
}

#[actix_web::test]
async fn large_hostile_bodies_cost_at_most_16_times_the_limit() {
    use Scheme::{NodeCompact, PythonCanonical, Timestamped};

    type Case = (&'static str, fn() -> Vec<u8>, Scheme, u16);
    let cases: &[Case] = &[
        (
            "depth 10^6",
            || payload(&format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000))),
            Timestamped,
            400,
        ),
        ("depth 8 * 10^6, and no end", || payload(&"[".repeat(8_000_000)), Timestamped, 400),
        ("objects, depth 10^6", || payload(&r#"{"a":"#.repeat(1_000_000)), Timestamped, 400),
        ("a number of 1 MB", || payload(&"9".repeat(1 << 20)), Timestamped, 200),
        ("a number of 1 MB, signed as null", || payload(&"9".repeat(1 << 20)), NodeCompact, 200),
        ("a float of 1 MB", || payload(&format!("0.{}", "1".repeat(1 << 20))), PythonCanonical, 200),
        ("an exponent of 1 MB", || payload(&format!("1e{}", "9".repeat(1 << 20))), Timestamped, 200),
        ("a text of 15 MiB", || payload(&format!("\"{}\"", "a".repeat(15 << 20))), Timestamped, 200),
        ("7 * 10^6 code points", || payload(&format!("\"{}\"", "é".repeat(7_000_000))), PythonCanonical, 200),
        ("2 * 10^6 escapes", || payload(&format!("\"{}\"", "\\u00e9".repeat(2_000_000))), NodeCompact, 200),
        ("10^5 times a member", || with_members(&members("k", 100_000, 0)), Timestamped, 400),
        ("10^5 times a member in the data", || object(&members("k", 100_000, 0)), PythonCanonical, 400),
        ("10^6 members", || with_members(&members("k", 1_000_000, 1)), Timestamped, 200),
        ("10^6 members like indices", || object(&members("", 1_000_000, 1)), NodeCompact, 200),
        ("as many members as fit", || with_members(&short_members()), PythonCanonical, 200),
        ("as many members as fit in the data", || object(&short_members()), NodeCompact, 200),
        ("4 * 10^6 numbers", || payload(&format!("[{}0]", "0,".repeat(4_000_000))), PythonCanonical, 200),
        ("5 * 10^6 lists", || payload(&format!("[{}0]", "[],".repeat(5_000_000))), Timestamped, 200),
        ("15 MiB of white space", || payload(&format!("{}0", " ".repeat(15 << 20))), Timestamped, 200),
    ];
    let mut too_much = Vec::new();
    for (case, body, scheme, signed) in cases {
        let body = Bytes::from(body());
        let len = body.len();
        assert!(len <= BIG_LIMIT, "{case}: {len} bytes");
        let answer = good().body(body);
        for (how, answer, status) in [
            (scheme.name(), answer.clone().scheme(*scheme), *signed),
            ("a bare digest, forged", answer.signature("0".repeat(64)), 401),
        ] {
            let request = post("/big", &answer);
            let child = Child::start();
            let (before, started) = (child.memory("VmRSS"), Instant::now());
            let answer = child.address.exchange(&request).await;
            let answer = answer.unwrap_or_else(|| panic!("{case}, {how}: no answer"));
            assert_eq!(answer.status, status, "{case}, {how}: {}", answer.text());
            let (grown, took) = (child.memory("VmHWM").saturating_sub(before), started.elapsed().as_millis());
            println!(
                "{case}, {how}: {:.1} MB, and {:.1} MB more at the peak: {:.1} times the body, {:.1} times the limit; {took} ms",
                len as f64 / 1e6,
                grown as f64 / 1e6,
                grown as f64 / len as f64,
                grown as f64 / BIG_LIMIT as f64,
            );
            // What the documentation of `limit` says, and some room for the allocator.
            if grown >= 20 * BIG_LIMIT {
                too_much.push(format!("{case}, {how}: {grown} bytes more"));
            }
            // actix counts a connection's first seconds by a clock that stands still while its worker is busy, so right
            // after seconds of work, as in an unoptimised build, it may answer a good request with a 408 of its own.
            sleep(Duration::from_millis(if took > 2000 { 1000 } else { 0 })).await;
            child.address.serves_on(case).await;
        }
    }
    assert!(too_much.is_empty(), "{too_much:#?}");
}

#[actix_web::test]
async fn nul_arrives_as_nul() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let server = Server::start(1, move |config: &mut web::ServiceConfig| {
        let heard = Arc::clone(&heard);
        config.service(Webhook::new("/", verifier()).on("a", move |answer: AtpResponse<Text>| {
            heard.lock().expect("nobody panicked").push(answer.into_data());
            async { HttpResponse::Ok().finish() }
        }));
    });
    for scheme in Scheme::ALL {
        let answer = good().body(payload(r#""a\u0000b""#)).scheme(scheme);
        let answer = server.exchange(&post("/", &answer)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{scheme}: {}", answer.text());
    }
    assert_eq!(*seen.lock().expect("nobody panicked"), vec!["a\0b"; 4]);
}
