//! Checks pages for errors.

use http::HeaderValue;

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{ErrorPage, PageContent, StatusRange, Template};
use super::super::raw;
use super::super::scalar::Text;
use super::headers::Message;
use super::{Checker, items};

impl Checker<'_> {
    pub(super) fn error_pages(&self, list: Field<Vec<Field<raw::ErrorPage>>>) -> Vec<ErrorPage> {
        let list = list.value().unwrap_or_default();
        if let Some(one) = list.get(bounds::MAX_ERROR_PAGES).and_then(Field::span) {
            self.log
                .error(one, format!("a listener has at most {} pages for errors", bounds::MAX_ERROR_PAGES));
        }
        items(list).map(|raw| self.error_page(raw)).collect()
    }

    fn error_page(&self, raw: Located<raw::ErrorPage>) -> ErrorPage {
        let Located { value: raw, span } = raw;
        let statuses: Vec<_> = self.alternatives(raw.statuses);
        for range in statuses.iter().filter(|range| range.value.0.last < 400) {
            let hint = "errors are from 400 on";
            self.log.error_with_hint(range.span, "there are no errors among these", hint);
        }
        let outcomes = self.alternatives(raw.outcomes).into_iter().map(|outcome| outcome.value.0).collect();
        let of_upstreams = raw.upstreams.value().unwrap_or(false);
        let says_nothing =
            raw.body.is_absent() && raw.file.is_absent() && raw.status.is_absent() && raw.headers.is_absent();
        if says_nothing {
            let hint = "give it a `body`, a `file`, a `status` or `headers`";
            self.log.error_with_hint(span, "this page changes nothing", hint);
        }
        if let (true, Some(span)) = (raw.body.is_absent() && raw.file.is_absent(), raw.content_type.span()) {
            self.log.error_with_hint(span, "there is no body of this type", "give it a `body` or a `file`");
        }
        let body = self.respond_body(raw.body.given(), raw.file.given());
        let content_type = raw.content_type.value().map(|Text(value)| value);
        ErrorPage {
            statuses: statuses.into_iter().map(|range| range.value.0).collect::<Vec<StatusRange>>(),
            outcomes,
            of_upstreams,
            status: raw.status.value().map(|Text(status)| status),
            headers: self.fields(raw.headers, Message::Response),
            content: body.0.map(|text| PageContent {
                content_type: content_type.unwrap_or(HeaderValue::from_static("text/plain")),
                body: self.template(&text),
                file: body.1,
            }),
        }
    }

    fn template(&self, text: &Located<bytes::Bytes>) -> Template {
        let Ok(source) = std::str::from_utf8(&text.value) else {
            self.log.error_with_hint(text.span, "this is not text", "save it as UTF-8");
            return Template::default();
        };
        Template::parse(source).unwrap_or_else(|error| {
            let hint = "the operators are in the book, under \"Pages for errors\"; `%%` is a percent sign";
            self.log.error_with_hint(text.span, error.to_string(), hint);
            Template::default()
        })
    }
}
