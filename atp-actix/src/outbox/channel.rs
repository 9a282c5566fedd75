//! Events for a task of the same process.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use super::sink::{SendError, Sink};
use crate::store::Outgoing;

/// Hands events to a task of the same process, which says of each when it is done with it.
///
/// For work that must happen after its cause was committed, and again if the process dies in the
/// middle: a mail, a cache, a socket that shows what was decided.
///
/// ```
/// use atp_actix::{
///     ChannelSink, Relay,
///     store::{Event, MemoryStore, Outbox, Routes},
/// };
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new().routes(Routes::new().events("here"));
/// let (sink, mut receiver) = ChannelSink::new(32);
/// let relay = Relay::new(store.clone()).sink("here", sink).start();
///
/// store.emit(&Event::new("orders.shipped", 7)?.service("shop")).await?;
/// let received = receiver.recv().await.expect("the relay runs");
/// assert_eq!(received.outgoing.event.data, "7");
/// received.ack(); // Until then it is not sent, and comes again.
///
/// relay.stop().await;
/// assert!(receiver.recv().await.is_none());
/// # Ok(())
/// # }
/// ```
///
/// # What becomes of an event
///
/// | the receiver | the event |
/// |---|---|
/// | calls [`Received::ack`] | is sent |
/// | calls [`Received::again`], or drops it without a word, as a task that panics does | comes again, which is an attempt |
/// | calls [`Received::refuse`] | is parked |
/// | says nothing within [`Relay::send_within`](crate::Relay::send_within), waiting in the channel included | comes again; while others are acknowledged meanwhile that is an attempt, else the sink counts as away |
/// | is dropped | waits, with all others: [`SendError::Gone`], since this sink never has a receiver again; a process that starts anew goes on |
///
/// A relay gives as many at once as its [`concurrency`](crate::Relay::concurrency), of different
/// subjects; so work that is slow wants a lower one, or a longer `send_within`, or a task for each.
/// Stop the relay first and drop the receiver afterwards: then nothing waits for longer than it must.
#[derive(Clone)]
#[must_use = "events reach it through a relay"]
pub struct ChannelSink {
    handed: mpsc::Sender<Received>,
}

impl ChannelSink {
    /// A sink, and the end at which its events come out. So many wait in between at most, and one at
    /// least; more than the relay's concurrency is of no use.
    pub fn new(capacity: usize) -> (Self, ChannelReceiver) {
        // The channel panics on more.
        let capacity = capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (handed, receiver) = mpsc::channel(capacity);
        (Self { handed }, ChannelReceiver { receiver })
    }
}

impl Sink for ChannelSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
        let gone = || SendError::gone("nobody receives: the receiver of the channel was dropped");
        // While there is no room nothing is copied, and what is given up waits nowhere.
        let room = self.handed.reserve().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        room.send(Received { outgoing: outgoing.clone(), answer });
        match answered.await {
            Ok(came_of_it) => came_of_it,
            Err(_) if self.handed.is_closed() => Err(gone()),
            Err(_) => Err(SendError::again("the receiver dropped it without a word")),
        }
    }
}

impl fmt::Debug for ChannelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink")
            .field("capacity", &self.handed.max_capacity())
            .field("waiting", &(self.handed.max_capacity() - self.handed.capacity()))
            .finish()
    }
}

/// Where the events of a [`ChannelSink`] come out.
#[must_use = "while nobody receives, nothing is sent"]
pub struct ChannelReceiver {
    receiver: mpsc::Receiver<Received>,
}

impl ChannelReceiver {
    /// The next event; none once the relay has stopped and everything was received. What waited for
    /// so long that the relay no longer waits for it is left out: it comes again.
    ///
    /// Nothing is lost where the future is dropped, as in `select!`.
    pub async fn recv(&mut self) -> Option<Received> {
        loop {
            let received = self.receiver.recv().await?;
            if received.is_awaited() {
                return Some(received);
            }
        }
    }
}

impl fmt::Debug for ChannelReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelReceiver").field("waiting", &self.receiver.len()).finish()
    }
}

