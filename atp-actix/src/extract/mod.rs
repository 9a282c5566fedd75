//! What handlers take.

mod answer;
mod correlation;
mod task;

pub use self::{
    answer::{AtpResponse, Raw},
    correlation::Correlation,
    task::Task,
};
