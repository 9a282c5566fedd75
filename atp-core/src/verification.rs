//! The verdict on a delivery: trust, then parse.

use std::fmt;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use constant_time_eq::constant_time_eq_32;
use hmac::Mac;

use crate::{
    canonical::{self, Language, Printed},
    json::{Index, NotJson},
    limits,
    response::{Malformed, Response},
    scheme::Scheme,
    secret::HmacSha256,
    signature::{Digest, Signature, SignatureError},
    verifier::{Settings, Verifier},
};

impl Verifier {
    /// Checks a whole delivery. Of the headers only [`Signature::HEADER`] is looked at; it must be
    /// there once.
    pub fn verify<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: impl Into<Bytes>,
    ) -> Result<Verified, VerifyError> {
        self.verify_at(headers, body, self.now())
    }

    /// [`Verifier::verify`] at a time of your choice.
    pub fn verify_at<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: impl Into<Bytes>,
        now: DateTime<Utc>,
    ) -> Result<Verified, VerifyError> {
        let mut verification = self.begin_at(headers, now)?;
        verification.update(body);
        verification.finish()
    }

    /// Judges what can be judged before the body is there: the header's form, whether its scheme is
    /// accepted, and the time in it. For readers that hash while the body arrives.
    ///
    /// ```
    /// # use atp_core::{Scheme, Secret, Signature, Verifier};
    /// # let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
    /// # let body = r#"{"notification_id":"n-1","action_id":"approve"}"#;
    /// # let signature = verifier.sign(Scheme::Timestamped, body.as_bytes())?.to_string();
    /// let mut verification = verifier.begin([(Signature::HEADER, signature)])?;
    /// for chunk in body.as_bytes().chunks(16) {
    ///     verification.update(chunk);
    /// }
    /// let verified = verification.finish()?;
    /// assert_eq!(verified.scheme(), Scheme::Timestamped);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Verification, VerifyError> {
        self.begin_at(headers, self.now())
    }

    /// [`Verifier::begin`] at a time of your choice.
    pub fn begin_at<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        now: DateTime<Utc>,
    ) -> Result<Verification, VerifyError> {
        let mut values =
            headers.into_iter().filter(|(name, _)| name.as_ref().eq_ignore_ascii_case(Signature::HEADER));
        let (_, value) = values.next().ok_or(VerifyError::NoSignature)?;
        if values.next().is_some() {
            return Err(VerifyError::SeveralSignatures);
        }
        let signature = Signature::parse(value.as_ref())?;
        self.admit(&signature, now)?;
        let schemes = self.settings().schemes;
        // Without the raw scheme nothing is hashed as it comes, so nothing is to be had by a hint.
        let usual = self.settings().usual.get().filter(|_| schemes.contains(Scheme::Raw));
        let usual = RESERIALISED.into_iter().find(|(scheme, _)| Some(*scheme) == usual);
        let hashing = signature.time.is_some() || (schemes.contains(Scheme::Raw) && usual.is_none());
        let live = self.settings().keys.iter().filter(|key| hashing && key.is_live(now));
        let mut hashes: Vec<HmacSha256> = live.map(|key| key.prepared.clone()).collect();
        if let Some(time) = &signature.time {
            for hash in &mut hashes {
                hash.update(time.as_bytes());
                hash.update(b".");
            }
        }
        let (first, joined, expected) = (Bytes::new(), BytesMut::new(), 0);
        Ok(Verification { verifier: self.clone(), signature, now, hashes, usual, first, joined, expected })
    }

    /// Refuses a form that is not accepted, and a time outside the tolerance.
    fn admit(&self, signature: &Signature, now: DateTime<Utc>) -> Result<(), VerifyError> {
        let Some(time) = &signature.time else {
            return if self.settings().schemes.any_bare() { Ok(()) } else { Err(VerifyError::BareDigest) };
        };
        if !self.settings().schemes.contains(Scheme::Timestamped) {
            return Err(VerifyError::NotABareDigest);
        }
        let (seconds, now) = (time.seconds(), now.timestamp());
        let (distance, tolerance) = (now.abs_diff(seconds), self.settings().tolerance.as_secs());
        // What comes after this is no date, and must not pass as a delivery without one.
        let last = DateTime::<Utc>::MAX_UTC.timestamp();
        match distance <= tolerance || self.settings().any_age {
            true if seconds <= last => Ok(()),
            true => Err(VerifyError::TooNew { seconds: distance, tolerance: now.abs_diff(last) }),
            false if seconds < now => Err(VerifyError::TooOld { seconds: distance, tolerance }),
            false => Err(VerifyError::TooNew { seconds: distance, tolerance }),
        }
    }
}

