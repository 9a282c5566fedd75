//! Whether a SQLite file keeps what it is given.

use std::path::Path;

use sqlx::SqliteConnection;

use super::{finding::Finding, schema};
use crate::commands::{database, output::chain};

const DATABASE: &str = "database";
const JOURNAL: &str = "journal_mode";
const SYNCHRONOUS: &str = "synchronous";

/// Looks at the file, and changes nothing.
pub(super) async fn check(file: &Path) -> Vec<Finding> {
    let mut connection = match database::connect_sqlite(file).await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![Finding::wrong(DATABASE, error.to_string(), "give the file that the service opens")];
        }
    };
    look(&mut connection).await.unwrap_or_else(|error| {
        vec![Finding::wrong(DATABASE, chain(&error), "is it a file of SQLite, and may you read it?")]
    })
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
