//! Random sequences beside a small model of what a webhook with a store must do.
//!
//! 60 sequences a store unless `ATP_MODEL` says how many; `ATP_SEED` repeats a run.

use std::{
    collections::HashMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::http::StatusCode;
use atp_actix::{
    AtpResponse, ErrorReply,
    atp_core::Fingerprint,
    store::{Claim, Claimed, MemoryStore, Store, Token},
    test::SignedAnswer,
};
use chrono::{TimeDelta, Utc};

use crate::{
    databases::{Database as _, PostgresDatabase, SqliteFile},
    decisions::{Mounted, answer, approve, record, webhook},
    differential::{Random, random_seed},
};

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_in_memory() {
    sequences("memory", MemoryStore::new().redelivery_window(Duration::ZERO)).await;
}

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_on_sqlite() {
    let file = SqliteFile::new();
    sequences("SQLite", file.open().await.redelivery_window(Duration::ZERO)).await;
}

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        sequences("PostgreSQL", database.store().clone().redelivery_window(Duration::ZERO)).await;
    }
}

/// What the handler does next.
const SUCCEEDS: u8 = 0;
const REFUSES: u8 = 1;
const FAILS: u8 = 2;

/// A notification, as it must be.
#[derive(Default, Debug)]
struct Model {
    is_recorded: bool,
    is_invalidated: bool,
    /// Which of the answers stands, and whether its handler refused it.
    decided: Option<(usize, bool)>,
    /// How often a handler had an effect.
    effects: usize,
}

