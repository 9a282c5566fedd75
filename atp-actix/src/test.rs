//! For the tests of your service: requests as an ATP server sends them, and broken ones.
//!
//! ```
//! use atp_actix::{Scheme, test::Sender};
//!
//! let sender = Sender::new("whsec_0123456789abcdef0123456789abcdef");
//! let delivery = sender.answer("n-1", "approve", ()).scheme(Scheme::Raw).request_id("req_1");
//! let (headers, body) = delivery.to_parts();
//! assert_eq!(headers[0], ("content-type".to_owned(), "application/json".to_owned()));
//! assert!(body.starts_with(br#"{"notification_id":"n-1","action_id":"approve","response_data":null"#));
//! ```
//!
//! Under `#[tokio::test]` actix has no local task set; write `#[actix_web::test]`.

use actix_web::test::TestRequest;
use atp_core::{Scheme, Secret, Signature, Verifier};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    decide::judge::{Declined, judge},
    decisions::Decisions,
    delivery::Delivery,
    refusal::Refusal,
    store::{Outcome, Store, StoreError, Verdict},
};

/// Signs as an ATP server does.
#[derive(Clone, Debug)]
pub struct Sender {
    secret: Secret,
}

impl Sender {
    /// A server with this webhook secret; any text will do here.
    #[must_use]
    pub fn new(secret: impl AsRef<str>) -> Self {
        Self { secret: Secret::of_any_bytes_for_tests(secret.as_ref().as_bytes()) }
    }

    /// A human's answer, signed now in the timestamped scheme. Data is anything that serializes;
    /// `()` is `null`.
    ///
    /// # Panics
    /// If the data does not serialize as JSON.
    #[track_caller]
    #[allow(clippy::panic, reason = "for tests, where a panic is the message")]
    pub fn answer(
        &self,
        notification_id: impl Into<String>,
        action_id: impl Into<String>,
        data: impl Serialize,
    ) -> SignedAnswer {
        let data = serde_json::to_value(data)
            .unwrap_or_else(|error| panic!("data that does not serialize: {error}"));
        SignedAnswer {
            secrets: vec![self.secret.clone()],
            scheme: Scheme::Timestamped,
            at: Utc::now(),
            payload: Payload(vec![
                ("notification_id".to_owned(), notification_id.into().into()),
                ("action_id".to_owned(), action_id.into().into()),
                (RESPONSE_DATA.to_owned(), data),
                (RESPONDED_AT.to_owned(), Value::Null),
                (RESPONDER.to_owned(), json!({ "id": "user_123", "type": "human" })),
            ]),
            body: None,
            signature: None,
            headers: Vec::new(),
            damage: Damage::None,
        }
    }
}

/// One answer on its way. Every part can be set; what is not set is as a server would send it.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedAnswer {
    secrets: Vec<Secret>,
    scheme: Scheme,
    at: DateTime<Utc>,
    payload: Payload,
    body: Option<Bytes>,
    signature: Option<String>,
    headers: Vec<(String, Option<String>)>,
    damage: Damage,
}

const RESPONSE_DATA: &str = "response_data";
const RESPONDED_AT: &str = "responded_at";
const RESPONDER: &str = "responder";

/// The members of a payload, in their order.
#[derive(Clone, Debug)]
struct Payload(Vec<(String, Value)>);