/// An event that was handed over. Say what came of it: dropped without a word it comes again.
#[derive(Debug)]
#[must_use = "dropped without a word, it comes again"]
#[non_exhaustive]
pub struct Received {
    /// The event, and which attempt this is.
    pub outgoing: Outgoing,
    answer: oneshot::Sender<Result<(), SendError>>,
}

impl Received {
    /// It is done, and not sent again. Says whether the relay heard it: after
    /// [`Relay::send_within`](crate::Relay::send_within) it no longer does, and the event comes again.
    #[allow(clippy::must_use_candidate, reason = "few have another way when it was too late")]
    pub fn ack(self) -> bool {
        self.answer.send(Ok(())).is_ok()
    }

    /// It could not be done now: it comes again, and is parked after so many attempts. The reason is
    /// kept with it and logged: let no secret and no data be in it.
    pub fn again(self, reason: impl Into<String>) {
        // A relay that no longer waits sends it again anyway.
        let _ = self.answer.send(Err(SendError::again(reason)));
    }

    /// It can never be done: it is parked at once. The reason is kept with it and logged, as above.
    pub fn refuse(self, reason: impl Into<String>) {
        let _ = self.answer.send(Err(SendError::refused(reason)));
    }

    /// Whether the relay still waits for the answer: ask before work that must not be done twice.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join};

    use super::*;
    use crate::store::Event;

    fn outgoing() -> Outgoing {
        Outgoing::new(1, Event::new("kind", 7).expect("JSON"))
    }

    #[actix_web::test]
    async fn what_the_receiver_says_is_what_the_relay_hears() {
        type Case = (fn(Received), Result<(), SendError>);
        let cases: [Case; 4] = [
            (|received| assert!(received.ack()), Ok(())),
            (|received| received.again("busy"), Err(SendError::again("busy"))),
            (|received| received.refuse("never"), Err(SendError::refused("never"))),
            (drop, Err(SendError::again("the receiver dropped it without a word"))),
        ];
        for (say, expected) in cases {
            let (sink, mut receiver) = ChannelSink::new(1);
            let outgoing = outgoing();
            let (heard, ()) =
                join(sink.send(&outgoing), async { say(receiver.recv().await.expect("an event")) }).await;
            assert_eq!(heard, expected);
        }
    }

    #[actix_web::test]
    async fn a_dropped_receiver_is_gone_before_and_after_it_took_the_event() {
        let (sink, receiver) = ChannelSink::new(1);
        drop(receiver);
        assert!(matches!(sink.send(&outgoing()).await, Err(SendError::Gone { .. })));

        let (sink, receiver) = ChannelSink::new(0);
        let outgoing = outgoing();
        let (heard, ()) = join(sink.send(&outgoing), async { drop(receiver) }).await;
        assert!(matches!(heard, Err(SendError::Gone { .. })), "{heard:?}");
    }

    #[actix_web::test]
    async fn what_the_relay_gave_up_is_not_handed_over_and_takes_no_room_for_long() {
        let (sink, mut receiver) = ChannelSink::new(1);
        let (one, other) = (outgoing(), outgoing().attempted(2, 0));
        // The first waits in the channel, the second for room; both are given up.
        let mut first = Box::pin(sink.send(&one));
        assert_eq!((&mut first).now_or_never(), None);
        assert_eq!(sink.send(&other).now_or_never(), None);
        drop(first);
        let (heard, ()) = join(sink.send(&other), async {
            let received = receiver.recv().await.expect("an event");
            assert_eq!(received.outgoing.attempt, 2);
            received.ack();
        })
        .await;
        assert_eq!(heard, Ok(()));
        drop(sink);
        assert!(receiver.recv().await.is_none());
    }

    #[actix_web::test]
    async fn who_acknowledges_too_late_is_told() {
        let (sink, mut receiver) = ChannelSink::new(1);
        let outgoing = outgoing();
        let mut sending = Box::pin(sink.send(&outgoing));
        assert_eq!((&mut sending).now_or_never(), None);
        let received = receiver.recv().await.expect("an event");
        assert!(received.is_awaited());
        drop(sending);
        assert!(!received.is_awaited());
        assert!(!received.ack());
    }
}
