//! Regular expressions of questions, as a browser reads them.

use std::sync::Once;

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::{
    self, Assertion, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Flag, FlagsItem,
    FlagsItemKind, Span,
};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use crate::limits;

/// A regular expression of a question, searched, not anchored.
///
/// Its syntax is that of the crate `regex` (no look-around, no back-references, linear time). Its
/// short classes are those of ECMA-262, by which clients check what a human types: `\d` and `\w`
/// are ASCII, and `\b` lies between a character of `\w` and another; `\s` is white space with
/// U+FEFF, and `.` is no end of a line. The same is so in the schema of a `json` action.
///
/// One that you make must compile, in at most [`Pattern::MAX_SIZE`] bytes of memory. One that came
/// in a question from elsewhere may not; it is then skipped, with one `warn`. Each text is compiled
/// once a process, while it is among the 32 that were used last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// The most memory that a compiled pattern may take, in bytes: 8 MiB. A class of Unicode that
    /// repeats takes the most: `\p{L}{1,100}` does fit.
    pub const MAX_SIZE: usize = limits::PATTERN_SIZE;

    /// The longest text, in bytes.
    pub const MAX_LEN: usize = limits::PATTERN;

    /// Compiles it.
    ///
    /// # Errors
    /// [`PatternError`] says why it does not compile, and of a syntax error where in the text it
    /// is.
    pub fn new(text: impl Into<String>) -> Result<Self, PatternError> {
        let pattern = Self(text.into());
        pattern.check()?;
        Ok(pattern)
    }

    /// The expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn check(&self) -> Result<(), PatternError> {
        self.compiled(|compiled| compiled.regex.as_ref().map(drop).map_err(Clone::clone))
    }

    /// Whether it is found in a text; `true` if it does not compile.
    pub(crate) fn is_found_in(&self, text: &str) -> bool {
        self.compiled(|compiled| match &compiled.regex {
            Ok(regex) => regex.is_match(text),
            Err(error) => {
                compiled.told.call_once(|| {
                    tracing::warn!(target: "atp_core", %error, "a pattern of a question is skipped");
                });
                true
            }
        })
    }

    fn compiled<R>(&self, with: impl FnOnce(&Compiled) -> R) -> R {
        // What is too long to be compiled is not kept either.
        if self.0.len() > Self::MAX_LEN {
            static TOO_LONG: Compiled = Compiled { regex: Err(PatternError::TooLong), told: Once::new() };
            return with(&TOO_LONG);
        }
        COMPILED.with(
            &self.0,
            || Compiled { regex: compile(&self.0, Self::MAX_SIZE), told: Once::new() },
            with,
        )
    }
}

static COMPILED: Cache<Compiled, { limits::PATTERNS }> = Cache::new();

struct Compiled {
    regex: Result<Regex, PatternError>,
    /// Whether the log knows that it is skipped.
    told: Once,
}

/// Why a pattern does not compile.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It has more than [`Pattern::MAX_LEN`] bytes.
    #[error("is longer than {} bytes", Pattern::MAX_LEN)]
    TooLong,
    /// It would take more than [`Pattern::MAX_SIZE`].
    #[error(
        "takes more than {} MiB when it is compiled: repeat fewer times, or a smaller class",
        Pattern::MAX_SIZE >> 20
    )]
    TooLarge,
    /// It is no expression of the crate `regex`, which has neither look-around nor back-references.
    #[error("is no regular expression of the `regex` crate: {fault}, at character {place}{advice}")]
    Syntax {
        /// What is wrong, on one line.
        fault: String,
        /// The character of the pattern, from 1, at which it is wrong.
        place: usize,
        /// What to do instead, or empty.
        advice: &'static str,
    },
}

/// Compiles a pattern as ECMA-262 reads it.
pub(crate) fn compile(pattern: &str, max_size: usize) -> Result<Regex, PatternError> {
    let regex = RegexBuilder::new(&in_ascii(pattern)).size_limit(max_size).build();
    regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        error => syntax_error(pattern, &error),
    })
}

