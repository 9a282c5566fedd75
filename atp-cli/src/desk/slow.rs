//! Senders that do not end.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::limits::REQUEST_WITHIN;

/// Refuses a request whose body does not end in time. What is streamed in answer to one takes as long
/// as it likes.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let slow = || Refusal::new("TOO_SLOW", "The request did not end in time.");
    timeout(REQUEST_WITHIN, next.call(request)).await.map_err(|_| slow())?
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use actix_web::{
        App, HttpResponse,
        http::StatusCode,
        middleware::from_fn,
        test::{TestRequest, init_service, try_call_service},
        web,
    };
    use tokio::time::{Instant, pause, sleep};

    use super::*;

    #[actix_web::test]
    async fn a_request_that_does_not_end_is_refused_and_a_slow_one_is_not() {
        let service = init_service(
            App::new()
                .wrap(from_fn(check))
                .route(
                    "/slow",
                    web::get().to(async || {
                        sleep(REQUEST_WITHIN / 2).await;
                        HttpResponse::Ok().finish()
                    }),
                )
                .default_service(web::to(pending::<HttpResponse>)),
        )
        .await;
        pause();
        let started = Instant::now();
        let request = |path| TestRequest::get().uri(path).to_request();
        let slow = try_call_service(&service, request("/slow")).await.expect("an answer");
        assert_eq!(slow.status(), StatusCode::OK);
        let Err(refused) = try_call_service(&service, request("/endless")).await else {
            panic!("it ended");
        };
        assert_eq!(refused.as_response_error().status_code(), StatusCode::REQUEST_TIMEOUT);
        assert!(started.elapsed() < REQUEST_WITHIN * 2);
    }
}
