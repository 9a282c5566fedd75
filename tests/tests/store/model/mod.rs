//! Random sequences of steps beside a small model of what a webhook with a store promises, on every
//! store.
//!
//! 40 sequences a store unless `ATP_MODEL` says how many; `ATP_SEED` repeats a run. A sequence that
//! goes otherwise than the model is cut down to the steps that it takes, and is told with the seed
//! that repeats it alone.
//!
//! Time is the model's own: it stands still until a step moves it, so that both sides of every
//! limit are met exactly.

use std::{collections::BTreeMap, env, panic, rc::Rc, time::Duration};

use self::{
    backend::{Backend, CLOCK, Memory},
    running::{NOTHING, Run},
    steps::Step,
};

use crate::support::{
    databases::{PostgresDatabase, SqliteDatabase},
    random::seed,
};

mod backend;
mod expected;
mod leaving;
mod running;
mod sending;
mod steps;

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_in_memory() {
    sequences(Memory::default()).await;
}

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_on_sqlite() {
    sequences(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn random_sequences_go_as_the_model_says_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        sqlx::raw_sql(CLOCK).execute(&database.pool).await.expect("a clock");
        sequences(database).await;
    }
}

/// A step that went otherwise than the model says: which one, and the story until then.
struct Difference {
    at: usize,
    story: Vec<String>,
}

/// What was met, by name.
type Tally = BTreeMap<String, usize>;

async fn run<B: Backend>(
    backend: &Rc<B>,
    steps: &[Step],
    patience: Duration,
    tally: &mut Tally,
) -> Result<(), Difference> {
    let mut run = Run::new(backend, patience).await;
    let mut story = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let mut came = run.step(step).await;
        let is_done = matches!(&came, Ok(told) if !matches!(step, Step::Wait(_)) && told != NOTHING);
        if is_done && let Err(difference) = run.compare().await {
            came = Err(difference);
        }
        let is_same = came.is_ok();
        if let Ok(came) = &came {
            *tally.entry(format!("{}: {came}", step.name())).or_default() += 1;
        }
        story.push(format!("{step:?}: {}", came.unwrap_or_else(|difference| difference)));
        if !is_same {
            run.abandon().await;
            return Err(Difference { at: at + 1, story });
        }
    }
    if let Err(difference) = run.end().await {
        story.push(format!("at the end: {difference}"));
        run.abandon().await;
        return Err(Difference { at: steps.len(), story });
    }
    Ok(())
}

/// Leaves out every step that the difference does not need.
async fn shortest<B: Backend>(
    backend: &Rc<B>,
    mut steps: Vec<Step>,
    mut difference: Difference,
) -> Difference {
    steps.truncate(difference.at);
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Err(shorter) = run(backend, &fewer, Duration::from_secs(2), &mut Tally::new()).await {
            fewer.truncate(shorter.at);
            (steps, difference) = (fewer, shorter);
            // What was needed by the step that is gone may be needless now.
            at = steps.len();
        }
    }
    difference
}

async fn sequences<B: Backend>(backend: B) {
    let count: u64 = env::var("ATP_MODEL").map_or(40, |text| text.parse().expect("a number of sequences"));
    let seed = seed();
    let (backend, mut tally) = (Rc::new(backend), Tally::new());
    println!("{}: {count} sequences, ATP_SEED={seed}", B::NAME);
    for seed in (0..count).map(|nth| seed.wrapping_add(nth)) {
        let steps = Step::sequence(seed);
        if let Err(difference) = run(&backend, &steps, Duration::from_secs(20), &mut tally).await {
            println!(
                "{}, ATP_MODEL=1 ATP_SEED={seed} differs; the shortest way to it is looked for",
                B::NAME
            );
            let Difference { story, .. } = shortest(&backend, steps, difference).await;
            panic!("{}, ATP_MODEL=1 ATP_SEED={seed}:\n    {}", B::NAME, story.join("\n    "));
        }
    }
    println!("{}: {} steps: {tally:#?}", B::NAME, tally.values().sum::<usize>());
}
