//! The settings of trust: which secrets, schemes and times a service accepts. And signing.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use constant_time_eq::constant_time_eq;
use hmac::Mac;

use crate::{
    canonical::{self, CanonicalError},
    limits,
    scheme::{Scheme, Schemes, Usual},
    secret::{HmacSha256, Secret},
    signature::{self, Signature},
};

/// Checks that a delivery was signed with a secret of this service, and signs.
///
/// Clone it freely: clones share the prepared keys.
///
/// ```
/// use atp_core::{Scheme, Secret, Signature, Verifier};
///
/// let verifier = Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef")?);
/// let body = r#"{"notification_id":"n-1","action_id":"approve","response_data":null}"#;
///
/// let signature = verifier.sign(Scheme::Timestamped, body.as_bytes())?.to_string();
/// let answer = verifier.verify([(Signature::HEADER, &signature)], body)?.decode()?;
/// assert_eq!(answer.action_id, "approve");
///
/// let forged = body.replace("approve", "reject");
/// assert!(verifier.verify([(Signature::HEADER, &signature)], forged).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) keys: Vec<Key>,
    pub(crate) schemes: Schemes,
    pub(crate) tolerance: Duration,
    pub(crate) payload_time: bool,
    /// Whether a signed time may be as far from the clock as it likes.
    pub(crate) any_age: bool,
    /// The re-serialised scheme that fitted last.
    pub(crate) usual: Usual,
    clock: Option<Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>>,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) secret: Secret,
    pub(crate) prepared: HmacSha256,
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Key {
    pub(crate) fn new(secret: Secret, until: Option<DateTime<Utc>>) -> Self {
        let prepared = secret.keyed();
        Self { secret, prepared, until }
    }

    pub(crate) fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Verifier {
    /// How far a signed time may be from the clock, both ways, unless set otherwise: the guide's
    /// five minutes.
    pub const DEFAULT_TOLERANCE: Duration = limits::TOLERANCE;

    /// Accepts all four schemes, within [`Verifier::DEFAULT_TOLERANCE`].
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        let settings = Settings {
            keys: vec![Key::new(secret, None)],
            schemes: Schemes::ALL,
            tolerance: Self::DEFAULT_TOLERANCE,
            payload_time: true,
            any_age: false,
            usual: Usual::default(),
            clock: None,
        };
        Self { settings: Arc::new(settings) }
    }

    /// Accepts another secret too, for as long as this verifier lives. Each secret costs one more
    /// hash a delivery, whichever fits, so that time does not tell which does.
    #[must_use]
    pub fn or(self, previous: Secret) -> Self {
        self.set(|settings| settings.keys.push(Key::new(previous, None)))
    }

    /// Accepts another secret too, until a time: a rotation that ends by itself.
    ///
    /// ```
    /// # use atp_core::{Secret, Verifier};
    /// # let (new, previous) = (Secret::new("0123456789abcdef")?, Secret::new("fedcba9876543210")?);
    /// let verifier = Verifier::new(new).or_until(previous, "2026-12-01T00:00:00Z".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn or_until(self, previous: Secret, until: DateTime<Utc>) -> Self {
        self.set(|settings| settings.keys.push(Key::new(previous, Some(until))))
    }

    /// Accepts these schemes only; all four unless set. Pin the one that your server uses: see the
    /// README.
    ///
    /// # Panics
    /// If there is none, since such a verifier could accept nothing.
    #[must_use]
    #[track_caller]
    pub fn schemes(self, schemes: impl IntoIterator<Item = Scheme>) -> Self {
        let schemes: Schemes = schemes.into_iter().collect();
        assert!(
            Scheme::ALL.into_iter().any(|scheme| schemes.contains(scheme)),
            "a verifier needs a scheme to accept"
        );
        self.set(|settings| settings.schemes = schemes)
    }

    /// How far the signed time may be from the clock, in whole seconds, both ways, inclusive;
    /// [`Verifier::DEFAULT_TOLERANCE`] unless set.
    #[must_use]
    pub fn tolerance(self, tolerance: Duration) -> Self {
        self.set(|settings| settings.tolerance = tolerance)
    }

    /// See [`Verifier::tolerance`].
    #[must_use]
    pub fn get_tolerance(&self) -> Duration {
        self.settings.tolerance
    }

    /// Stops judging the time inside the payload of a bare digest, which has no other.
    ///
    /// It costs all protection against replay there: who has once seen a signed delivery can send
    /// it again for ever. Only do this in front of something that remembers what it has handled.
    #[must_use]
    pub fn without_payload_time(self) -> Self {
        self.set(|settings| settings.payload_time = false)
    }

    /// Accepts what was signed at any time, long ago or ahead of the clock, and a payload without a
    /// time. The tolerance is then only what [`Verifier::get_tolerance`] says. A `t` that is no
    /// date (beyond the year 262142) stays refused.
    ///
    /// Only for a receiver that remembers what it has handled and judges the age itself, after the
    /// verdict and on both sides, by [`Verified::signed_at`](crate::Verified::signed_at): an answer that a server delivers days
    /// later, or that comes while a clock is off, must not be lost, and a replay does no harm
    /// there. Anywhere else it costs all protection against replay.
    #[must_use]
    pub fn any_age(self) -> Self {
        self.set(|settings| settings.any_age = true)
    }

    /// Whether both accept the same secrets, in the same order: for a receiver that must not take
    /// one service's deliveries for another's.
    #[must_use]
    pub fn has_secrets_of(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.settings.keys, &other.settings.keys);
        let same = |(one, other): (&Key, &Key)| constant_time_eq(one.secret.expose(), other.secret.expose());
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(same)
    }

    /// Asks this clock for the time; the system's unless set.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.clock = Some(Arc::new(clock)))
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        change(settings);
        settings.usual = Usual::default();
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The same verifier with other settings.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        self.clone().set(change)
    }

    /// The time by this verifier's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.settings.clock.as_ref().map_or_else(Utc::now, |clock| clock())
    }

    /// Signs as a sender does, with the first secret, at the clock's time.
    ///
    /// # Errors
    /// A canonical scheme needs a body that has a canonical text.
    pub fn sign(&self, scheme: Scheme, body: &[u8]) -> Result<Signature, CanonicalError> {
        self.sign_at(scheme, body, self.now())
    }

    /// [`Verifier::sign`] at a time of your choice. Only [`Scheme::Timestamped`] has a time; one
    /// before 1970 is taken as 1970.
    pub fn sign_at(
        &self,
        scheme: Scheme,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Signature, CanonicalError> {
        let digest = |text: &[&[u8]]| {
            let hash = self.settings.keys.first().map(|key| key.prepared.clone());
            let hash = hash.map(|hash| text.iter().fold(hash, Mac::chain_update));
            hash.map_or([0; 32], |hash| hash.finalize().into_bytes().into())
        };
        Ok(match scheme {
            Scheme::Timestamped => {
                let time = signature::Time::from_seconds(now.timestamp());
                Signature::timestamped(time, digest(&[time.as_bytes(), b".", body]))
            }
            Scheme::Raw => Signature::bare(digest(&[body])),
            Scheme::PythonCanonical => Signature::bare(digest(&[canonical::python(body)?.as_bytes()])),
            Scheme::NodeCompact => Signature::bare(digest(&[canonical::node(body)?.as_bytes()])),
        })
    }
}

/// Shows how many secrets there are, and no more of them.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("secrets", &self.settings.keys.len())
            .field("schemes", &format_args!("{}", self.settings.schemes))
            .field("tolerance", &self.settings.tolerance)
            .field("payload_time", &self.settings.payload_time)
            .finish_non_exhaustive()
    }
}
