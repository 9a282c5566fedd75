//! What was looked at, how it is, and what to do.

use std::fmt;

use serde::Serialize;

use crate::commands::output::Shown;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Advice,
    /// It does not work, or loses something some day.
    Wrong,
    /// It was not looked at.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    pub(super) state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    pub(super) fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Good, found: found.into(), todo: None }
    }

    pub(super) fn advice(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, state: State::Advice, found: found.into(), todo: Some(todo.into()) }
    }

    pub(super) fn wrong(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, state: State::Wrong, found: found.into(), todo: Some(todo.into()) }
    }

    pub(super) fn skipped(check: &'static str, todo: impl Into<String>) -> Self {
        Self { check, state: State::Skipped, found: "not looked at".to_owned(), todo: Some(todo.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "good",
            State::Advice => "advice",
            State::Wrong => "WRONG",
            State::Skipped => "-",
        };
        write!(f, "{state:<7} {}: {}", self.check, Shown(&self.found))?;
        self.todo.iter().try_for_each(|todo| write!(f, "\n        {}", Shown(todo)))
    }
}
