//! A real server on a real socket, and a client that sends the bytes it is told to.

use std::{io, net::SocketAddr, ops::Deref, sync::mpsc, thread, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, rt::System, web};
use atp_actix::test::SignedAnswer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Nothing here takes that long; a test that waits for more has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a free port of this machine, in a thread of its own. It stops when it is dropped.
pub(crate) struct Server {
    address: Address,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves what `configure` mounts, with this many workers.
    pub(crate) fn start(
        workers: usize,
        configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        Self::start_lingering(workers, Duration::from_secs(1), configure)
    }

    /// [`Server::start`] with another time than actix's own second for which it reads on after its
    /// last answer.
    pub(crate) fn start_lingering(
        workers: usize,
        linger: Duration,
        configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let (started, start) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let app = move || App::new().configure(configure.clone());
                let server = HttpServer::new(app).workers(workers).disable_signals().shutdown_timeout(1);
                let server = server.client_disconnect_timeout(linger);
                let server = server.bind("127.0.0.1:0").expect("a free port");
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).expect("somebody waits");
                server.await.expect("the server runs until it is stopped");
            });
        });
        let (address, handle) = start.recv().expect("the server starts");
        Self { address: Address(address), handle, thread: Some(thread) }
    }
}

impl Deref for Server {
    type Target = Address;

    fn deref(&self) -> &Address {
        &self.address
    }
}

/// Where a server listens, in this process or in another.
pub(crate) struct Address(pub(crate) SocketAddr);

impl Address {
    /// A new connection.
    pub(crate) async fn connect(&self) -> Client {
        self.try_connect().await.expect("a connection")
    }

    /// A new connection, if somebody listens.
    pub(crate) async fn try_connect(&self) -> Option<Client> {
        Some(Client { stream: TcpStream::connect(self.0).await.ok()?, received: Vec::new() })
    }

    /// The answer to one request on a connection of its own. What the server does not want to read
    /// is not an error.
    pub(crate) async fn exchange(&self, request: &[u8]) -> Option<Answer> {
        let mut client = self.connect().await;
        let _ = client.send(request).await;
        client.answer().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The command is sent by the call; the future only waits for its end.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server's thread panicked");
        }
    }
}

/// One response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The status line and the headers as they came.
    pub(crate) head: Vec<u8>,
}

impl Answer {
    /// The first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the head or the body holds this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        holds(&self.head) || holds(&self.body)
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Sends these bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Ends the sending side alone.
    pub(crate) async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next final response; `None` if the connection ends before a whole one has come.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.read(true).await?;
            if answer.status >= 200 {
                return Some(answer);
            }
        }
    }

    /// The next response, which may be an interim one.
    pub(crate) async fn interim(&mut self) -> Option<Answer> {
        self.read(true).await
    }

    /// The next response to a HEAD, which has no body whatever its length says.
    pub(crate) async fn answer_to_head(&mut self) -> Option<Answer> {
        self.read(false).await
    }

    async fn read(&mut self, with_body: bool) -> Option<Answer> {
        let end = loop {
            match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.more().await?,
            }
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers: Vec<_> = lines.filter_map(header).collect();
        let mut answer = Answer { status, headers, body: Vec::new(), head };
        if with_body && status >= 200 && status != 204 {
            let length: usize = answer.header("content-length").expect("a length").parse().expect("a number");
            while self.received.len() < length {
                self.more().await?;
            }
            answer.body = self.received.drain(..length).collect();
        }
        Some(answer)
    }

    /// Whether the server ends the connection, without another byte, in this time.
    pub(crate) async fn is_closed_within(&mut self, time: Duration) -> bool {
        self.received.is_empty() && matches!(timeout(time, self.more()).await, Ok(None))
    }

    /// Reads what comes next; `None` at the end of the connection, be it closed or reset.
    async fn more(&mut self) -> Option<()> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        match read.expect("an answer or the end of the connection, in time") {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

/// A request with these headers and this body. Its length is announced unless a header says how it
/// comes.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(impl AsRef<str>, impl AsRef<[u8]>)],
    body: &[u8],
) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    let mut framed = false;
    for (name, value) in headers {
        let name = name.as_ref();
        framed |=
            ["content-length", "transfer-encoding"].iter().any(|known| name.eq_ignore_ascii_case(known));
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_ref());
        request.extend_from_slice(b"\r\n");
    }
    if !framed {
        request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}

/// This delivery as a POST to this path.
pub(crate) fn post(path: &str, answer: &SignedAnswer) -> Vec<u8> {
    let (headers, body) = answer.to_parts();
    request("POST", path, &headers, &body)
}
