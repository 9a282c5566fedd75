//! What may come to a webhook with a store: strangers do not reach it, and whoever has the secret
//! breaks nothing in it.

use std::sync::{Arc, Mutex};

use actix_web::web::Bytes;
use atp_actix::{
    AtpResponse, Scheme, Secret, Text, Verifier,
    atp_core::{Action, Notification, NumberRules, TextRules},
    store::{MAX_SERVICE, MemoryStore, Question, Redrive, Store, Verdict},
    test::SignedAnswer,
};
use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::support::{
    asked::{answer, approve, record},
    audit,
    databases::on_every_store,
    mounted::{Mounted, count, counting, decisions, redrive, remembering, runs, webhook},
    watched::Watched,
};

on_every_store!(
    strangers_do_not_reach_the_store,
    a_redrives_token_is_checked_before_the_store_is_asked,
    a_good_signature_counts_beside_a_bad_token,
    what_is_spelt_otherwise_is_kept_once,
    the_age_of_what_is_no_answer_is_judged_first,
    a_refused_delivery_that_comes_again_is_not_kept_again,
    answers_that_are_refused_are_kept_byte_for_byte,
    answers_that_fit_are_handled_once_whatever_is_in_them,
    names_differ_where_a_byte_differs,
    names_longer_than_an_index_holds_break_nothing,
);

const LONG: usize = 10_000;

/// A question that takes any text, any object and any number.
fn open_question(id: &str) -> Question {
    let notification = Notification::new("What?", "").id(id).action(Action::simple("approve", "Approve"));
    let notification =
        notification.action(Action::text("say", "Say", TextRules::new().max_length(LONG as u64)));
    let notification = notification.action(Action::json("tell", "Tell"));
    Question::new(notification.action(Action::number("pay", "Pay", NumberRules::new())))
}

/// A payload with these members, each as JSON text.
fn payload(notification_id: &str, action_id: &str, data: &str) -> String {
    let now = Utc::now().to_rfc3339();
    format!(
        r#"{{"notification_id":{notification_id},"action_id":{action_id},"responded_at":"{now}","response_data":{data}}}"#
    )
}

