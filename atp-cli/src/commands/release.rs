//! `atp release`: parked events, let go again.

use std::fmt;

use atp_actix::store::{Outbox, StoreError};
use clap::Args;
use serde::Serialize;

use super::{
    database::{DatabaseArgs, failed, with_store},
    output::{End, Failure, Output, Shown},
    parked::all,
};

/// Which events.
#[derive(Debug, Args)]
#[command(
    after_help = "A relay of the service sends them; this command only lets it try again, with as many attempts \
as for a new event.

Example:
  atp release --sink bus --all --database sqlite:atp.sqlite"
)]
pub(super) struct Release {
    /// The sink that the event is parked at.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// The place of the event, as `atp parked` lists it.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    seq: Option<i64>,
    /// Releases all that are parked at the sink.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What was done.
#[derive(Serialize)]
struct Released<'a> {
    sink: &'a str,
    released: Vec<i64>,
}

impl Release {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        with_store!(self.database, store => self.release(&store, output))
    }

    async fn release(&self, store: &impl Outbox, output: Output) -> Result<End, Failure> {
        let sink = &*self.sink;
        let mut released = Vec::new();
        if let Some(seq) = self.seq {
            store.release(sink, seq).await.map_err(failed)?;
            released.push(seq);
        } else {
            for row in all(store, sink).await? {
                match store.release(sink, row.seq).await {
                    Ok(()) => released.push(row.seq),
                    // Somebody else was faster.
                    Err(StoreError::NotParked { .. }) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        output.print(&Released { sink, released })?;
        Ok(End::Done)
    }
}

impl fmt::Display for Released<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sink, released } = self;
        let places: Vec<String> = released.iter().map(i64::to_string).collect();
        match &*places {
            [] => write!(f, "nothing is parked at the sink {}", Shown(sink)),
            places => write!(f, "released at the sink {}: {}", Shown(sink), places.join(", ")),
        }
    }
}
