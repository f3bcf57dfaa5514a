//! The share in force: how it grows by itself, how it goes to nothing, and what operators say of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::cells::{Comparison, Counts, Version};
use super::judge::{Reason, Verdict, judge};
use super::report::{Next, Report, RolledBack, State, VersionReport};
use super::window::Window;
use super::{Canary, CanaryMode};
use crate::config::model::{self, Percent, Promote, Rollback};
use crate::telemetry::timestamp;

/// What an operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From now on this is the share, also where it was rolled back.
    Share(Percent),
    /// No exchange any more.
    Rollback,
    /// The next step now; all where there is none.
    Promote,
    /// No steps by itself.
    Pause,
    /// Steps by itself again.
    Resume,
}

/// Why an order was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It gets all exchanges already.
    #[error("the second version gets all exchanges already: make it the first in the configuration")]
    AtTheEnd,
    /// Nothing says how the share is to grow.
    #[error("its share does not grow by itself: the configuration has no `promote`")]
    NoSteps,
    /// It was rolled back.
    #[error("it was rolled back: `promote` or a percentage puts it into service again")]
    RolledBack,
}

/// Everything that changes but the gate. Behind a lock that no worker takes.
#[derive(Debug)]
pub(super) struct Control {
    window: Window,
    /// When the share was last changed, and what had been counted.
    changed: (Instant, Counts),
    since: SystemTime,
    paused: bool,
    rolled_back: Option<RolledBack>,
    rollbacks: BTreeMap<Reason, u64>,
}

impl Control {
    pub(super) fn new(policy: &model::Canary, now: Instant) -> Control {
        debug_assert!(policy.promote.as_ref().is_none_or(|promote| !promote.steps.is_empty()));
        Control {
            window: Window::new(Counts::default(), now),
            changed: (now, Counts::default()),
            since: SystemTime::now(),
            paused: false,
            rolled_back: None,
            rollbacks: BTreeMap::new(),
        }
    }

    pub(super) fn rollbacks(&self) -> &BTreeMap<Reason, u64> {
        &self.rollbacks
    }

    /// See [`Canary::look`].
    pub(super) fn look(&mut self, canary: &Canary, counts: &Counts, now: Instant) {
        if canary.gate.is_closed() {
            return;
        }
        let rollback = &canary.policy.rollback;
        let (stable, candidate) = self.window.view(counts, rollback.minimum, rollback.interval, now);
        if let Some(verdict) = judge(rollback, stable.as_ref(), &candidate) {
            return self.roll_back(canary, verdict, counts, now);
        }
        let comparable = stable.is_some() || !compares(rollback);
        if comparable
            && self.is_due(canary, counts, now)
            && let Some(next) = next_step(canary)
        {
            let (filter, from, to) = (canary.filter(), shown(canary.percent()), shown(next));
            tracing::info!(filter, from_percent = from, percent = to, "the canary's next step");
            self.share(canary, next, counts, now);
        }
    }

    /// Whether the step has lasted long enough, and enough exchanges were seen in it.
    fn is_due(&self, canary: &Canary, counts: &Counts, now: Instant) -> bool {
        let Some(Promote { every, .. }) = &canary.policy.promote else { return false };
        let (changed, before) = &self.changed;
        !self.paused
            && now.duration_since(*changed) >= *every
            && missing_candidate(canary, counts, before) == 0
    }

    fn share(&mut self, canary: &Canary, percent: Percent, counts: &Counts, now: Instant) {
        self.rolled_back = None;
        self.window.restart(counts, now);
        self.changed = (now, *counts);
        self.since = SystemTime::now();
        canary.gate.open(percent);
    }

    fn roll_back(&mut self, canary: &Canary, (reason, details): Verdict, counts: &Counts, now: Instant) {
        let from_percent = shown(canary.percent());
        let filter = canary.filter();
        tracing::warn!(
            filter,
            reason = reason.word(),
            from_percent,
            "the canary is rolled back, the filter's first version serves alone: {details}"
        );
        self.share(canary, Percent::NONE, counts, now);
        canary.gate.close();
        *self.rollbacks.entry(reason).or_default() += 1;
        self.rolled_back = Some(RolledBack { reason: reason.word().to_owned(), details, from_percent });
    }

