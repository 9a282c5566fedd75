//! What a question may demand of an answer: exact numbers, patterns as a browser reads them, and
//! schemas that are judged within bounds.

mod cache;
mod decimal;
mod pattern;
#[cfg(feature = "json-schema")]
mod schema;

pub(crate) use self::decimal::{Parts, normal, source};
#[cfg(feature = "json-schema")]
pub(crate) use self::schema::{Schema, SchemaFault, Verdict};
pub use self::{
    decimal::{Decimal, DecimalError},
    pattern::{Pattern, PatternError},
};
