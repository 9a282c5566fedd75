//! `--once`: the service tries itself, over real sockets. This process is the ATP server and the
//! human; a second one, with the same database, is the service.

use std::{
    env, fs,
    mem::swap,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use atp_actix::{Scheme, test::SignedAnswer};
use atp_examples::Failure;
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::{
    questions::{self, Asked},
    tasks::Tasks,
    trial::{Trial, arrived},
};

/// Tries everything with a fresh database, and prints what came of it.
pub async fn run() -> Result<ExitCode, Failure> {
    let folder = Folder::new()?;
    let log = folder.file("log");
    let all_right = try_all(&folder.file("approvals.sqlite"), &log).await;
    if !matches!(all_right, Ok(true)) {
        eprintln!("{}", fs::read_to_string(&log).unwrap_or_default());
    }
    Ok(if all_right? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn try_all(database: &Path, log: &Path) -> Result<bool, Failure> {
    let mut trial = Trial::start(database, log).await?;
    refused(&mut trial).await?;
    twice(&mut trial).await?;
    too_late(&mut trial).await?;
    too_early(&mut trial).await?;
    two_at_once(&mut trial).await?;
    killed(&mut trial).await?;
    effects(&mut trial).await?;
    events(&mut trial).await?;
    Ok(trial.end())
}

/// What is no answer, or none to what was asked. None of it changes a task.
async fn refused(trial: &mut Trial) -> Result<(), Failure> {
    let sender = trial.sender.clone();
    let approval = sender.answer("deploy", "approve", ());
    let four_days_ago = approval.clone().at(Utc::now() - TimeDelta::days(4));
    let no_action = approval.clone().body(r#"{"notification_id":"deploy"}"#);
    let too_much = sender.answer("refund-1042", "refund", 20_000);
    for (name, delivery, status, id) in [
        ("forged", approval.clone().forged(), "401", "deploy"),
        ("signed four days ago", four_days_ago, "401", "deploy"),
        ("signed an hour ahead", approval.clone().future(), "401", "deploy"),
        ("cut off after it was signed", approval.clone().truncated(), "401", "deploy"),
        ("signed, but not JSON", approval.clone().body("approve"), "400", "deploy"),
        ("no action_id", no_action, "400", "deploy"),
        ("an action of another question", sender.answer("regions", "approve", ()), "400", "regions"),
        ("an action of no question", sender.answer("deploy", "explode", ()), "400", "deploy"),
        ("more than was paid", too_much, "400", "refund-1042"),
        ("not among the options", sender.answer("regions", "place", ["moon"]), "400", "regions"),
        ("a reason that is no text", sender.answer("regions", "reject", json!({})), "400", "regions"),
        ("by an agent, where only humans may", approval.by_agent(), "403", "deploy"),
    ] {
        trial.send(name, &delivery, status, (id, "pending")).await?;
    }
    let lunch = sender.answer("lunch", "approve", ());
    trial.send("nobody asked that, as far as is known", &lunch, "503", ("lunch", "-")).await
}

/// The same answer again gets the same reply, however it is signed. Another does not.
async fn twice(trial: &mut Trial) -> Result<(), Failure> {
    let [_, refund, regions] = questions::all();
    let task = ("refund-1042", "approved");
    let answer = sample(trial, &refund).scheme(Scheme::PythonCanonical);
    trial.send("refund, Python's canonical form", &answer, "200", task).await?;
    trial.send("  the same again", &answer, "200", task).await?;

    let task = ("regions", "approved");
    let answer = sample(trial, &regions).stale().scheme(Scheme::NodeCompact);
    trial.send("regions, Node's compact form, an hour old", &answer, "200", task).await?;
    trial.send("  the same again, raw", &answer.scheme(Scheme::Raw), "200", task).await?;
    let other = trial.sender.answer("regions", "reject", "too far away");
    trial.send("  another answer", &other, "409", task).await
}

async fn too_late(trial: &mut Trial) -> Result<(), Failure> {
    // A question is recorded in time only, so this one is asked by the clock of an hour ago.
    let earlier = || Utc::now() - TimeDelta::hours(1);
    let asked = questions::refund(1043, Some(Utc::now() - TimeDelta::seconds(1)));
    let tasks = Tasks { store: trial.tasks.store.clone().clock(earlier) };
    tasks.add(&asked.id, &asked.question).await.map_err(Failure::new)?;
    let answer = sample(trial, &asked);
    trial.send("answered after the deadline", &answer, "409", (&asked.id, "pending")).await
}

async fn too_early(trial: &mut Trial) -> Result<(), Failure> {
    let asked = questions::refund(1044, None);
    let answer = sample(trial, &asked);
    trial.send("an answer that overtakes its question", &answer, "503", (&asked.id, "-")).await?;
    trial.ask(&asked).await?;
    let task = (&*asked.id, "approved");
    trial.send("  again, now that it is recorded", &answer, "200", task).await?;
    trial.send("  the same again", &answer, "200", task).await
}

/// Two different answers over two sockets: nobody knows which of them will stand.
async fn two_at_once(trial: &mut Trial) -> Result<(), Failure> {
    let asked = questions::refund(1045, None);
    trial.ask(&asked).await?;
    let [first, second] = [1250, 900].map(|cents| trial.sender.answer(&asked.id, "refund", cents));
    let sent = [trial.send_aside(&first), trial.send_aside(&second)];
    let [mut one, mut other] = sent.map(arrived);
    let (mut standing, mut refused) = (first, second);
    if other == "200" {
        swap(&mut one, &mut other);
        swap(&mut standing, &mut refused);
    }
    let task = (&*asked.id, "approved");
    trial.check("two answers at once: one of them", "200", &one, task).await?;
    trial.check("  the other", "409 or 503", &other, task).await?;
    trial.deliver("  the other again", &refused, "409", task).await?;
    trial.deliver("  the one again", &standing, "200", task).await
}

/// The process is killed in the middle of a decision, and another takes it up.
async fn killed(trial: &mut Trial) -> Result<(), Failure> {
    let approval = trial.sender.answer("deploy", "approve", ());
    let sent = trial.send_aside(&approval);
    let told = trial.service.wait_for("deploying ")?;
    trial.service.kill();
    trial.check("deploy, killed while it is handled", "none", &arrived(sent), ("deploy", "pending")).await?;

    let task = ("deploy", "approved");
    trial.service.restart()?;
    trial.deliver("  restarted, delivered until it is handled", &approval, "200", task).await?;
    let again = if trial.service.wait_for("deploying ")? == told { "same" } else { "other" };
    trial.check("  the decision that the deployer was told", "same", again, task).await?;
    trial.send("  the same answer again", &approval, "200", task).await?;
    let other = trial.sender.answer("deploy", "reject", "too late");
    trial.send("  another answer", &other, "409", task).await
}

/// How often each task is to have taken effect in the end, and its state.
const CAME_TO: [(&str, &str, &str); 6] = [
    ("deploy", "1", "approved"),
    ("refund-1042", "1", "approved"),
    ("regions", "1", "approved"),
    ("refund-1043", "0", "pending"),
    ("refund-1044", "1", "approved"),
    ("refund-1045", "1", "approved"),
];

/// However often an answer came: how often did it take effect?
async fn effects(trial: &mut Trial) -> Result<(), Failure> {
    for (id, expected, state) in CAME_TO {
        let tasks = trial.tasks.all().await.map_err(Failure::new)?;
        let effects = tasks.iter().filter(|task| task.notification_id == id && task.outcome.is_some());
        let got = effects.count().to_string();
        trial.check(&format!("effects of {id}"), expected, &got, (id, state)).await?;
    }
    Ok(())
}

/// Each decision that took effect is told, under one id and with the same bytes, also that of the
/// process that was killed.
async fn events(trial: &mut Trial) -> Result<(), Failure> {
    for (id, expected, state) in CAME_TO {
        let got = trial.told_of(id, expected).await.to_string();
        trial.check(&format!("events of {id}"), expected, &got, (id, state)).await?;
    }
    Ok(())
}

/// The answer that the demonstration gives.
fn sample(trial: &Trial, Asked { id, sample: (action, data), .. }: &Asked) -> SignedAnswer {
    trial.sender.answer(id, *action, data)
}

/// A temporary folder that goes when this goes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let folder = env::temp_dir().join(format!("approvals-{}", process::id()));
        fs::create_dir(&folder)
            .map_err(|error| Failure::new(format!("cannot make the folder {}: {error}", folder.display())))?;
        Ok(Self(folder))
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("the folder {} is left over: {error}", self.0.display());
        }
    }
}
