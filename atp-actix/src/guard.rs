//! Guards: which route a delivery takes.

use actix_web::guard::{Guard, GuardContext};
use atp_core::Signature;

use crate::{decide, delivery::Delivery, head};

/// A route for requests with one well-formed signature header. It routes and does not verify: put
/// [`VerifySignature`](crate::VerifySignature) behind it.
///
/// ```
/// use actix_web::web;
/// use atp_actix::{VerifySignature, guard::Signed};
///
/// # fn routes(verifier: atp_actix::Verifier, config: &mut web::ServiceConfig) {
/// config.service(
///     web::scope("/answers")
///         .guard(Signed)
///         .wrap(VerifySignature::new(verifier))
///         .route("", web::post().to(|| async { "signed" })),
/// );
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Signed;

impl Guard for Signed {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        let mut values = head::signatures(context.head().headers());
        values.next().is_some_and(|(_, value)| Signature::parse(value).is_ok()) && values.next().is_none()
    }
}

/// A route for verified answers that chose this action. Where nothing was verified it never fits.
///
/// ```
/// use actix_web::web;
/// use atp_actix::{AtpResponse, Simple, VerifySignature, guard::Action};
///
/// async fn approve(_: AtpResponse<Simple>) -> &'static str {
///     "approved"
/// }
///
/// # fn routes(verifier: atp_actix::Verifier, config: &mut web::ServiceConfig) {
/// config.service(
///     web::resource("/answers")
///         .wrap(VerifySignature::new(verifier))
///         .route(web::post().guard(Action::new("approve")).to(approve)),
/// );
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action(String);

impl Action {
    /// Takes the action's id.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

impl Guard for Action {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        context.req_data().get::<Delivery>().is_some_and(|delivery| delivery.answer().action_id == self.0)
    }
}

/// A route for answers that came too late.
pub(crate) struct Late;

impl Guard for Late {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        context.req_data().get::<decide::Late>().is_some()
    }
}
