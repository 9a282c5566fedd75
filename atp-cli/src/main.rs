//! The command `atp`.

use std::process::ExitCode;

use atp_cli::commands::Atp;
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    Atp::parse().run().await
}
