//! Whether a pooler stands in front of PostgreSQL, and what it takes away.

use sqlx::{PgConnection, postgres::PgConnectOptions};

use super::finding::Finding;
use crate::commands::{database, output::chain};

const CHECK: &str = "pooler";
const PREPARED: &str = "prepared statements";
const LISTEN: &str = "LISTEN";

/// How often a session is taken away, if it can be.
const ROUNDS: usize = 4;

/// What was seen of a connection.
#[derive(Debug)]
enum Seen {
    /// Its session is its own.
    OwnSession,
    /// Its session changes between transactions; whether prepared statements go with it, or why
    /// not.
    Changing(Result<(), String>),
}

/// Looks whether a connection keeps its session while others take sessions.
pub(super) async fn check(options: &PgConnectOptions) -> Vec<Finding> {
    match look(options).await {
        Ok(Seen::OwnSession) => vec![
            Finding::good(CHECK, "none that changes the session between transactions"),
            Finding::good(PREPARED, "they work"),
            Finding::good(LISTEN, "it works: relays hear at once of what other processes write"),
        ],
        Ok(Seen::Changing(prepared)) => of_transactions(prepared),
        Err(why) => {
            vec![Finding::wrong(CHECK, why, "a store needs transactions, and ten connections at once")]
        }
    }
}

fn of_transactions(prepared: Result<(), String>) -> Vec<Finding> {
    let pooler = Finding::advice(
        CHECK,
        "one that gives a connection another session in each transaction",
        "see that it carries over `default_transaction_read_only`, which cannot be tried without harm: PgBouncer 1.21 \
         or newer with `track_extra_parameters = default_transaction_read_only`",
    );
    let prepared = match prepared {
        Ok(()) => Finding::good(PREPARED, "the pooler carries them over"),
        Err(why) => {
            Finding::wrong(PREPARED, why, "set `max_prepared_statements` of PgBouncer, 1.21 or newer")
        }
    };
    let listen = Finding::advice(
        LISTEN,
        "nothing is heard through such a pooler: relays find what other processes write when they poll",
        "nothing, or connect the relays to the server itself",
    );
    vec![pooler, prepared, listen]
}

async fn look(options: &PgConnectOptions) -> Result<Seen, String> {
    let connect = || async { database::connect_postgres(options).await.map_err(|error| error.to_string()) };
    let mut watched = connect().await?;
    let first = session(&mut watched).await.map_err(|error| chain(&error))?;
    // What is prepared here is asked for again in another session, if there is one.
    let mut prepared = prepared(&mut watched).await;
    let mut takers = Vec::new();
    for _ in 0..ROUNDS {
        let mut taker = connect().await?;
        // A transaction keeps a session: the one that was given back last, as a rule.
        sqlx::raw_sql("BEGIN; SELECT 1").execute(&mut taker).await.map_err(|error| chain(&error))?;
        takers.push(taker);
        prepared = match prepared {
            Ok(_) => self::prepared(&mut watched).await,
            failed => failed,
        };
        let here = session(&mut watched).await;
        if here.map_err(|error| chain(&error))? != first || prepared.is_err() {
            return Ok(Seen::Changing(prepared.map(drop).map_err(|error| chain(&error))));
        }
    }
    match prepared {
        Ok(_) => Ok(Seen::OwnSession),
        Err(error) => Ok(Seen::Changing(Err(chain(&error)))),
    }
}

/// The process of the server that this connection has, asked without a prepared statement.
async fn session(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT pg_backend_pid()").persistent(false).fetch_one(connection).await
}

/// The same, by a statement that is prepared once and kept.
async fn prepared(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT pg_backend_pid() + $1::int4").bind(0).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::State;

    #[test]
    fn a_pooler_that_forgets_prepared_statements_is_wrong_and_one_that_does_not_is_not() {
        let is_wrong =
            |prepared| of_transactions(prepared).iter().any(|finding| finding.state == State::Wrong);
        assert!(!is_wrong(Ok(())));
        assert!(is_wrong(Err("prepared statement does not exist".to_owned())));
    }
}
