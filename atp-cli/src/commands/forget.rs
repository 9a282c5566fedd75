//! `atp forget`: a parked event, given up.

use std::fmt;

use atp_actix::store::Outbox;
use clap::Args;
use serde::Serialize;

use super::{
    database::{DatabaseArgs, failed, with_store},
    output::{End, Failure, Output, Shown},
};

/// Which event: one, since it cannot be had back.
#[derive(Debug, Args)]
#[command(
    after_help = "It is never sent to this sink, and what waits behind it is. Other sinks still get it.

Example:
  atp forget --sink bus 1 --database sqlite:atp.sqlite"
)]
pub(super) struct Forget {
    /// The sink that the event is parked at.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// The place of the event, as `atp parked` lists it.
    seq: i64,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What was done.
#[derive(Serialize)]
struct Forgotten<'a> {
    sink: &'a str,
    forgotten: i64,
}

impl Forget {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        with_store!(self.database, store => self.forget(&store, output))
    }

    async fn forget(&self, store: &impl Outbox, output: Output) -> Result<End, Failure> {
        store.forget(&self.sink, self.seq).await.map_err(failed)?;
        output.print(&Forgotten { sink: &self.sink, forgotten: self.seq })?;
        Ok(End::Done)
    }
}

impl fmt::Display for Forgotten<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "given up at the sink {}: {}", Shown(self.sink), self.forgotten)
    }
}
