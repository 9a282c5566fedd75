//! A token that lets a body that was verified before, and kept, be sent in again.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use constant_time_eq::constant_time_eq_32;
use hmac::Mac;
use sha2::{Digest as _, Sha256};

use crate::{
    limits,
    scheme::Scheme,
    secret::Secret,
    signature::{Digest, digest},
    verification::{Verified, VerifyError},
    verifier::Verifier,
};

/// What [`Verifier::redrive`] makes a token of: one kept delivery, for one more way through the
/// service's own webhook.
#[derive(Clone, Copy)]
pub struct Redriven<'a> {
    /// The service that kept it. The token is good for no other.
    pub service: &'a str,
    /// Where it is kept.
    pub id: i64,
    /// What makes this token differ from every other. Whoever lets a token through only once
    /// remembers it by this.
    pub nonce: [u8; 16],
    /// The scheme that the delivery was signed in when it came.
    pub scheme: Scheme,
    /// Which secret it was signed with then: [`Verified::secret_index`].
    pub secret_index: usize,
    /// The body as it came.
    pub body: &'a [u8],
    /// From when on the token is refused, in whole seconds.
    pub expires: DateTime<Utc>,
}

/// A signature by the service itself: that it has verified a body before, and lets it in again
/// until a time.
///
/// It prints as one value of an HTTP header: printable ASCII without blanks, of at most
/// [`RedriveToken::MAX_LEN`] bytes. It holds the digest of the body and not the body, and it is a
/// secret for as long as it is good.
///
/// The key is derived from the webhook secret, with a label that no JSON text begins with. So no
/// signature of an ATP server is a token, no token is such a signature, and a token needs no secret
/// of its own.
///
/// ```
/// use atp_core::{Redriven, Scheme, Secret, Verifier};
///
/// let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
/// let body = r#"{"notification_id":"n-1","action_id":"approve"}"#;
/// let now = verifier.now();
/// let token = verifier.redrive(&Redriven {
///     service: "payments",
///     id: 7,
///     nonce: [0x5a; 16],
///     scheme: Scheme::Raw,
///     secret_index: 0,
///     body: body.as_bytes(),
///     expires: now + chrono::TimeDelta::hours(1),
/// });
///
/// let redriving = verifier.admit_redrive(token.to_string().as_bytes(), "payments", now)?;
/// assert_eq!(redriving.id(), 7);
/// assert_eq!(redriving.verify(body.into())?.decode()?.action_id, "approve");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RedriveToken {
    claims: Claims,
    mac: Digest,
}

/// What a token says. It prints as the part of the token that is signed.
#[derive(Clone, PartialEq, Eq)]
struct Claims {
    id: i64,
    nonce: [u8; 16],
    scheme: Scheme,
    secret_index: usize,
    /// Unix seconds.
    expires: i64,
    /// SHA-256.
    body: Digest,
}

impl RedriveToken {
    /// The longest token, in bytes.
    pub const MAX_LEN: usize = limits::REDRIVE_TOKEN;

    /// The form of the token, so that another one can be told from it.
    const VERSION: &'static str = "1";
    /// What the key of the tokens is derived by. No JSON text begins with NUL, so nobody signs this
    /// as a payload.
    const LABEL: &'static [u8] = b"\0atp redrive token 1";

    /// The signature under one secret, of the service and of the claims as they are printed.
    fn mac(secret: &Secret, service: &str, claims: &Claims) -> Digest {
        let len = u64::try_from(service.len()).unwrap_or(u64::MAX);
        let hash = secret.derived(Self::LABEL).chain_update(len.to_be_bytes()).chain_update(service);
        hash.chain_update(claims.to_string()).finalize().into_bytes().into()
    }
}

impl Verifier {
    /// A token for a delivery that was verified before, signed with the first secret.
    #[must_use]
    pub fn redrive(&self, delivery: &Redriven<'_>) -> RedriveToken {
        let Redriven { service, id, nonce, scheme, secret_index, body, expires } = *delivery;
        let (expires, body) = (expires.timestamp(), Sha256::digest(body).into());
        let claims = Claims { id, nonce, scheme, secret_index, expires, body };
        let key = self.settings().keys.first();
        let mac = key.map_or([0; 32], |key| RedriveToken::mac(&key.secret, service, &claims));
        RedriveToken { claims, mac }
    }

