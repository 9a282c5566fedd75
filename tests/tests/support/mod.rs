//! What many cases use.

pub(crate) mod asked;
pub(crate) mod atp_server;
pub(crate) mod audit;
pub(crate) mod bouncers;
pub(crate) mod brokers;
pub(crate) mod cases;
pub(crate) mod clusters;
pub(crate) mod databases;
pub(crate) mod external;
pub(crate) mod lines;
pub(crate) mod logged;
pub(crate) mod measured;
pub(crate) mod mounted;
pub(crate) mod orders;
pub(crate) mod random;
pub(crate) mod receiver;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod told;
pub(crate) mod victim;
pub(crate) mod watched;
