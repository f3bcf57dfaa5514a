//! Work that fetches modules, and takes as long as a network does: it is given up where nobody wants any more what it is
//! for.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::{JoinError, JoinHandle};

use super::{Read, Reloader};
use crate::config::Loaded;
use crate::files::Footprint;
use crate::origin::Errand;

impl Reloader {
    /// Prepares what was loaded, which may take as long as a network does: that is given up where the files that it was
    /// loaded from are others meanwhile, and then there is nothing.
    pub(super) async fn prepare(&mut self, loaded: Loaded) -> anyhow::Result<Option<Read>> {
        let (origins, errand) = self.origins.on_an_errand();
        let (engine, former) = (self.engine.clone(), self.status.snapshot());
        let mut footprint = Footprint::clone(&self.footprint);
        let preparing = tokio::task::spawn_blocking(move || {
            let read = Read::prepare(loaded, &engine, &origins, Some(&former), &mut footprint);
            (read, footprint)
        });
        let (read, footprint) =
            self.unless_outdated(preparing, &errand).await.context("the configuration could not be read")?;
        if errand.is_cut_short() {
            return Ok(None);
        }
        self.footprint = Arc::new(footprint);
        Ok(Some(read?))
    }

    /// Waits for work that fetches modules, and calls that back where the files that were read are others by now. They are
    /// looked at when something is noticed of them, and when somebody wishes them to be read.
    pub(super) async fn unless_outdated<T>(
        &self,
        mut work: JoinHandle<T>,
        errand: &Errand,
    ) -> Result<T, JoinError> {
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.watch.stirred() => {}
                () = self.news.notified() => {}
            }
            let footprint = self.footprint.clone();
            if !tokio::task::spawn_blocking(move || footprint.holds()).await.unwrap_or(true) {
                errand.call_back();
                return work.await;
            }
        }
    }

    /// Says what is doubtful about a configuration, unless it was said of the one before.
    pub(super) fn warn_of_what_is_new(&self, loaded: &Loaded) {
        let new = loaded.warnings.other_than(&self.loaded.warnings);
        if !new.is_empty() {
            tracing::warn!("{}", new.render(false));
        }
    }
}
