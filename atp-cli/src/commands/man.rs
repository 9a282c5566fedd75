//! `atp man`: the manual, as roff.

use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;

use super::{
    Atp,
    output::{End, Failure, Output},
};

/// Which page.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atp man send > atp-send.1")]
pub(super) struct Man {
    /// The command that the page is about [default: all of `atp`].
    command: Option<String>,
}

impl Man {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let mut whole = Atp::command();
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
