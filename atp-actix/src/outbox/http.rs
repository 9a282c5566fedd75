//! Events for an HTTP receiver, as CloudEvents.

use std::{
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use atp_core::{Scheme, Signature, Verifier};
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    cloud_event::{CloudEvent, JSON, is_uri_reference},
    sink::{SendError, Sink},
};
use crate::{
    error::Error,
    https,
    limits::{
        CONNECT_WITHIN, DEFAULT_HTTP_WITHIN, HTTP_ANSWER_WITHIN, IDLE_CONNECTION, LONGEST_BACKOFF,
        LONGEST_HTTP_ANSWER, MOST_HTTP_ANSWERS,
    },
    retry_after::retry_after,
    store::Outgoing,
};

/// Posts events to an HTTP receiver as CloudEvents 1.0, signed if asked.
///
/// Each event is one request. Of every attempt at it the bytes and the id are the same, so a receiver
/// that remembers `source` and `id` takes it once; only the signature is made anew, since it has a time.
///
/// A receiver verifies it with `atp-core` and reads what was signed:
///
/// ```
/// use actix_web::{App, HttpRequest, HttpResponse, HttpServer, error::ErrorUnauthorized, web};
/// use atp_actix::{
///     HttpSink, Relay, Secret, Verifier,
///     store::{Event, MemoryStore, Outbox, Routes},
/// };
///
/// async fn told(request: HttpRequest, body: web::Bytes) -> actix_web::Result<HttpResponse> {
///     let verifier = Verifier::new(Secret::new("whsec_of_this_receiver_0123456789").unwrap());
///     let verified = verifier.verify(request.headers(), body).map_err(ErrorUnauthorized)?;
///     let event: serde_json::Value = serde_json::from_slice(verified.signed_text())?;
///     assert_eq!(event["type"], "orders.shipped");
///     assert_eq!(event["source"], "/atp/shop");
///     assert_eq!(event["data"]["order"], 7);
///     Ok(HttpResponse::NoContent().finish())
/// }
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = HttpServer::new(|| App::new().route("/events", web::post().to(told)));
/// let server = server.bind("127.0.0.1:0")?;
/// let url = format!("http://{}/events", server.addrs()[0]);
/// # let server = server.workers(1).disable_signals();
/// actix_web::rt::spawn(server.run());
///
/// let secret = Secret::new("whsec_of_this_receiver_0123456789")?;
/// let sink = HttpSink::new(url)?.sign(Verifier::new(secret));
/// let store = MemoryStore::new().routes(Routes::new().events("shop"));
/// let relay = Relay::new(store.clone()).sink("shop", sink).start();
/// let event = Event::new("orders.shipped", serde_json::json!({ "order": 7 }))?;
/// store.emit(&event.service("shop")).await?;
/// while !store.lag().await?.is_empty() {
///     tokio::time::sleep(std::time::Duration::from_millis(5)).await;
/// }
/// assert!(store.parked("shop", 0, 10).await?.is_empty());
/// relay.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// # What is sent
///
/// A `POST`. In structured mode, which is the default, its body is one JSON text of the type
/// `application/cloudevents+json`; in [binary mode](HttpSink::binary) the body is the data, and the
/// attributes are headers.
///
/// | attribute | header in binary mode | what it is |
/// |---|---|---|
/// | `specversion` | `ce-specversion` | `1.0` |
/// | `id` | `ce-id` | [`Event::id`](crate::store::Event::id) |
/// | `source` | `ce-source` | `/atp/` and the service, percent-encoded; [`HttpSink::source`] |
/// | `type` | `ce-type` | [`Event::kind`](crate::store::Event::kind) |
/// | `subject` | `ce-subject` | [`Event::subject`](crate::store::Event::subject), where there is one |
/// | `time` | `ce-time` | [`Event::time`](crate::store::Event::time), RFC 3339 |
/// | `datacontenttype` | `content-type` | `application/json` |
/// | `traceparent` | `ce-traceparent` | [`Event::traceparent`](crate::store::Event::traceparent), where there is a well-formed one; also as the header `traceparent`, which tracing reads |
/// | `data` | the body | [`Event::data`](crate::store::Event::data), byte for byte |
///
/// Attributes in headers are percent-encoded as the HTTP binding of CloudEvents says. Nothing else of
/// an event is sent, and nothing is compressed.
///
/// # What becomes of an event
///
/// | the receiver | taken as | why |
/// |---|---|---|
/// | answers 2xx | `Ok` | it has the event |
/// | 429, 502, 503, 504 | [`SendError::Away`] | it, or what is behind it, takes nothing now: all events wait |
/// | cannot be reached, breaks off, answers what is not HTTP, or nothing within [`HttpSink::within`] | `Away` | the same |
/// | 401, 403, 404, 405, 407, 415, 421, 426, 511 | `Away` | that is a wrong token, secret, address or route, so every event would be told the same; none is parked while somebody mends it |
/// | 3xx | `Away` | redirects are not followed: what is meant for one host is given to no other |
/// | 410 | [`SendError::Gone`] | it wants no more, as Standard Webhooks has it |
/// | 413, 422 | [`SendError::Refused`] | it says of these very bytes that it never takes them |
/// | 408, 425, any other 4xx, any other 5xx | [`SendError::Again`] | it may be this event, or a fault of the receiver that is mended meanwhile: it is parked after all of its attempts, some 80 minutes |
///
/// An `Away` while other events get through is an attempt of its own event, so one at which a
/// receiver falls over is parked in the end. `Retry-After` is respected wherever an event comes
/// again, in seconds and as a date, up to [`LONGEST_BACKOFF`](crate::limits::LONGEST_BACKOFF).
///
/// Of an answer the status and `Retry-After` count. Of its body at most 64 KiB are read and thrown
/// away, and nothing of it is logged or kept.
///
/// # Trust
///
/// The receiver's certificate is checked against those of the machine, or of the file that
/// `SSL_CERT_FILE` names on Linux. The proxy that `HTTPS_PROXY` names is used, but never for a
/// receiver on this machine.
#[derive(Clone)]
#[must_use = "events reach it through a relay"]
pub struct HttpSink {
    client: Client,
    url: Url,
    is_binary: bool,
    source: Option<String>,
    signer: Option<Verifier>,
    headers: HeaderMap,
    within: Duration,
    /// One for each answer of which the rest is read.
    reading: Arc<Semaphore>,
}

