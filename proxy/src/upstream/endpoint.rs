//! One address of a cluster: what the configuration says of it, and what all workers know of how it is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::outlier::Record;
use crate::config::model::{self, StatedHealth};

/// An endpoint, shared by all workers. What is known of an address outlives the configurations that have it.
#[derive(Debug)]
pub struct Endpoint {
    spec: Arc<model::Endpoint>,
    state: Arc<State>,
}

/// Why an endpoint should get no requests, or only those that nobody else can take. Anyone may set and clear any of
/// these, on any thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthFlag {
    /// It does not pass the cluster's health check.
    FailedCheck,
    /// Outlier detection has ejected it.
    Ejected,
    /// It said itself that it is not what it should be.
    Degraded,
}

impl HealthFlag {
    /// Every flag.
    pub const ALL: [HealthFlag; 3] = [HealthFlag::FailedCheck, HealthFlag::Ejected, HealthFlag::Degraded];

    /// Its word on pages and in logs.
    pub fn word(self) -> &'static str {
        match self {
            HealthFlag::FailedCheck => "failed_check",
            HealthFlag::Ejected => "ejected",
            HealthFlag::Degraded => "degraded",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What an endpoint's flags come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes requests.
    Healthy,
    /// It takes those that the healthy ones cannot.
    Degraded,
    /// It takes none, but where so few are left that all are asked.
    Unhealthy,
}

impl Health {
    /// Every one, best first.
    pub const ALL: [Health; 3] = [Health::Healthy, Health::Degraded, Health::Unhealthy];

    /// Its word on pages and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
        }
    }

    fn of(flags: u32) -> Health {
        match flags {
            0 => Health::Healthy,
            flags if flags == HealthFlag::Degraded.bit() => Health::Degraded,
            _ => Health::Unhealthy,
        }
    }
}

/// What moves when any endpoint of a cluster becomes another than it was. A number that is as it was before means that
/// nothing has changed.
#[derive(Debug)]
pub(super) struct Epoch {
    number: AtomicU64,
    /// Where the times begin that endpoints keep.
    beginning: Instant,
    /// What a test has let pass.
    #[cfg(test)]
    passed_ms: AtomicU64,
}

