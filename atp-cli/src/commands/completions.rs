//! `atp completions`: what makes a shell complete the command.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::{End, Failure, Output};

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atp completions bash > atp.bash")]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Of this command, with all that are in it.
    pub(super) fn run(&self, mut whole: Command) -> Result<End, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut whole, "atp", &mut script);
        Output::verbatim(&String::from_utf8_lossy(&script))?;
        Ok(End::Done)
    }
}