/// Why there can be no such [`HttpSink`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpSinkError {
    /// The address is none.
    #[error("the address of the receiver is no URL: {0}")]
    Url(String),
    /// The address is not encrypted.
    #[error(
        "the address of the receiver must begin with `https://`: `http://` is for this machine alone \
         (localhost, 127.0.0.1, [::1])"
    )]
    NotEncrypted,
    /// There are credentials in the address.
    #[error(
        "the address of the receiver must have no user and no password in it: give them as a header with \
         `HttpSink::header`"
    )]
    Credentials,
    /// A header would be none, or is one that this sink sets.
    #[error("the header {name:?} cannot be set: {why}")]
    Header {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The source is no URI.
    #[error("the source {0:?} is no URI reference: percent-encode what is not ASCII, and blanks")]
    Source(String),
    /// Encrypted connections cannot be made.
    #[error("no encrypted connection can be made on this machine: {0}")]
    Tls(#[source] Box<dyn StdError + Send + Sync>),
}

impl HttpSink {
    /// Posts to this address, in structured mode, unsigned. It must be `https`, or on this machine,
    /// and without credentials.
    pub fn new(url: impl AsRef<str>) -> Result<Self, HttpSinkError> {
        let url = Url::parse(url.as_ref()).map_err(|error| HttpSinkError::Url(error.to_string()))?;
        let (is_loopback, is_encrypted) = (https::is_this_machine(&url), url.scheme() == "https");
        let is_local = is_loopback && url.scheme() == "http";
        if !(is_encrypted || is_local) {
            return Err(HttpSinkError::NotEncrypted);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpSinkError::Credentials);
        }
        let client = client(is_encrypted, is_loopback).map_err(HttpSinkError::Tls)?;
        Ok(Self {
            client,
            url,
            is_binary: false,
            source: None,
            signer: None,
            headers: HeaderMap::new(),
            within: DEFAULT_HTTP_WITHIN,
            reading: Arc::new(Semaphore::new(MOST_HTTP_ANSWERS)),
        })
    }

    /// Sends the data as the body and the attributes as headers; structured mode unless set.
    ///
    /// **A signature does not cover the attributes then**: whoever sees one event on its way can put
    /// its data under another id, type or subject, and it verifies. Stay with structured mode where you
    /// sign, unless the receiver reads nothing but the data.
    pub fn binary(mut self) -> Self {
        self.is_binary = true;
        self
    }

    /// Signs each attempt with the first secret of this verifier, by its clock, in the timestamped form
    /// of the protocol: `X-ATP-Signature: t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>">`. Unsigned
    /// unless set.
    ///
    /// The receiver verifies it with [`Verifier::verify`] and the same secret, and during a rotation
    /// with [`Verifier::or`]. Give each receiver a secret of its own, and not the one that the ATP
    /// server has: who verifies can also sign. In [binary mode](HttpSink::binary) it covers the data
    /// alone.
    pub fn sign(mut self, verifier: Verifier) -> Self {
        self.signer = Some(verifier);
        self
    }

    /// Sets the `source` of all events, a URI reference; `/atp/` and the event's service, each
    /// percent-encoded, unless set. Set it where one service sends alone: ids are unique in a service.
    pub fn source(mut self, source: impl Into<String>) -> Result<Self, HttpSinkError> {
        let source = source.into();
        if !is_uri_reference(&source) {
            return Err(HttpSinkError::Source(source));
        }
        self.source = Some(source);
        Ok(self)
    }

    /// Sends this header too, such as a token; its value is shown nowhere. Given twice, the last one
    /// counts. Those that this sink or HTTP itself needs cannot be set.
    ///
    /// ```
    /// use atp_actix::HttpSink;
    ///
    /// let sink = HttpSink::new("https://example.com/events")?.header("authorization", "Bearer hunter2")?;
    /// assert!(!format!("{sink:?}").contains("hunter2"));
    /// assert!(sink.header("ce-id", "mine").is_err());
    /// # Ok::<(), atp_actix::HttpSinkError>(())
    /// ```
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpSinkError> {
        let fail = |why| HttpSinkError::Header { name: name.to_owned(), why };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fail("that is no name of a header"))?;
        if RESERVED.contains(&key.as_str()) || key.as_str().starts_with("ce-") {
            return Err(fail("the sink or HTTP itself sets it"));
        }
        // A header value may have bytes of no meaning to those who read it; this is a text.
        let value =
            Some(value).filter(|value| value.is_ascii()).and_then(|value| HeaderValue::from_str(value).ok());
        let mut value = value.ok_or_else(|| fail("its value is not printable ASCII"))?;
        value.set_sensitive(true);
        self.headers.insert(key, value);
        Ok(self)
    }

    /// Sets how long the receiver may take to answer; [`DEFAULT_HTTP_WITHIN`] unless set. For more than
    /// that, raise [`Relay::send_within`](crate::Relay::send_within) too, which ends every send.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// The request for an event, signed as of now.
    fn request(&self, outgoing: &Outgoing) -> Result<RequestBuilder, SendError> {
        let not_json = |_| SendError::refused("the data of the event is no JSON");
        let event = CloudEvent::new(&outgoing.event, self.source.as_deref()).map_err(not_json)?;
        let mut request = self.client.post(self.url.clone()).headers(self.headers.clone());
        if let Some(traceparent) = event.traceparent() {
            request = request.header("traceparent", traceparent);
        }
        let body = if self.is_binary {
            request = event.headers().fold(request, |request, (name, value)| request.header(name, value));
            request = request.header(CONTENT_TYPE, JSON);
            event.data().to_owned()
        } else {
            request = request.header(CONTENT_TYPE, STRUCTURED);
            event.structured().map_err(not_json)?
        };
        if let Some(signer) = &self.signer {
            let signature = signer.sign(Scheme::Timestamped, body.as_bytes());
            let unsigned = |reason: String| SendError::again(format!("it could not be signed: {reason}"));
            let signature = signature.map_err(|error| unsigned(error.to_string()))?.to_string();
            let mut signature =
                HeaderValue::try_from(signature).map_err(|error| unsigned(error.to_string()))?;
            signature.set_sensitive(true);
            request = request.header(Signature::HEADER, signature);
        }
        Ok(request.body(body))
    }
}

