//! What the log says of deliveries, and what it never says.

use std::time::{Duration, Instant};

use actix_web::{App, test, web};
use atp_actix::{
    AtpResponse, Choice, Error, File, Form, Number, Scheme, Secret, Simple, Text, Verifier, Webhook,
    atp_core::{Action, Notification, TextRules},
    store::{MemoryStore, Question, Store as _},
    test::{Sender, SignedAnswer},
};
use atp_tests::{PATH, SECRET};
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Level;

use crate::support::logged::{self, Log};

const PREVIOUS: &str = "whsec_UHJldmlvdXNTZWNyZXRPZkxhc3RZZWFy";
/// Private words in every place of the data.
const WORDS: &str = "PrivateWordsOfTheHuman";
const NUMBER: i64 = 73_159_024_687;

fn verifier() -> Verifier {
    let secret = |text: &str| Secret::new(text).expect("a good secret");
    Verifier::new(secret(SECRET)).or(secret(PREVIOUS))
}

fn answer(action: &str, data: Value) -> SignedAnswer {
    Sender::new(SECRET).answer("n-77", action, data).request_id("req_77")
}

/// The same with a blank before the body, so that no two schemes sign the same text.
fn spaced(sent: SignedAnswer) -> SignedAnswer {
    let (_, body) = sent.to_parts();
    sent.body([b" ", &body[..]].concat())
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only what fits matters here")]
struct Contact {
    name: String,
    amount: u8,
}

#[derive(Deserialize)]
enum Delay {
    #[serde(rename = "1h")]
    Hour,
}

/// A type whose error looks like one of `serde` and quotes the answer.
#[derive(Debug)]
struct Quoting;

impl<'de> Deserialize<'de> for Quoting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let said = String::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("invalid value, expected {said}")))
    }
}

fn webhook() -> Webhook {
    async fn fails(_: AtpResponse) -> Result<(), Error> {
        Err(std::io::Error::other("the disk is full"))?;
        Ok(())
    }
    async fn fails_on_data(answer: AtpResponse) -> Result<(), Error> {
        let text = answer.data.as_ref().map(|data| data.as_str().to_owned()).unwrap_or_default();
        text.parse::<u8>()?;
        Ok(())
    }
    async fn fails_to_parse(answer: AtpResponse) -> Result<(), Error> {
        answer.into_data().expect("data").parse::<u8>()?;
        Ok(())
    }
    Webhook::new(PATH, verifier())
        .limit(100_000)
        .on("simple", |_: AtpResponse<Simple>| async { "" })
        .on("text", |_: AtpResponse<Text>| async { "" })
        .on("number", |_: AtpResponse<Number<u8>>| async { "" })
        .on("choice", |answer: AtpResponse<Choice<Delay>>| async move {
            let Delay::Hour = answer.data;
            ""
        })
        .on("quoting", |_: AtpResponse<Choice<Quoting>>| async { "" })
        .on("form", |_: AtpResponse<Form<Contact>>| async { "" })
        .on("file", |_: AtpResponse<File>| async { "" })
        .on("json", |_: AtpResponse<atp_actix::Json>| async { "" })
        .on("prints", |answer: AtpResponse| async move {
            // A handler that logs all that it can get hold of.
            tracing::info!(?answer, raw = ?answer.data, delivery = ?answer.delivery(), "handler");
            ""
        })
        .on("bytes", |_: web::Bytes| async { "" })
        .on("a number by actix", |_: web::Json<u8>| async { "" })
        .on("fails to parse", fails_to_parse)
        .on("fails", fails)
        .on("fails on data", fails_on_data)
}

/// Sends to one webhook, at TRACE; gives the status and the log.
async fn deliver(sent: &SignedAnswer) -> (u16, Log) {
    let run = async {
        let app = test::init_service(App::new().service(webhook())).await;
        test::call_service(&app, sent.post_to(PATH).to_request()).await.status().as_u16()
    };
    logged::during(run).await
}

