//! What many cases use.

pub(crate) mod cases;
pub(crate) mod clusters;
pub(crate) mod databases;
pub(crate) mod external;
pub(crate) mod logged;
pub(crate) mod server;
pub(crate) mod watched;