impl Epoch {
    pub(super) fn begin() -> Arc<Epoch> {
        Arc::new(Epoch {
            number: AtomicU64::new(1),
            beginning: Instant::now(),
            #[cfg(test)]
            passed_ms: AtomicU64::new(0),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self) {
        self.number.fetch_add(1, Ordering::Release);
    }

    fn now_ms(&self) -> u64 {
        let now = u64::try_from(self.beginning.elapsed().as_millis()).unwrap_or(u64::MAX);
        #[cfg(test)]
        let now = now + self.passed_ms.load(Ordering::Relaxed);
        now
    }
}

// A cache line each, so that workers which are busy with different endpoints do not slow each other down.
#[derive(Debug)]
#[repr(align(64))]
struct State {
    /// Requests in flight, in the low bits, and above them how many there ever were: one atomic operation counts both.
    busy: AtomicU64,
    /// Those that failed.
    failed: AtomicU64,
    flags: AtomicU32,
    /// Since when it has been taking requests without a break, in ms of the epoch's time.
    fit_since: AtomicU64,
    /// What outlier detection knows of it.
    outlier: Record,
    /// Whether a health check has had an answer, or none in time.
    checked: AtomicBool,
    epoch: Arc<Epoch>,
}

/// Requests in flight are counted below this.
const ONE_EVER: u64 = 1 << 24;

impl Endpoint {
    /// An endpoint that nothing is known of but what the configuration says.
    pub(super) fn new(spec: Arc<model::Endpoint>, epoch: &Arc<Epoch>) -> Endpoint {
        let state = State {
            busy: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            fit_since: AtomicU64::new(epoch.now_ms()),
            outlier: Record::default(),
            checked: AtomicBool::new(false),
            epoch: epoch.clone(),
        };
        Endpoint { spec, state: Arc::new(state) }
    }

    /// The same endpoint by what the configuration says of it now.
    pub(super) fn successor(&self, spec: Arc<model::Endpoint>) -> Endpoint {
        let was_out = self.spec.health == StatedHealth::Unhealthy;
        if was_out && spec.health != StatedHealth::Unhealthy {
            self.begin_anew();
        }
        Endpoint { spec, state: self.state.clone() }
    }

    /// It takes requests from now on.
    fn begin_anew(&self) {
        self.state.fit_since.store(self.state.epoch.now_ms(), Ordering::Release);
    }

    /// Whether both are the same one, by whichever configurations.
    pub(super) fn identity(&self) -> *const () {
        Arc::as_ptr(&self.state).cast()
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.spec.address
    }

    /// What the configuration says of it.
    pub fn spec(&self) -> &Arc<model::Endpoint> {
        &self.spec
    }

    /// Requests that all workers have in flight to it, from the pick to the end of the response or of the tunnel, and
    /// TCP connections.
    pub fn active(&self) -> usize {
        usize::try_from(self.state.busy.load(Ordering::Relaxed) % ONE_EVER).unwrap_or(usize::MAX)
    }

    /// Requests that were ever sent to it, those in flight among them. It begins anew after 2^40.
    pub fn requests(&self) -> u64 {
        self.state.busy.load(Ordering::Relaxed) / ONE_EVER
    }

    /// How many of these failed: there was no response, or one that said so.
    pub fn failures(&self) -> u64 {
        self.state.failed.load(Ordering::Relaxed)
    }

    // The counts only guide guesses, so nothing needs to be ordered with them.

    pub(super) fn begin(&self) {
        self.state.busy.fetch_add(ONE_EVER + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.state.busy.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn fail(&self) {
        self.state.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn outlier(&self) -> &Record {
        &self.state.outlier
    }

    /// The time by which what is known of it is kept, in ms.
    pub(super) fn now_ms(&self) -> u64 {
        self.state.epoch.now_ms()
    }

    /// Whether it was asked how it is, and that has come to something.
    pub(super) fn is_checked(&self) -> bool {
        self.state.checked.load(Ordering::Relaxed)
    }

    pub(super) fn note_checked(&self, checked: bool) {
        self.state.checked.store(checked, Ordering::Relaxed);
    }

    /// What its flags come to, and what the configuration says: the worse of the two.
    pub fn health(&self) -> Health {
        match (Health::of(self.state.flags.load(Ordering::Acquire)), self.spec.health) {
            (Health::Unhealthy, _) | (_, StatedHealth::Unhealthy) => Health::Unhealthy,
            (Health::Degraded, _) | (_, StatedHealth::Degraded) => Health::Degraded,
            (Health::Healthy, StatedHealth::Healthy) => Health::Healthy,
        }
    }

    /// The flags that are set.
    pub fn flags(&self) -> impl Iterator<Item = HealthFlag> + use<> {
        let flags = self.state.flags.load(Ordering::Acquire);
        HealthFlag::ALL.into_iter().filter(move |flag| flags & flag.bit() != 0)
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: HealthFlag) -> bool {
        self.state.flags.load(Ordering::Acquire) & flag.bit() != 0
    }

    /// Sets a flag or clears it, for every worker from its next pick on. Says whether it was otherwise before.
    pub fn mark(&self, flag: HealthFlag, set: bool) -> bool {
        let bit = flag.bit();
        let before = match set {
            true => self.state.flags.fetch_or(bit, Ordering::AcqRel),
            false => self.state.flags.fetch_and(!bit, Ordering::AcqRel),
        };
        let after = if set { before | bit } else { before & !bit };
        if after == before {
            return false;
        }
        if Health::of(before) == Health::Unhealthy && Health::of(after) != Health::Unhealthy {
            self.begin_anew();
        }
        self.state.epoch.advance();
        true
    }

    /// For its cluster it is so much later now.
    #[cfg(test)]
    pub(super) fn let_pass(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.state.epoch.passed_ms.fetch_add(time, Ordering::Relaxed);
    }

    /// How long it has been taking requests without a break.
    pub(super) fn fit_for(&self) -> Duration {
        let since = self.state.fit_since.load(Ordering::Acquire);
        Duration::from_millis(self.state.epoch.now_ms().saturating_sub(since))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.address.fmt(f)
    }
}
