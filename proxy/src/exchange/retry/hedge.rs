//! Attempts that are under way at once: a request that is not answered in good time goes to another endpoint too, and the
//! first good answer is the one. What the others come to nobody waits for: they are given up, which closes their
//! connections, or resets their streams.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Request;

use super::attempts::Flight;
use super::replay::Replay;
use super::{Ending, Sending, Sent};
use crate::config::model::{Address, Hedge};
use crate::telemetry::metrics::{RetryDenial, RetryReason};
use crate::upstream::{Attempt, Cluster, RequestBody, Retrying};

/// What an attempt came to, and how far it came.
type Landed = (Sent, Attempt);

impl Hedge {
    /// How long after an attempt the next one begins, and why.
    fn delay(&self, per_try_timeout: Option<Duration>) -> Option<(Duration, RetryReason)> {
        let overdue = per_try_timeout.filter(|_| self.on_per_try_timeout);
        match (self.after, overdue) {
            (Some(after), Some(overdue)) if overdue < after => Some((overdue, RetryReason::Timeout)),
            (Some(after), _) => Some((after, RetryReason::Hedge)),
            (None, overdue) => Some((overdue?, RetryReason::Timeout)),
        }
    }
}

impl<M> Sending<'_, M>
where
    M: Fn(RequestBody) -> Result<Box<Request<RequestBody>>, Ending>,
{
    /// An attempt, and more beside it for as long as none is answered and there may be more. Those that it was sent to are
    /// among the `tried` then.
    pub(super) async fn race(
        &self,
        hedge: &Hedge,
        cluster: &Arc<Cluster>,
        replay: &Replay,
        tried: &mut Vec<Address>,
    ) -> Result<Sent, Ending> {
        let delay = hedge.delay(self.policy.per_try_timeout);
        let (time, reason) = delay.unwrap_or((Duration::MAX, RetryReason::Hedge));
        let mut next = pin!(replay.over(time));
        let mut may_hedge = delay.is_some();
        let mut begun = vec![self.attempts.begin()];
        let mut flights = FuturesUnordered::new();
        flights.push(self.flight(replay, tried.clone(), begun[0].clone(), None));
        let mut former: Option<Landed> = None;
        let outcome = loop {
            tokio::select! {
                biased;
                Some(landed) = flights.next() => {
                    let landed: Landed = landed?;
                    let is_good = landed.0.is_ok() && self.judge(&landed.0).is_none();
                    let better = self.better(landed, former.take(), replay);
                    if is_good || flights.is_empty() {
                        break better;
                    }
                    former = Some(better);
                }
                () = &mut next, if may_hedge => match self.permit_another(cluster, replay, &begun) {
                    Some(permitted) => {
                        self.count(|cell| cell.count_retry(reason));
                        let busy = begun.iter().filter_map(|flight| flight.endpoint());
                        let avoided = tried.iter().copied().chain(busy).collect();
                        let flight = self.attempts.begin();
                        begun.push(flight.clone());
                        flights.push(self.flight(replay, avoided, flight, Some(permitted)));
                        next.set(replay.over(time));
                    }
                    None => may_hedge = false,
                },
            }
        };
        drop(flights);
        let (sent, attempt) = outcome;
        self.attempts.settle(self.upstreams, self.cluster, attempt, time);
        tried.extend(begun.iter().filter_map(|flight| flight.endpoint()));
        Ok(sent)
    }

    /// Whether there may be another one beside those that have `begun`.
    fn permit_another(
        &self,
        cluster: &Arc<Cluster>,
        replay: &Replay,
        begun: &[Rc<Flight>],
    ) -> Option<Retrying> {
        // Where a client is tied to one endpoint, it would get the request twice.
        let bound = self.criteria.preferred.filter(|_| self.criteria.strict);
        if bound.is_some() && begun.iter().any(|flight| flight.endpoint() == bound) {
            return None;
        }
        match self.permit(cluster, replay, None) {
            Ok(permitted) => Some(permitted),
            // That it was sent as often as it may be is how it goes; anything else is worth to be known.
            Err(RetryDenial::Attempts) => None,
            Err(denial) => {
                self.count(|cell| cell.count_retry_denial(denial));
                None
            }
        }
    }

    /// One of the attempts. It counts as a retry for as long as it is `permitted`.
    async fn flight(
        &self,
        replay: &Replay,
        tried: Vec<Address>,
        flight: Rc<Flight>,
        permitted: Option<Retrying>,
    ) -> Result<Landed, Ending> {
        let _permitted = permitted;
        Ok((self.attempt(replay, &tried, &flight).await?, flight.attempt.get()))
    }

    /// Of two that are not good, a response is better than none, and the later one than the earlier.
    fn better(&self, landed: Landed, former: Option<Landed>, replay: &Replay) -> Landed {
        match (landed, former) {
            ((Err(_), _), Some(former @ (Ok(_), _))) => former,
            (landed, former) => {
                if let Some((Ok(response), _)) = former {
                    self.discard(*response, replay);
                }
                landed
            }
        }
    }
}
