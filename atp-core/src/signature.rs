//! The value of `X-ATP-Signature`, parsed.

use std::fmt;

use crate::limits;

/// An HMAC-SHA256 digest.
pub(crate) type Digest = [u8; 32];

/// A well-formed value of the signature header. Printing it is the inverse of parsing it.
///
/// The form says which schemes are possible: `t=<unix seconds>,v1=<64 hex>` is the timestamped
/// scheme, a bare `<64 hex>` is any of the three others (protocol, section 2).
///
/// ```
/// use atp_core::Signature;
///
/// let digest = "5d5d139563c95b5967b9bd9a8c9b233a9dedb45072794cd232dc1b74832607d0";
/// let header = format!("t=1767323106,v1={digest}");
/// let signature = Signature::parse(header.as_bytes())?;
/// assert_eq!(signature.seconds(), Some(1_767_323_106));
/// assert_eq!(signature.to_string(), header);
///
/// let refused = Signature::parse(format!("t=05,v1={digest}").as_bytes()).unwrap_err();
/// assert_eq!(refused.to_string(), "malformed signature header at byte 2: `t` must be 1 to 18 digits without a leading zero");
/// # Ok::<(), atp_core::SignatureError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    pub(crate) time: Option<Time>,
    pub(crate) digests: Digests,
}

impl Signature {
    /// The name of the header, in lower case. HTTP header names are compared without regard to
    /// case.
    pub const HEADER: &'static str = "x-atp-signature";
    /// The longest value that is looked at, in bytes. A real one has 64 to about 700.
    pub const MAX_LEN: usize = limits::SIGNATURE_HEADER;
    /// The most `v1` elements. A sender in the middle of a rotation sends two.
    pub const MAX_DIGESTS: usize = limits::SIGNATURE_DIGESTS;

    /// Parses the header's value; without allocation, as long as it has one digest.
    ///
    /// Strict, because every leniency here has been somebody's hole: `t` is one canonical decimal
    /// number of 1 to 18 digits and is signed as it was received; digests are 64 lower-case
    /// hexadecimal digits; nothing is trimmed; every element is `name=value` in ASCII. Elements
    /// with other names are ignored, and so is a `v1` that is not empty and does not decode, as
    /// long as one does.
    pub fn parse(value: &[u8]) -> Result<Self, SignatureError> {
        let fail = |offset, fault| Err(SignatureError { offset, fault });
        if value.len() > Self::MAX_LEN {
            return fail(Self::MAX_LEN, Fault::TooLong);
        }
        if let Some(digest) = digest(value) {
            return Ok(Self { time: None, digests: Digests::one(digest) });
        }
        let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
        // Without a branch a byte, so that the compiler takes many at once.
        if !value.iter().fold(true, |all, byte| all & is_printable(byte)) {
            return fail(value.iter().take_while(|byte| is_printable(byte)).count(), Fault::NotAscii);
        }
        if !value.contains(&b'=') {
            return fail(0, Fault::NotADigest);
        }

        let (mut time, mut digests, mut seen, mut offset) = (None, None, 0_usize, 0_usize);
        for element in value.split(|&byte| byte == b',') {
            let Some(equals) = element.iter().position(|&byte| byte == b'=') else {
                return fail(offset, Fault::NotAPair);
            };
            let (name, rest) = element.split_at(equals);
            let text = rest.get(1..).unwrap_or_default();
            // A blank is what joining two header lines leaves, and two of them are refused.
            if name.is_empty() || name.contains(&b' ') {
                return fail(offset, Fault::NotAPair);
            }
            match name {
                b"t" | b"v1" if text.is_empty() => return fail(offset, Fault::NotAPair),
                b"t" if time.is_some() => return fail(offset, Fault::SecondTime),
                b"t" => match Time::parse(text) {
                    Some(parsed) => time = Some(parsed),
                    None => return fail(offset + 2, Fault::NotATime),
                },
                b"v1" => {
                    seen += 1;
                    if seen > Self::MAX_DIGESTS {
                        return fail(offset, Fault::TooManyDigests);
                    }
                    if let Some(digest) = digest(text) {
                        digests = Some(Digests::and(digests, digest));
                    }
                }
                _ => {}
            }
            offset += element.len() + 1;
        }
        match (time, digests, seen) {
            (None, ..) => fail(0, Fault::NoTime),
            (_, None, 0) => fail(value.len(), Fault::NoDigest),
            (_, None, _) => fail(value.len(), Fault::NoGoodDigest),
            (time, Some(digests), _) => Ok(Self { time, digests }),
        }
    }