/// Every digest that could be made of this body with the secrets, and those that were sent.
fn digests(sent: &SignedAnswer) -> Vec<String> {
    let (headers, body) = sent.to_parts();
    let mut all: Vec<String> = Vec::new();
    let mut take = |header: &str| {
        for part in header.split([',', '=', ' ']).filter(|part| part.len() >= 16) {
            all.extend([part.to_owned(), part.to_uppercase()]);
        }
    };
    for (_, value) in headers.iter().filter(|(name, _)| name == "x-atp-signature") {
        take(value);
    }
    for secret in [SECRET, PREVIOUS, "somebody else's webhook secret"] {
        let verifier = Verifier::new(Secret::new(secret).expect("a good secret"));
        for scheme in Scheme::ALL {
            if let Ok(signature) = verifier.sign_at(scheme, &body, Utc::now()) {
                take(&signature.to_string());
            }
        }
    }
    all
}

fn assert_silent(case: &str, sent: &SignedAnswer, log: &Log) {
    let text = log.text();
    let (_, body) = sent.to_parts();
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut forbidden: Vec<String> =
        [SECRET, PREVIOUS, WORDS, "response_data\\\"", "response_data\":"].map(str::to_owned).into();
    forbidden.extend([NUMBER.to_string(), "73159024687.5".to_owned(), "7.31590".to_owned()]);
    // Secrets without their prefix, and as bytes in a Debug.
    forbidden.extend([SECRET, PREVIOUS].map(|secret| secret["whsec_".len()..].to_owned()));
    forbidden.extend([SECRET, WORDS].map(|text| {
        let bytes: Vec<_> = text.bytes().take(12).map(|byte| byte.to_string()).collect();
        bytes.join(", ")
    }));
    forbidden.extend(digests(sent));
    if body.len() > 10 {
        forbidden.push(body.clone());
        forbidden.push(body[..10].to_owned());
    }
    for part in forbidden {
        assert!(!text.contains(&part), "{case}: the log holds {part:?}:\n{text}");
    }
}

/// The search below finds what is there, in `tracing` and in `log`.
#[actix_web::test]
async fn what_is_logged_is_seen() {
    let ((), log) = logged::during(async {
        tracing::trace!(target: "anywhere", field = ?Some(WORDS), "message");
        tracing::trace_span!("span", digest = "in a span").in_scope(|| {});
        log::trace!(target: "anywhere", "the word {NUMBER}");
    })
    .await;
    for part in [WORDS, "in a span", &NUMBER.to_string()] {
        assert!(log.contains(part), "{part}: {}", log.text());
    }
}

#[actix_web::test]
async fn no_secret_no_digest_and_no_data_is_logged() {
    let words = || json!(WORDS);
    let base64 = "UHJpdmF0ZVdvcmRz";
    let accepted = [
        ("simple", json!(null)),
        ("text", words()),
        ("form", json!({"name": WORDS, "amount": 5, "more": NUMBER})),
        ("file", json!({"name": WORDS, "content_type": WORDS, "data": base64})),
        ("file", json!({"name": WORDS, "url": format!("https://example.com/{WORDS}")})),
        ("json", json!({"list": [WORDS, NUMBER, 73_159_024_687.5]})),
        ("prints", words()),
        ("prints", json!({"a": NUMBER})),
        ("bytes", words()),
    ];
    let unfit = [
        ("simple", words()),
        ("text", json!(NUMBER)),
        ("text", json!([WORDS])),
        ("number", json!(NUMBER)),
        ("number", json!(73_159_024_687.5)),
        ("number", words()),
        ("choice", words()),
        ("choice", json!(NUMBER)),
        ("quoting", words()),
        ("quoting", json!(format!("{WORDS}\n"))),
        ("form", json!({"name": WORDS, "amount": NUMBER})),
        ("form", json!({"name": NUMBER, "amount": WORDS})),
        ("form", json!({"name": WORDS, "amount": WORDS})),
        ("form", words()),
        ("file", json!({"name": WORDS, "data": WORDS})),
        ("file", json!({"name": WORDS, "url": WORDS})),
        ("file", json!({"name": WORDS, "size": NUMBER, "data": base64})),
        ("json", words()),
        ("a number by actix", words()),
        ("a number by actix", json!(NUMBER)),
    ];
    let failing = [
        ("fails", words(), 503),
        ("fails", json!({"a": NUMBER}), 503),
        ("fails on data", words(), 503),
        ("fails to parse", words(), 503),
        ("fails to parse", json!(NUMBER), 503),
        ("nobody's", words(), 500),
    ];
    let all = accepted.into_iter().map(|(action, data)| (action, data, 200));
    let all = all.chain(unfit.into_iter().map(|(action, data)| (action, data, 400))).chain(failing);
    let mut deliveries = 0;
    for (action, data, status) in all {
        for scheme in Scheme::ALL {
            let sent = spaced(answer(action, data.clone()).scheme(scheme).member("private", WORDS));
            let case = format!("{action} {data} {scheme}");
            let (seen, log) = deliver(&sent).await;
            assert_eq!(seen, status, "{case}: {}", log.text());
            assert_silent(&case, &sent, &log);
            assert_told(&case, &log, scheme, action, status);
            deliveries += 1;
        }
    }
    println!("{deliveries} signed deliveries");
}

