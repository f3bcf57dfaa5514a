//! Pages for errors, in the words of the file.

use serde_json::{Map, Value};

use super::super::model::ErrorPage;
use super::{fields, text};

pub(super) fn error_page(page: &ErrorPage) -> Value {
    let mut shown = Map::new();
    if !page.statuses.is_empty() {
        shown.insert("statuses".into(), page.statuses.iter().map(|range| range.write()).collect());
    }
    if !page.outcomes.is_empty() {
        shown.insert("outcomes".into(), page.outcomes.iter().map(|outcome| outcome.reason()).collect());
    }
    shown.insert("upstreams".into(), page.of_upstreams.into());
    if let Some(status) = page.status {
        shown.insert("status".into(), status.as_u16().into());
    }
    shown.insert("headers".into(), fields(&page.headers));
    if let Some(content) = &page.content {
        shown.insert("content_type".into(), text(&content.content_type));
        let (field, value) = match &content.file {
            Some(path) => ("file", path.to_string_lossy().into()),
            None => ("body", content.body.source().into()),
        };
        shown.insert(field.into(), value);
    }
    Value::Object(shown)
}
