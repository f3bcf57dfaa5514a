//! Checks filters' second versions, each of which is a filter of its own.

use std::mem::take;
use std::sync::Arc;

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{
    Canary, CanaryMode, Filter, Listener, Match, Percent, Promote, Protocol, Rollback,
};
use super::super::raw;
use super::super::scalar::{Count, Quantity, Text};
use super::super::source::Span;
use super::{Checker, items};

impl Checker<'_> {
    /// All filters, behind them the second versions, and what is said of those.
    pub(super) fn filters(
        &mut self,
        raw: Vec<(Located<String>, Field<raw::Filter>)>,
    ) -> (Vec<Arc<Filter>>, Vec<Located<Canary>>) {
        let mut filters = Vec::with_capacity(raw.len());
        let mut second = Vec::new();
        for (name, mut raw) in raw {
            let canary = match &mut raw {
                Field::Given(raw) => take(&mut raw.value.canary).given(),
                Field::Absent | Field::Invalid => None,
            };
            let Some(filter) = self.filter(name, raw) else { continue };
            second.extend(canary.map(|canary| (filters.len(), canary)));
            filters.push(Arc::new(filter));
        }
        let mut canaries = Vec::with_capacity(second.len());
        for (filter, raw) in second {
            let candidate = filters.len();
            let (version, canary) = self.canary(filter, &filters[filter].clone(), candidate, raw);
            filters.push(Arc::new(version));
            canaries.push(canary);
        }
        (filters, canaries)
    }

    fn canary(
        &mut self,
        filter: usize,
        first: &Filter,
        candidate: usize,
        raw: Located<raw::Canary>,
    ) -> (Filter, Located<Canary>) {
        let Located { value: mut raw, span } = raw;
        let mode = take(&mut raw.mode).value().map_or(CanaryMode::Serve, |Text(mode)| mode);
        let rollback = take(&mut raw.rollback).value().unwrap_or_default();
        let promote = take(&mut raw.promote).given().and_then(|raw| self.promote(raw));
        let says_match = !raw.matches.is_absent();
        let percent = take(&mut raw.percent).given();
        if percent.is_none() && promote.is_none() && !says_match {
            let hint = "give it a `percent`, a `match` or `promote.steps`";
            self.log.warning(span, "this version gets no exchange until an operator says so", hint);
        }
        let percent = percent.map(|percent| self.in_range(percent, bounds::CANARY_PERCENT));
        let first_step = promote.as_ref().and_then(|promote| promote.steps.first().copied());
        let canary = Canary {
            filter,
            candidate,
            mode,
            percent: percent.or(first_step).unwrap_or(Percent::NONE),
            matches: self.canary_match(take(&mut raw.matches)),
            key: take(&mut raw.key).value().map(|Text(key)| key),
            rollback: self.rollback(rollback, mode),
            promote,
        };
        (self.version(first, raw, span), Located { value: canary, span })
    }

    fn canary_match(&self, raw: Field<raw::Match>) -> Option<Match> {
        let Located { value, span } = raw.given()?;
        let matches = self.matches(Some(value));
        if super::route::takes_everything(&matches) {
            self.log.warning(span, "every request matches this", "say which, or write `percent: 100%`");
        }
        Some(matches)
    }

    /// The second version as a filter: the first, with what is given in the place of what it has.
    fn version(&mut self, first: &Filter, raw: raw::Canary, span: Span) -> Filter {
        let name = format!("{}{}", first.name, Canary::SUFFIX);
        if self.filters.contains_key(&name) {
            let message = format!("there is a filter `{name}`, which is what this version is called");
            self.log.error_with_hint(span, message, "give that filter another name");
        }
        self.name(&Located { value: name.clone(), span });
        let own = raw::Filter {
            module: raw.module,
            config: raw.config,
            vm_id: raw.vm_id,
            vm_config: raw.vm_config,
            root_id: raw.root_id,
            env: raw.env,
            capabilities: raw.capabilities,
            limits: raw.limits,
            isolation: raw.isolation,
            recycle: raw.recycle,
            on_fault: raw.on_fault,
            reload: raw.reload,
            breaker: raw.breaker,
            on_rate_exceeded: raw.on_rate_exceeded,
            // What is not named here is what a second version cannot change.
            allow_on_headers_stop_iteration: Field::Absent,
            canary: Field::Absent,
        };
        let mut version = Filter { name, ..first.clone() };
        self.redefine(&mut version, own, span);
        version
    }

    fn rollback(&self, raw: raw::Rollback, mode: CanaryMode) -> Rollback {
        if mode == CanaryMode::Shadow {
            for (field, span) in
                [("server_errors", raw.server_errors.span()), ("latency", raw.latency.span())]
            {
                if let Some(span) = span {
                    let message = format!("a shadow answers nobody: `{field}` cannot be told of it");
                    self.log.error_with_hint(span, message, "look at `faults`, `denials` or `instructions`");
                }
            }
        }
        let Count(minimum) = self.number(raw.minimum, bounds::CANARY_MINIMUM);
        let Count(faults) = self.number(raw.faults, bounds::CANARY_FAULTS);
        Rollback {
            minimum,
            interval: self.duration(raw.interval, bounds::CANARY_INTERVAL),
            faults,
            server_errors: self.number_if_given(raw.server_errors, bounds::CANARY_SHARE),
            denials: self.number_if_given(raw.denials, bounds::CANARY_SHARE),
            latency: self.number_if_given(raw.latency, bounds::CANARY_TIMES),
            instructions: self.number_if_given(raw.instructions, bounds::CANARY_TIMES),
        }
    }

    fn promote(&self, raw: Located<raw::Promote>) -> Option<Promote> {
        let Located { value: raw, span } = raw;
        let every = self.duration(raw.every, bounds::CANARY_EVERY);
        let list = self.required(raw.steps, "steps", span)?;
        if list.value.is_empty() {
            self.log.error_with_hint(list.span, "there are no steps", "list percentages: `[5, 25, 50, 100]`");
        }
        let mut steps: Vec<Percent> = Vec::with_capacity(list.value.len());
        for step in items(list.value) {
            let at = step.span;
            let step = self.in_range(step, bounds::CANARY_PERCENT);
            if let Some(last) = steps.last().filter(|last| **last >= step) {
                let message = format!("the step `{}` is not more than `{}`", step.write(), last.write());
                self.log.error_with_hint(at, message, "the percentages grow");
            }
            steps.push(step);
        }
        (!steps.is_empty()).then_some(Promote { steps, every })
    }

    /// A shadow compares what becomes of requests, of which a TCP connection has none.
    pub(super) fn warn_of_blind_shadows(&self, canaries: &[Located<Canary>], listeners: &[Listener]) {
        for Located { value: canary, span } in canaries {
            let tcp = |listener: &&Listener| {
                listener.runs(canary.filter) && matches!(listener.protocol, Protocol::Tcp(_))
            };
            let Some(listener) = listeners.iter().find(tcp) else { continue };
            let name = &listener.name;
            if canary.mode == CanaryMode::Shadow {
                let message = format!("on the TCP listener `{name}` this version is shown nothing");
                self.log.warning(*span, message, "shadows are for HTTP: `mode: serve` works with both");
            }
        }
    }
}
