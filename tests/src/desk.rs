//! A desk in a process of its own, and how a victim reaches one.

use std::{env, error::Error, net::SocketAddr, time::Duration};

use atp_actix::{
    AtpSink, Client,
    client::ApiKey,
    store::{Outbox, Routes},
};
use atp_cli::desk::Desk;

/// With which a desk in a process of its own is told what to do.
pub const ADMIN_TOKEN: &str = "admin_of_a_desk_in_a_process";

/// With which a human's client answers there.
pub const USER_TOKEN: &str = "user_of_a_desk_in_a_process";

/// Where a victim listens: at `VICTIM_LISTEN`, if it is set, or on a free port.
pub fn address() -> Result<SocketAddr, Box<dyn Error>> {
    let address = env::var("VICTIM_LISTEN");
    Ok(address.as_deref().unwrap_or("127.0.0.1:0").parse()?)
}

/// A desk that keeps all in this file. It prints where it listens.
pub async fn serve(file: &str) -> Result<(), Box<dyn Error>> {
    let desk = Desk::new().file(file).listen(address()?).admin_token(ADMIN_TOKEN).user_token(USER_TOKEN);
    // Its service is killed time and again, and is there again soon.
    let desk = desk.unpaced().attempts(u32::MAX);
    let desk = desk.backoff(Duration::from_millis(20), Duration::from_millis(200)).start().await?;
    println!("{}", desk.url().trim_start_matches("http://"));
    std::future::pending().await
}

/// The routes of a store, with the one to the desk that `VICTIM_DESK` names, if it does.
pub fn routes(routes: Routes) -> Routes {
    if env::var_os("VICTIM_DESK").is_some() { routes.server("atp") } else { routes }
}

/// The way there, with the key of `VICTIM_KEY`.
pub fn sink<S: Outbox>(store: &S) -> Option<AtpSink<S>> {
    let (desk, key) = (env::var("VICTIM_DESK").ok()?, env::var("VICTIM_KEY").ok()?);
    let client = Client::new(&desk, ApiKey::new(key).ok()?).ok()?;
    let client = client.notifications_a_minute(1_000_000).status_changes_a_minute(1_000_000);
    Some(AtpSink::new(client, store.clone()))
}
