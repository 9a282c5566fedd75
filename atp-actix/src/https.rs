//! A client of HTTP that goes where it is told, and nowhere else.

use std::{net::IpAddr, sync::Arc};

use reqwest::{ClientBuilder, Url, redirect, retry};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// Whom it trusts: who the system trusts. Where nothing is encrypted it trusts nobody, and needs no
/// certificates on this machine.
pub(crate) fn tls(is_encrypted: bool) -> Result<ClientConfig, rustls::Error> {
    // The program's own choice, if it has made one: rustls panics where there are two and none was
    // chosen.
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let trusting = if is_encrypted {
        config.with_platform_verifier()?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    Ok(trusting.with_no_client_auth())
}

/// Whether an address is on this machine, by its text alone: what is sent there needs no encryption.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A client that follows no redirect and sends nothing a second time: what it is told must not leave
/// the host that it is for, and whoever calls tries again.
pub(crate) fn builder(tls: ClientConfig) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .user_agent(concat!("atp-actix/", env!("CARGO_PKG_VERSION")))
}
