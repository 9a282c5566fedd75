//! PgBouncer in front of a server of one's own, in transaction mode.

use std::{fs, process::Command};

use tokio::net::TcpListener;

use crate::support::{clusters::Cluster, external};

/// Gone with it. A machine without the program skips, and says so; continuous integration must not.
pub(crate) struct Bouncer<'a> {
    cluster: &'a Cluster,
    port: u16,
}

impl<'a> Bouncer<'a> {
    pub(crate) async fn new(cluster: &'a Cluster) -> Option<Self> {
        let program = external::program("pgbouncer")?;
        let port =
            TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
        let (folder, server) = (cluster.folder().display().to_string(), cluster.address());
        let (host, server_port) = server.split_once(':').expect("a port");
        let mode = if carries_statements(&program) {
            "transaction\nmax_prepared_statements = 200\ntrack_extra_parameters = default_transaction_read_only"
        } else {
            // What distributions have may be older: then the store does not work in that mode.
            eprintln!("SKIPPED: this PgBouncer is older than 1.21, so it is tried in session mode alone");
            "session"
        };
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             server_login_retry = 1\nlogfile = {folder}/bouncer.log\npidfile = {folder}/bouncer.pid\n"
        );
        cluster.run(&format!("cat > {folder}/bouncer.ini << 'END'\n{settings}END"));
        cluster.run(&format!("{program} -q -d {folder}/bouncer.ini"));
        Some(Self { cluster, port })
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Whether it has `max_prepared_statements`.
fn carries_statements(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output().expect("a version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().next().and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    (numbers.next(), numbers.next()) >= (Some(1), Some(21))
}

impl Drop for Bouncer<'_> {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.cluster.folder().join("bouncer.pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<u32>() {
            self.cluster.run(&format!("kill {pid}; true"));
        }
    }
}
