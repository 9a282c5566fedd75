//! What was asked, for the handler of its answer.

use std::{
    any::type_name,
    fmt,
    future::{Ready, ready},
    ops::Deref,
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use atp_core::{Json, RawJson, ResponseType as _};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{delivery::Delivery, refusal::Refusal, store::RecordedQuestion};

/// The question that an answer belongs to, as it was recorded, with its context read as `C`: the
/// guide's `correlate_response`.
///
/// It derefs to [`RecordedQuestion`]. In a webhook without a store, and where the context is no
/// `C`, the answer is an opaque 500 and the log says why: that is our fault, and the delivery comes
/// again.
///
/// ```
/// use atp_actix::{AtpResponse, Correlation, Simple};
///
/// #[derive(serde::Deserialize)]
/// struct Deploy {
///     version: String,
/// }
///
/// async fn approve(_: AtpResponse<Simple>, origin: Correlation<Deploy>) -> String {
///     format!("{} for {:?}", origin.context.version, origin.user_id)
/// }
/// ```
#[non_exhaustive]
pub struct Correlation<C = Value> {
    /// Whatever else was recorded with the question.
    pub context: C,
    question: Rc<RecordedQuestion>,
}

impl<C> Correlation<C> {
    /// When the question was recorded.
    #[must_use]
    pub fn asked_at(&self) -> DateTime<Utc> {
        self.question.recorded_at
    }
}

impl<C> Deref for Correlation<C> {
    type Target = RecordedQuestion;

    fn deref(&self) -> &RecordedQuestion {
        &self.question
    }
}

/// Shows no context.
impl<C> fmt::Debug for Correlation<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordedQuestion { user_id, request_id, .. } = &*self.question;
        f.debug_struct("Correlation")
            .field("user_id", user_id)
            .field("request_id", request_id)
            .finish_non_exhaustive()
    }
}

impl<C: DeserializeOwned + 'static> FromRequest for Correlation<C> {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let read = || {
            let question = request.extensions().get::<Rc<RecordedQuestion>>().cloned();
            let question = question.ok_or(Refusal::NoStore { extractor: "Correlation" })?;
            match C::deserialize(&question.context) {
                Ok(context) => Ok(Self { context, question }),
                Err(_) => Err(unfit::<C>(request, &question.context)),
            }
        };
        ready(read())
    }
}

/// Reads a context once more, by a reader that names the place where it does not fit and quotes
/// nothing.
fn unfit<C: DeserializeOwned + 'static>(request: &HttpRequest, context: &Value) -> Refusal {
    let delivery = request.extensions().get::<Delivery>().cloned();
    let action = delivery.map(|delivery| delivery.answer().action_id.clone()).unwrap_or_default();
    let misfit = RawJson::new(context.to_string()).ok().and_then(|json| Json::<C>::read(Some(&json)).err());
    let misfit = misfit.as_ref().and_then(|violations| violations.iter().next());
    let misfit = misfit.map_or_else(
        || "it is of another shape".to_owned(),
        |misfit| format!("`context{}` {}, found {}", misfit.pointer(), misfit.rule(), misfit.found()),
    );
    Refusal::Context { action, wanted: type_name::<C>(), misfit }
}