    /// The time in it, in seconds since 1970, if it is of the timestamped form.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        self.time.map(|time| time.seconds())
    }

    /// A bare digest.
    pub(crate) fn bare(digest: Digest) -> Self {
        Self { time: None, digests: Digests::one(digest) }
    }

    /// A digest that binds a time.
    pub(crate) fn timestamped(time: Time, digest: Digest) -> Self {
        Self { time: Some(time), digests: Digests::one(digest) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = self.time {
            write!(f, "t={}", time.as_str())?;
        }
        for digest in self.digests.iter() {
            f.write_str(if self.time.is_some() { ",v1=" } else { "" })?;
            for byte in digest {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Shows the form and the time, never a digest: what is logged by mistake must not be replayed.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time {
            Some(time) => {
                write!(f, "Signature(t={}, {} digests)", time.as_str(), self.digests.iter().count())
            }
            None => f.write_str("Signature(bare)"),
        }
    }
}

/// Why a header's value is no [`Signature`], and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed signature header at byte {offset}: {fault}")]
pub struct SignatureError {
    offset: usize,
    fault: Fault,
}

impl SignatureError {
    /// The byte of the value, from 0, where it stops being well formed.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("it is longer than {} bytes", Signature::MAX_LEN)]
    TooLong,
    #[error("only printable ASCII is allowed (a folded line or a copied blank?)")]
    NotAscii,
    #[error("neither 64 lower-case hexadecimal digits nor `t=<unix seconds>,v1=<64 hexadecimal digits>`")]
    NotADigest,
    #[error("each element must be `name=value`, without blanks")]
    NotAPair,
    #[error("`t` must be 1 to 18 digits without a leading zero")]
    NotATime,
    #[error("a second `t`")]
    SecondTime,
    #[error("no `t`")]
    NoTime,
    #[error("no `v1`")]
    NoDigest,
    #[error("no `v1` holds 64 lower-case hexadecimal digits")]
    NoGoodDigest,
    #[error("more than {} `v1`", Signature::MAX_DIGESTS)]
    TooManyDigests,
}

/// The digits of `t`, kept as they were received: they are part of what is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    digits: [u8; limits::TIME_DIGITS],
    len: u8,
}

impl Time {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let leading_zero = text.len() > 1 && text.first() == Some(&b'0');
        if text.is_empty() || leading_zero || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut digits = [0; limits::TIME_DIGITS];
        digits.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { digits, len: u8::try_from(text.len()).ok()? })
    }

    /// The time as a sender prints it: the nearest that has such a form, from 1970 to 18 digits.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let text = seconds.clamp(0, 999_999_999_999_999_999).to_string();
        Self::parse(text.as_bytes()).unwrap_or(Self { digits: [b'0'; limits::TIME_DIGITS], len: 1 })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.as_bytes().iter().fold(0, |seconds, digit| seconds * 10 + i64::from(digit - b'0'))
    }
}

/// The digests of a header. Almost all have one, which is in place, so that little is moved.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    first: Digest,
    more: Vec<Digest>,
}

impl Digests {
    fn one(first: Digest) -> Self {
        Self { first, more: Vec::new() }
    }

