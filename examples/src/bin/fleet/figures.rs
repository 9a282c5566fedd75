//! The table of what came of a trial.

use std::fmt::Display;

/// A table that is printed line by line, and whether all in it was right.
#[derive(Default)]
pub struct Figures {
    checks: usize,
    wrong: usize,
}

impl Figures {
    pub fn new() -> Self {
        println!("{:<52}{:>9}{:>9}", "", "expected", "found");
        Self::default()
    }

    /// A figure that must be this.
    pub fn check(&mut self, name: &str, expected: usize, found: usize) {
        let remark = if found == expected { "" } else { "  WRONG" };
        println!("{name:<52}{expected:>9}{found:>9}{remark}");
        self.checks += 1;
        self.wrong += usize::from(found != expected);
    }

    /// A figure that may be anything.
    pub fn tell(&self, name: &str, found: impl Display) {
        println!("{name:<52}{:>9}{found:>9}", "");
    }

    /// Ends the table. Whether all was right.
    pub fn end(self) -> bool {
        println!("{} checks, {} wrong", self.checks, self.wrong);
        self.wrong == 0
    }
}
