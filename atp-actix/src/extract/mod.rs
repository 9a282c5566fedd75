//! What handlers take.

mod answer;
mod correlation;
mod task;
mod transaction;

#[cfg(feature = "postgres")]
pub use self::transaction::PostgresTransaction;
#[cfg(feature = "sqlite")]
pub use self::transaction::SqliteTransaction;
pub use self::{
    answer::{AtpResponse, Raw},
    correlation::Correlation,
    task::Task,
    transaction::{Deferred, Transaction},
};
