//! What waits behind others is neither hidden nor hides anything, whatever fails in between.

use std::time::Duration;

use atp_actix::{
    AtpResponse, Error, Events, Relay,
    store::{Event, MemoryStore, Outbox, Outgoing, PostgresStore, Routes, SendEnd, Settled, SqliteStore},
};
use futures_util::future::{join, join_all};
use serde_json::json;
use sqlx::{
    AssertSqlSafe, Postgres, Transaction,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions},
    query::QueryScalar,
};
use tokio::time::sleep;

use crate::support::{
    asked::{approve, record},
    databases::{Database as _, PostgresDatabase, SqliteDatabase},
    mounted::{Mounted, webhook},
    scripted::{Does, Scripted, emit, event, until, waiting},
};

const LEASE: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_secs(20);

trait Routed: Outbox {
    fn routed(self, routes: Routes) -> Self;
}

macro_rules! routed {
    ($($store:ty),*) => { $(impl Routed for $store {
        fn routed(self, routes: Routes) -> Self { self.routes(routes) }
    })* };
}

routed!(MemoryStore, SqliteStore, PostgresStore);

crate::support::databases::on_every_store!(
    many_of_one_subject_hide_no_other,
    what_is_behind_another_is_sent_without_a_poll,
    what_is_beside_many_of_one_subject_is_sent_without_a_poll,
    of_two_events_with_one_id_in_one_handler_the_first_is_written,
    a_reason_may_be_any_text,
);

fn ids(leased: &[Outgoing]) -> Vec<&str> {
    leased.iter().map(|outgoing| &*outgoing.event.id).collect()
}

fn ends(leased: &[Outgoing], end: &SendEnd) -> Vec<Settled> {
    leased.iter().map(|outgoing| Settled::new(outgoing, end.clone())).collect()
}

/// Whoever finds nothing asks again after a while: that must not be once for each of those behind.
async fn many_of_one_subject_hide_no_other(store: impl Routed) {
    let store = store.routed(Routes::new().events("bus"));
    for nth in 0..300 {
        emit(&store, format!("many.{nth}"), "many").await;
    }
    emit(&store, "other", "other").await;
    let first = store.lease("bus", 1, LEASE).await.expect("an answer");
    assert_eq!(ids(&first), ["many.0"]);
    let parked = ends(&first, &SendEnd::Parked { reason: "never".to_owned() });
    store.settle("bus", &parked).await.expect("an answer");
    assert_eq!(ids(&store.lease("bus", 10, LEASE).await.expect("an answer")), ["other"]);
    // They come one after another once they may.
    store.forget("bus", first[0].seq).await.expect("it is parked");
    for nth in 1..300 {
        let next = store.lease("bus", 10, LEASE).await.expect("an answer");
        assert_eq!(ids(&next), [format!("many.{nth}")]);
        assert_eq!(store.settle("bus", &ends(&next, &SendEnd::Sent)).await.expect("an answer"), 1);
    }
}

/// A relay that had to poll for each of them would send one an hour.
async fn what_is_behind_another_is_sent_without_a_poll(store: impl Routed) {
    let store = store.routed(Routes::new().events("bus"));
    for nth in 0..20 {
        emit(&store, format!("many.{nth}"), "many").await;
    }
    let bus = Scripted::new(|_| Does::Take);
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).poll(Duration::from_hours(1)).start();
    until("all are sent", PATIENCE, async || waiting(&store, "bus").await == (0, 0)).await;
    assert!(bus.taken().into_iter().eq((0..20).map(|nth| format!("many.{nth}"))), "{:?}", bus.taken());
    relay.stop().await;
}

/// More of one subject than are asked for at a time: what was put aside is no reason to rest.
async fn what_is_beside_many_of_one_subject_is_sent_without_a_poll(store: impl Routed) {
    let store = store.routed(Routes::new().events("bus"));
    for nth in 0..20 {
        emit(&store, format!("many.{nth}"), "many").await;
    }
    emit(&store, "other.0", "other").await;
    let bus = Scripted::new(|outgoing| if outgoing.event.id == "many.0" { Does::Hang } else { Does::Take });
    let relay = Relay::new(store.clone()).sink("bus", bus.clone()).send_within(Duration::from_mins(4));
    let relay = relay.concurrency(4).poll(Duration::from_hours(1)).start();
    until("the other is sent", PATIENCE, async || bus.taken() == ["other.0"]).await;
    drop(relay);
}

