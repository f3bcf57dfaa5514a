//! Fault injection: aborts, resets, delays, slow, short and corrupt responses, to see how the callers of a service bear
//! them.
//!
//! By a percentage of the requests, of those that match, by any expression, and by request headers where the operator
//! allows it. The headers and their rules are those of Envoy's fault filter, so that its users' tools go on working:
//! `x-envoy-fault-abort-request` (a status), `x-envoy-fault-abort-grpc-request` (a gRPC status),
//! `x-envoy-fault-delay-request` (milliseconds), `x-envoy-fault-throughput-response` (KiB/s), each with `-percentage` (the
//! two aborts share one).
//!
//! ```json
//! {
//!   "abort": {"status": 503, "percent": 10},
//!   "delay": {"fixed": "250ms", "percent": 5},
//!   "rate_limit": {"limit_kbps": 64},
//!   "truncate": {"after": "1KiB", "then": "cut", "percent": 1},
//!   "corrupt": {"bytes": 0.1, "percent": 1},
//!   "match": {"headers": {"x-user": {"exact": "ann"}}, "cookies": {"beta": {"present": true}}},
//!   "when": "request.method == 'GET'",
//!   "allow_headers": false,
//!   "max_active": 100
//! }
//! ```
//!
//! Each kind is drawn for itself: a request that gets a delay and an abort is delayed, then aborted. A reset breaks the
//! exchange off without an answer, which the client of an HTTP/1 connection sees as a closed connection. A slow response is
//! held piece by piece, so that its end never comes before its size over the rate; how finely depends on the size of the
//! pieces and of the host's buffer. A response that is cut short loses its connection between two pieces, because no filter
//! can cut it within one.
//!
//! Counters: `fault_aborts`, `fault_delays`, `fault_rate_limits`, `fault_truncations`, `fault_corruptions`,
//! `fault_overflows` (not injected because of `max_active`); gauge: `fault_active` (exchanges with a fault now, over all
//! workers).

mod config;
mod pace;
mod plan;
mod spoil;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_sdk::{Body, Counter, Exchange, Filter, Gauge, Next, Request, Response, filter, random};
use vocabulary::Percent;

use crate::config::Abort;
pub use crate::config::Config;
use crate::pace::Pace;
use crate::plan::Plan;
use crate::spoil::{Corruption, Piece, Truncation};

filter!(Fault);

// Whose headers, and which clusters and properties, is for its configuration to say.
tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["content-length"]},
    "body": "write",
    "properties": {"read": ["*"]},
    "metrics": ["fault_*"],
    "reply": true
}

/// How long what has gone on is given to be on its way before a connection is cut.
const BEFORE_CUT: Duration = Duration::from_millis(1);

/// The filter.
pub struct Fault {
    config: Config,
    metrics: Metrics,
}

#[derive(Clone, Copy)]
struct Metrics {
    aborts: Counter,
    delays: Counter,
    rate_limits: Counter,
    truncations: Counter,
    corruptions: Counter,
    overflows: Counter,
    active: Gauge,
}

/// What is done to one exchange; nothing to most.
#[derive(Default)]
pub struct State {
    /// Counted in `fault_active`.
    active: bool,
    /// What is done to the response's body.
    body: Option<Box<BodyFaults>>,
}

#[derive(Default)]
struct BodyFaults {
    corruption: Option<Corruption>,
    truncation: Option<Truncation>,
    /// It is slowed down.
    pace: Option<Rc<RefCell<Pace>>>,
    /// The connection is about to be cut.
    is_cut: bool,
}

impl Filter for Fault {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Fault, String> {
        let metrics = Metrics {
            aborts: Counter::new("fault_aborts"),
            delays: Counter::new("fault_delays"),
            rate_limits: Counter::new("fault_rate_limits"),
            truncations: Counter::new("fault_truncations"),
            corruptions: Counter::new("fault_corruptions"),
            overflows: Counter::new("fault_overflows"),
            active: Gauge::new("fault_active"),
        };
        Ok(Fault { config, metrics })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let throw = || random(0..Percent::PARTS.into()) as u32;
        let Some(plan) = self.config.plan(request, throw) else { return Next::Leave };
        if self.overflows() {
            self.metrics.overflows.increment();
            return Next::Leave;
        }
        self.inject(plan, state, request)
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        let truncation = state.body.as_ref().and_then(|faults| faults.truncation.as_ref());
        if truncation.is_some_and(Truncation::hides_length) && !response.is_complete() {
            response.remove_header("content-length");
        }
        Next::Continue
    }

    fn on_response_body(&self, state: &mut State, response: &Response<'_>, body: &Body) -> Next {
        state.body.as_mut().map_or(Next::Continue, |faults| faults.pass(response, body))
    }

    fn on_response_trailers(&self, state: &mut State, response: &Response<'_>) -> Next {
        state.body.as_mut().map_or(Next::Continue, |faults| faults.pass_trailers(response))
    }

