//! A trial of the service: deliveries as an ATP server makes them, and the table of what came of
//! them.

use std::{
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use actix_web::rt::time::sleep;
use atp_actix::test::{Sender, SignedAnswer};
use atp_examples::{Failure, client};

use crate::{child::Service, questions::Asked, tasks::Tasks, webhook};

/// A service under trial, and what went wrong so far.
pub struct Trial {
    pub sender: Sender,
    /// The service's own database.
    pub tasks: Tasks,
    pub service: Service,
    checks: usize,
    wrong: usize,
}

impl Trial {
    /// Starts a service with this database, and a table.
    pub async fn start(database: &Path, log: &Path) -> Result<Self, Failure> {
        let tasks = Tasks::open(database).await?;
        let sender = Sender::new(tasks.secret().await?);
        let service = Service::start(database, log)?;
        println!("{:<46}{:<12}{:<6}task", "case", "expected", "got");
        Ok(Self { sender, tasks, service, checks: 0, wrong: 0 })
    }

    /// Ends the table. Whether all was right.
    pub fn end(self) -> bool {
        println!("{} checks, {} wrong", self.checks, self.wrong);
        self.wrong == 0
    }

    /// Records a question, as the part of the service that sends it would.
    pub async fn ask(&self, asked: &Asked) -> Result<(), Failure> {
        self.tasks.add(&asked.id, &asked.question).await.map_err(Failure::new)
    }

    /// Sends a delivery once, and checks the status and the task's state.
    pub async fn send(
        &mut self,
        name: &str,
        delivery: &SignedAnswer,
        expected: &str,
        task: (&str, &str),
    ) -> Result<(), Failure> {
        let got = self.send_aside(delivery);
        self.check(name, expected, &arrived(got), task).await
    }

    /// Sends a delivery until it is answered by something else than 503, as an ATP server does, and
    /// checks that.
    pub async fn deliver(
        &mut self,
        name: &str,
        delivery: &SignedAnswer,
        expected: &str,
        task: (&str, &str),
    ) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut got = arrived(self.send_aside(delivery));
        while got == "503" && Instant::now() < end {
            sleep(Duration::from_millis(100)).await;
            got = arrived(self.send_aside(delivery));
        }
        self.check(name, expected, &got, task).await
    }

    /// Sends a delivery while something else goes on; [`arrived`] says what came of it.
    pub fn send_aside(&self, delivery: &SignedAnswer) -> JoinHandle<Option<u16>> {
        let (address, delivery) = (self.service.address, delivery.clone());
        thread::spawn(move || Some(client::post(address, webhook::PATH, &delivery).ok()?.status))
    }

    /// How many events about a task were printed, as soon as there are as many as expected.
    pub async fn told_of(&self, id: &str, expected: &str) -> usize {
        let about = format!(r#""notification_id":"{id}""#);
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let told = self.service.events().iter().filter(|event| event.contains(&about)).count();
            if told.to_string() == expected || Instant::now() > end {
                return told;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Prints a line of the table. `expected` may hold alternatives, `task` is an id and a state.
    pub async fn check(
        &mut self,
        name: &str,
        expected: &str,
        got: &str,
        (id, expected_state): (&str, &str),
    ) -> Result<(), Failure> {
        let state = self.state(id).await?;
        let right = expected.split(" or ").any(|one| one == got) && state == expected_state;
        let remark = if right {
            String::new()
        } else {
            format!("  WRONG: {expected} and {expected_state} were right")
        };
        println!("{name:<46}{expected:<12}{got:<6}{state}{remark}");
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

/// The status that a delivery got, or `none`.
pub fn arrived(sent: JoinHandle<Option<u16>>) -> String {
    sent.join().ok().flatten().map_or_else(|| "none".to_owned(), |status| status.to_string())
}
