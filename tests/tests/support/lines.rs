//! Receives what the relays of other processes send.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use actix_web::rt;
use atp_tests::socket::Line;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// On a port of its own, until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: String,
    received: Rc<RefCell<Vec<Line>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Looks at each event before it takes it.
    pub(crate) async fn new(look: impl AsyncFn(&Line) + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let received = Rc::<RefCell<Vec<Line>>>::default();
        let (look, taken) = (Rc::new(look), Rc::clone(&received));
        let task = rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (look, taken) = (Rc::clone(&look), Rc::clone(&taken));
                rt::spawn(async move { take(stream, &*look, &taken).await });
            }
        });
        Self { address, received, task }
    }

    /// What was received, repeats too.
    pub(crate) fn received(&self) -> Vec<Line> {
        self.received.borrow().clone()
    }

    /// How much was received, without repeats and with them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let received = self.received.borrow();
        let ids: std::collections::BTreeSet<&str> = received.iter().map(|line| &*line.id).collect();
        (ids.len(), received.len())
    }

    /// The events without the repeats, in the order in which they came first; each must be the same
    /// whenever it comes.
    pub(crate) fn events(&self) -> Vec<Line> {
        let (mut first, mut events) = (BTreeMap::new(), Vec::new());
        for line in self.received() {
            let seen = first.entry(line.id.clone()).or_insert_with(|| {
                events.push(line.clone());
                line.clone()
            });
            let bare = |line: &Line| (line.kind.clone(), line.subject.clone(), line.data.clone());
            assert_eq!(bare(seen), bare(&line), "{}: other bytes", line.id);
        }
        events
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What breaks off in the middle is nothing.
async fn take(mut stream: TcpStream, look: &impl AsyncFn(&Line), taken: &RefCell<Vec<Line>>) {
    let mut text = String::new();
    let read = BufReader::new(&mut stream).read_line(&mut text).await;
    if read.is_err() || !text.ends_with('\n') {
        return;
    }
    let line: Line = serde_json::from_str(&text).expect("a line as it was sent");
    look(&line).await;
    taken.borrow_mut().push(line);
    let _ = stream.write_all(b"ok\n").await;
}
