//! Cases of what leaves the service, and of what is seen of it.

mod atp_relay;
mod atp_sink;
mod client;
mod marking;

pub(crate) mod channel;
pub(crate) mod cloudevents;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod http_hostile;
pub(crate) mod http_tls;
pub(crate) mod metrics;
pub(crate) mod nats;
pub(crate) mod traces;