    /// Judges a token before the body is there: its form, its signature under any secret that is
    /// live, and its time.
    ///
    /// All in memory. Every secret is compared, whatever was found, so that time does not tell
    /// which one fits.
    pub fn admit_redrive(
        &self,
        value: &[u8],
        service: &str,
        now: DateTime<Utc>,
    ) -> Result<Redriving, RedriveError> {
        let token = RedriveToken::parse(value)?;
        let live = self.settings().keys.iter().filter(|key| key.is_live(now));
        let ours = live.map(|key| RedriveToken::mac(&key.secret, service, &token.claims));
        if !ours.fold(false, |found, ours| found | constant_time_eq_32(&ours, &token.mac)) {
            return Err(RedriveError::Mismatch);
        }
        if now.timestamp() >= token.claims.expires {
            return Err(RedriveError::Expired);
        }
        Ok(Redriving { claims: token.claims })
    }
}

/// A redrive whose token is good. The body is still to come.
pub struct Redriving {
    claims: Claims,
}

impl Redriving {
    /// [`Redriven::id`].
    #[must_use]
    pub fn id(&self) -> i64 {
        self.claims.id
    }

    /// [`Redriven::nonce`].
    #[must_use]
    pub fn nonce(&self) -> [u8; 16] {
        self.claims.nonce
    }

    /// [`Redriven::scheme`].
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.claims.scheme
    }

    /// [`Redriven::secret_index`].
    #[must_use]
    pub fn secret_index(&self) -> usize {
        self.claims.secret_index
    }

    /// The verdict on the body: whether it is the one that the token was made for, byte for byte.
    ///
    /// [`Verified::scheme`] and [`Verified::secret_index`] are those of the delivery when it came,
    /// and [`Verified::signed_at`] is none: its age was judged then.
    pub fn verify(self, body: Bytes) -> Result<Verified, VerifyError> {
        if !constant_time_eq_32(&Sha256::digest(&body).into(), &self.claims.body) {
            return Err(VerifyError::Mismatch { not_json: None });
        }
        Verified::again(body, self.claims.scheme, self.claims.secret_index)
    }
}

impl fmt::Debug for Redriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redriving({})", self.claims.id)
    }
}

impl RedriveToken {
    /// Strict: a value is a token only if that token prints as the value.
    fn parse(value: &[u8]) -> Result<Self, RedriveError> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= Self::MAX_LEN);
        let token = text.and_then(Self::read).filter(|token| text == Some(&token.to_string()));
        token.ok_or(RedriveError::Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut next = || parts.next();
        let _version = next()?;
        let claims = Claims {
            id: next()?.parse().ok()?,
            nonce: u128::from_str_radix(next()?, 16).ok()?.to_be_bytes(),
            scheme: Scheme::of_name(next()?)?,
            secret_index: next()?.parse().ok()?,
            expires: next()?.parse().ok()?,
            body: digest(next()?.as_bytes())?,
        };
        Some(Self { claims, mac: digest(next()?.as_bytes())? })
    }
}

impl FromStr for RedriveToken {
    type Err = RedriveError;

    fn from_str(text: &str) -> Result<Self, RedriveError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for RedriveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.claims, Hex(&self.mac))
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, nonce, scheme, secret_index, expires, body } = self;
        let (version, nonce, body) = (RedriveToken::VERSION, Hex(nonce), Hex(body));
        write!(f, "{version}.{id}.{nonce}.{scheme}.{secret_index}.{expires}.{body}")
    }
}

