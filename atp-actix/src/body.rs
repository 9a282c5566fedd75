//! Reads a body raw and bounded, and refuses one that is not read.

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    dev::Payload,
    error::PayloadError,
    rt::time::{Sleep, sleep},
};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::refusal::Refusal;

/// Reads the whole body, at most `limit` bytes of it, and hands on each chunk as it comes.
pub(crate) async fn read(
    payload: &mut Payload,
    limit: usize,
    within: Duration,
    mut each: impl FnMut(Bytes),
) -> Result<(), Refusal> {
    let (mut timer, mut len): (Option<Pin<Box<Sleep>>>, _) = (None, 0);
    loop {
        // A body that is here already needs no timer.
        let next = poll_fn(|cx| {
            if let Poll::Ready(chunk) = payload.poll_next_unpin(cx) {
                return Poll::Ready(Ok(chunk));
            }
            let timer = timer.get_or_insert_with(|| Box::pin(sleep(within)));
            timer.as_mut().poll(cx).map(|()| Err(Refusal::TooSlow { within }))
        });
        let Some(chunk) = next.await? else { return Ok(()) };
        let chunk = chunk.map_err(|error| broken_off(&error, limit))?;
        len += chunk.len();
        if len > limit {
            return Err(Refusal::TooLarge { limit });
        }
        each(chunk);
    }
}

fn broken_off(error: &PayloadError, limit: usize) -> Refusal {
    match error {
        PayloadError::Overflow => Refusal::TooLarge { limit },
        error => Refusal::BrokenOff(error.to_string()),
    }
}

/// The body of a refusal. It holds the payload that was not read until the answer is sent: actix
/// would read a payload that was dropped to its end, however long that is; held, it closes the
/// connection.
pub struct RefusalBody {
    text: Option<Bytes>,
    _payload: Payload,
}

impl RefusalBody {
    pub(crate) fn new(text: String, payload: Payload) -> Self {
        Self { text: Some(text.into()), _payload: payload }
    }
}

impl MessageBody for RefusalBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        let len = self.text.as_ref().map_or(0, Bytes::len);
        BodySize::Sized(u64::try_from(len).unwrap_or(u64::MAX))
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.text.take().map(Ok))
    }
}
