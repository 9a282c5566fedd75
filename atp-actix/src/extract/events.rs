//! What a handler wants to be sent, with its decision or not at all.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};

use crate::{
    decide::Emitted,
    delivery::Delivery,
    refusal::Refusal,
    store::{Event, EventError},
};

/// Emits events of the service's own: written in the transaction that completes the decision, and
/// sent after it. Where the handler fails or refuses, nothing is.
///
/// ```
/// use atp_actix::{AtpResponse, Error, Events, Simple, store::Event};
///
/// async fn approve(answer: AtpResponse<Simple>, events: Events) -> Result<(), Error> {
///     let order = &answer.notification_id;
///     events.emit(Event::new("orders.shipped", serde_json::json!({ "order": order }))?)?;
///     Ok(())
/// }
/// ```
///
/// The decision itself is told without it, where the store's [`Routes`](crate::store::Routes) name
/// a sink for that. In a webhook without a store the answer is an opaque 500.
pub struct Events {
    emitted: Emitted,
    notification_id: String,
}

impl Events {
    /// Emits an event, if the handler succeeds. It is of the webhook's service and about the
    /// notification, unless it says something else, and goes to the sinks that it names, or else to
    /// all that the routes name for events.
    ///
    /// # Errors
    /// [`EventError::NoSink`] where there is neither; [`EventError::Length`] where a name does not
    /// fit.
    pub fn emit(&self, event: Event) -> Result<(), EventError> {
        self.emitted.add(event, &self.notification_id)
    }
}

impl FromRequest for Events {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let emitted = request.extensions().get::<Emitted>().cloned();
        ready(emitted.ok_or(Refusal::NoStore { extractor: "Events" }).and_then(|emitted| {
            let notification_id = Delivery::of(request, "Events")?.answer().notification_id.clone();
            Ok(Self { emitted, notification_id })
        }))
    }
}
