//! Sending a request more than once: what is tried again, when, how often, and with which body.
//!
//! The filters see one request and one response. An attempt whose response's head is on its way to them is the last.

mod attempts;
mod decide;
mod hedge;
mod replay;
mod wishes;

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Request, Response};
use tokio::time::sleep;

use super::answer::{Ending, PER_TRY_TIMEOUT};
use super::discard::discard;
use crate::config::model::{Address, Retries};
use crate::error::Failure;
use crate::tasks::Tasks;
use crate::telemetry::metrics::{RetryDenial, RetryReason};
use crate::upstream::{Cluster, Criteria, RequestBody, ResponseBody, Retrying, UpstreamError, Upstreams};
pub(super) use attempts::Attempts;
use attempts::Flight;
use replay::Replay;
pub(super) use wishes::{deadline, drop_wishes, policy, tell_deadline, time};

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// What a response came to.
type Sent = Result<Box<Response<ResponseBody>>, Missed>;

/// Why an attempt has no response.
enum Missed {
    Failed(UpstreamError),
    /// The attempt's time was over.
    TooLong,
}

impl From<Missed> for Ending {
    fn from(missed: Missed) -> Ending {
        match missed {
            Missed::Failed(error) => Ending::from_upstream(error),
            Missed::TooLong => Ending::failed(Failure::UpstreamTimeout, PER_TRY_TIMEOUT.to_owned()),
        }
    }
}

/// A request that is sent until something comes of it that its policy takes for an answer.
pub(super) struct Sending<'a, M> {
    pub(super) upstreams: &'a Upstreams,
    pub(super) tasks: &'a Rc<Tasks>,
    /// An index into the configuration's.
    pub(super) cluster: usize,
    /// What is asked of the endpoint of the first attempt.
    pub(super) criteria: Criteria<'a>,
    pub(super) policy: &'a Retries,
    /// Makes the request with this body.
    pub(super) make: M,
    pub(super) attempts: &'a Attempts,
}

