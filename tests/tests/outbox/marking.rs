//! When an event counts as sent.

use std::{sync::Arc, time::Duration};

use atp_actix::{
    Relay, SendError, Sink,
    store::{Event, Outbox, Outgoing},
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::support::databases::on_every_store;

on_every_store!(an_event_waits_in_the_store_until_its_sink_has_it);

/// Takes an event once it is let go, and tells when it was given one.
struct Slow {
    given: mpsc::UnboundedSender<String>,
    let_go: Arc<Notify>,
}

impl Sink for Slow {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let _ = self.given.send(outgoing.event.id.clone());
        self.let_go.notified().await;
        Ok(())
    }
}

/// A relay that said so before would lose what it is sending when it dies.
async fn an_event_waits_in_the_store_until_its_sink_has_it(store: impl Outbox) {
    let (given, mut told) = mpsc::unbounded_channel();
    let let_go = Arc::new(Notify::new());
    let sink = Slow { given, let_go: Arc::clone(&let_go) };
    let event = Event::new("orders.shipped", 7).expect("JSON").id("shipped").to("bus");
    store.emit(&event).await.expect("an answer");
    let relay = Relay::new(store.clone()).sink("bus", sink).start();
    let id = timeout(Duration::from_secs(20), told.recv()).await.expect("it is sent");
    assert_eq!(id.as_deref(), Some("shipped"));
    let lag = store.lag().await.expect("an answer");
    assert_eq!(lag.iter().map(|lag| lag.waiting).collect::<Vec<_>>(), [1], "its sink does not have it yet");
    let_go.notify_one();
    relay.stop().await;
    assert!(store.lag().await.expect("an answer").is_empty(), "its sink has it");
}
