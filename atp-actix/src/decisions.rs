//! What a webhook does that remembers: the settings that go with a store.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use actix_web::{FromRequest, Handler, Responder};
use atp_core::Verifier;

use crate::{
    decide::{OnConflict, Traceparent, judge::Rules},
    delivery::Delivery,
    guard::Late,
    handler::Placed,
    limits::{DEFAULT_LEASE, DEFAULT_RESPOND_WITHIN, DEFAULT_UNKNOWN_GRACE},
    store::{DEFAULT_SERVICE, Store},
};

/// Decisions that take effect once, in a store: what [`Webhook::store`](crate::Webhook::store)
/// takes.
///
/// A store alone will do, `.store(store)`, with every default below. What can be set here needs a
/// store, so that none of it can be asked for without one.
///
/// ```
/// use std::time::Duration;
///
/// use atp_actix::{AtpResponse, Decisions, Verifier, Webhook, store::MemoryStore};
///
/// async fn deploy() -> &'static str {
///     "deployed"
/// }
///
/// async fn too_late(answer: AtpResponse) -> String {
///     format!("{} came too late", answer.action_id)
/// }
///
/// # fn webhook(verifier: Verifier, store: MemoryStore) -> Webhook {
/// let decisions = Decisions::in_store(store).service("deployments").late(too_late).lease(Duration::from_secs(20));
/// Webhook::new("/atp/webhook", verifier).store(decisions).on("approve", deploy)
/// # }
/// ```
///
/// # The times, and how they go together
///
/// | time | what | set by |
/// |---|---|---|
/// | 2 s | a handler holds its transaction at most: it holds up others | `transaction_limit` of the store |
/// | 3 s | a body takes to arrive | [`Webhook::body_within`](crate::Webhook::body_within) |
/// | 4 s | a delivery waits for its answer, then 503; the handler goes on | [`Decisions::respond_within`] |
/// | 5 s | a sender waits, and a step of the store takes at most | |
/// | 60 s | a handler without a transaction runs at most, and others wait for it if its process dies | [`Decisions::lease`] |
/// | 5 min | a signed time may be in the future; and in the past where there is no store | [`Verifier::tolerance`](crate::Verifier::tolerance) |
/// | 10 min | an answer to a question that is not recorded is asked to come again, then 404 | [`Decisions::unknown_grace`] |
/// | 10 min | a redrive is good for | [`Redrive::GOOD_FOR`](crate::store::Redrive::GOOD_FOR) |
/// | 72 h | ago an answer may have been signed, and what `purge` leaves | `redelivery_window` of the store |
///
/// A transaction is shorter than the answer's time, so that whoever takes one answers in time; the
/// answer's time is shorter than the sender's, so that he hears it; a lease is longer than all of
/// them, and ends long before the server stops delivering. [`limits`](crate::limits) has each
/// number with its reason.
#[must_use = "decisions do nothing until they are given to a webhook with `.store(..)`"]
pub struct Decisions<S> {
    pub(crate) store: S,
    pub(crate) service: String,
    pub(crate) unknown_grace: Duration,
    pub(crate) respond_within: Duration,
    pub(crate) lease: Duration,
    pub(crate) with_data: bool,
    pub(crate) on_conflict: Option<OnConflict>,
    pub(crate) late: Option<Placed>,
    pub(crate) traceparent: Option<Traceparent>,
}

impl<S: Store> Decisions<S> {
    /// Decisions that are remembered in this store.
    pub fn in_store(store: S) -> Self {
        Self {
            store,
            service: DEFAULT_SERVICE.to_owned(),
            unknown_grace: DEFAULT_UNKNOWN_GRACE,
            respond_within: DEFAULT_RESPOND_WITHIN,
            lease: DEFAULT_LEASE,
            with_data: true,
            on_conflict: None,
            late: None,
            traceparent: None,
        }
    }

