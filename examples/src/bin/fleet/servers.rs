//! The two servers that the fleet stands on, and what to start where one is missing.

use std::{env, fmt, time::Duration};

use actix_web::rt::time::timeout;
use atp_actix::async_nats::{self, Client};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

const PATIENCE: Duration = Duration::from_secs(5);

/// Both are there.
pub struct Servers {
    pub postgres: PgConnectOptions,
    pub nats: Client,
}

impl Servers {
    /// Tries both, so that all that is missing is said at once.
    pub async fn find() -> Result<Self, Missing> {
        match (postgres().await, nats().await) {
            (Ok(postgres), Ok(nats)) => Ok(Self { postgres, nats }),
            (postgres, nats) => Err(Missing([postgres.err(), nats.err()].into_iter().flatten().collect())),
        }
    }
}

/// What is missing of them, in words for who has to start it.
pub struct Missing(Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fleet needs a PostgreSQL and a NATS server with JetStream:\n{}\n\
             On Debian, as root, with DATABASE_URL and NATS_URL as below:\n  \
             apt-get install postgresql nats-server\n  \
             pg_ctlcluster 15 main start; su postgres -c \"psql -c \\\"ALTER USER postgres PASSWORD 'postgres'\\\"\"\n  \
             nats-server -js -a 127.0.0.1 -sd /tmp/fleet-nats &\n  \
             export DATABASE_URL=postgres://postgres:postgres@127.0.0.1:5432/postgres\n  \
             export NATS_URL=nats://127.0.0.1:4222",
            self.0.join("\n")
        )
    }
}

async fn postgres() -> Result<PgConnectOptions, String> {
    let url = env::var("DATABASE_URL").map_err(|_| "  DATABASE_URL is not set".to_owned())?;
    // The address may have a password, so it is not repeated.
    let options: PgConnectOptions =
        url.parse().map_err(|error| format!("  DATABASE_URL is no address of a PostgreSQL: {error}"))?;
    let connected = timeout(PATIENCE, PgConnection::connect_with(&options)).await;
    match connected {
        Ok(Ok(connection)) => drop(connection.close().await),
        Ok(Err(error)) => return Err(format!("  no PostgreSQL at DATABASE_URL: {error}")),
        Err(_) => return Err("  no PostgreSQL at DATABASE_URL: no answer within 5 s".to_owned()),
    }
    Ok(options)
}

async fn nats() -> Result<Client, String> {
    let url = env::var("NATS_URL").map_err(|_| "  NATS_URL is not set".to_owned())?;
    let client = match timeout(PATIENCE, async_nats::connect(url)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(format!("  no NATS server at NATS_URL: {error}")),
        Err(_) => return Err("  no NATS server at NATS_URL: no answer within 5 s".to_owned()),
    };
    // Asked by hand: the answer of an older server lacks what the client reads of it.
    let account = timeout(PATIENCE, client.request("$JS.API.INFO", "".into())).await;
    match account {
        Ok(Ok(answer)) if is_of_jetstream(&answer.payload) => Ok(client),
        _ => Err("  the NATS server at NATS_URL has no JetStream: start it with -js".to_owned()),
    }
}

fn is_of_jetstream(answer: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(answer).is_ok_and(|account| account.get("error").is_none())
}