/// A syntax error of one line. Those of `regex` draw the pattern and point at the place.
fn syntax_error(pattern: &str, error: &regex::Error) -> PatternError {
    use regex_syntax::ast::ErrorKind::{UnsupportedBackreference, UnsupportedLookAround};

    let whole = || {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
    };
    let (fault, span, advice) = match regex_syntax::Parser::new().parse(pattern) {
        Err(regex_syntax::Error::Parse(error)) => {
            let advice = match error.kind() {
                UnsupportedLookAround => {
                    ": judge in the handler what must or must not stand beside it, since linear time allows no look-around"
                }
                UnsupportedBackreference => {
                    ": judge in the handler what must stand there twice, since linear time allows no back-references"
                }
                _ => "",
            };
            (error.kind().to_string(), *error.span(), advice)
        }
        Err(regex_syntax::Error::Translate(error)) => (error.kind().to_string(), *error.span(), ""),
        _ => return PatternError::Syntax { fault: whole(), place: 1, advice: "" },
    };
    let before = pattern.get(..span.start.offset).unwrap_or_default();
    PatternError::Syntax { fault, place: before.chars().count() + 1, advice }
}

/// The pattern with the short classes of ECMA-262 spelled out; itself if it is none.
pub(crate) fn in_ascii(pattern: &str) -> String {
    let parsed = ast::parse::Parser::new().parse(pattern);
    let spelled = parsed.map(|ast| ast::visit(&ast, Spelling::default()));
    let Ok(Ok(mut spelled)) = spelled else { return pattern.to_owned() };
    if spelled.dot_is_any {
        spelled.classes.retain(|(_, text)| text != NO_LINE_END);
    }
    let (mut out, mut from) = (String::with_capacity(pattern.len()), 0);
    for (span, text) in spelled.classes {
        out.push_str(pattern.get(from..span.start.offset).unwrap_or_default());
        out.push_str(&text);
        from = span.end.offset;
    }
    out.push_str(pattern.get(from..).unwrap_or_default());
    out
}

/// Ranges and not single characters at the end, so that a hyphen that follows is one.
const DIGITS: [&str; 2] = ["0-9", r"\x{0}-\x{2f}\x{3a}-\x{10ffff}"];
const WORDS: [&str; 2] =
    ["A-Z_a-z0-9", r"\x{0}-\x{2f}\x{3a}-\x{40}\x{5b}-\x{5e}\x{60}-\x{60}\x{7b}-\x{10ffff}"];
const SPACES: [&str; 2] = [
    r"\x{9}-\x{d}\x{20}-\x{20}\x{a0}-\x{a0}\x{1680}-\x{1680}\x{2000}-\x{200a}\x{2028}-\x{2029}\x{202f}-\x{202f}\x{205f}-\x{205f}\x{3000}-\x{3000}\x{feff}-\x{feff}",
    r"\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}",
];
const NO_LINE_END: &str = r"[^\n\r\x{2028}\x{2029}]";

/// What stands for what, in the order of the text.
#[derive(Default)]
struct Spelling {
    classes: Vec<(Span, String)>,
    /// A flag `s` is somewhere.
    dot_is_any: bool,
}

impl Spelling {
    fn class(class: &ClassPerl) -> &'static str {
        let [plain, negated] = match class.kind {
            ClassPerlKind::Digit => DIGITS,
            ClassPerlKind::Space => SPACES,
            ClassPerlKind::Word => WORDS,
        };
        if class.negated { negated } else { plain }
    }

    fn flags(&mut self, items: &[FlagsItem]) {
        self.dot_is_any |= items.iter().any(|item| item.kind == FlagsItemKind::Flag(Flag::DotMatchesNewLine));
    }
}