impl Sink for HttpSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let request = self.request(outgoing)?;
        let response = match timeout(self.within, request.send()).await {
            Ok(Ok(response)) => response,
            // Without the address: it may hold a token.
            Ok(Err(error)) => return Err(SendError::away(Error::from(error.without_url()).to_string())),
            Err(_) => {
                let millis = self.within.as_millis();
                return Err(SendError::away(format!("the receiver did not answer within {millis} ms")));
            }
        };
        let came_of_it = judge(response.status().as_u16(), asked_to_wait(&response));
        // Apart, or who limits the time of a send would not hear that the event was taken. Where many are
        // at it this connection is closed, and no more are open than that.
        if let Ok(turn) = Arc::clone(&self.reading).try_acquire_owned() {
            tokio::spawn(async move {
                read_away(response).await;
                drop(turn);
            });
        }
        came_of_it
    }
}

/// Shows no path, since it may be a secret, and of the headers the names.
impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.keys().map(HeaderName::as_str).collect();
        f.debug_struct("HttpSink")
            .field("receiver", &self.url.origin().ascii_serialization())
            .field("is_binary", &self.is_binary)
            .field("source", &self.source)
            .field("is_signed", &self.signer.is_some())
            .field("headers", &headers)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// The media type of an event in structured mode.
