//! An answer as an ATP server would deliver it, and what can go wrong with one on its way.

use atp_core::{Scheme, Secret, Signature, Verifier};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::value::RawValue;

use super::output::Failure;

/// What a human, or an agent, answered.
#[derive(Clone, Debug)]
pub(super) struct Answer<'a> {
    /// The question.
    pub(super) notification: &'a str,
    /// The action that was chosen.
    pub(super) action: &'a str,
    /// Its data, in the very text that it was given in.
    pub(super) data: &'a RawValue,
    /// Who answered.
    pub(super) responder: &'a str,
    /// Whether that is an agent.
    pub(super) is_agent: bool,
}

/// A request to a webhook.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Names and values.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(super) body: Bytes,
}

/// What goes wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fault {
    /// It comes twice; the second must get the answer of the first, and change nothing.
    Duplicate,
    /// It is signed with another secret.
    WrongSignature,
    /// It is not signed.
    NoSignature,
    /// It has two signature headers, both right.
    TwoSignatures,
    /// It was answered and signed four days ago, longer than a webhook with a store waits for
    /// redeliveries unless told otherwise.
    Stale,
    /// It was answered and signed an hour ahead of the clock.
    Future,
    /// The signature's time is in milliseconds (timestamped scheme only).
    Milliseconds,
    /// The last byte of the body is lost after it was signed.
    Truncate,
    /// The body gets a newline at its end after it was signed.
    Newline,
    /// The body is spelled otherwise after it was signed, and says the same. It fits the canonical
    /// schemes; and raw where node-compact is accepted too, since the body is sent as Node prints it.
    Respell,
    /// It is signed, and no answer.
    Malformed,
    /// Its content type is not JSON.
    WrongType,
}

impl Answer<'_> {
    /// The payload, answered at this time.
    pub(super) fn body(&self, at: DateTime<Utc>) -> Result<Bytes, Failure> {
        #[derive(Serialize)]
        struct Payload<'a> {
            notification_id: &'a str,
            action_id: &'a str,
            response_data: &'a RawValue,
            responded_at: String,
            responder: Responder<'a>,
        }
        #[derive(Serialize)]
        struct Responder<'a> {
            id: &'a str,
            r#type: &'static str,
        }
        let kind = if self.is_agent { "agent" } else { "human" };
        let payload = Payload {
            notification_id: self.notification,
            action_id: self.action,
            response_data: self.data,
            responded_at: at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            responder: Responder { id: self.responder, r#type: kind },
        };
        let body = serde_json::to_vec(&payload);
        Ok(body.map_err(|error| Failure::Unable(format!("the answer has no JSON: {error}")))?.into())
    }

    /// The delivery, signed at this time, with this fault.
    pub(super) fn deliver(
        &self,
        verifier: &Verifier,
        scheme: Scheme,
        at: DateTime<Utc>,
        fault: Option<Fault>,
    ) -> Result<Delivery, Failure> {
        let at = shifted(at, fault)?;
        let body = match fault {
            Some(Fault::Malformed) => malformed(at),
            _ => self.body(at)?,
        };
        let signature = sign(&signer(verifier, fault)?, scheme, &body, signed_at(at, scheme, fault)?)?;
        Ok(Delivery { headers: headers(signature, fault), body: altered(body, fault) })
    }
}

/// What a message is signed as; an error says why that is not possible.
pub(super) fn sign(
    verifier: &Verifier,
    scheme: Scheme,
    body: &[u8],
    at: DateTime<Utc>,
) -> Result<String, Failure> {
    if scheme == Scheme::Timestamped && at < DateTime::UNIX_EPOCH {
        return Err(Failure::Usage(format!(
            "{at} is before 1970, and the scheme timestamped has no such time"
        )));
    }
    let signature = verifier.sign_at(scheme, body, at);
    let unable = |error| {
        Failure::Unable(format!(
            "the body cannot be signed in the scheme {scheme}: {error}; the schemes timestamped and raw sign any bytes"
        ))
    };
    Ok(signature.map_err(unable)?.to_string())
}

/// Reads the data of an answer, and leaves its text as it is.
pub(super) fn data(text: &str) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text.trim_ascii().to_owned()).map_err(|error| format!("it is no JSON: {error}"))
}

fn shifted(at: DateTime<Utc>, fault: Option<Fault>) -> Result<DateTime<Utc>, Failure> {
    let shift = match fault {
        Some(Fault::Stale) => TimeDelta::days(-4),
        Some(Fault::Future) => TimeDelta::hours(1),
        _ => TimeDelta::zero(),
    };
    at.checked_add_signed(shift).ok_or_else(|| Failure::Usage("the time of --at is too far away".to_owned()))
}

fn signed_at(at: DateTime<Utc>, scheme: Scheme, fault: Option<Fault>) -> Result<DateTime<Utc>, Failure> {
    if fault != Some(Fault::Milliseconds) {
        return Ok(at);
    }
    let time = DateTime::from_timestamp(at.timestamp_millis(), 0).filter(|_| scheme == Scheme::Timestamped);
    time.ok_or_else(|| {
        Failure::Usage("the fault milliseconds needs the scheme timestamped, and a time near ours".to_owned())
    })
}

