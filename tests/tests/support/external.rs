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
    with("python3", "-c", &format!("import {module}"), module)
}

/// Node, if it has this package. A machine without it skips, and says so; continuous integration must
/// have it.
pub(crate) fn node_with(package: &str) -> Option<String> {
    with("node", "-e", &format!("require('{package}')"), package)
}

/// The program, if a line of its language that needs the package runs.
fn with(name: &str, option: &str, line: &str, package: &str) -> Option<String> {
    let program = program(name)?;
    let ran = Command::new(&program).args([option, line]).output();
    if ran.is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    assert!(
        env::var_os("CI").is_none(),
        "{name} has no {package}, and CI must not skip what it proves: `.ci/run` says how to install it"
    );
    eprintln!("SKIPPED: {name} has no {package}, so nothing was tried with it");
    None
}
