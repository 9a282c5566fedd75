//! What there is at an address: which methods it takes, and what others are told.

use actix_web::{
    HttpRequest, HttpResponse, Resource, ResponseError as _, Route,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    web,
};

use super::refusal::Refusal;

pub(super) const GET: Method = Method::GET;
pub(super) const PATCH: Method = Method::PATCH;
pub(super) const POST: Method = Method::POST;
pub(super) const PUT: Method = Method::PUT;

/// How a refusal is told.
pub(super) type Tell = fn(&HttpRequest, &Refusal) -> HttpResponse;

/// A place that takes these methods; all others are refused as the protocol has it.
pub(super) fn place<const N: usize>(path: &str, routes: [(Method, Route); N]) -> Resource {
    place_that_tells(|_, refusal| refusal.error_response(), path, routes)
}

/// A place that takes these methods, and tells which they are where there is another.
pub(super) fn place_that_tells<const N: usize>(
    tell: Tell,
    path: &str,
    routes: [(Method, Route); N],
) -> Resource {
    let allowed = routes.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
    let resource = web::resource(path).default_service(web::to(move |request: HttpRequest| {
        let why = format!("This address takes {allowed} alone.");
        let mut response = tell(&request, &Refusal::new("METHOD_NOT_ALLOWED", why));
        if let Ok(allowed) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        std::future::ready(response)
    }));
    routes.into_iter().fold(resource, |resource, (method, route)| resource.route(route.method(method)))
}
