//! The server as a whole: which build, for how long, how many workers, which configuration.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::overview::{FilterOverview, Overview};
use super::page::Page;
use super::registry::lock;

/// What the control thread notes.
#[derive(Debug)]
pub(super) struct ServerNumbers {
    began: Instant,
    /// The same on the wall clock, in milliseconds since the Unix epoch.
    began_ms: u64,
    workers: AtomicU64,
    config_generation: AtomicU64,
    /// Milliseconds since the Unix epoch; 0 before there is a configuration.
    config_loaded_ms: AtomicU64,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    last_reload_failed: AtomicBool,
    missing: Mutex<Vec<String>>,
}

impl Default for ServerNumbers {
    fn default() -> Self {
        ServerNumbers {
            began: Instant::now(),
            began_ms: unix_ms(),
            workers: AtomicU64::new(0),
            config_generation: AtomicU64::new(0),
            config_loaded_ms: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
            last_reload_failed: AtomicBool::new(false),
            missing: Mutex::default(),
        }
    }
}

impl ServerNumbers {
    pub(super) fn note_workers(&self, workers: usize) {
        self.workers.store(workers as u64, Relaxed);
    }

    pub(super) fn note_config(&self) {
        self.config_loaded_ms.store(unix_ms(), Relaxed);
        self.config_generation.fetch_add(1, Relaxed);
    }

    pub(super) fn note_reload(&self, succeeded: bool) {
        let counter = if succeeded { &self.reloads } else { &self.failed_reloads };
        counter.fetch_add(1, Relaxed);
        self.last_reload_failed.store(!succeeded, Relaxed);
    }

    pub(super) fn note_missing(&self, filters: Vec<String>) {
        *lock(&self.missing) = filters;
    }

    /// What it knows of an overview, the filters whose modules are missing among it.
    pub(super) fn overview(&self) -> Overview {
        let missing = FilterOverview { module_missing: true, ..FilterOverview::default() };
        Overview {
            filters: lock(&self.missing).iter().map(|name| (name.clone(), missing.clone())).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_time_seconds: self.began_ms as f64 / 1e3,
            uptime_seconds: self.began.elapsed().as_secs_f64(),
            workers: self.workers.load(Relaxed),
            config_generation: self.config_generation.load(Relaxed),
            config_last_reload_successful: !self.last_reload_failed.load(Relaxed),
            ..Overview::default()
        }
    }

    pub(super) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("tidegate_build_info", "Which build this is.")?
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1u64)?;
        page.gauge("tidegate_uptime_seconds", "Time since the proxy began.")?
            .sample(&[], self.began.elapsed().as_secs_f64())?;
        page.gauge("tidegate_workers", "Worker threads that serve.")?
            .sample(&[], self.workers.load(Relaxed))?;
        page.gauge("tidegate_config_generation", "Configurations that took effect since the proxy began.")?
            .sample(&[], self.config_generation.load(Relaxed))?;
        page.gauge("tidegate_config_loaded_timestamp_seconds", "When the configuration took effect.")?
            .sample(&[], self.config_loaded_ms.load(Relaxed) as f64 / 1e3)?;
        page.gauge(
            "tidegate_config_last_reload_successful",
            "Whether what the file said when it was last read is what is served.",
        )?
        .sample(&[], u64::from(!self.last_reload_failed.load(Relaxed)))?;
        let mut missing = page.gauge(
            "tidegate_filter_module_missing",
            "1 for a filter whose module could not be fetched yet; nothing for all others.",
        )?;
        for filter in lock(&self.missing).iter() {
            missing.sample(&[("filter", filter)], 1u64)?;
        }
        let mut reloads =
            page.counter("tidegate_config_reloads_total", "Attempts to change the configuration.")?;
        reloads.sample(&[("result", "success")], self.reloads.load(Relaxed))?;
        reloads.sample(&[("result", "failure")], self.failed_reloads.load(Relaxed))
    }
}

/// The wall clock, in milliseconds since the Unix epoch.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
