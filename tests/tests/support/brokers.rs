//! Servers of NATS with JetStream of one's own, to be killed and started again.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions,
    jetstream::{
        self,
        message::StreamMessage,
        stream::{Config, Stream},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::databases::unique;

/// A server with a folder of its own, gone with it. A machine without the program skips, and says
/// so; continuous integration must not.
pub(crate) struct Broker {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Broker {
    pub(crate) async fn new() -> Option<Self> {
        let mut broker = Self::not_started().await?;
        broker.start().await;
        Some(broker)
    }

    pub(crate) async fn not_started() -> Option<Self> {
        if !Command::new("nats-server").arg("--version").output().is_ok_and(|output| output.status.success())
        {
            assert!(
                env::var_os("CI").is_none(),
                "nats-server is not installed, and CI must not skip what it proves"
            );
            eprintln!("SKIPPED: nats-server is not installed, so nothing was published");
            return None;
        }
        let folder = env::temp_dir().join(unique());
        fs::create_dir_all(&folder).expect("a folder");
        let port =
            TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
        Some(Self { folder, port, process: None })
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) async fn start(&mut self) {
        let process = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("nats-server"));
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("nats-server does not listen on port {}", self.port);
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// A client that connects when it can.
    pub(crate) async fn client(&self) -> Client {
        let options = ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50));
        options.connect(format!("nats://127.0.0.1:{}", self.port)).await.expect("a client")
    }

    /// A client that is connected.
    pub(crate) async fn connected(&self) -> Client {
        let client = self.client().await;
        client.flush().await.expect("a connection");
        client
    }

    /// Makes a stream that takes these subjects.
    pub(crate) async fn stream(&self, name: &str, subjects: &str) -> Log {
        self.stream_with(Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            ..Config::default()
        })
        .await
    }

    pub(crate) async fn stream_with(&self, config: Config) -> Log {
        let jetstream = jetstream::new(self.connected().await);
        Log(jetstream.create_stream(config).await.expect("a stream"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A stream, as far as it is read.
pub(crate) struct Log(pub(crate) Stream);

impl Log {
    pub(crate) async fn len(&self) -> u64 {
        self.0.get_info().await.expect("the stream").state.messages
    }

    /// Everything in it, in its order.
    pub(crate) async fn messages(&self) -> Vec<StreamMessage> {
        let state = self.0.get_info().await.expect("the stream").state;
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            messages.push(self.0.get_raw_message(sequence).await.expect("a message"));
        }
        messages
    }

    /// The events in it, in its order, as [`header`] has their `Nats-Msg-Id`.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let messages = self.messages().await;
        messages.iter().map(|message| header(message, "Nats-Msg-Id").expect("an id").to_owned()).collect()
    }
}

pub(crate) fn header<'a>(message: &'a StreamMessage, name: &'static str) -> Option<&'a str> {
    message.headers.get(name).map(async_nats::HeaderValue::as_str)
}
