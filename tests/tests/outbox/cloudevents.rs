//! A receiver that is not ours: Python, its package `cloudevents`, and `hmac`.

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use atp_actix::{
    HttpSink, Relay, Secret, SendError, Sink as _, Verifier,
    store::{Event, MemoryStore, Outbox as _, Outgoing, Routes},
};
use atp_tests::SECRET;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::external;

/// The receiver, a process of its own that ends with this.
struct Python {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Python {
    /// None where Python or the package is not there.
    fn start() -> Option<Self> {
        let python = external::python_with("cloudevents.core.bindings.http")?;
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outbox/receiver.py"))
            .env("ATP_WEBHOOK_SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let port = lines.next().expect("a line").expect("a line").parse().expect("a port");
        Some(Self { process, lines, port })
    }

    fn sink(&self, secret: &str) -> HttpSink {
        let sink = HttpSink::new(format!("http://127.0.0.1:{}/", self.port)).expect("a sink");
        sink.sign(Verifier::new(Secret::new(secret).expect("a secret")))
    }

    /// The next event that it took.
    fn event(&mut self) -> Value {
        let line = self.lines.next().expect("a line").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[actix_web::test]
async fn the_python_package_reads_both_modes_and_hmac_verifies_them() {
    let Some(mut python) = Python::start() else { return };
    let store = MemoryStore::new().routes(Routes::new().events("structured").events("binary"));
    let relay = Relay::new(store.clone())
        .sink("structured", python.sink(SECRET))
        .sink("binary", python.sink(SECRET).binary())
        .start();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (id, subject, data) in [
        ("e-1", "order-7", json!({ "order": 7, "net": 1.5 })),
        ("e \"2\"\r\n%41\0", "é 😀 \u{2028}", json!({ "text": "é\0\u{7f}\"\\ 😀", "none": null })),
        ("e-3", "%", json!([1, [2]])),
    ] {
        let event =
            Event::new("orders.shipped", &data).expect("JSON").id(id).service("shöp").subject(subject);
        let event =
            event.time("2026-01-02T03:04:05.000060Z".parse().expect("a time")).traceparent(trace.to_owned());
        store.emit(&event).await.expect("a store");
        while !store.lag().await.expect("a store").is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        let mut modes = Vec::new();
        for _ in 0..2 {
            let mut told = python.event();
            modes.push(told["mode"].take());
            let expected = json!({
                "id": id, "source": "/atp/sh%C3%B6p", "type": "orders.shipped", "subject": subject,
                "time": "2026-01-02T03:04:05.000060+00:00", "traceparent": trace, "data": data, "mode": null,
            });
            assert_eq!(told, expected);
        }
        modes.sort_by_key(ToString::to_string);
        assert_eq!(modes, ["binary", "structured"]);
    }
    relay.stop().await;

    let outgoing = Outgoing::new(1, Event::new("orders.shipped", 7).expect("JSON").service("shop"));
    let forged = python.sink("whsec_of_somebody_else_0123456789").send(&outgoing).await;
    assert!(matches!(&forged, Err(SendError::Away { reason, .. }) if reason.contains("401")), "{forged:?}");
}