/// The schemes that sign the parsed payload, in the order in which they are tried.
const RESERIALISED: [(Scheme, Language); 2] =
    [(Scheme::PythonCanonical, Language::Python), (Scheme::NodeCompact, Language::Node)];

/// A verification that has begun: the head was good, the body is still to come.
pub struct Verification {
    verifier: Verifier,
    signature: Signature,
    now: DateTime<Utc>,
    /// A hash for each secret that is live. There are none where only a re-serialised scheme is
    /// possible.
    hashes: Vec<HmacSha256>,
    /// The scheme to try first, and then the body is not hashed as it comes.
    usual: Option<(Scheme, Language)>,
    /// The body, as long as it has one part.
    first: Bytes,
    /// The body, once it has more.
    joined: BytesMut,
    /// How much memory the joined body gets at once, in bytes.
    expected: usize,
}

impl Verification {
    /// Says how long the body will be, in bytes, so that its parts are joined in one allocation. It
    /// is no limit, and no more than a hint: whoever announces a length may be lying, so at most 1
    /// MiB is taken before it has come.
    pub fn expect_len(&mut self, len: usize) {
        self.expected = len.min(limits::BODY_RESERVED);
    }

    /// Takes the next part of the body. It is hashed where the scheme allows, and only kept where
    /// the signed text can be made only of the whole. A body of one part is not copied.
    pub fn update(&mut self, part: impl Into<Bytes>) {
        let part = part.into();
        self.hashes.iter_mut().for_each(|hash| hash.update(&part));
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = part;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(self.expected.max(self.first.len() + part.len()));
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&part);
    }

    /// The body so far. Nobody has verified it yet.
    pub fn body(&mut self) -> Bytes {
        if !self.joined.is_empty() {
            self.first = std::mem::take(&mut self.joined).freeze();
        }
        self.first.clone()
    }

    /// The verdict on what [`Verification::update`] took, and on nothing else.
    pub fn finish(mut self) -> Result<Verified, VerifyError> {
        let body = self.body();
        let hashes = std::mem::take(&mut self.hashes);
        let streamed = self.compare(hashes.into_iter().map(|hash| hash.finalize().into_bytes().into()));
        if let Some(time) = self.signature.time {
            let secret_index = streamed.ok_or(VerifyError::Mismatch { not_json: None })?;
            let (scheme, signed_at) = (Scheme::Timestamped, DateTime::from_timestamp(time.seconds(), 0));
            return Ok(Verified { signed_text: body, scheme, secret_index, signed_at, answer: None });
        }
        let verified = match streamed {
            Some(secret_index) if !is_of_timestamped_form(&body) => self.raw(body, secret_index),
            _ => self.reserialised(body),
        }?;
        self.verifier.settings().usual.set(verified.scheme);
        Ok(verified)
    }

    /// The schemes that sign the parsed payload: Python, then Node; and before them the raw one, if
    /// the body was not hashed as it came.
    ///
    /// What fitted last is tried first. No verdict depends on that: a digest is of one text, so it
    /// fits two schemes only where both sign the same text, and then the first of them is meant, as
    /// ever. Python and Node never do where the root is an object with a member, of which one puts
    /// a blank behind the name; what is none is judged without the hint.
    fn reserialised(&self, body: Bytes) -> Result<Verified, VerifyError> {
        let settings = self.verifier.settings();
        let accepts = |scheme| settings.schemes.contains(scheme);
        if !accepts(Scheme::PythonCanonical) && !accepts(Scheme::NodeCompact) {
            return Err(VerifyError::Mismatch { not_json: None });
        }
        let index = Index::of(&body);
        let mut tried = None;
        if let (Some((scheme, language)), Ok(read)) = (self.usual, &index)
            && read.members(0).next().is_some()
            && let Ok(printed) = canonical::print_as(language, read)
        {
            let is_raw = printed.text.as_bytes() == &body[..];
            match self.compare(self.digests(printed.text.as_bytes())) {
                Some(secret_index) if is_raw => return self.raw(body.clone(), secret_index),
                Some(secret_index) => {
                    let index = index.map_err(VerifyError::not_json)?;
                    return self.printed(index, printed, scheme, secret_index);
                }
                None => tried = Some(printed.text),
            }
        }
        // Not of the timestamped form: see `finish`.
        if self.usual.is_some()
            && let Some(secret_index) = self.compare(self.digests(&body))
            && !is_of_timestamped_form(&body)
        {
            return self.raw(body, secret_index);
        }
        let index = index.map_err(VerifyError::not_json)?;
        for (scheme, language) in RESERIALISED.into_iter().filter(|(scheme, _)| accepts(*scheme)) {
            let Ok(printed) = canonical::print_as(language, &index) else { continue };
            let known = accepts(Scheme::Raw) && printed.text.as_bytes() == &body[..];
            if known || tried.as_ref().is_some_and(|text| *text == printed.text) {
                continue;
            }
            if let Some(secret_index) = self.compare(self.digests(printed.text.as_bytes())) {
                return self.printed(index, printed, scheme, secret_index);
            }
            tried = Some(printed.text);
        }
        Err(VerifyError::Mismatch { not_json: None })
    }

    fn raw(&self, body: Bytes, secret_index: usize) -> Result<Verified, VerifyError> {
        let answer = self.verifier.settings().payload_time.then(|| Response::of_body(&body));
        let signed_at = answer.as_ref().map_or(Ok(None), |answer| self.payload_time(answer))?;
        Ok(Verified { signed_text: body, scheme: Scheme::Raw, secret_index, signed_at, answer })
    }

    fn printed(
        &self,
        index: Index<'_>,
        printed: Printed,
        scheme: Scheme,
        secret_index: usize,
    ) -> Result<Verified, VerifyError> {
        let (signed_text, answer) = Response::of_printed(index, printed);
        let signed_at = self.payload_time(&answer)?;
        Ok(Verified { signed_text, scheme, secret_index, signed_at, answer: Some(answer) })
    }

    /// The digest of a text under each secret that is live.
    fn digests(&self, text: &[u8]) -> impl Iterator<Item = Digest> {
        let live = self.verifier.settings().keys.iter().filter(|key| key.is_live(self.now));
        live.map(move |key| key.prepared.clone().chain_update(text).finalize().into_bytes().into())
    }

    /// The position of the secret whose digest is in the header. Looks at every digest of every
    /// secret, whatever it has found, so that time does not tell.
    fn compare(&self, digests: impl Iterator<Item = Digest>) -> Option<usize> {
        let mut found = None;
        let positions =
            self.verifier.settings().keys.iter().enumerate().filter(|(_, key)| key.is_live(self.now));
        for ((position, _), ours) in positions.zip(digests) {
            let mut equal = false;
            for theirs in self.signature.digests.iter() {
                equal |= constant_time_eq_32(&ours, theirs);
            }
            found = found.or(equal.then_some(position));
        }
        found
    }

    /// A bare digest binds no time but that inside the payload.
    fn payload_time(
        &self,
        answer: &Result<Response, Malformed>,
    ) -> Result<Option<DateTime<Utc>>, VerifyError> {
        let Settings { payload_time: true, tolerance, .. } = *self.verifier.settings() else {
            return Ok(None);
        };
        let any_age = self.verifier.settings().any_age;
        let time = match answer {
            Ok(answer) => answer.time(),
            // Who judges the age later must first read it, and then sees this.
            Err(_) if any_age => None,
            Err(malformed) => return Err(VerifyError::Malformed(malformed.clone())),
        };
        let Some(time) = time else {
            return if any_age { Ok(None) } else { Err(VerifyError::NoPayloadTime) };
        };
        let distance = self.now - time;
        let (seconds, allowed) = (distance.num_seconds().unsigned_abs(), tolerance.as_secs());
        match seconds > allowed {
            false => Ok(Some(time)),
            true if any_age => Ok(Some(time)),
            true if time < self.now => Err(VerifyError::TooOld { seconds, tolerance: allowed }),
            true => Err(VerifyError::TooNew { seconds, tolerance: allowed }),
        }
    }
}

