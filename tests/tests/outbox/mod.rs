//! Cases of what leaves the service, and of the sinks that it goes to.

pub(crate) mod nats;
