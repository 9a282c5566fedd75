//! What an honest sender notices: calm beside flood.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::{
    Run,
    honest::Seen,
    hostile::{Attack, Flood, Kind},
    machine::Spent,
};

/// A machine that works for more than so many per cent of a time is full.
const FULL: u64 = 95;

/// Measures each cell, and prints it.
pub(crate) async fn print(run: &Run<'_>) {
    let settings = run.settings;
    println!(
        "| {}: flood | connections | calm p50 / p99 | flood p50 / p99 | p99 over calm | honest, at first | flood requests/s | \
         answered | machine, of it the server |\n|---|---:|---:|---:|---:|---:|---:|---|---:|",
        run.database.name()
    );
    // The first deliveries of a process are slower than those that follow.
    let first = run.honest.ask(50).await;
    run.honest.deliver(&first, settings.honest).await;
    for &kind in &settings.kinds {
        for &connections in &settings.connections {
            Cell::measure(run, kind, connections).await.print(kind, connections);
        }
    }
}

#[derive(Default)]
struct Cell {
    calm: Seen,
    flooded: Seen,
    statuses: BTreeMap<u16, usize>,
    /// How long the floods were.
    time: Duration,
    spent: Spent,
}

impl Cell {
    async fn measure(run: &Run<'_>, kind: Kind, connections: usize) -> Self {
        let settings = run.settings;
        let flood = Flood { kind, connections, rate: settings.rate, count: usize::MAX };
        let seconds = settings.seconds / 2.0 / settings.rounds as f64;
        let count = ((seconds * settings.honest as f64) as usize).max(10);
        let mut cell = Self::default();
        for _ in 0..settings.rounds {
            let (calm, flooded) = (run.honest.ask(count).await, run.honest.ask(count).await);
            sleep(settings.rest).await;
            cell.calm.add(run.honest.deliver(&calm, settings.honest).await);
            let attack = Attack::start(&flood, &run.server.address, run.database.folder()).await;
            // Until all connections are at it.
            sleep(settings.rest / 2).await;
            let before = Spent::so_far(run.server.id());
            cell.flooded.add(run.honest.deliver(&flooded, settings.honest).await);
            cell.spent.add(before, Spent::so_far(run.server.id()));
            let outcome = attack.stop().await;
            cell.time += outcome.time;
            for (status, count) in outcome.statuses {
                *cell.statuses.entry(status).or_default() += count;
            }
            run.honest.deliver_again().await;
        }
        cell
    }

    fn print(mut self, kind: Kind, connections: usize) {
        let [calm, flooded] =
            [&mut self.calm, &mut self.flooded].map(|seen| [50, 99].map(|p| seen.percentile(p)));
        let all: usize = self.statuses.values().sum();
        let share = |(status, count): (&u16, &usize)| format!("{status}: {} %", count * 100 / all);
        let answered: Vec<String> = self.statuses.iter().map(share).collect();
        let first = |(status, count): (&u16, &usize)| format!("{status}: {count}");
        let first: Vec<String> = self.flooded.statuses.iter().map(first).collect();
        let full = if self.spent.busy() > FULL { ", full" } else { "" };
        println!(
            "| {} | {connections} | {:.1} / {:.1} ms | {:.1} / {:.1} ms | {:.1} | {} | {:.0} | {} | {} %, {} %{full} |",
            kind.name(),
            calm[0],
            calm[1],
            flooded[0],
            flooded[1],
            flooded[1] / calm[1],
            first.join(", "),
            all as f64 / self.time.as_secs_f64(),
            answered.join(", "),
            self.spent.busy(),
            self.spent.of_process(),
        );
    }
}
