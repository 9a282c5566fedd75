//! Cases of what leaves the service: relays, and the sinks that they send to.

pub(crate) mod channel;
pub(crate) mod cloudevents;
pub(crate) mod http;
pub(crate) mod http_hostile;
pub(crate) mod http_tls;
