//! How long an exchange may take, and may stand still.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::error::Failure;
use crate::filter::Meter;

/// The limits on an exchange's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    /// Without any byte of a body moving.
    pub(super) idle: Duration,
    /// From the whole request received to the whole response; none before a route is found.
    pub(super) whole: Option<Duration>,
}

impl Watch {
    /// Waits for `work`, but no longer than allowed. No timer is made for work that is done at once.
    pub(super) async fn over<T, E: From<Failure>>(
        &self,
        meter: &Meter,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut work = pin!(work);
        let mut timer = Timer::default();
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => timer.poll(self, meter, cx).map(|failure| Err(failure.into())),
        })
        .await
    }

    /// When the exchange has failed if nothing moves until then, and how.
    fn deadline(&self, meter: &Meter) -> (Instant, Failure) {
        let idle = meter.last_activity() + self.idle;
        let Some(end) = meter.request_end() else { return (idle, Failure::RequestIdle) };
        match self.whole {
            Some(whole) if end + whole <= idle => (end + whole, Failure::UpstreamTimeout),
            _ => (idle, Failure::ResponseIdle),
        }
    }
}

/// A timer that is set when something is first waited for.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits for the exchange to exceed its time.
    pub(super) fn poll(&mut self, watch: &Watch, meter: &Meter, cx: &mut Context<'_>) -> Poll<Failure> {
        loop {
            let (deadline, failure) = watch.deadline(meter);
            let sleep = match &mut self.0 {
                Some(sleep) => sleep,
                none => none.insert(Box::pin(tokio::time::sleep_until(deadline.into()))),
            };
            // Bytes that moved since the timer was set have moved the deadline; it is only looked at when it fires.
            std::task::ready!(sleep.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(failure);
            }
            sleep.as_mut().reset(deadline.into());
        }
    }
}
