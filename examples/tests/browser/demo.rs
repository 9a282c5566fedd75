//! The demo, as `cargo run --bin demo -- --port 0` starts it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

/// The demo while it runs, with a folder for what it keeps.
pub struct Demo {
    /// Where the desk is.
    pub url: String,
    process: Child,
    folder: PathBuf,
    _output: BufReader<ChildStdout>,
}

impl Demo {
    /// Starts it, and waits until it says where its desk is.
    pub fn start(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_demo"))
            .args(["--port", "0"])
            .env("TMPDIR", &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the demo");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let url = line.split_whitespace().nth(1).unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { url: url.to_owned(), process, folder, _output: output }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
