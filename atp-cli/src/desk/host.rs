//! By which names a desk is called: a page elsewhere whose name was made to lead here reads nothing.

use std::net::IpAddr;

use actix_web::{
    Error, ResponseError as _,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};

use super::{inner::Inner, refusal::Refusal};

/// Refuses requests to a name that is not the desk's.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let inner = request.app_data::<web::Data<Inner>>();
    if inner.is_some_and(|inner| is_ours(host, &inner.settings.hosts, inner.settings.listens_at)) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let refusal =
        Refusal::new("NOT_OUR_HOST", "The desk is not called by this name; start it with --host NAME.");
    Ok(request.into_response(refusal.error_response()))
}

/// Whether a host, perhaps with a port, is this machine, one of these, or the address at which the desk
/// listens: of one that listens at all of them any address. No trick makes an address lead elsewhere.
fn is_ours(host: &str, others: &[String], listens_at: Option<IpAddr>) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let is_address = address.parse::<IpAddr>().is_ok_and(|address| {
        listens_at.is_some_and(|listens_at| listens_at.is_unspecified() || listens_at == address)
    });
    is_address || matches!(&*name, "localhost" | "127.0.0.1" | "[::1]") || others.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn a_name_that_leads_here_by_a_trick_is_not_ours() {
        let others = ["desk.test".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:8700", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("[::1]:8700", true),
            ("desk.test:80", true),
            ("evil.example", false),
            ("evil.example:8700", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:80", false),
            ("127.0.0.1:8700:x", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host, &others, None), expected, "{host}");
        }
        for (host, listens_at, expected) in [
            ("192.0.2.2:8700", "192.0.2.2", true),
            ("192.0.2.3:8700", "192.0.2.2", false),
            ("192.0.2.3", "0.0.0.0", true),
            ("[2001:db8::1]:8700", "::", true),
            ("evil.example", "0.0.0.0", false),
        ] {
            assert_eq!(is_ours(host, &others, listens_at.parse().ok()), expected, "{host} at {listens_at}");
        }
    }
}
