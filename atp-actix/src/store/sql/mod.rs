//! What the stores in databases have in common.

pub(super) mod rows;
pub(super) mod statements;
pub(super) mod transaction;
