//! How long a connection may do what it does. It has one timer, which is looked at when it fires and not touched by
//! requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::drain::{DRAIN_GRACE, Drain};
use crate::config::model::ListenerLimits;
use crate::exchange::{Peer, Phase};
use crate::overload::Admission;

/// How long a connection is kept between requests while memory runs out: as after a drain has begun.
const RELIEVED_IDLE: Duration = DRAIN_GRACE;

/// Why a connection is not polled any further.
pub(super) enum Verdict {
    /// Idle since the drain began: it finishes what it is at, and ends.
    Drain,
    HeadTimeout,
    /// The client does not take its answer.
    Stalled,
    Idle,
}

/// Watches over one connection's time.
pub(super) struct Warden<'a> {
    limits: &'a ListenerLimits,
    peer: &'a Peer,
    drain: &'a Drain,
    admission: &'a Admission,
    timer: Option<Pin<Box<Sleep>>>,
    registered: bool,
}

impl<'a> Warden<'a> {
    pub(super) fn new(
        limits: &'a ListenerLimits,
        peer: &'a Peer,
        drain: &'a Drain,
        admission: &'a Admission,
    ) -> Warden<'a> {
        Warden { limits, peer, drain, admission, timer: None, registered: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if !self.registered {
            self.drain.register(self.peer.connection_id, cx.waker());
            self.registered = true;
        }
        loop {
            let now = Instant::now;
            let timer = match &mut self.timer {
                Some(timer) => timer,
                None => {
                    let first = now() + self.limits.header_timeout.min(self.limits.idle_timeout);
                    self.timer.insert(Box::pin(tokio::time::sleep_until(first.into())))
                }
            };
            if self.drain.is_begun() && timer.deadline() > self.drain.deadline().into() {
                timer.as_mut().reset(self.drain.deadline().into());
            }
            let relieved = now() + RELIEVED_IDLE;
            if self.admission.is_relieving() && timer.deadline() > relieved.into() {
                timer.as_mut().reset(relieved.into());
            }
            std::task::ready!(timer.as_mut().poll(cx));
            if self.drain.is_over() {
                return Poll::Ready(Verdict::Drain);
            }
            let (deadline, verdict) = self.judge(now());
            if deadline <= now() {
                return Poll::Ready(verdict);
            }
            // A phase may begin at any time after this, so look again before the shortest of their limits is over.
            let soon = now() + self.limits.header_timeout;
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(deadline.min(soon).into());
            }
        }
    }

    /// How long nothing may go on.
    fn idle_limit(&self) -> Duration {
        let limit = self.limits.idle_timeout;
        if self.admission.is_relieving() { limit.min(RELIEVED_IDLE) } else { limit }
    }

    /// What is left of a limit on the phase that the connection is in.
    fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.peer.lasts())
    }

    /// Until when the connection may go on as it is, and what becomes of it then.
    fn judge(&self, now: Instant) -> (Instant, Verdict) {
        match self.peer.phase() {
            Phase::Idle => (now + self.left(self.idle_limit()), Verdict::Idle),
            Phase::Head => (now + self.left(self.limits.header_timeout), Verdict::HeadTimeout),
            Phase::Request | Phase::Answer | Phase::Tunnel => {
                // The exchange has its own limits while it waits for somebody; this one is for a client that does not
                // take what it is sent. It leaves the exchange's own a head start.
                let limit = self.limits.stream_idle_timeout + DRAIN_GRACE;
                let left = limit.saturating_sub(self.peer.blocks().unwrap_or_default());
                (now + left, Verdict::Stalled)
            }
        }
    }
}

impl Drop for Warden<'_> {
    fn drop(&mut self) {
        self.drain.forget(self.peer.connection_id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_has_ended_is_not_told_of_a_drain() {
        let limits = ListenerLimits {
            connections: 1,
            header_bytes: 8192,
            headers: 100,
            header_timeout: Duration::from_secs(10),
            detection_timeout: Duration::from_secs(10),
            stream_idle_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let (peer, drain) = (Peer::new(address, address, 1), Drain::default());
        let admission = Admission::new(Arc::default());
        let mut warden = Warden::new(&limits, &peer, &drain, &admission);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(warden.poll(&mut cx).is_pending());
        assert_eq!(drain.waiting(), 1);
        drop(warden);
        assert!(drain.waiting() == 0, "a proxy would keep a trace of every connection it had");
    }
}
