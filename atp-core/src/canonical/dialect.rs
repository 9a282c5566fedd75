//! What a language has to say for its canonical text.

use crate::json::{Index, Names, Spelling, Token};

/// What the two languages do differently.
pub(super) trait Dialect {
    const COMMA: &'static str;
    const COLON: &'static str;

    /// Appends the names of an object in printing order, without those that a later one replaces.
    /// `names` takes its members.
    fn order(index: &Index<'_>, object: Token, names: &mut Names, order: &mut Vec<Token>);

    /// Appends the source of a number. Says whether the result is one.
    fn number(source: &str, integer: bool, out: &mut String) -> Result<bool, TooManyDigits>;

    /// Appends a string, from its source with the quotes.
    fn string(source: &str, spelling: Spelling, out: &mut String);
}

pub(super) struct TooManyDigits(pub(super) usize);

/// The escapes of two characters that both languages print; both print every other one in their own
/// way.
pub(super) fn short_escape(char: char) -> Option<&'static str> {
    Some(match char {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        _ => return None,
    })
}
