//! `atp man`: the manual, as roff.

use clap::{Args, Command};
use clap_mangen::Man as Page;

use super::output::{End, Failure, Output};

/// Which page.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atp man send > atp-send.1")]
pub(super) struct Man {
    /// The command that the page is about [default: all of `atp`].
    command: Option<String>,
}

impl Man {
    /// Of this command, with all that are in it.
    pub(super) fn run(&self, mut whole: Command) -> Result<End, Failure> {
        whole.build();
        let command = match &self.command {
            None => whole,
            Some(name) => {
                let found = whole.find_subcommand(name).cloned();
                found
                    .ok_or_else(|| Failure::Usage(format!("there is no command {name:?}: see atp --help")))?
            }
        };
        let mut page = Vec::new();
        let rendered = Page::new(command).render(&mut page);
        rendered.map_err(|error| Failure::Unable(format!("the page cannot be made: {error}")))?;
        Output::verbatim(&with_example_as_written(&String::from_utf8_lossy(&page)))?;
        Ok(End::Done)
    }
}

/// The same page. What is filled and hyphenated is not what works when it is copied.
fn with_example_as_written(page: &str) -> String {
    let (mut text, mut is_example) = (String::with_capacity(page.len()), false);
    for line in page.lines() {
        if is_example && line.starts_with(".SH") {
            text.push_str(".fi\n");
            is_example = false;
        }
        text.push_str(line);
        text.push('\n');
        if line == "Example:" {
            text.push_str(".nf\n");
            is_example = true;
        }
    }
    if is_example {
        text.push_str(".fi\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_an_example_is_not_filled() {
        for (page, expected) in [
            ("a\nExample:\n  b \\\\\n    c\n", "a\nExample:\n.nf\n  b \\\\\n    c\n.fi\n"),
            ("Example:\n  b\n.SH VERSION\nc\n", "Example:\n.nf\n  b\n.fi\n.SH VERSION\nc\n"),
            ("a\n", "a\n"),
        ] {
            assert_eq!(with_example_as_written(page), expected, "{page:?}");
        }
    }
}
