//! A handler of the service, as a route of the webhook.

use std::{panic::Location, rc::Rc};

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Responder, Route,
    body::{BodySize, EitherBody, MessageBody as _},
    guard::Guard,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use futures_util::future::LocalBoxFuture;

use crate::{claim_cell::AnyClaimCell, decide::HandlerRan, times::Times};

/// A handler's route, and where it was given.
pub(crate) struct Placed {
    pub(crate) route: Route,
    at: &'static Location<'static>,
}

impl Placed {
    /// # Panics
    /// If there was one for the same already; the message names both places.
    #[track_caller]
    pub(crate) fn new<F, Args>(
        what: &str,
        earlier: Option<&Self>,
        guard: Option<impl Guard + 'static>,
        handler: F,
    ) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let at = Location::caller();
        if let Some(earlier) = earlier {
            twice(what, earlier.at, at);
        }
        let route = guard.into_iter().fold(web::route(), Route::guard).to(Concluding(handler));
        Self { route, at }
    }
}

#[allow(clippy::panic, reason = "a fault of the program, found when it starts")]
#[track_caller]
fn twice(what: &str, earlier: &Location<'_>, here: &Location<'_>) {
    panic!("a second handler for {what}: the first is at {earlier}, the second at {here}");
}

/// A handler that runs if the claim is ours, and whose empty success says `{"status":"success"}`.
#[derive(Clone)]
struct Concluding<H>(H);

impl<H: Handler<Args>, Args: 'static> Handler<(HttpRequest, Args)> for Concluding<H> {
    type Output = Concluded<H::Output>;
    type Future = LocalBoxFuture<'static, Self::Output>;

    fn call(&self, (request, args): (HttpRequest, Args)) -> Self::Future {
        let (handler, claiming) =
            (self.0.clone(), request.extensions().get::<Rc<dyn AnyClaimCell>>().cloned());
        let times = Times::of(&request);
        Box::pin(async move {
            let is_ours = match claiming {
                Some(claiming) => claiming.is_ours().await,
                None => true,
            };
            if is_ours { Concluded(Some(times.handler(handler.call(args)).await)) } else { Concluded(None) }
        })
    }
}

/// What the handler said, if it ran.
struct Concluded<R>(Option<R>);

impl<R: Responder> Responder for Concluded<R> {
    type Body = EitherBody<R::Body, &'static str>;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse<Self::Body> {
        let Some(said) = self.0 else {
            return HttpResponse::with_body(StatusCode::SERVICE_UNAVAILABLE, EitherBody::right(""));
        };
        request.extensions_mut().insert(HandlerRan);
        let mut response = said.respond_to(request);
        let empty = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        if !response.status().is_success() || !empty {
            return response.map_into_left_body();
        }
        *response.status_mut() = StatusCode::OK;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.map_body(|_, _| EitherBody::right(r#"{"status":"success"}"#))
    }
}
