//! The fixed texts that senders are told.

pub(crate) const SUCCESS: &str = r#"{"status":"success"}"#;
pub(crate) const UNAVAILABLE: &str = r#"{"error":"Service temporarily unavailable"}"#;
pub(crate) const OPAQUE: &str = r#"{"error":"Internal server error"}"#;
pub(crate) const UNAUTHORIZED: &str = r#"{"error":"Invalid signature"}"#;
