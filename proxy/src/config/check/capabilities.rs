//! Checks what a filter may do.

use ::http::HeaderName;

use super::super::decode::Located;
use super::super::model::{Access, Capabilities, Grant, Names, header_name, property_name, shows_headers};
use super::super::raw::{self, Patterns};
use super::super::scalar::{NamePattern, Text};
use super::super::source::Span;
use super::super::suggest;
use super::{Checker, items};
use crate::wasm::hostcalls;

impl Checker<'_> {
    pub(super) fn grant(&self, raw: raw::Grant) -> Grant {
        match raw {
            raw::Grant::Manifest => Grant::Manifest,
            raw::Grant::Only(raw) => Grant::Only(Box::new(self.capabilities(*raw))),
        }
    }

    fn capabilities(&self, raw: raw::Capabilities) -> Capabilities {
        let raw::Access { read, write } = raw.headers.value().unwrap_or_default();
        let header = |name: &Located<String>| self.header_pattern(name);
        let headers = Access { read: self.names(read, header), write: self.names(write, header) };
        let raw::Access { read, write } = raw.properties.value().unwrap_or_default();
        let properties = Access {
            read: self.names(read, |name| self.readable_property(name)),
            write: self.names(write, |name| name.value.clone()),
        };
        let is_narrowed = !raw.hostcalls.is_absent();
        let hostcalls = self.names(raw.hostcalls, |name| self.hostcall(name));
        let plain = |name: &Located<String>| name.value.clone();
        Capabilities {
            hostcalls: is_narrowed.then_some(hostcalls),
            clusters: self.names(raw.clusters, |name| self.granted_cluster(name)),
            headers,
            body: raw.body.value().map(|Text(body)| body).unwrap_or_default(),
            properties,
            shared_data: self.names(raw.shared_data, plain),
            metrics: self.names(raw.metrics, plain),
            reply: raw.reply.value().unwrap_or(false),
            log: raw.log.value().map(|Text(log)| log).unwrap_or_default(),
        }
    }

    /// The names of a list, each as `check` has it.
    fn names(&self, raw: Patterns, check: impl Fn(&Located<String>) -> String) -> Names {
        let Some(Located { value: list, span }) = raw.given() else { return Names::default() };
        let texts = items(list)
            .map(|Located { value: Text(NamePattern(value)), span }| check(&Located { value, span }));
        Names::new(texts).unwrap_or_else(|error| {
            self.log.error(span, error.to_string());
            Names::default()
        })
    }

    fn header_pattern(&self, name: &Located<String>) -> String {
        const PSEUDO: [&str; 5] = [":authority", ":method", ":path", ":scheme", ":status"];
        let text = header_name(&name.value);
        let is_pattern = text.contains('*');
        if !is_pattern && text.starts_with(':') && !PSEUDO.contains(&&*text) {
            self.log.error_suggesting(name.span, format!("there is no pseudo-header `{text}`"), || {
                suggest::remedy(&text, "pseudo-headers", PSEUDO.into_iter())
            });
        } else if HeaderName::try_from(text.trim_start_matches(':').replace('*', "x")).is_err() {
            self.log.error(name.span, format!("`{text}` cannot be the name of a header"));
        }
        text
    }

    fn readable_property(&self, name: &Located<String>) -> String {
        if shows_headers(&name.value) {
            let message = format!("`{}` is about headers, which are granted as such", name.value);
            self.log.error_with_hint(name.span, message, "name them in `headers: {read: […]}`");
        }
        property_name(&name.value).to_owned()
    }

    fn granted_cluster(&self, name: &Located<String>) -> String {
        if !name.value.contains('*') {
            self.cluster_index(name);
        }
        name.value.clone()
    }

    fn hostcall(&self, name: &Located<String>) -> String {
        let known = hostcalls::names();
        if !name.value.contains('*') && !known.clone().any(|known| known == name.value) {
            self.unknown_hostcall(&name.value, name.span);
        }
        name.value.clone()
    }

    fn unknown_hostcall(&self, name: &str, span: Span) {
        if name.starts_with("proxy_on_") {
            let hint =
                "leave it out: a filter hears of what its exports are for, and sees what the rest grants";
            self.log.error_with_hint(span, format!("`{name}` is a callback, not a hostcall"), hint);
            return;
        }
        self.log.error_suggesting(
            span,
            format!("there is no hostcall and no foreign function `{name}`"),
            || suggest::remedy(name, "hostcalls", hostcalls::names()),
        );
    }
}
