//! Every signature case over a real socket, through a mounted webhook.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix_web::{HttpResponse, web};
use atp_actix::{Scheme, Secret, Verifier, Webhook};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cases,
    server::{Server, request},
};

/// The rows whose verdict over HTTP is not their `strict`, and why. All of them are rejected there and accepted here.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The request id is not signed and the protocol does not say that it is always there, so nothing is made of it.
    ("raw-missing-010", "no X-ATP-Request-ID"),
    ("s1-missing-010", "no X-ATP-Request-ID"),
    ("s1-missing-011", "two X-ATP-Request-ID"),
    // Blanks around a header's value are no part of it (RFC 9110, section 5.5): HTTP takes them off before anyone sees
    // the value. What is left is the right digest.
    ("raw-header-form-005", "a blank after the digest"),
    ("s1n-header-form-005", "a blank after the digest"),
    ("s1n-header-form-006", "tabs around the digest"),
];

/// The largest body of the cases has 1 MiB.
const LIMIT: usize = 2 << 20;

#[derive(Clone, Deserialize)]
struct Row {
    id: String,
    scheme: String,
    secrets: Vec<String>,
    headers: Vec<(String, String)>,
    body_b64: Value,
    now_unix: i64,
    tolerance_s: u64,
    strict: String,
    reason: String,
    #[serde(default)]
    not_http: bool,
    payload_timestamp: Option<Value>,
}

impl Row {
    /// `None` where a service cannot be configured like this: without a secret, or with one that is too short.
    fn verifier(&self) -> Option<Verifier> {
        let mut secrets = self.secrets.iter().map(|text| Secret::new(text.as_str()));
        let first = Verifier::new(secrets.next()?.ok()?);
        let verifier = secrets.try_fold(first, |verifier, next| next.map(|next| verifier.or(next))).ok()?;
        let scheme = match &*self.scheme {
            "timestamped" => Scheme::Timestamped,
            "raw-body" => Scheme::Raw,
            "python-canonical" => Scheme::PythonCanonical,
            "node-compact" => Scheme::NodeCompact,
            other => panic!("{}: the scheme {other}", self.id),
        };
        let now = DateTime::from_timestamp(self.now_unix, 0).expect("a time");
        let verifier = verifier.schemes([scheme]).tolerance(Duration::from_secs(self.tolerance_s));
        let verifier = verifier.clock(move || now);
        // The rows about the time inside the payload are judged by it, the others are not.
        Some(if self.payload_timestamp.is_some() { verifier } else { verifier.without_payload_time() })
    }

    fn to_request(&self, path: &str) -> Vec<u8> {
        // One character of a value is one byte of Latin-1.
        let latin1 = |value: &String| value.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect();
        let headers: Vec<(&str, Vec<u8>)> =
            self.headers.iter().map(|(name, value)| (&**name, latin1(value))).collect();
        request("POST", path, &headers, &cases::base64(&self.body_b64).expect("a body"))
    }
}

#[actix_web::test]
async fn signature_rows_over_a_socket_are_judged_strictly() {
    let mut rows = cases::rows::<Row>("signatures.jsonl");
    assert_eq!(rows.len(), 657);
    rows.retain(|row| !row.not_http);
    let over_http = rows.len();

    // One server for all: each row has its webhook at a path of its own.
    let verifiers: Arc<Vec<_>> = Arc::new(rows.iter().map(Row::verifier).collect());
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
            let answer = server.exchange(&row.to_request(&format!("/{nth}"))).await;
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
            (true, "reject") if EXCEPTIONS.iter().any(|(id, _)| *id == row.id) => excepted.push(&*row.id),
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
