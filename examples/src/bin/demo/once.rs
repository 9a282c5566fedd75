//! Plays it unattended: each question answered, with all that can go wrong on the way.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use actix_web::rt::time::sleep;
use atp_cli::desk::{Desk, Fault};
use atp_examples::Failure;

use crate::{
    questions::{TYPES, answer, one},
    service::Service,
};

/// What goes wrong with the answers of one round.
const ROUNDS: [(&str, Option<Fault>); 9] = [
    ("nothing", None),
    ("duplicate", Some(Fault::Duplicate)),
    ("drop-answer", Some(Fault::DropAnswer)),
    ("truncate", Some(Fault::Truncate)),
    ("wrong-signature", Some(Fault::WrongSignature)),
    ("stale", Some(Fault::Stale)),
    ("respell", Some(Fault::Respell)),
    ("reorder", Some(Fault::Reorder)),
    ("burst", Some(Fault::Burst)),
];

pub async fn run() -> Result<ExitCode, Failure> {
    let desk = Desk::new().unpaced().backoff(Duration::from_millis(50), Duration::from_millis(500));
    let desk = desk.start().await?;
    let service = Service::start(&desk).await?;
    println!("{:<16} {:>9} {:>8} {:>7} {:>7}", "what goes wrong", "questions", "effects", "events", "wrong");
    let mut wrong = 0;
    for (name, fault) in ROUNDS {
        let ids: Vec<(&str, String)> = TYPES.iter().map(|kind| (*kind, format!("{kind} {name}"))).collect();
        for (kind, id) in &ids {
            service.ask(&one(kind, id, &service.url())).await?;
        }
        if let Some(fault) = fault {
            desk.faults(|faults| faults.next(fault, ids.len()));
        }
        for (kind, id) in &ids {
            answer_when_asked(&desk, id, kind).await?;
        }
        let (mut effects, mut events, mut bad) = (0, 0, 0);
        for (_, id) in &ids {
            let (found, told) = settled(&service, id).await?;
            effects += found;
            events += told;
            bad += usize::from((found, told) != (1, 1));
        }
        desk.faults(|faults| faults.clear());
        println!("{name:<16} {:>9} {effects:>8} {events:>7} {bad:>7}", ids.len());
        wrong += bad;
    }
    service.stop().await?;
    desk.stop().await;
    if wrong > 0 {
        println!("{wrong} answers had not one effect and one event");
        return Ok(ExitCode::FAILURE);
    }
    println!("each answer had its effect once, and was told once");
    Ok(ExitCode::SUCCESS)
}

/// The question leaves by the outbox, and may not be there yet.
async fn answer_when_asked(desk: &atp_cli::desk::RunningDesk, id: &str, kind: &str) -> Result<(), Failure> {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        match desk.answer(id, kind, &answer(kind)).await {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.code() == "NOTIFICATION_NOT_FOUND" && Instant::now() < patience => {
                sleep(Duration::from_millis(10)).await;
            }
            Err(refusal) => return Err(Failure::new(format!("{id}: {refusal}"))),
        }
    }
}

/// How many effects and events there are, once there is one of each, and a while after.
async fn settled(service: &Service, id: &str) -> Result<(usize, usize), Failure> {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let (effects, events) = service.done(id).await?;
        if (!effects.is_empty() && events > 0) || Instant::now() > patience {
            return Ok((effects.len(), events));
        }
        sleep(Duration::from_millis(10)).await;
    }
}
