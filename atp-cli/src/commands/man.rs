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
        Output::verbatim(&String::from_utf8_lossy(&page))?;
        Ok(End::Done)
    }
}
