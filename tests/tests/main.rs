//! Every integration test, in one binary.

mod canonical;
mod cases;
mod hostile;
mod http_signatures;
mod logged;
mod responses;
mod senders;
mod server;
mod silence;
mod webhook;
