//! The service in a process of its own, so that it can be killed.

use std::{
    collections::BTreeSet,
    env,
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use atp_examples::Failure;

/// A service in a process. Dropped, that is killed: no handler ends, nothing is flushed, no
/// connection is closed.
pub struct Service {
    pub address: SocketAddr,
    database: PathBuf,
    log: PathBuf,
    process: Process,
    output: Output,
    /// The events that it printed, in all its lives.
    events: Events,
}

type Events = Arc<Mutex<Vec<String>>>;

impl Service {
    /// Starts this program as a service with this database. What it logs is added to the log.
    pub fn start(database: &Path, log: &Path) -> Result<Self, Failure> {
        Self::start_again(database, log, Events::default())
    }

    fn start_again(database: &Path, log: &Path, events: Events) -> Result<Self, Failure> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--port", "0", "--database"])
            .arg(database)
            // The secret is the one in the database.
            .env_remove("ATP_WEBHOOK_SECRET")
            .stdout(Stdio::piped())
            .stderr(OpenOptions::new().append(true).create(true).open(log)?)
            .spawn()?;
        let (output, process) = (Output::of(&mut process, Arc::clone(&events)), Process(process));
        let address = output.wait_for("listening on http://")?.parse()?;
        Ok(Self { address, database: database.to_owned(), log: log.to_owned(), process, output, events })
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, at another address.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        *self = Self::start_again(&self.database, &self.log, Arc::clone(&self.events))?;
        Ok(())
    }

    /// The events that it printed until now, each line once.
    pub fn events(&self) -> BTreeSet<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits for a line that begins with this, and returns the rest of it.
    pub fn wait_for(&self, start: &str) -> Result<String, Failure> {
        self.output.wait_for(start)
    }
}

/// The lines that a process prints.
struct Output(Receiver<String>);

impl Output {
    /// What a machine under load may need.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn of(process: &mut Child, events: Events) -> Self {
        let (sender, lines) = mpsc::channel();
        let stdout = process.stdout.take();
        // Read whether anybody waits or not: a process whose pipe is full stops.
        thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            lines.map_while(Result::ok).try_for_each(|line| match line.strip_prefix("event ") {
                Some(event) => {
                    events.lock().unwrap_or_else(PoisonError::into_inner).push(event.to_owned());
                    Ok(())
                }
                None => sender.send(line),
            })
        });
        Self(lines)
    }

    fn wait_for(&self, start: &str) -> Result<String, Failure> {
        loop {
            let line = self.0.recv_timeout(Self::PATIENCE).map_err(|_| {
                Failure::new(format!("the service did not print `{start}`; its log, above, says why"))
            })?;
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
    }
}

struct Process(Child);

impl Process {
    fn kill(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