const STRUCTURED: &str = "application/cloudevents+json";

/// Headers that the sink or HTTP sets, beside those that begin with `ce-`.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    Signature::HEADER,
];

/// On this machine it goes through no proxy.
fn client(is_encrypted: bool, is_loopback: bool) -> Result<Client, Box<dyn StdError + Send + Sync>> {
    let client = https::builder(https::tls(is_encrypted)?);
    let client = client.connect_timeout(CONNECT_WITHIN).pool_idle_timeout(IDLE_CONNECTION);
    let client = if is_loopback { client.no_proxy() } else { client };
    Ok(client.build()?)
}

/// What an answer means for the event: the table at [`HttpSink`].
fn judge(status: u16, after: Option<Duration>) -> Result<(), SendError> {
    let away =
        |what: &str| Err(SendError::away(format!("the receiver answered {status}: {what}")).after(after));
    match status {
        200..=299 => Ok(()),
        300..=399 => away("a redirect, which is not followed; give the sink the address that is meant"),
        401 | 403 | 407 => away("look at the headers and the secret of the sink"),
        404 | 405 | 415 | 421 | 426 | 511 => away("look at the address of the sink, and at its mode"),
        410 => Err(SendError::gone("the receiver answered 410: it wants no more events")),
        413 | 422 => Err(SendError::refused(format!("the receiver answered {status}"))),
        429 | 502..=504 => away("it takes nothing now"),
        _ => Err(SendError::again(format!("the receiver answered {status}")).after(after)),
    }
}

/// How long the receiver wants to be left alone; no longer than a relay leaves it.
fn asked_to_wait(response: &Response) -> Option<Duration> {
    Some(retry_after(response.headers(), SystemTime::now())?.min(LONGEST_BACKOFF))
        .filter(|wait| !wait.is_zero())
}

