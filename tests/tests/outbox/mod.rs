//! Cases of what leaves the service, and of what is seen of it.

pub(crate) mod ahead;
pub(crate) mod atp_relay;
pub(crate) mod atp_sink;
pub(crate) mod behind;
pub(crate) mod causes;
pub(crate) mod channel;
pub(crate) mod client;
pub(crate) mod clocks;
pub(crate) mod cloudevents;
pub(crate) mod costs;
pub(crate) mod health;
pub(crate) mod hostile_sinks;
pub(crate) mod http;
pub(crate) mod http_hostile;
pub(crate) mod http_tls;
pub(crate) mod killed;
pub(crate) mod marking;
pub(crate) mod metrics;
pub(crate) mod nats;
pub(crate) mod outages;
pub(crate) mod poisoned;
pub(crate) mod processes;
pub(crate) mod traces;
