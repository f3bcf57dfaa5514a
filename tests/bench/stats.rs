//! Medians, spreads and percentiles of small samples.

/// A sample's middle and its ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// The spread of some values; `None` for none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let values = sorted(values);
        let (&low, &high) = (values.first()?, values.last()?);
        Some(Spread { median: median(&values)?, low, high })
    }
}

/// Where the quarters of a sample meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quarters {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quarters {
    /// Those of some values; `None` for none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Quarters> {
        let values = sorted(values);
        let median = median(&values)?;
        let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
        Some(Quarters { low: at(0.25), median, high: at(0.75) })
    }
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of sorted values; `None` for none.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

/// The smallest value that at least `share` (0 to 1) of the sorted values do not exceed; 0 for no values.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
