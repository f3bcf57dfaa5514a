//! Whether a second version did worse than the first.

use super::cells::Sums;
use crate::config::model::{Percent, Rollback, Times};

/// Why a second version gets no exchange any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It failed too often.
    Faults,
    /// Too many responses have a status of 5xx.
    ServerErrors,
    /// It answers too many requests itself.
    Denials,
    /// Responses take too long.
    Latency,
    /// It runs too many instructions.
    Instructions,
    /// An operator said so.
    Operator,
}

impl Reason {
    /// Every one.
    pub const ALL: [Reason; 6] = [
        Reason::Faults,
        Reason::ServerErrors,
        Reason::Denials,
        Reason::Latency,
        Reason::Instructions,
        Reason::Operator,
    ];

    /// Its word in metrics, logs and on the admin listener.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Faults => "faults",
            Reason::ServerErrors => "server_errors",
            Reason::Denials => "denials",
            Reason::Latency => "latency",
            Reason::Instructions => "instructions",
            Reason::Operator => "operator",
        }
    }
}

/// A reason, and the numbers in words.
pub(super) type Verdict = (Reason, String);

/// Judges what the `candidate` did, and the `stable` version in the same time if that saw enough.
pub(super) fn judge(rollback: &Rollback, stable: Option<&Sums>, candidate: &Sums) -> Option<Verdict> {
    let Rollback { minimum, interval: _, faults, server_errors, denials, latency, instructions } = rollback;
    if *faults > 0 && candidate.faults >= *faults {
        return Some((Reason::Faults, format!("it failed on {}", exchanges(candidate.faults))));
    }
    if candidate.exchanges < *minimum {
        return None;
    }
    let stable = stable?;
    let errors = |of: &Sums| share(of.server_errors, of.exchanges);
    let denied = |of: &Sums| share(of.denials, of.exchanges);
    let time = |of: &Sums| of.mean_latency().map(|mean| mean.as_nanos() as f64);
    let work = |of: &Sums| of.mean_instructions().map(|mean| mean as f64);
    let shares = [
        (Reason::ServerErrors, server_errors, errors(stable), errors(candidate), "responses with 5xx"),
        (Reason::Denials, denials, denied(stable), denied(candidate), "exchanges that it ended"),
    ];
    for (reason, bound, stable, candidate, what) in shares {
        if bound.is_some_and(|Percent(bound)| candidate - stable > f64::from(bound) / 10_000.0) {
            let [stable, candidate] = [stable, candidate].map(|share| share * 100.0);
            return Some((reason, format!("{what} are {candidate:.2}%, of the first version {stable:.2}%")));
        }
    }
    let means = [
        (Reason::Latency, latency, time(stable), time(candidate), "responses take"),
        (Reason::Instructions, instructions, work(stable), work(candidate), "its instructions are"),
    ];
    for (reason, bound, stable, candidate, what) in means {
        let (Some(Times(bound)), Some(stable), Some(candidate)) = (bound, stable, candidate) else {
            continue;
        };
        // A version that costs nothing has no multiple.
        let stable = stable.max(1.0);
        if candidate > stable * f64::from(*bound) / 100.0 {
            return Some((
                reason,
                format!("{what} {:.2} times those of the first version", candidate / stable),
            ));
        }
    }
    None
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn exchanges(count: u64) -> String {
    format!("{count} exchange{}", if count == 1 { "" } else { "s" })
}
