//! Why was a delivery refused? For development and support.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{
    canonical,
    scheme::{Scheme, Schemes},
    secret::Secret,
    signature::Signature,
    verification::{Verified, VerifyError},
    verifier::{Key, Verifier},
};

impl Verifier {
    /// Says why a delivery is refused, as text that a person can act on: what is wrong with the
    /// header, by how much the clock is off, or under which usual mistake of a sender, a proxy or a
    /// configuration the digest would fit.
    ///
    /// It is this verifier on altered inputs, some hundred hashes, so it is for logs at a debug
    /// level and never for the answer to the sender. The text holds no secret, no digest and
    /// nothing of the body.
    ///
    /// ```
    /// use atp_core::{Scheme, Secret, Signature, Verifier};
    ///
    /// let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
    /// let body = r#"{"notification_id":"n-1","action_id":"approve"}"#;
    /// let signature = verifier.sign(Scheme::Timestamped, body.as_bytes())?.to_string();
    ///
    /// let on_the_wire = format!("{body}\n");
    /// assert_eq!(
    ///     verifier.explain([(Signature::HEADER, signature)], on_the_wire),
    ///     "the digest fits if the body had no white space at its end: something between the sender and this \
    ///      service changed the body"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: impl Into<Bytes>,
    ) -> String {
        let (body, now) = (body.into(), self.now());
        let headers: Vec<(N, V)> = headers.into_iter().collect();
        let headers = || headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        match self.verify_at(headers(), body.clone(), now) {
            Ok(verified) => {
                format!("accepted: {} with {}", verified.scheme(), secret_name(verified.secret_index()))
            }
            Err(error) => match error {
                VerifyError::NoSignature => format!(
                    "there is no `{}` header: was the request sent by the ATP server, and do proxies let the header through?",
                    Signature::HEADER
                ),
                VerifyError::SeveralSignatures | VerifyError::Header(_) | VerifyError::Malformed(_) => {
                    error.to_string()
                }
                error => self.find(headers, &body, now).unwrap_or_else(|| {
                    format!(
                        "{error}; no usual mistake makes it fit: another service's secret, or a changed body?"
                    )
                }),
            },
        }
    }

    /// Tries what usually goes wrong, the likeliest first.
    fn find<'h, H: Iterator<Item = (&'h str, &'h [u8])>>(
        &self,
        headers: impl Fn() -> H,
        body: &Bytes,
        now: DateTime<Utc>,
    ) -> Option<String> {
        let altered: Vec<(Secret, usize, &str)> = self.altered_secrets();
        // In a scheme that is accepted, if there is such a way: a compact body with a newline is
        // also what Node signs.
        [self.settings().schemes, Schemes::ALL].into_iter().find_map(|schemes| {
            let probe = self.with(|settings| {
                settings.keys = altered.iter().map(|(secret, ..)| Key::new(secret.clone(), None)).collect();
                settings.schemes = schemes;
                settings.tolerance = std::time::Duration::MAX;
                settings.payload_time = false;
            });
            altered_bodies(body).into_iter().find_map(|(body, how_body)| {
                let verified = probe.verify_at(headers(), body, now).ok()?;
                let (_, position, how_secret) = altered.get(verified.secret_index())?;
                Some(self.say(verified, *position, how_secret, how_body, now))
            })
        })
    }

    /// What each secret may have been on the other side.
    fn altered_secrets(&self) -> Vec<(Secret, usize, &'static str)> {
        let keys = || self.settings().keys.iter().enumerate();
        let as_is = keys().map(|(position, key)| (key.secret.clone(), position, ""));
        let altered = keys().flat_map(|(position, key)| {
            let bytes = key.secret.expose();
            let stripped = bytes.strip_prefix(b"whsec_").unwrap_or(bytes);
            let with_newline = [bytes, b"\n"].concat();
            [
                (Some(bytes.trim_ascii().to_vec()), "without the white space around it: trim it here"),
                (Some(with_newline), "with a newline at its end: trim it on the other side, or add it here"),
                (hex(bytes), "decoded from hexadecimal: the other side decodes it, the protocol does not"),
                (
                    STANDARD.decode(stripped).ok(),
                    "decoded from Base64: the other side decodes it, the protocol does not",
                ),
                (
                    Some(stripped.to_vec()),
                    "without its prefix `whsec_`: the other side strips it, the protocol does not",
                ),
            ]
            .into_iter()
            .filter_map(move |(altered, how)| {
                let altered = altered.filter(|altered| altered != bytes)?;
                Some((Secret::of_any_bytes(&altered), position, how))
            })
        });
        as_is.chain(altered).collect()
    }

    fn say(
        &self,
        verified: Verified,
        position: usize,
        how_secret: &str,
        how_body: &str,
        now: DateTime<Utc>,
    ) -> String {
        let mut causes: Vec<Cow<'static, str>> = Vec::new();
        let settings = self.settings();
        if !how_body.is_empty() {
            causes.push(Cow::Owned(format!(
                "if the body {how_body}: something between the sender and this service changed the body"
            )));
        }
        if !how_secret.is_empty() {
            causes.push(Cow::Owned(format!("with {} {how_secret}", secret_name(position))));
        }
        let until = settings.keys.get(position).and_then(|key| key.until).filter(|until| now >= *until);
        if let Some(until) = until {
            causes.push(Cow::Owned(format!(
                "{}, which ended at {until:?}: the sender has not rotated yet",
                secret_name(position)
            )));
        }
        if !settings.schemes.contains(verified.scheme()) {
            causes.push(Cow::Owned(format!(
                "in the scheme {}, which is not accepted here (accepted: {})",
                verified.scheme(),
                settings.schemes
            )));
        }
        if !settings.any_age {
            causes.extend(self.age_is_off(verified, now));
        }
        format!("the digest fits {}", if causes.is_empty() { "now".into() } else { causes.join(", ") })
    }

    /// What is wrong with the time that was signed, or that there is none.
    fn age_is_off(&self, verified: Verified, now: DateTime<Utc>) -> Option<Cow<'static, str>> {
        let time = if verified.scheme() == Scheme::Timestamped {
            // Milliseconds lie beyond the years that a date can name, or at least far in the
            // future.
            verified.signed_at().map(|time| (time, "`t`"))
        } else {
            self.payload_time_of(verified).map(|time| (time, "the payload's time"))
        };
        let Some((time, which)) = time else {
            return Some(Cow::Borrowed(
                "but the payload has no time that can be read, and a bare digest needs one",
            ));
        };
        self.time_is_off(time, which, now)
    }

    fn payload_time_of(&self, verified: Verified) -> Option<DateTime<Utc>> {
        let judged = self.settings().payload_time;
        // A time that is not judged is as good as now.
        if judged { verified.decode().ok()?.time() } else { Some(self.now()) }
    }

    fn time_is_off(&self, time: DateTime<Utc>, which: &str, now: DateTime<Utc>) -> Option<Cow<'static, str>> {
        let tolerance = i64::try_from(self.settings().tolerance.as_secs()).unwrap_or(i64::MAX);
        let (signed, now) = (time.timestamp(), now.timestamp());
        let age = now.saturating_sub(signed);
        let near = |seconds: i64| now.saturating_sub(seconds).saturating_abs() <= tolerance;
        if near(signed) {
            return None;
        }
        Some(Cow::Owned(if near(signed / 1000) {
            format!("though {which} is in milliseconds: it must be in seconds")
        } else if age > 0 {
            format!(
                "but {which} is {age} s old, more than {tolerance} s: a late delivery, or this host's clock?"
            )
        } else {
            let ahead = age.saturating_neg();
            format!(
                "but {which} is {ahead} s ahead, more than {tolerance} s: the sender's clock, or this host's?"
            )
        }))
    }
}

