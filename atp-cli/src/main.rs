//! The command `atp`.

use std::process::ExitCode;

use atp_cli::commands::Atp;

#[tokio::main]
async fn main() -> ExitCode {
    Atp::main().await
}