/// Reads on to the end of an answer that is short and there, so that its connection is used again;
/// what came of the event is known already.
async fn read_away(mut response: Response) {
    let reading = async {
        let mut left = LONGEST_HTTP_ANSWER;
        while let Ok(Some(part)) = response.chunk().await {
            let Some(less) = left.checked_sub(part.len()) else { return };
            left = less;
        }
    };
    // One that trickles is cut off.
    let _ = timeout(HTTP_ANSWER_WITHIN, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_means_what_the_table_says() {
        let wait = Some(Duration::from_secs(7));
        for status in 0..=999 {
            let expected = match status {
                200..=299 => "sent",
                300..=399 | 401 | 403..=405 | 407 | 415 | 421 | 426 | 429 | 502..=504 | 511 => "away",
                410 => "gone",
                413 | 422 => "refused",
                _ => "again",
            };
            let found = match judge(status, wait) {
                Ok(()) => "sent",
                Err(SendError::Away { after, .. }) if after == wait => "away",
                Err(SendError::Again { after, .. }) if after == wait => "again",
                Err(SendError::Gone { .. }) => "gone",
                Err(SendError::Refused { .. }) => "refused",
                Err(other) => panic!("{status}: {other:?}"),
            };
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn an_address_is_encrypted_or_on_this_machine_and_without_credentials() {
        for (url, fault) in [
            ("http://localhost:1/x", ""),
            ("http://127.9.8.7/x", ""),
            ("http://[::1]:80/x", ""),
            ("HTTP://LOCALHOST/x", ""),
            ("http://0x7f000001/", ""),
            ("http://example.com/x", "must begin with `https://`"),
            ("http://localhost.example.com/", "must begin with `https://`"),
            ("http://127.0.0.1.example.com/", "must begin with `https://`"),
            ("http://0.0.0.0/", "must begin with `https://`"),
            ("http://[::ffff:127.0.0.1]/", "must begin with `https://`"),
            ("ftp://localhost/", "must begin with `https://`"),
            ("file:///etc/passwd", "must begin with `https://`"),
            ("http://hunter2@localhost/", "no user and no password"),
            ("http://:hunter2@localhost/", "no user and no password"),
            ("hunter2", "is no URL"),
            ("", "is no URL"),
            ("http://", "is no URL"),
            ("http://local host/", "is no URL"),
        ] {
            match HttpSink::new(url) {
                Ok(_) => assert_eq!(fault, "", "{url}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!fault.is_empty() && text.contains(fault), "{url}: {text}");
                    assert!(!format!("{text} {error:?}").contains("hunter2"), "{url}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_header_of_ones_own_is_one_and_is_not_shown() {
        let sink = || HttpSink::new("http://localhost/T0/hunter2?token=hunter2").expect("an address");
        for (name, value, is_good) in [
            ("authorization", "Bearer hunter2", true),
            ("X-Api-Key", "hunter2", true),
            ("x-empty", "", true),
            ("user-agent", "mine", true),
            ("", "x", false),
            ("x y", "x", false),
            ("x-name\r\nx", "x", false),
            ("x-value", "hunter2\r\nx: y", false),
            ("x-value", "hunter2\0", false),
            ("x-value", "hunter2é", false),
            ("Content-Type", "text/plain", false),
            ("CE-ID", "mine", false),
            ("X-ATP-Signature", "hunter2", false),
            ("Host", "example.com", false),
            ("Content-Length", "0", false),
        ] {
            let found = sink().header(name, value);
            assert_eq!(found.is_ok(), is_good, "{name:?} {value:?}");
            let shown = match found {
                Ok(sink) => format!("{sink:?} {:?}", sink.headers),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("hunter2"), "{name:?}: {shown}");
        }
        let secret = atp_core::Secret::new("hunter2_hunter2_hunter2").expect("long enough");
        let shown = format!("{:?}", sink().sign(Verifier::new(secret)).source("/shop").expect("a source"));
        assert!(shown.contains("http://localhost") && !shown.contains("hunter2"), "{shown}");
    }
}