/// One event a delivery, with all that support needs.
fn assert_told(case: &str, log: &Log, scheme: Scheme, action: &str, status: u16) {
    let told = log.deliveries();
    assert_eq!(told.len(), 1, "{case}: {}", log.text());
    let (level, outcome) = match status {
        200 => (Level::INFO, "handled"),
        400 => (Level::WARN, "refused"),
        _ => (Level::ERROR, "failed"),
    };
    assert_eq!(told[0].level, level, "{case}");
    for (name, value) in [
        ("request_id", "req_77"),
        ("notification_id", "n-77"),
        ("action_id", action),
        ("scheme", scheme.name()),
        ("outcome", outcome),
        ("status", &status.to_string()),
    ] {
        assert_eq!(told[0].fields.get(name).map(String::as_str), Some(value), "{case}: {name}");
    }
    let duration = told[0].fields.get("duration_us").and_then(|text| text.parse::<u64>().ok());
    assert!(duration.is_some_and(|duration| duration > 0), "{case}: {duration:?}");
    assert_eq!(status != 200, told[0].fields.contains_key("reason"), "{case}: a reason");
}

#[actix_web::test]
async fn no_secret_no_digest_and_no_data_is_logged_of_what_is_refused() {
    for scheme in Scheme::ALL {
        let told = || answer("text", json!({"words": WORDS, "number": NUMBER})).scheme(scheme);
        let sent = || spaced(told());
        let (headers, body) = sent().to_parts();
        let right = headers[1].1.clone();
        let longer = |after: &[u8]| sent().body([&body, after].concat()).signature(right.clone());
        let signed_with = |secret: &str| {
            Sender::new(secret).answer("n-77", "text", WORDS).request_id("req_77").scheme(scheme)
        };
        let cases: Vec<(&str, SignedAnswer, u16)> = vec![
            ("forged", sent().forged(), 401),
            ("stale", spaced(told().stale()), 401),
            ("future", spaced(told().future()), 401),
            ("truncated", sent().truncated(), 401),
            ("doubled", sent().doubled(), 401),
            ("no signature", sent().without_header("x-atp-signature"), 401),
            ("upper case", sent().signature(right.to_uppercase()), 401),
            ("cut digest", sent().signature(&right[..right.len() - 1]), 401),
            ("a prefix", sent().signature(format!("sha256={right}")), 401),
            ("the secret as signature", sent().signature(SECRET), 401),
            (
                "a newline at the end",
                longer(b"\n"),
                if scheme == Scheme::PythonCanonical || scheme == Scheme::NodeCompact { 400 } else { 401 },
            ),
            ("a member more", longer(b"}"), 401),
            ("a trimmed secret", signed_with(&SECRET["whsec_".len()..]), 401),
            ("a secret with a newline", signed_with(&format!("{SECRET}\n")), 401),
            ("the type", sent().header("content-type", "text/plain"), 415),
            ("the encoding", sent().header("content-encoding", "gzip"), 415),
            ("too long", answer("text", Value::from(WORDS.repeat(10_000))).scheme(scheme), 413),
        ];
        for (case, sent, status) in cases {
            let case = format!("{scheme}, {case}");
            let (seen, log) = deliver(&sent).await;
            assert_eq!(seen, status, "{case}: {}", log.text());
            assert_silent(&case, &sent, &log);
            let told = log.deliveries();
            assert_eq!(told.len(), 1, "{case}: {}", log.text());
            for name in ["request_id", "outcome", "status", "reason"] {
                assert!(told[0].fields.contains_key(name), "{case}: no {name} in {}", log.text());
            }
            // Explain was on, or this proves less than it says.
            let explained = log.entries().iter().any(|entry| entry.target == "atp_actix::explain");
            assert!(
                explained || !matches!(case.rsplit(", ").next(), Some("forged" | "truncated")),
                "{case}: {}",
                log.text()
            );
        }
    }
}

