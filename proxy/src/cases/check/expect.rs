//! Checks what is expected.

use super::super::matcher::Body;
use super::super::model::{At, CallExpect, Expect, Expected, FieldExpect, LogExpect, MessageExpect};
use super::super::raw;
use super::{Matched, Reader};
use crate::config::check::{entries, items};
use crate::config::decode::{Field, Located, OneOrMany};
use crate::config::scalar::{Count, Size, Text};

/// What is there, with its place; `change` makes it what it means.
fn at<T, U>(field: Field<T>, change: impl FnOnce(T) -> U) -> Option<At<U>> {
    field.given().map(|Located { value, span }| At { value: change(value), span })
}

impl Reader<'_> {
    /// Refuses what can only be true of an exchange.
    pub(super) fn refuse_of_exchange(&self, field: &Field<raw::Expect>, message: &str, hint: &str) {
        let Field::Given(Located { value: raw, .. }) = field else { return };
        let spans = [
            raw.outcome.span(),
            raw.details.span(),
            raw.forwarded.span(),
            raw.response.span(),
            raw.properties.span(),
            raw.duration.span(),
        ];
        for span in spans.into_iter().flatten() {
            self.log.error_with_hint(span, message, hint);
        }
    }

    pub(super) fn expect(&mut self, field: Field<raw::Expect>) -> Expect {
        let Some(raw) = field.value() else { return Expect::default() };
        let response = raw.response.given();
        let forwarded = raw.forwarded.given();
        let logs = raw.logs.value().map_or_else(Vec::new, |OneOrMany(logs)| logs);
        let metrics = entries(raw.metrics).into_iter().filter_map(|(name, value)| {
            let value = at(value, |Text(Count(value))| value)?;
            Some((name.value, value))
        });
        let properties = entries(raw.properties).into_iter().filter_map(|(name, value)| {
            let Located { value, span } = value.given()?;
            Some((name.value, At { value: self.matcher(value), span }))
        });
        let callouts = raw.callouts.given().map(|Located { value, span }| At {
            value: items(value).map(|call| self.call(call)).collect(),
            span,
        });
        Expect {
            outcome: at(raw.outcome, |Text(outcome)| outcome),
            details: raw
                .details
                .given()
                .map(|Located { value, span }| At { value: self.matcher(value), span }),
            forwarded: forwarded.map(|message| self.message(message, true)),
            response: response.map(|message| self.message(message, false)),
            logs: items(logs).map(|log| self.log_line(log)).collect(),
            metrics: metrics.collect(),
            callouts,
            faults: at(raw.faults, |faults| items(faults).map(|fault| fault.value.0.0).collect()),
            properties: properties.collect(),
            instructions: at(raw.instructions, |Text(Count(count))| count),
            memory: at(raw.memory, |Text(Size(size))| size),
            duration: at(raw.duration, |Text(duration)| duration),
        }
    }

    fn message(&self, message: Located<raw::Short<raw::Message>>, is_request: bool) -> At<Expected> {
        let Located { value: raw::Short(raw), span } = message;
        if raw.nothing == raw::Nothing::Yes {
            return At { value: Expected::Nothing, span };
        }
        let strange = match is_request {
            true => raw.status.span().map(|span| ("status", span, "a request")),
            false => {
                let method = raw.method.span().map(|span| ("method", span, "a response"));
                method.or(raw.path.span().map(|span| ("path", span, "a response")))
            }
        };
        if let Some((field, span, what)) = strange {
            self.log.error(span, format!("{what} has no `{field}`"));
        }
        let fields = |fields| {
            let each = self.field_matchers(fields);
            each.map(|(name, values, span)| At { value: FieldExpect { name, values }, span }).collect()
        };
        let expected = MessageExpect {
            method: at(raw.method, |Text(method)| method),
            path: raw.path.given().map(|path| At { value: self.matcher(path.value), span: path.span }),
            status: at(raw.status, |Text(status)| status.as_u16()),
            headers: fields(raw.headers),
            body: raw.body.given().map(|body| self.body(body)),
            trailers: fields(raw.trailers),
        };
        At { value: Expected::Message(Box::new(expected)), span }
    }

    fn body(&self, body: Located<raw::BodyMatcher>) -> At<Body> {
        use raw::BodyMatcher as Raw;
        let Located { value, span } = body;
        let text = |field: Field<String>| field.value().unwrap_or_default();
        let value = match value {
            Raw::Exact(field) | Raw::Plain(field) => Body::Text(Matched::Exact(text(field))),
            Raw::Prefix(field) => Body::Text(Matched::Prefix(text(field))),
            Raw::Suffix(field) => Body::Text(Matched::Suffix(text(field))),
            Raw::Contains(field) => Body::Text(Matched::Contains(text(field))),
            Raw::Regex(field) => Body::Text(self.regex(field)),
            Raw::Not(field) => Body::Text(self.matcher(raw::Matcher::Not(field))),
            Raw::Json(field) => Body::Json(field.value().unwrap_or_default()),
            Raw::Base64(field) => {
                Body::Bytes(field.value().map(|Text(bytes)| bytes.0).unwrap_or_default().into())
            }
            Raw::File(field) => Body::Bytes(self.file(field).unwrap_or_default()),
            Raw::Size(field) => Body::Size(field.value().map_or(0, |Text(Size(size))| size)),
        };
        At { value, span }
    }

    fn log_line(&self, log: Located<raw::Short<raw::LogExpect>>) -> At<LogExpect> {
        let Located { value: raw::Short(raw), span } = log;
        let text = match (raw.text.given(), raw.contains.given()) {
            (Some(_), Some(contains)) => {
                let hint = "keep one of them";
                let message = "`text` and `contains` cannot be given together";
                self.log.error_with_hint(contains.span, message, hint);
                None
            }
            (Some(text), None) => Some(self.matcher(text.value)),
            (None, contains) => contains.map(|contains| Matched::Contains(contains.value)),
        };
        let level = raw.level.value().map(|Text(level)| level.0);
        if text.is_none() && level.is_none() {
            self.log.error_with_hint(span, "every line is like this", "say what it says, or its `level`");
        }
        At { value: LogExpect { level, text, absent: raw.absent.value() == Some(true) }, span }
    }

    fn call(&self, call: Located<raw::CallExpect>) -> At<CallExpect> {
        let Located { value: raw, span } = call;
        let headers = self.field_matchers(raw.headers);
        let message = MessageExpect {
            method: at(raw.method, |Text(method)| method),
            path: raw.path.given().map(|path| At { value: self.matcher(path.value), span: path.span }),
            status: None,
            headers: headers
                .map(|(name, values, span)| At { value: FieldExpect { name, values }, span })
                .collect(),
            body: raw.body.given().map(|body| self.body(body)),
            trailers: Vec::new(),
        };
        At { value: CallExpect { cluster: raw.cluster.value(), message }, span }
    }
}
