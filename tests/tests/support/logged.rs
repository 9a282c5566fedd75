//! Everything that is logged on this thread, at every level, by `tracing` and by `log`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

thread_local! {
    static CURRENT: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// What `future` gives, and what was logged on this thread while it ran.
///
/// There is one subscriber for the whole process, which asks each thread whether it listens. With
/// one for each test, `tracing` caches for all threads what the first of them wants to see.
pub(crate) async fn during<F: Future>(future: F) -> (F::Output, Log) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_log::LogTracer::init().expect("nobody else sets a logger");
        let subscriber = tracing_subscriber::registry().with(Tap);
        tracing::subscriber::set_global_default(subscriber).expect("nobody else sets a subscriber");
    });
    let log = Log::default();
    CURRENT.set(Some(log.clone()));
    let output = future.await;
    CURRENT.set(None);
    (output, log)
}

/// One event, or the fields of a span.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) fields: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Entry>>>);

impl Log {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().expect("nobody panicked").clone()
    }

    /// The events that tell of deliveries.
    pub(crate) fn deliveries(&self) -> Vec<Entry> {
        let is_delivery = |entry: &Entry| {
            entry.target == "atp_actix" && entry.fields.get("message").is_some_and(|text| text == "delivery")
        };
        self.entries().into_iter().filter(is_delivery).collect()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for entry in self.entries() {
            let _ = write!(text, "{} {}:", entry.level, entry.target);
            for (name, value) in entry.fields {
                let _ = write!(text, " {name}={value}");
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn contains(&self, part: &str) -> bool {
        self.text().contains(part)
    }
}

struct Tap;

impl Tap {
    fn take(level: Level, target: &str, record: impl FnOnce(&mut Fields)) {
        CURRENT.with_borrow(|current| {
            if let Some(Log(entries)) = current {
                let mut fields = Fields::default();
                record(&mut fields);
                let entry = Entry { level, target: target.to_owned(), fields: fields.0 };
                entries.lock().expect("nobody panicked").push(entry);
            }
        });
    }
}

impl<S: Subscriber> Layer<S> for Tap {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        CURRENT.with_borrow(Option::is_some)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        Self::take(*metadata.level(), metadata.target(), |fields| event.record(fields));
    }

    fn on_new_span(&self, span: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        let metadata = span.metadata();
        Self::take(*metadata.level(), metadata.target(), |fields| span.record(fields));
    }

    fn on_record(&self, _: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        Self::take(Level::TRACE, "", |fields| values.record(fields));
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