impl Payload {
    fn set(&mut self, name: String, value: Value) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| other != name);
    }

    /// Says when it was answered, unless that was set.
    fn answered_at(&mut self, time: DateTime<Utc>) {
        let unset = self.0.iter_mut().find(|(name, value)| name == RESPONDED_AT && value.is_null());
        if let Some((_, value)) = unset {
            *value = time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into();
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// What happens to a delivery after it was signed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    None,
    Truncated,
    Doubled,
}

impl SignedAnswer {
    /// Signs in this scheme; timestamped unless set.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Answers and signs at this time; now unless set.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = time;
        self
    }

    /// Signs with a second secret too, as in a rotation: one more `v1`. A bare digest has room for
    /// one only.
    pub fn also_signed_with(mut self, secret: impl AsRef<str>) -> Self {
        self.secrets.push(Secret::of_any_bytes_for_tests(secret.as_ref().as_bytes()));
        self
    }

    /// Leaves `response_data` out, which is not the same as `null`.
    pub fn without_data(self) -> Self {
        self.without_member(RESPONSE_DATA)
    }

    /// Answers as this human; as `user_123` unless set.
    pub fn by(self, id: impl Into<String>) -> Self {
        let id: String = id.into();
        self.member(RESPONDER, json!({ "id": id, "type": "human" }))
    }

    /// Answers as an agent; as a human unless set.
    pub fn by_agent(self) -> Self {
        self.member(RESPONDER, json!({ "id": "agent_7", "type": "agent" }))
    }

    /// Leaves the responder out, as the guide's payload does.
    pub fn by_nobody(self) -> Self {
        self.without_member(RESPONDER)
    }

    /// Sets a member of the payload, whether a server sends it or not. A `responded_at` that is set
    /// is not the time of [`SignedAnswer::at`], unless it is `null`.
    pub fn member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.payload.set(name.into(), value.into());
        self
    }

    /// Leaves a member of the payload out.
    pub fn without_member(mut self, name: &str) -> Self {
        self.payload.remove(name);
        self
    }

    /// Sends and signs this body; the payload of an ATP server unless set.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends this signature header; the right one unless set.
    pub fn signature(mut self, value: impl Into<String>) -> Self {
        self.signature = Some(value.into());
        self
    }

    /// Names the delivery; no name unless set.
    pub fn request_id(self, id: impl Into<String>) -> Self {
        self.header("x-atp-request-id", id)
    }

    /// Sends this header, in place of another of the name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into().to_ascii_lowercase(), Some(value.into())));
        self
    }

    /// Sends no header of this name.
    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into().to_ascii_lowercase(), None));
        self
    }

    /// Signed by somebody who does not know the secret.
    pub fn forged(mut self) -> Self {
        self.secrets = vec![Secret::of_any_bytes_for_tests(b"somebody else's webhook secret")];
        self
    }

    /// Signed an hour before its time.
    pub fn stale(mut self) -> Self {
        self.at -= TimeDelta::hours(1);
        self
    }

    /// Signed an hour after its time.
    pub fn future(mut self) -> Self {
        self.at += TimeDelta::hours(1);
        self
    }

    /// Cut after it was signed: the last byte of the body is missing.
    pub fn truncated(mut self) -> Self {
        self.damage = Damage::Truncated;
        self
    }

    /// Two signature headers, both right.
    pub fn doubled(mut self) -> Self {
        self.damage = Damage::Doubled;
        self
    }

    /// The headers, their names in lower case, and the body: for any client.
    ///
    /// # Panics
    /// If the body has no canonical text, and one is to be signed.
    #[must_use]
    #[track_caller]
    pub fn to_parts(&self) -> (Vec<(String, String)>, Bytes) {
        let body = self.body.clone().unwrap_or_else(|| self.payload());
        let signature = self.signature.clone().unwrap_or_else(|| self.sign(&body));
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.push((Signature::HEADER.to_owned(), signature));
        for (name, value) in &self.headers {
            headers.retain(|(other, _)| other != name);
            headers.extend(value.clone().map(|value| (name.clone(), value)));
        }
        match self.damage {
            Damage::None => {}
            Damage::Truncated => return (headers, body.slice(..body.len().saturating_sub(1))),
            Damage::Doubled => {
                let twin = headers.iter().find(|(name, _)| name == Signature::HEADER).cloned();
                headers.extend(twin);
            }
        }
        (headers, body)
    }

    /// A request for `actix_web::test`, to this path.
    ///
    /// # Panics
    /// As [`SignedAnswer::to_parts`].
    #[must_use]
    #[track_caller]
    pub fn post_to(&self, path: &str) -> TestRequest {
        let (headers, body) = self.to_parts();
        let request = TestRequest::post().uri(path).set_payload(body);
        let add = |request: TestRequest, header: (String, String)| request.append_header(header);
        headers.into_iter().fold(request, add)
    }

    fn payload(&self) -> Bytes {
        let mut payload = self.payload.clone();
        payload.answered_at(self.at);
        serde_json::to_vec(&payload).unwrap_or_default().into()
    }

    #[track_caller]
    #[allow(clippy::panic, reason = "for tests, where a panic is the message")]
    fn sign(&self, body: &[u8]) -> String {
        let sign = |secret: &Secret| {
            let signature = Verifier::new(secret.clone()).sign_at(self.scheme, body, self.at);
            signature
                .unwrap_or_else(|error| panic!("a body that {} cannot sign: {error}", self.scheme))
                .to_string()
        };
        let mut signatures = self.secrets.iter().map(sign);
        let first = signatures.next().unwrap_or_default();
        signatures.fold(first, |header, other| match other.split_once(',') {
            Some((_, v1)) => format!("{header},{v1}"),
            None => header,
        })
    }
}

