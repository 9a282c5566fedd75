//! The state of the task that waits for a decision.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};

use crate::{decide::NewState, refusal::Refusal};

/// Sets what becomes of the task: the guide's `update_task_state`, in the transaction that
/// completes the decision.
///
/// Unless set the state is the action's id; `late` where the handler of late answers ran, and
/// `refused` where a handler closed the question with a 4xx, whatever was set. In a webhook without
/// a store the answer is an opaque 500.
///
/// ```
/// use atp_actix::{AtpResponse, Error, Simple, Task};
///
/// async fn approve(_: AtpResponse<Simple>, task: Task) -> Result<(), Error> {
///     task.set("approved");
///     Ok(())
/// }
/// ```
pub struct Task(NewState);

impl Task {
    /// Sets the state; the last call counts.
    pub fn set(&self, state: impl Into<String>) {
        self.0.set(state.into());
    }
}

impl FromRequest for Task {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = request.extensions().get::<NewState>().cloned();
        ready(state.map(Self).ok_or(Refusal::NoStore { extractor: "Task" }))
    }
}
