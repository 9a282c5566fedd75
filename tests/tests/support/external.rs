//! Programs that a test wants and a machine may not have.

use std::{env, process::Command};

/// The program, if it starts. A machine without it skips, and says so; continuous integration must
/// have it.
pub(crate) fn program(name: &str) -> Option<String> {
    if Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some(name.to_owned());
    }
    assert!(env::var_os("CI").is_none(), "{name} is not installed, and CI must not skip what it proves");
    eprintln!("SKIPPED: {name} is not installed, so nothing was compared with it");
    None
}
