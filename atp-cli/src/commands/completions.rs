//! `atp completions`: what makes a shell complete the command.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{
    Atp,
    output::{End, Failure, Output},
};

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
    pub(super) fn run(&self) -> Result<End, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Atp::command(), "atp", &mut script);
        Output::verbatim(&String::from_utf8_lossy(&script))?;
        Ok(End::Done)
    }
}
