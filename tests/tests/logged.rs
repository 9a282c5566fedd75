//! Everything that is logged on this thread, at every level, by `tracing` and by `log`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

/// What `future` gives, and what was logged while it ran.
pub(crate) async fn during<F: Future>(future: F) -> (F::Output, Log) {
    static BRIDGE: Once = Once::new();
    BRIDGE.call_once(|| tracing_log::LogTracer::init().expect("nobody else sets a logger"));
    let log = Log::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let output = future.await;
    drop(guard);
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

    fn take(&self, level: Level, target: &str, fields: Fields) {
        let entry = Entry { level, target: target.to_owned(), fields: fields.0 };
        self.0.lock().expect("nobody panicked").push(entry);
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.take(*event.metadata().level(), event.metadata().target(), fields);
    }

    fn on_new_span(&self, span: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        span.record(&mut fields);
        self.take(*span.metadata().level(), span.metadata().target(), fields);
    }

    fn on_record(&self, _: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.take(Level::TRACE, "", fields);
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
