//! What the head of a request says, before a chunk of its body is polled.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use atp_core::Signature;

use crate::{limits::LONGEST_REQUEST_ID, refusal::Refusal, store::Redrive};

/// The signature header's values, as a verifier takes them.
pub(crate) fn signatures(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    static NAME: HeaderName = HeaderName::from_static(Signature::HEADER);
    headers.get_all(&NAME).map(|value| (Signature::HEADER, value.as_bytes()))
}

/// The token of a redrive, if there is one header for it.
pub(crate) fn redrive_token(headers: &HeaderMap) -> Option<&[u8]> {
    static NAME: HeaderName = HeaderName::from_static(Redrive::HEADER);
    let mut values = headers.get_all(&NAME);
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

/// One printable text of a sane length: it goes into logs and answers.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    /// Made once: a name that is looked up as text is parsed each time.
    static NAME: HeaderName = HeaderName::from_static("x-atp-request-id");
    let mut values = headers.get_all(&NAME);
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    // A tab is text to a header, and moves columns in a log.
    let is_printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_printable && !value.is_empty() && value.len() <= LONGEST_REQUEST_ID).then_some(value)
}

/// How long the body is going to be, in bytes, if the head says.
pub(crate) fn announced_len(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// It must be `application/json`, in UTF-8 if it says, and not encoded.
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(header::CONTENT_TYPE);
    let value = types.next().ok_or(Refusal::MediaType("there is no content type"))?;
    if types.next().is_some() {
        return Err(Refusal::MediaType("there is more than one content type"));
    }
    if value != "application/json" {
        let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
        if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(Refusal::MediaType("the content type is not application/json"));
        }
        let charset = |parameter: &str| {
            let (name, value) = parameter.split_once('=')?;
            name.trim_end().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
        };
        if parts.filter_map(charset).any(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
            return Err(Refusal::MediaType("the charset is not utf-8"));
        }
    }
    let encoded = |encoding: &HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).any(encoded) {
        return Err(Refusal::MediaType("the body has a content encoding"));
    }
    Ok(())
}
