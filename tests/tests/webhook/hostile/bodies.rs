//! Bodies that are no strict JSON, and what large ones cost.

use std::{
    env, fs,
    io::{self, BufRead as _},
    process::{self, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, web};
use atp_actix::{AtpResponse, Scheme, Text, Webhook};
use bytes::Bytes;
use tokio::time::sleep;

use super::{BIG_LIMIT, CHILD, Site, good};
use crate::support::{
    asked::verifier,
    server::{Address, Server, post},
};

with_and_without_a_store!(
    bodies_that_are_not_strict_json_in_utf_8_are_malformed_when_signed_and_401_when_not,
);

fn payload(data: &str) -> Vec<u8> {
    let now = chrono::Utc::now().to_rfc3339();
    format!(r#"{{"notification_id":"n-1","action_id":"a","responded_at":"{now}","response_data":{data}}}"#)
        .into()
}

fn utf_16(text: &[u8], unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    String::from_utf8_lossy(text).encode_utf16().flat_map(unit).collect()
}

/// The statuses of one body: signed in the timestamped scheme, signed raw, and with digests of
/// nobody. To a webhook with a store it is another answer than the one that stands.
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
            // actix counts a connection's first seconds by a clock that stands still while its
            // worker is busy, so right after seconds of work, as in an unoptimised build, it may
            // answer a good request with a 408 of its own.
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