/// A secret as it is named in a text: counted from 0, like [`Verified::secret_index`] and the log.
fn secret_name(index: usize) -> String {
    if index == 0 { "secret 0 (the first)".to_owned() } else { format!("secret {index}") }
}

/// What the body may have been when it was signed.
fn altered_bodies(body: &Bytes) -> Vec<(Bytes, &'static str)> {
    let mut bodies = vec![(body.clone(), "")];
    let mut add = |text: Vec<u8>, how| {
        if bodies.iter().all(|(other, _)| *other != text) {
            bodies.push((Bytes::from(text), how));
        }
    };
    add(body.trim_ascii_end().to_vec(), "had no white space at its end");
    add([body, &b"\n"[..]].concat(), "had a newline at its end");
    add([body, &b"\r\n"[..]].concat(), "had a line end of CR LF at its end");
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let without_cr: Vec<&[u8]> = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    add(without_cr.join(&b"\n"[..]), "had line ends of LF where it has CR LF");
    add(without_cr.join(&b"\r\n"[..]), "had line ends of CR LF where it has LF");
    for (text, how) in [
        (canonical::python(body), "was as Python prints it (`json.dumps(.., sort_keys=True)`)"),
        (canonical::node(body), "was as Node prints it (`JSON.stringify`)"),
    ] {
        if let Ok(text) = text {
            add(text.into_bytes(), how);
        }
    }
    bodies
}

