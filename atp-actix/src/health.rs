//! Whether the service can do its work: for the probes of a readiness route.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    Handler, HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
};
use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};

use crate::{
    limits::{BETWEEN_LAG_READINGS, DEFAULT_HEALTH_WITHIN, DEFAULT_OLDEST_EVENT, HEALTH_LASTS},
    store::{DEFAULT_SERVICE, Lag, Outbox, StoreError},
};

/// Says whether the service can do its work: the handler of a readiness route.
///
/// ```
/// use std::time::Duration;
///
/// use actix_web::{App, test, web};
/// use atp_actix::{
///     Health,
///     store::{Event, MemoryStore, Outbox, Routes},
/// };
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new().routes(Routes::new().events("bus"));
/// // Made once and cloned: what its clones find is shared.
/// let health = Health::new(store.clone());
/// let strict = Health::new(store.clone()).oldest(Duration::ZERO);
/// let app = test::init_service(
///     App::new()
///         .route("/ready", web::get().to(health.clone()))
///         .route("/strict", web::get().to(strict.clone()))
///         // That the process answers is all that liveness means: ask no database for it.
///         .route("/alive", web::get().to(|| async { "alive" })),
/// )
/// .await;
///
/// // Nobody sends what waits here.
/// store.emit(&Event::new("orders.shipped", 7)?).await?;
/// for (path, status, body) in [
///     ("/ready", 200, r#"{"status":"ready"}"#),
///     ("/strict", 503, r#"{"status":"unready","reasons":["OUTBOX_BEHIND"]}"#),
///     ("/alive", 200, "alive"),
/// ] {
///     let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
///     assert_eq!(response.status(), status, "{path}");
///     assert_eq!(test::read_body(response).await, body, "{path}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # What it says
///
/// 200 `{"status":"ready"}`, or 503 with the reasons, which tell a stranger nothing else; the log
/// says when they change, with what the store said, in the target `atp_actix::health`:
///
/// | reason | what |
/// |---|---|
/// | `STORE_UNAVAILABLE` | the store did not answer a query within [`Health::within`] |
/// | `OUTBOX_BEHIND` | the oldest event that waits for nothing but to be sent was written longer ago than [`Health::oldest`], or there are too many to be counted |
/// | `ENDING` | [`Store::drain`](crate::store::Store::drain) was called, so deliveries are answered 503 |
///
/// However many probes come, they share one query a second, and one of what waits every 15 s, for
/// which the store counts. A probe is answered within some two times [`Health::within`].
///
/// # Readiness and liveness
///
/// Whoever is not ready gets no requests. Whoever is not alive is started again, which mends no
/// database: for that let any handler answer that asks nobody, as in the example.
///
/// What waits behind a parked event waits until somebody looks after that
/// ([`Outbox::release`], [`Outbox::forget`]), and makes nobody unready. A receiver that is away makes
/// all wait, in each process. The webhook decides as ever meanwhile: where it is rather behind than
/// away, ask
/// [`Health::whatever_waits`], and watch what waits by the metrics.
pub struct Health<S>(Arc<Inner<S>>);

struct Inner<S> {
    settings: Settings<S>,
    found: Arc<Mutex<Found>>,
}

#[derive(Clone)]
struct Settings<S> {
    store: S,
    within: Duration,
    oldest: Option<Duration>,
}

/// What the last probe found that asked the store.
#[derive(Default)]
struct Found {
    /// When that was, and what is wrong.
    last: Option<(Instant, Vec<&'static str>)>,
    /// The store's count of what waits, while it is at it.
    counting: Option<JoinHandle<Result<Vec<Lag>, StoreError>>>,
    /// When it was last counted.
    counted_at: Option<Instant>,
    waiting: Waiting,
}

/// What is known of the oldest event that waits.
#[derive(Clone, Copy, Default)]
enum Waiting {
    #[default]
    Unknown,
    /// There was too much to be counted.
    Uncounted,
    /// Since when it does, if one does.
    Since(Option<DateTime<Utc>>),
}

const STORE_UNAVAILABLE: &str = "STORE_UNAVAILABLE";
const OUTBOX_BEHIND: &str = "OUTBOX_BEHIND";
const ENDING: &str = "ENDING";

impl<S: Outbox> Health<S> {
    /// Whether this store answers, and whether what it holds is sent.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with(Settings { store, within: DEFAULT_HEALTH_WITHIN, oldest: Some(DEFAULT_OLDEST_EVENT) })
    }

    fn with(settings: Settings<S>) -> Self {
        Self(Arc::new(Inner { settings, found: Arc::default() }))
    }