    /// Names the service whose questions are answered here; [`DEFAULT_SERVICE`] unless set.
    ///
    /// A service belongs to the secrets that it is mounted with, so each tenant with a secret of
    /// its own is a service, with a webhook at a path of its own:
    ///
    /// ```
    /// use actix_web::web::ServiceConfig;
    /// use atp_actix::{Decisions, Verifier, Webhook, store::MemoryStore};
    ///
    /// async fn approve() -> &'static str {
    ///     "approved"
    /// }
    ///
    /// fn routes(tenants: &[(String, Verifier)], store: &MemoryStore, config: &mut ServiceConfig) {
    ///     for (tenant, verifier) in tenants {
    ///         let decisions = Decisions::in_store(store.clone()).service(tenant);
    ///         let webhook = Webhook::new(format!("/t/{tenant}/webhook"), verifier.clone());
    ///         config.service(webhook.store(decisions).on("approve", approve));
    ///     }
    /// }
    /// ```
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Handles the answers that came after the deadline, or after the question was taken back:
    /// through the same claim and completion as others. Unless set they are answered 409.
    ///
    /// # Panics
    /// If it is set already; the message names both places.
    #[track_caller]
    pub fn late<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.late = Some(Placed::new("`late`", self.late.as_ref(), Some(Late), handler));
        self
    }

    /// Is told of an answer that differs from the one that stands, which is answered 409 and kept:
    /// once, however often it comes.
    pub fn on_conflict(mut self, hook: impl Fn(&Delivery) + Send + Sync + 'static) -> Self {
        self.on_conflict = Some(Arc::new(hook));
        self
    }

    /// Is asked for the W3C `traceparent` of the span that it is called in, which goes with the
    /// events of a decision to their sinks ([`Event::traceparent`](crate::store::Event)); none
    /// unless set, and nothing of a request's own headers, which are not signed.
    ///
    /// It is called within the delivery's span: once for the events that tell of a decision, where
    /// the store's routes name a sink for them, and once for each that the handler emits
    /// ([`Events`](crate::Events)) without one. What is not well formed is dropped; if it panics,
    /// the delivery goes on without.
    ///
    /// ```
    /// use atp_actix::{Decisions, store::MemoryStore};
    ///
    /// /// Where the service's subscriber has a layer of `tracing-opentelemetry`, this is
    /// /// `tracing::Span::current().context().span().span_context().clone()`.
    /// fn span_context() -> (u128, u64, u8) {
    ///     (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331, 1)
    /// }
    ///
    /// fn traceparent() -> Option<String> {
    ///     let (trace_id, span_id, flags) = span_context();
    ///     Some(format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}"))
    /// }
    ///
    /// # fn decisions(store: MemoryStore) -> Decisions<MemoryStore> {
    /// Decisions::in_store(store).traceparent(traceparent)
    /// # }
    /// # assert_eq!(traceparent().as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    /// ```
    pub fn traceparent(mut self, hook: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.traceparent = Some(Arc::new(hook));
        self
    }

    /// Stores no response data with decisions. What is refused is kept all the same, until it is
    /// erased or purged, and so is what a handler without a transaction is at work on, until it
    /// ends.
    ///
    /// The fingerprint stays, hashed with the store's key: who reads the whole database can find a
    /// short answer by trying all of them.
    pub fn without_data(mut self) -> Self {
        self.with_data = false;
        self
    }

    /// Sets how long an answer to a question that is not recorded is asked to come again, since it
    /// may be faster than our own `record`; [`DEFAULT_UNKNOWN_GRACE`] from its first delivery
    /// unless set. Then it is answered 404.
    pub fn unknown_grace(mut self, time: Duration) -> Self {
        self.unknown_grace = time;
        self
    }

    /// Sets how long a delivery waits for its answer; [`DEFAULT_RESPOND_WITHIN`] unless set, since
    /// a server waits five seconds. Then it is answered 503, the handler goes on, and the next
    /// delivery finds what it said.
    pub fn respond_within(mut self, time: Duration) -> Self {
        self.respond_within = time;
        self
    }

    /// Sets how long a handler may take, its claim included; [`DEFAULT_LEASE`] unless set. Shortly
    /// before that it is dropped, and another delivery may try. After the process of a handler
    /// without a [`Transaction`](crate::Transaction) died, its answer waits for so long. Extractors
    /// may take as long before it.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// What answers are judged by, as long as each action has a handler and is for anybody.
    pub(crate) fn rules(&self, verifier: &Verifier) -> Rules {
        Rules {
            unknown_grace: self.unknown_grace,
            window: self.store.get_redelivery_window(),
            tolerance: verifier.get_tolerance(),
            humans_only: HashSet::new(),
            actions: HashSet::new(),
            has_otherwise: true,
            has_late: self.late.is_some(),
        }
    }
}

/// A store alone, with every default.
impl<S: Store> From<S> for Decisions<S> {
    fn from(store: S) -> Self {
        Self::in_store(store)
    }
}

/// Shows no handler and no hook.
impl<S> fmt::Debug for Decisions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("service", &self.service).finish_non_exhaustive()
    }
}
