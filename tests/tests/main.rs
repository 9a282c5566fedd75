//! Every integration test, in one binary.

mod canonical;
mod cases;
mod differential;
mod external;
mod hmac;
mod responses;
mod signatures;
mod timestamps;
