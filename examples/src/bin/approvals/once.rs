//! `--once`: the service tries itself, over a real socket.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use actix_web::{rt, web};
use atp_actix::{
    Scheme, Secret,
    test::{Sender, SignedAnswer},
};
use atp_examples::{Failure, client};
use serde_json::{Value, json};

use crate::{questions, tasks::Tasks, webhook};

/// Starts the service with a fresh database, sends it every case, and prints what each got.
pub async fn run() -> Result<ExitCode, Failure> {
    let folder = Folder::new()?;
    let tasks = Tasks::open(&folder.file("approvals.sqlite")).await?;
    let secret = tasks.secret().await?;
    let (server, address) = crate::start(0, &tasks, Secret::new(secret.clone())?).await?;
    let handle = server.handle();
    let running = rt::spawn(server);
    let all_right = web::block(move || try_all(address, &cases(&Sender::new(secret)))).await;
    handle.stop(true).await;
    running.await??;
    tasks.close().await;
    Ok(if all_right?? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One delivery, and what must come of it.
struct Case {
    name: &'static str,
    delivery: SignedAnswer,
    /// The question whose task is looked at afterwards.
    question: &'static str,
    status: u16,
    state: &'static str,
}

fn cases(sender: &Sender) -> Vec<Case> {
    let sample = |nth: usize| {
        let asked = &questions::all()[nth];
        sender.answer(asked.question.id.clone().unwrap_or_default(), asked.sample.0, &asked.sample.1)
    };
    let (deploy, refund, regions) = (sample(0), sample(1), sample(2));
    let case = |name, delivery, question, status, state| Case { name, delivery, question, status, state };
    vec![
        case("forged", deploy.clone().forged(), "deploy", 401, "pending"),
        case("signed an hour ago", deploy.clone().stale(), "deploy", 401, "pending"),
        case("cut off after it was signed", deploy.clone().truncated(), "deploy", 401, "pending"),
        case("signed, but not JSON", deploy.clone().body("approve"), "deploy", 400, "pending"),
        case(
            "no action_id",
            deploy.clone().body(r#"{"notification_id":"deploy"}"#),
            "deploy",
            400,
            "pending",
        ),
        case(
            "an action of another question",
            sender.answer("refund", "approve", ()),
            "refund",
            400,
            "pending",
        ),
        case("an action of no question", sender.answer("deploy", "explode", ()), "deploy", 400, "pending"),
        case(
            "a form without a required field",
            sender.answer("refund", "refund", json!({})),
            "refund",
            400,
            "pending",
        ),
        case("not among the options", sender.answer("regions", "place", ["moon"]), "regions", 400, "pending"),
        case("nobody asked that", sender.answer("lunch", "approve", ()), "lunch", 404, "-"),
        case("deploy, timestamped", deploy.clone(), "deploy", 200, "approved"),
        case(
            "refund, Python's canonical form",
            refund.scheme(Scheme::PythonCanonical),
            "refund",
            200,
            "approved",
        ),
        case("regions, Node's compact form", regions.scheme(Scheme::NodeCompact), "regions", 200, "approved"),
        case("the same answer again, raw", deploy.scheme(Scheme::Raw), "deploy", 200, "approved"),
        case("another answer", sender.answer("deploy", "reject", "too late"), "deploy", 409, "approved"),
    ]
}

/// Whether all got what they should.
fn try_all(address: SocketAddr, cases: &[Case]) -> Result<bool, Failure> {
    println!("{:<34}{:<10}{:<6}{:<12}", "case", "expected", "got", "task");
    let mut wrong = 0;
    for case in cases {
        let status = client::post(address, webhook::PATH, &case.delivery)?.status;
        let state = state(address, case.question)?;
        let right = status == case.status && state == case.state;
        let remark = if right { String::new() } else { format!("WRONG: the task should be {}", case.state) };
        println!("{:<34}{:<10}{:<6}{:<12}{remark}", case.name, case.status, status, state);
        wrong += usize::from(!right);
    }
    println!("{} cases, {wrong} wrong", cases.len());
    Ok(wrong == 0)
}

/// The state of a task as `GET /tasks` shows it; `-` if there is no such task.
fn state(address: SocketAddr, question: &str) -> Result<String, Failure> {
    let tasks: Vec<Value> = serde_json::from_str(&client::get(address, "/tasks")?.body)?;
    let task = tasks.iter().find(|task| task["notification_id"] == question);
    Ok(task.and_then(|task| task["state"].as_str()).unwrap_or("-").to_owned())
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
