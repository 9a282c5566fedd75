//! What benches share that set one thing beside another: databases, the server that is ours, and a
//! load on it.

pub(crate) mod database;
pub(crate) mod load;
pub(crate) mod ours;
pub(crate) mod ratio;
