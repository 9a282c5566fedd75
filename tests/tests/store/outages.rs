//! A PostgreSQL that goes away, in each way that one may: while it lasts no answer is a 200 that
//! did not take effect, and when its cause is over the store recovers by itself, with nothing lost
//! and nothing doubled.
//!
//! `ATP_OUTAGES=1 cargo test -p atp-tests outages -- --nocapture` tries them all and prints a
//! table; otherwise a few.

use std::{
    collections::BTreeMap,
    env,
    future::Future,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::rt;
use atp_actix::{AtpResponse, Error, PostgresTransaction, Simple, store::PostgresStore};
use futures_util::future::join_all;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{
    asked::{approve, record},
    clusters::{Cluster, is_root},
    mounted::{Mounted, webhook},
};

/// How long it may take after the end of a cause. That is no measure of speed: one that does not
/// recover takes for ever.
const RECOVERY: Duration = Duration::from_secs(10);

/// As many as come at once.
const CLIENTS: usize = 12;

async fn handler(answer: AtpResponse<Simple>, mut tx: PostgresTransaction) -> Result<(), Error> {
    // Two rows fill a page, so that a full disk is noticed.
    let query = sqlx::query("INSERT INTO effects VALUES ($1, repeat('x', 3000))");
    query.bind(&answer.notification_id).execute(&mut *tx).await?;
    Ok(())
}

/// A service over a server that is about to fail.
struct Service {
    app: Mounted,
    url: String,
    next: AtomicUsize,
}

/// What was seen while a cause lasted, and after it.
struct Seen {
    during: BTreeMap<u16, usize>,
    recovery: Duration,
    all: Duration,
}

impl Service {
    /// Its store reaches the server by this URL; we ourselves by that.
    async fn new(store: PostgresStore, url: String) -> Self {
        let mut connection = PgConnection::connect(&url).await.expect("the server");
        let table =
            "CREATE TABLE IF NOT EXISTS effects (notification_id TEXT NOT NULL, filler TEXT NOT NULL);
                     ALTER TABLE effects ALTER filler SET STORAGE PLAIN";
        sqlx::raw_sql(table).execute(&mut connection).await.expect("a table");
        Self {
            app: Mounted::new(webhook(&store).on("approve", handler)).await,
            url,
            next: AtomicUsize::new(0),
        }
    }

    async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("the server")
    }

    /// Delivers once to each of these; what each got.
    async fn wave<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Vec<u16> {
        join_all(ids.into_iter().map(|id| async { self.app.send(&approve(id)).await.0 })).await
    }

    /// A fault that lasts longer than a step may take: whatever hangs is given up meanwhile, and
    /// tried again.
    async fn withstands(
        &self,
        case: &str,
        start: impl Future<Output = ()>,
        end: impl Future<Output = ()>,
    ) -> Seen {
        self.withstands_for(Duration::from_secs(6), case, start, end).await
    }

    /// Sends deliveries before, during and after a fault, until each is handled.
    async fn withstands_for(
        &self,
        lasts: Duration,
        case: &str,
        start: impl Future<Output = ()>,
        end: impl Future<Output = ()>,
    ) -> Seen {
        let nth = self.next.fetch_add(1, Ordering::SeqCst);
        let ids: Vec<String> = (0..5 * CLIENTS).map(|id| format!("{nth}-{case}-{id}")).collect();
        let store = PostgresStore::connect(&self.url).await.expect("a store");
        for id in &ids {
            record(&store, id).await;
        }
        store.close().await;
        // All connections are in use before.
        assert_eq!(self.wave(&ids[..CLIENTS]).await, [200; CLIENTS], "{case}: before");
        start.await;
        let (mut during, mut told) = (BTreeMap::new(), Vec::new());
        let began = Instant::now();
        for wave in ids[CLIENTS..].chunks(CLIENTS).cycle() {
            for (id, status) in wave.iter().zip(self.wave(wave).await) {
                assert!(matches!(status, 200 | 500 | 503), "{case}: {id}: {status}");
                *during.entry(status).or_insert(0) += 1;
                if status == 200 {
                    told.push(id.clone());
                }
            }
            if began.elapsed() >= lasts {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        end.await;
        let ended = Instant::now();
        let mut recovery = None;
        let mut left: Vec<String> = ids.clone();
        while !left.is_empty() {
            assert!(ended.elapsed() < 3 * RECOVERY, "{case}: lost: {left:?}");
            let mut missing = Vec::new();
            for wave in left.chunks(CLIENTS) {
                for (id, status) in wave.iter().zip(self.wave(wave).await) {
                    if status == 200 {
                        recovery.get_or_insert_with(|| ended.elapsed());
                    } else {
                        assert!(matches!(status, 500 | 503), "{case}: {id}: {status}");
                        missing.push(id.clone());
                    }
                }
            }
            left = missing;
            sleep(Duration::from_millis(20)).await;
        }
        let all = ended.elapsed();
        self.check(case, &ids, &told).await;
        let recovery = recovery.expect("all are handled");
        assert!(recovery <= RECOVERY, "{case}: it took {recovery:?}");
        Seen { during, recovery, all }
    }

    /// Each is decided and took effect once.
    async fn check(&self, case: &str, ids: &[String], told: &[String]) {
        let pool = PgPool::connect(&self.url).await.expect("the server");
        let effects: Vec<(String, i64)> =
            sqlx::query_as("SELECT notification_id, count(*) FROM effects GROUP BY 1")
                .fetch_all(&pool)
                .await
                .expect("effects");
        let effects: BTreeMap<String, i64> = effects.into_iter().collect();
        let decided: Vec<String> =
            sqlx::query_scalar("SELECT notification_id FROM atp_decisions WHERE completed_at IS NOT NULL")
                .fetch_all(&pool)
                .await
                .expect("decisions");
        for id in ids.iter().chain(told) {
            assert_eq!(effects.get(id), Some(&1), "{case}: {id}");
            assert!(decided.contains(id), "{case}: {id} is not decided");
        }
        pool.close().await;
    }
}

/// Between the store and its server. It may swallow what was connected until then, for ever, and
/// what connects while it does.
struct Swallower {
    port: u16,
    swallows: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Swallower {
    async fn new(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (swallows, cuts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { port, swallows: Arc::clone(&swallows), cuts: Arc::clone(&cuts) };
        rt::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                if swallows.load(Ordering::SeqCst) {
                    kept.push(client);
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(&server).await else { continue };
                rt::spawn(pass(client, upstream, Arc::clone(&cuts)));
            }
        });
        proxy
    }

    fn cut(&self) {
        self.swallows.store(true, Ordering::SeqCst);
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }

    fn mend(&self) {
        self.swallows.store(false, Ordering::SeqCst);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, cuts: Arc<AtomicUsize>) {
    let began = cuts.load(Ordering::SeqCst);
    let (mut from_client, mut from_server) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let (bytes, to) = tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                (&from_client[..len], &mut server)
            }
            read = server.read(&mut from_server) => {
                let Ok(len @ 1..) = read else { return };
                (&from_server[..len], &mut client)
            }
        };
        if cuts.load(Ordering::SeqCst) != began {
            // It neither answers nor closes.
            sleep(Duration::from_secs(3600)).await;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Whether all are tried.
fn all() -> bool {
    let all = env::var_os("ATP_OUTAGES").is_some();
    if !all {
        eprintln!("SKIPPED: most outages of PostgreSQL, which take more than a minute: set ATP_OUTAGES=1");
    }
    all
}

fn print(case: &str, Seen { during, recovery, all }: &Seen) {
    let during: Vec<String> = during.iter().map(|(status, count)| format!("{count} x {status}")).collect();
    eprintln!(
        "| {case} | {} | {:.1} s | {:.1} s |",
        during.join(", "),
        recovery.as_secs_f64(),
        all.as_secs_f64()
    );
}

fn head() {
    eprintln!(
        "| PostgreSQL is | deliveries meanwhile | first 200 after it | all handled |\n|---|---|---:|---:|"
    );
}

/// Pools as `connect` makes them, and as a service of its own may.
#[actix_web::test]
async fn connections_that_are_cut_off_silently_are_found_and_replaced() {
    let Some(cluster) = Cluster::new().await else { return };
    head();
    // Where new connections are not cut off, those that were there before are all the same.
    for (own, lasts) in [(false, 6), (false, 0), (true, 6), (true, 0)] {
        let proxy = Swallower::new(cluster.address()).await;
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port);
        let store = if own {
            PostgresStore::from_pool(PgPool::connect(&url).await.expect("a pool")).await
        } else {
            PostgresStore::connect(&url).await
        };
        let service = Service::new(store.expect("a store"), cluster.url()).await;
        let pool = if own { "a pool of the service's own" } else { "the store's pool" };
        let case = format!("cut off silently for {lasts} s, {pool}");
        let cut = async {
            proxy.cut();
            if lasts == 0 {
                proxy.mend();
            }
        };
        let lasts = Duration::from_secs(lasts);
        print(&case, &service.withstands_for(lasts, &case, cut, async { proxy.mend() }).await);
    }
}

#[actix_web::test]
async fn a_server_that_fails_in_any_way_is_waited_for_and_nothing_is_lost() {
    if !all() {
        return;
    }
    let Some(cluster) = Cluster::new().await else { return };
    let store = PostgresStore::connect(&cluster.url()).await.expect("a store");
    let service = Service::new(store, cluster.url()).await;
    head();

    let case = "killed";
    let kill = async { cluster.signal("KILL", false) };
    let start = async {
        // Its processes see that, and end.
        sleep(Duration::from_secs(1)).await;
        cluster.start();
    };
    print(case, &service.withstands(case, kill, start).await);

    let case = "restarted";
    print(case, &service.withstands(case, async { cluster.shut_down() }, async { cluster.start() }).await);

    let case = "frozen";
    let freeze = async { cluster.signal("STOP", true) };
    print(case, &service.withstands(case, freeze, async { cluster.signal("CONT", true) }).await);

    let case = "a standby, until it is promoted";
    let demote = async {
        cluster.shut_down();
        cluster.demote();
        cluster.start();
    };
    print(case, &service.withstands(case, demote, async { cluster.promote() }).await);

    let case = "read-only by default";
    let connection = || service.connection();
    let read_only = |command: &'static str| async move {
        let mut connection = connection().await;
        for command in [command, "SELECT pg_reload_conf()"] {
            sqlx::raw_sql(command).execute(&mut connection).await.expect("a setting");
        }
    };
    let on = read_only("ALTER SYSTEM SET default_transaction_read_only = on");
    print(
        case,
        &service.withstands(case, on, read_only("ALTER SYSTEM RESET default_transaction_read_only")).await,
    );

    let case = "out of connections";
    let taken = std::cell::RefCell::new(Vec::new());
    let take = async {
        let mut first = service.connection().await;
        let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        sqlx::raw_sql(ours).execute(&mut first).await.expect("an end");
        sleep(Duration::from_millis(300)).await;
        taken.borrow_mut().push(first);
        // The last ones are kept for who may use them, and we are one of those.
        while let Ok(connection) = PgConnection::connect(&service.url).await {
            taken.borrow_mut().push(connection);
        }
    };
    let seen = service.withstands(case, take, async { taken.borrow_mut().clear() }).await;
    print(case, &seen);

    for table in ["atp_questions", "atp_decisions", "atp_deliveries", "atp_refused", "effects"] {
        let case = format!("with {table} locked");
        let locker = std::cell::RefCell::new(None);
        let lock = async {
            let mut connection = service.connection().await;
            let lock = sqlx::AssertSqlSafe(format!("BEGIN; LOCK TABLE {table}"));
            sqlx::raw_sql(lock).execute(&mut connection).await.expect("a lock");
            locker.replace(Some(connection));
        };
        let seen = service
            .withstands(&case, lock, async {
                // Not one process for each delivery waits for it.
                let mut connection = locker.take().expect("the lock");
                let waiting: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
                )
                .fetch_one(&mut connection)
                .await
                .expect("a count");
                assert!(waiting <= 15, "{table}: {waiting} processes wait for the lock");
            })
            .await;
        print(&case, &seen);
    }

    full_disk(&cluster, &service).await;
}