    /// Sets how long the store may take to answer; [`DEFAULT_HEALTH_WITHIN`] unless set.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self::with(Settings { within: time, ..self.0.settings.clone() })
    }

    /// Sets how old the oldest event that waits may be; [`DEFAULT_OLDEST_EVENT`] unless set.
    #[must_use]
    pub fn oldest(self, age: Duration) -> Self {
        Self::with(Settings { oldest: Some(age), ..self.0.settings.clone() })
    }

    /// Does not ask what waits.
    #[must_use]
    pub fn whatever_waits(self) -> Self {
        Self::with(Settings { oldest: None, ..self.0.settings.clone() })
    }

    /// Why the service cannot do its work, as in the table above; empty if it can.
    pub async fn reasons(&self) -> Vec<&'static str> {
        if self.0.settings.store.get_activity().is_ending() {
            return vec![ENDING];
        }
        let mut found = Arc::clone(&self.0.found).lock_owned().await;
        if let Some((when, reasons)) = &found.last
            && when.elapsed() < HEALTH_LASTS
        {
            return reasons.clone();
        }
        // Of its own, so that a probe which hangs up does not let the next one ask again.
        let settings = self.0.settings.clone();
        let asking = tokio::spawn(async move {
            let (reasons, why) = settings.ask(&mut found).await;
            let before = found.last.replace((Instant::now(), reasons.clone()));
            let before = before.map(|(_, reasons)| reasons).unwrap_or_default();
            tell_of_change(&before, &reasons, why.as_deref());
            reasons
        });
        asking.await.unwrap_or_else(|_| vec![STORE_UNAVAILABLE])
    }
}

impl<S: Outbox> Settings<S> {
    /// What is wrong, and what the store said if it did not answer.
    async fn ask(&self, found: &mut Found) -> (Vec<&'static str>, Option<String>) {
        // Any question will do, and this one nobody has asked.
        match timeout(self.within, self.store.find(DEFAULT_SERVICE, "", None)).await {
            Ok(Ok(_)) => {}
            failed => {
                let why = failed.map_or("no answer in time".to_owned(), |error| {
                    error.err().map(|error| error.to_string()).unwrap_or_default()
                });
                return (vec![STORE_UNAVAILABLE], Some(why));
            }
        }
        let Some(limit) = self.oldest else { return (Vec::new(), None) };
        // What takes longer than a probe may goes on by itself, and is shared by those that follow.
        if found.counting.is_none() && found.counted_at.is_none_or(|at| at.elapsed() >= BETWEEN_LAG_READINGS)
        {
            let store = self.store.clone();
            found.counting = Some(tokio::spawn(async move { store.lag().await }));
        }
        if let Some(counting) = &mut found.counting
            && let Ok(counted) = timeout(self.within, counting).await
        {
            (found.counting, found.counted_at) = (None, Some(Instant::now()));
            found.waiting = match counted {
                Ok(Ok(lag)) => Waiting::Since(lag.iter().filter_map(|lag| lag.oldest).min()),
                // The store is there: there is too much to be counted.
                Ok(Err(_)) | Err(_) => Waiting::Uncounted,
            };
        }
        let is_behind = match found.waiting {
            Waiting::Unknown => false,
            Waiting::Uncounted => true,
            // The store's clock may be ahead of ours.
            Waiting::Since(oldest) => {
                oldest.is_some_and(|oldest| (Utc::now() - oldest).to_std().unwrap_or_default() > limit)
            }
        };
        (if is_behind { vec![OUTBOX_BEHIND] } else { Vec::new() }, None)
    }
}

fn tell_of_change(before: &[&str], reasons: &[&str], why: Option<&str>) {
    match reasons {
        _ if before == reasons => {}
        [] => tracing::info!(target: "atp_actix::health", "ready again"),
        reasons => tracing::warn!(target: "atp_actix::health", ?reasons, why, "not ready"),
    }
}

impl<S: Outbox> Handler<()> for Health<S> {
    type Output = HttpResponse;
    type Future = LocalBoxFuture<'static, HttpResponse>;

    fn call(&self, (): ()) -> Self::Future {
        let health = self.clone();
        Box::pin(async move {
            let reasons = health.reasons().await;
            let mut response = if reasons.is_empty() {
                HttpResponse::Ok().json(Reply { status: "ready", reasons })
            } else {
                HttpResponse::ServiceUnavailable().json(Reply { status: "unready", reasons })
            };
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        })
    }
}

#[derive(Serialize)]
struct Reply {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

/// Shares what it finds.
impl<S> Clone for Health<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Shows the limits, and no store.
impl<S> fmt::Debug for Health<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { within, oldest, .. } = &self.0.settings;
        f.debug_struct("Health").field("within", within).field("oldest", oldest).finish_non_exhaustive()
    }
}
