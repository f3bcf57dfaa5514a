//! Rate limiting: so many requests in a time, for each value of a key that is made of what a request shows.
//!
//! ```json
//! {
//!   "rules": [
//!     {"name": "per-user", "key": ["header:x-user"], "rate": "100/s", "burst": 20,
//!      "overrides": [{"key": ["robot"], "rate": "1/s"}, {"key": ["boss"], "unlimited": true}]},
//!     {"name": "logins", "key": ["client_address"], "match": {"method": "POST", "path": {"exact": "/login"}},
//!      "rate": "5/m", "algorithm": "sliding_window"}
//!   ],
//!   "dry_run": false,
//!   "headers": "ietf",
//!   "on_error": "open",
//!   "response": {"status": 429, "body": "too many requests\n"}
//! }
//! ```
//!
//! The workers of a proxy count together and exactly, by the host's cells; in a host that has none, in shared data, nearly
//! so. A request that one rule refuses is not charged to the others. What is decided is behind [`limiter`].
//!
//! Counter: `rate_limit_requests{rule, outcome}`, the outcome being `allowed`, `limited`, `would_limit` (a dry run) or
//! `error` (it could not be counted).

mod config;
mod fields;
mod key;
mod limiter;
mod rate;

use std::cell::LazyCell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_sdk::log::warn;
use tidegate_sdk::{Counter, CounterFamily, Filter, Next, Request, Response, filter};

use crate::config::{Config, Missing, OnError, Refusal, Rule};
use crate::fields::{Headers, Standing, whole_seconds};
use crate::limiter::{Decision, Limit, Limiter};

filter!(RateLimit);

// Whose headers, and which clusters and properties, is for its configuration to say.
tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["*"]},
    "properties": {"read": ["*"]},
    "shared_data": ["*"],
    "metrics": ["rate_limit_*"],
    "reply": true
}

/// The JSON Schema of the configuration.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(config::File)
}

/// gRPC's `UNAVAILABLE`.
const GRPC_UNAVAILABLE: u8 = 14;
/// gRPC's `RESOURCE_EXHAUSTED`.
const GRPC_RESOURCE_EXHAUSTED: u8 = 8;

/// The filter.
pub struct RateLimit {
    rules: Vec<(Rule, Outcomes)>,
    limiter: Limiter,
    headers: Headers,
    on_error: OnError,
    refusal: Refusal,
}

/// A rule's counters, and its name for clients.
struct Outcomes {
    policy: Rc<str>,
    allowed: Counter,
    limited: Counter,
    would_limit: Counter,
    error: Counter,
}

/// What one exchange will be told in its response.
#[derive(Default)]
pub struct State {
    fields: Vec<(&'static str, String)>,
}

/// A request that a rule counted.
struct Charged<'a> {
    rule: &'a Rule,
    limit: Limit,
    key: Vec<u8>,
}

/// What one rule says of a request.
enum Verdict<'a> {
    DoesNotApply,
    Allowed(Charged<'a>, Decision),
    Refused(Option<(Limit, Decision)>),
    Error,
}

