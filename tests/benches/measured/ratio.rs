//! Ratios of rounds, as they are told.

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn spread(values: &mut [f64]) -> String {
    let median = median(values);
    format!("{median:.2} ({:.2}–{:.2})", values[0], values[values.len() - 1])
}
