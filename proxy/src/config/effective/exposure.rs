//! CORS and compression in the words of the file.

use serde_json::{Map, Value, json};

use super::super::model::{Compression, Cors, Decompression};
use super::super::scalar::{Quantity, Size, name_of};
use super::value_match;

pub(super) fn cors(cors: &Cors) -> Value {
    let origins: Value = match cors.origins[..] {
        [] => "*".into(),
        _ => cors.origins.iter().map(value_match).collect(),
    };
    let mut fields = Map::from_iter([("allow_origin".to_owned(), origins)]);
    let names = |names: &[http::HeaderName]| names.iter().map(http::HeaderName::as_str).collect::<Value>();
    fields.insert("allow_methods".into(), cors.methods.iter().map(http::Method::as_str).collect());
    fields.insert("allow_headers".into(), names(&cors.headers));
    fields.insert("expose_headers".into(), names(&cors.expose));
    if let Some(age) = cors.max_age {
        fields.insert("max_age".into(), age.write().into());
    }
    fields.insert("allow_credentials".into(), cors.credentials.into());
    fields.insert("allow_private_network".into(), cors.private_network.into());
    fields.insert("forward_not_matching_preflights".into(), cors.forwards_others.into());
    Value::Object(fields)
}

pub(super) fn decompression(decompression: &Decompression) -> Value {
    json!({
        "requests": decompression.requests,
        "responses": decompression.responses,
        "max_ratio": decompression.max_ratio.write(),
        "max_bytes": Size(decompression.max_bytes).write(),
    })
}

pub(super) fn compression(compression: &Compression) -> Value {
    json!({
        "algorithms": compression.algorithms.iter().map(|it| name_of(*it)).collect::<Vec<_>>(),
        "min_length": Size(compression.min_length).write(),
        "content_types": compression.content_types,
        "level": name_of(compression.level),
    })
}
