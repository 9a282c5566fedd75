//! A client of HTTP that goes where it is told, and nowhere else.

use std::{error::Error, sync::Arc};

use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::limits::{CONNECT_WITHIN, IDLE_CONNECTION};

/// A client that follows no redirect and sends nothing a second time. The certificates that it trusts
/// are those of the machine.
///
/// On this machine it goes through no proxy, and needs no certificates where nothing is encrypted.
pub(super) fn client(is_encrypted: bool, is_loopback: bool) -> Result<Client, Box<dyn Error + Send + Sync>> {
    // Given here, since rustls panics where a program has two providers and has chosen neither.
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = if is_encrypted {
        config.with_platform_verifier()?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    let client = Client::builder()
        .tls_backend_preconfigured(config.with_no_client_auth())
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .user_agent(concat!("atp-actix/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE_CONNECTION);
    let client = if is_loopback { client.no_proxy() } else { client };
    Ok(client.build()?)
}
