//! Whole requests, as library calls: each of the 657 rows is accepted or rejected as its `strict`
//! says.

use std::time::Duration;

use atp_core::{Scheme, Secret, Verifier};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;

use crate::support::cases;

/// One request, and what must become of it.
#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    scheme: String,
    secrets: Vec<String>,
    headers: Vec<(String, String)>,
    body_b64: Value,
    now_unix: i64,
    tolerance_s: u64,
    expect: String,
    pub(crate) strict: String,
    lenient: String,
    pub(crate) reason: String,
    payload_timestamp: Option<Value>,
    #[serde(default)]
    pub(crate) not_http: bool,
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let rows = cases::rows("signatures.jsonl");
        assert_eq!(rows.len(), 657);
        rows
    }

    pub(crate) fn scheme(&self) -> Scheme {
        match self.scheme.as_str() {
            "timestamped" => Scheme::Timestamped,
            "raw-body" => Scheme::Raw,
            "python-canonical" => Scheme::PythonCanonical,
            "node-compact" => Scheme::NodeCompact,
            other => panic!("{}: the scheme {other}", self.id),
        }
    }

    /// The verifier of this row, all schemes accepted; `None` if its secrets are none or unfit,
    /// which rejects everything.
    pub(crate) fn verifier(&self) -> Option<Verifier> {
        let mut secrets = self.secrets.iter().map(|text| Secret::new(text.as_str()).ok());
        let first = Verifier::new(secrets.next()??);
        let verifier = secrets.try_fold(first, |verifier, secret| Some(verifier.or(secret?)))?;
        let now = DateTime::from_timestamp(self.now_unix, 0).expect("a time");
        let verifier = verifier.tolerance(Duration::from_secs(self.tolerance_s)).clock(move || now);
        // The rows about the time in the payload are the only ones that are run with it judged.
        Some(if self.payload_timestamp.is_some() { verifier } else { verifier.without_payload_time() })
    }

    /// Each character of a value is one byte.
    pub(crate) fn headers(&self) -> Vec<(&str, Vec<u8>)> {
        let bytes = |value: &str| value.chars().map(|char| u8::try_from(char).expect("Latin-1")).collect();
        self.headers.iter().map(|(name, value)| (name.as_str(), bytes(value))).collect()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        cases::base64(&self.body_b64).expect("a body")
    }

    /// Whether it must be accepted.
    pub(crate) fn accepted(&self) -> bool {
        // `X-ATP-Request-ID` is not signed and the protocol does not ask for it: rows that differ
        // in nothing else are accepted.
        let about_request_id = self.expect == "either" && self.reason.contains("X-ATP-Request-ID");
        let verdict = if about_request_id { &self.lenient } else { &self.strict };
        verdict == "accept"
    }
}

/// CPython signs a number beyond a double as `Infinity`. The signature fits, so the row says
/// accept; but what was signed is not JSON, so this project reads it as malformed. Rows of that
/// kind: verified, then refused as a payload.
pub(crate) fn is_signed_infinity(row: &Row) -> bool {
    row.scheme() == Scheme::PythonCanonical && row.reason == "overflowing float"
}

/// Signature, time, and a body that is an answer.
fn accepts(verifier: &Verifier, row: &Row) -> Option<Scheme> {
    let verified = verifier.verify(row.headers(), row.body()).ok()?;
    let scheme = verified.scheme();
    verified.decode().ok().map(|_| scheme)
}

#[test]
fn signature_rows_are_accepted_and_rejected_at_strict() {
    let (mut accepted, mut rejected, mut request_ids, mut infinities) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for row in Row::all() {
        let verifier = row.verifier().map(|verifier| verifier.schemes([row.scheme()]));
        if is_signed_infinity(&row) {
            let verified =
                verifier.unwrap().verify(row.headers(), row.body()).expect("a signature that fits");
            assert!(verified.decode().unwrap_err().to_string().contains("`Infinity`"), "{}", row.id);
            infinities += 1;
            continue;
        }
        let verdict = verifier.and_then(|verifier| accepts(&verifier, &row));
        if row.accepted() {
            accepted += 1
        } else {
            rejected += 1
        }
        request_ids += usize::from(row.accepted() && row.strict == "reject");
        if verdict.is_some() != row.accepted() {
            wrong.push(format!("{} must be {}: {}", row.id, row.strict, row.reason));
        }
    }
    println!(
        "signatures.jsonl: {accepted} accepted ({request_ids} without regard to the request id), {rejected} rejected, \
         {infinities} verified and malformed"
    );
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    assert_eq!((accepted + rejected, infinities), (656, 1));
}

#[test]
fn what_a_pinned_verifier_accepts_one_that_accepts_all_schemes_accepts_too() {
    let mut wrong = Vec::new();
    for row in Row::all().into_iter().filter(|row| row.accepted() && !is_signed_infinity(row)) {
        let scheme = accepts(&row.verifier().expect("secrets"), &row);
        // Where two texts are equal, the scheme that is tried first has the credit.
        let same_text = scheme.is_some_and(|scheme| scheme <= row.scheme());
        if !same_text {
            wrong.push(format!("{}: {scheme:?}", row.id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
