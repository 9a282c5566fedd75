//! What the operating system allows and tells.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process open as many files as it may: each connection is one.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, most).expect("the soft limit of open files is raised to the hard one");
}

/// Time that was spent, in clock ticks. Nothing where there is no `/proc`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    /// By all cores, whether they worked or not.
    all: u64,
    /// By cores that did nothing.
    idle: u64,
    /// By one process.
    process: u64,
}

impl Spent {
    /// Since the machine started.
    pub(crate) fn so_far(process: u32) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let cores: Vec<u64> = numbers(stat.lines().next().unwrap_or_default());
        let own = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let own = numbers(own.rsplit_once(") ").map_or("", |(_, rest)| rest));
        Self {
            all: cores.iter().take(8).sum(),
            idle: cores.iter().skip(3).take(2).sum(),
            // The first field is a letter, and no number.
            process: own.iter().skip(10).take(2).sum(),
        }
    }

    pub(crate) fn add(&mut self, from: Self, to: Self) {
        self.all += to.all - from.all;
        self.idle += to.idle.saturating_sub(from.idle);
        self.process += to.process - from.process;
    }

    /// How much of the machine worked, in per cent.
    pub(crate) fn busy(&self) -> u64 {
        100 - self.idle * 100 / self.all.max(1)
    }

    /// How much of the machine the process had, in per cent.
    pub(crate) fn of_process(&self) -> u64 {
        self.process * 100 / self.all.max(1)
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}
