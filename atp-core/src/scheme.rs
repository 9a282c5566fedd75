//! Which bytes a sender signs.

use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};

/// The four documented ways to sign a delivery (protocol, section 2).
///
/// The header's form decides between the first and the others; the others cannot be told apart by
/// the header, so a verifier that accepts several of them tries them in this order.
///
/// | scheme | header | what is signed |
/// |---|---|---|
/// | `Timestamped` | `t=<unix seconds>,v1=<hex>` | `<t>.<body>` |
/// | `Raw` | `<hex>` | the body |
/// | `PythonCanonical` | `<hex>` | what `json.dumps(payload, sort_keys=True)` prints |
/// | `NodeCompact` | `<hex>` | what `JSON.stringify(payload)` prints |
///
/// # Which to pin
///
/// All four are accepted unless pinned, since a receiver cannot know which one its server uses.
/// Look at a real header, then pin it: `verifier.schemes([Scheme::Timestamped])`. Only the
/// timestamped scheme binds a time. For the three others the time in the payload is judged
/// (`timestamp`, else `responded_at`), and a payload without one is refused. Both kinds may be
/// five minutes off, either way ([`Verifier::tolerance`](crate::Verifier::tolerance)).
///
/// Under the last two, what is read is the text that was signed, not the body: where a body says
/// `1e999` and V8 signs `null`, a handler gets `null`. What CPython prints as `Infinity` is not
/// JSON, and such an answer is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `t=<unix seconds>,v1=<hex>` over `<t>.<body>`. The only one that binds a time, so pin it
    /// where you can.
    Timestamped,
    /// `<hex>` over the body.
    Raw,
    /// `<hex>` over what CPython's `json.dumps(payload, sort_keys=True)` prints.
    PythonCanonical,
    /// `<hex>` over what V8's `JSON.stringify(payload)` prints.
    NodeCompact,
}

impl Scheme {
    /// All four, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Timestamped, Self::Raw, Self::PythonCanonical, Self::NodeCompact];

    /// The name used in logs and in the conformance cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamped => "timestamped",
            Self::Raw => "raw",
            Self::PythonCanonical => "python-canonical",
            Self::NodeCompact => "node-compact",
        }
    }
}

impl Scheme {
    /// The scheme of a [`Scheme::name`].
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schemes(u8);

impl Schemes {
    pub(crate) const ALL: Self = Self(0b1111);

    pub(crate) fn contains(self, scheme: Scheme) -> bool {
        self.0 & Self::bit(scheme) != 0
    }

    pub(crate) fn any_bare(self) -> bool {
        self.0 & !Self::bit(Scheme::Timestamped) != 0
    }

    fn bit(scheme: Scheme) -> u8 {
        match scheme {
            Scheme::Timestamped => 1,
            Scheme::Raw => 2,
            Scheme::PythonCanonical => 4,
            Scheme::NodeCompact => 8,
        }
    }
}

/// The scheme that a sender used last, of those that only its body can tell apart: a hint of what to
/// try first. Only what was verified sets it.
#[derive(Debug, Default)]
pub(crate) struct Usual(AtomicU8);

impl Usual {
    pub(crate) fn get(&self) -> Option<Scheme> {
        let bit = self.0.load(Ordering::Relaxed);
        Scheme::ALL.into_iter().find(|scheme| Schemes::bit(*scheme) == bit)
    }

    pub(crate) fn set(&self, scheme: Scheme) {
        let bit = Schemes::bit(scheme);
        // All workers read it, so it is written only where it changes.
        if self.0.load(Ordering::Relaxed) != bit {
            self.0.store(bit, Ordering::Relaxed);
        }
    }
}

/// Another verifier has seen nothing yet.
impl Clone for Usual {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl FromIterator<Scheme> for Schemes {
    fn from_iter<I: IntoIterator<Item = Scheme>>(schemes: I) -> Self {
        Self(schemes.into_iter().fold(0, |set, scheme| set | Self::bit(scheme)))
    }
}

impl fmt::Display for Schemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Scheme::ALL.into_iter().filter(|scheme| self.contains(*scheme)).map(Scheme::name).collect();
        f.write_str(&names.join(", "))
    }
}
