//! What leaves the service.

mod atp_relay;
mod atp_sink;
mod client;