impl<M> Sending<'_, M>
where
    M: Fn(RequestBody) -> Result<Box<Request<RequestBody>>, Ending>,
{
    /// Sends it, again and again where that is called for, and waits for the head of a response.
    pub(super) async fn run(self, body: RequestBody) -> Result<Box<Response<ResponseBody>>, Ending> {
        let replay = Replay::new(body, self.policy.buffer);
        let Some(cluster) = self.upstreams.cluster(self.cluster).cloned() else {
            return Err(Ending::from_upstream(UpstreamError::NoEndpoint));
        };
        // Those that were tried. When that is all of them, only the last is of interest.
        let mut tried: Vec<Address> = Vec::new();
        // The retry that an attempt is, until something has come of it.
        let mut retrying = None;
        loop {
            let before = tried.len();
            let sent = match &self.policy.hedge {
                Some(hedge) => self.race(hedge, &cluster, &replay, &mut tried).await?,
                None => {
                    let flight = self.attempts.begin();
                    let sent = self.attempt(&replay, &tried, &flight).await?;
                    tried.extend(flight.endpoint());
                    sent
                }
            };
            drop(retrying.take());
            if tried.len() >= cluster.endpoints().len() {
                tried.drain(..before);
            }
            let Some((reason, wait)) = self.judge(&sent) else { return self.finish(sent) };
            match self.permit(&cluster, &replay, wait) {
                Ok(permitted) => retrying = Some(permitted),
                Err(denial) => {
                    self.count(|cell| cell.count_retry_denial(denial));
                    return self.finish(sent);
                }
            }
            self.count(|cell| cell.count_retry(reason));
            if let Ok(response) = sent {
                self.discard(*response, &replay);
            }
            let wait = match wait {
                Some(wait) => decide::spread(wait),
                None => decide::backoff(&self.policy.backoff, self.attempts.count()),
            };
            sleep(wait).await;
        }
    }

    /// One attempt, within its time. An error is the request's own.
    async fn attempt(&self, replay: &Replay, tried: &[Address], flight: &Rc<Flight>) -> Result<Sent, Ending> {
        let make = |body| {
            let mut request = (self.make)(body)?;
            if self.policy.attempt_count {
                request.headers_mut().insert(ATTEMPT_COUNT, HeaderValue::from(flight.number));
            }
            Ok::<_, Ending>(request)
        };
        let request = make(replay.body())?;
        // The same endpoint, on another connection: only what it had no chance to see is sent so.
        let again = || make(RequestBody::Empty).ok();
        let timed = self.policy.hedge.is_some();
        let criteria = Criteria { tried, retried: true, timed, ..self.criteria };
        let mut sending = pin!(self.upstreams.send(self.cluster, &criteria, request, again, &flight.attempt));
        let sent = match self.policy.per_try_timeout {
            None => sending.await.map_err(Missed::Failed),
            Some(time) => self.within(time, sending.as_mut(), replay, flight).await,
        };
        self.attempts.land(flight);
        Ok(sent)
    }

    /// Waits for an attempt until its time is over, and where it may go on then, after that.
    async fn within(
        &self,
        time: Duration,
        mut sending: Pin<&mut impl Future<Output = Result<Box<Response<ResponseBody>>, UpstreamError>>>,
        replay: &Replay,
        flight: &Flight,
    ) -> Sent {
        tokio::select! {
            biased;
            sent = &mut sending => return sent.map_err(Missed::Failed),
            () = replay.over(time) => {}
        }
        if self.policy.hedge.as_ref().is_some_and(|hedge| hedge.on_per_try_timeout) {
            flight.note_slow(self.upstreams, self.cluster);
            return sending.await.map_err(Missed::Failed);
        }
        flight.note_given_up(self.upstreams, self.cluster);
        Err(Missed::TooLong)
    }

    /// Why another attempt is called for, if it is, and how long it is to wait if that was said.
    fn judge(&self, sent: &Sent) -> Option<(RetryReason, Option<Duration>)> {
        let policy = self.policy;
        match sent {
            Ok(response) => {
                let reason = decide::about_response(policy, response.status(), response.headers())?;
                let wait = decide::asked_wait(policy, response.headers(), SystemTime::now());
                Some((reason, wait.filter(|wait| !wait.is_zero())))
            }
            Err(Missed::Failed(error)) => Some((decide::about_failure(policy, error)?, None)),
            Err(Missed::TooLong) => Some((decide::about_timeout(policy)?, None)),
        }
    }

    /// Whether there may be another attempt.
    fn permit(
        &self,
        cluster: &Arc<Cluster>,
        replay: &Replay,
        wait: Option<Duration>,
    ) -> Result<Retrying, RetryDenial> {
        let policy = self.policy;
        if self.attempts.count() > policy.attempts {
            return Err(RetryDenial::Attempts);
        }
        if !replay.is_whole() {
            return Err(RetryDenial::Body);
        }
        if wait.is_some_and(|wait| wait > policy.max_wait) {
            return Err(RetryDenial::Wait);
        }
        Retrying::begin(cluster, policy.budget, policy.budget_minimum).ok_or(RetryDenial::Budget)
    }

    fn finish(&self, sent: Sent) -> Result<Box<Response<ResponseBody>>, Ending> {
        let mut response = sent?;
        if self.policy.attempt_count {
            response.headers_mut().insert(ATTEMPT_COUNT, HeaderValue::from(self.attempts.count()));
        }
        Ok(response)
    }

    /// Drops a response. Where its request is still being sent, its connection goes with it.
    fn discard(&self, response: Response<ResponseBody>, replay: &Replay) {
        if replay.is_received() {
            discard(self.tasks, response.into_body());
        }
    }

    fn count(&self, count: impl FnOnce(&crate::telemetry::metrics::ClusterCell)) {
        if let Some(cell) = self.upstreams.cell(self.cluster) {
            count(cell);
        }
    }
}
