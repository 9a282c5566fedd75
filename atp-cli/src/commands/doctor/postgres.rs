//! Whether a PostgreSQL keeps what it is given.

use sqlx::{
    PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{finding::Finding, pooler, schema};
use crate::{
    commands::{database, output::chain},
    https::is_this_machine,
};

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
    findings.push(of_way(options));
    findings.extend(pooler::check(options).await);
    findings
}

async fn look(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    const SETTINGS: &str = "SELECT current_setting('fsync'), current_setting('synchronous_commit'),
         current_setting('full_page_writes'), current_setting('server_encoding'), current_setting('transaction_read_only'),
         current_user::text";
    // Not prepared by name: a pooler may not know the names.
    let (fsync, commit, pages, encoding, read_only, role): (String, String, String, String, String, String) =
        sqlx::query_as(SETTINGS).persistent(false).fetch_one(&mut *connection).await?;
    let lacking = lacking(connection).await?;
    // A role that may not read the tables is told of by what it lacks.
    let schema = match database::postgres_schema(connection).await {
        Ok(version) => schema::check(version),
        Err(error) => Finding::wrong("schema", chain(&error), "see what is said about writes"),
    };
    Ok(vec![
        of_fsync(&fsync),
        of_commit(&commit),
        of_pages(&pages),
        of_encoding(&encoding),
        of_writes(&read_only, &role, &lacking),
        schema,
    ])
}

/// What the role may not do that the statements of the library do, by table.
async fn lacking(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    const LACKING: &str = "SELECT privileges || ' on ' || string_agg(name, ', ' ORDER BY name) FROM (
             SELECT name, string_agg(privilege, ', ') AS privileges FROM (VALUES
                 ('atp_schema', '{SELECT,UPDATE}'::text[]), ('atp_key', '{SELECT,INSERT}'), ('atp_erased', '{SELECT,INSERT}'),
                 ('atp_questions', '{SELECT,INSERT,UPDATE,DELETE}'), ('atp_decisions', '{SELECT,INSERT,UPDATE,DELETE}'),
                 ('atp_deliveries', '{SELECT,INSERT,UPDATE,DELETE}'), ('atp_refused', '{SELECT,INSERT,UPDATE,DELETE}'),
                 ('atp_events', '{SELECT,INSERT,UPDATE,DELETE}'), ('atp_sends', '{SELECT,INSERT,UPDATE,DELETE}')
             ) AS needed (name, needs), unnest(needs) AS privilege
             WHERE NOT has_table_privilege(to_regclass(name), privilege) GROUP BY name) AS lacking
         GROUP BY privileges ORDER BY privileges";
    sqlx::query_scalar(LACKING).persistent(false).fetch_all(connection).await
}

/// Whether anybody on the way could read or answer in the server's place.
fn of_way(options: &PgConnectOptions) -> Finding {
    let check = "encryption";
    let host = options.get_host();
    if is_this_machine(host) || host.starts_with('/') || options.get_socket().is_some() {
        return Finding::good(check, "the server is this machine");
    }
    let found = match options.get_ssl_mode() {
        PgSslMode::VerifyFull => return Finding::good(check, "required, and the server is who it says"),
        PgSslMode::VerifyCa => "required, of any server whose certificate is trusted",
        PgSslMode::Require => "required, of whoever answers",
        PgSslMode::Prefer => "only if the server wants, of whoever answers",
        // The library encrypts nothing by `allow`.
        PgSslMode::Allow | PgSslMode::Disable => "none",
    };
    Finding::advice(check, found, "say `?sslmode=verify-full` in the URL, unless you trust the network to it")
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

fn of_writes(read_only: &str, role: &str, lacking: &[String]) -> Finding {
    let check = "writes";
    if read_only != "off" {
        let todo = "connect to the primary, and leave `default_transaction_read_only` at off";
        return Finding::wrong(check, "the server is read-only", todo);
    }
    if lacking.is_empty() {
        return Finding::good(check, format!("the server takes them of the role {role}"));
    }
    let found = format!("the role {role} lacks {}", lacking.join("; "));
    Finding::wrong(check, found, "grant that to it, or give the URL by which the service connects")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn a_way_through_a_network_is_to_be_encrypted() {
        for (url, state) in [
            ("postgres://127.0.0.1/atp", State::Good),
            ("postgres://localhost/atp?sslmode=disable", State::Good),
            ("postgres://[::1]/atp", State::Good),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/atp", State::Good),
            ("postgres://db.example/atp?sslmode=verify-full", State::Good),
            ("postgres://db.example/atp?sslmode=verify-ca", State::Advice),
            ("postgres://db.example/atp", State::Advice),
            ("postgres://db.example/atp?sslmode=allow", State::Advice),
            ("postgres://db.example/atp?sslmode=disable", State::Advice),
        ] {
            assert_eq!(of_way(&url.parse().unwrap()).state, state, "{url}");
        }
    }

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
            (of_writes("on", "atp", &[]), State::Wrong),
            (of_writes("off", "atp", &["DELETE on atp_sends".to_owned()]), State::Wrong),
            (of_writes("off", "atp", &[]), State::Good),
        ] {
            assert_eq!(finding.state, state, "{finding}");
        }
    }
}
