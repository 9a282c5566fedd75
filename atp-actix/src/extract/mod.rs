//! What handlers take.

mod answer;
mod correlation;
mod events;
mod task;
mod transaction;

#[cfg(feature = "postgres")]
pub use self::transaction::PostgresTransaction;
#[cfg(feature = "sqlite")]
pub use self::transaction::SqliteTransaction;
pub use self::{
    answer::{AtpResponse, Raw},
    correlation::Correlation,
    events::Events,
    task::Task,
    transaction::{Deferred, Transaction},
};
