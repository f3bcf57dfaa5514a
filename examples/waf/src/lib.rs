//! A web application firewall in miniature: looks for the marks of attacks in a request's path, query, headers and body, and
//! answers 403 where they weigh too much.
//!
//! ```yaml
//! config:
//!   mode: report              # or block, which it is without this
//!   threshold: 5
//!   without: [scanner]        # of the rules that it comes with
//!   rules:
//!     - {name: ours, score: 5, patterns: ["/internal-only/"]}
//! ```
//!
//! A body passes while it is read: nothing is held, a pattern that is cut by chunks is found, and when the request is
//! refused the service has seen a request that never ended. Escapes are undone twice, capitals are small letters, and blanks
//! are one. Counters: `waf_matches{rule, part}`, `waf_requests{outcome}` (`passed`, `blocked`, `reported`, `unreadable`).

mod rules;
mod scan;

use serde::Deserialize;
use tidegate_sdk::log::warn;
use tidegate_sdk::{Body, Counter, CounterFamily, Exchange, Filter, Next, Request, filter};

use crate::rules::Rule;
use crate::scan::{Patterns, Scan};

filter!(Waf);

tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["content-type"]},
    "body": "read",
    "properties": {"read": ["source.address", "request.id"]},
    "metrics": ["waf_*"],
    "reply": true
}

/// How much of a body is read unless the configuration says so, in bytes.
const BODY_LIMIT: usize = 1 << 20;

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    mode: Mode,
    /// A request whose scores come to this is refused.
    #[serde(default = "default_threshold")]
    threshold: u32,
    /// What a body has beyond so many bytes is not read.
    #[serde(default = "default_body_limit")]
    body_limit: usize,
    /// What becomes of a body that is compressed, which cannot be read.
    #[serde(default)]
    unreadable: Mode,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Block,
    Report,
}

fn default_threshold() -> u32 {
    5
}

fn default_body_limit() -> usize {
    BODY_LIMIT
}

/// The filter.
struct Waf {
    mode: Mode,
    threshold: u32,
    body_limit: usize,
    unreadable: Mode,
    rules: Vec<Rule>,
    patterns: Patterns,
    matches: CounterFamily<2>,
    passed: Counter,
    blocked: Counter,
    reported: Counter,
    not_readable: Counter,
}

/// What is known of one request.
#[derive(Default)]
struct State {
    /// The rules that matched, a bit each: each counts once.
    found: u64,
    body: Scan,
    read: usize,
    /// It was reported, or its body is not to be read.
    done: bool,
}

impl Filter for Waf {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Waf, String> {
        let rules = rules::chosen(&config.without, config.rules)?;
        let patterns = Patterns::new(&rules)?;
        let requests = CounterFamily::new("waf_requests", ["outcome"]);
        let outcome = |outcome| requests.with([outcome]);
        Ok(Waf {
            mode: config.mode,
            threshold: config.threshold.max(1),
            body_limit: config.body_limit,
            unreadable: config.unreadable,
            rules,
            patterns,
            matches: CounterFamily::new("waf_matches", ["rule", "part"]).at_most(4 * rules::MOST),
            passed: outcome("passed"),
            blocked: outcome("blocked"),
            reported: outcome("reported"),
            not_readable: outcome("unreadable"),
        })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let (mut in_path, mut in_query, mut in_headers) = (0, 0, 0);
        let mut is_encoded = false;
        for (name, value) in request.headers().block().iter() {
            match name {
                b":path" => {
                    let mark = value.iter().position(|byte| *byte == b'?').unwrap_or(value.len());
                    in_path |= self.patterns.find(&value[..mark]);
                    in_query |= self.patterns.find(&value[mark..]);
                }
                b"content-encoding" => is_encoded |= !value.eq_ignore_ascii_case(b"identity"),
                _ => in_headers |= self.patterns.find(value),
            }
        }
        for (part, found) in [("path", in_path), ("query", in_query), ("headers", in_headers)] {
            if let Some(next) = self.judge(state, request, part, found) {
                return next;
            }
        }
        if request.is_complete() {
            return self.pass(state);
        }
        if is_encoded {
            self.not_readable.increment();
            if self.unreadable == Mode::Block && self.mode == Mode::Block {
                return request.reply(415).body("send the body as it is\n").details("waf_unreadable").send();
            }
            return Next::Leave;
        }
        Next::Continue
    }

    fn on_request_body(&self, state: &mut State, request: &Request<'_>, body: &Body) -> Next {
        if !state.done && !body.is_empty() {
            let bytes = body.bytes();
            let room = self.body_limit - state.read;
            let bytes = &bytes[..bytes.len().min(room)];
            state.read += bytes.len();
            let found = self.patterns.go_on(&mut state.body, bytes);
            if let Some(next) = self.judge(state, request, "body", found) {
                return next;
            }
        }
        if body.is_last() || state.read == self.body_limit { self.pass(state) } else { Next::Continue }
    }

    fn on_request_trailers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let found =
            request.trailers().block().iter().fold(0, |found, (_, value)| found | self.patterns.find(value));
        self.judge(state, request, "headers", found).unwrap_or_else(|| self.pass(state))
    }
}

impl Waf {
    /// Takes note of what was found in a part. Something is given back where that is the end of the request.
    fn judge(&self, state: &mut State, exchange: &Exchange, part: &'static str, found: u64) -> Option<Next> {
        let new = found & !state.found;
        if new == 0 || state.done {
            return None;
        }
        state.found |= new;
        for rule in self.named(new) {
            self.matches.with([rule, part]).increment();
        }
        let score: u32 = self.matching(state.found).map(|rule| rule.score).sum();
        if score < self.threshold {
            return None;
        }
        let names: Vec<&str> = self.named(state.found).collect();
        let rules = names.join(",");
        let id = exchange.request_id().unwrap_or_default();
        let from = exchange.source_address().map(|address| address.ip().to_string()).unwrap_or_default();
        // What was sent is not logged: it is the attacker's, or somebody's secret.
        let (id, from) = (id.as_str(), from.as_str());
        warn!(request_id = id, client_address = from, rules = rules.as_str(), part = part, score = score; "looks like an attack");
        if self.mode == Mode::Report {
            self.reported.increment();
            state.done = true;
            return None;
        }
        self.blocked.increment();
        let body = format!("refused; tell us {id} if that is wrong\n");
        Some(exchange.reply(403).body(body).details(format!("waf:{rules}")).send())
    }

    /// Nothing more of this request is looked at.
    fn pass(&self, state: &State) -> Next {
        if !state.done {
            self.passed.increment();
        }
        Next::Leave
    }

    fn matching(&self, found: u64) -> impl Iterator<Item = &Rule> {
        let is_in = move |index: usize| found & (1 << index) != 0;
        self.rules.iter().enumerate().filter(move |(index, _)| is_in(*index)).map(|(_, rule)| rule)
    }

    fn named(&self, found: u64) -> impl Iterator<Item = &str> {
        self.matching(found).map(|rule| rule.name.as_str())
    }
}
