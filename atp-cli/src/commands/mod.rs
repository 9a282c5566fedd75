//! What `atp` can do: one file a command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A developer's tool for the Agent Triage Protocol.
#[derive(Debug, Parser)]
#[command(name = "atp", version, about, long_about = None)]
pub struct Atp {
    /// What is printed is JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

impl Atp {
    /// Does what was asked for.
    pub async fn run(self) -> ExitCode {
        match self.command {}
    }
}