/// Whether a text is what the timestamped scheme signs. Its digest, captured and sent as a bare one
/// over that text, would fit the raw scheme; but nobody signs this as a payload, since no JSON
/// object begins with a digit.
fn is_of_timestamped_form(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && text.get(digits) == Some(&b'.')
}

impl VerifyError {
    /// Whether the signature fits, and what was signed is no answer: a fault of the sender that he
    /// may be told, while everything else is "Invalid signature" to him.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed(_))
    }

    /// Of a body that nobody has verified, so without the place: whoever sent it chose the names on
    /// the way there.
    fn not_json(mut error: NotJson) -> Self {
        error.pointer = String::new();
        Self::Mismatch { not_json: Some(error) }
    }
}

/// Proof that a delivery was signed. It has no public constructor, so nothing unverified can be
/// read as an answer.
pub struct Verified {
    signed_text: Bytes,
    scheme: Scheme,
    secret_index: usize,
    signed_at: Option<DateTime<Utc>>,
    /// Read already, where the verdict needed it.
    answer: Option<Result<Response, Malformed>>,
}

impl Verified {
    /// Which scheme it was signed in.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Which secret it was signed with: 0 is the one given to [`Verifier::new`], the others follow
    /// as they were added.
    #[must_use]
    pub fn secret_index(&self) -> usize {
        self.secret_index
    }

