//! Every integration test, in one binary.

mod canonical;
mod cases;
mod responses;
