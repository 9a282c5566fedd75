//! What is costly to make from a text is made once a process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Things by the text that they are made of; of more than `LEN` the one that was asked for longest
/// ago is forgotten.
pub(crate) struct Cache<T, const LEN: usize>(Mutex<Entries<T>>);

struct Entries<T> {
    by_text: BTreeMap<Box<str>, Entry<T>>,
    /// How often anything was asked for.
    clock: u64,
}

struct Entry<T> {
    made: Arc<OnceLock<T>>,
    last_asked: u64,
}

impl<T, const LEN: usize> Cache<T, LEN> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Entries { by_text: BTreeMap::new(), clock: 0 }))
    }

    /// What belongs to the text. Whoever comes while it is made waits for it; others do not.
    pub(crate) fn with<R>(&self, text: &str, make: impl FnOnce() -> T, with: impl FnOnce(&T) -> R) -> R {
        with(self.entry(text).get_or_init(make))
    }

    fn entry(&self, text: &str) -> Arc<OnceLock<T>> {
        // No panic can leave the map half changed.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let last_asked = entries.clock;
        if let Some(entry) = entries.by_text.get_mut(text) {
            entry.last_asked = last_asked;
            return Arc::clone(&entry.made);
        }
        if entries.by_text.len() >= LEN {
            let oldest = entries.by_text.iter().min_by_key(|(_, entry)| entry.last_asked);
            if let Some(oldest) = oldest.map(|(text, _)| text.clone()) {
                entries.by_text.remove(&oldest);
            }
        }
        let made = Arc::new(OnceLock::new());
        entries.by_text.insert(text.into(), Entry { made: Arc::clone(&made), last_asked });
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_made_once_while_it_is_among_the_last_asked_for() {
        let cache = Cache::<String, 2>::new();
        let mut count = 0;
        let mut ask = |text: &str| {
            let upper = || {
                count += 1;
                text.to_uppercase()
            };
            cache.with(text, upper, |upper| assert_eq!(*upper, text.to_uppercase(), "{text}"));
            count
        };
        for (text, expected) in
            [("a", 1), ("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("c", 3), ("b", 4), ("a", 5)]
        {
            assert_eq!(ask(text), expected, "{text}");
        }
        assert_eq!(cache.0.lock().unwrap().by_text.len(), 2);
    }
}
