//! Whether the tables are those that the library knows.

use super::finding::Finding;
use crate::commands::database::{self, KNOWN_SCHEMA};

const CHECK: &str = "schema";

/// Judges the version of the tables of either database.
pub(super) fn check(version: Option<i64>) -> Finding {
    match (database::check(version), version) {
        (Ok(()), _) => Finding::good(CHECK, format!("version {KNOWN_SCHEMA}, which this program knows")),
        (Err(why), Some(version)) => Finding::wrong(CHECK, format!("version {version}"), why),
        (Err(why), None) => Finding::wrong(CHECK, "no tables", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn every_other_version_is_wrong() {
        for (version, state) in [
            (None, State::Wrong),
            (Some(KNOWN_SCHEMA - 1), State::Wrong),
            (Some(KNOWN_SCHEMA), State::Good),
            (Some(KNOWN_SCHEMA + 1), State::Wrong),
        ] {
            assert_eq!(check(version).state, state, "{version:?}");
        }
    }
}
