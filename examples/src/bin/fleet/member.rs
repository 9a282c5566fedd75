//! One process of the fleet: the webhook, and the relay that sends what was decided.

use std::{
    env,
    io::{self, Read as _},
    process, thread,
    time::Duration,
};

use actix_web::{App, HttpServer, rt, web};
use atp_actix::{
    AtpResponse, Error, NatsSink, PostgresTransaction, Relay, Secret, Simple, Verifier, Webhook, async_nats,
    store::{DRAIN_WITHIN, Store as _},
};
use atp_examples::{Failure, announce, told_to_stop};

use crate::place::{self, BUS};

pub const PATH: &str = "/atp/webhook";

/// How long a send may take. When a process dies, what it was sending waits for a little more than
/// twice as long.
const SEND_WITHIN: Duration = Duration::from_secs(2);

/// Serves until it is told to stop. Its servers and its secret are in its environment.
pub async fn serve(name: &str, bus: &str) -> Result<(), Failure> {
    end_with_the_fleet();
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let store = place::open(&env::var("DATABASE_URL")?).await?;
    let nats = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let nats = nats.connect(env::var("NATS_URL")?).await?;
    let sink = NatsSink::new(nats, &format!("{bus}.{{service}}.{{kind>}}"))?.ack_within(SEND_WITHIN / 2);
    let relay = Relay::new(store.clone()).sink(BUS, sink).send_within(SEND_WITHIN).start();

    let verifier = Verifier::new(Secret::from_env("ATP_WEBHOOK_SECRET")?);
    let (served, member) = (store.clone(), web::Data::new(Member(name.to_owned())));
    let app = move || {
        let webhook = Webhook::new(PATH, verifier.clone()).store(served.clone());
        App::new().app_data(member.clone()).service(webhook.on("approve", approve))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0")?;
    announce(&server.addrs());
    let server = server.run();
    let (handle, draining) = (server.handle(), store.clone());
    rt::spawn(async move {
        if told_to_stop().await.is_ok() {
            // What is being decided comes to its end first; counters that fail are no matter here.
            let _ = draining.drain(DRAIN_WITHIN).await;
            handle.stop(true).await;
        }
    });
    server.await?;
    relay.stop().await;
    store.close().await;
    Ok(())
}

/// Nobody is left over: the standard input of a member ends when the process does that started it.
fn end_with_the_fleet() {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(1);
    });
}

/// Which of the processes this is.
struct Member(String);

async fn approve(
    answer: AtpResponse<Simple>,
    member: web::Data<Member>,
    mut tx: PostgresTransaction,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO effects VALUES ($1, $2, $3)")
        .bind(&answer.notification_id)
        .bind(answer.delivery().decision_id().to_string())
        .bind(&member.0)
        .execute(&mut *tx)
        .await?;
    Ok(())
}
