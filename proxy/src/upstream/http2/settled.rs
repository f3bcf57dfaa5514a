//! Whether an endpoint has said what it takes (its SETTINGS): some requests may be sent only when it has, and `h2` does not
//! tell. They are the first frame of a connection (RFC 9113, 3.4), so it is enough to see that go by (`frames`).

use std::cell::Cell;

use tokio::sync::Notify;

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Settled {
    is: Cell<bool>,
    changed: Notify,
}

impl Settled {
    /// The first frame was read, or never will be.
    pub(super) fn set(&self) {
        if !self.is.replace(true) {
            self.changed.notify_waiters();
        }
    }

    /// Waits for that.
    pub(super) async fn wait(&self) {
        while !self.is.get() {
            self.changed.notified().await;
        }
    }
}
