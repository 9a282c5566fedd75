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

/// Python, if it has this module. A machine without it skips, and says so; continuous integration
/// must have it.
pub(crate) fn python_with(module: &str) -> Option<String> {
    let python = program("python3")?;
    let import = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if import.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        env::var_os("CI").is_none(),
        "Python has no {module}, and CI must not skip what it proves: `.ci/run` says how to install it"
    );
    eprintln!("SKIPPED: Python has no {module}, so nothing was sent to it");
    None
}