    /// The time that was signed: `t`, or that of the payload. `None` if the payload's time is not
    /// judged, if there is none that can be read and [`Verifier::any_age`] lets that pass, and for
    /// what is redriven. A timestamped delivery has one.
    #[must_use]
    pub fn signed_at(&self) -> Option<DateTime<Utc>> {
        self.signed_at
    }

    /// The text that was signed. For the re-serialised schemes this is the canonical text and not
    /// the body, which could say more than was signed (`1e999` where the signed text says `null`).
    #[must_use]
    pub fn signed_text(&self) -> &Bytes {
        &self.signed_text
    }

    /// What was verified before, of a body as it came: with the text that was signed, and no time.
    pub(crate) fn again(body: Bytes, scheme: Scheme, secret_index: usize) -> Result<Self, VerifyError> {
        let language = match scheme {
            Scheme::PythonCanonical => Language::Python,
            Scheme::NodeCompact => Language::Node,
            Scheme::Timestamped | Scheme::Raw => {
                return Ok(Self { signed_text: body, scheme, secret_index, signed_at: None, answer: None });
            }
        };
        let index = Index::of(&body).map_err(VerifyError::not_json)?;
        let printed = canonical::print_as(language, &index);
        // It was printed when it was verified.
        let (signed_text, answer) =
            Response::of_printed(index, printed.map_err(|_| VerifyError::Mismatch { not_json: None })?);
        Ok(Self { signed_text, scheme, secret_index, signed_at: None, answer: Some(answer) })
    }

    /// Reads the signed text as an answer: strictly, and once.
    pub fn decode(self) -> Result<Response, Malformed> {
        self.answer.unwrap_or_else(|| Response::of_body(&self.signed_text))
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("scheme", &self.scheme)
            .field("secret_index", &self.secret_index)
            .field("signed_at", &self.signed_at)
            .finish_non_exhaustive()
    }
}

