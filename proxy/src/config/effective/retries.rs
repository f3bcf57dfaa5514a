//! When requests are sent again, in the words of the file.

use serde_json::{Map, Value, json};

use super::super::model::{Hedge, Retries};
use super::super::scalar::{Quantity, name_of, written};
use super::{size, value_match};

pub(super) fn retries(retries: &Retries) -> Value {
    let on_headers = retries.on_headers.iter().map(|(name, value)| (name.to_string(), value_match(value)));
    let resets =
        retries.reset_headers.iter().map(|(name, format)| (name.to_string(), name_of(*format).into()));
    let mut shown = json!({
        "on_headers": Value::Object(on_headers.collect()),
        "attempts": retries.attempts,
        "backoff": { "base": retries.backoff.base.write(), "max": retries.backoff.max.write() },
        "retry_after": {
            "headers": Value::Object(resets.collect::<Map<_, _>>()),
            "max": retries.max_wait.write(),
        },
        "budget": retries.budget.write(),
        "budget_minimum": retries.budget_minimum,
        "buffer": size(retries.buffer),
        "attempt_count": retries.attempt_count,
    });
    // An empty list would match nothing, and is refused.
    if !retries.on.is_empty() {
        shown["on"] = retries.on.iter().map(|condition| written(*condition)).collect();
    }
    if let Some(time) = retries.per_try_timeout {
        shown["per_try_timeout"] = time.write().into();
    }
    if let Some(Hedge { after, on_per_try_timeout }) = &retries.hedge {
        shown["hedge"] = json!({ "on_per_try_timeout": on_per_try_timeout });
        if let Some(time) = after {
            shown["hedge"]["after"] = time.write().into();
        }
    }
    shown
}
