//! Cases of `atp-core`: texts, signatures, questions and answers, without a server.

pub(crate) mod canonical;
pub(crate) mod differential;
pub(crate) mod hmac;
pub(crate) mod redrives;
pub(crate) mod responses;
pub(crate) mod schemas;
pub(crate) mod signatures;
pub(crate) mod timestamps;
