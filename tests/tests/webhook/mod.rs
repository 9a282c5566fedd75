//! Cases of `atp-actix` that need no store: what reaches a handler, and what is answered.

pub(crate) mod compositions;
pub(crate) mod hostile;
pub(crate) mod http_signatures;
pub(crate) mod mounting;
pub(crate) mod responders;
pub(crate) mod routes;
pub(crate) mod senders;
pub(crate) mod silence;
