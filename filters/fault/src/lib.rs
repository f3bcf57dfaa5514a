//! Fault injection: aborts, resets, delays and slow responses, to see how the callers of a service bear them.
//!
//! By a percentage of the requests, of those that match, and by request headers where the operator allows it. The
//! headers and their rules are those of Envoy's fault filter, so that its users' tools go on working:
//! `x-envoy-fault-abort-request` (a status), `x-envoy-fault-delay-request` (milliseconds),
//! `x-envoy-fault-throughput-response` (KiB/s), each with `-percentage`.
//!
//! ```json
//! {
//!   "abort": {"status": 503, "percent": 10},
//!   "delay": {"fixed": "250ms", "percent": 5},
//!   "rate_limit": {"kbps": 64},
//!   "match": {"headers": {"x-user": {"exact": "ann"}}, "cookies": {"beta": {"present": true}}},
//!   "allow_headers": false,
//!   "max_active": 100
//! }
//! ```
//!
//! A delay and an abort are drawn apart: a request that gets both is delayed, then aborted. A reset breaks the
//! exchange off without an answer, which the client of an HTTP/1 connection sees as a closed connection; the ABI has no
//! way to cut a connection in the middle of an answer. A slow response is held piece by piece, so that its end never
//! comes before its size over the rate; how finely depends on the size of the pieces and of the host's buffer.
//!
//! Counters: `fault_aborts`, `fault_delays`, `fault_rate_limits`, `fault_overflows` (not injected because of
//! `max_active`); gauge: `fault_active` (exchanges with a fault now, over all workers).

mod config;
mod pace;
mod plan;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_sdk::{Body, Counter, Exchange, Filter, Gauge, Next, Request, Response, filter, random};

use crate::config::{Abort, Config};
use crate::pace::Pace;
use crate::plan::{PARTS, Plan};

filter!(Fault);

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
    overflows: Counter,
    active: Gauge,
}

/// What is done to one exchange; nothing to most.
#[derive(Default)]
pub struct State {
    /// Counted in `fault_active`.
    active: bool,
    /// The response is slowed down.
    pace: Option<Rc<RefCell<Pace>>>,
}

impl Filter for Fault {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Fault, String> {
        let metrics = Metrics {
            aborts: Counter::new("fault_aborts"),
            delays: Counter::new("fault_delays"),
            rate_limits: Counter::new("fault_rate_limits"),
            overflows: Counter::new("fault_overflows"),
            active: Gauge::new("fault_active"),
        };
        Ok(Fault { config, metrics })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let throw = || random(0..PARTS.into()) as u32;
        let Some(plan) = self.config.plan(|name| request.header(name), throw) else { return Next::Continue };
        if self.overflows() {
            self.metrics.overflows.increment();
            return Next::Continue;
        }
        self.inject(plan, state, request)
    }

    fn on_response_body(&self, state: &mut State, response: &Response<'_>, body: &Body) -> Next {
        slow_down(state, response, body.len(), body.is_last())
    }

    fn on_response_trailers(&self, state: &mut State, response: &Response<'_>) -> Next {
        slow_down(state, response, 0, true)
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

    fn inject(&self, plan: Plan, state: &mut State, request: &Request<'_>) -> Next {
        let metrics = self.metrics;
        state.active = true;
        metrics.active.add(1);
        if let Some(rate) = plan.rate {
            metrics.rate_limits.increment();
            state.pace = Some(Rc::new(RefCell::new(Pace::new(rate))));
        }
        let abort = plan.abort;
        let Some(delay) = plan.delay else {
            return abort.map_or(Next::Continue, |abort| abort.perform(request, metrics));
        };
        metrics.delays.increment();
        request.wait(async move |exchange| {
            exchange.sleep(delay).await;
            abort.map_or(Next::Continue, |abort| abort.perform(&exchange, metrics))
        })
    }
}

impl Abort {
    fn perform(self, exchange: &Exchange, metrics: Metrics) -> Next {
        metrics.aborts.increment();
        match self {
            Abort::Status { status, body } => {
                exchange.reply(status).details("fault_filter_abort").body(&*body).send()
            }
            Abort::Reset => exchange.reset(),
        }
    }
}

fn slow_down(state: &State, response: &Response<'_>, bytes: usize, last: bool) -> Next {
    let Some(pace) = &state.pace else { return Next::Continue };
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
