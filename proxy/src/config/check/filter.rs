//! Checks filters.

use std::env::VarError;
use std::mem::take;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;

use super::super::bounds;
use super::super::decode::{Field, Located, Map};
use super::super::model::{Breaker, Filter, FilterLimits, Isolation, ModuleSource, Recycle, Reload};
use super::super::raw::{self, Variable};
use super::super::scalar::{Count, Quantity, Size, Text};
use super::super::source::Span;
use super::guest::Resolved;
use super::{Checker, entries, whole};
use crate::builtin;

/// Names, and what they stand for.
type Pairs = Vec<(String, String)>;

impl Checker<'_> {
    /// A filter. One whose module has no place has a stand-in for it: the rest is checked all the same.
    pub(super) fn filter(&mut self, name: Located<String>, raw: Field<raw::Filter>) -> Option<Filter> {
        self.name(&name);
        let mut raw = raw.value()?;
        let module = self.required(take(&mut raw.module), "module", name.span);
        raw.module = module.map_or(Field::Invalid, Field::Given);
        if raw.limits.is_absent() {
            // What they are without a word depends on the module.
            raw.limits = Field::Given(Located { value: raw::FilterLimits::default(), span: name.span });
        }
        let mut filter = Filter::new(name.value, ModuleSource::File(PathBuf::new()));
        self.redefine(&mut filter, raw, name.span);
        Some(filter)
    }

    /// Puts what is said of a filter in the place of what it has. It stands at `span`.
    pub(crate) fn redefine(&mut self, filter: &mut Filter, raw: raw::Filter, span: Span) {
        let module_at = raw.module.span().unwrap_or(span);
        self.places.filter_modules.push(module_at);
        self.places.filter_configs.push(raw.config.span().unwrap_or(module_at));
        if let Some((module, sha256)) = raw.module.given().and_then(|module| self.module(module)) {
            (filter.module, filter.sha256) = (module, sha256);
        }
        if let Some(config) = raw.config.given() {
            let Resolved { read, shown } = self.guest_config(config);
            (filter.config, filter.config_shown) = (guest_bytes(read), shown);
        }
        if !raw.env.is_absent() {
            (filter.env, filter.env_sources) = self.environment(raw.env);
        }
        if let Some(limits) = raw.limits.value() {
            filter.limits = self.filter_limits(limits, &filter.module);
        }
        let idle_recycling_at = raw.recycle.span().or(raw.isolation.span());
        if let Some(recycle) = raw.recycle.value() {
            filter.recycle = self.recycle(recycle);
        }
        if let Some(reload) = raw.reload.given() {
            filter.reload = self.reload(reload);
        }
        if let Some(breaker) = raw.breaker.value() {
            filter.breaker = self.breaker(breaker);
        }
        if let Some(grant) = raw.capabilities.value() {
            filter.capabilities = self.grant(grant);
        }
        if let Some(Text(on_fault)) = raw.on_fault.value() {
            (filter.on_fault, filter.on_rate_exceeded) = (on_fault, on_fault);
        }
        set(&mut filter.on_rate_exceeded, raw.on_rate_exceeded.value().map(|Text(value)| value));
        set(&mut filter.isolation, raw.isolation.value().map(|Text(value)| value));
        if let (Isolation::Exchange, Some(_), Some(span)) =
            (filter.isolation, filter.recycle.requests, idle_recycling_at)
        {
            let hint = "exchanges have new instances anyway: leave it out; `memory` and `after` replace the one for the background";
            self.log.warning(span, "`requests` recycles nothing with `isolation: exchange`", hint);
        }
        set(&mut filter.vm_id, raw.vm_id.value());
        set(&mut filter.vm_config, raw.vm_config.value().map(guest_bytes));
        set(&mut filter.root_id, raw.root_id.value());
        set(&mut filter.allow_on_headers_stop_iteration, raw.allow_on_headers_stop_iteration.value());
    }

    /// The variables, and those of them that are the proxy's own, each with its name there.
    fn environment(&self, raw: Field<Map<String, Variable>>) -> (Pairs, Pairs) {
        let (mut variables, mut sources) = (Vec::new(), Vec::new());
        for (name, value) in entries(raw) {
            let Some(Located { value, span }) = value.given() else { continue };
            if name.value.is_empty() || name.value.contains(['=', '\0']) {
                let message =
                    format!("`{}` cannot be the name of an environment variable", name.value.escape_debug());
                self.log.error_with_hint(name.span, message, "a name is not empty and has no `=` in it");
            }
            match value {
                Variable::Text(text) => {
                    if text.contains('\0') {
                        self.log.error(span, "an environment variable has no NUL in it");
                    }
                    variables.push((name.value, text));
                }
                Variable::FromEnv(source) => {
                    let Some(source) = source.given() else { continue };
                    let value = self.own_variable(&source);
                    sources.push((name.value.clone(), source.value));
                    variables.push((name.value, value.unwrap_or_default()));
                }
            }
        }
        (variables, sources)
    }

    /// A variable of the proxy's own. One that is missing is a mistake: a filter that is to do without is configured
    /// without.
    pub(super) fn own_variable(&self, name: &Located<String>) -> Option<String> {
        let shown = name.value.escape_debug();
        match std::env::var(&name.value) {
            Ok(value) => Some(value),
            Err(VarError::NotUnicode(_)) => {
                self.log.error(name.span, format!("the environment variable `{shown}` is not UTF-8 text"));
                None
            }
            Err(VarError::NotPresent) => {
                let hint = "set it where tidegate is started, or give the filter a text";
                self.log.error_with_hint(
                    name.span,
                    format!("the environment variable `{shown}` is not set"),
                    hint,
                );
                None
            }
        }
    }

    fn recycle(&self, raw: raw::Recycle) -> Recycle {
        let memory = self.number_if_given(raw.memory, bounds::RECYCLE_MEMORY);
        Recycle {
            requests: self.number_if_given(raw.requests, bounds::RECYCLE_REQUESTS).map(|Count(count)| count),
            memory: memory.map(|Size(bytes)| whole(bytes)),
            after: self.number_if_given(raw.after, bounds::RECYCLE_AFTER),
        }
    }

    fn reload(&self, raw: Located<raw::Reload>) -> Reload {
        let Located { value: raw, span } = raw;
        let base_interval = self.duration(raw.base_interval, bounds::RELOAD_BASE_INTERVAL);
        let max_interval = self.number_if_given(raw.max_interval, bounds::RELOAD_MAX_INTERVAL);
        if let Some(max) = max_interval.filter(|max| *max < base_interval) {
            let (max, base) = (max.write(), base_interval.write());
            self.log.error(span, format!("`max_interval: {max}` is less than `base_interval: {base}`"));
        }
        let max_interval = max_interval.unwrap_or(bounds::RELOAD_MAX_INTERVAL.default).max(base_interval);
        Reload { base_interval, max_interval }
    }

    fn breaker(&self, raw: raw::Breaker) -> Breaker {
        let Count(faults) = self.number(raw.faults, bounds::BREAKER_FAULTS);
        Breaker {
            faults,
            interval: self.duration(raw.interval, bounds::BREAKER_INTERVAL),
            open_for: self.duration(raw.open_for, bounds::BREAKER_OPEN_FOR),
        }
    }

    fn filter_limits(&self, raw: raw::FilterLimits, module: &ModuleSource) -> FilterLimits {
        let shipped = match module {
            ModuleSource::Builtin(name) => builtin::instructions(name).map(Count),
            _ => None,
        };
        let usual = shipped.unwrap_or(bounds::INSTRUCTIONS.default);
        let Count(instructions) =
            self.number_if_given(raw.instructions, bounds::INSTRUCTIONS).unwrap_or(usual);
        FilterLimits {
            instructions,
            instructions_per_second: self
                .number_if_given(raw.instructions_per_second, bounds::INSTRUCTIONS_PER_SECOND)
                .map(|Count(rate)| rate),
            wall_clock: self.duration(raw.wall_clock, bounds::WALL_CLOCK),
            memory: self.bytes(raw.memory, bounds::MEMORY),
            instances: self.count(raw.instances, bounds::INSTANCES),
            callouts: self.count(raw.callouts, bounds::CALLOUTS),
            log_bytes: self.bytes(raw.log_bytes, bounds::LOG_BYTES),
            shared_data: self.bytes(raw.shared_data, bounds::SHARED_DATA),
            queue: self.bytes(raw.queue, bounds::QUEUE),
            cells: self.bytes(raw.cells, bounds::CELLS),
            metrics: self.count(raw.metrics, bounds::METRICS),
        }
    }
}

/// Takes what is given in the place of what is there.
fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

/// What the guest reads: text as it is, nothing as nothing, anything else as JSON with its keys in the file's order.
pub(super) fn guest_bytes(value: Value) -> Bytes {
    match value {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::from(text),
        other => Bytes::from(other.to_string()),
    }
}
