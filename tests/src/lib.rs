//! What the test programs share.

pub mod desk;
pub mod killing;
pub mod socket;

/// The webhook secret of every server in the tests.
pub const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

/// Where webhooks are mounted.
pub const PATH: &str = "/atp/webhook";
