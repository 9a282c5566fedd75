#![doc = "x"]
pub mod canonical;
mod json;
mod response;
mod scheme;
mod secret;
mod signature;
mod time;
mod verifier;
pub use canonical::CanonicalError;
pub use json::NotJson;
pub use response::*;
pub use scheme::Scheme;
pub use secret::*;
pub use signature::{Signature, SignatureError};
pub use time::Timestamp;
pub use verifier::*;
