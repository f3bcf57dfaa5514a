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
    writer: Arc<Writer>,
}

impl Session {
    /// Takes so many exchanges of a filter, of those that match.
    pub fn new(filter: &str, matches: Option<&Match>, exchanges: u64, writer: Arc<Writer>) -> Session {
        Session {
            filter: filter.to_owned(),
            condition: matches.map(Condition::new),
            left: AtomicU64::new(exchanges),
            full: Notify::new(),
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

    /// Whether this exchange is taken; a connection, which has no request, is where all are.
    pub fn picks(&self, request: Option<&RequestHead>) -> bool {
        if self.writer.is_closed() {
            self.full.notify_one();
            return false;
        }
        let holds = |it: &Condition| {
            request.is_some_and(|request| it.holds(&request.method, &request.uri, &request.headers))
        };
        if !self.condition.as_ref().is_none_or(holds) {
            return false;
        }
        let one_less =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if one_less == Ok(1) {
            self.full.notify_one();
        }
        one_less.is_ok()
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
