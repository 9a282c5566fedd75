//! Everything that is measured on this thread.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A recorder that keeps what it is told. Install it with `metrics::set_default_local_recorder`.
#[derive(Clone, Default)]
pub(crate) struct Measured(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    described: BTreeMap<String, (&'static str, Unit)>,
    series: BTreeMap<String, Series>,
}

/// One metric with these labels.
#[derive(Clone, Debug)]
struct Series {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    /// Of a histogram all values, else the one that stands.
    values: Vec<f64>,
}

impl Measured {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("nobody panicked")
    }

    /// Type and unit of what was described, by its name.
    pub(crate) fn described(&self) -> BTreeMap<String, (&'static str, Unit)> {
        self.kept().described.clone()
    }

    /// Names, types and labels of what was told.
    pub(crate) fn told(&self) -> Vec<(String, &'static str, Vec<String>)> {
        let mut told: Vec<_> = self
            .kept()
            .series
            .values()
            .map(|series| (series.name.clone(), series.kind, series.labels.clone()))
            .collect();
        told.dedup();
        told
    }

    /// What was told of `name{label=value,..}`.
    pub(crate) fn values(&self, series: &str) -> Vec<f64> {
        self.kept().series.get(series).map(|series| series.values.clone()).unwrap_or_default()
    }

    /// The one value of a counter or a gauge.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.values(series).last().copied()
    }

    /// All series of this name, with how many values each has.
    pub(crate) fn all(&self, name: &str) -> BTreeMap<String, usize> {
        let kept = self.kept();
        let of_it = kept.series.iter().filter(|(_, series)| series.name == name);
        of_it.map(|(key, series)| (key.clone(), series.values.len())).collect()
    }

    fn describe(&self, name: &KeyName, kind: &'static str, unit: Option<Unit>) {
        self.kept().described.insert(name.as_str().to_owned(), (kind, unit.expect("a unit")));
    }

    fn handle(&self, key: &Key, kind: &'static str) -> Arc<Handle> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let series = if labels.is_empty() {
            key.name().to_owned()
        } else {
            format!("{}{{{}}}", key.name(), labels.join(","))
        };
        let names = key.labels().map(|label| label.key().to_owned()).collect();
        let new = || Series { name: key.name().to_owned(), kind, labels: names, values: Vec::new() };
        self.kept().series.entry(series.clone()).or_insert_with(new);
        Arc::new(Handle { measured: self.clone(), series })
    }
}

impl Recorder for Measured {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "counter", unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "gauge", unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "histogram", unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key, "counter"))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key, "gauge"))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key, "histogram"))
    }
}

struct Handle {
    measured: Measured,
    series: String,
}

impl Handle {
    fn update(&self, update: impl FnOnce(&mut Vec<f64>)) {
        update(&mut self.measured.kept().series.get_mut(&self.series).expect("it is registered").values);
    }

    fn add(&self, value: f64) {
        self.update(|values| *values = vec![values.last().unwrap_or(&0.0) + value]);
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.add(u32::try_from(value).expect("a small number").into());
    }

    fn absolute(&self, _: u64) {
        unreachable!("nothing sets a counter");
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.update(|values| *values = vec![value]);
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.update(|values| values.push(value));
    }
}