    /// See [`Canary::steer`].
    pub(super) fn steer(
        &mut self,
        canary: &Canary,
        order: Order,
        counts: &Counts,
        now: Instant,
    ) -> Result<(), Refused> {
        let (filter, from_percent) = (canary.filter(), shown(canary.percent()));
        let share = match order {
            Order::Rollback => {
                if !canary.gate.is_closed() {
                    self.roll_back(canary, (Reason::Operator, "an operator said so".to_owned()), counts, now);
                }
                return Ok(());
            }
            Order::Pause | Order::Resume => {
                if canary.policy.promote.is_none() {
                    return Err(Refused::NoSteps);
                }
                if canary.gate.is_closed() {
                    return Err(Refused::RolledBack);
                }
                self.paused = order == Order::Pause;
                tracing::info!(filter, paused = self.paused, "an operator steers the canary");
                return Ok(());
            }
            Order::Share(percent) => percent,
            Order::Promote if canary.percent() == Percent::ALL => return Err(Refused::AtTheEnd),
            Order::Promote => next_step(canary).unwrap_or(Percent::ALL),
        };
        tracing::info!(filter, from_percent, percent = shown(share), "an operator steers the canary");
        self.share(canary, share, counts, now);
        Ok(())
    }

    fn next(&self, canary: &Canary, counts: &Counts, every: Duration, step: Percent) -> Next {
        let rollback = &canary.policy.rollback;
        let (changed, before) = &self.changed;
        Next {
            percent: shown(step),
            in_seconds: every.saturating_sub(changed.elapsed()).as_secs_f64(),
            missing_stable: match compares(rollback) {
                true => self.window.missing_stable(counts, rollback.minimum),
                false => 0,
            },
            missing_candidate: missing_candidate(canary, counts, before),
        }
    }

    pub(super) fn report(&self, canary: &Canary, counts: Counts) -> Report {
        let percent = canary.percent();
        let state = match &self.rolled_back {
            Some(_) => State::RolledBack,
            None if percent == Percent::ALL => State::Promoted,
            None if self.paused => State::Paused,
            None => State::Running,
        };
        let next = canary.policy.promote.as_ref().zip(next_step(canary));
        let next = next.filter(|_| state == State::Running);
        let next = next.map(|(Promote { every, .. }, step)| self.next(canary, &counts, *every, step));
        let version = |version| (version, VersionReport::of(counts.of(version)));
        let [(_, stable), (_, candidate)] = Version::ALL.map(version);
        let compared = Comparison::ALL.iter().zip(counts.compared);
        Report {
            filter: canary.filter().to_owned(),
            mode: canary.policy.mode.word().to_owned(),
            state,
            percent: shown(percent),
            since: format!("{:.3}", timestamp(self.since)),
            next,
            rolled_back: self.rolled_back.clone(),
            stable,
            candidate,
            shadow: canary
                .is_shadow()
                .then(|| compared.map(|(comparison, count)| (comparison.word().to_owned(), count)).collect()),
        }
    }
}

/// How many exchanges the second version has to see before it may have more, of those since `before`.
fn missing_candidate(canary: &Canary, counts: &Counts, before: &Counts) -> u64 {
    canary.policy.rollback.minimum.saturating_sub((*counts - *before).candidate.exchanges)
}

impl CanaryMode {
    fn word(self) -> &'static str {
        match self {
            CanaryMode::Serve => "serve",
            CanaryMode::Shadow => "shadow",
        }
    }
}

/// Whether anything but faults is looked at.
fn compares(rollback: &Rollback) -> bool {
    rollback.server_errors.is_some()
        || rollback.denials.is_some()
        || rollback.latency.is_some()
        || rollback.instructions.is_some()
}

/// The first step that is more than the share in force.
fn next_step(canary: &Canary) -> Option<Percent> {
    let steps = canary.policy.promote.as_ref().map_or(&[][..], |promote| &promote.steps);
    steps.iter().copied().find(|step| *step > canary.percent())
}

/// As people write it: 5 is 5 %.
fn shown(Percent(share): Percent) -> f64 {
    f64::from(share) / 100.0
}
