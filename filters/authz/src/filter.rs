//! The filter: reads a request, has the gate decide, and does what follows from it.

use std::rc::Rc;
use std::time::Duration;

use tidegate_sdk::log::warn;
use tidegate_sdk::{Background, Body, Exchange, Filter, Next, Request};

use crate::body::Collected;
use crate::config::{Config, Mode};
use crate::external::{ExternalConfig, Meaning, OnError};
use crate::gate::{Asked, Decision, Gate};
use crate::identity::Identity;
use crate::keys::Fetcher;
use crate::report::Report;
use crate::request::Facts;
use crate::verdict::{Answer, Denial, Reason};

/// The filter.
pub struct Authz(Rc<Worker>);

/// What the exchanges of a worker share.
struct Worker {
    gate: Gate,
    report: Rc<Report>,
    fetcher: Rc<Fetcher>,
}

/// What is remembered of one exchange.
#[derive(Default)]
pub struct State {
    /// The external service waits for the body.
    body: Option<Rc<Collected>>,
}

impl Filter for Authz {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Authz, String> {
        let report = Rc::new(Report::new(config.mode));
        let fetcher = Rc::new(Fetcher::new(report.clone()));
        Ok(Authz(Rc::new(Worker { gate: Gate::new(config), report, fetcher })))
    }

    fn on_start(&self, background: &Background) {
        let jwt = self.0.gate.authenticator.jwt.iter();
        self.0.fetcher.start(jwt.flat_map(|jwt| jwt.issuers.iter()), background);
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let facts = self.0.facts(request);
        let decision = self.0.gate.decide(&facts, &**request, true);
        let waits = matches!(decision, Decision::NeedsKeys(_)) || self.0.gate.external.is_some();
        if !waits {
            return self.0.settle(decision, &facts, request).unwrap_or(Next::Leave);
        }
        let wants_body = self.0.gate.external.as_ref().and_then(|external| external.body.as_ref());
        if let Some(body) = wants_body.filter(|_| !request.is_complete()) {
            state.body = Some(Rc::new(Collected::new(body)));
        }
        let (worker, body) = (self.0.clone(), state.body.clone());
        request.wait(async move |exchange| worker.finish(decision, facts, body, exchange).await)
    }

    fn on_request_body(&self, state: &mut State, _: &Request<'_>, body: &Body) -> Next {
        match &state.body {
            Some(collected) if !collected.is_over() => {
                collected.take(body.bytes(), body.is_last());
                Next::Pause
            }
            _ => Next::Continue,
        }
    }

    fn on_request_trailers(&self, state: &mut State, _: &Request<'_>) -> Next {
        if let Some(collected) = &state.body {
            collected.end();
        }
        Next::Continue
    }
}

impl Asked for Exchange {
    fn now(&self) -> Duration {
        Exchange::now(self)
    }

    fn principal(&self) -> Option<String> {
        self.peer_identity()
    }
}

impl Worker {
    /// What is looked at of a request.
    fn facts(&self, request: &Request<'_>) -> Facts {
        let mut facts = Facts::new(request.headers().block());
        if self.gate.needs.source {
            facts.source = request.source_address().map(|address| address.ip());
        }
        facts
    }

    /// What needs time: keys, and the external service.
    async fn finish(
        &self,
        decision: Decision,
        facts: Facts,
        body: Option<Rc<Collected>>,
        exchange: Exchange,
    ) -> Next {
        let decision = match decision {
            Decision::NeedsKeys(issuer) => {
                self.fetcher.renew(&issuer).await;
                self.gate.decide(&facts, &exchange, false)
            }
            decided => decided,
        };
        if let Some(reply) = self.settle(decision, &facts, &exchange) {
            return reply;
        }
        match &self.gate.external {
            Some(external) => self.ask(external, &facts, body, &exchange).await,
            None => Next::Continue,
        }
    }

