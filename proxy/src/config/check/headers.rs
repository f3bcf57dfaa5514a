//! Checks header edits: which fields may be touched, and that none is named twice.

use ::http::HeaderName;

use super::super::decode::{Field, Located, Map};
use super::super::model::{FieldValue, HeaderEdits, Operator};
use super::super::raw;
use super::super::scalar::{Parse, Text};
use super::super::source::Span;
use super::{Checker, Unique, entries, items};

/// Whose headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Request,
    Response,
}

/// Fields that belong to one connection (RFC 9110 section 7.6.1), and those that frame the message (RFC 9112
/// section 6): the proxy alone decides them.
const OWNED_BY_THE_PROXY: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

impl Checker<'_> {
    pub(super) fn edits(&self, raw: Field<raw::Edit>, message: Message) -> HeaderEdits {
        let Some(raw) = raw.value() else { return HeaderEdits::default() };
        let mut twice = Unique::new(self.log);
        let mut remove = Vec::new();
        for name in items(raw.remove.value().unwrap_or_default()) {
            let Text(header) = name.value;
            self.may_be_edited(&header, name.span, message);
            twice.take(header.clone(), name.span, || format!("`{header}` is removed twice"));
            remove.push(header);
        }
        for values in [&raw.set, &raw.add] {
            self.refuse_what_is_not_known(values, message);
        }
        HeaderEdits { remove, set: self.fields(raw.set, message), add: self.fields(raw.add, message) }
    }

    /// Header fields with their values, each name once.
    pub(super) fn fields<V: Parse>(
        &self,
        raw: Field<Map<Text<HeaderName>, Text<V>>>,
        message: Message,
    ) -> Vec<(HeaderName, V)> {
        let mut twice = Unique::new(self.log);
        let mut fields = Vec::new();
        for (name, value) in entries(raw) {
            let Text(header) = name.value;
            self.may_be_edited(&header, name.span, message);
            // YAML sees two keys where HTTP sees one: names of header fields have no case.
            twice.take(header.clone(), name.span, || format!("`{header}` is given twice"));
            fields.extend(value.value().map(|Text(value)| (header, value)));
        }
        fields
    }

    fn refuse_what_is_not_known(&self, values: &Field<Map<Text<HeaderName>, Text<FieldValue>>>, of: Message) {
        let Field::Given(Located { value: Map(entries), .. }) = values else { return };
        for (_, value) in entries {
            if let Field::Given(Located { value: Text(value), span }) = value {
                self.refuse_unknown(value, *span, of);
            }
        }
    }

    /// What an answer is, or was to be, is not known of a request, and not in the fields of a head.
    pub(super) fn refuse_unknown(&self, value: &FieldValue, span: Span, of: Message) {
        let FieldValue::Made(template) = value else { return };
        let unknown = template.operators().find_map(|operator| match operator {
            Operator::ResponseCode if of == Message::Request => Some("RESPONSE_CODE"),
            Operator::ResponseCodeDetails => Some("RESPONSE_CODE_DETAILS"),
            Operator::ResponseFlags => Some("RESPONSE_FLAGS"),
            Operator::Outcome => Some("OUTCOME"),
            Operator::LocalReplyBody => Some("LOCAL_REPLY_BODY"),
            Operator::Upstream if of == Message::Request => Some("UPSTREAM_HOST"),
            _ => None,
        });
        if let Some(name) = unknown {
            let message = format!("`%{name}%` is not known yet where this field is made");
            let hint =
                "the operators that are known in header fields are in the book, under \"Header fields\"";
            self.log.error_with_hint(span, message, hint);
        }
    }

    fn may_be_edited(&self, header: &HeaderName, span: Span, message: Message) {
        if OWNED_BY_THE_PROXY.contains(&header.as_str()) {
            let hint = "it belongs to one connection, or frames the message: each side has its own";
            self.log.error_with_hint(
                span,
                format!("`{header}` is the proxy's own and cannot be edited"),
                hint,
            );
        } else if message == Message::Request && header == ::http::header::HOST {
            self.log.error_with_hint(
                span,
                "`host` cannot be edited here",
                "use `rewrite: {host: …}` of the route",
            );
        }
    }
}