/// What a webhook with a store makes of an answer before any handler runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Judged {
    /// Its handler would run, unless another delivery is being handled.
    Accepted {
        /// That would be the handler of late answers.
        is_late: bool,
    },
    /// It was handled before, with this outcome.
    Replayed(Outcome),
    /// It is refused.
    Refused {
        /// What it is counted and kept as.
        verdict: Verdict,
        /// What its sender is told.
        status: u16,
        /// The code in the body, if there is one.
        code: Option<&'static str>,
    },
}

/// Judges an answer as a webhook with these decisions does that has a handler for each action, and
/// does nothing about it: nothing is claimed, kept or counted.
///
/// It tells what the rules of a service are worth without a server and without waiting for a
/// deadline: set the [clock of the verifier](Verifier::clock).
///
/// # Errors
/// The inner one, if verification refuses it, or its signed text is no answer; the outer one, if
/// the store fails.
///
/// ```
/// use atp_actix::{
///     Decisions, Secret, Verifier,
///     atp_core::{Action, Notification},
///     store::{MemoryStore, Question, Store},
///     test::{Judged, Sender, judged},
/// };
/// use chrono::{TimeDelta, Utc};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, secret) = (MemoryStore::new(), "whsec_0123456789abcdef0123456789abcdef");
/// let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.").id("n-1");
/// let deadline = Utc::now() + TimeDelta::hours(1);
/// let notification = notification.action(Action::simple("approve", "Approve")).deadline(deadline);
/// store.record(&Question::new(notification)).await?;
///
/// let tomorrow = Utc::now() + TimeDelta::days(1);
/// let verifier = Verifier::new(Secret::new(secret)?).clock(move || tomorrow);
/// let late = Sender::new(secret).answer("n-1", "approve", ()).at(tomorrow);
/// match judged(&verifier, &Decisions::in_store(store), &late).await? {
///     Ok(Judged::Refused { code, .. }) => assert_eq!(code, Some("NOTIFICATION_EXPIRED")),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub async fn judged<S: Store>(
    verifier: &Verifier,
    decisions: &Decisions<S>,
    answer: &SignedAnswer,
) -> Result<Result<Judged, Refusal>, StoreError> {
    let (headers, body) = answer.to_parts();
    let key = Some(*decisions.store.get_fingerprint_key());
    let proof = verifier.clone().any_age().verify(headers, body.clone()).map_err(Refusal::of_verdict);
    let read = |verified| {
        let service = decisions.service.as_str().into();
        Delivery::new(verified, body, None, &service, key, false).map_err(Refusal::Malformed)
    };
    let delivery = match proof.and_then(read) {
        Ok(delivery) => delivery,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (id, fingerprint) = (&delivery.answer().notification_id, delivery.fingerprint());
    let known = decisions.store.find(&decisions.service, id, Some(fingerprint)).await?;
    Ok(Ok(match judge(&decisions.rules(verifier), &delivery, known, verifier.now()) {
        Ok(accepted) => Judged::Accepted { is_late: accepted.is_late },
        Err(Declined::Replayed(outcome)) => Judged::Replayed(outcome),
        Err(Declined::Refused(verdict, refusal)) => {
            let reply = refusal.reply();
            Judged::Refused { verdict, status: reply.status.as_u16(), code: reply.code }
        }
    }))
}
