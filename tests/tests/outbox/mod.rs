//! Cases of what leaves the service, and of what is seen of it.

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod traces;
