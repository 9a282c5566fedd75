//! Cases of `atp-actix` with a store: what is decided, kept and remembered, and what breaks.

pub(crate) mod attacks;
pub(crate) mod begun;
pub(crate) mod careless;
pub(crate) mod decisions;
pub(crate) mod deferred;
pub(crate) mod durable;
pub(crate) mod faults;
pub(crate) mod hostile_answers;
pub(crate) mod kills;
pub(crate) mod migrations;
pub(crate) mod model;
pub(crate) mod outages;
pub(crate) mod own_store;
pub(crate) mod postgres;
pub(crate) mod races;
pub(crate) mod refusing;
pub(crate) mod replayed;
pub(crate) mod reports;
pub(crate) mod stores;
pub(crate) mod transactions;
