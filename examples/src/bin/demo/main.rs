//! A desk and a service in one process, on two ports: answer ten questions in your browser, one of
//! each response type, and see what the service does.
//!
//! `cargo run --bin demo` needs nothing else. The questions leave through the service's outbox, the
//! answers come back signed, and the page of the service shows effects, events and deliveries. With
//! `-- --once` it plays itself, with all that can go wrong on the way, prints a table, and exits 0 if
//! each answer had its effect once.

mod once;
mod questions;
mod service;

use std::{env, process::ExitCode};

use atp_cli::desk::Desk;
use atp_examples::{Failure, told_to_stop};

use crate::service::Service;

const USAGE: &str = "usage: demo [--port PORT] | --once
  --port PORT  where the desk listens on 127.0.0.1; 0 is any free port (default: 8700)
  --once       play it through without a browser, and exit";

#[actix_web::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let port = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 8700,
        ["--once"] => return once::run().await,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        ["--port", port] => {
            port.parse().map_err(|_| Failure::new(format!("`{port}` is no port\n{USAGE}")))?
        }
        _ => return Err(Failure::new(USAGE)),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = ([127, 0, 0, 1], port).into();
    let desk = Desk::new().listen(address).start().await?;
    let service = Service::start(&desk).await?;
    for question in questions::all(&service.url()) {
        service.ask(&question).await?;
    }
    println!("open {} in your browser: ten questions wait for you", desk.url());
    told_to_stop().await?;
    service.stop().await?;
    desk.stop().await;
    Ok(ExitCode::SUCCESS)
}
