//! Where the webhook secret comes from: never from the arguments, which every user of a machine can
//! read.

use std::{
    env, fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use atp_core::{Secret, Verifier};
use clap::Args;

use super::output::Failure;

/// Where the secret is unless it is said.
pub(super) const VARIABLE: &str = "ATP_WEBHOOK_SECRET";

/// Where the secret of the service is.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(super) struct SecretArgs {
    /// The environment variable that holds the webhook secret [default: `ATP_WEBHOOK_SECRET`, else a
    /// prompt without echo].
    #[arg(long, value_name = "NAME", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// A file that holds the webhook secret; one line end at its end is no part of it.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Where the secrets of the service are, while it changes them.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(super) struct SecretsArgs {
    #[command(flatten)]
    first: SecretArgs,
    /// An environment variable that holds a previous secret, which is good too; may be repeated.
    #[arg(long, value_name = "NAME")]
    previous_secret_env: Vec<String>,
    /// A file that holds a previous secret, which is good too; may be repeated.
    #[arg(long, value_name = "FILE")]
    previous_secret_file: Vec<PathBuf>,
}

impl SecretArgs {
    /// The secret, asked for if it is nowhere.
    pub(super) fn secret(&self) -> Result<Secret, Failure> {
        let text = self.stored().unwrap_or_else(prompt)?;
        Secret::new(text).map_err(|error| Failure::Unable(error.to_string()))
    }

    /// The text of the secret as it is stored somewhere; nothing if it is nowhere.
    pub(super) fn stored(&self) -> Option<Result<String, Failure>> {
        match (&self.secret_file, &self.secret_env) {
            (Some(file), _) => Some(of_file(file)),
            (None, Some(name)) => Some(of_variable(name)),
            (None, None) => env::var_os(VARIABLE).map(|_| of_variable(VARIABLE)),
        }
    }
}

impl SecretsArgs {
    /// A verifier with all secrets: the first, then the previous ones of variables, then those of
    /// files.
    pub(super) fn verifier(&self) -> Result<Verifier, Failure> {
        let first = Verifier::new(self.first.secret()?);
        let variables = self.previous_secret_env.iter().map(|name| of_variable(name));
        let files = self.previous_secret_file.iter().map(|file| of_file(file));
        variables.chain(files).try_fold(first, |verifier, text| {
            let secret = Secret::new(text?).map_err(|error| Failure::Unable(error.to_string()))?;
            Ok(verifier.or(secret))
        })
    }
}

fn of_variable(name: &str) -> Result<String, Failure> {
    env::var(name).map_err(|error| {
        Failure::Unable(match error {
            env::VarError::NotPresent => {
                format!("the environment variable {name} is not set: it must hold the webhook secret")
            }
            env::VarError::NotUnicode(_) => {
                format!("the environment variable {name} does not hold UTF-8 text, and a secret is text")
            }
        })
    })
}

/// An editor ends a file with a line end that nobody meant.
fn of_file(file: &Path) -> Result<String, Failure> {
    let unable = |error: io::Error| {
        Failure::Unable(format!("the secret cannot be read from the file {}: {error}", file.display()))
    };
    let mut text = fs::read_to_string(file).map_err(unable)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn prompt() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Unable(format!(
            "there is no webhook secret: set the environment variable {VARIABLE}, or name another by --secret-env \
             or a file by --secret-file"
        )));
    }
    rpassword::prompt_password("Webhook secret: ")
        .map_err(|error| Failure::Unable(format!("the secret cannot be asked for: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_at_the_end_of_a_file_is_no_part_of_the_secret() {
        let file = env::temp_dir().join(format!("atp-secret-{}", uuid::Uuid::new_v4()));
        for (text, secret) in
            [("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), ("s", "s"), (" s ", " s "), ("", "")]
        {
            fs::write(&file, text).unwrap();
            assert_eq!(of_file(&file).unwrap(), secret, "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        assert!(of_file(&file).unwrap_err().to_string().contains("cannot be read from the file"));
    }

    #[test]
    fn a_variable_that_is_named_and_not_set_is_told_by_its_name() {
        let args = SecretArgs { secret_env: Some("ATP_NOBODY_SET_THIS".into()), secret_file: None };
        let error = args.secret().unwrap_err().to_string();
        assert!(error.contains("ATP_NOBODY_SET_THIS is not set"), "{error}");
    }
}