fn say(data: &str) -> String {
    payload(r#""n-1""#, r#""say""#, data)
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn signed(body: impl Into<Bytes>) -> SignedAnswer {
    approve("n-1").body(body)
}

/// What strangers send: without the secret, or broken on the way.
async fn strangers_do_not_reach_the_store(store: impl Store) {
    record(&store, "n-1").await;
    let (store, runs) = (Watched::new(store), runs());
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    store.calls.take();
    let bodies = [
        payload(r#""n-1""#, r#""approve""#, "null"),
        payload(&quoted("n-1'; DROP TABLE atp_questions; --"), r#""approve""#, "null"),
        payload(&quoted(&"n".repeat(100_000)), r#""approve""#, "null"),
        payload(r#""n-1\u0000""#, r#""approve""#, r#""\ud83d""#),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        String::new(),
    ];
    for body in bodies {
        let bare = "0".repeat(64);
        for (how, sent) in [
            ("timestamped, forged", signed(body.clone()).forged()),
            ("raw, forged", signed(body.clone()).scheme(Scheme::Raw).forged()),
            ("a digest of nobody's", signed(body.clone()).signature(bare)),
            ("forged, from the future", signed(body.clone()).forged().future()),
            ("no signature", signed(body.clone()).without_header("x-atp-signature")),
            ("two signatures", signed(body.clone()).doubled()),
            ("cut short", signed([body.as_bytes(), b" "].concat()).truncated()),
            ("not JSON", signed(body.clone()).header("content-type", "text/plain")),
        ] {
            let (status, text) = app.send(&sent).await;
            assert!(matches!(status, 401 | 415), "{how}: {status} {text} to {body:.80}");
            assert_eq!(store.calls.take(), [""; 0], "{how}: {body:.80}");
        }
    }
    assert_eq!(audit::refused(&store).await, []);
    assert_eq!(store.deliveries("default", "n-1").await.expect("an answer"), []);
    app.expect(&approve("n-1"), 200, "run 1").await;
}

/// Whoever guesses a token, or has one and alters the body, does not reach the store.
async fn a_redrives_token_is_checked_before_the_store_is_asked(store: impl Store) {
    let (store, runs) = (Watched::new(store), runs());
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    app.expect(&approve("n-1"), 503, r#"{"error":"Service temporarily unavailable"}"#).await;
    record(&store, "n-1").await;
    let kept = audit::refused(&store).await;
    let others = Verifier::new(Secret::new("somebody else's webhook secret").expect("a good secret"));
    let forged = Redrive::prepare(&store, &others, "default", kept[0].id).await.expect("a redrive");
    let forged = forged.headers[1].1.clone();
    let right = redrive(&store, kept[0].id).await;
    store.calls.take();
    let token = right.headers[1].1.clone();
    let with = |token: &str, body: &Bytes| {
        let mut redrive = right.clone();
        redrive.headers[1].1 = token.to_owned();
        redrive.body = body.clone();
        redrive
    };
    let altered = Bytes::from(String::from_utf8_lossy(&right.body).replace("approve", "approvf"));
    for (case, redrive) in [
        ("no token", with("", &right.body)),
        ("32 digits", with(&"0".repeat(32), &right.body)),
        ("the start of it", with(&token[..token.len() - 1], &right.body)),
        ("more than it", with(&format!("{token}0"), &right.body)),
        ("signed under another secret", with(&forged, &right.body)),
        ("quotes", with("' OR token IS NOT NULL OR '' = '", &right.body)),
        ("64 KiB", with(&"0".repeat(64 << 10), &right.body)),
        ("another body", with(&token, &altered)),
        ("no body", with(&token, &Bytes::new())),
    ] {
        assert_eq!(
            app.redrive(redrive).await,
            (401, r#"{"error":"Invalid signature"}"#.to_owned()),
            "{case}"
        );
        assert_eq!(store.calls.take(), [""; 0], "{case}");
    }
    assert_eq!(app.redrive(right.clone()).await, (200, "run 1".to_owned()));
    store.calls.take();
    assert_eq!(app.redrive(right).await.0, 401, "it is good once");
    assert_eq!(store.calls.take(), ["redeem"]);
}

/// A token is no reason to refuse what is signed.
async fn a_good_signature_counts_beside_a_bad_token(store: impl Store) {
    let (store, runs) = (Watched::new(store), runs());
    record(&store, "n-1").await;
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    for token in ["0".repeat(32), "junk".to_owned(), String::new()] {
        app.expect(&approve("n-1").header(Redrive::HEADER, &*token), 200, "run 1").await;
        let forged = approve("n-1").forged().header(Redrive::HEADER, &*token);
        app.expect(&forged, 401, r#"{"error":"Invalid signature"}"#).await;
    }
    assert!(!store.calls.take().contains(&"redeem"));
}

/// Whoever has once seen a delivery of a re-serialised scheme can spell it as he likes, and it is
/// kept once all the same.
async fn what_is_spelt_otherwise_is_kept_once(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    for scheme in [Scheme::PythonCanonical, Scheme::NodeCompact] {
        let before = audit::refused(&store).await.len();
        let sent = answer("n-1", "reject", "more than ten characters").scheme(scheme);
        let (headers, body) = sent.to_parts();
        let signature = headers.iter().find(|(name, _)| name == "x-atp-signature").expect("a signature");
        for blanks in 0..20 {
            let spelt = [" ".repeat(blanks).into_bytes(), body.to_vec()].concat();
            let sent = sent.clone().body(spelt).signature(&*signature.1);
            app.refuses(&sent, 400, "INVALID_RESPONSE_DATA").await;
        }
        assert_eq!(audit::refused(&store).await.len(), before + 1, "{scheme}");
    }
    assert_eq!(count(&runs), 0);
}

/// What was signed too long ago is refused for that, whether it is an answer or not.
async fn the_age_of_what_is_no_answer_is_judged_first(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    let sent = signed("no answer").at(Utc::now() - TimeDelta::hours(73));
    for _ in 0..2 {
        app.expect(&sent, 401, r#"{"error":"Invalid signature"}"#).await;
    }
    app.refuses(&signed("no answer either"), 400, "MALFORMED_PAYLOAD").await;
    assert_eq!(audit::kept(&store).await, [Verdict::Stale, Verdict::Malformed]);
}

/// What is refused again and again is found, and not written.
async fn a_refused_delivery_that_comes_again_is_not_kept_again(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "else", ());
    app.refuses(&sent, 400, "INVALID_ACTION_ID").await;
    let first = audit::refused(&store).await;
    for _ in 0..5 {
        app.refuses(&sent, 400, "INVALID_ACTION_ID").await;
    }
    assert_eq!(audit::refused(&store).await, first);
}

/// What is signed, and refused: its body, status, code and verdict.
fn refused() -> Vec<(&'static str, Vec<u8>, u16, &'static str, Verdict)> {
    let deep = |depth: usize| say(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let malformed = [
        ("nothing", String::new()),
        ("NUL", "\0".to_owned()),
        ("half", r#"{"notification_id":"n-1","#.to_owned()),
        ("too deep", deep(128)),
        ("far too deep", deep(100_000)),
        ("a raw NUL in a text", say("\"\0\"")),
        ("a member twice", say("null").replace('{', r#"{"action_id":"approve","#)),
        ("a member twice, spelt otherwise", say("null").replace('{', r#"{"\u0061ction_id":"approve","#)),
        ("a member twice in the data", say(r#"{"a":1,"\u0061":2}"#)),
        ("no members", "{}".to_owned()),
        ("an empty notification", payload(r#""""#, r#""say""#, "null")),
        ("an empty action", payload(r#""n-1""#, r#""""#, "null")),
        ("a number for a notification", payload("1", r#""say""#, "null")),
        ("null for a notification", payload("null", r#""say""#, "null")),
        ("a list for a notification", payload(r#"["n-1"]"#, r#""say""#, "null")),
        ("true for an action", payload(r#""n-1""#, "true", "null")),
        ("an object for an action", payload(r#""n-1""#, r#"{"id":"say"}"#, "null")),
        ("a text for a responder", say("null").replace('{', r#"{"responder":"me","#)),
        ("a responder without a type", say("null").replace('{', r#"{"responder":{"id":"me"},"#)),
        (
            "a number for a responder's id",
            say("null").replace('{', r#"{"responder":{"id":1,"type":"human"},"#),
        ),
    ];
    let unknown_actions = [
        ("another action", r#""else""#.to_owned()),
        ("an action with quotes", quoted("say'; DROP TABLE atp_decisions; --\"")),
        ("an action with NUL", r#""say\u0000""#.to_owned()),
        ("an action with a backslash", r#""say\\""#.to_owned()),
        ("half a surrogate pair for an action", r#""\ud83d""#.to_owned()),
        ("a long action", quoted(&"s".repeat(LONG))),
    ];
    let unfit = [
        ("a number for a text", say("5")),
        ("null for a text", say("null")),
        ("a tree for a text", deep(120)),
        ("a huge number for a text", say(&"9".repeat(LONG))),
        ("a character too many", say(&quoted(&"𝄞".repeat(LONG + 1)))),
        ("a list for an object", payload(r#""n-1""#, r#""tell""#, "[]")),
        ("a text for a number", payload(r#""n-1""#, r#""pay""#, r#""1""#)),
        ("a text for nothing", payload(r#""n-1""#, r#""approve""#, r#""\u0000""#)),
    ];
    let unknown = [
        ("another notification", quoted("n-2")),
        ("a notification with quotes", quoted("n-1'; DROP TABLE atp_questions; --\"")),
        ("a notification with a backslash", r#""n-1\\""#.to_owned()),
        ("a notification with NUL", r#""n-1\u0000""#.to_owned()),
        ("NUL for a notification", r#""\u0000""#.to_owned()),
        ("half a surrogate pair for a notification", r#""\ud83d""#.to_owned()),
        ("a notification from right to left", quoted("\u{202e}1-n\u{202c} ?מה")),
        ("a notification of 1,000 bytes", quoted(&noise(1_000))),
    ];
    let bytes = [
        ("invalid UTF-8", b"{\"notification_id\":\"\xff\"}".to_vec()),
        ("a raw surrogate", b"{\"notification_id\":\"\xed\xa0\x80\"}".to_vec()),
        ("a BOM", [b"\xef\xbb\xbf", say(r#""x""#).as_bytes()].concat()),
    ];
    let mut all = Vec::new();
    let malformed = malformed.into_iter().map(|(case, body)| (case, body.into_bytes())).chain(bytes);
    all.extend(malformed.map(|(case, body)| (case, body, 400, "MALFORMED_PAYLOAD", Verdict::Malformed)));
    let unknown_actions =
        unknown_actions.into_iter().map(|(case, action)| (case, payload(r#""n-1""#, &action, r#""x""#)));
    all.extend(
        unknown_actions.map(|(case, body)| (case, body.into(), 400, "INVALID_ACTION_ID", Verdict::Unfit)),
    );
    all.extend(
        unfit
            .into_iter()
            .map(|(case, body)| (case, body.into(), 400, "INVALID_RESPONSE_DATA", Verdict::Unfit)),
    );
    let unknown = unknown.into_iter().map(|(case, id)| (case, payload(&id, r#""approve""#, "null")));
    all.extend(unknown.map(|(case, body)| (case, body.into(), 503, "", Verdict::Unknown)));
    all
}

/// A text that no database can compress.
fn noise(len: usize) -> String {
    let mut state = 1_u32;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + u8::try_from((state >> 24) % 90).expect("less than 90")).to_ascii_uppercase()
    });
    letters.take(len).collect()
}

async fn answers_that_are_refused_are_kept_byte_for_byte(store: impl Store) {
    store.record(&open_question("n-1")).await.expect("a question");
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    for (case, body, status, code, verdict) in refused() {
        let before = audit::refused(&store).await.len();
        for scheme in [Scheme::Timestamped, Scheme::Raw] {
            let (seen, text) = app.send(&signed(body.clone()).scheme(scheme)).await;
            let told: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!((seen, told["code"].as_str().unwrap_or_default()), (status, code), "{case}: {text}");
        }
        let kept = audit::refused(&store).await;
        assert_eq!(kept.len(), before + 1, "{case}: it is kept once");
        let last = kept.last().expect("one");
        assert_eq!((last.verdict, last.scheme), (verdict, Scheme::Timestamped), "{case}");
        assert!(last.body == body, "{case}: the body is not as it came");
    }
    assert_eq!(count(&runs), 0);
    app.expect(&signed(say(r#""x""#)), 200, "run 1").await;
}

async fn answers_that_fit_are_handled_once_whatever_is_in_them(store: impl Store) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = {
        let heard = Arc::clone(&heard);
        move |answer: AtpResponse<Text>| {
            heard.lock().expect("nobody panicked").push(answer.data.clone());
            async move { answer.into_data() }
        }
    };
    let runs = runs();
    let app = Mounted::new(webhook(&store).on("say", hears).otherwise(counting(&runs))).await;
    let astral = "𝄞".repeat(LONG);
    let texts = [
        (r#""""#.to_owned(), ""),
        (r#""a\u0000b""#.to_owned(), "a\0b"),
        (r#""\ud83d""#.to_owned(), "\u{fffd}"),
        (r#""\ude00\ud83d""#.to_owned(), "\u{fffd}\u{fffd}"),
        (r#""\ud83d\ude00""#.to_owned(), "😀"),
        (quoted("\u{202e}gnp.exe\u{202c} שלום عليكم"), "\u{202e}gnp.exe\u{202c} שלום عليكم"),
        (quoted("'; DROP TABLE atp_decisions; --\"\\"), "'; DROP TABLE atp_decisions; --\"\\"),
        (quoted("\u{ffff}\u{feff}\u{301}\u{7f}\u{1}"), "\u{ffff}\u{feff}\u{301}\u{7f}\u{1}"),
        (quoted(&astral), &astral),
    ];
    for (nth, (data, text)) in texts.iter().enumerate() {
        let id = format!("text-{nth}");
        store.record(&open_question(&id)).await.expect("a question");
        let body = payload(&quoted(&id), r#""say""#, data);
        let first = app.send(&signed(body.clone())).await;
        assert_eq!((first.0, heard.lock().expect("nobody panicked").len()), (200, nth + 1), "{data:.80}");
        assert_eq!(heard.lock().expect("nobody panicked")[nth], *text, "{data:.80}");
        let again = app.send(&signed(body).scheme(Scheme::Raw)).await;
        // What is too long to be recorded is replayed as a success alone.
        let same = again == first || first.1.len() > LONG && again.1 == r#"{"status":"success"}"#;
        assert!(same && again.0 == 200, "{data:.80}: {again:?}");
        assert_eq!(heard.lock().expect("nobody panicked").len(), nth + 1, "{data:.80}: it ran twice");
    }
    let others = [
        ("tell", format!(r#"{{"a":{}1{}}}"#, "[".repeat(120), "]".repeat(120))),
        ("tell", r#"{"":1,"\u0000":2,"__proto__":3,"\ud83d":4,"'; --":5}"#.to_owned()),
        ("tell", format!(r#"{{"a":{},"b":1e999999999,"c":-0,"d":1e-400}}"#, "9".repeat(LONG))),
        ("pay", "-0.0".to_owned()),
        ("pay", "1e-400".to_owned()),
        ("pay", "123456789012345678901234567890".to_owned()),
    ];
    for (nth, (action, data)) in others.iter().enumerate() {
        let id = format!("other-{nth}");
        store.record(&open_question(&id)).await.expect("a question");
        let body = payload(&quoted(&id), &quoted(action), data);
        let body = body.replacen('{', r#"{"responder":{"id":"a\u0000'\\ü","type":"human"},"#, 1);
        for scheme in [Scheme::Timestamped, Scheme::Raw] {
            app.expect(&signed(body.clone()).scheme(scheme), 200, &format!("run {}", nth + 1)).await;
        }
    }
    assert_eq!(audit::refused(&store).await, [], "nothing was refused");
}

/// Each of these is a question of its own.
async fn names_differ_where_a_byte_differs(store: impl Store) {
    let names = [
        "n-1",
        "N-1",
        "n-1 ",
        " n-1",
        "n-1\0",
        "n-1\\0",
        "n-1\\",
        "n-1\\\\",
        "n-1'",
        "n-1\"",
        "n_1",
        "n%",
        "\0",
        "\\0",
        "\u{fffd}",
        "é",
        "e\u{301}",
        "\u{202e}1-n",
        "𝄞",
        "'; DROP TABLE atp_questions; --",
        "NULL",
        "*",
    ];
    let long = [noise(1_000), format!("{}!", noise(999))];
    let names: Vec<&str> = names.into_iter().chain(long.iter().map(String::as_str)).collect();
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    for name in &names {
        record(&store, name).await;
    }
    for (nth, name) in names.iter().enumerate() {
        let before = store.find("default", name, None).await.expect("an answer");
        assert!(before.decision.is_none(), "{name:?} is decided by another");
        for _ in 0..2 {
            app.expect(&approve(name), 200, &format!("run {}", nth + 1)).await;
        }
        app.refuses(&answer(name, "reject", "no"), 409, "NOTIFICATION_ALREADY_RESPONDED").await;
        let kept = audit::refused(&store).await;
        assert_eq!(kept.last().and_then(|kept| kept.notification_id.as_deref()), Some(*name));
    }
}

/// They are no answers, so that no store has to find room for them in a key.
async fn names_longer_than_an_index_holds_break_nothing(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).limit(16 << 20).otherwise(counting(&runs))).await;
    record(&store, "n-1").await;
    for (len, status) in
        [(Notification::MAX_ID, 503), (Notification::MAX_ID + 1, 400), (LONG, 400), (1 << 20, 400)]
    {
        for _ in 0..2 {
            let (seen, text) = app.send(&approve(&noise(len))).await;
            assert_eq!(seen, status, "{len}: {text}");
        }
    }
    let kept: Vec<usize> = audit::refused(&store).await.iter().map(|kept| kept.body.len()).collect();
    assert_eq!(kept.len(), 8, "{kept:?}");
    // The longest that there may be, of what is written twice as long.
    let (service, id) = ("\0".repeat(MAX_SERVICE), "\\".repeat(Notification::MAX_ID));
    store.record(&open_question(&id).service(&service)).await.expect("a question");
    let webhook = remembering(decisions(&store).service(service)).otherwise(counting(&runs));
    Mounted::new(webhook).await.expect(&approve(&id), 200, "run 1").await;
    let runs = self::runs();
    let app = Mounted::new(self::webhook(&store).otherwise(counting(&runs))).await;
    assert_eq!(count(&runs), 0);
    app.expect(&approve("n-1"), 200, "run 1").await;
}

/// Its digest is right, so it is authentic; a server does not send it again after a 401.
#[actix_web::test]
async fn an_answer_by_a_clock_that_is_ahead_is_kept() {
    let store = MemoryStore::new();
    record(&store, "n-1").await;
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    for scheme in Scheme::ALL {
        let before = audit::refused(&store).await.len();
        let ahead = approve("n-1").scheme(scheme).future().member("scheme", scheme.name());
        app.expect(&ahead, 401, r#"{"error":"Invalid signature"}"#).await;
        assert_eq!(audit::refused(&store).await.len(), before + 1, "{scheme}");
    }
}
