//! A server in a process of its own, to be killed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use atp_actix::{
    atp_core::{Action, Notification, TextRules},
    store::Question,
    test::SignedAnswer,
};
use atp_tests::PATH;
use tokio::time::timeout;

use crate::support::server::{self, Address};

/// A server in a process of its own.
pub(crate) struct Victim {
    process: Child,
    address: Address,
}

impl Victim {
    pub(crate) fn start(database: &str, kill: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
        command.arg(database).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(point) = kill {
            command.args(["--kill", point]);
        }
        Self::spawn(command)
    }

    /// Writes each run of a handler into this file.
    pub(crate) fn counting(database: &str, runs: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
        command.arg(database).env("VICTIM_RUNS", runs).stdout(Stdio::piped()).stderr(Stdio::null());
        Self::spawn(command)
    }

    /// Sends to a receiver.
    pub(crate) fn sending(database: &str, receiver: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
        command.arg(database).args(arguments).env("VICTIM_SINK", receiver);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().expect("the program");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().unwrap_or_else(|_| panic!("no address but {line:?}"));
        Self { process, address: Address(address) }
    }

    /// The status, if it lived to answer.
    pub(crate) async fn deliver(&self, sent: &SignedAnswer) -> Option<u16> {
        let mut client = timeout(Duration::from_secs(5), self.address.try_connect()).await.ok()??;
        client.send(&server::post(PATH, sent)).await.ok()?;
        Some(client.answer().await?.status)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a state").is_some()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The question whose actions it handles.
pub(crate) fn question(id: &str) -> Question {
    let notification = Notification::new("Deploy?", "Version 2.1.0 is ready.")
        .id(id)
        .action(Action::simple("approve", "Approve"))
        .action(Action::text("reject", "Reject", TextRules::new()));
    Question::new(notification)
}
