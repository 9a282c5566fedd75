//! Every signature case over a real socket, through a mounted webhook.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{HttpResponse, web};
use atp_actix::Webhook;

use crate::{
    core::signatures::Row,
    support::server::{Server, request},
};

/// The rows whose verdict over HTTP is not their `strict`, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The request id is not signed and the protocol does not say that it is always there, so
    // nothing is made of it.
    ("raw-missing-010", "no X-ATP-Request-ID"),
    ("s1-missing-010", "no X-ATP-Request-ID"),
    ("s1-missing-011", "two X-ATP-Request-ID"),
    // Blanks around a header's value are no part of it (RFC 9110, section 5.5): HTTP takes them off
    // before anyone sees the value. What is left is the right digest.
    ("raw-header-form-005", "a blank after the digest"),
    ("s1n-header-form-005", "a blank after the digest"),
    ("s1n-header-form-006", "tabs around the digest"),
    // CPython signs it as `Infinity`: the signature fits, and what was signed is not JSON.
    ("s1-strict-json-003", "a number beyond a double"),
];

/// The largest body of the cases has 1 MiB.
const LIMIT: usize = 2 << 20;

fn to_request(row: &Row, path: &str) -> Vec<u8> {
    request("POST", path, &row.headers(), &row.body())
}

#[actix_web::test]
async fn signature_rows_over_a_socket_are_judged_strictly() {
    let mut rows = Row::all();
    rows.retain(|row| !row.not_http);
    let over_http = rows.len();

    // One server for all: each row has its webhook at a path of its own.
    let pinned = |row: &Row| row.verifier().map(|verifier| verifier.schemes([row.scheme()]));
    let verifiers: Arc<Vec<_>> = Arc::new(rows.iter().map(pinned).collect());
    let mounted = Arc::clone(&verifiers);
    let server = Server::start(1, move |config: &mut web::ServiceConfig| {
        for (nth, verifier) in mounted.iter().enumerate() {
            if let Some(verifier) = verifier {
                let webhook = Webhook::new(format!("/{nth}"), verifier.clone()).limit(LIMIT);
                config.service(webhook.otherwise(|| async { HttpResponse::Ok().body("accepted") }));
            }
        }
    });

    let mut counts = BTreeMap::<(&str, String), usize>::new();
    let (mut accepted, mut rejected, mut unconfigurable) = (0, 0, 0);
    let (mut excepted, mut wrong) = (Vec::new(), Vec::new());
    for (nth, row) in rows.iter().enumerate() {
        let accepts = if verifiers[nth].is_none() {
            unconfigurable += 1;
            false
        } else {
            let answer = server.exchange(&to_request(row, &format!("/{nth}"))).await;
            let status = answer.as_ref().map(|answer| answer.status);
            let seen = status.map_or_else(|| "closed".to_owned(), |status| status.to_string());
            *counts.entry((&*row.strict, seen)).or_default() += 1;
            match status {
                Some(200) => true,
                Some(400..500) | None => false,
                Some(other) => panic!("{}: status {other}: {}", row.id, row.reason),
            }
        };
        if accepts {
            accepted += 1
        } else {
            rejected += 1
        }
        match (accepts, &*row.strict) {
            (true, "accept") | (false, "reject") => {}
            (true, "reject") | (false, "accept") if EXCEPTIONS.iter().any(|(id, _)| *id == row.id) => {
                excepted.push(&*row.id)
            }
            (_, strict) => wrong.push(format!("{} must {strict}: {}", row.id, row.reason)),
        }
    }
    println!(
        "signatures.jsonl over HTTP: {over_http} of 657 rows ({accepted} accepted, {rejected} rejected, of which \
         {unconfigurable} cannot be configured), {} exceptions; statuses by strict verdict: {counts:?}",
        excepted.len()
    );
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    excepted.sort_unstable();
    let mut listed: Vec<_> = EXCEPTIONS.iter().map(|(id, _)| *id).collect();
    listed.sort_unstable();
    assert_eq!(excepted, listed, "the exceptions are exactly those that are listed");
}