fn signer(verifier: &Verifier, fault: Option<Fault>) -> Result<Verifier, Failure> {
    if fault != Some(Fault::WrongSignature) {
        return Ok(verifier.clone());
    }
    let other = Secret::new("the secret of somebody else, which is none");
    Ok(Verifier::new(other.map_err(|error| Failure::Unable(error.to_string()))?))
}

/// It has a time, so that it is its form that is refused in any scheme.
fn malformed(at: DateTime<Utc>) -> Bytes {
    format!(r#"{{"timestamp":"{}"}}"#, at.to_rfc3339_opts(SecondsFormat::AutoSi, true)).into()
}

fn headers(signature: String, fault: Option<Fault>) -> Vec<(&'static str, String)> {
    let media_type = if fault == Some(Fault::WrongType) { "text/plain" } else { "application/json" };
    let id = format!("req_{}", uuid::Uuid::new_v4().simple());
    let mut headers = vec![("content-type", media_type.to_owned()), ("x-atp-request-id", id)];
    let copies = match fault {
        Some(Fault::NoSignature) => 0,
        Some(Fault::TwoSignatures) => 2,
        _ => 1,
    };
    headers.extend(std::iter::repeat_n((Signature::HEADER, signature), copies));
    headers
}

fn altered(body: Bytes, fault: Option<Fault>) -> Bytes {
    match fault {
        Some(Fault::Truncate) => body.slice(..body.len().saturating_sub(1)),
        Some(Fault::Newline) => [&body, &b"\n"[..]].concat().into(),
        // A blank behind the first brace.
        Some(Fault::Respell) => {
            let (first, rest) = body.split_at(1.min(body.len()));
            [first, b" ", rest].concat().into()
        }
        _ => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_323_106;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }

    fn verifier() -> Verifier {
        Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef").unwrap()).clock(now)
    }

    fn delivery(data: &str, scheme: Scheme, fault: Option<Fault>) -> Delivery {
        let data = super::data(data).unwrap();
        let answer =
            Answer { notification: "n-1", action: "approve", data: &data, responder: "u", is_agent: false };
        answer.deliver(&verifier(), scheme, now(), fault).unwrap()
    }

    fn is_accepted(delivery: &Delivery) -> bool {
        verifier().verify(delivery.headers.clone(), delivery.body.clone()).is_ok()
    }

    #[test]
    fn without_a_fault_it_is_accepted_in_every_scheme_and_its_data_is_as_it_was_given() {
        for scheme in Scheme::ALL {
            let delivery = delivery("123456789012345678901234567890 ", scheme, None);
            assert!(is_accepted(&delivery), "{scheme}");
            let body = String::from_utf8(delivery.body.to_vec()).unwrap();
            assert!(body.contains(r#""response_data":123456789012345678901234567890,"#), "{body}");
        }
    }

    #[test]
    fn every_fault_of_the_signature_is_refused_and_the_others_are_not() {
        for fault in Fault::value_variants().iter().copied() {
            let is_signed = matches!(fault, Fault::Duplicate | Fault::Malformed | Fault::WrongType);
            let delivery = delivery("null", Scheme::Timestamped, Some(fault));
            assert_eq!(is_accepted(&delivery), is_signed, "{fault:?}");
        }
    }

    #[test]
    fn another_spelling_fits_where_a_canonical_text_is_signed() {
        // The last is not as Node prints it.
        for (data, raw_fits) in [(r#"{"b":1,"a":[]}"#, true), (r#"{"b": 1}"#, false)] {
            for scheme in Scheme::ALL {
                let fits = match scheme {
                    Scheme::Timestamped => false,
                    Scheme::Raw => raw_fits,
                    Scheme::PythonCanonical | Scheme::NodeCompact => true,
                };
                let delivery = delivery(data, scheme, Some(Fault::Respell));
                assert_eq!(is_accepted(&delivery), fits, "{scheme}: {data}");
            }
        }
    }

    #[test]
    fn what_cannot_be_signed_is_told_and_does_not_panic() {
        let sign = |body: &[u8], scheme| sign(&verifier(), scheme, body, now());
        assert!(sign(b"no JSON", Scheme::Raw).is_ok());
        let error = sign(b"no JSON", Scheme::NodeCompact).unwrap_err().to_string();
        assert!(error.contains("cannot be signed in the scheme node-compact"), "{error}");
        let far = DateTime::<Utc>::MAX_UTC;
        for fault in Fault::value_variants() {
            let _ = shifted(far, Some(*fault));
            let _ = signed_at(far, Scheme::Timestamped, Some(*fault));
        }
        assert!(matches!(shifted(far, Some(Fault::Future)), Err(Failure::Usage(_))));
        assert!(matches!(signed_at(now(), Scheme::Raw, Some(Fault::Milliseconds)), Err(Failure::Usage(_))));
    }
}
