//! A payload's time is RFC 3339 or none; a text that is neither stays readable.

use atp_core::{Scheme, Secret, Signature, Verifier};
use serde_json::{Value, json};

use crate::support::cases;

#[test]
fn timestamp_rows_are_read_as_rfc_3339_says() {
    let verifier = Verifier::new(Secret::new("0123456789abcdef").unwrap()).without_payload_time();
    let rows = cases::rows::<Value>("timestamps.jsonl");
    let mut wrong = Vec::new();
    for row in &rows {
        let text = row["text"].as_str().expect("a text");
        let body = json!({ "notification_id": "n", "action_id": "a", "timestamp": text }).to_string();
        let signature = verifier.sign(Scheme::Timestamped, body.as_bytes()).unwrap().to_string();
        let answer = verifier.verify([(Signature::HEADER, signature)], body).unwrap().decode().unwrap();
        let read = answer.timestamp.expect("a timestamp");
        let micros = row["python311_fromisoformat"]["unix_micros"].as_i64().filter(|_| read.time().is_some());
        // Second 60 is in the grammar, but no clock here can tell it: it reads as none.
        if read.time().is_some() != (row["rfc3339"] == true)
            || read.as_str() != text
            || micros.is_some_and(|micros| read.time().map(|time| time.timestamp_micros()) != Some(micros))
        {
            wrong.push(format!("{text:?} was read as {:?}", read.time()));
        }
    }
    println!("timestamps.jsonl: {} rows", rows.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(rows.len(), 62);
}
