//! Every integration test, in one binary.

mod canonical;
mod cases;
mod hostile;
mod http_signatures;
mod logged;
mod responses;
mod server;
mod webhook;
