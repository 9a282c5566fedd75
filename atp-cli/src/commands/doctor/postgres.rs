//! Whether a PostgreSQL keeps what it is given.

use sqlx::{PgConnection, postgres::PgConnectOptions};

use super::{finding::Finding, pooler, schema};
use crate::commands::{database, output::chain};

const DATABASE: &str = "database";

/// Looks at the server, and changes nothing.
pub(super) async fn check(options: &PgConnectOptions) -> Vec<Finding> {
    let mut connection = match database::connect_postgres(options).await {
        Ok(connection) => connection,
        Err(error) => {
            let todo = "see that it runs, and that the URL is the service's";
            return vec![Finding::wrong(DATABASE, error.to_string(), todo)];
        }
    };
    let mut findings = look(&mut connection)
        .await
        .unwrap_or_else(|error| vec![Finding::wrong(DATABASE, chain(&error), "see the log of the server")]);
    findings.extend(pooler::check(options).await);
    findings
}

async fn look(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    const SETTINGS: &str = "SELECT current_setting('fsync'), current_setting('synchronous_commit'),
         current_setting('full_page_writes'), current_setting('server_encoding'), current_setting('transaction_read_only')";
    // Not prepared by name: a pooler may not know the names.
    let (fsync, commit, pages, encoding, read_only): (String, String, String, String, String) =
        sqlx::query_as(SETTINGS).persistent(false).fetch_one(&mut *connection).await?;
    let version = database::postgres_schema(connection).await?;
    Ok(vec![
        of_fsync(&fsync),
        of_commit(&commit),
        of_pages(&pages),
        of_encoding(&encoding),
        of_read_only(&read_only),
        schema::check(version),
    ])
}

fn of_fsync(value: &str) -> Finding {
    if value == "on" {
        return Finding::good("fsync", value);
    }
    Finding::wrong(
        "fsync",
        value,
        "set it to on: without it a power cut loses decisions and may break the database",
    )
}

fn of_commit(value: &str) -> Finding {
    let check = "synchronous_commit";
    match value {
        "on" | "remote_apply" => Finding::good(check, value),
        _ => Finding::advice(
            check,
            value,
            "the library turns it on where a decision is committed; what your service commits itself may be lost by a crash",
        ),
    }
}

fn of_pages(value: &str) -> Finding {
    if value == "on" {
        return Finding::good("full_page_writes", value);
    }
    let todo = "set it to on, unless the file system never writes half a page (ZFS does not)";
    Finding::wrong("full_page_writes", value, todo)
}

fn of_encoding(value: &str) -> Finding {
    if value == "UTF8" {
        return Finding::good("encoding", value);
    }
    Finding::wrong("encoding", value, "make a database in UTF8: this one does not hold every text")
}

fn of_read_only(value: &str) -> Finding {
    if value == "off" {
        return Finding::good("writes", "the server takes them");
    }
    let todo = "connect to the primary, and leave `default_transaction_read_only` at off";
    Finding::wrong("writes", "the server is read-only", todo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn what_would_lose_something_is_told() {
        for (finding, state) in [
            (of_fsync("on"), State::Good),
            (of_fsync("off"), State::Wrong),
            (of_commit("on"), State::Good),
            (of_commit("remote_apply"), State::Good),
            (of_commit("local"), State::Advice),
            (of_commit("off"), State::Advice),
            (of_pages("on"), State::Good),
            (of_pages("off"), State::Wrong),
            (of_encoding("SQL_ASCII"), State::Wrong),
            (of_encoding("UTF8"), State::Good),
            (of_read_only("on"), State::Wrong),
            (of_read_only("off"), State::Good),
        ] {
            assert_eq!(finding.state, state, "{finding}");
        }
    }
}
