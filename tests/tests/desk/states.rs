//! A question at a desk goes one way, is answered once, and not after its deadline: compared with a
//! model, step by step, by the desk's own clock.
//!
//! Some sequences unless `ATP_DESK_STATES` says how many; `ATP_SEED` repeats a run.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use atp_cli::desk::{Desk, RunningDesk};
use chrono::{DateTime, TimeDelta};
use serde_json::json;

use super::{call, story};
use crate::support::random::{Random, seed};

/// What the model knows of a question.
struct Model {
    status: &'static str,
    deadline: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    List,
    Open,
    Answer,
    AnswerWrongly,
    Withdraw,
    Process,
    Wait,
}

const STEPS: [Step; 7] =
    [Step::List, Step::Open, Step::Answer, Step::AnswerWrongly, Step::Withdraw, Step::Process, Step::Wait];

impl Model {
    fn is_open(&self) -> bool {
        ["created", "delivered", "acknowledged"].contains(&self.status)
    }

    fn expire(&mut self, now: i64) {
        if self.is_open() && self.deadline.is_some_and(|deadline| deadline <= now) {
            self.status = "expired";
        }
    }

    /// The status of the answer, and its code.
    fn ended(&self) -> (u16, &'static str) {
        match self.status {
            "expired" => (409, "NOTIFICATION_EXPIRED"),
            "invalidated" => (409, "NOTIFICATION_INVALIDATED"),
            _ => (409, "NOTIFICATION_ALREADY_RESPONDED"),
        }
    }

    fn take(&mut self, step: Step) -> (u16, &'static str) {
        match step {
            Step::List if self.status == "created" => self.status = "delivered",
            Step::Open if self.is_open() => self.status = "acknowledged",
            Step::Answer if self.is_open() => self.status = "responded",
            Step::AnswerWrongly if self.is_open() => return (400, "INVALID_ACTION_ID"),
            Step::Withdraw if self.is_open() => self.status = "invalidated",
            Step::Process if self.status == "responded" => self.status = "completed",
            Step::Process if self.status == "completed" => {}
            Step::Process if self.is_open() => return (400, "INVALID_STATUS"),
            Step::Answer | Step::AnswerWrongly | Step::Withdraw | Step::Process => return self.ended(),
            Step::List | Step::Open | Step::Wait => {}
        }
        (200, "")
    }
}

#[actix_web::test]
async fn no_transition_but_those_of_the_protocol_is_ever_made() {
    let sequences: usize = env::var("ATP_DESK_STATES").map_or(60, |text| text.parse().expect("a number"));
    let (seed, now) = (seed(), Arc::new(AtomicI64::new(1_800_000_000)));
    let mut random = Random(seed);
    let clock = Arc::clone(&now);
    let clock = move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).expect("a time");
    let desk = Desk::new().unpaced().clock(clock).start().await.expect("a desk");
    // Nobody answers there, so nothing is handled but by what the service says.
    let service = desk.register("nobody", "http://127.0.0.1:9/").await.expect("a service");
    let mut steps = 0;
    for nth in 0..sequences {
        let id = format!("n-{nth}");
        let begun = now.load(Ordering::Relaxed);
        let deadline = random
            .next()
            .is_multiple_of(2)
            .then(|| begun + 1 + i64::try_from(random.next() % 4).expect("few"));
        let mut model = Model { status: "created", deadline };
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("a time") + TimeDelta::zero();
        let question = json!({
            "id": id, "deadline": deadline.map(at), "context": { "title": "Deploy?" },
            "actions": [{ "id": "approve", "label": "Approve", "response_type": "simple" }],
        });
        let asked = call(&desk, "POST", "/api/v1/notifications", &service.api_key, Some(question)).await;
        assert_eq!(asked.0, 201, "{}", asked.1);
        let mut taken = Vec::new();
        for _ in 0..8 {
            let step = STEPS[usize::try_from(random.next() % 7).expect("few")];
            taken.push(step);
            steps += 1;
            if matches!(step, Step::Wait) {
                now.fetch_add(1, Ordering::Relaxed);
            }
            model.expire(now.load(Ordering::Relaxed));
            let expected = model.take(step);
            let found = take(&desk, &service.api_key, &id, step).await;
            assert_eq!(found, (expected.0, expected.1.to_owned()), "ATP_SEED={seed}: {id}: {taken:?}");
        }
        let status = story(&desk, &id).await["status"].clone();
        assert_eq!(status, model.status, "ATP_SEED={seed}: {id}: {taken:?}");
    }
    println!("{sequences} sequences, {steps} steps, ATP_SEED={seed}");
    desk.stop().await;
}

/// The status of the answer, and its code.
async fn take(desk: &RunningDesk, key: &str, id: &str, step: Step) -> (u16, String) {
    let change = format!("/api/v1/notifications/{id}");
    let respond =
        |action: &str| Some(json!({ "notification_id": id, "action_id": action, "response_data": null }));
    let (admin, user) = (desk.admin_token(), desk.user_token());
    let (status, body) = match step {
        Step::List => call(desk, "GET", "/api/v1/client/notifications", user, None).await,
        Step::Open => call(desk, "GET", &format!("/questions/{id}"), "", None).await,
        Step::Answer => call(desk, "POST", "/api/v1/client/respond", user, respond("approve")).await,
        Step::AnswerWrongly => call(desk, "POST", "/api/v1/client/respond", user, respond("deny")).await,
        Step::Withdraw => {
            let body = json!({ "status": "invalidated", "reason": "moot" });
            call(desk, "PATCH", &change, key, Some(body)).await
        }
        Step::Process => call(desk, "PATCH", &change, key, Some(json!({ "status": "processed" }))).await,
        Step::Wait => call(desk, "GET", "/desk/api/faults", admin, None).await,
    };
    let code = serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default();
    (status, code["code"].as_str().unwrap_or_default().to_owned())
}
