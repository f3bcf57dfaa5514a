//! Checks what a listener gives to all of its routes, and a route may replace: CORS and compression.

use std::sync::Arc;
use std::time::Duration;

use super::super::bounds;
use super::super::decode::{Field, Located, OneOrMany};
use super::super::model::{
    Coding, Compression, CompressionLevel, Cors, Decompression, USUAL_TYPES, ValueMatch,
};
use super::super::raw;
use super::super::scalar::{Size, Text};
use super::{Checker, Unique, items};

/// What routes have that say nothing themselves.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The chain, as indices of filters.
    pub(super) chain: Vec<usize>,
    pub(super) cors: Option<Arc<Cors>>,
    pub(super) compression: Option<Arc<Compression>>,
    pub(super) decompression: Option<Arc<Decompression>>,
}

impl Checker<'_> {
    /// What a route has, `inherited` being what its listener gives to it.
    pub(super) fn or_off<T, R>(
        &self,
        raw: Field<raw::OrOff<R>>,
        inherited: Option<Arc<T>>,
        check: impl FnOnce(Located<R>) -> Option<T>,
    ) -> Option<Arc<T>> {
        let Some(Located { value, span }) = raw.given() else { return inherited };
        match value {
            raw::OrOff::Off => None,
            raw::OrOff::On(value) => check(Located { value: *value, span }).map(Arc::new),
        }
    }

    pub(super) fn decompression(&self, raw: Located<raw::Decompression>) -> Option<Decompression> {
        let Located { value: raw, span } = raw;
        let given = |field: Field<bool>| field.value().unwrap_or(false);
        let (requests, responses) = (given(raw.requests), given(raw.responses));
        if !requests && !responses {
            let hint = "say which: `requests: true`, `responses: true`, or both";
            self.log.error_with_hint(span, "this decompresses nothing", hint);
        }
        Some(Decompression {
            requests,
            responses,
            max_ratio: self.number(raw.max_ratio, bounds::DECOMPRESSION_RATIO),
            max_bytes: self.number(raw.max_bytes, bounds::DECOMPRESSION_BYTES).0,
        })
    }

    pub(super) fn cors(&self, raw: Located<raw::Cors>) -> Option<Cors> {
        let Located { value: raw, span } = raw;
        let origins = self.required(raw.allow_origin, "allow_origin", span)?;
        let credentials = raw.allow_credentials.value().unwrap_or(false);
        let at = origins.span;
        let (origins, any) = self.origins(origins);
        if any && credentials {
            let hint = "name the origins: any page could act as the user who looks at it";
            self.log.warning(at, "every origin may use the user's credentials", hint);
        }
        let names = |field: Field<Vec<Field<Text<http::HeaderName>>>>| {
            items(field.value().unwrap_or_default()).map(|name| name.value.0).collect()
        };
        Some(Cors {
            origins: if any { Vec::new() } else { origins },
            methods: items(raw.allow_methods.value().unwrap_or_default()).map(|it| it.value.0).collect(),
            headers: names(raw.allow_headers),
            expose: names(raw.expose_headers),
            max_age: self
                .number_if_given(raw.max_age, bounds::CORS_MAX_AGE)
                .map(|age| Duration::from_secs(age.as_secs())),
            credentials,
            private_network: raw.allow_private_network.value().unwrap_or(false),
            forwards_others: raw.forward_not_matching_preflights.value().unwrap_or(true),
        })
    }

    /// The origins, and whether any will do.
    fn origins(&self, list: Located<OneOrMany<raw::Origin>>) -> (Vec<ValueMatch>, bool) {
        let Located { value: OneOrMany(list), span } = list;
        if list.is_empty() {
            self.log.error_with_hint(span, "no origin may", "leave `cors` out, or name origins");
        }
        let mut any = false;
        let origins = items(list).filter_map(|origin| {
            use raw::Origin as Raw;
            Some(match origin.value {
                Raw::Exact(text) | Raw::Text(text) => {
                    let text = text.given()?;
                    any |= text.value == "*";
                    let is_path = text.value.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
                    if is_path {
                        let hint = "an origin is scheme, host and port: `https://example.com`";
                        self.log.error_with_hint(text.span, "an origin has no path", hint);
                    }
                    ValueMatch::Exact(text.value)
                }
                Raw::Prefix(text) => ValueMatch::Prefix(self.part(text)?),
                Raw::Suffix(text) => ValueMatch::Suffix(self.part(text)?),
                Raw::Contains(text) => ValueMatch::Contains(self.part(text)?),
                Raw::Regex(text) => ValueMatch::Regex(self.whole_pattern(&text.given()?)?),
            })
        });
        let origins = origins.collect();
        (origins, any)
    }

    pub(super) fn compression(&self, raw: Located<raw::Compression>) -> Option<Compression> {
        let raw = raw.value;
        let mut algorithms = vec![Coding::Zstd, Coding::Brotli, Coding::Gzip];
        if let Some(list) = raw.algorithms.given() {
            if list.value.is_empty() {
                self.log.error_with_hint(
                    list.span,
                    "there is no algorithm",
                    "to compress nothing, write `off`",
                );
            }
            let mut twice = Unique::new(self.log);
            algorithms.clear();
            for Located { value: Text(coding), span } in items(list.value) {
                twice.take(coding, span, || "an algorithm is given twice".to_owned());
                algorithms.push(coding);
            }
        }
        let usual = || USUAL_TYPES.map(str::to_owned).to_vec();
        let content_types = raw.content_types.given().map_or_else(usual, |list| {
            let types = items(list.value).map(|kind| {
                let is_type = kind.value.split_once('/').is_some_and(|(kind, sub)| {
                    !kind.is_empty() && !sub.is_empty() && !sub.contains([';', ' ', '/'])
                });
                if !is_type {
                    let message = format!("`{}` is not a media type", kind.value);
                    let hint = "write it without parameters, such as `application/json` or `text/*`";
                    self.log.error_with_hint(kind.span, message, hint);
                }
                kind.value.to_ascii_lowercase()
            });
            types.collect()
        });
        let Size(min_length) = self.number(raw.min_length, bounds::COMPRESSION_MIN_LENGTH);
        let level = raw.level.value().map_or(CompressionLevel::Balanced, |Text(level)| level);
        Some(Compression { algorithms, min_length, content_types, level })
    }
}
