//! `--once`: 2,000 answers, and a process that is killed in the middle of them.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix_web::rt::time::sleep;
use atp_examples::Failure;

use crate::{figures::Figures, fleet::Fleet, senders::Senders, servers::Servers};

const ANSWERS: usize = 2000;

/// After so many answers a member is killed, and after so many it is started again.
const KILLED_AFTER: usize = 700;
const STARTED_AFTER: usize = 1300;

/// What a machine under load may need for any step.
const PATIENCE: Duration = Duration::from_mins(2);

/// Tries it, prints what came of it, and says whether all was right.
pub async fn run(servers: &Servers) -> Result<ExitCode, Failure> {
    let mut fleet = Fleet::start(servers).await?;
    let tried = try_all(&mut fleet).await;
    if !matches!(tried, Ok(true)) {
        eprintln!("{}", fleet.log());
    }
    fleet.end().await?;
    Ok(if tried? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn try_all(fleet: &mut Fleet) -> Result<bool, Failure> {
    let ids: Vec<String> = (0..ANSWERS).map(|nth| format!("refund-{nth}")).collect();
    fleet.place.ask(&ids).await?;

    let begun = Instant::now();
    let senders = Senders::start(&fleet.sender, &ids, fleet.address);
    answered(&senders, KILLED_AFTER).await?;
    fleet.members[1].kill();
    let killed = begun.elapsed();
    answered(&senders, STARTED_AFTER).await?;
    fleet.start_again(1)?;
    let started = begun.elapsed();
    answered(&senders, ANSWERS).await?;
    let done = begun.elapsed();
    // What the killed process was sending is sent by another when its lease has ended.
    let end = Instant::now() + PATIENCE;
    while fleet.waiting().await?.0 > 0 && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
    }
    let out = begun.elapsed();

    let (effects, told) = (fleet.place.effects().await?, fleet.bus.read().await?);
    let (waiting, parked) = fleet.waiting().await?;
    let questions: BTreeSet<_> = effects.iter().map(|effect| &effect.notification_id).collect();
    let announced = effects
        .iter()
        .filter(|effect| told.decisions.get(&effect.decision_id) == Some(&effect.notification_id));
    let counts = &senders.counts;
    let mut figures = Figures::new();
    figures.check("answers that arrived", ANSWERS, senders.answered());
    figures.check("answers that were refused", 0, counts.refused.load(Ordering::Relaxed));
    figures.check("effects", ANSWERS, effects.len());
    figures.check("questions with an effect", ANSWERS, questions.len());
    figures.check("events in the stream", ANSWERS, usize::try_from(told.messages)?);
    figures.check("ids among them", ANSWERS, told.decisions.len());
    figures.check("effects whose event is in the stream", ANSWERS, announced.count());
    figures.check("events that wait", 0, usize::try_from(waiting)?);
    figures.check("events that are parked", 0, usize::try_from(parked)?);
    for member in &fleet.members {
        let of_it = effects.iter().filter(|effect| effect.member == member.name).count();
        figures.tell(&format!("effects by process {}", member.name), of_it);
    }
    figures.tell("deliveries that got no answer, and came again", counts.cut_off.load(Ordering::Relaxed));
    figures.tell(
        "deliveries that were told to wait, and came again",
        counts.told_to_wait.load(Ordering::Relaxed),
    );
    figures.tell("process two was killed after", seconds(killed));
    figures.tell("  and started again after", seconds(started));
    figures.tell("all answers had arrived after", seconds(done));
    figures.tell("all events were out after", seconds(out));
    Ok(figures.end())
}

async fn answered(senders: &Senders, answers: usize) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while senders.answered() < answers {
        if Instant::now() > end {
            let found = senders.answered();
            return Err(Failure::new(format!(
                "only {found} answers of {answers} have arrived in two minutes"
            )));
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
