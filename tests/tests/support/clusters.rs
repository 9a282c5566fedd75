//! Servers of PostgreSQL of one's own, to be stopped, frozen and filled.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::net::TcpListener;

use crate::support::databases::unique;

/// A server in a folder of its own, gone with it. A machine where none can be made skips, and says
/// so; continuous integration must not.
pub(crate) struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
}

/// Whether this is root, who may mount.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

impl Cluster {
    pub(crate) async fn new() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs =
            versions.map(|version| version.path().join("bin")).find(|path| path.join("initdb").exists());
        let Some(programs) = programs else {
            assert!(
                env::var_os("CI").is_none(),
                "no PostgreSQL server programs, and CI must not skip what they prove"
            );
            eprintln!(
                "SKIPPED: no PostgreSQL server programs in /usr/lib/postgresql, so no server was stopped"
            );
            return None;
        };
        let port =
            TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
        let cluster = Self { folder: env::temp_dir().join(unique()), programs, port };
        cluster.run(&format!("mkdir -p {}", cluster.folder.display()));
        let (programs, data) = (cluster.programs.display(), cluster.data());
        cluster.run(&format!("{programs}/initdb -D {data} -A trust -U postgres > /dev/null"));
        cluster.start();
        Some(cluster)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    /// The server refuses to run as root.
    pub(crate) fn run(&self, command: &str) {
        let mut shell = if is_root() { Command::new("su") } else { Command::new("sh") };
        if is_root() {
            shell.args(["postgres", "-s", "/bin/sh"]);
        }
        let status = shell.args(["-c", command]).current_dir("/").status().expect("a shell");
        assert!(status.success(), "{command}");
    }

    fn control(&self, rest: &str) {
        self.run(&format!("{}/pg_ctl -D {} {rest} > /dev/null", self.programs.display(), self.data()));
    }

    pub(crate) fn start(&self) {
        let folder = self.folder.display();
        let options =
            format!("-p {} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=60", self.port);
        self.control(&format!("-w -l {folder}/log -o '{options}' start"));
    }

    /// As a crash would.
    pub(crate) fn stop(&self) {
        self.control("-m immediate stop");
    }

    /// As an administrator would.
    pub(crate) fn shut_down(&self) {
        self.control("-m fast stop");
    }

    /// Until it is promoted it is a standby, which is read-only. It must be stopped.
    pub(crate) fn demote(&self) {
        self.run(&format!("touch {}/standby.signal", self.data()));
    }

    pub(crate) fn promote(&self) {
        self.control("-w promote");
    }

    /// To the first process, or to all.
    pub(crate) fn signal(&self, signal: &str, to_all: bool) {
        let file = fs::read_to_string(format!("{}/postmaster.pid", self.data())).expect("a running server");
        let first = file.lines().next().expect("a process").to_owned();
        let mut ids = vec![first.clone()];
        if to_all {
            let output = Command::new("pgrep").args(["-P", &first]).output().expect("pgrep");
            ids.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
        }
        let status = Command::new("kill").arg(format!("-{signal}")).args(ids).stderr(Stdio::null()).status();
        assert!(to_all || status.is_ok_and(|status| status.success()), "kill -{signal} {first}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let (programs, data, folder) = (self.programs.display(), self.data(), self.folder.display());
        self.run(&format!(
            "{programs}/pg_ctl -D {data} -m immediate stop > /dev/null 2>&1; rm -rf {folder}; true"
        ));
    }
}
