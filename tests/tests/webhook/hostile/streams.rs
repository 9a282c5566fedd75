//! Bodies that are too long, break off, come slowly or follow each other in one packet.

use std::time::{Duration, Instant};

use atp_actix::{store::MemoryStore, test::SignedAnswer};
use tokio::time::sleep;

use super::{BIG_LIMIT, BODY_WITHIN, MARKER, Site, assert_tells_nothing, good, mount, serve};
use crate::support::server::{Client, Server, post, request};

// A body without end and a slow one are cut off before there is anything to remember, so they need
// no store.
with_and_without_a_store!(
    the_limit_is_exact,
    a_body_that_breaks_off_is_no_delivery,
    a_sender_may_ask_before_it_sends_the_body,
    pipelined_requests_are_not_confused,
);

/// Sends without end, until the server no longer takes it. Gives the answer, and how many bytes
/// were taken.
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
        // actix discards what comes in the second that it lingers for unless told otherwise; how
        // much that is, is up to the machine, so the bound is the time.
        println!("{case}: {} MiB taken in {} ms", taken >> 20, took.as_millis());
        assert!(took < Duration::from_secs(10), "{case}: still open after {took:?}");
        server.serves_on(case).await;

        // Where actix does not linger, no more is taken than was asked for and what the sockets
        // hold.
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

/// Several requests in one packet: each gets its own answer or the connection ends, and no byte of
/// a body is taken for a request.
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
