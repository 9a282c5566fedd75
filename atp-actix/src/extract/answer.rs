//! The typed answer, as an extractor.

use std::{
    any::type_name,
    fmt,
    future::{Ready, ready},
    ops::Deref,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use atp_core::{RawJson, Response, ResponseType, Violations};

use crate::{delivery::Delivery, refusal::Refusal};

/// A verified answer, its data read as `R`: one of the response types, or one of your own.
///
/// It derefs to [`Response`], so `answer.notification_id` and `answer.responder` are at hand.
/// Without `R` the data is the signed JSON, unread. Where data does not fit `R` the handler does
/// not run; wrap it in `Option` or `Result` to decide otherwise.
///
/// # Errors
/// Who is at fault depends on what is known of the question:
///
/// * In a webhook with a store, data that does not fit the question's action was refused before,
///   with a 400. Data that fits the question and not `R` is a fault of this program: the answer is
///   500, the log names action, type and place, the body is kept, and the server delivers again, to
///   a handler that may have been mended by then.
/// * Without a store the question is not known, so it is the sender's fault: 400
///   `INVALID_RESPONSE_DATA`, with all that is wrong. It judges the shape and the handler's own
///   type. What the question's action demands beyond that is judged by [`Response::fits`], as the
///   action is not in the answer.
///
/// ```
/// use atp_actix::{AtpResponse, Form};
///
/// #[derive(serde::Deserialize)]
/// struct Rejection {
///     reason: Option<String>,
/// }
///
/// async fn reject(answer: AtpResponse<Form<Rejection>>) -> String {
///     let reason = answer.data.reason.as_deref().unwrap_or("no reason");
///     format!("{} was rejected: {reason}", answer.notification_id)
/// }
/// ```
#[non_exhaustive]
pub struct AtpResponse<R: ResponseType = Raw> {
    /// What came with the choice.
    pub data: R::Data,
    delivery: Delivery,
}

impl<R: ResponseType> AtpResponse<R> {
    /// The data alone.
    #[must_use]
    pub fn into_data(self) -> R::Data {
        self.data
    }

    /// How the answer came.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}

impl<R: ResponseType> Deref for AtpResponse<R> {
    type Target = Response;

    fn deref(&self) -> &Response {
        self.delivery.answer()
    }
}

/// Shows no data.
impl<R: ResponseType> fmt::Debug for AtpResponse<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtpResponse").field("answer", self.delivery.answer()).finish_non_exhaustive()
    }
}

impl<R: ResponseType + 'static> FromRequest for AtpResponse<R> {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let read = || {
            let delivery = Delivery::of(request, "AtpResponse")?;
            let answer = delivery.answer();
            let data = R::read(answer.response_data.as_ref()).map_err(|violations| {
                let action = answer.action_id.clone();
                Refusal::UnfitForHandler { action, wanted: type_name::<R>(), violations: violations.into() }
            })?;
            Ok(Self { data, delivery })
        };
        ready(read())
    }
}

/// Data as it was signed, of whatever type; `None` if the member is missing.
pub struct Raw;

impl ResponseType for Raw {
    type Data = Option<RawJson>;

    fn read(data: Option<&RawJson>) -> Result<Self::Data, Violations> {
        Ok(data.cloned())
    }
}
