//! A sink that sends over a socket to the process that started this one.

use std::{env, sync::Arc, time::Duration};

use atp_actix::{
    Relay, RunningRelay, SendError, Sink,
    store::{Outbox, Outgoing},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{desk, killing::Point};

/// How many events a relay has under way, and so how many a kill may leave.
pub const AT_ONCE: u32 = 4;

/// What is sent of an event: a line of JSON.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The event's id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Its data.
    pub data: String,
    /// Which attempt this is.
    pub attempt: u32,
    /// Who sends.
    pub process: u32,
}

/// Sends each event over a connection of its own; the receiver says that it has it with a line.
pub struct Socket {
    address: String,
    point: Arc<Point>,
}

impl Socket {
    /// To this address.
    pub fn new(address: impl Into<String>, point: Arc<Point>) -> Self {
        Self { address: address.into(), point }
    }

    async fn say(&self, outgoing: &Outgoing) -> std::io::Result<bool> {
        let event = &outgoing.event;
        let line = Line {
            id: event.id.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone().unwrap_or_default(),
            data: event.data.clone(),
            attempt: outgoing.attempt,
            process: std::process::id(),
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        let mut stream = TcpStream::connect(&self.address).await?;
        self.point.reached("before send");
        let (start, end) = line.split_at(line.len() / 2);
        stream.write_all(start).await?;
        self.point.reached("in send");
        stream.write_all(end).await?;
        self.point.reached("sent");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        self.point.reached("acknowledged");
        Ok(answer == "ok\n")
    }
}

impl Sink for Socket {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        match self.say(outgoing).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SendError::again("not acknowledged")),
            Err(error) => Err(SendError::away(error.to_string())),
        }
    }
}

/// Starts a relay to the receiver that `VICTIM_SINK` names, if it does, and to the desk of
/// `VICTIM_DESK`.
pub fn relay(store: &impl Outbox, point: &Arc<Point>) -> Option<RunningRelay> {
    let address = env::var("VICTIM_SINK").ok()?;
    let relay = Relay::new(store.clone()).sink("bus", Socket::new(address, Arc::clone(point)));
    let relay = relay.concurrency(AT_ONCE).poll(Duration::from_millis(100));
    // What a kill leaves leased is free again soon.
    let relay = relay.send_within(Duration::from_secs(2));
    let Some(desk) = desk::sink(store) else { return Some(relay.start()) };
    // That a killed desk is back is seen soon, however often it was killed under the same event.
    let (soon, later) = (Duration::from_millis(50), Duration::from_millis(300));
    let relay = relay.sink("atp", desk).pause(soon, later).backoff(soon, later).attempts(u32::MAX);
    Some(relay.send_within(Duration::from_secs(1)).start())
}
