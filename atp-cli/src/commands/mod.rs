//! What `atp` can do: one file a command.
//!
//! A command is a type of arguments with a `run`, a variant of `Command` and a line of
//! [`Atp::run`].

mod answer;
mod capture;
mod completions;
mod database;
mod delivery;
mod desk;
mod desk_at;
mod doctor;
mod forget;
mod http;
mod load;
mod man;
mod output;
mod parked;
mod parts;
mod pending;
mod redrive;
mod refused;
mod release;
mod replay;
mod secret;
mod send;
mod sign;
mod verify;

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use output::{Failure, Output};

/// A developer's tool for the Agent Triage Protocol.
#[derive(Debug, Parser)]
#[command(name = "atp", version, about, long_about = None, after_help = EXIT_CODES)]
pub struct Atp {
    /// Prints JSON: one document, or one line for each where there are several; errors too.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  judged, and found bad: it does not verify, it was refused, something is wrong
  2  wrong usage
  3  could not be done: no connection, no database, no file, no secret or token that fits

The webhook secret is read from the environment variable ATP_WEBHOOK_SECRET, from another one or a file if \
that is said, or asked for; it is never an argument.

Example:
  atp --json sign answer.json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a desk: an ATP server to develop against, with an inbox page.
    Desk(Box<desk::Desk>),
    /// Lists the questions of a desk that wait for a human.
    Pending(pending::Pending),
    /// Answers a question at a desk, as a human does.
    Answer(answer::Answer),
    /// Sends once more what a desk has sent, to the service or elsewhere.
    Replay(replay::Replay),
    /// Signs a body, and prints the header.
    Sign(sign::Sign),
    /// Sends one signed answer to a webhook, or one with a fault, and says what came of it.
    Send(Box<send::Send>),
    /// Judges a captured request: accepted, or why not.
    Verify(verify::Verify),
    /// Sends answers at a steady rate, and tells how long they took.
    Load(Box<load::Load>),
    /// Lists the authentic deliveries that were refused and kept.
    Refused(refused::Refused),
    /// Sends one of them into the webhook again.
    Redrive(redrive::Redrive),
    /// Lists the events of the outbox that are not tried again by themselves.
    Parked(parked::Parked),
    /// Lets one of them, or all of a sink, be tried again.
    Release(release::Release),
    /// Gives one of them up, so that what waits behind it goes on.
    Forget(forget::Forget),
    /// Looks for what is wrong around a service, and says what to do.
    Doctor(doctor::Doctor),
    /// Prints what makes a shell complete this command.
    Completions(completions::Completions),
    /// Prints the manual, as roff.
    Man(man::Man),
}

impl Atp {
    /// Reads the arguments of this program, and does what they ask for.
    pub async fn main() -> ExitCode {
        let arguments: Vec<OsString> = env::args_os().collect();
        match Self::try_parse_from(&arguments) {
            Ok(atp) => atp.run().await,
            Err(error) if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") => {
                Output::new(true).end(&Err(Failure::Usage(error.to_string())))
            }
            Err(error) => error.exit(),
        }
    }

    /// Does what was asked for.
    pub async fn run(self) -> ExitCode {
        let output = Output::new(self.json);
        let end = match self.command {
            Command::Desk(command) => command.run(output).await,
            Command::Pending(command) => command.run(output).await,
            Command::Answer(command) => command.run(output).await,
            Command::Replay(command) => command.run(output).await,
            Command::Sign(command) => command.run(output),
            Command::Send(command) => command.run(output).await,
            Command::Verify(command) => command.run(output),
            Command::Load(command) => command.run(output).await,
            Command::Refused(command) => command.run(output).await,
            Command::Redrive(command) => command.run(output).await,
            Command::Parked(command) => command.run(output).await,
            Command::Release(command) => command.run(output).await,
            Command::Forget(command) => command.run(output).await,
            Command::Doctor(command) => command.run(output).await,
            Command::Completions(command) => command.run(Self::command()),
            Command::Man(command) => command.run(Self::command()),
        };
        output.end(&end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_contradict_nothing() {
        Atp::command().debug_assert();
    }
}