impl Filter for RateLimit {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<RateLimit, String> {
        let family = CounterFamily::new("rate_limit_requests", ["rule", "outcome"]).at_most(usize::MAX);
        let outcomes = |name: &str| {
            let [allowed, limited, would_limit, error] =
                ["allowed", "limited", "would_limit", "error"].map(|outcome| family.with([name, outcome]));
            Outcomes { policy: name.into(), allowed, limited, would_limit, error }
        };
        let rules = config.rules.into_iter().map(|rule| {
            let outcomes = outcomes(&rule.name);
            (rule, outcomes)
        });
        let Config { headers, on_error, refusal, .. } = config;
        Ok(RateLimit { rules: rules.collect(), limiter: Limiter::new(), headers, on_error, refusal })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let (mut charged, mut standings) = (Vec::new(), Vec::new());
        let now = LazyCell::new(|| request.now());
        for (rule, outcomes) in &self.rules {
            let shown = |limit, decision| Standing { policy: outcomes.policy.clone(), limit, decision };
            match self.ask(rule, request, || *now) {
                Verdict::DoesNotApply => {}
                Verdict::Allowed(charge, decision) => {
                    outcomes.allowed.increment();
                    if self.headers != Headers::None && !rule.dry_run {
                        standings.push(shown(charge.limit, decision));
                    }
                    charged.push(charge);
                }
                Verdict::Refused(_) if rule.dry_run => outcomes.would_limit.increment(),
                Verdict::Refused(decided) => {
                    outcomes.limited.increment();
                    self.take_back(&charged, || *now);
                    standings.iter_mut().for_each(|others| others.decision.remaining += 1);
                    standings.extend(decided.map(|(limit, decision)| shown(limit, decision)));
                    return self.refuse(&rule.name, request, &standings);
                }
                Verdict::Error => {
                    outcomes.error.increment();
                    if self.on_error == OnError::Closed && !rule.dry_run {
                        self.take_back(&charged, || *now);
                        return request
                            .reply(503)
                            .details("rate_limit_error")
                            .grpc_status(GRPC_UNAVAILABLE)
                            .send();
                    }
                }
            }
        }
        state.fields = self.headers.render(&standings);
        if state.fields.is_empty() { Next::Leave } else { Next::Continue }
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        for (name, value) in state.fields.drain(..) {
            response.set_header(name, value);
        }
        Next::Leave
    }
}

impl RateLimit {
    fn ask<'a>(
        &'a self,
        rule: &'a Rule,
        request: &Request<'_>,
        now: impl FnOnce() -> Duration,
    ) -> Verdict<'a> {
        if rule.matches.as_ref().is_some_and(|matches| !matches.accepts(request)) {
            return Verdict::DoesNotApply;
        }
        let mut values = Vec::with_capacity(rule.key.len());
        for part in &rule.key {
            match (part.value(request), rule.missing) {
                (Some(value), _) => values.push(value),
                (None, Missing::Empty) => values.push(String::new()),
                (None, Missing::Skip) => return Verdict::DoesNotApply,
                (None, Missing::Refuse) => return Verdict::Refused(None),
            }
        }
        let Some(limit) = rule.limit_of(&values) else { return Verdict::DoesNotApply };
        let key = key::of(&rule.name, &values);
        match self.limiter.decide(&key, &limit, now) {
            Ok(decision) if decision.retry_after.is_none() => {
                Verdict::Allowed(Charged { rule, limit, key }, decision)
            }
            Ok(decision) => Verdict::Refused(Some((limit, decision))),
            Err(error) => {
                warn!(rule = rule.name.as_str(); "a request was not counted: {error}");
                Verdict::Error
            }
        }
    }

    /// A request that does not go on is charged to no rule.
    fn take_back(&self, charged: &[Charged<'_>], now: impl Fn() -> Duration) {
        for Charged { rule, limit, key } in charged {
            if let Err(error) = self.limiter.take_back(key, limit, &now) {
                warn!(rule = rule.name.as_str(); "a request was not taken back: {error}");
            }
        }
    }

    fn refuse(&self, rule: &str, request: &Request<'_>, standings: &[Standing]) -> Next {
        let Refusal { status, body, headers } = &self.refusal;
        let details = format!("rate_limited:{rule}");
        let mut reply =
            request.reply(*status).details(details).grpc_status(GRPC_RESOURCE_EXHAUSTED).body(body.as_str());
        if let Some(wait) = standings.last().and_then(|standing| standing.decision.retry_after) {
            reply = reply.header("retry-after", &whole_seconds(wait).max(1).to_string());
        }
        for (name, value) in self.headers.render(standings) {
            reply = reply.header(name, &value);
        }
        for (name, value) in headers {
            reply = reply.header(name.as_str(), value);
        }
        reply.send()
    }
}
