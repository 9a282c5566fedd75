//! Every integration test, in one binary.

mod canonical;
mod cases;
mod hmac;
mod responses;
mod signatures;
mod timestamps;
