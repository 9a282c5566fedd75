//! What was asked, for the handler of its answer.

use std::{
    fmt,
    future::{Ready, ready},
    ops::Deref,
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{error::Refusal, store::RecordedQuestion};

/// The question that an answer belongs to, as it was recorded, with its context read as `C`: the guide's
/// `correlate_response`.
///
/// It derefs to [`RecordedQuestion`]. In a webhook without a store, and where the context is no `C`, the answer is an opaque 500
/// and the log says why: that is our fault, and the delivery comes again.
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
        let question = request.extensions().get::<Rc<RecordedQuestion>>().cloned();
        ready(question.ok_or(Refusal::NoStore { extractor: "Correlation" }).and_then(|question| {
            let context = C::deserialize(&question.context).map_err(|_| {
                Refusal::HandlerFault(
                    "the context that was recorded is not what `Correlation` asks for: compare its type with what \
                     `Question::context` was given",
                )
            })?;
            Ok(Self { context, question })
        }))
    }
}
