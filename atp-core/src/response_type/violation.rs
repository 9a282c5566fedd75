//! Why data does not fit, without the data.

use std::{borrow::Cow, fmt};

use crate::{json::printable, limits};

/// One way in which data does not fit: where, which rule, and what was found, as kind and size and
/// never as value.
///
/// Each of the three has at most [`limits::VIOLATION_TEXT`] bytes; of a longer one the rest is left
/// out, and `…` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pointer: Cow<'static, str>,
    rule: Cow<'static, str>,
    found: Cow<'static, str>,
}

impl Violation {
    /// `pointer` is a JSON Pointer into `response_data`, empty for the whole; `rule` says what must
    /// be; `found` says what is there instead, without its value: an answer may be private. Of each
    /// name in `pointer` 64 characters are kept.
    #[must_use]
    pub fn new(
        pointer: impl Into<String>,
        rule: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            pointer: short(short_names(pointer.into()).into()),
            rule: short(rule.into()),
            found: short(found.into()),
        }
    }

    /// The place, as a JSON Pointer into `response_data`; empty for the whole.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// What must be.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// What was found: its kind and size.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`response_data{}` {}, found {}", printable(&self.pointer), self.rule, self.found)
    }
}

fn short_names(path: String) -> String {
    // What is short in bytes is so in characters.
    if path.split('/').all(|name| name.len() <= limits::POINTER_NAME) {
        return path;
    }
    let mut out = String::new();
    for (nth, name) in path.split('/').enumerate() {
        if out.len() > limits::VIOLATION_TEXT {
            break;
        }
        out.push_str(if nth > 0 { "/" } else { "" });
        out.push_str(name.char_indices().nth(limits::POINTER_NAME).map_or(name, |(at, _)| start(name, at)));
    }
    out
}

fn short(text: Cow<'static, str>) -> Cow<'static, str> {
    const CUT: &str = "…";
    if text.len() <= limits::VIOLATION_TEXT {
        return text;
    }
    Cow::Owned([start(&text, limits::VIOLATION_TEXT - CUT.len()), CUT].concat())
}

/// At most so many bytes of a text, in whole characters.
fn start(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// All ways in which data does not fit, at most a hundred: whoever sends thousands needs no more.
/// Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations {
    first: Violation,
    others: Vec<Violation>,
}

impl Violations {
    /// The most that are told.
    pub const MAX: usize = limits::VIOLATIONS;

    /// `Err` with them, if there are any; of more than [`Violations::MAX`] the first.
    pub fn none_in(violations: impl IntoIterator<Item = Violation>) -> Result<(), Self> {
        let mut violations = violations.into_iter().take(Self::MAX);
        match violations.next() {
            Some(first) => Err(Self { first, others: violations.collect() }),
            None => Ok(()),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self { first: violation, others: Vec::new() }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, violation) in self.iter().enumerate() {
            write!(f, "{}{violation}", if nth > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_texts_and_their_number_are_bounded() {
        let long = "é".repeat(100_000);
        let violation = Violation::new(format!("/{long}/{long}/x"), long.clone(), long.clone());
        assert!(
            violation.pointer().starts_with(&format!("/{}/é", "é".repeat(64))),
            "{}",
            violation.pointer()
        );
        for text in [violation.pointer(), violation.rule(), violation.found()] {
            assert!(text.len() <= 256, "{} bytes", text.len());
        }
        let all = Violations::none_in(std::iter::repeat_n(violation, 5000)).unwrap_err();
        assert_eq!(all.iter().count(), 100);
        assert!(all.to_string().len() < 100_000);
        let deep = Violation::new("/names".repeat(1000), "", "");
        assert!(deep.pointer().len() <= 256 && deep.pointer().ends_with('…'), "{}", deep.pointer());
    }

    #[test]
    fn short_texts_are_kept_as_they_are() {
        let violation = Violation::new("/a~1b/0", "must be a number", "a string of 3 characters");
        assert_eq!(
            violation.to_string(),
            "`response_data/a~1b/0` must be a number, found a string of 3 characters"
        );
        assert_eq!(Violations::none_in([]), Ok(()));
    }
}
