#![doc = "x"]
mod secret; mod json; mod signature; 
pub mod canonical;
pub use secret::*; pub use signature::{Signature, SignatureError}; pub use canonical::CanonicalError; pub use json::NotJson;
