//! Why a signature does not fit, in the log at `debug`.

use actix_web::http::header::HeaderMap;
use atp_core::Verifier;
use bytes::Bytes;

use crate::{head, limits::LONGEST_EXPLAINED};

/// Tells why the signature of a request does not fit, if the log is at DEBUG for it.
pub(crate) fn explain(verifier: &Verifier, headers: &HeaderMap, body: &Bytes) {
    if !tracing::enabled!(target: "atp_actix::explain", tracing::Level::DEBUG) {
        return;
    }
    let request_id = head::request_id(headers);
    if body.len() > LONGEST_EXPLAINED {
        let len = body.len();
        tracing::debug!(
            target: "atp_actix::explain",
            request_id,
            "a body of {len} bytes is too long to be explained here: call `Verifier::explain` with it"
        );
        return;
    }
    let why = verifier.explain(head::signatures(headers), body.clone());
    tracing::debug!(target: "atp_actix::explain", request_id, "{why}");
}
