//! Random bytes that only their holder knows, and digests of what nobody else is to read.

use std::fmt;

/// Proof of a claim, or of a redrive: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl Token {
    /// A new one, from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What somebody said does not belong in logs: `Debug` shows its length alone.
pub(super) fn len(text: &(impl AsRef<[u8]> + ?Sized)) -> String {
    format!("{} bytes", text.as_ref().len())
}

/// A new [`Store::fingerprint_key`].
pub(crate) fn new_key() -> [u8; 32] {
    let mut key = [0; 32];
    for half in key.as_chunks_mut::<16>().0 {
        *half = Token::random().0;
    }
    key
}

/// SHA-256: of what was signed; and of a redrive's token, so that who reads the store cannot use
/// it.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}
