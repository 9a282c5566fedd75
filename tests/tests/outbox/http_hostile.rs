//! Receivers that answer anything, or nothing: no event is lost, and nobody waits for ever.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use actix_web::rt::time::sleep;
use atp_actix::{
    HttpSink, SendError, Sink as _,
    store::{Event, Outgoing},
};
use tokio::task::yield_now;

use crate::support::receiver::{Bytes, Then};

/// Of each answer the text `hunter2` must be told nowhere.
#[actix_web::test]
async fn whatever_is_answered_is_judged_in_time_and_not_told() {
    use Then::{Close, Flood, Hang, Trickle};
    let cases: [(&str, &'static [u8], Then, &str); 25] = [
        ("garbage", b"hunter2\0\xff\r\n\r\n", Close, "away"),
        ("another protocol", b"220 hunter2 ESMTP\r\n", Hang, "away"),
        ("nothing", b"", Close, "away"),
        ("silence", b"", Hang, "away"),
        ("half a status", b"HTTP/1.1 20", Close, "away"),
        ("half a head", b"HTTP/1.1 200 OK\r\nx-hunter2: hunter2", Close, "away"),
        ("half a head, and silence", b"HTTP/1.1 200 OK\r\nx-hunter2: hunter2", Hang, "away"),
        ("a head that trickles", b"HTTP/1.1 200 OK\r\nx-hunter2: ", Trickle(b"hunter2"), "away"),
        ("a head without an end", b"HTTP/1.1 200 OK\r\nx: ", Flood(b"hunter2hunter2hunter2hunter2"), "away"),
        ("headers without an end", b"HTTP/1.1 200 OK\r\n", Flood(b"x-hunter2: hunter2\r\n"), "away"),
        ("only interim answers", b"", Flood(b"HTTP/1.1 100 Continue\r\n\r\n"), "away"),
        ("a status of two digits", b"HTTP/1.1 99 hunter2\r\n\r\n", Close, "away"),
        ("a version of its own", b"HTTP/7.0 200 OK\r\n\r\n", Close, "away"),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhunter2",
            Close,
            "away",
        ),
        ("a status of nobody", b"HTTP/1.1 999 hunter2\r\ncontent-length: 7\r\n\r\nhunter2", Close, "again"),
        (
            "an interim answer first",
            b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
            Hang,
            "sent",
        ),
        ("a reason that is no text", b"HTTP/1.1 200 \xff\xfe\r\ncontent-length: 0\r\n\r\n", Hang, "sent"),
        ("a body that breaks off", b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\nhunter2", Close, "sent"),
        ("a body that does not come", b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n", Hang, "sent"),
        (
            "a body that trickles",
            b"HTTP/1.1 202 x\r\ncontent-length: 70\r\n\r\n",
            Trickle(b"hunter2"),
            "sent",
        ),
        (
            "chunks that are none",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhunter2",
            Close,
            "sent",
        ),
        ("a body without an end", b"HTTP/1.1 200 OK\r\n\r\n", Flood(&[b'x'; 8192]), "sent"),
        (
            "a refusal with a body without an end",
            b"HTTP/1.1 422 hunter2\r\ncontent-length: 99999999999999\r\n\r\n",
            Flood(&[b'x'; 8192]),
            "refused",
        ),
        (
            "times that are none",
            b"HTTP/1.1 503 x\r\nretry-after: \xff\r\nretry-after: hunter2\r\ncontent-length: 0\r\n\r\n",
            Hang,
            "away",
        ),
        (
            "a time without an end",
            b"HTTP/1.1 503 x\r\nretry-after: 99999999999999999999999999\r\ncontent-length: 0\r\n\r\n",
            Hang,
            "away for 21600 s",
        ),
    ];
    let outgoing = Outgoing::new(1, Event::new("kind", 7).expect("JSON").service("shop"));
    for (name, answer, then, expected) in cases {
        let receiver = Bytes::answering(b"7}", answer, then).await;
        let sink = HttpSink::new(format!("http://{}/T0/hunter2?token=hunter2", receiver.address));
        // Where an answer comes, it has all the time that a busy machine needs.
        let is_open = matches!(then, Hang | Trickle(_) | Flood(_)) && expected == "away";
        let within = if is_open { Duration::from_millis(500) } else { Duration::from_secs(20) };
        let came_of_it = sink.expect("a sink").within(within).send(&outgoing).await;
        let found = match &came_of_it {
            Ok(()) => "sent".to_owned(),
            Err(SendError::Away { after: None, .. }) => "away".to_owned(),
            Err(SendError::Away { after: Some(after), .. }) => format!("away for {} s", after.as_secs()),
            Err(SendError::Again { .. }) => "again".to_owned(),
            Err(SendError::Refused { .. }) => "refused".to_owned(),
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{name}: {came_of_it:?}");
        let told = format!("{came_of_it:?}");
        assert!(!told.contains("hunter2"), "{name}: {told}");
        // What is not read waits in the buffers of the sockets, some megabytes.
        assert!(receiver.written() < 64 << 20, "{name}: {} bytes were taken", receiver.written());
    }
}

/// Who limits the time of a send hears what came of it, although the answer's body does not end.
#[actix_web::test]
async fn an_event_that_was_taken_is_sent_before_the_rest_of_the_answer_comes() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n";
    let receiver = Bytes::answering(b"7}", head, Then::Hang).await;
    let sink = HttpSink::new(format!("http://{}", receiver.address)).expect("a sink");
    let outgoing = Outgoing::new(1, Event::new("kind", 7).expect("JSON").service("shop"));
    let mut sending = pin!(sink.send(&outgoing));
    let came_of_it = loop {
        let is_answered = receiver.written() > 0;
        sleep(Duration::from_millis(200)).await;
        // Whoever reads the answer has the time for it.
        for _ in 0..20 {
            yield_now().await;
        }
        match poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await {
            Poll::Ready(came_of_it) => break came_of_it,
            Poll::Pending => assert!(!is_answered, "it waits for the rest"),
        }
    };
    came_of_it.expect("sent");
}

#[actix_web::test]
async fn a_receiver_that_is_not_there_is_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = listener.local_addr().expect("an address");
    drop(listener);
    let plain = Bytes::answering(b"7}", b"", Then::Close).await.address;
    let outgoing = Outgoing::new(1, Event::new("kind", 7).expect("JSON").service("shop"));
    for (name, url) in [
        ("nobody listens", format!("http://{closed}/hunter2")),
        ("no port for anybody", "http://127.0.0.1:0/hunter2".to_owned()),
        ("nobody listens, encrypted", format!("https://{closed}/hunter2")),
        ("not encrypted there", format!("https://{plain}/hunter2")),
    ] {
        let sink = HttpSink::new(url).expect("a sink").within(Duration::from_secs(2));
        let came_of_it = sink.send(&outgoing).await;
        assert!(matches!(came_of_it, Err(SendError::Away { .. })), "{name}: {came_of_it:?}");
        assert!(!format!("{came_of_it:?}").contains("hunter2"), "{name}: {came_of_it:?}");
    }
}
