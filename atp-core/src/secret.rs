//! The webhook secret.

use std::{env, fmt};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::limits;

/// HMAC-SHA256, the one function that every scheme of the protocol uses.
pub(crate) type HmacSha256 = Hmac<Sha256>;

/// The secret that a service shares with its ATP server: the bytes of its UTF-8 text, used as they
/// are.
///
/// Nothing is decoded and nothing is trimmed: a `whsec_` prefix, text that looks like hexadecimal
/// or Base64, and a newline at the end are all part of the secret, as they are for the senders in
/// the protocol's documentation.
///
/// It prints as `Secret(..)`, has no `Display`, no `PartialEq` and no `Serialize`, and its bytes
/// are wiped when it is dropped.
///
/// ```
/// use atp_core::{Secret, SecretError};
///
/// let secret = Secret::new("whsec_0123456789abcdef0123456789abcdef")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(matches!(Secret::new("hunter2"), Err(SecretError::TooShort { len: 7 })));
/// # Ok::<(), SecretError>(())
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The least length, in bytes: 128 bits, below which a secret can be guessed from one signed
    /// message.
    pub const MIN_LEN: usize = limits::SECRET_MIN;

    /// Takes the secret's text. 32 bytes or more are advised, fewer than [`Secret::MIN_LEN`] are
    /// refused: an empty or short secret is the commonest way in which a signature check checks
    /// nothing.
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let secret = Self(text.into().into_bytes());
        if secret.0.len() < Self::MIN_LEN {
            return Err(SecretError::TooShort { len: secret.0.len() });
        }
        Ok(secret)
    }

    /// Reads the secret from an environment variable.
    ///
    /// ```
    /// # use atp_core::{Secret, SecretError};
    /// let missing = Secret::from_env("ATP_WEBHOOK_SECRET_THAT_NOBODY_SET");
    /// assert!(matches!(missing, Err(SecretError::NotSet { .. })));
    /// ```
    pub fn from_env(variable: &str) -> Result<Self, SecretError> {
        match env::var(variable) {
            Ok(text) => Self::new(text),
            Err(env::VarError::NotPresent) => Err(SecretError::NotSet { variable: variable.to_owned() }),
            Err(env::VarError::NotUnicode(_)) => Err(SecretError::NotText { variable: variable.to_owned() }),
        }
    }

    /// A key of any bytes and any length, for test vectors and for tests of what is refused. A
    /// service that runs has no use for it, so it exists only with the feature `test-util`.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn of_any_bytes_for_tests(bytes: &[u8]) -> Self {
        Self::of_any_bytes(bytes)
    }

    /// A key of any bytes and any length: what another host may have made of a secret, or what is
    /// derived from one.
    pub(crate) fn of_any_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The one place where the bytes can be read.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The state of HMAC-SHA256 after the key, so that a request pays for its message only.
    #[allow(clippy::expect_used, reason = "HMAC is defined for keys of every length")]
    pub(crate) fn keyed(&self) -> HmacSha256 {
        HmacSha256::new_from_slice(&self.0).expect("HMAC takes a key of any length")
    }
}

impl Secret {
    /// Another key, for a purpose of the service's own: HMAC-SHA256 of `label`, in the same state
    /// as [`Secret::keyed`].
    pub(crate) fn derived(&self, label: &[u8]) -> HmacSha256 {
        Self(self.keyed().chain_update(label).finalize().into_bytes().to_vec()).keyed()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no [`Secret`]. It never holds the text.
///
/// `Debug` prints the message too: that is what a `main` which returns the error shows to whoever
/// starts the service.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Fewer than [`Secret::MIN_LEN`] bytes.
    #[error(
        "the webhook secret has {len} bytes and needs {} at least (32 advised): set the one that the ATP server gave \
         for this service",
        Secret::MIN_LEN
    )]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// The environment variable does not exist.
    #[error(
        "the environment variable {variable} is not set: it must hold the webhook secret of this service"
    )]
    NotSet {
        /// Its name.
        variable: String,
    },
    /// The environment variable does not hold UTF-8.
    #[error("the environment variable {variable} does not hold UTF-8 text")]
    NotText {
        /// Its name.
        variable: String,
    },
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_used_as_it_is() {
        for text in
            ["0123456789abcdef", " 0123456789abcde\n", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "ключ-ключ-ключ"]
        {
            assert_eq!(Secret::new(text).unwrap().expose(), text.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn fifteen_bytes_are_too_few() {
        for (text, len) in [("", 0), ("0123456789abcde", 15)] {
            assert_eq!(Secret::new(text).unwrap_err(), SecretError::TooShort { len }, "{text:?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("0123456789abcdef").unwrap()), "Secret(..)");
    }
}