    /// Does what was decided: answers, or makes the request what the upstream is to see.
    fn settle(&self, decision: Decision, facts: &Facts, exchange: &Exchange) -> Option<Next> {
        let headers = exchange.request_headers();
        self.gate.forged(facts).for_each(|name| headers.remove(name));
        let identity = match decision {
            Decision::Allowed(identity) => {
                self.report.allowed();
                identity
            }
            Decision::Denied(denial) => {
                if let Some(reply) = self.deny(&denial, facts, exchange) {
                    return Some(reply);
                }
                Identity::default()
            }
            // Nothing is waited for twice.
            Decision::NeedsKeys(issuer) => {
                let denial = Denial::new(Reason::KeysUnavailable, Some(issuer.config.issuer.clone()));
                return self.deny(&denial, facts, exchange);
            }
        };
        for change in self.gate.authenticator.hiding(facts) {
            match change.value {
                Some(value) => headers.set(&change.header, value),
                None => headers.remove(&change.header),
            }
        }
        if let Some(token) = &identity.token {
            exchange.set_verified_claims(token.claims.json());
        }
        let about = self.gate.authenticator.headers_of(&identity);
        if !about.is_empty() {
            about.iter().for_each(|(name, value)| headers.set(name, value));
            // Routes may look at them.
            exchange.clear_route_cache();
        }
        None
    }

    /// Counts and logs it, and answers unless nothing is enforced.
    fn deny(&self, denial: &Denial, facts: &Facts, exchange: &Exchange) -> Option<Next> {
        self.report.denied(denial, facts);
        if self.gate.mode == Mode::Audit {
            return None;
        }
        let (status, grpc_status, body) = match denial.reason.answer() {
            Answer::Unauthorized { .. } => (401, 16, "unauthorized\n"),
            Answer::Forbidden => (403, 7, "forbidden\n"),
            Answer::Status(413) => (413, 8, "the body is too large\n"),
            Answer::Status(431) => (431, 8, "too many headers\n"),
            Answer::Status(status) => (status, 14, "cannot be authorized now\n"),
        };
        let status = match (denial.reason, &self.gate.external) {
            (Reason::ExternalFailed, Some(external)) => external.status_on_error.0,
            _ => status,
        };
        let mut reply = exchange.reply(status).details(denial.details()).grpc_status(grpc_status).body(body);
        if let Answer::Unauthorized { invalid_token } = denial.reason.answer() {
            for challenge in self.gate.authenticator.challenges(&self.gate.realm, invalid_token) {
                reply = reply.header("www-authenticate", &challenge);
            }
        }
        Some(reply.send())
    }

    /// Asks the external service, and does what it says.
    async fn ask(
        &self,
        external: &ExternalConfig,
        facts: &Facts,
        body: Option<Rc<Collected>>,
        exchange: &Exchange,
    ) -> Next {
        let body = match body {
            None => Vec::new(),
            Some(body) => match body.whole(exchange).await {
                Ok(body) => body,
                Err(reason) => return self.deny(&reason.into(), facts, exchange).unwrap_or(Next::Continue),
            },
        };
        let question = external.question(facts);
        let mut call = exchange.call(&external.cluster).method(&question.method).path(&question.path);
        call = call.authority(&question.authority).body(&body);
        for (name, value) in &question.headers {
            call = call.header(name, value);
        }
        let answer = call.send(external.timeout.duration()).await;
        let meaning = answer
            .as_ref()
            .map_or(Meaning::Failed, |answer| external.read(answer.status(), answer.headers()));
        let by = || Some(external.cluster.as_str().into());
        match meaning {
            Meaning::Allowed(headers) => {
                self.report.asked("allowed");
                let request = exchange.request_headers();
                headers.iter().for_each(|(name, value)| request.add(name, value));
                if !headers.is_empty() {
                    exchange.clear_route_cache();
                }
                Next::Continue
            }
            Meaning::Denied { status, headers } => {
                self.report.asked("denied");
                let denial = Denial::new(Reason::External, by());
                self.report.denied(&denial, facts);
                if self.gate.mode == Mode::Audit {
                    return Next::Continue;
                }
                let body = answer.map(|answer| answer.body().to_vec()).unwrap_or_default();
                let reply = exchange.reply(status).details(denial.details()).body(body);
                headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value)).send()
            }
            Meaning::Failed => {
                self.report.asked("failed");
                let what = answer
                    .map_or_else(|error| error.to_string(), |answer| format!("status {}", answer.status()));
                warn!(cluster = external.cluster.as_str(), problem = what.as_str(); "the external service failed");
                if external.on_error == OnError::Allow {
                    return Next::Continue;
                }
                self.deny(&Denial::new(Reason::ExternalFailed, by()), facts, exchange)
                    .unwrap_or(Next::Continue)
            }
        }
    }
}
