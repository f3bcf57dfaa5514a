//! A bench against a baseline: what is the same in every run is compared exactly.

use super::{ALL, Bench, CallbackFigures};

/// How a bench differs from a baseline.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Everything that is not as it was.
    pub changes: Vec<Change>,
    /// How much may be more, as a share: 0.01 is a hundredth.
    pub tolerance: f64,
}

/// A figure that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is a figure of.
    pub what: String,
    /// What it was.
    pub was: u64,
    /// What it is.
    pub is: u64,
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
#[error(
    "the baseline is of other requests: it has {was}, and these are {is}; measure the same, or write a new one with --save"
)]
pub struct OtherRequests {
    was: String,
    is: String,
}

impl Change {
    /// How much more it is, as a share; infinite where it was nothing.
    pub fn growth(&self) -> f64 {
        match (self.was, self.is) {
            (was, is) if was == is => 0.0,
            (0, _) => f64::INFINITY,
            (was, is) => is as f64 / was as f64 - 1.0,
        }
    }
}

impl Comparison {
    /// Compares.
    ///
    /// # Errors
    /// The two were sent different things.
    pub fn of(bench: &Bench, baseline: &Bench, tolerance: f64) -> Result<Comparison, OtherRequests> {
        if bench.requests != baseline.requests {
            let listed = |bench: &Bench| {
                let names = bench.requests.iter().map(|sent| format!("`{}` ({})", sent.name, sent.count));
                names.collect::<Vec<_>>().join(", ")
            };
            return Err(OtherRequests { was: listed(baseline), is: listed(bench) });
        }
        let mut changes = Vec::new();
        let mut compare = |what: String, was: u64, is: u64| {
            if was != is {
                changes.push(Change { what, was, is });
            }
        };
        compare("size in bytes".to_owned(), baseline.size_bytes, bench.size_bytes);
        compare("memory after start".to_owned(), baseline.memory_bytes.start, bench.memory_bytes.start);
        compare("memory at the end".to_owned(), baseline.memory_bytes.end, bench.memory_bytes.end);
        compare("instructions of a start".to_owned(), baseline.start_instructions, bench.start_instructions);
        for now in &bench.callbacks {
            let before = baseline.callbacks.iter().find(|before| before.name == now.name);
            let of = |figures: Option<&CallbackFigures>| {
                figures.map_or((0, 0), |figures| (figures.instructions.median, figures.instructions.max))
            };
            let ((median, max), (now_median, now_max)) = (of(before), of(Some(now)));
            let name = if now.name == ALL { "a request" } else { &now.name };
            compare(format!("{name}, median of instructions"), median, now_median);
            compare(format!("{name}, most instructions"), max, now_max);
        }
        for gone in &baseline.callbacks {
            if !bench.callbacks.iter().any(|now| now.name == gone.name) {
                compare(format!("{}, most instructions", gone.name), gone.instructions.max, 0);
            }
        }
        Ok(Comparison { changes, tolerance })
    }

    /// Whether nothing has grown beyond the tolerance.
    pub fn holds(&self) -> bool {
        self.changes.iter().all(|change| change.growth() <= self.tolerance)
    }
}