impl ast::Visitor for Spelling {
    type Output = Self;
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<Self, Self::Err> {
        Ok(self)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.classes.push((class.span, format!("[{}]", Self::class(class)))),
            Ast::Dot(span) => self.classes.push((**span, NO_LINE_END.to_owned())),
            Ast::Assertion(assertion) => match **assertion {
                Assertion { span, kind: AssertionKind::WordBoundary } => {
                    self.classes.push((span, r"(?-u:\b)".to_owned()));
                }
                Assertion { span, kind: AssertionKind::NotWordBoundary } => {
                    self.classes.push((span, r"(?-u:\B)".to_owned()));
                }
                Assertion { .. } => {}
            },
            Ast::Flags(flags) => self.flags(&flags.flags.items),
            Ast::Group(group) => {
                if let Some(flags) = group.flags() {
                    self.flags(&flags.items);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        if let ClassSetItem::Perl(class) = item {
            self.classes.push((class.span, Self::class(class).to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As V8 says: `new RegExp(pattern).test(text)`.
    #[test]
    fn short_classes_are_those_of_a_browser() {
        for (pattern, text, found) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "１", false),
            (r"^\D$", "１", true),
            (r"^\D$", "1", false),
            (r"^\w+$", "a_Z9", true),
            (r"^\w+$", "é", false),
            (r"^\W$", "é", true),
            (r"^[\d.]+$", "1.5", true),
            (r"^[\d.]+$", "١", false),
            (r"^[\w-]+$", "a-b", true),
            (r"^[\w.-]+$", "a-b.", true),
            (r"^[\w.-]+$", "a/b", false),
            (r"^[^\d]$", "１", true),
            (r"^[^\W]$", "é", false),
            (r"^[\D5]$", "5", true),
            (r"^[\D5]$", "6", false),
            (r"\bb", "éb", true),
            (r"\Bb", "éb", false),
            (r"^\\d$", r"\d", true),
            (r"^\\d$", "1", false),
            (r"^\\\d$", r"\1", true),
            (r"(?x)^ \d # \d", "1", true),
            (r"(?x)^ \d [\d ] $", "12", true),
            (r"^\s$", "\u{feff}", true),
            (r"^\s$", "\u{85}", false),
            (r"^\S$", "\u{85}", true),
            (r"^[\S]$", "\u{2003}", false),
            (r"^.$", "\r", false),
            (r"^.$", "\u{2028}", false),
            (r"^.$", "😀", true),
            (r"(?s)^.$", "\r", true),
            (r"^[.]$", "a", false),
            (r"^\.$", "a", false),
            (r"^\p{L}$", "é", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_found_in(text), found, "{pattern} {text:?}");
        }
    }

    #[test]
    fn what_takes_too_much_is_refused_when_it_is_made() {
        assert!(Pattern::new(r"[\p{L}\p{M} .'-]{1,100}").is_ok());
        for (pattern, error) in [
            (r"\p{L}{1,1000}".to_owned(), "takes more than 8 MiB"),
            (r"((\p{L}{50}){50}){50}".to_owned(), "takes more than 8 MiB"),
            ("a".repeat(10_001), "is longer than 10000 bytes"),
            ("(?!a)".to_owned(), "is no regular expression"),
            ("[".to_owned(), "is no regular expression"),
            ("(".repeat(5000), "is no regular expression"),
        ] {
            let told = Pattern::new(pattern.clone()).unwrap_err().to_string();
            assert!(told.starts_with(error), "{pattern:.40}: {told:.200}");
            assert!(Pattern(pattern).is_found_in("from elsewhere"));
        }
    }

    #[test]
    fn an_error_is_one_line_with_the_place_and_what_to_do() {
        for (pattern, place, advice) in [
            ("^(?!admin)", "at character 2: ", "look-around"),
            ("é(?<=a)", "at character 2: ", "look-around"),
            (r"(a)\1", "at character 4: ", "back-references"),
            ("a[", "at character 2", ""),
            ("a\nb(", "at character 4", ""),
            (r"\p{Nonsense}", "at character 1", ""),
        ] {
            let told = Pattern::new(pattern).unwrap_err().to_string();
            assert!(told.contains(place) && told.contains(advice), "{pattern:?}: {told}");
            assert_eq!(told.lines().count(), 1, "{pattern:?}: {told}");
            assert_eq!(told.contains("in the handler"), !advice.is_empty(), "{pattern:?}: {told}");
        }
    }
}
