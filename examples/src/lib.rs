//! What the examples share: where they listen, how they stop, and a small HTTP client.

pub mod client;

use std::{env, error::Error, fmt, io, net::SocketAddr};

use actix_web::rt;

/// The port from `PORT`; 8080 unless set, and 0 means any that is free.
pub fn port() -> Result<u16, Failure> {
    match env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| {
            Failure::new(format!("PORT is `{text}`: set it to a number from 0 to 65535, or unset it"))
        }),
        Err(_) => Ok(8080),
    }
}

/// Says where the server listens. This is the first line that an example prints.
pub fn announce(addresses: &[SocketAddr]) {
    for address in addresses {
        println!("listening on http://{address}");
    }
}

/// Why an example stops. `main` prints errors with `Debug`, so that of this one is for humans.
pub struct Failure(String);

impl Failure {
    /// Takes the whole message: what was wrong, and what to do.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Waits for the signal by which a terminal or a service manager ends a program.
pub async fn told_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::pin::pin;

        let mut terminate = rt::signal::unix::signal(rt::signal::unix::SignalKind::terminate())?;
        futures_util::future::select(pin!(rt::signal::ctrl_c()), pin!(terminate.recv())).await;
        Ok(())
    }
    #[cfg(not(unix))]
    rt::signal::ctrl_c().await
}
