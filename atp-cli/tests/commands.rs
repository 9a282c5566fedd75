//! The command itself, over real sockets, beside a service with a webhook and a store.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what is meant"
)]

mod service;

use std::{
    env,
    fs::{self, Permissions},
    io::pipe,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use actix_web::rt;
use atp_actix::{
    atp_core::{Action, Notification, Scheme, Secret, Verifier},
    store::{PostgresStore, SqliteStore},
};
use atp_cli::desk::{Desk, RunningDesk};
use clap::CommandFactory as _;
use serde_json::{Value, json};
use service::{ESCAPES, Folder, Ran, SECRET, Service, answering, ran, record_late, routes, run, stalling};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, postgres::PgConnectOptions};

const BODY: &str = r#"{"notification_id":"n-1", "action_id":"approve","timestamp":"2026-01-02T03:05:06Z"}"#;

/// Runs the command beside no service.
fn alone(arguments: &[&str], input: &str) -> Ran {
    let folder = Folder::new();
    run(folder.path(), arguments, input.as_bytes(), &[])
}

fn verifier() -> Verifier {
    let now = "2026-01-02T03:05:07Z".parse().unwrap();
    Verifier::new(Secret::new(SECRET).unwrap()).clock(move || now)
}

/// A raw request, signed at the time of the payload.
fn request(scheme: &str) -> String {
    let header = alone(&["sign", "--scheme", scheme, "--at", "2026-01-02T03:05:06Z"], BODY).out;
    format!(
        "POST /atp/webhook HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n\r\n{BODY}",
        BODY.len(),
        header.trim()
    )
}

#[test]
fn what_sign_prints_is_a_header_that_the_library_accepts() {
    for scheme in Scheme::ALL {
        let ran = alone(&["sign", "--scheme", scheme.name(), "--at", "1767323106"], BODY);
        let (name, value) = ran.out.trim_end().split_once(": ").unwrap();
        let verified = verifier().verify([(name, value)], BODY).unwrap();
        assert_eq!((verified.scheme(), ran.code), (scheme, 0), "{ran:?}");
        let json = alone(&["--json", "sign", "--scheme", scheme.name(), "--at", "1767323106"], BODY).json();
        assert_eq!(json, json!({ "header": name, "value": value, "scheme": scheme.name() }));
    }
    let ran = alone(&["sign", "--at", "-5"], BODY);
    assert!(ran.code == 2 && ran.err.contains("is before 1970"), "{ran:?}");
}

#[test]
fn the_secret_comes_from_a_variable_or_a_file_and_is_no_argument() {
    let folder = Folder::new();
    let file = folder.write("secret", format!("{SECRET}\n"));
    let sign = ["sign", "--scheme", "raw"];
    let expected = alone(&sign, BODY).out;
    let from_file = run(
        folder.path(),
        &[&sign[..], &["--secret-file", file.to_str().unwrap()]].concat(),
        BODY.as_bytes(),
        &[("ATP_WEBHOOK_SECRET", "the secret of another service")],
    );
    assert_eq!(from_file.out, expected, "{from_file:?}");
    let named = [&sign[..], &["--secret-env", "OTHER"]].concat();
    let from_variable =
        run(folder.path(), &named, BODY.as_bytes(), &[("OTHER", SECRET), ("ATP_WEBHOOK_SECRET", "x")]);
    assert_eq!(from_variable.out, expected, "{from_variable:?}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_atp"));
    let nowhere = ran(command.args(sign).env_remove("ATP_WEBHOOK_SECRET"), BODY.as_bytes(), &[]);
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
    assert!(nowhere.err.contains("set the environment variable ATP_WEBHOOK_SECRET"), "{nowhere:?}");
    let short = run(folder.path(), &sign, BODY.as_bytes(), &[("ATP_WEBHOOK_SECRET", "hunter2")]);
    assert!(short.code == 3 && short.err.contains("7 bytes") && !short.err.contains("hunter2"), "{short:?}");

    for command in atp_cli::commands::Atp::command().get_subcommands() {
        assert!(command.get_arguments().all(|argument| argument.get_long() != Some("secret")), "{command:?}");
    }
}

#[test]
fn an_answer_is_taken_in_every_scheme_and_only_once() {
    let service = Service::start();
    for (scheme, notification) in Scheme::ALL.into_iter().zip(["n-1", "n-2", "n-3", "load-0"]) {
        let ran = service.send(notification, "approve", &["--scheme", scheme.name()]);
        assert_eq!((ran.code, ran.json()["status"].as_u64()), (0, Some(200)), "{scheme}: {ran:?}");
        assert_eq!(ran.json()["meaning"], "taken", "{scheme}");
    }
    let twice = service.send("load-1", "approve", &["--fault", "duplicate"]);
    let statuses: Vec<_> = twice.lines().iter().map(|line| line["status"].clone()).collect();
    assert_eq!((twice.code, statuses), (0, vec![json!(200), json!(200)]), "{twice:?}");
    let other = service.send("load-1", "reject", &[]);
    assert_eq!((other.code, other.json()["status"].as_u64()), (1, Some(409)), "{other:?}");
}

#[test]
fn every_fault_is_answered_as_the_library_says() {
    let service = Service::start();
    for (fault, scheme, status) in [
        ("wrong-signature", "timestamped", 401),
        ("no-signature", "timestamped", 401),
        ("two-signatures", "timestamped", 401),
        ("stale", "timestamped", 401),
        ("stale", "raw", 401),
        ("future", "timestamped", 401),
        ("milliseconds", "timestamped", 401),
        ("truncate", "timestamped", 401),
        ("newline", "timestamped", 401),
        ("respell", "timestamped", 401),
        ("malformed", "timestamped", 400),
        ("malformed", "raw", 400),
        ("wrong-type", "timestamped", 415),
        ("respell", "node-compact", 200),
    ] {
        let ran = service.send("n-1", "approve", &["--fault", fault, "--scheme", scheme]);
        assert_eq!(ran.json()["status"], status, "{fault} {scheme}: {ran:?}");
        assert_eq!(ran.code, i32::from(status != 200), "{fault} {scheme}: {ran:?}");
        assert_eq!(ran.json()["fault"], fault);
    }
}

