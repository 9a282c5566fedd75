//! An answer as it is sent: its body, its signature, and the ways in which both can be wrong.

use std::fmt::Write as _;

use atp_core::{RawJson, Scheme, Secret, Verifier};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fault::Fault;
use crate::limits::TIME_OFF;

/// Who answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Responder<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// A human's answer.
pub(super) struct Answer<'a> {
    pub(super) notification_id: &'a str,
    pub(super) action_id: &'a str,
    pub(super) data: &'a RawJson,
    pub(super) responder: Responder<'a>,
    pub(super) at: DateTime<Utc>,
}

impl Answer<'_> {
    /// The payload: that of the reference, with the guide's `timestamp` too, so that services which
    /// were written from either take it. The data stands in it as it was given.
    pub(super) fn body(&self) -> String {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        format!(
            r#"{{"notification_id":{},"action_id":{},"response_data":{},"responded_at":"{at}","timestamp":"{at}","responder":{}}}"#,
            json!(self.notification_id),
            json!(self.action_id),
            self.data.as_str(),
            json!(self.responder),
        )
    }
}

/// A secret that nobody knows yet.
pub(super) fn new_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// A body, with its signature.
pub(super) struct Signed {
    pub(super) body: String,
    pub(super) signature: String,
}

/// Signs a body in a scheme at a time, as it is or with a fault.
///
/// # Errors
/// If the body has no canonical text in that scheme.
pub(super) fn sign(
    body: &str,
    secret: &str,
    scheme: Scheme,
    now: DateTime<Utc>,
    fault: Option<Fault>,
) -> Result<Signed, atp_core::CanonicalError> {
    let (body, now) = match fault {
        Some(Fault::Stale) => (moved(body, now - TIME_OFF), now - TIME_OFF),
        Some(Fault::Future) => (moved(body, now + TIME_OFF), now + TIME_OFF),
        Some(Fault::Respell) => (respelled(body), now),
        _ => (body.to_owned(), now),
    };
    let secret =
        if fault == Some(Fault::WrongSignature) { format!("not {secret}") } else { secret.to_owned() };
    let verifier = Verifier::new(Secret::of_any_bytes_for_tests(secret.as_bytes()));
    let signature = verifier.sign_at(scheme, body.as_bytes(), now)?.to_string();
    Ok(Signed { body, signature })
}

/// With its times set. A body that is no object stays.
fn moved(body: &str, to: DateTime<Utc>) -> String {
    let Ok(Value::Object(mut members)) = serde_json::from_str(body) else { return body.to_owned() };
    for name in ["timestamp", "responded_at"] {
        members.insert(name.to_owned(), to.to_rfc3339_opts(SecondsFormat::Millis, true).into());
    }
    Value::Object(members).to_string()
}

/// The same JSON with other white space, and with escapes where none are needed.
fn respelled(body: &str) -> String {
    let (mut out, mut is_text, mut verbatim) = (String::new(), false, 0_u8);
    for character in body.chars() {
        match character {
            // Behind a backslash one more is of the escape, and behind its `u` four.
            _ if verbatim > 0 => {
                let begins = verbatim == 1 && character == 'u' && out.ends_with('\\');
                verbatim = if begins { 4 } else { verbatim - 1 };
                out.push(character);
            }
            '\\' => {
                verbatim = 1;
                out.push(character);
            }
            '"' => {
                is_text = !is_text;
                out.push(character);
            }
            'a' | 'e' | '/' if is_text => {
                // Writing to a text does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            ',' | ':' | '{' | '[' if !is_text => {
                out.push(character);
                out.push_str("\n\t ");
            }
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use atp_core::Verified;

    use super::*;

    const SECRET: &str = "secret-secret-secret-secret-1234";

    fn body(data: &str) -> String {
        let data = RawJson::new(data.to_owned()).unwrap();
        let responder = Responder { id: "user_1", kind: "human" };
        Answer { notification_id: "n/1", action_id: "approve", data: &data, responder, at: Utc::now() }.body()
    }

    fn verified(signed: &Signed) -> Option<Verified> {
        let verifier = Verifier::new(Secret::new(SECRET).unwrap());
        let headers = [("X-ATP-Signature", signed.signature.as_bytes())];
        verifier.verify(headers, signed.body.clone().into_bytes()).ok()
    }

    #[test]
    fn an_answer_verifies_in_every_scheme_and_in_another_spelling() {
        for scheme in Scheme::ALL {
            for data in ["null", r#"{"a/b":[1.50,"é\"e\\"],"note":"\ud83d\ude00"}"#] {
                for fault in [None, Some(Fault::Respell)] {
                    let signed = sign(&body(data), SECRET, scheme, Utc::now(), fault).unwrap();
                    let answer = verified(&signed).expect("it verifies").decode().unwrap();
                    assert_eq!(answer.notification_id, "n/1", "{scheme:?} {fault:?}");
                    let (kept, sent): (Value, Value) =
                        (answer.response_data.unwrap().parse().unwrap(), serde_json::from_str(data).unwrap());
                    assert_eq!(kept, sent, "{scheme:?} {fault:?}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_answer_does_not_verify_in_any_scheme() {
        for scheme in Scheme::ALL {
            for fault in [Fault::WrongSignature, Fault::Stale, Fault::Future] {
                let signed = sign(&body("true"), SECRET, scheme, Utc::now(), Some(fault)).unwrap();
                assert!(verified(&signed).is_none(), "{scheme:?} {fault}");
            }
        }
    }
}
