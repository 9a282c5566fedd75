//! How PostgreSQL goes about what the store asks.

use atp_actix::Webhook;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::orders;
use crate::support::{databases::PostgresDatabase, orders::good};

/// A connection keeps the plans that it made first. One that reads a table from end to end, since
/// that had a few rows then, would be kept while the table grows, until somebody counts it.
#[actix_web::test]
async fn nothing_is_read_from_end_to_end_though_the_tables_are_new() {
    let Some(orders) = orders().await else { return };
    let handler = |webhook: Webhook| webhook.on("approve", good::<PostgresDatabase>);
    let (mut looked_up, mut connections) = (0, Vec::new());
    // A pool may have closed a connection that took too long.
    for _ in 0..5 {
        assert_eq!(orders.deliver("n-1", handler).await, 200);
        connections.clear();
        // Whichever has been used: all are held until the end.
        for _ in 0..orders.store.pool().size() {
            let mut connection = orders.store.pool().acquire().await.expect("a connection");
            looked_up += check_plans(&mut connection).await;
            connections.push(connection);
        }
        if looked_up >= 2 {
            break;
        }
    }
    assert!(looked_up >= 2, "{looked_up} statements of {} connections", connections.len());
}

/// How many of the statements that were prepared on a connection look something up.
async fn check_plans(connection: &mut PgConnection) -> usize {
    let generic = sqlx::raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut *connection);
    generic.await.expect("a setting");
    let prepared = "SELECT name, cardinality(parameter_types)::bigint AS parameters, statement
        FROM pg_prepared_statements WHERE statement LIKE '%atp_%' AND parameter_types <> '{}'";
    let prepared = sqlx::raw_sql(prepared).fetch_all(&mut *connection).await.expect("statements");
    let mut looked_up = 0;
    for row in &prepared {
        let (name, parameters, statement): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
        let nulls = vec!["NULL"; usize::try_from(parameters).expect("a count")].join(", ");
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE {name}({nulls})"));
        let plan = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.expect("a plan");
        let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
        // The erased are few, and read once for a batch of counters; the others have one row.
        let grows = ["questions", "decisions", "deliveries", "refused", "events", "sends"]
            .map(|name| format!("Seq Scan on atp_{name}"));
        let reads_all = plan.iter().any(|line| grows.iter().any(|scan| line.contains(scan)));
        assert!(!reads_all, "{statement}\n{}", plan.join("\n"));
        looked_up += usize::from(plan.iter().any(|line| line.contains("Index")));
    }
    looked_up
}

/// Counted by itself when it has so many rows that its index is better in any case.
#[actix_web::test]
async fn no_table_is_counted_while_it_has_a_few_rows() {
    let Some(orders) = orders().await else { return };
    let counted_soon: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r'
             AND relname IN ('atp_questions', 'atp_decisions', 'atp_deliveries', 'atp_refused', 'atp_erased',
                 'atp_events', 'atp_sends')
             AND NOT coalesce(reloptions, '{}') @> '{autovacuum_analyze_threshold=1000,autovacuum_vacuum_threshold=1000}'",
    )
    .fetch_all(orders.store.pool())
    .await
    .expect("tables");
    assert_eq!(counted_soon, <[String; 0]>::default());
}

/// What waits, what was sent and what is parked may be very much: each step reads what it is about.
#[actix_web::test]
async fn what_leaves_is_looked_up_by_itself_however_much_waits() {
    let Some(orders) = orders().await else { return };
    let mut connection = orders.store.pool().acquire().await.expect("a connection");
    // Nothing is counted yet, and then it is.
    for counted in ["", "ANALYZE atp_events; ANALYZE atp_sends"] {
        let fill = format!(
            "WITH e AS (
                 INSERT INTO atp_events (service, id, kind, subject, time, data, written_at)
                 SELECT 'default', '{counted}' || i, 'own', 'of ' || i / 2, 1700000000000000 + i, '{{}}', 1
                 FROM generate_series(1, 20000) AS i RETURNING seq, service, subject)
             INSERT INTO atp_sends (sink, seq, service, subject, due_at, leased_until, attempt, failures)
             SELECT sink, seq, service, subject, 1, 0, 0, 0
             FROM e, unnest(ARRAY['bus', 'other']) AS k (sink) WHERE seq > 1000;
             {counted}"
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut *connection).await.expect("events");
        for step in [
            "SELECT * FROM atp_lease('bus', 32, 32, 1000000, 3600000000, 0)",
            "SELECT atp_settle('bus', s.seqs, s.attempts, array_fill(NULL::bigint, ARRAY[32]),
                 array_fill(0::bigint, ARRAY[32]), array_fill(NULL::text, ARRAY[32]))
             FROM (SELECT array_agg(seq) AS seqs, array_agg(attempt) AS attempts
                   FROM atp_lease('bus', 32, 32, 1000000, 3600000000, 0)) AS s",
            "SELECT atp_promote('bus', ARRAY['default', 'default'], ARRAY['of 600', 'of 700'])",
            "SELECT atp_tidy(0, 2, 64, 32)",
            "SELECT atp_tidy(10000, 2, 64, 32)",
        ] {
            // A plan is kept when a statement has come five times.
            for _ in 0..7 {
                let (read, looked_up) = rows_read(&mut connection, step).await;
                assert!(read == 0 && (1..500).contains(&looked_up), "{counted} {step}: {read}, {looked_up}");
            }
        }
    }
}

/// How many rows of the outbox a statement reads: from end to end, and by an index.
async fn rows_read(connection: &mut PgConnection, statement: &'static str) -> (i64, i64) {
    let mut tx = sqlx::Connection::begin(connection).await.expect("a transaction");
    let before = rows_read_lately(&mut tx).await;
    sqlx::raw_sql(statement).fetch_all(&mut *tx).await.expect("a step");
    let after = rows_read_lately(&mut tx).await;
    tx.rollback().await.expect("an end");
    (after.0 - before.0, after.1 - before.1)
}

/// The same of all that a connection has done since it told of that last, some second ago.
async fn rows_read_lately(connection: &mut PgConnection) -> (i64, i64) {
    let read = "SELECT coalesce(sum(seq_tup_read), 0)::bigint, coalesce(sum(idx_tup_fetch), 0)::bigint
        FROM pg_stat_xact_user_tables WHERE relname IN ('atp_events', 'atp_sends')";
    sqlx::query_as(read).fetch_one(connection).await.expect("counts")
}
