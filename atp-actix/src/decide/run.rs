//! Runs a handler within its time.

use std::{
    future::{Future, pending},
    panic::AssertUnwindSafe,
    pin::pin,
    time::Duration,
};

use actix_web::rt::time::{sleep, timeout};
use futures_util::{
    FutureExt as _,
    future::{Either, select},
};

use crate::{claim_cell::ClaimCell, limits::PART_OF_LEASE, refusal::Refusal, report};

/// How long a handler may take.
#[derive(Clone, Copy)]
pub(super) struct Within {
    /// How long its claim lasts.
    pub(super) lease: Duration,
    /// How long it may hold its transaction; for ever where there is none.
    pub(super) transaction: Option<Duration>,
}

/// What `work` gives, unless it panics or takes too long. What is dropped is rolled back.
pub(super) async fn run<T, R>(
    work: impl Future<Output = actix_web::Result<R>>,
    cell: &ClaimCell<T>,
    within: Within,
) -> Result<R, Refusal> {
    let work = AssertUnwindSafe(work).catch_unwind();
    match select(pin!(work), pin!(too_slow(cell, within))).await {
        Either::Left((Ok(Ok(reply)), _)) => Ok(reply),
        Either::Left((Ok(Err(error)), _)) => Err(Refusal::NotHandled { reason: report::reason(&error) }),
        Either::Left((Err(_), _)) => Err(Refusal::HandlerFault("a handler panicked")),
        Either::Right((refusal, _)) => Err(refusal),
    }
}

/// Ends when a handler has taken too long: before others may take its claim, and before its
/// transaction has held them up for too long.
async fn too_slow<T>(cell: &ClaimCell<T>, Within { lease, transaction }: Within) -> Refusal {
    let lease = lease.mul_f32(PART_OF_LEASE);
    if timeout(lease, cell.claimed.notified()).await.is_err() {
        return Refusal::HandlerTooSlow("its extractors did not end");
    }
    let held = async {
        cell.opened.notified().await;
        match transaction {
            Some(limit) => sleep(limit).await,
            None => pending().await,
        }
    };
    match select(pin!(held), pin!(sleep(lease))).await {
        Either::Left(_) => Refusal::HandlerTooSlow("its transaction was open too long"),
        Either::Right(_) => Refusal::HandlerTooSlow("its lease ended"),
    }
}