    fn on_end(&self, state: &mut State, _: &Exchange) {
        if std::mem::take(&mut state.active) {
            self.metrics.active.add(-1);
        }
    }
}

impl Fault {
    fn overflows(&self) -> bool {
        let active = || self.metrics.active.value().unwrap_or(0);
        self.config.max_active.is_some_and(|max| active() >= max)
    }

    fn inject(&self, plan: Plan<'_>, state: &mut State, request: &Request<'_>) -> Next {
        let metrics = self.metrics;
        state.active = true;
        metrics.active.add(1);
        state.body = self.spoil_body(&plan);
        let abort = plan.abort;
        let Some(delay) = plan.delay else {
            return abort.map_or(Next::Continue, |abort| abort.perform(request, metrics));
        };
        metrics.delays.increment();
        if self.config.delay.as_ref().is_none_or(|delay| !delay.counts_against_timeout) {
            request.extend_timeout(delay);
        }
        request.wait(async move |exchange| {
            exchange.sleep(delay).await;
            abort.map_or(Next::Continue, |abort| abort.perform(&exchange, metrics))
        })
    }

    /// What is to be done to the response's body, if anything.
    fn spoil_body(&self, plan: &Plan<'_>) -> Option<Box<BodyFaults>> {
        let counted = [
            (plan.rate.is_some(), self.metrics.rate_limits),
            (plan.truncate.is_some(), self.metrics.truncations),
            (plan.corrupt.is_some(), self.metrics.corruptions),
        ];
        let planned = counted.iter().filter(|(is_planned, _)| *is_planned);
        planned.clone().for_each(|(_, counter)| counter.increment());
        planned.clone().next()?;
        Some(Box::new(BodyFaults {
            corruption: plan.corrupt.map(|corrupt| Corruption::new(corrupt.bytes)),
            truncation: plan.truncate.map(|truncate| Truncation::new(truncate.after.bytes(), truncate.then)),
            pace: plan.rate.map(|rate| Rc::new(RefCell::new(Pace::new(rate)))),
            is_cut: false,
        }))
    }
}

impl Abort {
    fn perform(self, exchange: &Exchange, metrics: Metrics) -> Next {
        metrics.aborts.increment();
        match self {
            Abort::Answer { status, grpc_status, body } => {
                let reply = exchange.reply(status).details("fault_filter_abort").body(&*body);
                match grpc_status {
                    Some(code) => reply.grpc_status(code).send(),
                    None => reply.send(),
                }
            }
            Abort::Reset => exchange.reset(),
        }
    }
}

impl BodyFaults {
    fn pass(&mut self, response: &Response<'_>, body: &Body) -> Next {
        if let Some(corruption) = self.corruption.as_mut().filter(|_| !body.is_empty()) {
            let mut bytes = body.bytes();
            corruption.spoil(&mut bytes, |below| random(0..below));
            body.replace(bytes);
        }
        let mut len = body.len();
        match self.truncation.as_mut().map(|truncation| truncation.take(len, body.is_last())) {
            None | Some(Piece::Whole) => {}
            Some(Piece::Beginning(left)) => {
                let mut bytes = body.bytes();
                bytes.truncate(left);
                body.replace(bytes);
                len = left;
            }
            Some(Piece::Cut) => return self.cut(response),
        }
        self.slow_down(response, len, body.is_last())
    }

    fn pass_trailers(&mut self, response: &Response<'_>) -> Next {
        match &self.truncation {
            Some(truncation) if truncation.is_cut() => self.cut(response),
            _ => self.slow_down(response, 0, true),
        }
    }

    /// Holds what comes now and cuts the connection, when what went on before is on its way.
    fn cut(&mut self, response: &Response<'_>) -> Next {
        if std::mem::replace(&mut self.is_cut, true) {
            return Next::Hold;
        }
        response.wait(async |exchange| {
            exchange.sleep(BEFORE_CUT).await;
            exchange.reset()
        })
    }

    fn slow_down(&self, response: &Response<'_>, bytes: usize, last: bool) -> Next {
        let Some(pace) = &self.pace else { return Next::Continue };
        let (was_holding, now) = (pace.borrow().is_holding(), response.now());
        let wait = pace.borrow_mut().take(now, bytes, last);
        match wait {
            None => Next::Continue,
            Some(_) if was_holding => Next::Hold,
            Some(wait) => {
                let pace = pace.clone();
                response.wait(async move |exchange| let_go(&pace, wait, &exchange).await)
            }
        }
    }
}

/// Waits until what is held may go on.
async fn let_go(pace: &RefCell<Pace>, mut wait: Duration, exchange: &Exchange) -> Next {
    loop {
        exchange.sleep(wait).await;
        let more = pace.borrow_mut().release(exchange.now());
        match more {
            Some(more) => wait = more,
            None => return Next::Continue,
        }
    }
}
