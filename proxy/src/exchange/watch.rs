//! How long an exchange may take, and may stand still.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::time::Sleep;

use super::retry;
use crate::config::model::{Listener, Route};
use crate::error::Failure;
use crate::filter::Run;

/// The limits on an exchange's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    /// When the exchange began.
    pub(super) beginning: Instant,
    /// Without any byte of a body moving.
    pub(super) idle: Duration,
    /// From the whole request received to the whole response sent, and what filters add to it; none before a route is
    /// found.
    pub(super) whole: Option<Duration>,
    /// From the beginning of the exchange to its end, whatever moves.
    pub(super) longest: Option<Duration>,
}

impl Watch {
    /// Takes the times of a route, if there is one, and those that the request asks for.
    pub(super) fn set(&mut self, listener: &Listener, route: Option<&Route>, headers: &HeaderMap) {
        let trusted = listener.trusted_hops > 0;
        self.whole = route.and_then(|route| retry::time(route, headers, trusted));
        self.longest = route.and_then(|route| route.max_duration);
        self.idle = route.and_then(|route| route.idle_timeout).unwrap_or(listener.limits.stream_idle_timeout);
    }

    /// Waits for `work`, but no longer than allowed. No timer is made for work that is done at once.
    ///
    /// `work` is pinned by the caller: a future that is handed on by value is there twice in the one that awaits it, and
    /// every byte of an exchange's future is moved with each request.
    pub(super) async fn over<T, E: From<Failure>>(
        &self,
        run: &Run,
        mut work: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, E> {
        let mut timer = Timer::default();
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => timer.poll(self, run, cx).map(|failure| Err(failure.into())),
        })
        .await
    }

    /// When to look at the deadline again. While the request is not whole, its end may still set an earlier one, and
    /// nobody is woken by that: but not earlier than a whole time from now.
    fn look_again(&self, run: &Run, now: Instant, deadline: Instant) -> Instant {
        match self.whole {
            Some(whole) if run.meter().request_end(self.beginning).is_none() => deadline.min(now + whole),
            _ => deadline,
        }
    }

    /// When the exchange has failed if nothing moves after `moved`, and how.
    fn deadline(&self, run: &Run, moved: Instant) -> (Instant, Failure) {
        let (deadline, failure) = self.deadline_of_waits(run, moved);
        match self.longest.map(|longest| self.beginning + longest + run.timeout_extension()) {
            Some(end) if end < deadline => (end, Failure::DurationExceeded),
            _ => (deadline, failure),
        }
    }

    fn deadline_of_waits(&self, run: &Run, moved: Instant) -> (Instant, Failure) {
        let idle = moved + self.idle;
        let Some(end) = run.meter().request_end(self.beginning) else { return (idle, Failure::RequestIdle) };
        match self.whole.map(|whole| end + whole + run.timeout_extension()) {
            Some(whole) if whole <= idle => (whole, Failure::UpstreamTimeout),
            _ => (idle, Failure::ResponseIdle),
        }
    }
}

/// A timer that is set when something is first waited for.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Alarm>);

#[derive(Debug)]
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// The moves that were seen last, and when they were first seen.
    seen: (u64, Instant),
}

impl Timer {
    /// Waits for the exchange to exceed its time.
    pub(super) fn poll(&mut self, watch: &Watch, run: &Run, cx: &mut Context<'_>) -> Poll<Failure> {
        let alarm = self.0.get_or_insert_with(|| {
            let (deadline, _) = watch.deadline(run, watch.beginning);
            let first = watch.look_again(run, watch.beginning, deadline);
            Alarm { sleep: Box::pin(tokio::time::sleep_until(first.into())), seen: (0, watch.beginning) }
        });
        loop {
            // What moved since has put the deadline off; that is only looked at when the alarm goes off.
            std::task::ready!(alarm.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if alarm.seen.0 != run.meter().moves() {
                alarm.seen = (run.meter().moves(), now);
            }
            let (deadline, failure) = watch.deadline(run, alarm.seen.1);
            if deadline <= now {
                return Poll::Ready(failure);
            }
            alarm.sleep.as_mut().reset(watch.look_again(run, now, deadline).into());
        }
    }
}
