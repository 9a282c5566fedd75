//! Two processes of a service behind one address, on one PostgreSQL, telling NATS of what is decided.
//!
//! `cargo run --bin fleet` starts both and a front that spreads over them, sends an answer every
//! now and then, and prints what came of them: kill one of the processes and watch. It says what to
//! start if PostgreSQL or NATS are not there. With `-- --once` it sends 2,000 answers, kills one
//! process in the middle, and exits 0 if each had its effect once and its event is out.

mod bus;
mod child;
mod figures;
mod fleet;
mod front;
mod member;
mod place;
mod senders;
mod servers;
mod trial;
mod watch;

use std::{env, process::ExitCode};

use atp_examples::Failure;

use crate::servers::Servers;

const USAGE: &str = "usage: fleet [--once]
  --once  send 2,000 answers, kill a process in the middle, check what came of it, and exit
It wants a PostgreSQL (DATABASE_URL) and a NATS server with JetStream (NATS_URL), and says so if one is missing.";

/// What is not there is not the same as what went wrong.
const SERVERS_ARE_MISSING: u8 = 2;

#[actix_web::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--help"] = arguments[..] {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    // What this program starts itself as.
    if let ["--member", name, bus] = arguments[..] {
        member::serve(name, bus).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_once = match arguments[..] {
        [] => false,
        ["--once"] => true,
        _ => return Err(Failure::new(USAGE)),
    };
    let servers = match Servers::find().await {
        Ok(servers) => servers,
        Err(missing) => {
            eprintln!("{missing}");
            return Ok(ExitCode::from(SERVERS_ARE_MISSING));
        }
    };
    if is_once { trial::run(&servers).await } else { watch::run(&servers).await }
}
