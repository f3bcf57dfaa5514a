//! Modules that could not be fetched yet: they are looked for again until they are there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::time::Instant;

use super::super::status::Cause;
use super::{Read, Reloader};
use crate::admin::Stage;
use crate::config::model::OnFault;
use crate::snapshot::Arrivals;

/// The first wait between two looks, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When to look next: after a second at first, a minute at most, and by up to a half earlier by chance, so that proxies
/// that miss the same module do not ask for it together.
pub(super) struct Patience {
    waits: u32,
    next: Instant,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { waits: 0, next: Instant::now() + wait_after(0) }
    }

    /// Waits until it is time.
    pub(super) async fn over(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// It was looked in vain, or not all was there.
    pub(super) fn wait_longer(&mut self) {
        self.waits = self.waits.saturating_add(1);
        self.next = Instant::now() + wait_after(self.waits);
    }
}

fn wait_after(waits: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(waits)).min(LONGEST_WAIT);
    whole.mul_f64(1.0 - fastrand::f64() / 2.0)
}

impl Reloader {
    /// Whether what is served misses a module.
    pub(super) fn is_incomplete(&self) -> bool {
        self.status.snapshot().missing().next().is_some()
    }

    /// Traffic is welcome as soon as nothing is missing without which it would be refused.
    pub(super) fn announce_readiness(&self) {
        let snapshot = self.status.snapshot();
        let mut refusing = snapshot.missing().filter(|filter| filter.on_fault == OnFault::Closed);
        if refusing.next().is_none() && self.readiness.stage() == Stage::Starting {
            self.readiness.enter(Stage::Ready);
            tracing::info!("ready");
        }
    }

    /// Looks for the modules that are missing, and serves those that are there.
    pub(super) async fn look_for_missing(&mut self) {
        let (at, began) = (SystemTime::now(), Instant::now());
        let outcome = match self.take_arrivals().await {
            Ok(false) => return,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        match self.note(Cause::Module, at, began.elapsed(), &outcome) {
            None => tracing::info!("modules that were missing are served"),
            Some(text) => tracing::error!(
                "a module that was missing is there and cannot serve, what was served is served on: {text}"
            ),
        }
    }

    /// Whether any came.
    async fn take_arrivals(&mut self) -> anyhow::Result<bool> {
        let (loaded, engine) = (self.loaded.clone(), self.engine.clone());
        let (former, (origins, errand)) = (self.status.snapshot(), self.origins.on_an_errand());
        let looking = tokio::task::spawn_blocking(move || former.complete(&loaded, &engine, &origins));
        let looked = self.unless_outdated(looking, &errand).await;
        let Arrivals { snapshot, problems } = looked.context("the modules could not be looked for")?;
        if errand.is_cut_short() {
            self.watch.look_again(); // what stirred is to be read, not only to end this
        }
        let came = snapshot.is_some();
        if let Some(snapshot) = snapshot {
            let (loaded, snapshot) = (self.loaded.clone(), Arc::new(snapshot));
            self.take(&Read { loaded, snapshot }).await?;
        }
        problems.map_or(Ok(came), |problems| Err(problems.into()))
    }
}