/// Signed, but no answer: the sender's fault, and somebody must look, so it is told like every
/// signed delivery.
#[actix_web::test]
async fn signed_rubbish_is_told_at_warn_and_not_in_its_words() {
    let now = Utc::now().to_rfc3339();
    let bodies = [
        format!(r#"{{"notification_id":"n","response_data":"{WORDS}","timestamp":"{now}"}}"#),
        format!(
            r#"{{"notification_id":{NUMBER},"action_id":"text","response_data":"{WORDS}","timestamp":"{now}"}}"#
        ),
        format!(
            r#"{{"notification_id":"n","action_id":"text","response_data":{{"a":"{WORDS}","a":{NUMBER}}},"timestamp":"{now}"}}"#
        ),
        format!(r#"{{"notification_id":"n","action_id":"text","responder":"{WORDS}","timestamp":"{now}"}}"#),
        format!(r#"["{WORDS}"]"#),
    ];
    let mut quiet = Vec::new();
    for body in bodies {
        for scheme in Scheme::ALL {
            let sent = answer("text", Value::Null).body(body.clone()).scheme(scheme);
            let (status, log) = deliver(&sent).await;
            assert_eq!(status, 400, "{scheme} {body}: {}", log.text());
            assert_silent(&format!("{scheme} {body}"), &sent, &log);
            let told = log.deliveries();
            assert_eq!(told.len(), 1, "{scheme} {body}: {}", log.text());
            if told[0].level != Level::WARN {
                quiet.push(format!("{} {scheme} {body}", told[0].level));
            }
        }
    }
    assert!(quiet.is_empty(), "not at warn: {quiet:#?}");
}

#[actix_web::test]
async fn a_flood_of_forgeries_does_not_flood_the_log() {
    const FLOOD: u32 = 1000;
    let started = Instant::now();
    let run = async {
        let app = test::init_service(App::new().service(webhook())).await;
        let forged = answer("text", json!(WORDS)).forged();
        for _ in 0..FLOOD {
            let response = test::call_service(&app, forged.post_to(PATH).to_request()).await;
            assert_eq!(response.status(), 401);
        }
        let took = started.elapsed();
        actix_web::rt::time::sleep(Duration::from_millis(1100)).await;
        let _ = test::call_service(&app, forged.post_to(PATH).to_request()).await;
        // What is signed is told however many forgeries came.
        let good = answer("text", json!(WORDS));
        assert_eq!(test::call_service(&app, good.post_to(PATH).to_request()).await.status(), 200);
        took
    };
    let (took, log) = logged::during(run).await;
    let (forged, handled): (Vec<_>, Vec<_>) =
        log.deliveries().into_iter().partition(|entry| entry.fields["outcome"] == "refused");
    let allowed = 10 * (took.as_secs() + 2) + 1;
    println!("{FLOOD} forgeries in {} ms: {} events", took.as_millis(), forged.len());
    assert!(u64::try_from(forged.len()).is_ok_and(|told| told <= allowed), "{} events", forged.len());
    assert!(log.entries().len() < 1000, "{} entries of all kinds", log.entries().len());
    assert_eq!(handled.len(), 1, "the signed one");
    // None is forgotten: what was not told is counted.
    let untold: u32 =
        forged.iter().map(|entry| entry.fields["untold"].parse::<u32>().expect("a number")).sum();
    assert_eq!(untold + u32::try_from(forged.len()).expect("few"), FLOOD + 1);
}

/// Forgeries that fill the log's share of a second must not hide what was signed.
#[actix_web::test]
async fn a_flood_of_forgeries_hides_no_signed_delivery() {
    let run = async {
        let app = test::init_service(App::new().service(webhook())).await;
        let forged = answer("text", json!(WORDS)).forged();
        for _ in 0..50 {
            let _ = test::call_service(&app, forged.post_to(PATH).to_request()).await;
        }
        let timeless = r#"{"notification_id":"n-1","action_id":"text","response_data":"x"}"#;
        for (sent, status) in [
            (answer("text", json!("x")).request_id("req_good"), 200),
            (answer("text", json!(1)).request_id("req_unfit"), 400),
            (answer("fails", json!(1)).request_id("req_failing"), 503),
            (answer("text", json!(1)).body("{}").request_id("req_malformed"), 400),
            (answer("text", json!("x")).scheme(Scheme::Raw).stale().request_id("req_stale"), 401),
            (answer("text", json!("x")).scheme(Scheme::Raw).body(timeless).request_id("req_timeless"), 401),
        ] {
            let response = test::call_service(&app, sent.post_to(PATH).to_request()).await;
            assert_eq!(response.status(), status);
        }
    };
    let ((), log) = logged::during(run).await;
    for id in ["req_good", "req_unfit", "req_failing", "req_malformed", "req_stale", "req_timeless"] {
        let told = log
            .deliveries()
            .iter()
            .filter(|entry| entry.fields.get("request_id").is_some_and(|text| text == id))
            .count();
        assert_eq!(told, 1, "{id}: {}", log.text());
    }
}

/// Who has once seen a signed delivery can send its digest as a bare one, over the time, a dot and
/// the body. Nobody signs such a text as a payload, so it is a stranger's.
#[actix_web::test]
async fn a_flood_of_signed_rubbish_does_not_flood_the_log() {
    const FLOOD: usize = 200;
    let started = Instant::now();
    let run = async {
        let app = test::init_service(App::new().service(webhook())).await;
        let (headers, body) = answer("text", json!(WORDS)).to_parts();
        let (time, digest) = headers[1].1.split_once(",v1=").expect("a timestamped signature");
        let signed = [time.trim_start_matches("t=").as_bytes(), b".", &body].concat();
        let replayed = answer("text", Value::Null).body(signed).signature(digest);
        for _ in 0..FLOOD {
            let response = test::call_service(&app, replayed.post_to(PATH).to_request()).await;
            assert_eq!(response.status(), 401);
        }
        let good = answer("text", json!(1)).request_id("req_unfit");
        assert_eq!(test::call_service(&app, good.post_to(PATH).to_request()).await.status(), 400);
        started.elapsed()
    };
    let (took, log) = logged::during(run).await;
    let told = log.deliveries();
    let is_good = |entry: &logged::Entry| entry.fields["request_id"] == "req_unfit";
    assert!(told.iter().all(|entry| is_good(entry) == (entry.level == Level::WARN)), "{}", log.text());
    let allowed = 10 * (took.as_secs() + 2) + 1;
    assert!(u64::try_from(told.len()).is_ok_and(|told| told <= allowed), "{} events", told.len());
    assert!(told.iter().any(is_good), "{}", log.text());
}

#[actix_web::test]
async fn a_long_forgery_is_not_explained_at_the_price_of_its_length() {
    for (len, explained) in [(1_000, true), (20_000, false)] {
        let (status, log) = deliver(&answer("text", Value::from("x".repeat(len))).forged()).await;
        assert_eq!(status, 401);
        let told = log.entries().into_iter().find(|entry| entry.target == "atp_actix::explain");
        let text = told.expect("one at DEBUG").fields["message"].clone();
        assert_eq!(text.contains("too long"), !explained, "{text}");
    }
}

/// With a store the reason of an extractor that refused is told where it is ours, and not where it
/// may quote the answer.
#[actix_web::test]
async fn no_data_is_logged_on_the_path_with_a_store() {
    let run = |sent: SignedAnswer| async move {
        let store = MemoryStore::new();
        let question =
            Notification::new("Which?", "").id("n-77").action(Action::text("text", "Text", TextRules::new()));
        store.record(&Question::new(question)).await.expect("a question");
        let webhook = Webhook::new(PATH, verifier()).store(store).on("text", |_: web::Json<u8>| async { "" });
        let app = test::init_service(App::new().service(webhook)).await;
        let status = test::call_service(&app, sent.post_to(PATH).to_request()).await.status().as_u16();
        let mut redriven =
            test::TestRequest::post().uri(PATH).insert_header(("x-atp-redrive", "0".repeat(32)));
        redriven =
            redriven.insert_header(("content-type", "application/json")).set_payload(sent.to_parts().1);
        (status, test::call_service(&app, redriven.to_request()).await.status().as_u16())
    };
    for (sent, status) in [
        (answer("text", json!(WORDS)), 500),
        (answer("text", json!(NUMBER)), 400),
        (answer("else", json!(WORDS)), 400),
        (answer("text", json!(WORDS)).body(format!(r#"{{"notification_id":"{WORDS}"}}"#)), 400),
    ] {
        let (seen, log) = logged::during(run(sent.clone())).await;
        assert_eq!(seen, (status, 401), "{sent:?}: {}", log.text());
        assert_silent("with a store", &sent, &log);
    }
}