    fn and(earlier: Option<Self>, digest: Digest) -> Self {
        match earlier {
            Some(mut digests) => {
                digests.more.push(digest);
                digests
            }
            None => Self::one(digest),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// Exactly 64 lower-case hexadecimal digits. Only ever of what a stranger sent, so it need not hide
/// its time.
pub(crate) fn digest(hex: &[u8]) -> Option<Digest> {
    let hex: &[u8; 64] = hex.try_into().ok()?;
    // Without branches, so that the compiler takes many digits at once.
    let values = hex.map(|digit| {
        let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
        let letter = if letter < 6 { letter + 10 } else { BAD };
        if decimal < 10 { decimal } else { letter }
    });
    let mut digest = [0; 32];
    for (byte, [high, low]) in digest.iter_mut().zip(values.as_chunks::<2>().0) {
        *byte = high << 4 | low & 0xf;
    }
    (values.iter().fold(0, |all, value| all | value) < BAD).then_some(digest)
}

/// The value of what is no digit.
const BAD: u8 = 0xf0;

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    #[test]
    fn every_good_form_prints_as_it_was() {
        let cases = [
            HEX.to_owned(),
            format!("t=0,v1={HEX}"),
            format!("t=1767323106,v1={HEX}"),
            format!("t=999999999999999999,v1={HEX},v1={}", "ab".repeat(32)),
            format!("t=1{}", format!(",v1={HEX}").repeat(8)),
        ];
        for text in cases {
            assert_eq!(Signature::parse(text.as_bytes()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_elements_and_undecodable_digests_are_ignored() {
        for text in [
            format!("v0=x,t=1,v1={HEX},v2={HEX},note=a=b,x="),
            format!("t=1,v1=potato,v1={HEX}"),
            format!("v1={HEX},t=1"),
        ] {
            let signature = Signature::parse(text.as_bytes()).unwrap();
            assert_eq!(signature.to_string(), format!("t=1,v1={HEX}"), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_place_and_reason() {
        let upper = HEX.to_uppercase();
        let cases: &[(String, usize, Fault)] = &[
            (String::new(), 0, Fault::NotADigest),
            (upper.clone(), 0, Fault::NotADigest),
            (HEX[1..].to_owned(), 0, Fault::NotADigest),
            (format!("{HEX}0"), 0, Fault::NotADigest),
            (format!("{HEX}\n"), 64, Fault::NotAscii),
            (format!("t=1,v1={HEX},note=ü"), 77, Fault::NotAscii),
            (format!("t=1, v1={HEX}"), 4, Fault::NotAPair),
            ("t=".to_owned(), 0, Fault::NotAPair),
            (format!("t=1,v1={HEX},"), 72, Fault::NotAPair),
            (format!("t=1,v1={HEX},v1="), 72, Fault::NotAPair),
            (format!("t=5.7,v1={HEX}"), 2, Fault::NotATime),
            (format!("t=+5,v1={HEX}"), 2, Fault::NotATime),
            (format!("t=-5,v1={HEX}"), 2, Fault::NotATime),
            (format!("t=05,v1={HEX}"), 2, Fault::NotATime),
            (format!("t=1000000000000000000,v1={HEX}"), 2, Fault::NotATime),
            (format!("t=1,t=1,v1={HEX}"), 4, Fault::SecondTime),
            (format!("v1={HEX}"), 0, Fault::NoTime),
            ("t=1".to_owned(), 3, Fault::NoDigest),
            (format!("t=1,v1={upper}"), 71, Fault::NoGoodDigest),
            (format!("t=1,v1=+f{}", &HEX[2..]), 71, Fault::NoGoodDigest),
            (format!("t=1{}", format!(",v1={HEX}").repeat(9)), 548, Fault::TooManyDigests),
            (format!("t=1,v1={HEX},x={}", "y".repeat(1024)), 1024, Fault::TooLong),
        ];
        for (text, offset, fault) in cases {
            let error = Signature::parse(text.as_bytes()).unwrap_err();
            assert_eq!((error.offset, error.fault), (*offset, *fault), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_digest() {
        let text = format!("t=1,v1={HEX}");
        assert_eq!(format!("{:?}", Signature::parse(text.as_bytes()).unwrap()), "Signature(t=1, 1 digests)");
    }
}