async fn sequences(name: &str, store: impl Store) {
    let count: usize = env::var("ATP_MODEL").map_or(60, |text| text.parse().expect("a number of sequences"));
    let seed = env::var("ATP_SEED").map_or_else(|_| random_seed(), |text| text.parse().expect("a seed"));
    let (does, effects) = (Arc::new(AtomicU8::new(SUCCEEDS)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (does, effects) = (Arc::clone(&does), Arc::clone(&effects));
        move |_: AtpResponse| {
            let outcome = match does.load(Ordering::SeqCst) {
                SUCCEEDS => {
                    effects.fetch_add(1, Ordering::SeqCst);
                    Ok("")
                }
                REFUSES => Err(ErrorReply::new(StatusCode::CONFLICT, "REFUSED", "no")),
                _ => Err(ErrorReply::new(StatusCode::SERVICE_UNAVAILABLE, "AWAY", "not now")),
            };
            std::future::ready(outcome)
        }
    };
    let app = Mounted::new(webhook(&store).otherwise(handler)).await;
    let (mut random, mut steps) = (Random(seed), 0);
    for sequence in 0..count {
        let mut models: HashMap<String, Model> = HashMap::new();
        let mut log = Vec::new();
        for _ in 0..4 + random.below(12) {
            let id = format!("n-{sequence}-{}", random.below(2));
            does.store(random.one(&[SUCCEEDS, SUCCEEDS, REFUSES, FAILS]), Ordering::SeqCst);
            let before = effects.load(Ordering::SeqCst);
            let model = models.entry(id.clone()).or_default();
            let step = step(&mut random, &app, &store, &id, model, does.load(Ordering::SeqCst)).await;
            model.effects += effects.load(Ordering::SeqCst) - before;
            let expected = usize::from(matches!(model.decided, Some((_, false))));
            log.push(format!("{id}: {step}"));
            assert_eq!(model.effects, expected, "ATP_SEED={seed}, sequence {sequence}: {log:#?}\n{model:?}");
            steps += 1;
        }
        for (id, model) in models {
            let found = store.find("default", &id).await.expect("an answer");
            let told = (found.question.is_some(), found.decision.map(|decision| decision.outcome.status));
            let expected = model.decided.map(|(_, refused)| if refused { 409 } else { 200 });
            assert_eq!(told, (model.is_recorded, expected), "ATP_SEED={seed}, {id}: {log:#?}");
        }
    }
    println!("{name}: {count} sequences, {steps} steps, ATP_SEED={seed}");
}

/// The answers that may come.
fn answers(id: &str) -> [SignedAnswer; 3] {
    [approve(id), answer(id, "reject", "no"), answer(id, "delay", "1h")]
}

/// One step, and what the model makes of it.
async fn step(
    random: &mut Random,
    app: &Mounted,
    store: &impl Store,
    id: &str,
    model: &mut Model,
    does: u8,
) -> String {
    match random.below(12) {
        0 | 1 => {
            record(store, id).await;
            model.is_recorded = true;
            "record".to_owned()
        }
        2 => {
            let done = store.invalidate("default", id, "superseded").await.is_ok();
            assert_eq!(done, model.is_recorded && model.decided.is_none(), "{id}: invalidate");
            model.is_invalidated |= done;
            format!("invalidate: {done}")
        }
        3 => {
            let done = store.reopen("default", id).await.is_ok();
            assert_eq!(done, matches!(model.decided, Some((_, true))), "{id}: reopen");
            if done {
                model.decided = None;
            }
            format!("reopen: {done}")
        }
        4 => {
            // A process that claims and dies, its lease over at once.
            let claim = Claim {
                service: "default".to_owned(),
                notification_id: id.to_owned(),
                fingerprint: Fingerprint::new("gone", None),
                action_id: "gone".to_owned(),
                data: None,
                token: Token::random(),
                lease: Duration::ZERO,
            };
            let claimed = store.claim(&claim).await.expect("a claim");
            assert_eq!(matches!(claimed, Claimed::Completed(_)), model.decided.is_some(), "{id}: claim");
            tokio::time::sleep(Duration::from_millis(1)).await;
            "claimed by one that died".to_owned()
        }
        5 => {
            let forged = app.send(&approve(id).forged()).await.0;
            assert_eq!(forged, 401, "{id}");
            "forged".to_owned()
        }
        6 => {
            // Whatever was kept may be driven again; what comes of it is what comes of a delivery.
            let kept = store.refused("default", 0, 10_000).await.expect("an answer");
            let Some(kept) = kept.into_iter().rfind(|kept| kept.notification_id.as_deref() == Some(id))
            else {
                return "nothing to redrive".to_owned();
            };
            let redrive = store.redrive("default", kept.id).await.expect("a redrive");
            let text = String::from_utf8_lossy(&redrive.body).into_owned();
            let which = ["approve", "reject", "delay"]
                .iter()
                .position(|action| text.contains(&format!(r#""{action}""#)));
            let status = app.redrive(redrive).await.0;
            format!("redrive of {which:?}: {}", judge(model, which.expect("one of ours"), does, status))
        }
        _ => {
            let which = random.below(3);
            let sent = answers(id)[which].clone();
            let sent = match random.below(3) {
                0 => sent.at(Utc::now() - TimeDelta::hours(30)),
                1 => sent.request_id("again"),
                _ => sent,
            };
            let status = app.send(&sent).await.0;
            format!("answer {which}: {}", judge(model, which, does, status))
        }
    }
}

/// Whether a delivery was answered as it must be.
fn judge(model: &mut Model, which: usize, does: u8, status: u16) -> u16 {
    let expected = match model.decided {
        Some((stands, refused)) if stands == which => {
            if refused {
                409
            } else {
                200
            }
        }
        Some(_) => 409,
        None if !model.is_recorded => 503,
        None if model.is_invalidated => 409,
        None => match does {
            SUCCEEDS => 200,
            REFUSES => 409,
            _ => 503,
        },
    };
    assert_eq!(status, expected, "{model:?}, answer {which}, the handler does {does}");
    if model.decided.is_none() && model.is_recorded && !model.is_invalidated && does != FAILS {
        model.decided = Some((which, does == REFUSES));
    }
    status
}
