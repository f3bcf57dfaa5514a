//! What routes say of filters, in the words of the file.

use serde_json::{Map, Value, json};

use super::super::model::{Config, RouteFilters};
use super::super::raw::OFF;
use super::config_of;

/// Nothing where the route says nothing. `chain` is the listener's.
pub(super) fn shown(filters: &RouteFilters, chain: &[usize], config: &Config) -> Option<Value> {
    let name = |filter: usize| config.filters.get(filter).map(|filter| filter.name.clone());
    let with = |variant: usize| {
        let filter = config.variants.get(variant).map(|variant| &variant.filter);
        json!({ "config": filter.map(|filter| config_of(filter)) })
    };
    match filters {
        RouteFilters::Inherited => None,
        RouteFilters::Chain(links) => Some(
            links
                .iter()
                .filter_map(|link| {
                    let name = name(link.filter)?;
                    Some(match link.variant {
                        None => name.into(),
                        Some(variant) => Value::Object(Map::from_iter([(name, with(variant))])),
                    })
                })
                .collect(),
        ),
        RouteFilters::Changed(changes) => {
            let changes = changes.iter().filter_map(|changed| {
                let change = changed.variant.map_or_else(|| OFF.into(), with);
                Some((name(*chain.get(changed.stage)?)?, change))
            });
            Some(Value::Object(changes.collect()))
        }
    }
}
