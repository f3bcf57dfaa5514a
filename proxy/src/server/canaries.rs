//! The canaries of the process: looks at them again and again, and keeps what they counted when they are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::admin::Steered;
use crate::canary::{Canary, Comparison, Counts, Order, Reason, Sums, Version};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{CanarySample, Registry, VersionSample, write_canaries};

/// How often what was counted is looked at, where there is a canary. Faults are looked at when they happen.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The canaries that there are, and what those that there were have counted.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    served: Vec<Arc<Canary>>,
    /// Those of configurations that are not served any more, while exchanges may still count.
    ending: Vec<Arc<Canary>>,
    /// What those counted that have ended, by filter: counters never go back.
    ended: BTreeMap<String, Total>,
}

#[derive(Debug, Clone, Default)]
struct Total {
    counts: Counts,
    rollbacks: BTreeMap<Reason, u64>,
}

impl Total {
    fn add(&mut self, canary: &Canary) {
        self.counts = self.counts + canary.counts();
        for (reason, count) in canary.rollbacks() {
            *self.rollbacks.entry(reason).or_default() += count;
        }
    }
}

impl Canaries {
    /// From now on these are served.
    pub(super) fn note_served(&self, snapshot: &Snapshot) {
        let mut state = self.state();
        let former = std::mem::replace(&mut state.served, snapshot.canaries().to_vec());
        let is_gone = |one: &Arc<Canary>| !snapshot.canaries().iter().any(|other| Arc::ptr_eq(one, other));
        state.ending.extend(former.into_iter().filter(is_gone));
        state.bury();
        snapshot.alarm().notify_one();
    }

    /// Looks at those that are served, for as long as it is polled.
    pub(super) async fn watch(&self, alarm: &tokio::sync::Notify) {
        loop {
            if self.served().is_empty() {
                alarm.notified().await;
            } else {
                let _ = tokio::time::timeout(LOOK_INTERVAL, alarm.notified()).await;
            }
            let now = Instant::now();
            self.served().iter().for_each(|canary| canary.look(now));
        }
    }

    /// What operators are shown, as a JSON text.
    pub(super) fn page(&self) -> String {
        let reports: Vec<_> = self.served().iter().map(|canary| canary.report()).collect();
        // Numbers and names are always JSON.
        serde_json::to_string_pretty(&serde_json::json!({ "canaries": reports })).unwrap_or_default() + "\n"
    }

    /// Does what an operator says of a filter's canary.
    pub(super) fn steer(&self, filter: &str, order: Order) -> Steered {
        let served = self.served();
        let Some(canary) = served.iter().find(|canary| canary.filter() == filter) else {
            return Steered::NoSuch;
        };
        match canary.steer(order) {
            Ok(()) => {
                let report = serde_json::to_string_pretty(&canary.report()).unwrap_or_default();
                Steered::Done(report + "\n")
            }
            Err(why) => Steered::Refused(why.to_string()),
        }
    }

    /// Shows what is counted among the metrics.
    pub(super) fn export(self: &Arc<Self>, metrics: &Registry) {
        let canaries = self.clone();
        metrics.add_source(move |page| {
            let samples = canaries.samples();
            if samples.is_empty() { Ok(()) } else { write_canaries(page, &samples) }
        });
    }

    fn samples(&self) -> Vec<CanarySample> {
        let mut state = self.state();
        state.bury();
        let mut totals = state.ended.clone();
        for canary in state.served.iter().chain(&state.ending) {
            totals.entry(canary.filter().to_owned()).or_default().add(canary);
        }
        let percent = |filter: &str| {
            let served = state.served.iter().find(|canary| canary.filter() == filter)?;
            Some(f64::from(served.percent().0) / 100.0)
        };
        totals.iter().map(|(filter, total)| sample(filter, percent(filter), total)).collect()
    }

    fn served(&self) -> Vec<Arc<Canary>> {
        self.state().served.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps the counts of those that nobody has any more.
    fn bury(&mut self) {
        let (dead, alive): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.ending).into_iter().partition(|canary| Arc::strong_count(canary) == 1);
        self.ending = alive;
        for canary in dead {
            self.ended.entry(canary.filter().to_owned()).or_default().add(&canary);
        }
    }
}

fn sample(filter: &str, percent: Option<f64>, total: &Total) -> CanarySample {
    let version = |version: Version| {
        let Sums { exchanges, server_errors, denials, faults, .. } = *total.counts.of(version);
        (version.word(), VersionSample { exchanges, server_errors, denials, faults })
    };
    let compared = Comparison::ALL.iter().zip(total.counts.compared);
    CanarySample {
        filter: filter.to_owned(),
        percent,
        versions: Version::ALL.map(version),
        rollbacks: total.rollbacks.iter().map(|(reason, count)| (reason.word(), *count)).collect(),
        compared: compared
            .filter(|(_, count)| *count > 0)
            .map(|(comparison, count)| (comparison.word(), count))
            .collect(),
    }
}
