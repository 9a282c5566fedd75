//! One place that is told.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;

use crate::store::Outgoing;

/// One place that is told of events: a queue, a webhook, an ATP server. A
/// [`Relay`](crate::Relay) calls it for each event until it says that it has it.
///
/// An event may come again though it was taken, after a crash or a lost answer: always with the same
/// id and the same bytes, so a receiver that remembers service and id takes it once.
///
/// ```
/// use atp_actix::{SendError, Sink, store::Outgoing};
///
/// struct Log;
///
/// impl Sink for Log {
///     async fn send(&self, outgoing: &Outgoing) -> Result<(), SendError> {
///         println!("{} {}", outgoing.event.id, outgoing.event.data);
///         Ok(())
///     }
/// }
/// ```
pub trait Sink: Send + Sync + 'static {
    /// Sends one event. `Ok` once the receiver has it for good.
    ///
    /// It is dropped when it takes longer than [`Relay::send_within`](crate::Relay::send_within),
    /// which counts as [`SendError::Away`]; a panic counts as [`SendError::Again`].
    fn send(&self, outgoing: &Outgoing) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// Why a sink has not taken an event, and so what becomes of it. The reason is kept with the event
/// and logged: let no secret and no data be in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It did not take this one now: it is tried again, and parked after so many attempts.
    #[error("not taken: {reason}")]
    Again {
        /// Not before this time, if the receiver said so.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// It is not this one's turn, which is no fault of its own and says nothing of the others: it is
    /// tried again however often, and the others go on meanwhile. A sink says so of a limit that it
    /// keeps itself, or where it leads to several receivers and one of them is away. Let it wait a
    /// little before it says so, or the same events are taken up over and over.
    #[error("not its turn: {reason}")]
    Later {
        /// Not before this time, if that is known.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// It takes this one never: it is parked at once.
    #[error("refused for good: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The receiver is not there, which is no fault of the event: all that is for this sink waits,
    /// and that is no attempt. Where others get through meanwhile it is one, and this event's own.
    #[error("away: {reason}")]
    Away {
        /// Not before this time, if that is known.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// The receiver is gone for good, as HTTP 410 says: all that is for this sink waits, and the
    /// log says as an error that somebody has to look after it.
    #[error("gone: {reason}")]
    Gone {
        /// Why.
        reason: String,
    },
}

impl SendError {
    /// To be tried again.
    pub fn again(reason: impl Into<String>) -> Self {
        Self::Again { after: None, reason: reason.into() }
    }

    /// To be tried again, however often.
    pub fn later(reason: impl Into<String>) -> Self {
        Self::Later { after: None, reason: reason.into() }
    }

    /// To be parked.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// The receiver is not there.
    pub fn away(reason: impl Into<String>) -> Self {
        Self::Away { after: None, reason: reason.into() }
    }

    /// The receiver is gone.
    pub fn gone(reason: impl Into<String>) -> Self {
        Self::Gone { reason: reason.into() }
    }

    /// Says how long the receiver wants to be left alone, where it is to be tried again.
    #[must_use]
    pub fn after(mut self, wait: impl Into<Option<Duration>>) -> Self {
        if let Self::Again { after, .. } | Self::Later { after, .. } | Self::Away { after, .. } = &mut self {
            *after = wait.into();
        }
        self
    }
}

/// A sink of whatever type.
pub(super) trait AnySink: Send + Sync {
    fn send_boxed<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Result<(), SendError>>;
}

impl<K: Sink> AnySink for K {
    fn send_boxed<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(self.send(outgoing))
    }
}
