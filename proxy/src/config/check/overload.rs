//! Checks what the proxy may use.

use std::time::Duration;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::{MemoryTerms, Overload};
use super::super::raw;
use super::super::scalar::{Count, Quantity, Size};
use super::{Checker, whole};

impl Checker<'_> {
    pub(super) fn overload(&self, field: Field<raw::Overload>) -> Overload {
        let raw = field.value().unwrap_or_default();
        let count = |field, bound| self.number_if_given(field, bound).map(|Count(count)| whole(count));
        let retry_after = self.duration(raw.retry_after, bounds::OVERLOAD_RETRY_AFTER);
        Overload {
            memory: raw.memory.value().map(|raw| self.memory(raw)),
            requests: count(raw.requests, bounds::OVERLOAD_REQUESTS),
            connections: count(raw.connections, bounds::CONNECTIONS),
            lag: self.number_if_given(raw.lag, bounds::OVERLOAD_LAG),
            retry_after: Duration::from_secs(retry_after.as_secs()),
        }
    }

    fn memory(&self, raw: raw::MemoryTerms) -> MemoryTerms {
        let places = [raw.relieve.span(), raw.shed.span(), raw.refuse.span()];
        let terms = MemoryTerms {
            limit: self.number_if_given(raw.limit, bounds::MEMORY_LIMIT).map(|Size(bytes)| bytes),
            relieve: self.number(raw.relieve, bounds::MEMORY_RELIEVE),
            shed: self.number(raw.shed, bounds::MEMORY_SHED),
            refuse: self.number(raw.refuse, bounds::MEMORY_REFUSE),
        };
        let steps = [("relieve", terms.relieve), ("shed", terms.shed), ("refuse", terms.refuse)];
        for (at, pair) in steps.windows(2).enumerate() {
            let [(lower, less), (upper, more)] = pair else { continue };
            // One of them is there, or both are defaults, which are in order.
            if let (true, Some(span)) = (less > more, places[at + 1].or(places[at])) {
                let message = format!("`{upper}` is below `{lower}`, which is {}", less.write());
                let hint =
                    format!("give a `{upper}` of {} or more: it is the later of the two", less.write());
                self.log.error_with_hint(span, message, hint);
            }
        }
        terms
    }
}
