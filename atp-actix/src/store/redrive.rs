//! What was refused, sent in again.

use std::{fmt, time::Duration};

use atp_core::{Redriven, Verifier};
use bytes::Bytes;

use super::{Store, StoreError, StoredRefusal, token::Token};
use crate::limits::REDRIVE_GOOD_FOR;

/// A request for one's own webhook: `POST` the body with these headers, by any HTTP client. It is
/// good once, within [`Redrive::GOOD_FOR`].
///
/// It is answered as any delivery is: what was refused for good is refused again, until
/// [`Store::reopen`] has voided that.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redrive {
    /// Names and values.
    pub headers: [(&'static str, String); 2],
    /// The body.
    pub body: Bytes,
}

impl Redrive {
    /// The header that carries the token, in place of a signature.
    pub const HEADER: &'static str = "x-atp-redrive";

    /// How long a request is good: enough to send it, and not to keep it.
    pub const GOOD_FOR: Duration = REDRIVE_GOOD_FOR;

    /// Makes a request out of a kept body. The verifier is the webhook's: the token is signed under
    /// a key that is derived from its secret, so that the webhook knows its own before it asks the
    /// store.
    ///
    /// ```
    /// # use atp_actix::{Secret, Verifier, store::{MemoryStore, Redrive, Store, StoreError}};
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// # let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
    /// for refused in store.refused("default", 0, 100).await? {
    ///     let redrive = Redrive::prepare(&store, &verifier, "default", refused.id).await?;
    ///     // POST `redrive.body` with `redrive.headers` to the webhook.
    /// }
    /// assert!(matches!(Redrive::prepare(&store, &verifier, "default", 7).await, Err(StoreError::NotKept(7))));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn prepare(
        store: &impl Store,
        verifier: &Verifier,
        service: &str,
        id: i64,
    ) -> Result<Self, StoreError> {
        let token = Token::random();
        let StoredRefusal { scheme, secret_index, body, .. } = store.redrive(service, id, token).await?;
        let expires = verifier.now() + Self::GOOD_FOR;
        let token =
            Redriven { service, id, nonce: *token.as_bytes(), scheme, secret_index, body: &body, expires };
        let token = verifier.redrive(&token).to_string();
        let headers = [("content-type", "application/json".to_owned()), (Self::HEADER, token)];
        Ok(Self { headers, body })
    }
}

/// Shows no token.
impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redrive({} bytes)", self.body.len())
    }
}
