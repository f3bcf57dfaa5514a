//! A recording of a running proxy: which exchanges of a filter it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::Writer;
use crate::config::model::Match;
use crate::route::Condition;
use crate::wasm::stream::RequestHead;
use crate::wasm::witness::Witness;

/// A recording that is being made of a filter. What it takes goes through instances of its own, which are watched from
/// their start: what a guest knows from before would be missing from the recording.
pub struct Session {
    filter: String,
    condition: Option<Condition>,
    left: AtomicU64,
    full: Notify,
    under_way: Arc<UnderWay>,
    writer: Arc<Writer>,
}

/// The exchanges that were taken and have not ended.
#[derive(Debug, Default)]
pub struct UnderWay {
    count: AtomicU64,
    fewer: Notify,
}

/// An exchange that was taken. It has ended when this is dropped.
#[derive(Debug)]
pub struct Taken(Arc<UnderWay>);

impl UnderWay {
    /// Ends when there are none.
    pub async fn ended(&self) {
        while self.count.load(Ordering::Acquire) > 0 {
            self.fewer.notified().await;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Release);
        self.0.fewer.notify_one();
    }
}

impl Session {
    /// Takes so many exchanges of a filter, of those that match.
    pub fn new(filter: &str, matches: Option<&Match>, exchanges: u64, writer: Arc<Writer>) -> Session {
        Session {
            filter: filter.to_owned(),
            condition: matches.map(Condition::new),
            left: AtomicU64::new(exchanges),
            full: Notify::new(),
            under_way: Arc::default(),
            writer,
        }
    }

    /// The filter's name.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Who watches.
    pub fn witness(&self) -> Arc<dyn Witness> {
        self.writer.clone()
    }

    /// Takes this exchange, if it is one to be taken; a connection, which has no request, is where all are.
    pub fn take(&self, request: Option<&RequestHead>) -> Option<Taken> {
        if self.writer.is_closed() {
            self.full.notify_one();
            return None;
        }
        let holds = |it: &Condition| {
            request.is_some_and(|request| it.holds(&request.method, &request.uri, &request.headers))
        };
        if !self.condition.as_ref().is_none_or(holds) {
            return None;
        }
        let one_less =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if one_less == Ok(1) {
            self.full.notify_one();
        }
        one_less.ok()?;
        self.under_way.count.fetch_add(1, Ordering::Relaxed);
        Some(Taken(self.under_way.clone()))
    }

    /// What it has taken that goes on.
    pub fn under_way(&self) -> Arc<UnderWay> {
        self.under_way.clone()
    }

    /// Ends it with what has happened. What it was made through may be in use by others for as long as they like.
    pub fn close(&self) {
        self.writer.close();
    }

    /// It is to take no more exchanges, for this reason.
    pub fn end(&self, why: &str) {
        if self.left.swap(0, Ordering::Relaxed) > 0 {
            self.writer.note_cut(why);
        }
        self.full.notify_one();
    }

    /// Ends when it has taken as many as it is to take, or can take no more.
    pub async fn full(&self) {
        self.full.notified().await;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("filter", &self.filter).finish_non_exhaustive()
    }
}
