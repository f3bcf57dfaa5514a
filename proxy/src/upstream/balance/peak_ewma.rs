//! Peak-EWMA: of two members picked at random the one that is likely to answer first, as Finagle and Linkerd do it.
//!
//! An endpoint's time is a moving average that goes up at once and comes down slowly, and falls towards zero while
//! nothing is heard of it, so that one that was slow is tried again. The load is that time, once for each request in
//! flight and once for the one that is to be sent.
//!
//! Errors tend to be fast. One counts as the setting `penalty` or as twice the slowest answer that any endpoint of the
//! cluster has given of late, whichever is longer, so that an endpoint that answers nothing but errors looks worse than
//! every other, and not only for a moment.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::pair;
use crate::config::model;

/// A moving average that follows peaks at once. In seconds.
#[derive(Debug)]
struct Peak {
    value: Cell<f64>,
    at: Cell<Instant>,
}

impl Peak {
    fn new(value: f64, at: Instant) -> Peak {
        Peak { value: Cell::new(value), at: Cell::new(at) }
    }

    /// What is left of it at `now`, if nothing was measured since. In a second it falls to `e` to the power of `-rate`.
    fn decayed(&self, now: Instant, rate: f64) -> f64 {
        self.value.get() * self.left(now, rate)
    }

    /// What is left of what was measured last, from 1 to 0.
    fn left(&self, now: Instant, rate: f64) -> f64 {
        (-now.saturating_duration_since(self.at.get()).as_secs_f64() * rate).exp()
    }

    fn measure(&self, value: f64, now: Instant, rate: f64) {
        let left = self.left(now, rate);
        let before = self.value.get();
        let average = if value >= before { value } else { before * left + value * (1.0 - left) };
        self.value.set(average);
        self.at.set(now);
    }
}

/// What one worker knows of how long the endpoints of a cluster take.
#[derive(Debug)]
pub(in crate::upstream) struct Slowest {
    settings: model::PeakEwma,
    /// How fast averages fall: the settings' `decay`, inverted once and not at each pick.
    rate: f64,
    peak: Peak,
}

impl Slowest {
    pub(in crate::upstream) fn new(settings: model::PeakEwma) -> Rc<Slowest> {
        let rate = settings.decay.as_secs_f64().recip();
        Rc::new(Slowest { settings, rate, peak: Peak::new(0.0, Instant::now()) })
    }

    pub(in crate::upstream) fn is_by(&self, settings: &model::PeakEwma) -> bool {
        self.settings == *settings
    }
}

/// What one worker knows of how long one endpoint takes.
#[derive(Debug)]
pub(in crate::upstream) struct Latency {
    peak: Peak,
    /// Whether anything was heard of it.
    is_known: Cell<bool>,
    of_cluster: Rc<Slowest>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum End {
    /// With an answer.
    Answered,
    /// With an error, of the endpoint or of the way to it.
    Failed,
    /// Nobody waited for the answer any more.
    GivenUp,
}

impl Latency {
    /// Of an endpoint that has not answered yet. Those that are made at one time are as good as each other: their time is
    /// forgotten too, so that each is tried.
    pub(in crate::upstream) fn new(of_cluster: &Rc<Slowest>, now: Instant) -> Rc<Latency> {
        let default = of_cluster.settings.default_rtt.as_secs_f64();
        let peak = Peak::new(default, now);
        Rc::new(Latency { peak, is_known: Cell::new(false), of_cluster: of_cluster.clone() })
    }

    pub(in crate::upstream) fn of_cluster(&self) -> &Rc<Slowest> {
        &self.of_cluster
    }

    /// Notes how long a request took, and how it ended.
    pub(in crate::upstream) fn note(&self, took: Duration, end: End, now: Instant) {
        let Slowest { settings, rate, peak: slowest } = &*self.of_cluster;
        let (rate, took) = (*rate, took.as_secs_f64());
        if end != End::GivenUp && !self.is_known.replace(true) {
            self.peak.value.set(0.0); // what was assumed is no measurement
        }
        match end {
            End::Answered => {
                slowest.measure(took, now, rate);
                self.peak.measure(took, now, rate);
            }
            End::Failed => {
                let least = settings.penalty.as_secs_f64().max(2.0 * slowest.decayed(now, rate));
                self.peak.measure(took.max(least), now, rate);
            }
            // The answer would have taken longer than this: it says something where it is more than was known.
            End::GivenUp if took > self.estimate(now) => self.peak.measure(took, now, rate),
            End::GivenUp => {}
        }
    }

    /// How long it is likely to take, in seconds.
    pub(in crate::upstream) fn estimate(&self, now: Instant) -> f64 {
        self.peak.decayed(now, self.of_cluster.rate)
    }
}

/// How one of some members is picked by how fast they are.
#[derive(Debug)]
pub(super) struct PeakEwma {
    members: Box<[(u32, f64)]>,
}

impl PeakEwma {
    pub(super) fn new(members: &[u32], weights: &[f64]) -> PeakEwma {
        let members =
            members.iter().copied().zip(weights.iter().copied()).filter(|(_, weight)| *weight > 0.0);
        PeakEwma { members: members.collect() }
    }

    /// A member; `None` without any. `load` is what one has to do.
    pub(super) fn take(&self, load: impl Fn(u32) -> f64) -> Option<u32> {
        match *self.members {
            [] => None,
            [(only, _)] => Some(only),
            ref members => {
                let (first, second) = pair(members.len());
                let [first, second] = [members[first], members[second]];
                let is_less = load(second.0) * first.1 < load(first.0) * second.1; // by weight, without dividing
                Some(if is_less { second.0 } else { first.0 })
            }
        }
    }
}
