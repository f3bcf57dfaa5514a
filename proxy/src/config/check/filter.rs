//! Checks filters.

use std::env::VarError;

use bytes::Bytes;
use serde_json::Value;

use super::super::bounds;
use super::super::decode::{Field, Located, Map};
use super::super::model::{Breaker, Filter, FilterLimits, Isolation, ModuleSource, OnFault, Recycle, Reload};
use super::super::raw::{self, Variable};
use super::super::scalar::{Count, Quantity, Size, Text};
use super::{Checker, entries, whole};
use crate::builtin;

/// Names, and what they stand for.
type Pairs = Vec<(String, String)>;

impl Checker<'_> {
    pub(super) fn filter(&mut self, name: Located<String>, raw: Field<raw::Filter>) -> Option<Filter> {
        self.name(&name);
        let Located { value: raw, span: _ } = raw.given()?;
        let module = self.required(raw.module, "module", name.span);
        let config = raw.config.given();
        let module_at = module.as_ref().map_or(name.span, |module| module.span);
        self.places.filter_modules.push(module_at);
        self.places.filter_configs.push(config.as_ref().map_or(module_at, |config| config.span));
        let config = config.map(|config| self.guest_config(config)).unwrap_or_default();
        let (env, env_sources) = self.environment(raw.env);
        let module = module.and_then(|module| self.module(module));
        let limits = self
            .filter_limits(raw.limits.value().unwrap_or_default(), module.as_ref().map(|(source, _)| source));
        let on_fault = raw.on_fault.value().map_or(OnFault::Closed, |Text(value)| value);
        let (module, sha256) = module?;
        Some(Filter {
            name: name.value,
            module,
            sha256,
            config: guest_bytes(config.read),
            config_shown: config.shown,
            vm_id: raw.vm_id.value().unwrap_or_default(),
            vm_config: raw.vm_config.value().map(guest_bytes).unwrap_or_default(),
            root_id: raw.root_id.value().unwrap_or_default(),
            env,
            env_sources,
            capabilities: self.grant(raw.capabilities),
            limits,
            isolation: raw.isolation.value().map_or(Isolation::Worker, |Text(value)| value),
            recycle: self.recycle(raw.recycle.value().unwrap_or_default()),
            reload: self.reload(raw.reload),
            breaker: self.breaker(raw.breaker.value().unwrap_or_default()),
            on_fault,
            on_rate_exceeded: raw.on_rate_exceeded.value().map_or(on_fault, |Text(value)| value),
            allow_on_headers_stop_iteration: raw.allow_on_headers_stop_iteration.value().unwrap_or(false),
        })
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

    fn reload(&self, raw: Field<raw::Reload>) -> Reload {
        let Some(Located { value: raw, span }) = raw.given() else { return Reload::default() };
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

    fn filter_limits(&self, raw: raw::FilterLimits, module: Option<&ModuleSource>) -> FilterLimits {
        let shipped = match module {
            Some(ModuleSource::Builtin(name)) => builtin::instructions(name).map(Count),
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

/// What the guest reads: text as it is, nothing as nothing, anything else as JSON with its keys in the file's order.
fn guest_bytes(value: Value) -> Bytes {
    match value {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::from(text),
        other => Bytes::from(other.to_string()),
    }
}
