//! An event as CloudEvents 1.0 has it.

use std::fmt::Write as _;

use chrono::{Datelike as _, SecondsFormat};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::store::Event;

/// An event as CloudEvents 1.0 has it, to be written as one JSON text or as headers beside the data.
///
/// The same event always gives the same texts. A control character in an attribute is not foreseen
/// there; it is escaped like any other that needs it.
#[derive(Serialize)]
pub(super) struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// As it was frozen.
    data: &'a RawValue,
}

/// The media type of an event's data.
pub(super) const JSON: &str = "application/json";

impl<'a> CloudEvent<'a> {
    /// The event, from this source; from `/atp/<service>` if none is given. `Err` if its data is no
    /// JSON.
    pub(super) fn new(event: &'a Event, source: Option<&str>) -> Result<Self, serde_json::Error> {
        let usual = || format!("/atp/{}", percent_encoded(&event.service, is_unreserved));
        // RFC 3339 has no other years.
        let time = Some(event.time).filter(|time| (0..=9999).contains(&time.year()));
        Ok(Self {
            specversion: "1.0",
            id: &event.id,
            source: source.map_or_else(usual, str::to_owned),
            kind: &event.kind,
            subject: event.subject.as_deref(),
            time: time.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            datacontenttype: JSON,
            traceparent: event.traceparent.as_deref().filter(|text| is_traceparent(text)),
            data: serde_json::from_str(&event.data)?,
        })
    }

    /// All of it as one JSON text.
    #[cfg_attr(not(feature = "outbox-http"), allow(dead_code, reason = "of HTTP alone"))]
    pub(super) fn structured(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The names of its headers in binary mode, and their values: printable ASCII, whatever the
    /// attributes are.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let attributes = [
            ("ce-specversion", Some(self.specversion)),
            ("ce-id", Some(self.id)),
            ("ce-source", Some(&*self.source)),
            ("ce-type", Some(self.kind)),
            ("ce-subject", self.subject),
            ("ce-time", self.time.as_deref()),
            ("ce-traceparent", self.traceparent),
        ];
        attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name, percent_encoded(value?, is_plain_in_a_header))))
    }

    /// Its `traceparent`, which is well formed.
    pub(super) fn traceparent(&self) -> Option<&str> {
        self.traceparent
    }

    /// Its data.
    pub(super) fn data(&self) -> &str {
        self.data.get()
    }
}

/// Whether a text has the characters of a URI reference (RFC 3986), and one at least.
#[cfg_attr(not(feature = "outbox-http"), allow(dead_code, reason = "of HTTP alone"))]
pub(super) fn is_uri_reference(text: &str) -> bool {
    let is_good = |byte: u8| is_unreserved(byte) || b":/?#[]@!$&'()*+,;=%".contains(&byte);
    !text.is_empty() && text.bytes().all(is_good)
}

/// What stays as it is in a segment of a path.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What stays as it is in a header, as the bindings for HTTP and NATS have it.
fn is_plain_in_a_header(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'%'
}

/// The bytes of a text that do not stay as they are, each as `%XX`.
pub(super) fn percent_encoded(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stays(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether it is of the form of the first version: `00-<32 hexadecimal digits>-<16>-<2>`. Anything
/// else is left out: a receiver would begin a trace of its own, or refuse the event.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    [2, 32, 16, 2].into_iter().all(|len| parts.next().is_some_and(|part| part.len() == len && is_hex(part)))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\n\r\u{0} \"\\%7fé\u{7f}\u{202e}😀";

    fn event() -> Event {
        let time = "2026-01-02T03:04:05.06Z".parse().expect("a time");
        Event::new("orders.shipped", 7).expect("JSON").id("e-1").service("shop").subject("order-7").time(time)
    }

    fn headers(event: &Event) -> Vec<(&'static str, String)> {
        CloudEvent::new(event, None).expect("JSON").headers().collect()
    }

    #[test]
    fn an_event_is_one_text_with_its_data_as_it_was_frozen() {
        let mut event = event();
        event.data = r#"{"b":1.50,"a":"\u0000é\/","a":12345678901234567890123}"#.to_owned();
        let text = CloudEvent::new(&event, None).and_then(|event| event.structured()).expect("JSON");
        let expected = r#"{"specversion":"1.0","id":"e-1","source":"/atp/shop","type":"orders.shipped","subject":"order-7","time":"2026-01-02T03:04:05.060Z","datacontenttype":"application/json","data":"#;
        assert_eq!(text, format!("{expected}{}}}", event.data));
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let mut event = event();
        (event.subject, event.traceparent) = (None, Some("00-nonsense".to_owned()));
        event.time = "+12026-01-02T03:04:05Z".parse().expect("a time");
        let text = CloudEvent::new(&event, Some("urn:x")).and_then(|event| event.structured()).expect("JSON");
        assert_eq!(
            text,
            r#"{"specversion":"1.0","id":"e-1","source":"urn:x","type":"orders.shipped","datacontenttype":"application/json","data":7}"#
        );
        let names: Vec<_> = headers(&event).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ce-specversion", "ce-id", "ce-source", "ce-type"]);
    }

    #[test]
    fn hostile_texts_are_valid_in_both_forms() {
        let mut event = event().id(HOSTILE).service(HOSTILE).subject(HOSTILE);
        event.kind = HOSTILE.to_owned();
        let text = CloudEvent::new(&event, None).and_then(|event| event.structured()).expect("JSON");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for name in ["id", "type", "subject"] {
            assert_eq!(read[name], HOSTILE, "{name}");
        }
        assert_eq!(read["source"], "/atp/a%0A%0D%00%20%22%5C%257f%C3%A9%7F%E2%80%AE%F0%9F%98%80");
        for (name, value) in headers(&event) {
            assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {value}");
        }
        let encoded = "a%0A%0D%00%20%22\\%257f%C3%A9%7F%E2%80%AE%F0%9F%98%80".to_owned();
        assert!(headers(&event).contains(&("ce-id", encoded)));
    }

    #[test]
    fn data_that_is_no_json_gives_no_event() {
        for data in ["", "{", "7 7", "NaN", "\"\n\"", "{}}", ",\"id\":\"x\""] {
            let mut event = event();
            event.data = data.to_owned();
            assert!(CloudEvent::new(&event, None).is_err(), "{data:?}");
        }
    }

    #[test]
    fn a_traceparent_is_of_one_form() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, is_good) in [
            (good.to_owned(), true),
            (String::new(), false),
            (good.to_uppercase(), false),
            (format!("{good}-"), false),
            (format!("{good}\r\nx: y"), false),
            (good.replace('-', "_"), false),
            (good[1..].to_owned(), false),
        ] {
            assert_eq!(is_traceparent(&text), is_good, "{text:?}");
        }
    }

    #[test]
    fn a_source_has_the_characters_of_a_uri() {
        for (text, is_good) in [
            ("/shop", true),
            ("https://example.com/shop?x=%20#y", true),
            ("urn:uuid:1", true),
            ("", false),
            ("a b", false),
            ("é", false),
            ("a\n", false),
            ("<x>", false),
        ] {
            assert_eq!(is_uri_reference(text), is_good, "{text:?}");
        }
    }
}
