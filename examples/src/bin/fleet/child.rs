//! A member of the fleet in a process of its own, to be killed and started again.

use std::{
    env,
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use atp_examples::Failure;

/// How every member is started.
pub struct Start {
    pub database: String,
    pub bus: String,
    pub secret: String,
    /// Where members log.
    pub log: PathBuf,
}

impl Start {
    pub fn member(&self, name: &'static str) -> Result<Member, Failure> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--member", name, &self.bus])
            .env("DATABASE_URL", &self.database)
            .env("ATP_WEBHOOK_SECRET", &self.secret)
            // It ends when this process does, whatever ends that.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(OpenOptions::new().append(true).create(true).open(&self.log)?)
            .spawn()?;
        let stdout = process.stdout.take();
        let mut member = Member { name, address: ([127, 0, 0, 1], 0).into(), process };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.ok_or_else(|| not_started(name, &self.log))?;
        member.address = address.parse()?;
        Ok(member)
    }
}

fn not_started(name: &str, log: &Path) -> Failure {
    Failure::new(format!("{name} did not start; {} says why", log.display()))
}

/// A member that runs. Dropped, it is killed: no handler ends, nothing is flushed, no connection is
/// closed.
pub struct Member {
    pub name: &'static str,
    pub address: SocketAddr,
    process: Child,
}

impl Member {
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
