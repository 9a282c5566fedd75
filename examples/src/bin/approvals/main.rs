//! A service that waits for three decisions and keeps them in one SQLite file.
//!
//! `cargo run --bin approvals` needs nothing else. It prints a command for each question; paste
//! them into another terminal and look at `http://127.0.0.1:8080/`; each decision is also printed as
//! the event that other systems are told of. With `-- --once` it starts itself a second time, sends that good and bad answers, kills it in the middle of one, prints
//! what each got, and exits 0 if all are as they should be.

mod child;
mod events;
mod once;
mod pages;
mod paste;
mod questions;
mod tasks;
mod trial;
mod webhook;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use actix_web::{App, HttpServer, dev::ServerHandle, rt, web};
use atp_actix::{
    Secret, Verifier,
    store::{DRAIN_WITHIN, SqliteStore, Store as _},
};
use atp_examples::{Failure, announce, told_to_stop};

use crate::tasks::Tasks;

const USAGE: &str = "usage: approvals [--port PORT] [--database FILE] | --once
  --port PORT      where to listen on 127.0.0.1; 0 is any free port (default: PORT in the environment, else 8080)
  --database FILE  the SQLite file, made if it is not there (default: approvals.sqlite)
  --once           try the service on itself with a temporary database, and exit
The webhook secret is ATP_WEBHOOK_SECRET in the environment; if it is not set, one is made and kept in the database.";

#[actix_web::main]
async fn main() -> Result<ExitCode, Failure> {
    match Arguments::read(env::args().skip(1))? {
        Arguments::Help => println!("{USAGE}"),
        Arguments::Once => return once::run().await,
        Arguments::Serve { port, database } => serve(port, &database).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(port: u16, database: &Path) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let tasks = Tasks::open(database).await?;
    for asked in questions::all() {
        let explain = |error| {
            Failure::new(format!("cannot record `{}`: {error}; begin anew with another --database", asked.id))
        };
        tasks.add(&asked.id, &asked.question).await.map_err(explain)?;
    }
    let (secret, word) = secret(&tasks).await?;
    let (verifier, data) = (Verifier::new(secret), web::Data::new(tasks.clone()));
    let app = move || {
        App::new()
            .app_data(data.clone())
            .service(webhook::webhook(verifier.clone(), data.store.clone()))
            .route("/tasks", web::get().to(pages::json))
            .route("/", web::get().to(pages::html))
    };
    let explain = |error| {
        Failure::new(format!("cannot listen on 127.0.0.1:{port}: {error}; choose another port with --port"))
    };
    let server = HttpServer::new(app).disable_signals().bind(("127.0.0.1", port)).map_err(explain)?;
    let address = server.addrs().first().copied().ok_or_else(|| Failure::new("the server has no address"))?;
    announce(&[address]);
    invite(&tasks, &word, address, database).await?;
    let relay = events::start(tasks.store.clone());
    let server = server.run();
    rt::spawn(end_in_order(tasks.store.clone(), server.handle()));
    server.await?;
    relay.stop().await;
    tasks.store.close().await;
    Ok(())
}

/// Lets what is being decided come to its end before the server stops, which would cut it off.
async fn end_in_order(store: SqliteStore, server: ServerHandle) {
    if let Err(error) = told_to_stop().await {
        return eprintln!("nothing but a kill stops this program: {error}");
    }
    if let Err(error) = store.drain(DRAIN_WITHIN).await {
        eprintln!("the last deliveries were not counted: {error}");
    }
    server.stop(true).await;
}

/// The secret, and how a shell writes it. One from the environment is not printed.
async fn secret(tasks: &Tasks) -> Result<(Secret, String), Failure> {
    if env::var_os("ATP_WEBHOOK_SECRET").is_some() {
        let word = "${ATP_WEBHOOK_SECRET:?set it to the secret of this service}";
        return Ok((Secret::from_env("ATP_WEBHOOK_SECRET")?, word.to_owned()));
    }
    let text = tasks.secret().await?;
    let word = paste::quote(&text);
    Ok((Secret::new(text)?, word))
}

/// Says what is waited for, and how to answer.
async fn invite(tasks: &Tasks, secret: &str, address: SocketAddr, database: &Path) -> Result<(), Failure> {
    let stored = tasks.all().await.map_err(Failure::new)?;
    for asked in questions::all() {
        let Some(task) = stored.iter().find(|task| task.notification_id == asked.id) else { continue };
        println!("\n{} ({}): {}", task.title, task.notification_id, task.state);
        if task.state == "pending" {
            println!("{}", paste::command(&asked, secret, address));
        }
    }
    println!("\nAll of them: http://{address}/ and http://{address}/tasks");
    println!("To begin anew, stop the service and delete {}.", database.display());
    Ok(())
}

/// What the command line asks for.
enum Arguments {
    Help,
    Once,
    Serve { port: u16, database: PathBuf },
}

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let (mut port, mut database) = (None, PathBuf::from("approvals.sqlite"));
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| wrong(&format!("{argument} needs a value")));
            match argument.as_str() {
                "--help" => return Ok(Self::Help),
                "--once" => return Ok(Self::Once),
                "--database" => database = value()?.into(),
                "--port" => {
                    let text = value()?;
                    let number = text.parse().map_err(|_| wrong(&format!("`{text}` is not a port")))?;
                    port = Some(number);
                }
                _ => return Err(wrong(&format!("`{argument}` is not known"))),
            }
        }
        Ok(Self::Serve { port: port.map_or_else(atp_examples::port, Ok)?, database })
    }
}

fn wrong(what: &str) -> Failure {
    Failure::new(format!("{what}\n{USAGE}"))
}
