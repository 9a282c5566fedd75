//! Without `--once`: answers come now and then, for whoever wants to kill a process and watch.

use std::{pin::pin, process::ExitCode, time::Duration};

use actix_web::rt::time::sleep;
use atp_examples::{Failure, announce, told_to_stop};
use futures_util::future::{Either, select};

use crate::{fleet::Fleet, senders::Senders, servers::Servers};

/// How many answers come each second.
const A_SECOND: usize = 10;

/// Goes on until it is told to stop.
pub async fn run(servers: &Servers) -> Result<ExitCode, Failure> {
    let mut fleet = Fleet::start(servers).await?;
    announce(&[fleet.address]);
    println!("{A_SECOND} answers a second. Kill a process and watch; Ctrl-C ends it all.");
    for member in &fleet.members {
        println!("{} listens on http://{}: kill -9 {}", member.name, member.address, member.id());
    }
    let gone_on = match select(pin!(told_to_stop()), pin!(go_on(&mut fleet))).await {
        Either::Left((told, _)) => told.map_err(Failure::from),
        Either::Right((ended, _)) => ended,
    };
    fleet.end().await?;
    gone_on?;
    Ok(ExitCode::SUCCESS)
}

async fn go_on(fleet: &mut Fleet) -> Result<(), Failure> {
    let mut asked = 0;
    loop {
        let ids: Vec<String> = (asked..asked + A_SECOND).map(|nth| format!("refund-{nth}")).collect();
        asked += A_SECOND;
        fleet.place.ask(&ids).await?;
        let senders = Senders::start(&fleet.sender, &ids, fleet.address);
        sleep(Duration::from_secs(1)).await;
        for nth in 0..fleet.members.len() {
            if fleet.members[nth].has_ended() {
                fleet.start_again(nth)?;
                let member = &fleet.members[nth];
                println!("{} has ended, and runs again: kill -9 {}", member.name, member.id());
            }
        }
        let (answered, effects, events) =
            (senders.answered(), fleet.place.effects().await?.len(), fleet.bus.len().await?);
        let (waiting, parked) = fleet.waiting().await?;
        println!(
            "{asked} asked ({answered} of the last {A_SECOND} answered), {effects} took effect, {events} events in \
             the stream, {waiting} wait, {parked} are parked"
        );
    }
}
