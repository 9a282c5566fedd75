//! How far those who lease have come, so that they need not begin at the start.
//!
//! What was sent stays in an index until the table is vacuumed, and whoever looks for what is due
//! from the start passes all of it. What is due behind the last that was leased is found at once;
//! what is due before it, since it was committed late or its lease has ended, is found when somebody
//! looks from the start again: when nothing more is found, and now and then.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::limits::FROM_THE_START_EVERY;

/// A time before any.
pub(super) const START: i64 = i64::MIN;

/// For each sink at which there was more to lease than was asked for.
#[derive(Default)]
pub(super) struct Reached(Mutex<HashMap<String, Place>>);

struct Place {
    due_at: i64,
    /// When somebody looked from the start.
    began: Instant,
}

impl Reached {
    /// From which time on to look for what is due at a sink. Who is told to begin at the start may not
    /// come back in time: those after him go on from the place that is known.
    pub(super) fn since(&self, sink: &str) -> i64 {
        let mut places = self.places();
        let Some(place) = places.get_mut(sink) else { return START };
        if place.began.elapsed() < FROM_THE_START_EVERY {
            return place.due_at;
        }
        place.began = Instant::now();
        START
    }

    /// Who looked from one time on has leased all that was asked for up to another.
    pub(super) fn more(&self, sink: &str, since: i64, due_at: i64) {
        let mut places = self.places();
        match places.get_mut(sink) {
            Some(place) if since != START => place.due_at = due_at,
            _ => drop(places.insert(sink.to_owned(), Place { due_at, began: Instant::now() })),
        }
    }

    /// Less was found than was asked for.
    pub(super) fn end(&self, sink: &str) {
        self.places().remove(sink);
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_found_less_begins_at_the_start() {
        let reached = Reached::default();
        assert_eq!(reached.since("bus"), START);
        reached.more("bus", START, 7);
        assert_eq!((reached.since("bus"), reached.since("other")), (7, START));
        reached.more("bus", 7, 9);
        assert_eq!(reached.since("bus"), 9);
        reached.end("bus");
        assert_eq!(reached.since("bus"), START);
    }

    #[test]
    fn who_always_finds_more_begins_at_the_start_now_and_then() {
        let reached = Reached::default();
        reached.more("bus", START, 7);
        reached.places().get_mut("bus").expect("it is noted").began -= FROM_THE_START_EVERY;
        reached.more("bus", 7, 9);
        assert_eq!((reached.since("bus"), reached.since("bus")), (START, 9));
    }
}