async fn of_two_events_with_one_id_in_one_handler_the_first_is_written(store: impl Routed) {
    let store = store.routed(Routes::new().events("bus"));
    let handler = |_: AtpResponse, events: Events| async move {
        for (id, nth) in [("b", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5)] {
            events.emit(Event::new("own", nth)?.id(id))?;
        }
        Ok::<_, Error>("done")
    };
    let app = Mounted::new(webhook(&store).otherwise(handler)).await;
    record(&store, "n-1").await;
    app.expect(&approve("n-1"), 200, "done").await;
    let mut data = Vec::new();
    loop {
        let next = store.lease("bus", 10, LEASE).await.expect("an answer");
        if next.is_empty() {
            break;
        }
        store.settle("bus", &ends(&next, &SendEnd::Sent)).await.expect("an answer");
        data.extend(next.into_iter().map(|outgoing| (outgoing.event.kind, outgoing.event.data)));
    }
    let own: Vec<&str> = data.iter().filter(|(kind, _)| kind == "own").map(|(_, data)| &**data).collect();
    assert_eq!((own, data.len()), (vec!["1", "2", "4"], 4), "{data:?}");
}

/// It comes from a stranger, and one that the store cannot take would stop the relay.
async fn a_reason_may_be_any_text(store: impl Routed) {
    let store = store.routed(Routes::new().events("bus"));
    let long = "ü\0\\".repeat(1000);
    for reason in ["", "\0", "a\0b\\", "\u{fffd}\u{202e}'\"", &long] {
        let id = format!("{} {}", reason.len(), json!(reason.chars().next()));
        emit(&store, &*id, &id).await;
        let leased = store.lease("bus", 10, LEASE).await.expect("an answer");
        let parked = ends(&leased, &SendEnd::Parked { reason: reason.to_owned() });
        assert_eq!(store.settle("bus", &parked).await.expect("an answer"), 1, "{reason:?}");
        let parked = store.parked("bus", leased[0].seq - 1, 1).await.expect("an answer");
        assert!(reason.starts_with(&*parked[0].reason), "{reason:?}: {:?}", parked[0].reason);
        assert!(reason.len() > 500 || reason == parked[0].reason, "{reason:?}");
    }
}

/// What is sent and what is behind it change together: else that would be behind it for ever.
#[actix_web::test]
async fn what_is_settled_lets_those_behind_it_go_or_is_not_settled_on_sqlite() {
    let database = SqliteDatabase::new().await;
    let store = database.store().clone().routes(Routes::new().events("bus"));
    emit(&store, "one.1", "one").await;
    emit(&store, "one.2", "one").await;
    let first = store.lease("bus", 10, LEASE).await.expect("an answer");
    assert!(store.lease("bus", 10, LEASE).await.expect("an answer").is_empty());
    let fails =
        "CREATE TRIGGER fails BEFORE UPDATE ON atp_sends WHEN old.due_at IS NULL AND new.due_at IS NOT NULL
                 BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
    sqlx::raw_sql(fails).execute(&database.pool).await.expect("a trigger");
    let sent = ends(&first, &SendEnd::Sent);
    assert!(store.settle("bus", &sent).await.is_err());
    sqlx::raw_sql("DROP TRIGGER fails").execute(&database.pool).await.expect("no trigger");
    assert_eq!(store.settle("bus", &sent).await.expect("an answer"), 1, "it was not settled");
    assert_eq!(ids(&store.lease("bus", 10, LEASE).await.expect("an answer")), ["one.2"]);
}

/// Somebody puts it aside while another says that the older one is sent.
#[actix_web::test]
async fn what_is_put_aside_while_the_older_is_settled_is_due_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus"));
    let slow = "CREATE FUNCTION slow() RETURNS TRIGGER LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_sleep(0.6); RETURN new; END';
        CREATE TRIGGER slow BEFORE UPDATE ON atp_sends FOR EACH ROW
        WHEN (old.due_at IS NOT NULL AND new.due_at IS NULL) EXECUTE FUNCTION slow()";
    sqlx::raw_sql(slow).execute(&database.pool).await.expect("a trigger");
    emit(&store, "one.1", "one").await;
    emit(&store, "one.2", "one").await;
    let first = store.lease("bus", 1, LEASE).await.expect("an answer");
    assert_eq!(ids(&first), ["one.1"]);
    let settling = async {
        sleep(Duration::from_millis(200)).await;
        store.settle("bus", &ends(&first, &SendEnd::Sent)).await
    };
    let (put_aside, settled) = join(store.lease("bus", 10, LEASE), settling).await;
    let mut second = put_aside.expect("an answer");
    assert_eq!(settled.expect("an answer"), 1);
    second.extend(store.lease("bus", 10, LEASE).await.expect("an answer"));
    assert_eq!(ids(&second), ["one.2"], "it is behind nobody");
}

