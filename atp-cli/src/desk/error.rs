//! Why a desk does not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// A desk that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Its address is taken, or is not this machine's.
    #[error("the desk cannot listen on {address}: {error}")]
    Address {
        /// Where it should listen.
        address: SocketAddr,
        /// What is wrong.
        error: io::Error,
    },
    /// It would be open to other machines without a token for its page.
    #[error(
        "{0} can be reached from other machines: set the token that whoever opens the page must show (`Desk::page_token`; ATP_DESK_TOKEN for `atp desk`)"
    )]
    Open(SocketAddr),
    /// Its file is somebody else's, or cannot be written, or another desk has it.
    #[error("the desk cannot keep what it is told in {}: {why}", file.display())]
    File {
        /// Which it is.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It cannot keep anything in memory.
    #[error("the desk cannot keep what it is told: {0}")]
    Memory(#[from] sqlx::Error),
    /// It cannot send.
    #[error("the desk cannot send: {0}")]
    Client(#[from] reqwest::Error),
    /// It can send nothing encrypted.
    #[error("the desk cannot send: {0}")]
    Tls(String),
    /// It cannot have a thread.
    #[error("the desk cannot run: {0}")]
    Thread(io::Error),
}
