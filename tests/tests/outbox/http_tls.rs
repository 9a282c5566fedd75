//! Encrypted connections to a receiver that is not ours, and whose certificate is trusted or not.

use std::{
    env,
    io::{BufRead as _, BufReader, Lines},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use atp_actix::{
    HttpSink, SendError, Sink as _,
    store::{Event, Outgoing},
};

use crate::support::{databases::SqliteFile, external};

/// A certificate for `localhost` by an authority that nobody knows.
const CERTIFICATES: &str = "
    set -e; cd \"$1\"; new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
    openssl req $new -keyout key.pem -out request.pem -subj /CN=localhost
    echo subjectAltName=DNS:localhost > names
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2 -extfile names";

/// Prints its port, and then the body of each request.
const RECEIVER: &str = "
import http.server, ssl, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers['content-length'])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('own.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()";

struct Encrypted {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
    folder: SqliteFile,
}

impl Encrypted {
    fn start() -> Option<Self> {
        let python = external::python_with("ssl")?;
        let folder = SqliteFile::new();
        let made = Command::new("sh").args(["-c", CERTIFICATES, "sh"]).arg(folder.beside("")).output();
        let made = made.expect("a shell");
        if !made.status.success() {
            assert!(env::var_os("CI").is_none(), "openssl makes no certificates: {made:?}");
            eprintln!("SKIPPED: openssl makes no certificates here, so nothing was sent encrypted");
            return None;
        }
        let mut process = Command::new(python)
            .args(["-c", RECEIVER])
            .current_dir(folder.beside(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let port = lines.next().expect("a line").expect("a line").parse().expect("a port");
        Some(Self { process, lines, port, folder })
    }

    fn authority(&self) -> PathBuf {
        self.folder.beside("ca.pem")
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn send(host: &str, port: &str) -> Result<(), SendError> {
    let sink = HttpSink::new(format!("https://{host}:{port}/events")).expect("a sink");
    sink.send(&Outgoing::new(1, Event::new("kind", 7).expect("JSON").id("e-1").service("shop"))).await
}

#[actix_web::test]
async fn an_event_goes_to_who_has_a_certificate_of_the_machine_and_to_nobody_else() {
    let Some(mut receiver) = Encrypted::start() else { return };
    let port = receiver.port.to_string();
    let refused = send("localhost", &port).await;
    assert!(
        matches!(&refused, Err(SendError::Away { reason, .. }) if reason.contains("certificate")),
        "{refused:?}"
    );

    // Another process trusts that authority: what a process trusts is read when it begins.
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "outbox::http_tls::a_process_that_trusts_the_authority", "--ignored"])
        .env("SSL_CERT_FILE", receiver.authority())
        .env("ATP_TLS_PORT", &port)
        .output()
        .expect("this program");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let body = receiver.lines.next().expect("a line").expect("a line");
    assert!(body.starts_with(r#"{"specversion":"1.0","id":"e-1""#), "{body}");
}

#[actix_web::test]
#[ignore = "the case above runs it"]
async fn a_process_that_trusts_the_authority() {
    let Ok(port) = env::var("ATP_TLS_PORT") else { return };
    assert_eq!(send("localhost", &port).await, Ok(()));
    let refused = send("127.0.0.1", &port).await;
    assert!(
        matches!(&refused, Err(SendError::Away { reason, .. }) if reason.contains("not valid for name")),
        "{refused:?}"
    );
}