#[test]
fn data_is_sent_as_it_was_written() {
    let service = Service::start();
    let text = r#"{"b": 123456789012345678901234567890, "a": 1.0, "b2": "\u001b"}"#;
    let file = service.folder.write("data.json", format!("{text}\n"));
    for (notification, more) in [("n-1", ["--data", text]), ("n-2", ["--data-file", file.to_str().unwrap()])]
    {
        let ran = service.send(notification, "echo", &more);
        assert_eq!((ran.code, ran.json()["body"].as_str()), (0, Some(text)), "{more:?}: {ran:?}");
    }
    let bad = service.send("n-1", "approve", &["--data", "{"]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(bad.json()["error"].as_str().unwrap().contains("no JSON"), "{bad:?}");
}

#[test]
fn a_captured_request_is_accepted_in_every_form_that_it_is_captured_in() {
    let service = Service::start();
    for scheme in Scheme::ALL {
        let raw = request(scheme.name());
        let ran = service.atp_with(&["--json", "verify", "--at", "2026-01-02T03:05:16Z"], &raw);
        let expected = json!({ "accepted": true, "signature_fits": true, "scheme": scheme.name(), "secret": 0, "signed_at": "2026-01-02T03:05:06Z", "age_s": 10 });
        assert_eq!((ran.code, ran.json()), (0, expected), "{ran:?}");
        let ran = service.atp_with(&["verify", "--any-age", "-"], &raw);
        assert!(
            ran.code == 0
                && ran.out.starts_with(&format!("accepted: {scheme} with secret 0 (the first), signed at")),
            "{ran:?}"
        );
        let ran = service.atp_with(&["verify", "--any-age"], raw.replace("\r\n", "\n"));
        assert_eq!(ran.code, 0, "{ran:?}");

        let value = raw.lines().find_map(|line| line.strip_prefix("x-atp-signature: ")).unwrap();
        let entry = json!({ "request": { "method": "POST", "headers": [{ "name": "X-Atp-Signature", "value": value }], "postData": { "text": BODY } } });
        let other = json!({ "request": { "method": "GET", "headers": [] } });
        let whole = json!({ "log": { "entries": [other, entry] } });
        for (har, more) in [(&entry, None), (&whole, None), (&whole, Some("1"))] {
            let more = more.map_or(vec![], |number| vec!["--entry", number]);
            let ran = service.atp_with(&[&["verify", "--any-age"], &more[..]].concat(), har.to_string());
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        let body = service.folder.write("body", BODY);
        let ran =
            service.atp(&["verify", "--any-age", "--signature", value, "--body", body.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn a_request_that_is_refused_is_explained_by_the_library() {
    let raw = request("timestamped");
    let at = ["verify", "--at", "2026-01-02T03:05:06Z"];
    let folder = Folder::new();
    for (request, arguments, says) in [
        (raw.clone(), &["verify", "--at", "2026-01-02T04:05:06Z"][..], "`t` is 3600 s old, more than 300 s"),
        (raw.replace("\"approve\"", "\"reject\""), &at[..], "no usual mistake makes it fit"),
        (raw.replace("Content-Length", "X-Length") + "\n", &at[..], "no white space at its end"),
        (raw.replace("x-atp-signature", "x-other"), &at[..], "there is no `x-atp-signature` header"),
        (
            raw.clone(),
            &["verify", "--any-age", "--scheme", "raw"][..],
            "timestamped, which is not accepted here",
        ),
    ] {
        let ran = run(folder.path(), arguments, request.as_bytes(), &[]);
        assert!(
            ran.code == 1 && ran.out.starts_with("refused: ") && ran.out.contains(says),
            "{says}: {ran:?}"
        );
    }
    let trimmed = [("TRIMMED", "another secret of 16 bytes and more")];
    let ran =
        run(folder.path(), &["verify", "--any-age", "--secret-env", "TRIMMED"], raw.as_bytes(), &trimmed);
    assert_eq!(ran.code, 1, "{ran:?}");
    let previous = [
        "--json",
        "verify",
        "--any-age",
        "--secret-env",
        "TRIMMED",
        "--previous-secret-env",
        "ATP_WEBHOOK_SECRET",
    ];
    let ran = run(folder.path(), &previous, raw.as_bytes(), &trimmed);
    assert_eq!((ran.code, &ran.json()["secret"]), (0, &json!(1)), "{ran:?}");
}

#[test]
fn what_a_webhook_refuses_however_it_is_signed_is_not_accepted() {
    let raw = request("timestamped");
    let (head, media_type) = ("POST /atp/webhook", "Content-Type: application/json");
    for (request, status) in [
        (raw.replace(head, "GET /atp/webhook"), "405"),
        (raw.replace(media_type, "Content-Type: text/plain"), "415"),
        (raw.replace(&format!("{media_type}\r\n"), ""), "415"),
        (raw.replace(media_type, &format!("{media_type}\r\nContent-Encoding: gzip")), "415"),
    ] {
        let ran = alone(&["--json", "verify", "--any-age"], &request);
        let verdict = ran.json();
        assert_eq!(
            (ran.code, &verdict["accepted"], &verdict["signature_fits"], &verdict["scheme"]),
            (1, &json!(false), &json!(true), &json!("timestamped")),
            "{ran:?}"
        );
        assert!(verdict["why"].as_str().unwrap().contains(status), "{ran:?}");
        // It is no reason, where the signature is one.
        let ran = alone(&["verify", "--any-age"], &request.replace("n-1", "n-2"));
        assert!(ran.code == 1 && ran.out.starts_with("refused: no digest"), "{ran:?}");
        assert!(ran.out.contains(status), "{ran:?}");
    }
}

#[test]
fn what_is_signed_and_no_answer_is_bad() {
    for scheme in ["raw", "timestamped"] {
        let body = r#"{"notification_id":7,"timestamp":"2026-01-02T03:05:06Z"}"#;
        let header = alone(&["sign", "--scheme", scheme], body).out;
        let raw = format!("POST / HTTP/1.1\n{}\n\n{body}", header.trim());
        for age in ["--any-age", "--at=2026-01-02T03:05:06Z"] {
            let ran = alone(&["verify", age], &raw);
            if scheme == "raw" || age == "--any-age" {
                assert!(ran.code == 1 && ran.out.contains("what was signed is no answer"), "{ran:?}");
            }
        }
    }
}

#[test]
fn load_counts_what_each_kind_was_answered() {
    let service = Service::start();
    let webhook = service.webhook();
    let load = [
        "--json",
        "load",
        "--to",
        &webhook,
        "--rate",
        "50",
        "--duration",
        "600ms",
        "--connections",
        "3",
        "--action",
        "approve",
    ];
    let ran = service.atp(&[&load[..], &["--mix", "fresh=60,duplicate=20,forged=20"]].concat());
    let report = ran.json();
    assert_eq!(
        (ran.code, &report["due"], &report["answered"], &report["bad"]),
        (0, &json!(30), &json!(30), &json!([])),
        "{ran:?}"
    );
    for answer in report["answers"].as_array().unwrap() {
        let expected = if answer["kind"] == "forged" { 401 } else { 200 };
        assert_eq!(answer["status"], expected, "{report}");
    }
    assert!(report["ms_from_due"]["max"].as_f64().unwrap() > 0.0, "{report}");
    let nobody = service.atp(&["load", "--to", "http://127.0.0.1:9/", "--rate", "20", "--duration", "100ms"]);
    assert!(nobody.code == 1 && nobody.out.contains("bad: answers got no answer"), "{nobody:?}");
    let elsewhere = format!("{}/elsewhere", service.address);
    let none = service.atp(&["load", "--to", &elsewhere, "--rate", "20", "--duration", "100ms"]);
    assert!(none.code == 1 && none.out.contains("were not taken"), "{none:?}");
}

/// One connection, and a server that answers nothing for a while.
#[test]
fn load_counts_waiting_for_a_connection_as_waiting() {
    let address = stalling(Duration::from_millis(500));
    let ran = alone(
        &["--json", "load", "--to", &address, "--rate", "20", "--duration", "500ms", "--connections", "1"],
        "",
    );
    let times = &ran.json()["ms_from_due"];
    // Ten were due while the first was waited for, so half of them waited for more than 200 ms.
    assert!(times["p50"].as_f64().unwrap() > 200.0, "{ran:?}");
    assert!(times["max"].as_f64().unwrap() >= 500.0, "{ran:?}");
}

#[test]
fn what_was_refused_is_listed_and_redriven_on_sqlite() {
    let service = Service::start();
    let file = service.folder.path().join("atp.sqlite");
    refused_and_redriven(&service, async move {
        record_late(&SqliteStore::open(file).await.unwrap(), "late-1").await;
    });
}

/// An answer comes before its question is recorded, is kept, and is sent in again afterwards.
fn refused_and_redriven(service: &Service, record: impl Future<Output = ()>) {
    assert_eq!(service.atp(&["refused"]).out, "No refused delivery of the service default is kept.\n");
    let early = service.send("late-1", "approve", &[]);
    assert_eq!((early.code, &early.json()["meaning"]), (1, &json!("again")), "{early:?}");
    let hostile = service.send("late-\u{1b}[2J", "approve", &[]);
    assert_eq!(hostile.code, 1, "{hostile:?}");
    let listed = service.atp(&["--json", "refused"]);
    let lines = listed.lines();
    assert_eq!(
        (lines.len(), &lines[0]["verdict"], &lines[0]["notification"]),
        (2, &json!("unknown"), &json!("late-1")),
        "{listed:?}"
    );
    assert_eq!(lines[0].get("body"), None, "a body is told that nobody asked for: {listed:?}");
    let shown = service.atp(&["refused", "--bodies"]);
    assert!(!shown.out.contains('\u{1b}') && shown.out.contains("late-\\u{1b}[2J"), "{shown:?}");
    assert!(shown.out.contains("\"action_id\":\"approve\""), "{shown:?}");
    let first = service.atp(&["refused", "--limit", "1"]);
    assert!(first.out.contains("There are more: --after"), "{first:?}");
    let both = service.atp(&["refused", "--limit", "2"]);
    assert!(both.out.lines().count() == 2 && !both.out.contains("more"), "{both:?}");
    let last = lines[1]["id"].to_string();
    let behind = service.atp(&["refused", "--after", &last]).out;
    assert_eq!(behind, format!("No refused delivery of the service default is kept after {last}.\n"));
    let no_limit = service.atp(&["refused", "--limit", "0"]);
    assert_eq!(no_limit.code, 2, "{no_limit:?}");

    rt::System::new().block_on(record);
    let (id, webhook) = (lines[0]["id"].to_string(), service.webhook());
    let elsewhere = service.atp(&["redrive", &id, "--to", &format!("{}/elsewhere", service.address)]);
    assert!(elsewhere.code == 1 && elsewhere.out.contains("not taken, and stays kept"), "{elsewhere:?}");
    let redriven = service.atp(&["--json", "redrive", &id, "--to", &webhook]);
    assert_eq!((redriven.code, &redriven.json()["status"]), (0, &json!(200)), "{redriven:?}");
    let replayed = service.send("late-1", "approve", &[]);
    assert_eq!(replayed.json()["status"], 200, "{replayed:?}");

    let folder = service.folder.path();
    let variables = [("DATABASE_URL", &*service.database), ("OTHER", "another secret of 16 bytes and more")];
    let foreign = run(folder, &["redrive", &id, "--to", &webhook, "--secret-env", "OTHER"], b"", &variables);
    assert!(foreign.code == 1 && foreign.out.contains("does not know the token"), "{foreign:?}");
    let nothing = service.atp(&["redrive", "4711", "--to", &webhook]);
    assert!(nothing.code == 3 && nothing.err.contains("no refused delivery has the id 4711"), "{nothing:?}");
    assert!(nothing.err.contains("`atp refused`"), "{nothing:?}");
}

#[test]
fn a_refusal_by_a_handler_stands_until_it_is_reopened() {
    let service = Service::start();
    let refused = service.send("n-3", "reject", &[]);
    assert_eq!((refused.code, &refused.json()["status"]), (1, &json!(422)), "{refused:?}");
    let id = service.atp(&["--json", "refused"]).json()["id"].to_string();
    let webhook = service.webhook();
    for more in [&[][..], &["--reopen"]] {
        let ran = service.atp(&[&["--json", "redrive", &id, "--to", &webhook], more].concat());
        assert_eq!((ran.code, &ran.json()["status"]), (1, &json!(422)), "{more:?} {ran:?}");
    }
    let none = service.atp(&["redrive", "4711", "--reopen", "--to", &webhook]);
    assert!(none.code == 3 && none.err.contains("`atp refused` lists"), "{none:?}");
}

#[test]
fn what_is_parked_is_listed_and_released_on_sqlite() {
    parked_and_released(&Service::start());
}

fn parked_and_released(service: &Service) {
    let parked = service.atp(&["--json", "parked"]).lines();
    let of = |line: &Value| (line["sink"].clone(), line["subject"].clone(), line["reason"].clone());
    assert_eq!(parked.len(), 2, "{parked:?}");
    assert_eq!(of(&parked[0]), (json!("bus"), json!("order-0"), json!(ESCAPES)));
    let shown = service.atp(&["parked", "--sink", "bus"]);
    assert!(!shown.out.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown:?}");
    let seq = parked[0]["seq"].to_string();
    let one = service.atp(&["--json", "release", "--sink", "bus", &seq]);
    assert_eq!(one.json(), json!({ "sink": "bus", "released": [parked[0]["seq"]] }), "{one:?}");
    let again = service.atp(&["release", "--sink", "bus", &seq]);
    assert!(again.code == 3 && again.err.contains("no event is parked at the place"), "{again:?}");
    assert!(again.err.contains("`atp parked`"), "{again:?}");
    let all = service.atp(&["--json", "release", "--sink", "bus", "--all"]);
    assert_eq!(all.json()["released"], json!([parked[1]["seq"]]), "{all:?}");
    assert_eq!(service.atp(&["parked"]).out, "Nothing is parked.\n");
    let usage = service.atp(&["release", "--sink", "bus"]);
    assert_eq!(usage.code, 2, "{usage:?}");
}

#[test]
fn what_is_parked_is_given_up_one_by_one() {
    let service = Service::start();
    let parked = service.atp(&["--json", "parked"]).lines();
    let seq = parked[0]["seq"].to_string();
    let one = service.atp(&["--json", "forget", "--sink", "bus", &seq]);
    assert_eq!(one.json(), json!({ "sink": "bus", "forgotten": parked[0]["seq"] }), "{one:?}");
    let again = service.atp(&["forget", "--sink", "bus", &seq]);
    assert!(again.code == 3 && again.err.contains("no event is parked at the place"), "{again:?}");
    assert_eq!(service.atp(&["--json", "parked"]).lines(), parked[1..]);
    let usage = service.atp(&["forget", "--sink", "bus"]);
    assert_eq!(usage.code, 2, "{usage:?}");
}

#[test]
fn doctor_finds_nothing_wrong_where_nothing_is() {
    let service = Service::start();
    let webhook = service.webhook();
    let ran = service.atp(&["--json", "doctor", "--webhook", &webhook, "--server", &service.address]);
    let lines = ran.lines();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(lines.iter().all(|line| line["state"] == "good"), "{ran:?}");
    let checks: Vec<_> = lines.iter().map(|line| line["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["secret", "clock", "webhook", "journal_mode", "synchronous", "schema", "writes"]);
}

#[test]
fn doctor_tells_what_is_wrong_and_what_to_do() {
    let service = Service::start();
    let folder = service.folder.path();
    service.folder.write("empty.sqlite", "");
    service.folder.write(
        "text.sqlite",
        "this is a text and no database, whatever its name may say about it\n".repeat(20),
    );
    let elsewhere = format!("{}/elsewhere", service.address);
    for (variables, arguments, says) in [
        (vec![("ATP_WEBHOOK_SECRET", "hunter2")], vec![], "WRONG   secret: 7 bytes"),
        (vec![], vec!["--webhook", &*elsewhere], "no webhook at this path"),
        (vec![], vec!["--webhook", "http://127.0.0.1:9/"], "does not answer"),
        (vec![], vec!["--server", "http://127.0.0.1:9/"], "does not answer"),
        (vec![], vec!["--database", "sqlite:absent.sqlite"], "no such file"),
        (vec![], vec!["--database", "sqlite:empty.sqlite"], "no tables"),
        (vec![], vec!["--database", "sqlite:text.sqlite"], "is it a file of SQLite"),
        (vec![], vec!["--database", "postgres://127.0.0.1:9/x"], "WRONG   database"),
    ] {
        let ran = run(folder, &[&["doctor"], &arguments[..]].concat(), b"", &variables);
        assert!(ran.code == 1 && ran.out.contains(says), "{arguments:?}: {ran:?}");
        assert!(!ran.out.contains("hunter2"), "{ran:?}");
    }
    assert!(!folder.join("absent.sqlite").exists());
}

/// Runs the command as who owns nothing here, unless it is somebody else already.
fn as_nobody(binary: &Path, folder: &Folder, arguments: &[&str]) -> Ran {
    let mut command = Command::new(binary);
    command.args(arguments).current_dir(folder.path()).env_remove("ATP_WEBHOOK_SECRET");
    if fs::metadata(folder.path()).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    ran(&mut command, b"", &[])
}

/// A closed store in this folder, in this journal mode.
async fn closed_store(folder: &Folder, journal: &str) {
    let file = folder.path().join("atp.sqlite");
    SqliteStore::open(&file).await.unwrap().close().await;
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let set = format!("PRAGMA journal_mode = {journal}");
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_told_and_what_to_do() {
    // Where a stranger may read it.
    let bin = Folder::new();
    let binary = bin.path().join("atp");
    fs::copy(env!("CARGO_BIN_EXE_atp"), &binary).unwrap();
    for path in [bin.path(), &binary] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    for (journal, file_mode, folder_mode, is_good) in [
        ("delete", 0o666, 0o777, true),
        ("delete", 0o444, 0o777, false),
        ("delete", 0o666, 0o555, false),
        ("wal", 0o666, 0o777, true),
        ("wal", 0o444, 0o777, false),
        ("wal", 0o444, 0o555, false),
    ] {
        let folder = Folder::new();
        rt::System::new().block_on(closed_store(&folder, journal));
        let file = folder.path().join("atp.sqlite");
        fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
        let before = fs::read(&file).unwrap();
        let here = ["--database", "sqlite:atp.sqlite"];
        let doctor = as_nobody(&binary, &folder, &[&["doctor"], &here[..]].concat());
        let listed = as_nobody(&binary, &folder, &[&["refused"], &here[..]].concat());
        let case = format!("{journal} {file_mode:o} {folder_mode:o}: {doctor:?} {listed:?}");
        assert_eq!(doctor.code, i32::from(!is_good), "{case}");
        if is_good {
            assert_eq!(listed.code, 0, "{case}");
        } else if file_mode == 0o444 {
            assert!(listed.code == 3 && listed.err.contains("may be written"), "{case}");
        }
        if is_good {
            assert!(doctor.out.contains("good    writes"), "{case}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left: {case}");
        } else {
            let says = "WRONG   writes: atp.sqlite cannot be written";
            assert!(doctor.out.contains(says) && doctor.out.contains("its folder"), "{case}");
        }
        assert_eq!(fs::read(&file).unwrap(), before, "{case}");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    }
}

#[test]
fn doctor_leaves_what_a_service_that_died_has_left() {
    let (alive, dead) = (Folder::new(), Folder::new());
    rt::System::new().block_on(async {
        let store = SqliteStore::open(alive.path().join("atp.sqlite")).await.unwrap();
        record_late(&store, "late-1").await;
        for name in ["atp.sqlite", "atp.sqlite-wal"] {
            fs::copy(alive.path().join(name), dead.path().join(name)).unwrap();
        }
        store.close().await;
    });
    let files = ["atp.sqlite", "atp.sqlite-wal"].map(|name| dead.path().join(name));
    let before = files.clone().map(|file| fs::read(file).unwrap());
    let ran = run(dead.path(), &["doctor", "--database", "sqlite:atp.sqlite"], b"", &[]);
    assert!(ran.code == 0 && ran.out.contains("good    writes"), "{ran:?}");
    assert!(!before[1].is_empty());
    assert_eq!(files.map(|file| fs::read(file).unwrap()), before);
}

#[test]
fn doctor_takes_nothing_back_that_was_half_written() {
    let (alive, dead) = (Folder::new(), Folder::new());
    let names = ["atp.sqlite", "atp.sqlite-journal"];
    rt::System::new().block_on(async {
        closed_store(&alive, "delete").await;
        let url = format!("sqlite:{}", alive.path().join("atp.sqlite").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        // More than is held in memory, so it goes to the file before the commit.
        let half = "PRAGMA cache_size = 1; BEGIN; UPDATE atp_schema SET version = version + 1; \
                    CREATE TABLE more (bytes); INSERT INTO more VALUES (zeroblob(1000000))";
        sqlx::raw_sql(half).execute(&mut connection).await.unwrap();
        for name in names {
            fs::copy(alive.path().join(name), dead.path().join(name)).unwrap();
        }
    });
    let files = names.map(|name| dead.path().join(name));
    let before = files.clone().map(|file| fs::read(file).unwrap());
    let ran = run(dead.path(), &["doctor", "--database", "sqlite:atp.sqlite"], b"", &[]);
    assert!(ran.code == 0 && ran.out.contains("advice  database: a program died"), "{ran:?}");
    assert_eq!(files.map(|file| fs::read(file).unwrap()), before);
}

#[test]
fn doctor_does_not_take_a_lock_of_another_for_a_fault() {
    let folder = Folder::new();
    let url = format!("sqlite:{}", folder.path().join("atp.sqlite").display());
    for (journal, begin, says) in [
        ("wal", "BEGIN IMMEDIATE", "advice  writes: not tried"),
        ("delete", "BEGIN EXCLUSIVE", "advice  database: not looked at"),
    ] {
        rt::System::new().block_on(async {
            closed_store(&folder, journal).await;
            let mut other = SqliteConnection::connect(&url).await.unwrap();
            let held = other.begin_with(begin).await.unwrap();
            let ran = run(folder.path(), &["doctor", "--database", &url], b"", &[]);
            assert!(ran.code == 0 && ran.out.contains(says), "{journal}: {ran:?}");
            held.rollback().await.unwrap();
        });
    }
}

/// A proxy that asks for a login answers 401 too.
#[test]
fn doctor_tells_a_login_from_a_webhook() {
    let login = "401 Unauthorized\r\nwww-authenticate: Basic realm=\"staging\"";
    for (status, body, code, says) in [
        (
            login,
            "who are you?",
            1,
            "WRONG   webhook: an unsigned request is answered 401, which asks for a login",
        ),
        ("401 Unauthorized", "who are you?", 0, "advice  webhook"),
        ("401 Unauthorized", r#"{"error":"Invalid signature"}"#, 0, "good    webhook"),
    ] {
        let ran = alone(&["doctor", "--webhook", &answering(status, body)], "");
        assert!(ran.code == code && ran.out.contains(says), "{status} {body}: {ran:?}");
    }
}

/// Who has read enough of it takes nothing back.
#[test]
fn a_verdict_stands_where_its_reader_has_gone() {
    let service = Service::start();
    service.send("late-1", "approve", &[]);
    let id = service.atp(&["--json", "refused"]).json()["id"].to_string();
    service.folder.write("request.http", request("raw").replace("approve", "reject"));
    let elsewhere = format!("{}/elsewhere", service.address);
    for (arguments, code) in [
        (&["verify", "--any-age", "request.http"][..], 1),
        (&["doctor", "--webhook", &elsewhere], 1),
        (&["send", "--to", &elsewhere, "--notification", "n-1", "--action", "approve"], 1),
        (&["load", "--to", &elsewhere, "--rate", "20", "--duration", "100ms"], 1),
        (&["redrive", &id, "--to", &elsewhere], 1),
        (&["doctor", "--webhook", &service.webhook()], 0),
        (&["refused"], 0),
        (&["completions", "bash"], 0),
        (&["man"], 0),
    ] {
        for form in [&[][..], &["--json"]] {
            let (reader, writer) = pipe().unwrap();
            drop(reader);
            let mut command = Command::new(env!("CARGO_BIN_EXE_atp"));
            command.args(form).args(arguments).current_dir(service.folder.path()).stdout(writer);
            command.env("ATP_WEBHOOK_SECRET", SECRET).env("DATABASE_URL", &service.database);
            let status = command.status().unwrap();
            assert_eq!(status.code(), Some(code), "{form:?} {arguments:?}");
        }
    }
}

#[test]
fn no_message_and_no_argument_tells_a_password() {
    let (url, database) = ("http://u:hunter2@127.0.0.1:9/", "postgres://u:hunter2@127.0.0.1:9/x");
    let service = format!("orders={url}");
    for arguments in [
        &["send", "--to", url, "--notification", "n", "--action", "a"][..],
        &["load", "--to", url, "--rate", "1"],
        &["redrive", "1", "--to", url],
        &["doctor", "--webhook", url],
        &["doctor", "--server", url],
        &["replay", "n-1", "--to", url],
        &["pending", "--desk", url],
        &["desk", "--ephemeral", "--stop-after", "0", "--service", &service],
        &["refused", "--database", database],
        &["parked", "--database", "postgres://u@127.0.0.1:9/x?password=hunter2"],
    ] {
        let text = alone(arguments, "");
        let json = alone(&[&["--json"], arguments].concat(), "");
        for ran in [text, json] {
            assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
            let said = format!("{}{}", ran.out, ran.err);
            assert!(!said.contains("hunter2") && said.contains("password in it"), "{arguments:?}: {ran:?}");
        }
    }
    let folder = Folder::new();
    for arguments in [&["pending"][..], &["pending", "--help"], &["refused", "--help"]] {
        let variables = [("ATP_DESK_URL", url), ("DATABASE_URL", database)];
        let ran = run(folder.path(), arguments, b"", &variables);
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    }
    for scheme in ["ftp://h/", "file:///etc/passwd", "mailto:h"] {
        let ran = alone(&["replay", "n-1", "--to", scheme], "");
        assert_eq!(ran.code, 2, "{ran:?}");
    }
}

#[test]
fn a_database_of_another_kind_is_neither_changed_nor_used() {
    let folder = Folder::new();
    let empty = folder.write("empty.sqlite", "");
    for (url, code, says) in [
        ("sqlite:empty.sqlite", 3, "no tables of a store"),
        ("sqlite:absent.sqlite", 3, "no such file"),
        ("postgres://u:hunter2@127.0.0.1:9/x", 3, "127.0.0.1:9 cannot be opened"),
        ("mysql://u:hunter2@h/x", 2, "must begin with sqlite: or postgres:"),
    ] {
        for command in ["refused", "parked"] {
            let ran = run(folder.path(), &["--json", command], b"", &[("DATABASE_URL", url)]);
            assert!(
                ran.code == code && ran.json()["error"].as_str().unwrap().contains(says),
                "{url}: {ran:?}"
            );
            assert!(!ran.out.contains("hunter2"), "{ran:?}");
        }
    }
    assert_eq!(fs::metadata(empty).unwrap().len(), 0);
    let none = alone(&["refused"], "");
    assert!(none.code == 2 && none.err.contains("set DATABASE_URL"), "{none:?}");
}

#[test]
fn exit_codes_are_those_that_help_tells_and_errors_are_json_where_it_is_asked_for() {
    let help = alone(&["--help"], "");
    for code in ["0  done", "1  judged", "2  wrong usage", "3  could not be done"] {
        assert!(help.out.contains(code), "{help:?}");
    }
    for (arguments, code) in [
        (&["sign", "absent.json"][..], 3),
        (&["sign", "--scheme", "md5"][..], 2),
        (&["sign", "--at", "now"][..], 2),
        (&["send", "--to", "http://127.0.0.1:9/", "--notification", "n", "--action", "a"][..], 3),
        (&["send", "--to", "127.0.0.1", "--notification", "n", "--action", "a"][..], 2),
        (
            &[
                "send",
                "--to",
                "http://127.0.0.1:9/",
                "--notification",
                "n",
                "--action",
                "a",
                "--fault",
                "milliseconds",
                "--scheme",
                "raw",
            ][..],
            2,
        ),
        (&["verify", "--signature", "x"][..], 2),
        (&["verify", "absent.http"][..], 3),
        (&["load", "--to", "http://127.0.0.1:9/", "--rate", "0"][..], 2),
        (&["load", "--to", "http://127.0.0.1:9/", "--rate", "1", "--mix", "fresh=1"][..], 2),
        (&["redrive", "1", "--to", "http://127.0.0.1:9/"][..], 2),
        (&["man", "nothing"][..], 2),
        (&["nothing"][..], 2),
        (&[][..], 2),
    ] {
        let text = alone(arguments, "");
        assert!(text.code == code && text.out.is_empty() && !text.err.is_empty(), "{arguments:?}: {text:?}");
        let ran = alone(&[&["--json"], arguments].concat(), "");
        assert_eq!(
            (ran.code, ran.json()["exit_code"].as_i64()),
            (code, Some(code.into())),
            "{arguments:?}: {ran:?}"
        );
        assert!(ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn no_input_makes_it_panic() {
    let raw = request("raw");
    let mut inputs: Vec<Vec<u8>> = vec![vec![], vec![0xff; 4096], b"{".repeat(100_000), b"[".repeat(100_000)];
    inputs.push(br#"{"request":"#.repeat(5_000));
    inputs.extend((0..raw.len()).step_by(13).map(|at| raw.as_bytes()[..at].to_vec()));
    inputs.extend((0..raw.len()).step_by(17).map(|at| {
        let mut bytes = raw.clone().into_bytes();
        bytes[at] ^= 0x80;
        bytes
    }));
    let folder = Folder::new();
    for input in inputs {
        for arguments in [&["verify"][..], &["sign", "--scheme", "python"], &["sign", "--scheme", "node"]] {
            let ran = run(folder.path(), arguments, &input, &[]);
            assert!(
                matches!(ran.code, 0 | 1 | 3),
                "{arguments:?} {:?}: {ran:?}",
                String::from_utf8_lossy(&input)
            );
        }
    }
}

#[test]
fn what_a_service_answers_does_nothing_to_a_terminal() {
    let service = Service::start();
    let webhook = service.webhook();
    let ran = service.atp(&["send", "--to", &webhook, "--notification", "n-2", "--action", "reject"]);
    assert!(ran.code == 1 && ran.out.contains("\\u{1b}[31mred"), "{ran:?}");
    assert!(!ran.out.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{ran:?}");
    let ran = service.send("n-2", "reject", &[]);
    assert!(!ran.out.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{ran:?}");
    assert_eq!(ran.json()["body"], ESCAPES);
}

#[test]
fn every_shell_and_every_command_has_its_page() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = alone(&["completions", shell], "");
        assert!(ran.code == 0 && ran.out.contains("atp"), "{ran:?}");
    }
    assert!(alone(&["man"], "").out.contains("Exit codes"));
    for command in atp_cli::commands::Atp::command().get_subcommands() {
        let ran = alone(&["man", command.get_name()], "");
        assert!(ran.code == 0 && ran.out.contains(".SH SYNOPSIS"), "{ran:?}");
        assert!(ran.out.contains("Example:\n.nf\n  atp "), "{ran:?}");
    }
}

const ADMIN: &str = "admin-of-the-desk";
const USER: &str = "user-of-the-desk";

/// A desk at which `n-1` waits and `n-2` is answered.
async fn desk_with_questions(callback: &str) -> RunningDesk {
    let desk = Desk::new().admin_token(ADMIN).user_token(USER).start().await.unwrap();
    let service = desk.register_with_secret("orders", callback, SECRET).await.unwrap();
    for id in ["n-1", "n-2"] {
        let question = Notification::new("Deploy?", "").id(id).action(Action::simple("approve", "Approve"));
        desk.ask(&service.service_id, &question).await.unwrap();
    }
    desk.answer("n-2", "approve", &()).await.unwrap();
    desk
}

/// Also where nobody else asks for that feature.
#[test]
fn a_desk_judges_json_by_its_schema() {
    rt::System::new().block_on(async {
        let desk = Desk::new().start().await.unwrap();
        let service = desk.register_with_secret("orders", "http://127.0.0.1:1/", SECRET).await.unwrap();
        let set = Action::json_schema("set", "Set", json!({ "required": ["limit"] }));
        let question = Notification::new("Which limit?", "").id("n-1").action(set);
        desk.ask(&service.service_id, &question).await.unwrap();
        let refused = desk.answer("n-1", "set", &json!({})).await.unwrap_err();
        assert_eq!(refused.code(), "INVALID_RESPONSE_DATA", "{refused}");
        desk.answer("n-1", "set", &json!({ "limit": 1 })).await.unwrap();
        desk.stop().await;
    });
}

#[test]
fn what_waits_at_a_desk_is_listed_answered_once_and_sent_again_elsewhere() {
    let (folder, service) = (Folder::new(), Service::start());
    let desk = rt::System::new().block_on(desk_with_questions(&service.webhook()));
    let url = desk.url();
    let atp = |arguments: &[&str]| {
        let arguments = [&["--json"], arguments, &["--desk", &*url]].concat();
        run(folder.path(), &arguments, b"", &[("ATP_DESK_ADMIN_TOKEN", ADMIN), ("ATP_DESK_USER_TOKEN", USER)])
    };
    let pending = atp(&["pending"]);
    assert_eq!((pending.code, &pending.lines()[0]["id"]), (0, &json!("n-1")), "{pending:?}");
    let stranger = run(
        folder.path(),
        &["answer", "n-1", "approve", "--desk", &url],
        b"",
        &[("ATP_DESK_USER_TOKEN", "guess")],
    );
    assert!(stranger.code == 3 && stranger.err.contains("ATP_DESK_USER_TOKEN"), "{stranger:?}");
    let negative = atp(&["answer", "n-1", "approve", "--data", "-5"]);
    assert!(negative.code == 1 && negative.out.contains("INVALID_RESPONSE_DATA"), "{negative:?}");
    let wrong = atp(&["answer", "n-1", "deny"]);
    assert!(wrong.code == 1 && wrong.out.contains("INVALID_ACTION_ID"), "{wrong:?}");
    assert_eq!(atp(&["answer", "n-1", "approve"]).code, 0);
    let again = atp(&["answer", "n-1", "approve"]);
    assert!(again.code == 1 && again.out.contains("NOTIFICATION_ALREADY_RESPONDED"), "{again:?}");
    assert!(atp(&["pending"]).lines().is_empty());
    assert_eq!(atp(&["replay", "n-1"]).code, 0);
    // Somebody else, who takes nothing.
    let patience = Instant::now() + Duration::from_secs(20);
    let elsewhere = loop {
        let elsewhere = atp(&["replay", "n-1", "--to", &format!("{}/elsewhere", service.address)]);
        if elsewhere.code != 3 || Instant::now() > patience {
            break elsewhere;
        }
    };
    assert_eq!((elsewhere.code, &elsewhere.json()["status"]), (1, &json!(404)), "{elsewhere:?}");
    let nobody = atp(&["replay", "n-1", "--to", "http://127.0.0.1:9/"]);
    assert!(nobody.code == 3 && nobody.out.contains("http://127.0.0.1:9/ does not answer"), "{nobody:?}");
    let stranger = run(folder.path(), &["pending", "--desk", &url], b"", &[("ATP_DESK_USER_TOKEN", "guess")]);
    assert!(stranger.code == 3 && stranger.err.contains("AUTH_INVALID_TOKEN"), "{stranger:?}");
}

/// Whatever listens at the address and says 200, and a desk that fails.
#[test]
fn what_is_no_desk_has_taken_nothing() {
    let folder = Folder::new();
    let variables = [("ATP_DESK_ADMIN_TOKEN", ADMIN), ("ATP_DESK_USER_TOKEN", USER)];
    for (status, body, says) in [
        ("200 OK", "It works!", "is no desk"),
        ("200 OK", r#"{"ok":true}"#, "is no desk"),
        ("404 Not Found", r#"{"error":"no route"}"#, "is no desk: it answers 404"),
        ("502 Bad Gateway", "{}", "is no desk: it answers 502"),
        (
            "503 Service Unavailable",
            r#"{"code":"UNAVAILABLE","message":"later"}"#,
            "fails: 503 UNAVAILABLE: later",
        ),
        ("429 Too Many Requests", r#"{"code":"RATE_LIMIT_EXCEEDED","message":"slow"}"#, "called too often"),
    ] {
        let url = answering(status, body);
        for arguments in [
            &["pending"][..],
            &["answer", "n-1", "approve"],
            &["replay", "n-1"],
            &["replay", "n-1", "--to", "http://127.0.0.1:9/"],
        ] {
            let ran = run(folder.path(), &[arguments, &["--desk", &url]].concat(), b"", &variables);
            assert!(ran.code == 3 && ran.err.contains(says), "{status}: {arguments:?}: {ran:?}");
        }
    }
    let url = answering("200 OK", "It works!");
    for id in ["n\n1", ".."] {
        let ran = run(folder.path(), &["replay", id, "--desk", &url], b"", &variables);
        assert!(ran.code == 2 && ran.err.contains("no URL can name"), "{ran:?}");
    }
}

/// Each in a folder and beside a service as the examples have it.
#[test]
fn the_example_of_every_command_works_as_it_is_written() {
    let command = atp_cli::commands::Atp::command();
    let helps = command.get_subcommands().chain([&command]);
    let binaries = Path::new(env!("CARGO_BIN_EXE_atp")).parent().unwrap().display();
    let path = format!("{binaries}:{}", env::var("PATH").unwrap());
    for command in helps {
        let name = command.get_name();
        // As a terminal of the usual width shows it.
        let shown = if name == "atp" { vec!["--help"] } else { vec![name, "--help"] };
        let help = run(&env::temp_dir(), &shown, b"", &[("COLUMNS", "80")]).out;
        let (_, examples) = help.rsplit_once("Example:\n").unwrap_or_else(|| panic!("{name} has no example"));
        let examples = examples.replace("\\\n", "");
        let service = Service::start();
        service.folder.write("answer.json", BODY);
        service.folder.write("request.http", request("timestamped"));
        service.send("late-1", "approve", &[]);
        let file = service.folder.path().join("atp.sqlite");
        rt::System::new()
            .block_on(async { record_late(&SqliteStore::open(file).await.unwrap(), "late-1").await });
        let desk = rt::System::new().block_on(desk_with_questions(&service.webhook()));
        for example in examples.lines().map(str::trim) {
            assert!(example.starts_with("atp "), "{name}: {example}");
            let here = example.replace("http://127.0.0.1:8080", &service.address);
            let here = here.replace("http://127.0.0.1:8700", &desk.url());
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(&here).current_dir(service.folder.path());
            let ran = ran(
                &mut shell,
                b"",
                &[
                    ("PATH", &path),
                    ("ATP_WEBHOOK_SECRET", SECRET),
                    ("ATP_DESK_ADMIN_TOKEN", ADMIN),
                    ("ATP_DESK_USER_TOKEN", USER),
                ],
            );
            assert_eq!(ran.code, 0, "{name}: {here}: {ran:?}");
        }
    }
}

/// In a database of its own, which is gone afterwards.
#[test]
fn all_that_is_done_with_sqlite_is_done_with_postgresql() {
    let Ok(server) = env::var("DATABASE_URL") else {
        println!("SKIPPED: there is no DATABASE_URL, so nothing was tried with PostgreSQL");
        return;
    };
    let name = format!("atp_cli_{}", uuid::Uuid::new_v4().simple());
    statement(&server, format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"));
    let (host, _) = server.rsplit_once('/').unwrap();
    let url = format!("{host}/{name}");
    let connect = |url: String| async move { PostgresStore::connect(&url).await.unwrap().routes(routes()) };
    let service = Service::over(Folder::new(), url.clone(), connect(url.clone()));
    refused_and_redriven(&service, async { record_late(&connect(url.clone()).await, "late-1").await });
    parked_and_released(&service);
    let examined =
        service.atp(&["--json", "doctor", "--webhook", &service.webhook(), "--server", &service.address]);
    let find = |check: &str| examined.lines().into_iter().find(|line| line["check"] == check).unwrap();
    for check in
        ["fsync", "full_page_writes", "encoding", "writes", "schema", "encryption", "prepared statements"]
    {
        assert!(find(check).is_object(), "{examined:?}");
    }
    assert_eq!(find("schema")["state"], "good", "{examined:?}");
    only_a_role_that_may_write_is_good(&service, &url, &name);
    drop(service);
    statement(&server, format!("DROP DATABASE {name} WITH (FORCE)"));
    statement(&server, format!("DROP ROLE {name}"));
}

fn statement(url: &str, text: String) {
    rt::System::new().block_on(async move {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    });
}

/// A role that may only read, and one that may do what the library does and no more.
fn only_a_role_that_may_write_is_good(service: &Service, url: &str, role: &str) {
    statement(url, format!("CREATE ROLE {role} LOGIN PASSWORD 'of-the-role'"));
    let (_, place) = url.rsplit_once('@').unwrap();
    let as_role = format!("postgres://{role}:of-the-role@{place}");
    let atp = |arguments: &[&str]| run(service.folder.path(), arguments, b"", &[("DATABASE_URL", &*as_role)]);
    for (grants, code, says) in [
        (
            vec!["SELECT ON ALL TABLES IN SCHEMA public"],
            1,
            format!("WRONG   writes: the role {role} lacks INSERT on"),
        ),
        (
            vec![
                "UPDATE ON atp_schema",
                "INSERT ON atp_key, atp_erased",
                "INSERT, UPDATE, DELETE ON atp_questions, atp_decisions, atp_deliveries, atp_refused, atp_events, atp_sends",
            ],
            0,
            format!("good    writes: the server takes them of the role {role}"),
        ),
    ] {
        for grant in grants {
            statement(url, format!("GRANT {grant} TO {role}"));
        }
        let doctor = atp(&["doctor"]);
        assert!(doctor.code == code && doctor.out.contains(&says), "{doctor:?}");
        for list in ["refused", "parked"] {
            let listed = atp(&[list]);
            assert_eq!(listed.code, if code == 0 { 0 } else { 3 }, "{listed:?}");
            assert_eq!(code != 0, listed.err.contains("a list opens the store too"), "{listed:?}");
        }
    }
}

/// In front of the server of `DATABASE_URL`, in each of its modes.
#[test]
fn doctor_sees_a_pooler_that_takes_the_session_away() {
    let server = env::var("DATABASE_URL").ok().filter(|_| is_there("pgbouncer"));
    let Some(server) = server else {
        println!("SKIPPED: there is no DATABASE_URL, or no PgBouncer, so no pooler was tried");
        return;
    };
    for (mode, state, says) in [
        ("session", "good", "none that changes the session"),
        ("transaction", "advice", "another session in each transaction"),
        ("statement", "wrong", "not allowed in statement pooling mode"),
    ] {
        let (bouncer, url) = Bouncer::start(&server, mode);
        let ran = alone(&["--json", "doctor", "--database", &url], "");
        let lines = ran.lines();
        let pooler = lines.iter().find(|line| line["check"] == "pooler").unwrap_or_else(|| panic!("{ran:?}"));
        assert_eq!(pooler["state"], state, "{mode}: {ran:?}");
        assert!(pooler["found"].as_str().unwrap().contains(says), "{mode}: {ran:?}");
        drop(bouncer);
    }
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// A PgBouncer, ended with it.
struct Bouncer {
    folder: Folder,
}

impl Bouncer {
    fn start(server: &str, mode: &str) -> (Self, String) {
        let url: PgConnectOptions = server.parse().unwrap();
        let (host, server_port) = (url.get_host(), url.get_port());
        let (_, login) = server.split_once("://").unwrap();
        let (login, _) = login.rsplit_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Folder::new();
        let here = folder.path().display();
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} user={user} password={password}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\nlogfile = {here}/log\npidfile = {here}/pid\n"
        );
        let file = folder.write("bouncer.ini", settings);
        // It does not run as root, so another writes its files.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let start = format!("pgbouncer -q -d {}", file.display());
        let as_other =
            format!("if [ $(id -u) = 0 ]; then su postgres -s /bin/sh -c '{start}'; else {start}; fi");
        let started = Command::new("sh").arg("-c").arg(as_other).output().unwrap();
        assert!(started.status.success(), "{started:?}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        (Self { folder }, format!("postgres://{user}@127.0.0.1:{port}/postgres"))
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<u32>() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}
