//! Filters' second versions in the words of the file.

use serde_json::{Map, Value, json};

use super::matches;
use crate::config::model::{Canary, Config, Promote, Rollback};
use crate::config::scalar::{Quantity, name_of};

/// Puts a second version, which is a filter among others, where the file has it.
pub(super) fn nest(filters: &mut Map<String, Value>, config: &Config, canary: &Canary) {
    let [first, second] = [canary.filter, canary.candidate].map(|index| &config.filters[index].name);
    let Some(Value::Object(mut version)) = filters.shift_remove(second) else { return };
    version.shift_remove("allow_on_headers_stop_iteration"); // the one field that it always has of the first
    version.extend(policy(canary));
    if let Some(first) = filters.get_mut(first) {
        first["canary"] = Value::Object(version);
    }
}

/// Which exchanges it gets, and until when. Two canaries with the same of this are alike but for their code.
pub(crate) fn policy(canary: &Canary) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("mode".into(), name_of(canary.mode).into());
    fields.insert("percent".into(), canary.percent.write().into());
    if let Some(condition) = &canary.matches {
        fields.insert("match".into(), matches(condition));
    }
    if let Some(key) = &canary.key {
        fields.insert("key".into(), key.as_str().into());
    }
    fields.insert("rollback".into(), rollback(&canary.rollback));
    if let Some(Promote { steps, every }) = &canary.promote {
        let steps: Vec<String> = steps.iter().map(|step| step.write()).collect();
        fields.insert("promote".into(), json!({ "steps": steps, "every": every.write() }));
    }
    fields
}

/// What is not looked at is not there.
fn rollback(rollback: &Rollback) -> Value {
    let Rollback { minimum, interval, faults, server_errors, denials, latency, instructions } = rollback;
    let bounds = [
        ("server_errors", server_errors.map(Quantity::write)),
        ("denials", denials.map(Quantity::write)),
        ("latency", latency.map(Quantity::write)),
        ("instructions", instructions.map(Quantity::write)),
    ];
    let mut fields = json!({ "minimum": minimum, "interval": interval.write(), "faults": faults });
    for (field, bound) in bounds {
        if let Some(bound) = bound {
            fields[field] = bound.into();
        }
    }
    fields
}
