//! The least of HTTP/1.1 that both sides of a flood need.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A connection that is kept alive.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come of the next reply.
    received: Vec<u8>,
}

/// What a server said.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Whether it ends the connection.
    pub(crate) closes: bool,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(1024) })
    }

    /// Sends a request and waits for what is said to it.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.send(request).await?;
        self.reply().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next reply. Nothing is lost if the wait for it is given up.
    pub(crate) async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, len)) = whole(&self.received) {
                self.received.drain(..len);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A reply that has come whole, and how many bytes it has.
fn whole(received: &[u8]) -> Option<(Reply, usize)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..end]).ok()?.to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let closes = header("connection:") == Some("close");
    (received.len() >= end + length).then_some((Reply { status, closes }, end + length))
}

/// A POST of this body to this path, with these lines among its headers, each with its line end.
pub(crate) fn post(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{lines}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
