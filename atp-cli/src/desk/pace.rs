//! What a service may do in a minute.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use super::refusal::Refusal;

/// So many a minute for each service: a minute begins with the first.
pub(super) struct Pace {
    a_minute: u32,
    begun: Mutex<HashMap<String, (DateTime<Utc>, u32)>>,
}

impl Pace {
    pub(super) fn new(a_minute: u32) -> Self {
        Self { a_minute, begun: Mutex::default() }
    }

    /// One more.
    pub(super) fn take(&self, service: &str, now: DateTime<Utc>) -> Result<(), Refusal> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = begun.entry(service.to_owned()).or_insert((now, 0));
        let minute = TimeDelta::minutes(1);
        if now - *since >= minute || now < *since {
            (*since, *count) = (now, 0);
        }
        if *count < self.a_minute {
            *count += 1;
            return Ok(());
        }
        let left = (*since + minute - now).num_seconds().max(0) + 1;
        let message = format!("A service may do this {} times a minute.", self.a_minute);
        let refusal = Refusal::new("RATE_LIMIT_EXCEEDED", message);
        Err(refusal.retry_after(u64::try_from(left).unwrap_or(60)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_do_so_much_in_a_minute_and_is_told_when_it_may_again() {
        let (pace, start) = (Pace::new(2), Utc::now());
        let at = |seconds| start + TimeDelta::seconds(seconds);
        assert!(pace.take("a", at(0)).is_ok() && pace.take("a", at(10)).is_ok());
        let refused = pace.take("a", at(20)).unwrap_err();
        assert_eq!(refused, Refusal::new("RATE_LIMIT_EXCEEDED", refused.message()).retry_after(41));
        assert!(pace.take("b", at(20)).is_ok(), "another has its own");
        assert!(pace.take("a", at(60)).is_ok());
    }
}
