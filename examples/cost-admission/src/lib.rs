//! Admits requests by what they cost: a report may be as much as a hundred look-ups.
//!
//! ```yaml
//! config:
//!   client: header:x-client              # or client_address, which it is without this
//!   budget: {burst: 100, refill: 10, every: 1}  # tokens, tokens, seconds; for each client
//!   in_flight: 500                       # for all clients together, on all workers
//!   costs: [{path: /reports, cost: 50}, {path: /search, method: POST, cost: 5}]
//!   per_kib: 1                           # of the request's body, beside that
//! ```
//!
//! A request is charged what it is thought to cost when it comes, and when it is over what it cost indeed, as the service says in
//! `x-cost`, or by `per_second` of the time it took. What the service failed at costs nothing. Over the client's budget a request is
//! answered 429, over what may be in flight 503. Counters: `cost_requests{outcome}`, `cost_charged`; gauge: `cost_in_flight`.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::log::{info, warn};
use tidegate_sdk::{
    CellError, Cells, Counter, CounterFamily, Exchange, Filter, Gauge, Next, Request, Response, TokenBucket,
    filter,
};

filter!(CostAdmission);

// Which header names the client, is for its configuration to say.
tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["x-cost", "retry-after"]},
    "properties": {"read": ["source.address", "response.code", "plugin_name"]},
    "shared_data": ["*"],
    "metrics": ["cost_*"],
    "reply": true
}

/// What the service says that a request cost.
const COST: &str = "x-cost";
/// For how long what is in flight is counted together. Where an instance ends before its exchanges do, what they had is forgotten
/// after two of these.
const PERIOD: Duration = Duration::from_secs(300);

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "default_client")]
    client: String,
    budget: Budget,
    in_flight: u32,
    #[serde(default)]
    costs: Vec<Cost>,
    /// What any other request costs.
    #[serde(default = "one")]
    default_cost: u32,
    #[serde(default)]
    per_kib: u32,
    #[serde(default)]
    per_second: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    burst: u32,
    refill: u32,
    /// In seconds.
    #[serde(default = "one")]
    every: u32,
}

/// What requests for a path and all below it cost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    path: String,
    method: Option<String>,
    cost: u32,
}

fn default_client() -> String {
    "client_address".to_owned()
}

fn one() -> u32 {
    1
}

/// The filter.
struct CostAdmission {
    config: Config,
    /// The header that names the client; its address, where there is none.
    header: Option<String>,
    bucket: TokenBucket,
    cells: Cells,
    admitted: Counter,
    over_budget: Counter,
    over_capacity: Counter,
    refunded: Counter,
    not_counted: Counter,
    charged: Counter,
    in_flight: Gauge,
}

/// What was taken for a request that was admitted.
#[derive(Default)]
struct State {
    held: Option<Held>,
    /// What the service says that it cost.
    said: Option<u32>,
}

struct Held {
    client: String,
    cost: u32,
    /// The period in which it is counted as in flight.
    period: u64,
    since: Duration,
}

/// Why a request is not admitted.
enum Refusal {
    /// The client has to wait so long; for ever, where it is more than its bucket holds.
    Budget(Duration),
    Capacity,
}

impl Filter for CostAdmission {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<CostAdmission, String> {
        let header = match config.client.split_once(':') {
            None if config.client == "client_address" => None,
            Some(("header", name)) if !name.is_empty() => Some(name.to_ascii_lowercase()),
            _ => {
                return Err(format!("client: `{}` is neither client_address nor header:NAME", config.client));
            }
        };
        let Budget { burst, refill, every } = config.budget;
        if refill == 0 || every == 0 {
            return Err("budget: `refill` and `every` are at least 1".to_owned());
        }
        for (at, cost) in config.costs.iter().enumerate() {
            if !cost.path.starts_with('/') {
                return Err(format!("costs[{at}].path: `{}` does not begin with `/`", cost.path));
            }
            if cost.cost > burst.min(config.in_flight) {
                let cost = cost.cost;
                return Err(format!(
                    "costs[{at}].cost: {cost} is more than there ever is: see `budget.burst` and `in_flight`"
                ));
            }
        }
        let outcomes = CounterFamily::new("cost_requests", ["outcome"]);
        let outcome = |outcome| outcomes.with([outcome]);
        Ok(CostAdmission {
            header,
            bucket: TokenBucket { burst, tokens: refill, interval: Duration::from_secs(every.into()) },
            cells: Cells::of_this_filter(),
            admitted: outcome("admitted"),
            over_budget: outcome("over_budget"),
            over_capacity: outcome("over_capacity"),
            refunded: outcome("refunded"),
            not_counted: outcome("error"),
            charged: Counter::new("cost_charged"),
            in_flight: Gauge::new("cost_in_flight"),
            config,
        })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let (client, cost, since) = (self.client(request), self.estimate(request), request.now());
        let held = Held { client, cost, period: since.as_secs() / PERIOD.as_secs(), since };
        match self.admit(&held) {
            Ok(None) => {
                self.admitted.increment();
                self.charged.add(cost);
                state.held = Some(held);
                Next::Continue
            }
            Ok(Some(refusal)) => self.refuse(request, &held, &refusal),
            // To let everything pass is better than to let nothing pass.
            Err(error) => {
                warn!("a request was not counted: {error}");
                self.not_counted.increment();
                Next::Leave
            }
        }
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        state.said = response.header(COST).and_then(|cost| cost.trim().parse().ok());
        response.remove_header(COST);
        Next::Continue
    }

