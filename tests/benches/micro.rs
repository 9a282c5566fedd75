//! What each step costs, in nanoseconds, in a loop on one core with everything hot: a server pays
//! more.
//!
//! `cargo bench -p atp-tests --bench micro`

#[allow(dead_code, reason = "fields are there to be deserialized")]
mod common;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use actix_web::{
    App,
    dev::{Service, ServiceResponse},
    test, web,
};
use atp_actix::{AtpResponse, Error, Webhook};
use atp_core::{Form, RawJson, ResponseType, Scheme, Secret, Signature, Verifier, canonical};
use bytes::Bytes;
use common::{Borrowed, Owned, SIZES, Small, body};
use futures_util::FutureExt as _;

const SECRET: &str = "whsec_bench_0123456789abcdef0123456789";

/// The median of many short batches.
fn nanoseconds(mut step: impl FnMut()) -> f64 {
    let mut batch = 1;
    let time = |batch: u32, step: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..batch).for_each(|_| step());
        started.elapsed()
    };
    while time(batch, &mut step) < Duration::from_millis(3) {
        batch *= 2;
    }
    let mut rounds: Vec<f64> =
        (0..31).map(|_| time(batch, &mut step).as_nanos() as f64 / f64::from(batch)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn main() {
    let bodies: Vec<Bytes> = SIZES.iter().map(|(_, size)| Bytes::from(body(*size))).collect();
    let verifier = Verifier::new(Secret::new(SECRET).unwrap());
    let header = |scheme, body: &Bytes| verifier.sign(scheme, body).unwrap().to_string();
    println!("| step | {} |\n|---|---:|---:|---:|", SIZES.map(|(name, _)| name).join(" | "));
    let row = |name: &str, step: &dyn Fn(usize, &Bytes)| {
        let cells: Vec<String> = bodies
            .iter()
            .enumerate()
            .map(|(size, body)| format!("{:.0}", nanoseconds(|| step(size, body))))
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    };

    let timestamped = header(Scheme::Timestamped, &bodies[0]);
    row("parse a timestamped header", &|_, _| {
        drop(black_box(Signature::parse(black_box(timestamped.as_bytes()))))
    });
    row("HMAC-SHA256, key prepared", &|_, body| drop(black_box(verifier.sign(Scheme::Raw, black_box(body)))));
    row("canonical text, Python", &|_, body| drop(black_box(canonical::python(black_box(body)))));
    row("canonical text, Node", &|_, body| drop(black_box(canonical::node(black_box(body)))));
    row("strict check (index, duplicates, depth)", &|_, body| drop(black_box(RawJson::new(body.clone()))));
    for (name, scheme, verifier) in [
        ("timestamped", Scheme::Timestamped, verifier.clone()),
        ("raw, pinned", Scheme::Raw, verifier.clone().schemes([Scheme::Raw])),
        ("Python, pinned", Scheme::PythonCanonical, verifier.clone().schemes([Scheme::PythonCanonical])),
        ("Python, all accepted", Scheme::PythonCanonical, verifier.clone()),
        ("Node, pinned", Scheme::NodeCompact, verifier.clone().schemes([Scheme::NodeCompact])),
        ("Node, all accepted", Scheme::NodeCompact, verifier.clone()),
        (
            "timestamped, two secrets",
            Scheme::Timestamped,
            verifier.clone().or(Secret::new("another secret of ours").unwrap()),
        ),
    ] {
        let verifier = verifier.without_payload_time();
        let headers: Vec<String> = bodies.iter().map(|body| header(scheme, body)).collect();
        let verify = |size: usize, body: &Bytes| {
            verifier.verify([(Signature::HEADER, &headers[size])], body.clone()).unwrap()
        };
        row(&format!("verify {name}"), &|size, body| drop(black_box(verify(size, body))));
        row(&format!("verify and decode {name}"), &|size, body| {
            drop(black_box(verify(size, body).decode().unwrap()))
        });
    }
    let data: Vec<RawJson> = bodies
        .iter()
        .map(|body| {
            let header = header(Scheme::Timestamped, body);
            let answer =
                verifier.verify([(Signature::HEADER, header)], body.clone()).unwrap().decode().unwrap();
            answer.response_data.unwrap()
        })
        .collect();
    refusals(&verifier);
    allocations(&verifier, &bodies);
    actix_web::rt::System::new().block_on(requests(&verifier, &bodies));
    println!("| step | {} |\n|---|---:|---:|---:|", SIZES.map(|(name, _)| name).join(" | "));
    row("read the data as its type", &|size, _| match size {
        0 => drop(black_box(Form::<Small<String>>::read(Some(&data[0])).unwrap())),
        1 => drop(black_box(Form::<Owned>::read(Some(&data[1])).unwrap())),
        _ => drop(black_box(data[2].clone())),
    });
    row("the same by serde_json, borrowed", &|size, _| match size {
        0 => drop(black_box(serde_json::from_slice::<Small<&str>>(data[0].as_bytes()).unwrap())),
        1 => drop(black_box(serde_json::from_slice::<Borrowed<'_>>(data[1].as_bytes()).unwrap())),
        _ => drop(black_box(
            serde_json::from_slice::<&serde_json::value::RawValue>(data[2].as_bytes()).unwrap(),
        )),
    });
    row("parse the whole by serde_json, data as RawValue", &|_, body| {
        drop(black_box(serde_json::from_slice::<Envelope<'_>>(black_box(body)).unwrap()));
    });
    row("std::str::from_utf8", &|_, body| {
        let _ = black_box(std::str::from_utf8(black_box(body)));
    });
}

/// What a stranger's delivery costs at the default limit.
fn refusals(verifier: &Verifier) {
    let body = Bytes::from(body(256 << 10));
    let digest = "0".repeat(64);
    let now = verifier.now().timestamp();
    println!("\n| refused, 256 KiB | ns |\n|---|---:|");
    for (name, header) in [
        ("from the head: malformed", "t=5.7,v1=x".to_owned()),
        ("from the head: stale", format!("t={},v1={digest}", now - 3600)),
        ("forged, timestamped: one hash", format!("t={now},v1={digest}")),
        ("forged, bare digest, all schemes: three hashes, one index", digest.clone()),
    ] {
        let refuse =
            || assert!(black_box(verifier.verify([(Signature::HEADER, &header)], body.clone())).is_err());
        println!("| {name} | {:.0} |", nanoseconds(refuse));
    }
    let hash = nanoseconds(|| drop(black_box(verifier.sign(Scheme::Raw, black_box(&body)))));
    println!("| one HMAC-SHA256 of it, for comparison | {hash:.0} |\n");
}

/// Allocations of verification and strict read, beside those of a borrowed parse.
fn allocations(verifier: &Verifier, bodies: &[Bytes]) {
    println!(
        "| allocations (and KiB at most) | {} |\n|---|---:|---:|---:|",
        SIZES.map(|(name, _)| name).join(" | ")
    );
    let verifier = verifier.clone().without_payload_time();
    for scheme in Scheme::ALL {
        let cells: Vec<String> = bodies
            .iter()
            .map(|body| {
                let header = verifier.sign(scheme, body).unwrap().to_string();
                let verifier = verifier.clone().schemes([scheme]);
                let count = allocation_counter::measure(|| {
                    let verified = verifier.verify([(Signature::HEADER, &header)], body.clone()).unwrap();
                    drop(black_box(verified.decode().unwrap()));
                });
                format!("{} ({})", count.count_total, count.bytes_max / 1024)
            })
            .collect();
        println!("| verify and decode {scheme} | {} |", cells.join(" | "));
    }
    println!();
}

/// Allocations of a whole request but for HTTP, from actix's router to the answer.
async fn requests(verifier: &Verifier, bodies: &[Bytes]) {
    async fn approve(answer: AtpResponse) -> Result<(), Error> {
        black_box(answer);
        Ok(())
    }
    println!(
        "| allocations of a request | {} |\n|---|---:|---:|---:|",
        SIZES.map(|(name, _)| name).join(" | ")
    );
    let plain = test::init_service(App::new().route("/", web::post().to(|| async { "approved" }))).await;
    let unread = |body| allocated(&plain, || delivery(body, "").to_request()).to_string();
    let cells: Vec<String> = bodies.iter().map(unread).collect();
    println!("| a plain route, which reads nothing | {} |", cells.join(" | "));
    for scheme in Scheme::ALL {
        let verifier = verifier.clone().schemes([scheme]).without_payload_time();
        let webhook = Webhook::new("/", verifier.clone()).limit(2 << 20).on("approve", approve);
        let service = test::init_service(App::new().service(webhook)).await;
        let cells: Vec<String> = bodies
            .iter()
            .map(|body| {
                let header = verifier.sign(scheme, body).unwrap().to_string();
                allocated(&service, || delivery(body, &header).to_request()).to_string()
            })
            .collect();
        println!("| the webhook, {scheme} | {} |", cells.join(" | "));
    }
    println!();
}

fn delivery(body: &Bytes, signature: &str) -> test::TestRequest {
    let request = test::TestRequest::post().uri("/").set_payload(body.clone());
    request.insert_header(("content-type", "application/json")).insert_header((Signature::HEADER, signature))
}

fn allocated<R, B>(
    service: &impl Service<R, Response = ServiceResponse<B>, Error = actix_web::Error>,
    request: impl Fn() -> R,
) -> u64 {
    let call = |request| {
        let response = service.call(request).now_or_never().expect("nothing to wait for");
        assert_eq!(response.expect("a response").status(), 200);
    };
    // What is made once is made by the first.
    call(request());
    let request = request();
    allocation_counter::measure(|| call(request)).count_total
}

#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Envelope<'a> {
    #[serde(borrow)]
    notification_id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    action_id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    response_data: &'a serde_json::value::RawValue,
    #[serde(borrow)]
    responded_at: std::borrow::Cow<'a, str>,
}
