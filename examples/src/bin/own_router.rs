//! `atp-core` in a server of any kind, here a loop over the standard library's sockets:
//! `ATP_WEBHOOK_SECRET=... cargo run --bin own_router`.
//!
//! `handle` is for routers that hand over a whole body, `handle_parts` for those that hand over its
//! parts. Below them is as much HTTP as they need, one request at a time.

use std::{
    io::{self, BufRead, BufReader, Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use atp_core::{
    Malformed, Response, ResponseType as _, Secret, Simple, Text, Verifier, VerifyError, Violations,
};
use atp_examples::{Failure, announce, port};

/// What is answered: the status and the body.
type Reply = (u16, String);

type Headers = Vec<(String, String)>;

/// Verifies a whole delivery and acts on it.
fn handle(verifier: &Verifier, headers: Headers, body: Vec<u8>) -> Result<String, Refused> {
    act_on(&verifier.verify(headers, body)?.decode()?)
}

/// The same for a body that is hashed while it arrives. What the head gives away, such as a time
/// too long ago, is refused before the body is read.
fn handle_parts(verifier: &Verifier, headers: Headers, mut body: impl Read) -> Result<String, Refused> {
    let mut verification = verifier.begin(headers)?;
    let mut part = [0; 4096];
    loop {
        let read = body.read(&mut part)?;
        if read == 0 {
            break;
        }
        verification.update(part[..read].to_vec());
    }
    act_on(&verification.finish()?.decode()?)
}

/// The work of this service. Nothing unverified gets here: there is no other way to a `Response`.
fn act_on(answer: &Response) -> Result<String, Refused> {
    let (id, data) = (&answer.notification_id, answer.response_data.as_ref());
    match answer.action_id.as_str() {
        "approve" => {
            Simple::read(data)?;
            Ok(format!("{id} is approved\n"))
        }
        "reject" => Ok(format!("{id} is rejected: {}\n", Text::read(data)?)),
        // It is delivered again after a 500, and by then the action may be known.
        other => Err(Refused::new(500, "Internal server error", format!("no such action: `{other}`"))),
    }
}

/// Why a delivery is not acted on. The sender learns never which part of a signature was wrong; the
/// log does.
struct Refused {
    status: u16,
    error: &'static str,
    reason: String,
}

impl Refused {
    fn new(status: u16, error: &'static str, reason: impl ToString) -> Self {
        Self { status, error, reason: reason.to_string() }
    }

    fn reply(&self) -> Reply {
        (self.status, format!("{{\"error\":\"{}\"}}", self.error))
    }
}

impl From<VerifyError> for Refused {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Malformed(malformed) => malformed.into(),
            error => Self::new(401, "Invalid signature", error),
        }
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::new(400, "Malformed payload", malformed)
    }
}

impl From<Violations> for Refused {
    fn from(violations: Violations) -> Self {
        Self::new(400, "The data does not fit the action", violations)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::new(400, "Incomplete body", error)
    }
}

fn main() -> Result<(), Failure> {
    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?);
    let listener = TcpListener::bind(("127.0.0.1", port()?))?;
    announce(&[listener.local_addr()?]);
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|stream| serve(stream, &verifier)) {
            eprintln!("a connection failed: {error}");
        }
    }
    Ok(())
}

/// One request on a connection of its own.
fn serve(stream: TcpStream, verifier: &Verifier) -> io::Result<()> {
    const WITHIN: Duration = Duration::from_secs(5);
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    let mut reader = BufReader::new(&stream);
    let (status, body) = match Head::read(&mut reader)? {
        Some(head) => head.reply(&mut reader, verifier)?,
        None => (400, String::new()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} \r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    (&stream).write_all((head + &body).as_bytes())?;
    // Closing with something unread could cost the sender our answer.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut reader.take(4 * Head::LIMIT), &mut io::sink()).map(drop)
}

/// The head of a request.
struct Head {
    method: String,
    path: String,
    headers: Headers,
}

impl Head {
    /// The most bytes of a head, and of a body.
    const LIMIT: u64 = 64 * 1024;

    /// `None` if it is not one.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = reader.take(Self::LIMIT).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let mut words = request.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let mut headers = Vec::new();
        for line in lines {
            let line = line?;
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None if line.is_empty() => return Ok(Some(Self { method, path, headers })),
                None => break,
            }
        }
        Ok(None)
    }

    fn reply(self, reader: impl Read, verifier: &Verifier) -> io::Result<Reply> {
        if self.method != "POST" {
            return Ok((405, String::new()));
        }
        let Some(length) = self.length() else { return Ok((411, String::new())) };
        if length > Self::LIMIT {
            return Ok((413, String::new()));
        }
        let mut body = reader.take(length);
        let outcome = match self.path.as_str() {
            "/atp/webhook" => {
                let mut whole = Vec::new();
                body.read_to_end(&mut whole)?;
                handle(verifier, self.headers, whole)
            }
            "/atp/parts" => handle_parts(verifier, self.headers, body),
            _ => return Ok((404, String::new())),
        };
        Ok(outcome.map_or_else(
            |refused| {
                eprintln!("refused: {}", refused.reason);
                refused.reply()
            },
            |done| (200, done),
        ))
    }

    fn length(&self) -> Option<u64> {
        let (_, length) =
            self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
        length.parse().ok()
    }
}
