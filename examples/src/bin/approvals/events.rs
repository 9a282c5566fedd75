//! What other systems are told of each decision: here, whoever reads what this program prints.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use atp_actix::{
    Relay, RunningRelay, SendError, Sink,
    store::{Outgoing, Routes, SqliteStore},
};

/// The name of the one place that is told.
const OUTPUT: &str = "output";

/// Told of each decision, in the transaction that completes it.
pub fn routes() -> Routes {
    Routes::new().events(OUTPUT)
}

/// Sends what the store holds. It stays there for a week, for the page.
pub fn start(store: SqliteStore) -> RunningRelay {
    Relay::new(store).sink(OUTPUT, Output).keep_sent(Duration::from_hours(24 * 7)).start()
}

/// A line for each event. A real service would have `NatsSink`, `HttpSink`, or one of its own.
struct Output;

impl Sink for Output {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let event = &outgoing.event;
        writeln!(io::stdout(), "event {} {}", event.id, event.data)
            .map_err(|error| SendError::away(error.to_string()))
    }
}