/// Both were leased since the older was committed late; each relay still sees the other's.
#[actix_web::test]
async fn what_is_behind_two_that_are_settled_at_once_is_due_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus"));
    let mut late = store.begin().await.expect("a transaction");
    store.emit_in(&mut late, &event("one.1", "").subject("one")).await.expect("an answer");
    emit(&store, "one.2", "one").await;
    let mut leased = store.lease("bus", 1, LEASE).await.expect("an answer");
    late.commit().await.expect("a commit");
    leased.extend(store.lease("bus", 1, LEASE).await.expect("an answer"));
    assert_eq!(ids(&leased), ["one.2", "one.1"]);
    emit(&store, "one.3", "one").await;
    assert!(store.lease("bus", 10, LEASE).await.expect("an answer").is_empty(), "it is put aside");
    let [mut one, mut other] =
        [database.pool.begin().await, database.pool.begin().await].map(|begun| begun.expect("a transaction"));
    assert_eq!(settle(&leased[0]).fetch_one(&mut *one).await.expect("an answer"), 1);
    let settled = while_it_commits(one, settle(&leased[1]).fetch_one(&mut *other)).await;
    assert_eq!(settled.expect("an answer"), 1);
    other.commit().await.expect("a commit");
    assert_eq!(ids(&store.lease("bus", 10, LEASE).await.expect("an answer")), ["one.3"]);
}

/// As two operators do.
#[actix_web::test]
async fn what_is_behind_two_that_are_given_up_at_once_is_due_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus"));
    for nth in 1..=3 {
        emit(&store, format!("one.{nth}"), "one").await;
    }
    assert_eq!(ids(&store.lease("bus", 10, LEASE).await.expect("an answer")), ["one.1"]);
    let park = "UPDATE atp_sends SET parked_at = 1, due_at = NULL, leased_until = 0
        WHERE seq < (SELECT max(seq) FROM atp_sends) RETURNING seq";
    let parked: Vec<i64> = sqlx::query_scalar(park).fetch_all(&database.pool).await.expect("two");
    let mut given_up = Vec::new();
    for seq in parked {
        let mut tx = database.pool.begin().await.expect("a transaction");
        let forget = sqlx::query("DELETE FROM atp_sends WHERE seq = $1").bind(seq);
        forget.execute(&mut *tx).await.expect("an answer");
        let promote = sqlx::query("SELECT atp_promote('bus', ARRAY['default'], ARRAY['one'])");
        given_up.push((tx, promote));
    }
    let [(mut one, first), (mut other, second)] = given_up.try_into().unwrap_or_else(|_| panic!("two"));
    first.execute(&mut *one).await.expect("an answer");
    while_it_commits(one, second.execute(&mut *other)).await.expect("an answer");
    other.commit().await.expect("a commit");
    assert_eq!(ids(&store.lease("bus", 10, LEASE).await.expect("an answer")), ["one.3"]);
}

/// Whoever puts it aside holds the oldest that nobody else is at, which is the one that is to be due.
#[actix_web::test]
async fn what_is_due_next_is_due_while_more_is_put_aside_behind_it_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus"));
    emit(&store, "one.1", "one").await;
    let first = store.lease("bus", 1, LEASE).await.expect("an answer");
    emit(&store, "one.2", "one").await;
    assert!(store.lease("bus", 10, LEASE).await.expect("an answer").is_empty(), "it is put aside");
    emit(&store, "one.3", "one").await;
    let [mut settling, mut leasing] =
        [database.pool.begin().await, database.pool.begin().await].map(|begun| begun.expect("a transaction"));
    // As it is a moment after the first was found to be sent.
    let lock = "SELECT 1 FROM atp_sends WHERE sink = 'bus' AND seq = $1 FOR UPDATE";
    sqlx::query(lock).bind(first[0].seq).execute(&mut *settling).await.expect("a lock");
    sqlx::query(LEASE_ALL).execute(&mut *leasing).await.expect("an answer");
    let settled = while_it_commits(leasing, settle(&first[0]).fetch_one(&mut *settling)).await;
    assert_eq!(settled.expect("an answer"), 1);
    settling.commit().await.expect("a commit");
    assert_eq!(ids(&store.lease("bus", 10, LEASE).await.expect("an answer")), ["one.2"]);
}

/// What comes of waiting for a transaction that is committed a moment later.
async fn while_it_commits<T>(other: Transaction<'_, Postgres>, waits: impl Future<Output = T>) -> T {
    let committing = async {
        sleep(Duration::from_millis(300)).await;
        other.commit().await
    };
    let (came, committed) = join(waits, committing).await;
    committed.expect("a commit");
    came
}

