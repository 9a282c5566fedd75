//! What verification leaves in the request.

use std::{
    fmt,
    future::Ready,
    sync::{Arc, OnceLock},
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use atp_core::{Fingerprint, Malformed, Response, Scheme, Verified};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{refusal::Refusal, store::Arrival};

/// A delivery that was verified: the answer, and how it came. A clone shares it.
///
/// As an extractor it fails closed: in a route that [`VerifySignature`](crate::VerifySignature)
/// does not wrap the answer is an opaque 500, and the log says what is missing.
///
/// ```
/// use atp_actix::Delivery;
///
/// async fn otherwise(delivery: Delivery) -> String {
///     format!("{} by {}", delivery.answer().action_id, delivery.scheme())
/// }
/// ```
#[derive(Clone)]
pub struct Delivery(Arc<Inner>);

struct Inner {
    service: Arc<str>,
    answer: Response,
    /// The store's, if there is one.
    key: Option<[u8; 32]>,
    fingerprint: OnceLock<Fingerprint>,
    signed_text: Bytes,
    body: Bytes,
    scheme: Scheme,
    secret_index: usize,
    signed_at: Option<DateTime<Utc>>,
    is_redriven: bool,
    request_id: Option<String>,
}

/// Shows how it came, and neither body nor key.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { service, answer, scheme, secret_index, signed_at, request_id, .. } = &*self.0;
        f.debug_struct("Delivery")
            .field("service", service)
            .field("answer", answer)
            .field("scheme", scheme)
            .field("secret_index", secret_index)
            .field("signed_at", signed_at)
            .field("request_id", request_id)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    pub(crate) fn new(
        verified: Verified,
        body: Bytes,
        request_id: Option<&str>,
        service: &Arc<str>,
        key: Option<[u8; 32]>,
        is_redriven: bool,
    ) -> Result<Self, Malformed> {
        Ok(Self(Arc::new(Inner {
            service: Arc::clone(service),
            scheme: verified.scheme(),
            secret_index: verified.secret_index(),
            signed_at: verified.signed_at(),
            is_redriven,
            signed_text: verified.signed_text().clone(),
            body,
            request_id: request_id.map(str::to_owned),
            key,
            fingerprint: OnceLock::new(),
            answer: verified.decode()?,
        })))
    }

    /// The one that verification left in this request.
    pub(crate) fn of(request: &HttpRequest, extractor: &'static str) -> Result<Self, Refusal> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| {
            let refusal = Refusal::NotVerified { extractor };
            tracing::error!(target: "atp_actix", path = request.path(), reason = %refusal, "not verified");
            refusal
        })
    }

    /// The service of the webhook that it came to.
    pub(crate) fn service(&self) -> &str {
        &self.0.service
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self) -> &Response {
        &self.0.answer
    }

    /// The text that was signed: the body, or its canonical text where that was signed.
    #[must_use]
    pub fn signed_text(&self) -> &Bytes {
        &self.0.signed_text
    }

    /// The body as it came.
    pub(crate) fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// What was decided, as a number that only the same decision has.
    ///
    /// In a webhook with a store it is hashed with the store's key
    /// ([`Store::get_fingerprint_key`](crate::store::Store::get_fingerprint_key)): who sees the
    /// number and not the database cannot find a short answer by trying all of them. Without a
    /// store it is [`Response::fingerprint`], which tells that much.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        *self.0.fingerprint.get_or_init(|| {
            let fingerprint = self.0.answer.fingerprint();
            self.0.key.as_ref().map_or(fingerprint, |key| fingerprint.keyed(key))
        })
    }

    /// A name for this decision, the same however often it is delivered: the idempotency key for
    /// what a handler does outside of its transaction.
    ///
    /// It is a UUID of version 5, of the webhook's service, the notification and the
    /// [`Delivery::fingerprint`], so it gives away what that does.
    #[must_use]
    pub fn decision_id(&self) -> Uuid {
        /// Of this crate's decisions: a UUID of version 4, made for it.
        const NAMESPACE: Uuid = Uuid::from_u128(0x6d1f_2a54_9c3b_4e0e_8f57_1b0c_7de4_a921);
        let (service, notification) = (self.0.service.as_bytes(), self.0.answer.notification_id.as_bytes());
        // With their lengths, so that no two pairs of texts join to the same.
        let lengths =
            [service, notification].map(|text| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        let [first, second] = lengths;
        let fingerprint = self.fingerprint();
        let name = [&first[..], service, &second[..], notification, &fingerprint.as_bytes()[..]].concat();
        Uuid::new_v5(&NAMESPACE, &name)
    }

    /// Which scheme it was signed in.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// Which of the verifier's secrets it was signed with, counted from 0.
    #[must_use]
    pub fn secret_index(&self) -> usize {
        self.0.secret_index
    }

    /// How it came, as a store remembers it.
    pub(crate) fn arrival(&self) -> Arrival {
        let responder = self.answer().responder.as_ref().map(|responder| responder.id.clone());
        Arrival::new(self.scheme(), self.secret_index())
            .request_id(self.request_id().map(str::to_owned))
            .responder(responder)
    }

    /// The time that was signed: of the header, else of the payload.
    #[must_use]
    pub fn signed_at(&self) -> Option<DateTime<Utc>> {
        self.0.signed_at
    }

    /// Whether it came from our own store, that kept it when it came first.
    pub(crate) fn is_redriven(&self) -> bool {
        self.0.is_redriven
    }

    /// `X-ATP-Request-ID`, if it was one printable ASCII text of at most 128 characters. It is not
    /// signed: good for logs and support, not for decisions.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }
}

impl FromRequest for Delivery {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Self::of(request, "Delivery"))
    }
}
