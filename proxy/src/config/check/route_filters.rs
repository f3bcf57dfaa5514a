//! Checks what routes say of filters: a chain names filters that exist, a change one that the listener's chain has, and
//! configurations become variants of their filters.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::decode::{Field, Located, Map};
use super::super::model::{Changed, Filter, Link, RouteFilters, Variant};
use super::super::raw;
use super::super::source::Span;
use super::super::suggest;
use super::filter::guest_bytes;
use super::guest::Resolved;
use super::{Checker, Unique, entries, items};

/// The filters that routes may configure, and the variants that they have so far.
#[derive(Debug, Default)]
pub(super) struct Variants {
    /// Those that are declared, in order; behind them second versions.
    filters: Vec<Arc<Filter>>,
    /// Those of them that have a second version.
    with_canary: Vec<usize>,
    found: Vec<Variant>,
    by_config: HashMap<(usize, Bytes), usize>,
}

impl Variants {
    pub(super) fn of(filters: &[Arc<Filter>], with_canary: Vec<usize>) -> Variants {
        Variants { filters: filters.to_vec(), with_canary, ..Variants::default() }
    }

    pub(super) fn into_found(self) -> Vec<Variant> {
        self.found
    }
}

impl Checker<'_> {
    /// `chain` is the listener's, as indices of filters.
    pub(super) fn route_filters(&mut self, raw: Field<raw::RouteFilters>, chain: &[usize]) -> RouteFilters {
        let Some(Located { value, span }) = raw.given() else { return RouteFilters::Inherited };
        match value {
            raw::RouteFilters::Chain(links) => RouteFilters::Chain(self.links(links)),
            raw::RouteFilters::Changes(changes) => self.changes(changes, chain, span),
        }
    }

    fn links(&mut self, links: Vec<Field<raw::Link>>) -> Vec<Link> {
        let mut twice = Unique::new(self.log);
        let mut chain = Vec::new();
        for Located { value, span } in items(links) {
            let (name, change) = match value {
                raw::Link::Name(name) => (Located { value: name, span }, None),
                raw::Link::Configured(mapping) => {
                    let mut mapping = entries(Field::Given(Located { value: mapping, span }));
                    match (mapping.pop(), mapping.pop()) {
                        (Some((name, change)), None) => (name, Some(change)),
                        _ => {
                            let hint = "each item is a name, or `{NAME: {config: …}}`";
                            self.log.error_with_hint(span, "expected one filter here", hint);
                            continue;
                        }
                    }
                }
            };
            let Some(filter) = self.named_filter(&name) else { continue };
            twice.take(filter, name.span, || format!("the filter `{}` is in this chain twice", name.value));
            let variant = match change.and_then(Field::given) {
                None => None,
                Some(Located { value: raw::Change::Off, span }) => {
                    let hint = "a list is the route's whole chain: leave the filter out of it";
                    self.log.error_with_hint(span, "a filter of this list is not `off`", hint);
                    None
                }
                Some(Located { value: raw::Change::Fields(fields), span }) => {
                    self.variant(filter, *fields, span)
                }
            };
            chain.push(Link { filter, variant });
        }
        chain
    }

    fn changes(&mut self, changes: Map<String, raw::Change>, chain: &[usize], span: Span) -> RouteFilters {
        let mut list = Vec::new();
        for (name, change) in entries(Field::Given(Located { value: changes, span })) {
            let Some(filter) = self.named_filter(&name) else { continue };
            let Some(stage) = chain.iter().position(|one| *one == filter) else {
                let message = format!("the filter `{}` is not in the listener's chain", name.value);
                let hint = "add it to the listener's `filters`, or give the route a list: its own chain";
                self.log.error_with_hint(name.span, message, hint);
                continue;
            };
            match change.given() {
                None => {}
                Some(Located { value: raw::Change::Off, .. }) => list.push(Changed { stage, variant: None }),
                Some(Located { value: raw::Change::Fields(fields), span }) => {
                    let variant = self.variant(filter, *fields, span);
                    list.extend(variant.map(|variant| Changed { stage, variant: Some(variant) }));
                }
            }
        }
        if list.is_empty() {
            return RouteFilters::Inherited;
        }
        list.sort_unstable_by_key(|changed| changed.stage);
        RouteFilters::Changed(list)
    }

    /// The index of the filter that a chain names, which is in use by that.
    pub(super) fn named_filter(&mut self, name: &Located<String>) -> Option<usize> {
        let log = self.log;
        let Some((index, _, used)) = self.filters.get_full_mut(&name.value) else {
            let known = self.filters.keys().map(String::as_str);
            log.error_suggesting(name.span, format!("there is no filter `{}`", name.value), || {
                suggest::remedy(&name.value, "filters", known)
            });
            return None;
        };
        *used = true;
        Some(index)
    }

    /// A filter under a route's configuration; none where that is its own.
    fn variant(&mut self, of: usize, fields: raw::ChangeFields, span: Span) -> Option<usize> {
        let config = self.required(fields.config, "config", span)?;
        let at = config.span;
        if self.variants.with_canary.contains(&of) {
            let hint = "leave one of the two out until the canary is over";
            let message = "the filter has a `canary`: it has one configuration on all routes";
            self.log.error_with_hint(at, message, hint);
        }
        let Resolved { read, shown } = self.guest_config(config);
        let config = guest_bytes(read);
        // Where filters are missing, they are so for errors that are recorded.
        let filter = self.variants.filters.get(of)?;
        if filter.config == config {
            return None;
        }
        let next = self.variants.found.len();
        let index = *self.variants.by_config.entry((of, config.clone())).or_insert(next);
        if index == next {
            let filter = Arc::new(Filter { config, config_shown: shown, ..Filter::clone(filter) });
            self.variants.found.push(Variant { of, filter });
            self.places.variant_configs.push(at);
        }
        Some(index)
    }
}
