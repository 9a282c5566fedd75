//! How long ago a delivery may have been signed, where a store remembers what was handled.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::refusal::Refusal;

/// What a time is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Age {
    pub(crate) now: DateTime<Utc>,
    /// How long ago it may be.
    pub(crate) window: Duration,
    /// How far ahead it may be: clocks differ.
    pub(crate) tolerance: Duration,
}

impl Age {
    pub(crate) fn check(self, since: DateTime<Utc>) -> Result<(), Refusal> {
        let Self { now, window, tolerance } = self;
        match ((now - since).to_std(), (since - now).to_std()) {
            (Ok(age), _) if age > window => Err(Refusal::Stale { age, window }),
            (_, Ok(by)) if by > tolerance => Err(Refusal::Ahead { by, tolerance }),
            _ => Ok(()),
        }
    }
}
