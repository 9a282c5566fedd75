//! `--once`: the service tries itself, over real sockets. This process is the ATP server, and the human; a second one is the
//! service, with the same database.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use actix_web::rt::time::sleep;
use atp_actix::{
    Scheme,
    test::{Sender, SignedAnswer},
};
use atp_examples::{Failure, client};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::{
    child::Service,
    questions::{self, Asked},
    tasks::Tasks,
    webhook,
};

/// Tries everything with a fresh database, and prints what came of it.
pub async fn run() -> Result<ExitCode, Failure> {
    let folder = Folder::new()?;
    let log = folder.file("log");
    let wrong = try_all(&folder.file("approvals.sqlite"), &log).await;
    if !matches!(wrong, Ok(0)) {
        eprintln!("{}", fs::read_to_string(&log).unwrap_or_default());
    }
    Ok(if wrong? == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many checks went wrong.
async fn try_all(database: &Path, log: &Path) -> Result<usize, Failure> {
    let tasks = Tasks::open(database).await?;
    let sender = Sender::new(tasks.secret().await?);
    let mut trial = Trial { sender, tasks, service: Service::start(database, log)?, checks: 0, wrong: 0 };
    println!("{:<46}{:<12}{:<6}task", "case", "expected", "got");
    trial.refuse().await?;
    trial.answer_twice().await?;
    trial.answer_too_late().await?;
    trial.answer_too_early().await?;
    trial.answer_at_once().await?;
    trial.kill().await?;
    trial.count().await?;
    println!("{} checks, {} wrong", trial.checks, trial.wrong);
    Ok(trial.wrong)
}

/// What was tried so far.
struct Trial {
    sender: Sender,
    tasks: Tasks,
    service: Service,
    checks: usize,
    wrong: usize,
}

impl Trial {
    /// What is no answer, or none to what was asked. None of it changes a task.
    async fn refuse(&mut self) -> Result<(), Failure> {
        let approval = self.sender.answer("deploy", "approve", ());
        let answer = |id, action, data| self.sender.answer(id, action, data);
        let four_days_ago = Utc::now() - TimeDelta::days(4);
        for (name, delivery, status, id) in [
            ("forged", approval.clone().forged(), "401", "deploy"),
            ("signed four days ago", approval.clone().at(four_days_ago), "401", "deploy"),
            ("signed an hour ahead", approval.clone().future(), "401", "deploy"),
            ("cut off after it was signed", approval.clone().truncated(), "401", "deploy"),
            ("signed, but not JSON", approval.clone().body("approve"), "400", "deploy"),
            ("no action_id", approval.clone().body(r#"{"notification_id":"deploy"}"#), "400", "deploy"),
            ("an action of another question", answer("regions", "approve", json!(null)), "400", "regions"),
            ("an action of no question", answer("deploy", "explode", json!(null)), "400", "deploy"),
            ("more than was paid", answer("refund-1042", "refund", json!(20_000)), "400", "refund-1042"),
            ("not among the options", answer("regions", "place", json!(["moon"])), "400", "regions"),
            ("a reason that is no text", answer("regions", "reject", json!({})), "400", "regions"),
            ("by an agent, where only humans may", approval.by_agent(), "403", "deploy"),
        ] {
            self.send(name, &delivery, status, id, "pending").await?;
        }
        let lunch = self.sender.answer("lunch", "approve", ());
        self.send("nobody asked that, as far as is known", &lunch, "503", "lunch", "-").await
    }

    async fn answer_twice(&mut self) -> Result<(), Failure> {
        let [_, refund, regions] = questions::all()?;
        let refund = self.sample(&refund).scheme(Scheme::PythonCanonical);
        self.send("refund, Python's canonical form", &refund, "200", "refund-1042", "approved").await?;
        self.send("  the same again", &refund, "200", "refund-1042", "approved").await?;
        let regions = self.sample(&regions).stale();
        let node = regions.clone().scheme(Scheme::NodeCompact);
        self.send("regions, Node's compact form, an hour old", &node, "200", "regions", "approved").await?;
        self.send("  the same again, raw", &regions.scheme(Scheme::Raw), "200", "regions", "approved")
            .await?;
        let other = self.sender.answer("regions", "reject", "too far away");
        self.send("  another answer", &other, "409", "regions", "approved").await
    }

    async fn answer_too_late(&mut self) -> Result<(), Failure> {
        let late = questions::refund(1043, Some(Utc::now() - TimeDelta::seconds(1)))?;
        self.tasks.add(&late.id, &late.question).await?;
        self.send("answered after the deadline", &self.sample(&late), "409", &late.id, "pending").await
    }

    async fn answer_too_early(&mut self) -> Result<(), Failure> {
        let early = questions::refund(1044, None)?;
        let answer = self.sample(&early);
        self.send("an answer that overtakes its question", &answer, "503", &early.id, "-").await?;
        self.tasks.add(&early.id, &early.question).await?;
        self.send("  again, now that it is recorded", &answer, "200", &early.id, "approved").await?;
        self.send("  the same again", &answer, "200", &early.id, "approved").await
    }

    /// Two different answers over two sockets: nobody knows which of them will stand.
    async fn answer_at_once(&mut self) -> Result<(), Failure> {
        let asked = questions::refund(1045, None)?;
        self.tasks.add(&asked.id, &asked.question).await?;
        let answers = [1250, 900].map(|cents| self.sender.answer(&asked.id, "refund", cents));
        let sent = answers.each_ref().map(|answer| self.post_aside(answer));
        let statuses = sent.map(joined);
        let [one, other] = &statuses;
        let (winner, loser) = if one == "200" { (one, other) } else { (other, one) };
        self.check("two answers at once: one of them", "200", winner, &asked.id, "approved").await?;
        self.check("  the other", "409 or 503", loser, &asked.id, "approved").await?;
        for (answer, status) in answers.iter().zip(&statuses) {
            let (name, expected) =
                if status == "200" { ("  the one again", "200") } else { ("  the other again", "409") };
            let got = self.deliver(answer).await;
            self.check(name, expected, &got, &asked.id, "approved").await?;
        }
        Ok(())
    }

    /// The process is killed in the middle of a decision, and another takes it up.
    async fn kill(&mut self) -> Result<(), Failure> {
        let approval = self.sender.answer("deploy", "approve", ());
        let sent = self.post_aside(&approval);
        let told = self.service.wait_for("deploying ")?;
        self.service.kill();
        self.check("deploy, killed while it is handled", "none", &joined(sent), "deploy", "pending").await?;
        self.service.restart()?;
        let got = self.deliver(&approval).await;
        self.check("  restarted, delivered until it is handled", "200", &got, "deploy", "approved").await?;
        let again = if self.service.wait_for("deploying ")? == told { "same" } else { "other" };
        self.check("  the decision that the deployer was told", "same", again, "deploy", "approved").await?;
        self.send("  the same answer again", &approval, "200", "deploy", "approved").await?;
        let other = self.sender.answer("deploy", "reject", "too late");
        self.send("  another answer", &other, "409", "deploy", "approved").await
    }

    /// However often an answer was sent: how often did it take effect?
    async fn count(&mut self) -> Result<(), Failure> {
        for task in self.tasks.all().await.map_err(Failure::new)? {
            let id = &task.notification_id;
            let expected = if task.state == "pending" { "0" } else { "1" };
            let got = self.tasks.effects(id).await?.to_string();
            self.check(&format!("effects of {id}"), expected, &got, id, &task.state).await?;
        }
        Ok(())
    }

    /// The answer that the demonstration gives.
    fn sample(&self, Asked { id, sample: (action, data), .. }: &Asked) -> SignedAnswer {
        self.sender.answer(id, *action, data)
    }

    /// Sends a delivery once.
    async fn send(
        &mut self,
        name: &str,
        delivery: &SignedAnswer,
        expected: &str,
        id: &str,
        state: &str,
    ) -> Result<(), Failure> {
        let got = post(self.service.address, delivery);
        self.check(name, expected, &got, id, state).await
    }

    /// Sends a delivery as often as an ATP server would: until the answer is no 503.
    async fn deliver(&self, delivery: &SignedAnswer) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let got = post(self.service.address, delivery);
            if got != "503" || Instant::now() > end {
                return got;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends a delivery while something else goes on.
    fn post_aside(&self, delivery: &SignedAnswer) -> JoinHandle<String> {
        let (address, delivery) = (self.service.address, delivery.clone());
        thread::spawn(move || post(address, &delivery))
    }

    /// Prints a line of the table. `expected` may hold alternatives.
    async fn check(
        &mut self,
        name: &str,
        expected: &str,
        got: &str,
        id: &str,
        expected_state: &str,
    ) -> Result<(), Failure> {
        let state = self.state(id).await?;
        let right = expected.split(" or ").any(|one| one == got) && state == expected_state;
        let remark =
            if right { String::new() } else { format!("WRONG: the task should be {expected_state}") };
        println!("{name:<46}{expected:<12}{got:<6}{state:<10}{remark}");
        self.checks += 1;
        self.wrong += usize::from(!right);
        Ok(())
    }

    /// The state of a task; `-` if there is none.
    async fn state(&self, id: &str) -> Result<String, Failure> {
        let tasks = self.tasks.all().await.map_err(Failure::new)?;
        let task = tasks.into_iter().find(|task| task.notification_id == id);
        Ok(task.map_or_else(|| "-".to_owned(), |task| task.state))
    }
}

/// The status of an answer, or that there was none.
fn post(address: SocketAddr, delivery: &SignedAnswer) -> String {
    client::post(address, webhook::PATH, delivery)
        .map_or_else(|_| "none".to_owned(), |answer| answer.status.to_string())
}

/// What came of a delivery that was sent aside.
fn joined(sent: JoinHandle<String>) -> String {
    sent.join().unwrap_or_else(|_| "panic".to_owned())
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
