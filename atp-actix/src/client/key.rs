//! What a service shows to its ATP server.

use std::{env, fmt, sync::Arc};

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// The key that a service shows to its ATP server with each call, or the token of an administrator.
///
/// It prints as `ApiKey(..)`, has no `Display`, no `PartialEq` and no `Serialize`, is in no error and
/// in no log. Clones share its bytes, which are wiped when the last of them is dropped; what is being
/// sent is a copy of its own, which is not.
///
/// ```
/// use atp_actix::client::{ApiKey, ApiKeyError};
///
/// let key = ApiKey::new("sk_0123456789abcdef")?; // ApiKey::from_env("ATP_API_KEY")
/// assert_eq!(format!("{key:?}"), "ApiKey(..)");
/// assert!(matches!(ApiKey::new("sk_0123456789abcdef\n"), Err(ApiKeyError::Unfit { at: 19 })));
/// # Ok::<(), ApiKeyError>(())
/// ```
#[derive(Clone)]
pub struct ApiKey(Arc<Zeroizing<String>>);

impl ApiKey {
    /// Takes the key's text as it is: printable ASCII without spaces, quotes and backslashes, which
    /// is all that a header can carry without a doubt.
    pub fn new(text: impl Into<String>) -> Result<Self, ApiKeyError> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        let is_fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        match text.bytes().position(|byte| !is_fit(byte)) {
            Some(at) => Err(ApiKeyError::Unfit { at }),
            None => Ok(Self(Arc::new(text))),
        }
    }

    /// Reads the key from an environment variable.
    pub fn from_env(variable: &str) -> Result<Self, ApiKeyError> {
        let not_set = |_| ApiKeyError::NotSet { variable: variable.to_owned() };
        Self::new(env::var(variable).map_err(not_set)?)
    }

    /// The value of the header that shows it; none only where a header cannot carry it, which
    /// [`ApiKey::new`] has refused.
    pub(super) fn bearer(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", **self.0));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether a text holds it.
    pub(super) fn is_in(&self, text: &str) -> bool {
        text.contains(&***self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why there is no [`ApiKey`]. It never holds the text.
///
/// `Debug` prints the message too: that is what a `main` which returns the error shows to whoever
/// starts the service.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// There is no text.
    #[error("the API key is empty: set the one that the ATP server gave when the service was registered")]
    Empty,
    /// A header cannot carry it.
    #[error(
        "the API key has something at byte {at} that no key has, such as a space or the end of a line: give the key \
         alone"
    )]
    Unfit {
        /// Where, counted from 0.
        at: usize,
    },
    /// The environment variable does not exist, or does not hold UTF-8.
    #[error("the environment variable {variable} is not set to text: it must hold this service's API key")]
    NotSet {
        /// Its name.
        variable: String,
    },
}

impl fmt::Debug for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_cannot_carry_is_refused_and_not_repeated() {
        for (text, fault) in [
            ("", Some(ApiKeyError::Empty)),
            ("sk_1", None),
            ("a-._~+/b==", None),
            ("sk 1", Some(ApiKeyError::Unfit { at: 2 })),
            ("sk_1\n", Some(ApiKeyError::Unfit { at: 4 })),
            ("sk\0", Some(ApiKeyError::Unfit { at: 2 })),
            ("schlüssel", Some(ApiKeyError::Unfit { at: 4 })),
            ("\"sk\"", Some(ApiKeyError::Unfit { at: 0 })),
        ] {
            let found = ApiKey::new(text).err();
            assert_eq!(found, fault, "{text:?}");
            let told = found.map(|error| format!("{error} {error:?}")).unwrap_or_default();
            assert!(text.is_empty() || !told.contains(text), "{text:?}: {told}");
        }
        let missing = ApiKey::from_env("ATP_API_KEY_THAT_NOBODY_SET").err();
        assert!(matches!(missing, Some(ApiKeyError::NotSet { .. })), "{missing:?}");
    }

    #[test]
    fn it_is_shown_as_a_header_that_debug_hides() {
        let header = ApiKey::new("sk_1").unwrap().bearer().unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk_1");
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
