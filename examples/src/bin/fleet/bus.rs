//! The stream of NATS JetStream that is told of each decision.

use std::{collections::BTreeMap, time::Duration};

use atp_actix::async_nats::{
    Client,
    jetstream::{
        self, Context,
        stream::{Config, Stream},
    },
};
use atp_examples::Failure;
use serde::Deserialize;

/// A stream for all that is published under a first token of its own.
pub struct Bus {
    jetstream: Context,
    stream: Stream,
    pub name: String,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    notification_id: String,
}

/// What a consumer of the stream would find.
pub struct Told {
    pub messages: u64,
    /// By the ids that consumers know an event by: the notification that it is about.
    pub decisions: BTreeMap<String, String>,
}

impl Bus {
    /// Makes the stream.
    pub async fn make(client: &Client, name: &str) -> Result<Self, Failure> {
        let jetstream = jetstream::new(client.clone());
        let config = Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.>")],
            // Longer than anything here may take, so that what is sent again is known.
            duplicate_window: Duration::from_mins(10),
            ..Config::default()
        };
        let stream = jetstream
            .create_stream(config)
            .await
            .map_err(|error| Failure::new(format!("cannot make the stream {name} at NATS_URL: {error}")))?;
        Ok(Self { jetstream, stream, name: name.to_owned() })
    }

    /// How many messages it has.
    pub async fn len(&self) -> Result<u64, Failure> {
        Ok(self.stream.get_info().await?.state.messages)
    }

    /// Reads it from its beginning.
    pub async fn read(&self) -> Result<Told, Failure> {
        let state = self.stream.get_info().await?.state;
        let mut decisions = BTreeMap::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = self.stream.get_raw_message(sequence).await?;
            let id = message.headers.get("ce-id").map(ToString::to_string);
            let id = id.ok_or_else(|| Failure::new(format!("message {sequence} of the stream has no id")))?;
            let event: Event = serde_json::from_slice(&message.payload)?;
            decisions.insert(id, event.metadata.notification_id);
        }
        Ok(Told { messages: state.messages, decisions })
    }

    /// Forgets it all.
    pub async fn drop(self) -> Result<(), Failure> {
        self.jetstream.delete_stream(self.name).await?;
        Ok(())
    }
}