/// Bytes from pairs of hexadecimal digits in either case.
fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
    const BODY: &str =
        r#"{"notification_id":"n-1", "action_id":"approve","timestamp":"2026-01-02T03:05:06Z"}"#;
    const NOW: i64 = 1_767_323_106;

    fn verifier(secret: &str) -> Verifier {
        Verifier::new(Secret::new(secret).unwrap()).clock(|| DateTime::from_timestamp(NOW, 0).unwrap())
    }

    /// Each usual mistake is named, and nothing of the secret, the digest or the body is.
    #[test]
    fn every_usual_mistake_is_named() {
        let sender = verifier(SECRET);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let sign = |sender: &Verifier, scheme, body: &str, time| {
            sender.sign_at(scheme, body.as_bytes(), at(time)).unwrap().to_string()
        };
        let timestamped = |body: &str| sign(&sender, Scheme::Timestamped, body, NOW);
        let hexadecimal = "00112233445566778899aabbccddeeff";
        let decoded = Secret::of_any_bytes(&hex(hexadecimal.as_bytes()).unwrap());
        let ended = verifier("another-secret-of-ours").or_until(Secret::new(SECRET).unwrap(), at(NOW - 60));
        let crlf = "{\"notification_id\":\"n-1\",\r\n\"action_id\":\"approve\"}";
        let cases: Vec<(&str, Verifier, String, String)> = vec![
            ("412 s old", verifier(SECRET), sign(&sender, Scheme::Timestamped, BODY, NOW - 412), BODY.into()),
            (
                "412 s ahead",
                verifier(SECRET),
                sign(&sender, Scheme::Timestamped, BODY, NOW + 412),
                BODY.into(),
            ),
            (
                "is in milliseconds",
                verifier(SECRET),
                sign(&sender, Scheme::Timestamped, BODY, NOW * 1000),
                BODY.into(),
            ),
            ("secret 1, which ended at", ended, timestamped(BODY), BODY.into()),
            ("no white space at its end", verifier(SECRET), timestamped(BODY), format!("{BODY}\n")),
            ("a newline at its end", verifier(SECRET), timestamped(&format!("{BODY}\n")), BODY.into()),
            (
                "LF where it has CR LF",
                verifier(SECRET),
                timestamped(&crlf.replace("\r\n", "\n")),
                crlf.into(),
            ),
            ("CR LF where it has LF", verifier(SECRET), timestamped(crlf), crlf.replace("\r\n", "\n")),
            (
                "as Python prints it",
                verifier(SECRET),
                timestamped(&canonical::python(BODY.as_bytes()).unwrap()),
                BODY.into(),
            ),
            (
                "as Node prints it",
                verifier(SECRET),
                timestamped(&canonical::node(BODY.as_bytes()).unwrap()),
                BODY.into(),
            ),
            ("white space around it", verifier(&format!(" {SECRET}\n")), timestamped(BODY), BODY.into()),
            (
                "a newline at its end",
                verifier(SECRET),
                sign(&verifier(&format!("{SECRET}\n")), Scheme::Raw, BODY, NOW),
                BODY.into(),
            ),
            (
                "decoded from hexadecimal",
                verifier(hexadecimal),
                sign(&Verifier::new(decoded), Scheme::Raw, BODY, NOW),
                BODY.into(),
            ),
            (
                "without its prefix",
                verifier(SECRET),
                sign(&verifier(&SECRET[6..]), Scheme::Raw, BODY, NOW),
                BODY.into(),
            ),
            (
                "not accepted here",
                verifier(SECRET).schemes([Scheme::Timestamped]),
                sign(&sender, Scheme::Raw, BODY, NOW),
                BODY.into(),
            ),
            (
                "no time that can be read",
                verifier(SECRET),
                sign(&sender, Scheme::Raw, crlf, NOW),
                crlf.into(),
            ),
            ("no usual mistake", verifier(SECRET), timestamped("{}"), BODY.into()),
            ("malformed signature header at byte 0", verifier(SECRET), "zz".into(), BODY.into()),
            (
                "accepted: timestamped with secret 0 (the first)",
                verifier(SECRET),
                timestamped(BODY),
                BODY.into(),
            ),
        ];
        for (expected, receiver, signature, body) in cases {
            let text = receiver.explain([(Signature::HEADER, &signature)], body);
            assert!(text.contains(expected), "{expected:?} is not in {text:?}");
            for secret in [&SECRET[6..], hexadecimal, &signature[signature.len().saturating_sub(64)..], "n-1"]
            {
                assert!(!text.contains(secret) || signature == "zz", "{text:?} tells {secret:?}");
            }
        }
        let no_headers: [(&str, &str); 0] = [];
        assert!(verifier(SECRET).explain(no_headers, BODY).contains("there is no"));
    }

    #[test]
    fn an_age_that_is_not_judged_is_no_cause() {
        let untimed = r#"{"notification_id":"n-1", "action_id":"approve"}"#;
        let long_ago = DateTime::from_timestamp(NOW - 412, 0).unwrap();
        for (scheme, body) in [(Scheme::Timestamped, BODY), (Scheme::Raw, untimed)] {
            let signature = verifier(SECRET).sign_at(scheme, body.as_bytes(), long_ago).unwrap().to_string();
            let receiver = verifier(SECRET).any_age();
            let text = receiver.explain([(Signature::HEADER, signature)], format!("{body}\n"));
            assert!(
                text.contains("no white space at its end") && !text.contains("but"),
                "{scheme}: {text:?}"
            );
        }
    }
}
