//! Whether a SQLite file keeps what it is given.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{finding::Finding, schema};
use crate::{
    commands::{database, output::chain},
    limits::TURN_WITHIN,
};

const DATABASE: &str = "database";
const JOURNAL: &str = "journal_mode";
const SYNCHRONOUS: &str = "synchronous";
const WRITES: &str = "writes";

/// Looks at the file, and changes nothing.
pub(super) async fn check(file: &Path) -> Vec<Finding> {
    // Who closes a file as the last one folds its `-wal` into it, but not who may only read. So where
    // a service that died left one, the reader goes last; else the writer, who tidies up.
    let has_wal = wal(file).exists();
    let mut reader = match database::connect_sqlite(file, true).await {
        Ok(reader) => reader,
        Err(error) => {
            return vec![Finding::wrong(DATABASE, error.to_string(), "give the file that the service opens")];
        }
    };
    let looked = look(&mut reader).await;
    let reader = if has_wal { Some(reader) } else { reader.close().await.ok().and(None) };
    let findings = match looked {
        Ok(mut findings) => {
            findings.push(of_write(file, try_to_write(file).await));
            findings
        }
        Err(error) if database::is_half_written(&error) => vec![Finding::advice(
            DATABASE,
            "a program died while it wrote to the file, so it cannot be looked at without a change",
            "start the service, which takes back what was half written, and run this again",
        )],
        Err(error) if database::is_busy(&error) => vec![Finding::advice(
            DATABASE,
            "not looked at: another program keeps the file for itself just now",
            "run this again when that has ended",
        )],
        Err(error) if database::is_denied(&error) => vec![of_write(file, Err(error))],
        Err(error) => {
            vec![Finding::wrong(DATABASE, chain(&error), "is it a file of SQLite, and may you read it?")]
        }
    };
    drop(reader);
    findings
}

fn wal(file: &Path) -> PathBuf {
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// Writes to the file, and takes it back: that needs the file, and the folder for the journal.
async fn try_to_write(file: &Path) -> sqlx::Result<()> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false);
    let options = options.busy_timeout(TURN_WITHIN).disable_statement_logging();
    let mut writer = options.connect().await?;
    let tried = write_and_take_back(&mut writer).await;
    writer.close().await?;
    tried
}

async fn write_and_take_back(writer: &mut SqliteConnection) -> sqlx::Result<()> {
    let mut open = writer.begin_with("BEGIN IMMEDIATE").await?;
    if database::sqlite_schema(&mut open).await?.is_some() {
        // The same value once more would be no write, and need no journal.
        sqlx::raw_sql("UPDATE atp_schema SET version = version + 1").execute(&mut *open).await?;
    }
    open.rollback().await
}

fn of_write(file: &Path, tried: sqlx::Result<()>) -> Finding {
    let file = file.display();
    let Err(error) = tried else { return Finding::good(WRITES, "the file takes them") };
    if database::is_busy(&error) {
        let found = format!("not tried: another program writes to {file} just now");
        return Finding::advice(WRITES, found, "run this again when that has ended");
    }
    Finding::wrong(
        WRITES,
        format!("{file} cannot be written: {}", chain(&error)),
        "see that whoever runs the service may write the file and its folder, where the journal lies, and run this as \
         that user",
    )
}

async fn look(connection: &mut SqliteConnection) -> sqlx::Result<Vec<Finding>> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    let version = database::sqlite_schema(connection).await?;
    Ok(vec![of_journal(&journal), of_synchronous(synchronous), schema::check(version)])
}

fn of_journal(journal: &str) -> Finding {
    if journal == "wal" {
        return Finding::good(JOURNAL, "wal");
    }
    Finding::advice(
        JOURNAL,
        journal,
        "`SqliteStore::open` sets WAL; a pool of your own needs WAL, or `synchronous = EXTRA`",
    )
}

/// Each connection has its own, so this is what one gets that says nothing.
fn of_synchronous(level: i64) -> Finding {
    let name = match level {
        0 => "OFF",
        1 => "NORMAL",
        2 => "FULL",
        _ => "EXTRA",
    };
    let found =
        format!("{name} is what a connection has that sets nothing; the library's own have FULL or EXTRA");
    if level >= 2 {
        Finding::good(SYNCHRONOUS, found)
    } else {
        Finding::advice(
            SYNCHRONOUS,
            found,
            "set FULL in the options of your own pool, by `SqliteConnectOptions::synchronous`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn what_would_forget_is_told() {
        for (finding, state) in [
            (of_journal("wal"), State::Good),
            (of_journal("delete"), State::Advice),
            (of_synchronous(0), State::Advice),
            (of_synchronous(1), State::Advice),
            (of_synchronous(2), State::Good),
            (of_synchronous(3), State::Good),
        ] {
            assert_eq!(finding.state, state, "{finding}");
        }
    }
}
