//! Every integration test, in one binary.

mod canonical;
mod cases;
mod http_signatures;
mod responses;
mod server;
