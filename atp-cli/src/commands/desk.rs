//! `atp desk`: an ATP server to develop against, with an inbox page.

use std::{env, fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::{signal::ctrl_c, time::sleep};
use tracing::Level;

use super::{
    output::{End, Failure, Output},
    parts::{address, quiet},
};
use crate::{
    desk::{Desk as Server, Fault, RunningDesk},
    limits::FAULTS,
};

/// Where it listens and what it keeps.
#[derive(Debug, Args)]
#[command(
    after_help = "It is for developing: other machines reach it only with --listen, such as 0.0.0.0:8700, and then its page \
asks for the token in ATP_DESK_TOKEN; by a name they call it with --host. ATP_DESK_ADMIN_TOKEN and ATP_DESK_USER_TOKEN set the tokens of the administrator and of the \
human's client, which are made anew otherwise; ATP_WEBHOOK_SECRET sets the secret of --service.

Example:
  atp desk --ephemeral --listen 127.0.0.1:0 --stop-after 1 \\
    --service orders=http://127.0.0.1:8080/atp/webhook"
)]
pub(super) struct Desk {
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    /// The SQLite file in which it keeps all, secrets too; made here if it is not there.
    #[arg(long, value_name = "FILE", default_value = "atp-desk.sqlite")]
    file: PathBuf,
    /// Keeps all in memory instead.
    #[arg(long, conflicts_with = "file")]
    ephemeral: bool,
    /// Another name by which it may be called, without a port.
    #[arg(long, value_name = "NAME", value_parser = host)]
    host: Vec<String>,
    /// Registers a service under this name, whose answers go there.
    #[arg(long, value_name = "NAME=URL", value_parser = quiet(named))]
    service: Vec<(String, String)>,
    /// Answers may go unencrypted to other machines.
    #[arg(long)]
    allow_http: bool,
    /// Does not bound what a service does in a minute.
    #[arg(long)]
    no_limits: bool,
    /// What goes wrong with deliveries, such as `duplicate` or `delay=250`.
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
    /// With the next so many alone, 100000 at most [default: with all].
    #[arg(long, value_name = "COUNT", requires = "fault", value_parser = next)]
    next: Option<usize>,
    /// Stops by itself after so long.
    #[arg(long, value_name = "SECONDS")]
    stop_after: Option<u64>,
}

fn host(text: &str) -> Result<String, String> {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_name && !text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err("write a name alone, as desk.test".to_owned())
    }
}

fn next(text: &str) -> Result<usize, String> {
    let next = text.parse().ok().filter(|next| (1..=FAULTS).contains(next));
    next.ok_or_else(|| format!("write a number from 1 to {FAULTS}"))
}

fn named(text: &str) -> Result<(String, String), String> {
    let (name, url) = text.split_once('=').ok_or("write it as NAME=URL")?;
    address(url)?;
    Ok((name.to_owned(), url.to_owned()))
}

/// What whoever develops needs to know.
#[derive(Serialize)]
struct Started {
    url: String,
    admin_token: String,
    user_token: String,
    services: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    service_id: String,
    api_key: String,
    /// One that was given is known to whoever gave it, and told nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<String>,
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The desk is at {} for services and in a browser.", self.url)?;
        writeln!(f, "ATP_DESK_ADMIN_TOKEN={}", self.admin_token)?;
        write!(f, "ATP_DESK_USER_TOKEN={}", self.user_token)?;
        for service in &self.services {
            write!(f, "\nservice {}\n  api key {}", service.service_id, service.api_key)?;
            if let Some(secret) = &service.webhook_secret {
                write!(f, "\n  webhook secret {secret}")?;
            }
        }
        Ok(())
    }
}

impl Desk {
    pub(super) async fn run(&self, output: Output) -> Result<End, Failure> {
        let unable = |error: &dyn fmt::Display| Failure::Unable(error.to_string());
        tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(Level::WARN).init();
        let desk = self.server().start().await.map_err(|error| unable(&error))?;
        if let Some(fault) = self.fault {
            desk.faults(|faults| match self.next {
                Some(next) => faults.next(fault, next),
                None => faults.always(Some(fault)),
            });
        }
        let services = self.register(&desk).await?;
        output.print(&Started {
            url: desk.url(),
            admin_token: desk.admin_token().to_owned(),
            user_token: desk.user_token().to_owned(),
            services,
        })?;
        let patience = self.stop_after.map_or(Duration::MAX, Duration::from_secs);
        tokio::select! {
            told = ctrl_c() => told.map_err(|error| unable(&error))?,
            () = sleep(patience) => {}
        }
        desk.stop().await;
        Ok(End::Done)
    }

    fn server(&self) -> Server {
        let mut desk = Server::new().listen(self.listen);
        if !self.ephemeral {
            desk = desk.file(&self.file);
        }
        if let Ok(token) = env::var("ATP_DESK_TOKEN") {
            desk = desk.page_token(token);
        }
        if let Ok(token) = env::var("ATP_DESK_ADMIN_TOKEN") {
            desk = desk.admin_token(token);
        }
        if let Ok(token) = env::var("ATP_DESK_USER_TOKEN") {
            desk = desk.user_token(token);
        }
        desk = if self.allow_http { desk.allow_http() } else { desk };
        desk = if self.no_limits { desk.unpaced() } else { desk };
        self.host.iter().fold(desk, Server::host)
    }

    /// Each; the answers of one that a file knows from before go where it says now.
    async fn register(&self, desk: &RunningDesk) -> Result<Vec<Entry>, Failure> {
        let secret = env::var("ATP_WEBHOOK_SECRET").unwrap_or_default();
        let mut services = Vec::new();
        for (name, url) in &self.service {
            let registered = match desk.register_with_secret(name, url, &secret).await {
                Err(refusal) if refusal.code() == "SERVICE_ALREADY_EXISTS" => {
                    desk.redirect(name, url, &secret).await
                }
                registered => registered,
            };
            let registered = registered.map_err(|refusal| Failure::Unable(format!("{name}: {refusal}")))?;
            services.push(Entry {
                service_id: registered.service_id,
                api_key: registered.api_key,
                webhook_secret: Some(registered.webhook_secret).filter(|_| secret.is_empty()),
            });
        }
        Ok(services)
    }
}