    fn on_end(&self, state: &mut State, exchange: &Exchange) {
        let Some(held) = state.held.take() else { return };
        if let Err(error) = self.settle(&held, state.said, exchange) {
            warn!(client = held.client.as_str(); "a request was not settled: {error}");
            self.not_counted.increment();
        }
    }
}

impl CostAdmission {
    fn client(&self, request: &Request<'_>) -> String {
        match &self.header {
            Some(name) => request.header(name).unwrap_or_default(),
            None => request.source_address().map(|address| address.ip().to_string()).unwrap_or_default(),
        }
    }

    /// What a request is thought to cost: never more than there ever is, so that each can be admitted some time.
    fn estimate(&self, request: &Request<'_>) -> u32 {
        let (method, path) = (request.method(), request.path());
        let path = path.split('?').next().unwrap_or_default();
        let is_for = |cost: &&Cost| {
            let below = path.strip_prefix(cost.path.trim_end_matches('/'));
            let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            is_below && cost.method.as_ref().is_none_or(|wanted| *wanted == method)
        };
        let base = self.config.costs.iter().find(is_for).map_or(self.config.default_cost, |cost| cost.cost);
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0u64);
        let by_length = length.div_ceil(1024).saturating_mul(self.config.per_kib.into());
        let all = u64::from(base).saturating_add(by_length);
        all.min(self.bucket.burst.min(self.config.in_flight).into()) as u32
    }

    /// Takes what a request costs from its client and from what may be in flight, or nothing.
    fn admit(&self, held: &Held) -> Result<Option<Refusal>, CellError> {
        let taken = self.cells.take(client_cell(&held.client), self.bucket, held.cost)?;
        if let Some(wait) = taken.retry_after {
            return Ok(Some(Refusal::Budget(wait)));
        }
        let total = self.count_in_flight(held, held.cost.into())?;
        if total <= i64::from(self.config.in_flight) {
            return Ok(None);
        }
        self.count_in_flight(held, -i64::from(held.cost))?;
        self.cells.give_back(client_cell(&held.client), self.bucket, held.cost)?;
        Ok(Some(Refusal::Capacity))
    }

    /// Adds to what is in flight, on all workers, and says how much that is then.
    fn count_in_flight(&self, held: &Held, change: i64) -> Result<i64, CellError> {
        let of =
            |period: u64, change| self.cells.add(format!("in-flight\0{period}"), change, Some(2 * PERIOD));
        let total = of(held.period, change)?.count + of(held.period.wrapping_sub(1), 0)?.count;
        self.in_flight.set(total.max(0).cast_unsigned());
        Ok(total)
    }

    /// A request is over: what it had is free, and its client is charged what it cost indeed.
    fn settle(&self, held: &Held, said: Option<u32>, exchange: &Exchange) -> Result<(), CellError> {
        self.count_in_flight(held, -i64::from(held.cost))?;
        let took = exchange.now().saturating_sub(held.since);
        let by_time = (self.config.per_second > 0)
            .then(|| (took.as_secs_f64() * f64::from(self.config.per_second)).ceil() as u32);
        let cost = match exchange.response_code() {
            Some(500..) => {
                self.refunded.increment();
                0
            }
            // A client that left has had the service work all the same.
            _ => said.or(by_time).unwrap_or(held.cost),
        };
        let client = client_cell(&held.client);
        if cost < held.cost {
            self.cells.give_back(client, self.bucket, held.cost - cost)?;
        } else if cost > held.cost {
            self.charged.add(cost - held.cost);
            // A bucket has no debts: what it does not hold is not charged.
            let more = self.cells.take(&client, self.bucket, cost - held.cost)?;
            if more.retry_after.is_some() {
                self.cells.take(&client, self.bucket, more.remaining)?;
            }
        }
        Ok(())
    }

    fn refuse(&self, request: &Request<'_>, held: &Held, refusal: &Refusal) -> Next {
        let (status, wait, details, counter) = match refusal {
            Refusal::Budget(wait) => (429, *wait, "cost_over_budget", self.over_budget),
            Refusal::Capacity => (503, Duration::from_secs(1), "cost_over_capacity", self.over_capacity),
        };
        counter.increment();
        info!(client = held.client.as_str(), cost = held.cost; "{details}");
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let reply = request.reply(status).header("retry-after", &seconds.max(1).to_string());
        reply.body(format!("this costs {}, which is too much now\n", held.cost)).details(details).send();
        Next::Leave
    }
}

fn client_cell(client: &str) -> String {
    format!("client\0{client}")
}
