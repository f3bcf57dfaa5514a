//! What the proxy may use, in the words of the file.

use serde_json::{Map, Value};

use super::super::model::{MemoryTerms, Overload};
use super::super::scalar::{Quantity, Size};

/// Nothing where nothing is looked at.
pub(super) fn overload(overload: &Overload) -> Option<Value> {
    let Overload { memory, requests, connections, lag, retry_after } = overload;
    let mut fields = Map::new();
    fields.extend(memory.as_ref().map(|it| ("memory".to_owned(), terms(it))));
    fields.extend(requests.map(|count| ("requests".to_owned(), count.into())));
    fields.extend(connections.map(|count| ("connections".to_owned(), count.into())));
    fields.extend(lag.map(|lag| ("lag".to_owned(), lag.write().into())));
    if fields.is_empty() {
        return None;
    }
    fields.insert("retry_after".into(), retry_after.write().into());
    Some(Value::Object(fields))
}

fn terms(terms: &MemoryTerms) -> Value {
    let MemoryTerms { limit, relieve, shed, refuse } = terms;
    let shares = [("relieve", relieve), ("shed", shed), ("refuse", refuse)];
    let shares = shares.map(|(name, share)| (name.to_owned(), share.write().into()));
    let limit = limit.map(|bytes| ("limit".to_owned(), Size(bytes).write().into()));
    Value::Object(limit.into_iter().chain(shares).collect())
}
