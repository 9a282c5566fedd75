//! Every integration test, in one binary.

#![allow(clippy::type_complexity, reason = "tables of cases")]

mod canonical;
mod cases;
mod differential;
mod external;
mod hmac;
mod hostile;
mod http_signatures;
mod layout;
mod logged;
mod responses;
mod senders;
mod server;
mod signatures;
mod silence;
mod timestamps;
mod webhook;
