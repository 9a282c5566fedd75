//! The webhook: one handler an action. A handler runs once for its question, and only for an answer
//! that fits it.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use actix_web::rt::time::sleep;
use atp_actix::{
    AtpResponse, Correlation, Decisions, Deferred, Delivery, Error, MultiChoice, Number, Simple,
    SqliteTransaction, Task, Text, Verifier, Webhook, store::SqliteStore,
};

use crate::{
    questions::{Order, Release},
    tasks::take_effect,
};

pub const PATH: &str = "/atp/webhook";

pub fn webhook(verifier: Verifier, store: SqliteStore) -> Webhook {
    // For so long an answer waits whose deployer was being told when the process died.
    let decisions = Decisions::in_store(store).lease(Duration::from_secs(3));
    Webhook::new(PATH, verifier)
        .store(decisions)
        .on("approve", approve)
        .humans_only("approve")
        .on("refund", refund)
        .on("place", place)
        .on("reject", reject)
}

/// The deployment takes its time, so the transaction begins after it: until then nobody waits for
/// it who writes.
async fn approve(
    answer: AtpResponse<Simple>,
    origin: Correlation<Release>,
    task: Task,
    deferred: Deferred<SqliteTransaction>,
) -> Result<(), Error> {
    let version = &origin.context.version;
    deploy(version, answer.delivery()).await?;
    task.set("approved");
    let mut tx = deferred.begin().await?;
    take_effect(&mut tx, &answer, &format!("version {version} is deployed")).await
}

async fn refund(
    cents: AtpResponse<Number>,
    origin: Correlation<Order>,
    task: Task,
    mut tx: SqliteTransaction,
) -> Result<(), Error> {
    task.set("approved");
    let outcome = format!("{:.2} back for order {}", cents.data / 100.0, origin.context.number);
    take_effect(&mut tx, &cents, &outcome).await
}

async fn place(
    regions: AtpResponse<MultiChoice>,
    task: Task,
    mut tx: SqliteTransaction,
) -> Result<(), Error> {
    task.set("approved");
    take_effect(&mut tx, &regions, &regions.data.join(" and ")).await
}

async fn reject(reason: AtpResponse<Text>, task: Task, mut tx: SqliteTransaction) -> Result<(), Error> {
    task.set("rejected");
    take_effect(&mut tx, &reason, &reason.data).await
}

/// Stands for a service elsewhere. No transaction reaches it: after a crash it is told again, and
/// knows by the decision's id that it was told before.
async fn deploy(version: &str, delivery: &Delivery) -> io::Result<()> {
    writeln!(io::stdout(), "deploying {version}, decision {}", delivery.decision_id())?;
    sleep(Duration::from_secs(1)).await;
    Ok(())
}
