//! Cases of what leaves the service: hostile sinks, poisoned events, and what dies in the middle.

pub(crate) mod behind;
pub(crate) mod costs;
pub(crate) mod hostile_sinks;
pub(crate) mod killed;
pub(crate) mod outages;
pub(crate) mod poisoned;
pub(crate) mod processes;