/// Shows where the body is kept: what is logged by mistake must not be used.
impl fmt::Debug for RedriveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedriveToken({})", self.claims.id)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a redrive's token is refused. For logs, like [`VerifyError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedriveError {
    /// It is no token.
    #[error("the value is no token of a redrive: copy it whole from what made it")]
    Malformed,
    /// It was not made with a secret of this service that is live now, or it was altered, or made
    /// for another service.
    #[error(
        "the token of a redrive was not made by this service with a secret that it still has: make it anew"
    )]
    Mismatch,
    /// Its time is over.
    #[error("the token of a redrive has expired: make it anew")]
    Expired,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::signature::Signature;

    const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
    const OTHER: &str = "another-secret-of-another-service";
    const BODY: &str = r#"{"notification_id":"n-1", "action_id":"approve","x":1e999}"#;

    fn verifier(secret: &str) -> Verifier {
        Verifier::new(Secret::new(secret).unwrap())
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_323_106, 0).unwrap()
    }

    fn delivery(scheme: Scheme) -> Redriven<'static> {
        let (service, id, nonce, expires) = ("payments", -7, [0xa5; 16], now() + TimeDelta::hours(1));
        Redriven { service, id, nonce, scheme, secret_index: 1, body: BODY.as_bytes(), expires }
    }

    fn token(scheme: Scheme) -> String {
        verifier(SECRET).redrive(&delivery(scheme)).to_string()
    }

    #[test]
    fn a_good_token_lets_the_same_body_in_again_with_the_text_that_was_signed() {
        for (scheme, text) in [
            (Scheme::Timestamped, BODY),
            (Scheme::Raw, BODY),
            (Scheme::NodeCompact, r#"{"notification_id":"n-1","action_id":"approve","x":null}"#),
            (Scheme::PythonCanonical, r#"{"action_id": "approve", "notification_id": "n-1", "x": Infinity}"#),
        ] {
            let value = token(scheme);
            let redriving = verifier(SECRET).admit_redrive(value.as_bytes(), "payments", now()).unwrap();
            assert_eq!((redriving.id(), redriving.nonce(), redriving.scheme()), (-7, [0xa5; 16], scheme));
            assert_eq!(redriving.secret_index(), 1, "{scheme}");
            let verified = redriving.verify(Bytes::from(BODY)).unwrap();
            assert_eq!((verified.scheme(), verified.secret_index(), verified.signed_at()), (scheme, 1, None));
            assert_eq!(verified.signed_text(), text, "{scheme}");
            let read = verified.decode().map(|answer| answer.action_id);
            assert_eq!(read.is_ok(), scheme != Scheme::PythonCanonical, "{scheme}: {read:?}");
        }
    }

    #[test]
    fn another_body_is_a_mismatch() {
        for scheme in Scheme::ALL {
            // Also one with the same canonical text.
            for body in [BODY.replace("approve", "reject"), BODY.replace(", ", ","), String::new()] {
                let value = token(scheme);
                let redriving = verifier(SECRET).admit_redrive(value.as_bytes(), "payments", now()).unwrap();
                let error = redriving.verify(Bytes::from(body.clone())).unwrap_err();
                assert_eq!(error, VerifyError::Mismatch { not_json: None }, "{scheme}: {body}");
            }
        }
    }

    #[test]
    fn a_token_that_is_altered_in_any_part_is_refused() {
        let good = token(Scheme::Raw);
        let parts: Vec<&str> = good.split('.').collect();
        let others = [
            &["2", "", "01", "v1"][..],
            &["7", "-8", "0", "9223372036854775807"],
            &["b5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"],
            &["timestamped", "python-canonical", "node-compact"],
            &["0", "2", "18446744073709551615"],
            &["1767326707", "9223372036854775807", "-1"],
            &["00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"],
            &["00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"],
        ];
        assert_eq!(parts.len(), others.len());
        for (place, others) in others.iter().enumerate() {
            for other in *others {
                let mut parts = parts.clone();
                parts[place] = other;
                let value = parts.join(".");
                let error = verifier(SECRET).admit_redrive(value.as_bytes(), "payments", now()).unwrap_err();
                assert_ne!(error, RedriveError::Expired, "{value}");
            }
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut value = good.clone().into_bytes();
                value[at] ^= 1 << bit;
                assert!(verifier(SECRET).admit_redrive(&value, "payments", now()).is_err(), "{bit} at {at}");
            }
        }
    }

    #[test]
    fn a_token_is_good_for_its_service_alone() {
        let value = token(Scheme::Raw);
        for service in ["", "payment", "payments2", "Payments", "payments\0"] {
            let error = verifier(SECRET).admit_redrive(value.as_bytes(), service, now()).unwrap_err();
            assert_eq!(error, RedriveError::Mismatch, "{service:?}");
        }
        // Nor can a part of the claims be told for a part of the name.
        let moved = Redriven { service: "payments1", ..delivery(Scheme::Raw) };
        assert_ne!(verifier(SECRET).redrive(&moved).to_string(), value);
    }

    #[test]
    fn a_token_ends_at_its_time() {
        let value = token(Scheme::Raw);
        for (after, expected) in [
            (0, None),
            (3599, None),
            (3600, Some(RedriveError::Expired)),
            (9999, Some(RedriveError::Expired)),
        ] {
            let at = now() + TimeDelta::seconds(after);
            let error = verifier(SECRET).admit_redrive(value.as_bytes(), "payments", at).err();
            assert_eq!(error, expected, "after {after} s");
        }
    }

    #[test]
    fn a_token_of_any_live_secret_fits_and_of_no_other() {
        let until = now() + TimeDelta::minutes(5);
        let rotated = || verifier("the-new-secret-of-this-service").or(Secret::new(OTHER).unwrap());
        let rotating = rotated().or_until(Secret::new(SECRET).unwrap(), until);
        let value = token(Scheme::Raw);
        for (receiver, at, fits) in [
            (verifier(SECRET), now(), true),
            (rotating.clone(), now(), true),
            (rotating.clone(), until - TimeDelta::seconds(1), true),
            (rotating, until, false),
            (rotated(), now(), false),
            (verifier(OTHER), now(), false),
        ] {
            let admitted = receiver.admit_redrive(value.as_bytes(), "payments", at);
            assert_eq!(admitted.is_ok(), fits, "{receiver:?} at {at}: {admitted:?}");
        }
    }

    #[test]
    fn a_token_is_no_signature_and_a_signature_no_token() {
        let verifier = verifier(SECRET).without_payload_time();
        let value = token(Scheme::Raw);
        let (claims, mac) = value.rsplit_once('.').unwrap();
        let service = [&8_u64.to_be_bytes()[..], b"payments"].concat();
        for signed in [claims.as_bytes(), BODY.as_bytes(), &[&service, claims.as_bytes()].concat()] {
            // What a token is signed with signs no delivery.
            let delivered = verifier.verify([(Signature::HEADER, mac)], Bytes::copy_from_slice(signed));
            assert!(delivered.is_err(), "{delivered:?}");
            // And the signature of a delivery, even one of the same bytes, makes no token.
            let digest = verifier.sign(Scheme::Raw, signed).unwrap().to_string();
            let forged = format!("{claims}.{digest}");
            let error = verifier.admit_redrive(forged.as_bytes(), "payments", now()).unwrap_err();
            assert_eq!(error, RedriveError::Mismatch);
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = token(Scheme::Raw);
        let digest = verifier(SECRET).sign(Scheme::Raw, BODY.as_bytes()).unwrap().to_string();
        let timestamped = verifier(SECRET).sign(Scheme::Timestamped, BODY.as_bytes()).unwrap().to_string();
        let cases = [
            String::new(),
            ".".repeat(7),
            digest,
            timestamped,
            "0".repeat(32),
            "1".repeat(RedriveToken::MAX_LEN + 1),
            "9".repeat(1 << 20),
            format!("{good}."),
            format!("{good}.x"),
            format!(" {good}"),
            format!("{good}\n"),
            good.to_uppercase(),
            good.replacen("1.-7.", "1.-07.", 1),
            good.replacen("1.-7.", "1.-7.0", 1),
            good.replacen(".1.", ".+1.", 1),
            good.replacen("raw", "Raw", 1),
            good[1..].to_owned(),
            good[..good.len() - 1].to_owned(),
        ];
        for value in cases {
            let error = verifier(SECRET).admit_redrive(value.as_bytes(), "payments", now()).unwrap_err();
            assert_eq!(error, RedriveError::Malformed, "{value:?}");
        }
        let error = verifier(SECRET).admit_redrive(b"1.\xff", "payments", now()).unwrap_err();
        assert_eq!(error, RedriveError::Malformed);
    }

    #[test]
    fn a_token_is_one_short_value_of_a_header_whatever_it_says() {
        for (id, secret, expires) in [
            (i64::MIN, usize::MAX, DateTime::<Utc>::MIN_UTC),
            (i64::MAX, usize::MAX, DateTime::<Utc>::MAX_UTC),
            (0, 0, DateTime::UNIX_EPOCH),
        ] {
            for scheme in Scheme::ALL {
                let service = "s".repeat(4096);
                let delivery =
                    Redriven { id, secret_index: secret, expires, service: &service, ..delivery(scheme) };
                let token = verifier(SECRET).redrive(&delivery);
                let value = token.to_string();
                assert!(value.len() <= RedriveToken::MAX_LEN, "{} bytes: {value}", value.len());
                assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
                assert_eq!(value.parse::<RedriveToken>().unwrap(), token);
                let before = DateTime::<Utc>::MIN_UTC;
                let admitted = verifier(SECRET).admit_redrive(value.as_bytes(), &service, before);
                assert_eq!(admitted.is_ok(), expires > before, "{value}");
                for shown in [format!("{token:?}"), format!("{admitted:?}")] {
                    assert!(shown.len() < 40, "{shown}");
                }
            }
        }
    }
}
