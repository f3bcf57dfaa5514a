//! What whoever wants modules and those that fetch them have to say to each other meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// The fetches of one reading. Cheap to clone; every clone is the same errand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errand {
    turns: Arc<Turns>,
    /// Microseconds in which a server was waited for, of this errand and of those that were begun from it or before it.
    waited: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Turns {
    is_called_back: watch::Sender<bool>,
    is_cut_short: AtomicBool,
}

impl Errand {
    /// Another errand, which nobody called back, and whose waiting counts with that of this one.
    pub(super) fn next(&self) -> Errand {
        Errand { turns: Arc::default(), waited: self.waited.clone() }
    }

    /// Nobody wants any more what is being fetched: those who wait for a server end at once, and without a module.
    pub(crate) fn call_back(&self) {
        self.turns.is_called_back.send_replace(true);
    }

    /// Whether a fetch ended without a module because of that. One that had ended before is not meant.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.turns.is_cut_short.load(Ordering::Relaxed)
    }

    /// How long servers were waited for, all together.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    /// Adds to that.
    pub(super) fn note_wait(&self, wait: Duration) {
        self.waited.fetch_add(wait.as_micros() as u64, Ordering::Relaxed);
    }

    /// Waits until it is called back. Who waits in vain notes that it was cut short.
    pub(super) async fn called_back(&self) {
        let mut turn = self.turns.is_called_back.subscribe();
        if turn.wait_for(|is_called_back| *is_called_back).await.is_err() {
            std::future::pending::<()>().await; // nobody can call any more
        }
        self.turns.is_cut_short.store(true, Ordering::Relaxed);
    }
}
