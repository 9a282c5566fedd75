//! Somebody who takes events over HTTP: a real server, or one that answers what it is told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    rt, web,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::server::Server;

/// One request that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Taken {
    /// The only header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let (_, value) = values.next()?;
        assert!(values.next().is_none(), "two headers {name} in {:?}", self.headers);
        Some(value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// A server that notes what it takes at `/events`.
pub(crate) struct Receiver {
    server: Server,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Receiver {
    /// Answers with these statuses in turn, and then with 204.
    pub(crate) fn answering(statuses: &'static [u16]) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&taken);
        let server = Server::start(1, move |config| {
            let noted = Arc::clone(&noted);
            let events = move |request: HttpRequest, body: web::Bytes| {
                let header = |(name, value): (&HeaderName, &HeaderValue)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                };
                let headers = request.headers().iter().map(header).collect();
                let mut noted = noted.lock().expect("nobody panicked");
                let status = statuses.get(noted.len()).copied().unwrap_or(204);
                noted.push(Taken { headers, body: body.to_vec() });
                let status = StatusCode::from_u16(status).expect("a status");
                async move { HttpResponse::build(status).finish() }
            };
            config.route("/events", web::post().to(events));
        });
        Self { server, taken }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.server.0)
    }

    /// What was taken until now.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("nobody panicked").clone()
    }
}

/// What a server of bytes does once it has written its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Closes the connection.
    Close,
    /// Keeps it open and says nothing more.
    Hang,
    /// Goes on with this, for ever and as fast as it can.
    Flood(&'static [u8]),
    /// Goes on with this, a byte now and then.
    Trickle(&'static [u8]),
}

/// A server that reads requests up to a body that ends like this, and answers each with these bytes.
pub(crate) struct Bytes {
    pub(crate) address: SocketAddr,
    /// How many bytes it could write in all.
    written: Arc<AtomicUsize>,
    task: rt::task::JoinHandle<()>,
}

impl Bytes {
    pub(crate) async fn answering(end: &'static [u8], answer: &'static [u8], then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let written = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&written);
        let task = rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                rt::spawn(async move {
                    // The client may be gone at any time.
                    let _ = answer_one(stream, end, answer, then, &counter).await;
                });
            }
        });
        Self { address, written, task }
    }

    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_one(
    mut stream: TcpStream,
    end: &[u8],
    answer: &[u8],
    then: Then,
    written: &AtomicUsize,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(end) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer).await?;
    written.fetch_add(answer.len(), Ordering::Relaxed);
    match then {
        Then::Close => {}
        Then::Hang => drop(stream.read_buf(&mut request).await?),
        Then::Flood(part) => loop {
            stream.write_all(part).await?;
            written.fetch_add(part.len(), Ordering::Relaxed);
        },
        Then::Trickle(part) => {
            for byte in part.iter().cycle() {
                stream.write_all(&[*byte]).await?;
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    Ok(())
}