/// Why a delivery is not accepted. For logs: who sent it must not learn more than that it was
/// refused. It holds nothing of what was not verified; only [`VerifyError::Malformed`], which was,
/// may name members.
///
/// [`Verifier::explain`] says more, at the cost of some hashes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no signature header.
    #[error("no `{}` header", Signature::HEADER)]
    NoSignature,
    /// There is more than one. Taking any of them would let an attacker add his own.
    #[error("more than one `{}` header", Signature::HEADER)]
    SeveralSignatures,
    /// The header has neither of the two forms.
    #[error(transparent)]
    Header(#[from] SignatureError),
    /// A bare digest, and only the timestamped scheme is accepted.
    #[error("a bare digest, but only the timestamped scheme is accepted")]
    BareDigest,
    /// A timestamped signature, and only schemes with a bare digest are accepted.
    #[error("a timestamped signature, but that scheme is not accepted")]
    NotABareDigest,
    /// Signed too long ago.
    #[error("the signed time is {seconds} s in the past, more than {tolerance} s")]
    TooOld {
        /// How long ago it was signed.
        seconds: u64,
        /// How long ago it may be.
        tolerance: u64,
    },
    /// Signed in the future.
    #[error("the signed time is {seconds} s in the future, more than {tolerance} s")]
    TooNew {
        /// How far ahead of the clock it was signed.
        seconds: u64,
        /// How far ahead it may be.
        tolerance: u64,
    },
    /// No digest fits.
    #[error("no digest in the header fits the body and a secret{}", not_json.as_ref().map_or_else(String::new, |error| {
        format!(" (the body is not JSON, so only a signature of its bytes could fit: {error})")
    }))]
    Mismatch {
        /// Why the re-serialised schemes were out of the question, without [`NotJson::pointer`]:
        /// nothing of the body.
        not_json: Option<NotJson>,
    },
    /// A bare digest fits, but the payload has no time that can be read, so nobody can say whether
    /// it is a replay.
    #[error(
        "a bare digest fits, but the payload has neither a `timestamp` nor a `responded_at` that is RFC 3339"
    )]
    NoPayloadTime,
    /// A bare digest fits, but the signed text is no answer, so it has no time to judge.
    #[error("a bare digest fits, but the signed text is no answer: {0}")]
    Malformed(Malformed),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::*;
    use crate::secret::Secret;

    const NOW: &str = "2026-01-02T03:05:06Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().unwrap()
    }

    fn verifier() -> Verifier {
        Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef").unwrap()).clock(now)
    }

    fn body(member: &str) -> String {
        format!(r#"{{"notification_id":"n-1","action_id":"approve"{member}}}"#)
    }

    /// Whatever length is announced, and however the body comes in parts.
    #[test]
    fn a_length_that_is_announced_is_a_hint() {
        let text = body("");
        let signature = verifier().sign(Scheme::Timestamped, text.as_bytes()).unwrap().to_string();
        for expected in [0, 1, text.len(), 1 << 40, usize::MAX - 1, usize::MAX] {
            for size in [1, 7, text.len()] {
                let mut verification = verifier().begin([(Signature::HEADER, &signature)]).unwrap();
                verification.expect_len(expected);
                for part in text.as_bytes().chunks(size) {
                    verification.update(Bytes::copy_from_slice(part));
                }
                assert!(verification.joined.capacity() <= 1 << 21, "{expected} in parts of {size}");
                assert_eq!(
                    verification.finish().unwrap().signed_text(),
                    &text,
                    "{expected} in parts of {size}"
                );
            }
        }
    }

    /// All that can be seen of a verdict.
    fn told(verdict: Result<Verified, VerifyError>) -> String {
        verdict.map_or_else(
            |error| format!("{error:?}"),
            |verified| {
                let seen = format!("{verified:?} {:?}", verified.signed_text());
                format!("{seen} {:?}", verified.decode())
            },
        )
    }

    #[test]
    fn no_verdict_depends_on_what_was_verified_before() {
        let previous = Secret::new("whsec_fedcba9876543210fedcba9876543210").unwrap();
        let fresh = || verifier().or(previous.clone());
        let other = Verifier::new(previous.clone()).clock(now);
        let forger = Verifier::new(Secret::new("whsec_of_somebody_else").unwrap()).clock(now);
        let usual = body(r#","timestamp":"2026-01-02T03:05:06Z""#);
        // No printer prints it, so that each scheme signs another text.
        let odd = usual.replace(r#"","#, r#"" ,"#);
        let bodies = [
            usual,
            odd.clone(),
            canonical::python(odd.as_bytes()).unwrap(),
            body(""),
            body(r#","timestamp":"2020-01-02T03:05:06Z","x":"\u00e9""#),
            body(r#","timestamp":"2026-01-02T03:05:06Z","x":1e999,"x":1.0"#),
            body(&format!(r#","x":{}"#, "1".repeat(4301))),
            r#"{"b":1, "a":[]}"#.to_owned(),
            "{}".to_owned(),
            "[]".to_owned(),
            "[7]".to_owned(),
            "12.5".to_owned(),
            r#""é""#.to_owned(),
            "no JSON".to_owned(),
        ];
        let accepted: [&[Scheme]; 4] = [
            &Scheme::ALL,
            &[Scheme::Raw, Scheme::NodeCompact],
            &[Scheme::PythonCanonical, Scheme::NodeCompact],
            &[Scheme::Timestamped, Scheme::Raw],
        ];
        for schemes in accepted {
            for judge in [fresh(), fresh().any_age(), fresh().without_payload_time()] {
                // Each setting makes another verifier, which has seen nothing.
                let fresh = || judge.clone().schemes(schemes.iter().copied());
                let warmed = |scheme| {
                    let warmed = fresh();
                    let signature = warmed.sign(scheme, odd.as_bytes()).unwrap().to_string();
                    let verdict = warmed.verify([(Signature::HEADER, signature)], odd.clone());
                    assert_eq!(verdict.is_ok(), schemes.contains(&scheme), "{scheme} of {schemes:?}");
                    warmed
                };
                for (body, scheme) in bodies.iter().flat_map(|body| Scheme::ALL.map(|scheme| (body, scheme)))
                {
                    for signer in [&judge, &other, &forger] {
                        let Ok(signature) = signer.sign(scheme, body.as_bytes()) else { continue };
                        let headers = [(Signature::HEADER, signature.to_string())];
                        let expected = told(fresh().verify(headers.clone(), body.clone()));
                        for before in Scheme::ALL {
                            let verdict = told(warmed(before).verify(headers.clone(), body.clone()));
                            assert_eq!(verdict, expected, "{body} signed {scheme} after {before}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_fitted_last_is_tried_first_and_costs_no_hash_of_the_body() {
        let (verifier, text) = (verifier(), body(r#","timestamp":"2026-01-02T03:05:06Z""#));
        let begun = |scheme| {
            let signature = verifier.sign(scheme, text.as_bytes()).unwrap().to_string();
            let mut verification = verifier.begin([(Signature::HEADER, signature)]).unwrap();
            verification.update(text.clone());
            verification
        };
        for (scheme, hashes) in [
            (Scheme::PythonCanonical, 1),
            (Scheme::PythonCanonical, 0),
            (Scheme::Raw, 0),
            (Scheme::Raw, 1),
            (Scheme::Timestamped, 1),
            (Scheme::PythonCanonical, 1),
            (Scheme::Timestamped, 1),
            (Scheme::PythonCanonical, 0),
        ] {
            let verification = begun(scheme);
            assert_eq!(verification.hashes.len(), hashes, "{scheme}");
            assert_eq!(verification.finish().unwrap().scheme(), scheme);
        }
    }

    /// The position of a variant. A new one does not compile until it has a row below.
    fn variant(error: &VerifyError) -> usize {
        match error {
            VerifyError::NoSignature => 0,
            VerifyError::SeveralSignatures => 1,
            VerifyError::Header(_) => 2,
            VerifyError::BareDigest => 3,
            VerifyError::NotABareDigest => 4,
            VerifyError::TooOld { .. } => 5,
            VerifyError::TooNew { .. } => 6,
            VerifyError::Mismatch { .. } => 7,
            VerifyError::NoPayloadTime => 8,
            VerifyError::Malformed(_) => 9,
        }
    }

    #[test]
    fn no_error_shows_anything_that_was_not_verified() {
        let timestamped = verifier().schemes([Scheme::Timestamped]);
        let canonical = verifier().schemes([Scheme::PythonCanonical]);
        let hex = "0f".repeat(32);
        let marked = body(r#","hunter2":"hunter3""#);
        let broken = r#"{"hunter2":{"hunter4":["hunter3",x"#;
        let sign = |scheme, body: &str, at: DateTime<Utc>| {
            vec![verifier().sign_at(scheme, body.as_bytes(), at).unwrap().to_string()]
        };
        let (old, ahead) = (now() - TimeDelta::days(1), now() + TimeDelta::days(1));
        let dated =
            |time: DateTime<Utc>| body(&format!(r#","hunter2":1,"timestamp":"{}""#, time.to_rfc3339()));
        let nameless = r#"{"hunter2":{"hunter3":1}}"#;
        let cases: Vec<(usize, &Verifier, Vec<String>, &str)> = vec![
            (0, &canonical, vec![], &marked),
            (1, &canonical, vec![hex.clone(), "hunter3".to_owned()], &marked),
            (2, &canonical, vec!["hunter3=hunter2".to_owned()], &marked),
            (2, &canonical, vec![format!("t=1,v1=hunter3,{hex}")], &marked),
            (3, &timestamped, vec![hex.clone()], &marked),
            (4, &canonical, sign(Scheme::Timestamped, &marked, now()), &marked),
            (5, &timestamped, sign(Scheme::Timestamped, &marked, old), &marked),
            (6, &timestamped, sign(Scheme::Timestamped, &marked, ahead), &marked),
            (7, &timestamped, vec![format!("t={},v1={hex}", now().timestamp())], broken),
            (7, &canonical, vec![hex.clone()], &marked),
            (7, &canonical, vec![hex.clone()], broken),
            (7, &canonical, vec![hex], "hunter2"),
            (8, &canonical, sign(Scheme::PythonCanonical, &marked, now()), &marked),
            (9, &canonical, sign(Scheme::PythonCanonical, nameless, now()), nameless),
        ];
        let mut seen = Vec::new();
        for (expected, verifier, values, body) in &cases {
            let headers = values.iter().map(|value| (Signature::HEADER, value));
            let error = verifier.verify(headers, Bytes::copy_from_slice(body.as_bytes())).unwrap_err();
            assert_eq!(variant(&error), *expected, "{values:?} {body}: {error:?}");
            seen.push(*expected);
            let source = std::error::Error::source(&error).map(|source| format!("{source} {source:?}"));
            for shown in
                [format!("{error}"), format!("{error:?}"), format!("{error:#?}"), source.unwrap_or_default()]
            {
                assert!(!shown.contains("hunter") && !shown.contains("0f0f"), "{body}: {shown}");
            }
            if let VerifyError::Mismatch { not_json: Some(not_json) } = &error {
                assert_eq!(not_json.pointer(), "", "{body}");
            }
        }
        seen.dedup();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        // A payload's time that is outside is told by its distance alone.
        for time in [old, ahead] {
            let text = dated(time);
            let values = sign(Scheme::PythonCanonical, &text, now());
            let error = canonical.verify([(Signature::HEADER, &values[0])], text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
        }
    }

    #[test]
    fn who_judges_the_age_sees_every_time_that_is_one() {
        let keeping = verifier().any_age();
        let (last, digits) = (DateTime::<Utc>::MAX_UTC.timestamp(), 999_999_999_999_999_999);
        for seconds in
            [0, 1, now().timestamp(), now().timestamp() + 301, 4_102_444_800, last, last + 1, digits]
        {
            // A sender may sign a time that is no date.
            let text = body("");
            let mac = verifier().settings().keys[0].prepared.clone();
            let digest = mac.chain_update(format!("{seconds}.{text}")).finalize().into_bytes().into();
            let signature =
                Signature::timestamped(crate::signature::Time::from_seconds(seconds), digest).to_string();
            let headers = || [(Signature::HEADER, &signature)];
            let (kept, plain) =
                (keeping.verify(headers(), text.clone()), verifier().verify(headers(), text.clone()));
            if seconds <= last {
                assert_eq!(kept.unwrap().signed_at().map(|time| time.timestamp()), Some(seconds));
            } else {
                assert!(matches!(kept, Err(VerifyError::TooNew { .. })), "{seconds}: {kept:?}");
                // Nor does a tolerance without end let it pass.
                let tolerant = verifier().tolerance(Duration::MAX).verify(headers(), text);
                assert!(matches!(tolerant, Err(VerifyError::TooNew { .. })), "{seconds}: {tolerant:?}");
            }
            assert_eq!(plain.is_ok(), seconds == now().timestamp(), "{seconds}: {plain:?}");
        }
        for (member, expected) in [
            (r#","timestamp":"9999-12-31T23:59:59Z""#, Some(253_402_300_799)),
            (r#","timestamp":"0000-01-01T00:00:00Z""#, Some(-62_167_219_200)),
            (r#","timestamp":"soon","responded_at":"2026-01-02T03:05:06Z""#, None),
            ("", None),
        ] {
            let text = body(member);
            let signature = verifier().sign(Scheme::NodeCompact, text.as_bytes()).unwrap().to_string();
            let kept = keeping.verify([(Signature::HEADER, signature)], text).unwrap();
            assert_eq!(kept.signed_at().map(|time| time.timestamp()), expected, "{member}");
        }
    }
}