/// In a file system of its own, where this is root and may mount one.
async fn full_disk(cluster: &Cluster, service: &Service) {
    let disk = cluster.folder().join("disk");
    cluster.run(&format!("mkdir {}", disk.display()));
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs"])
            .arg(&disk)
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("SKIPPED: no file system can be mounted here, so no disk was full");
        return;
    }
    let _unmounted = Unmount(disk.clone());
    cluster.run(&format!("mkdir {0}/space && chmod 700 {0}/space", disk.display()));
    let mut connection = service.connection().await;
    for command in [
        format!("CREATE TABLESPACE small LOCATION '{}/space'", disk.display()),
        "CREATE TABLE filler (bytes TEXT) TABLESPACE small".to_owned(),
        "ALTER TABLE filler ALTER bytes SET STORAGE PLAIN".to_owned(),
        "ALTER TABLE effects SET TABLESPACE small".to_owned(),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(command)).execute(&mut connection).await.expect("a small disk");
    }
    let case = "on a full disk";
    let fill = async {
        let mut connection = service.connection().await;
        let fill = "INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, 10)";
        while sqlx::raw_sql(fill).execute(&mut connection).await.is_ok() {}
        let fill = "INSERT INTO filler VALUES (repeat('x', 7000))";
        while sqlx::raw_sql(fill).execute(&mut connection).await.is_ok() {}
    };
    let free = async {
        let mut connection = service.connection().await;
        sqlx::raw_sql("DROP TABLE filler").execute(&mut connection).await.expect("room");
    };
    print(case, &service.withstands(case, fill, free).await);
    let back = "ALTER TABLE effects SET TABLESPACE pg_default";
    sqlx::raw_sql(back).execute(&mut connection).await.expect("a table");
    cluster.stop();
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
