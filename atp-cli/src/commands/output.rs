//! What a command prints, as text or as JSON, and what it exits with.

use std::{
    fmt::{self, Display, Write as _},
    io::{self, Write as _},
    process::ExitCode,
};

use serde::Serialize;

/// How a command ended that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Done, and nothing bad was found: exit code 0.
    Done,
    /// Judged, and found bad: exit code 1.
    Bad,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It was asked in a way that makes no sense: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It could not be done: exit code 3.
    #[error("{0}")]
    Unable(String),
    /// Whoever read the output has gone, and needs no words about it.
    #[error("nobody reads the output any more")]
    Unread,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Usage(_) => 2,
            Self::Unable(_) => 3,
        }
    }
}

/// Where a command prints to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    is_json: bool,
}

impl Output {
    /// In JSON, or else in text.
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Prints one document: a line of JSON, or what it displays as.
    pub(super) fn print(self, what: &(impl Display + Serialize)) -> Result<(), Failure> {
        if self.is_json {
            let json = serde_json::to_string(what);
            let json = json.map_err(|error| Failure::Unable(format!("the result has no JSON: {error}")))?;
            return write(&format!("{}\n", without_controls(&json)));
        }
        write(&format!("{what}\n"))
    }

    /// Prints a verdict. It stands also where its reader has gone, and so does the exit code.
    pub(super) fn judge(self, verdict: &(impl Display + Serialize)) -> Result<(), Failure> {
        match self.print(verdict) {
            Err(Failure::Unread) => Ok(()),
            printed => printed,
        }
    }

    /// Prints what is for people alone, and no part of the result.
    pub(super) fn remark(self, text: &str) -> Result<(), Failure> {
        if self.is_json { Ok(()) } else { write(&format!("{text}\n")) }
    }

    /// Prints what another program is to read, whatever was chosen.
    pub(super) fn verbatim(text: &str) -> Result<(), Failure> {
        write(text)
    }

    /// Tells a failure, and says what to exit with.
    pub(super) fn end(self, end: &Result<End, Failure>) -> ExitCode {
        match end {
            Ok(End::Done) => ExitCode::SUCCESS,
            Ok(End::Bad) => ExitCode::from(1),
            Err(failure) => {
                self.tell(failure);
                ExitCode::from(failure.code())
            }
        }
    }

    fn tell(self, failure: &Failure) {
        #[derive(Serialize)]
        struct Told {
            error: String,
            exit_code: u8,
        }
        let (error, exit_code) = (failure.to_string(), failure.code());
        if matches!(failure, Failure::Unread) {
            return;
        }
        if self.is_json {
            let json = serde_json::to_string(&Told { error, exit_code }).unwrap_or_default();
            // There is nobody left to tell that this was not told.
            let _ = write(&format!("{}\n", without_controls(&json)));
        } else {
            let _ = writeln!(io::stderr(), "atp: {}", Shown(&error));
        }
    }
}

/// Text that a stranger may have chosen, shown so that it does nothing to a terminal: control
/// characters and those that turn or hide text are written as escapes.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| {
            if acts(letter) { write!(f, "{}", letter.escape_default()) } else { f.write_char(letter) }
        })
    }
}

/// An error with its causes: the outermost alone often says nothing.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Whether a terminal does something at this character but show it.
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// The same JSON. What acts on a terminal can stand only within a text, where an escape is the
/// same character.
fn without_controls(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if acts(letter) {
            // All of them are of the plane whose characters are one unit. Writing to a text does
            // not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    text
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
        Err(error) => Err(Failure::Unable(format!("the output cannot be written: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_and_does_nothing() {
        for (text, shown) in [
            ("plain, ünïcode, \\ and \"", "plain, ünïcode, \\ and \""),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{9b}2J\u{7f}\0", "\\u{9b}2J\\u{7f}\\u{0}"),
            ("\u{202e}evil", "\\u{202e}evil"),
            ("", ""),
        ] {
            assert_eq!(Shown(text).to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn json_without_controls_says_the_same() {
        for text in ["plain ü", "\u{1b}]0;title\u{7}", "\u{9b}2J\u{7f}", "\u{2028}\u{202e}\u{feff}", "🦀"]
        {
            let json = without_controls(&serde_json::to_string(text).unwrap());
            assert!(!json.chars().any(acts), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn a_chain_does_not_say_a_thing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] io::Error);
        assert_eq!(chain(&Outer(io::Error::other("inner"))), "outer: inner");
    }
}