/// A lease by another relay.
const LEASE_ALL: &str = "SELECT count(*) FROM atp_lease('bus', 10, 10, 60000000, 600000000, 0)";

/// What another relay says: that this was sent.
fn settle(leased: &Outgoing) -> QueryScalar<'static, Postgres, i64, PgArguments> {
    let settle = "SELECT atp_settle('bus', ARRAY[$1], ARRAY[$2], ARRAY[0]::BIGINT[], ARRAY[0]::BIGINT[],
        ARRAY[NULL]::TEXT[])";
    sqlx::query_scalar(settle).bind(leased.seq).bind(i64::from(leased.attempt))
}

/// A statement by itself would see what there was when it began to wait.
#[actix_web::test]
async fn what_is_put_aside_meanwhile_is_due_whatever_isolation_postgres_has_by_default() {
    let Some(database) = PostgresDatabase::new().await else { return };
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let options: PgConnectOptions = database.url().parse().expect("a URL");
        let options = options.options([("default_transaction_isolation", isolation)]);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.expect("a pool");
        let store = PostgresStore::from_pool(pool).await.expect("a store");
        let store = store.routes(Routes::new().events("bus"));
        for nth in 1..=2 {
            emit(&store, format!("{isolation}.{nth}"), isolation).await;
        }
        let first = store.lease("bus", 1, LEASE).await.expect("an answer");
        // Another relay puts the second aside, and holds the first for that.
        let mut other = database.pool.begin().await.expect("a transaction");
        sqlx::query(LEASE_ALL).execute(&mut *other).await.expect("an answer");
        let settled = while_it_commits(other, store.settle("bus", &ends(&first, &SendEnd::Sent))).await;
        assert_eq!(settled.expect("an answer"), 1, "{isolation}");
        let second = store.lease("bus", 10, LEASE).await.expect("an answer");
        assert_eq!(ids(&second), [format!("{isolation}.2")]);
        store.settle("bus", &ends(&second, &SendEnd::Sent)).await.expect("an answer");
    }
}

/// Nobody would send it, and by and by it would be parked.
#[actix_web::test]
async fn what_is_leased_too_late_for_who_asked_is_not_leased_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus"));
    emit(&store, "one", "one").await;
    let now = |sleeps: &str| {
        let body = format!("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT {sleeps}");
        format!("CREATE OR REPLACE FUNCTION atp_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS '{body}'")
    };
    for (sleeps, is_in_time) in [("FROM pg_sleep(7)", false), ("", true)] {
        sqlx::raw_sql(AssertSqlSafe(now(sleeps))).execute(&database.pool).await.expect("a clock");
        let leased = store.lease("bus", 1, LEASE).await;
        assert_eq!(leased.is_ok(), is_in_time, "{leased:?}");
        if let Ok(leased) = leased {
            assert_eq!((ids(&leased), leased[0].attempt), (vec!["one"], 1));
        } else {
            // What the server began goes on to its end.
            sleep(Duration::from_secs(4)).await;
        }
    }
}

/// Each relay tidies, and the sinks of one event have it at different times.
#[actix_web::test]
async fn many_who_tidy_leave_no_event_without_a_sink_on_postgres() {
    let Some(database) = PostgresDatabase::new().await else { return };
    let store = database.store().clone().routes(Routes::new().events("bus").events("audit"));
    for round in 0..2 {
        let mut open = store.begin().await.expect("a transaction");
        for nth in 0..1200 {
            store
                .emit_in(&mut open, &event(format!("{round}.{nth}"), "").subject(format!("s-{nth}")))
                .await
                .expect("an answer");
        }
        open.commit().await.expect("a commit");
        // Each sink has them all in the end, while others tidy.
        let sent = ["DELETE FROM atp_sends WHERE sink = 'bus'", "DELETE FROM atp_sends WHERE sink = 'audit'"];
        let sending = join_all(sent.map(|sent| sqlx::raw_sql(sent).execute(&database.pool)));
        let tidying = join_all((0..4).map(|_| store.tidy(Duration::ZERO)));
        let (sent, done) = join(sending, tidying).await;
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        let mut tidied = 0;
        for done in done {
            tidied += done.expect("an answer");
        }
        tidied += store.tidy(Duration::ZERO).await.expect("an answer");
        let left: (i64, i64) =
            sqlx::query_as("SELECT (SELECT count(*) FROM atp_events), (SELECT count(*) FROM atp_sends)")
                .fetch_one(&database.pool)
                .await
                .expect("counts");
        assert_eq!((left, tidied), ((0, 0), 1200), "round {round}");
    }
}
