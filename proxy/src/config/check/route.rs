//! Checks routes: what they match, and that each has exactly one action.

use std::mem::take;
use std::path::PathBuf;

use ::http::StatusCode;
use bytes::Bytes;
use indexmap::IndexMap;

use super::super::bounds;
use super::super::decode::{Field, Located, OneOrMany};
use super::super::model::{
    Action, Clusters, FollowRedirects, Forward, HostMatch, Match, MetadataMatch, PathMatch, Redirect,
    Respond, Route, RouteFilters, ValueMatch,
};
use super::super::raw;
use super::super::scalar::{AuthorityText, Count, Host, Size, Text, name_of};
use super::super::source::Span;
use super::exposure::Inherited;
use super::headers::Message;
use super::{Checker, Unique, entries, items, whole};
use crate::path::PathNormalization;

/// What a route can do, one of which it does.
const ACTIONS: &str = "`cluster`, `clusters`, `cluster_header`, `redirect` and `respond`";

/// The statuses that send a client elsewhere.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl Checker<'_> {
    pub(super) fn routes(
        &mut self,
        list: Located<Vec<Field<raw::Route>>>,
        inherited: &Inherited,
        paths: &PathNormalization,
    ) -> Vec<Route> {
        if list.value.is_empty() {
            let hint = "add one, such as `{match: {}, respond: {status: 200}}`";
            self.log.warning(list.span, "there are no routes: every request is answered 404", hint);
        }
        let mut names = Unique::new(self.log);
        let mut catch_all = None;
        let mut routes = Vec::new();
        for (index, raw) in list.value.into_iter().enumerate() {
            let Some(raw) = raw.given() else { continue };
            let at = raw.span;
            self.warn_of_path_that_no_request_has(&raw.value, paths);
            if let Some(line) = catch_all.take() {
                let message =
                    format!("no request comes this far: the route on line {line} takes all of them");
                self.log.warning(at, message, "move this route before that one");
            }
            let Some(route) = self.route(index, raw, inherited, &mut names) else { continue };
            if takes_everything(&route.matches) {
                catch_all = Some(self.log.line(at));
            }
            routes.push(route);
        }
        routes
    }

    fn route(
        &mut self,
        index: usize,
        raw: Located<raw::Route>,
        inherited: &Inherited,
        names: &mut Unique<'_, String>,
    ) -> Option<Route> {
        let Located { value: mut raw, span } = raw;
        self.refuse_what_only_forwarding_uses(&raw);
        let name = take(&mut raw.name).given().inspect(|name| self.name(name));
        let name = name.unwrap_or_else(|| Located { value: format!("route-{index}"), span });
        names.take(name.value.clone(), name.span, || format!("two routes have the name `{}`", name.value));
        if raw.matches.is_absent() {
            let hint = "say which requests: `match: {path: {prefix: /}}`";
            self.log.error_with_hint(span, "the field `match` is missing here", hint);
        }
        let matches = self.matches(take(&mut raw.matches).value());
        let (request, response) = match take(&mut raw.headers).value() {
            Some(edits) => (edits.request, edits.response),
            None => (Field::Absent, Field::Absent),
        };
        let request_headers = self.edits(request, Message::Request);
        let response_headers = self.edits(response, Message::Response);
        let chain = raw.filters.span();
        let filters = self.route_filters(take(&mut raw.filters), &inherited.chain);
        if let (RouteFilters::Chain(_), Some(span)) = (&filters, chain)
            && !(matches.claims.is_empty() && matches.properties.is_empty())
        {
            let message = "this chain is chosen before a filter has left what the route matches";
            let hint = "say what is different of the listener's chain instead: `filters: {NAME: {config: …}}`, `{NAME: off}`";
            self.log.warning(span, message, hint);
        }
        let cors = self.or_off(take(&mut raw.cors), inherited.cors.clone(), |raw| self.cors(raw));
        let compression = take(&mut raw.compression);
        let compression =
            self.or_off(compression, inherited.compression.clone(), |raw| self.compression(raw));
        let decompression = take(&mut raw.decompression);
        let decompression =
            self.or_off(decompression, inherited.decompression.clone(), |raw| self.decompression(raw));
        let buffer_limit = self.number_if_given(take(&mut raw.buffer_limit), bounds::ROUTE_BUFFER_LIMIT);
        let timeout = self.duration(take(&mut raw.timeout), bounds::ROUTE_TIMEOUT);
        let timeout = (!timeout.is_zero()).then_some(timeout);
        let retries = self.retries(take(&mut raw.retries), timeout);
        let grpc_timeout = self.number_if_given(take(&mut raw.grpc_timeout), bounds::GRPC_TIMEOUT);
        let max_duration = self.number_if_given(take(&mut raw.max_duration), bounds::MAX_DURATION);
        let idle_timeout = self.number_if_given(take(&mut raw.idle_timeout), bounds::STREAM_IDLE_TIMEOUT);
        let shed = take(&mut raw.shed).value().unwrap_or(true);
        Some(Route {
            name: name.value,
            filters,
            cors,
            compression,
            decompression,
            buffer_limit: buffer_limit.map(|Size(bytes)| whole(bytes)),
            action: self.action(raw, span, &matches.path)?,
            matches,
            request_headers,
            response_headers,
            timeout,
            grpc_timeout,
            max_duration,
            idle_timeout,
            retries,
            shed,
        })
    }

    fn refuse_what_only_forwarding_uses(&self, raw: &raw::Route) {
        let action = match (&raw.redirect, &raw.respond) {
            (Field::Given(_), _) => "redirect",
            (_, Field::Given(_)) => "respond",
            _ => return,
        };
        let request_edits = match &raw.headers {
            Field::Given(edits) => edits.value.request.span(),
            Field::Absent | Field::Invalid => None,
        };
        let useless = [
            ("rewrite", raw.rewrite.span()),
            ("mirror", raw.mirror.span()),
            ("follow_redirects", raw.follow_redirects.span()),
            ("timeout", raw.timeout.span()),
            ("grpc_timeout", raw.grpc_timeout.span()),
            ("retries", raw.retries.span()),
            ("metadata_match", raw.metadata_match.span()),
            ("hash_policy", raw.hash_policy.span()),
            ("headers.request", request_edits),
        ];
        for (field, span) in useless {
            if let Some(span) = span {
                let message =
                    format!("`{field}` has no effect beside `{action}`: the request is not sent on");
                self.log.error_with_hint(span, message, format!("remove `{field}`"));
            }
        }
    }

    pub(super) fn matches(&self, raw: Option<raw::Match>) -> Match {
        let Some(raw) = raw else {
            return Match {
                hosts: vec![],
                path: PathMatch::Any,
                methods: vec![],
                headers: vec![],
                query: vec![],
                cookies: vec![],
                properties: vec![],
                claims: vec![],
                percent: None,
            };
        };
        let mut twice = Unique::new(self.log);
        let mut headers = Vec::new();
        for (name, value) in entries(raw.headers) {
            let Text(header) = name.value;
            twice.take(header.clone(), name.span, || format!("`{header}` is given twice"));
            headers.extend(self.value_match(value).map(|value| (header, value)));
        }
        let values = |field| {
            let entries = entries(field).into_iter();
            entries.filter_map(|(name, value)| Some((name.value, self.value_match(value)?))).collect()
        };
        Match {
            hosts: self.hosts(raw.host),
            path: self.path_match(raw.path),
            methods: self.alternatives(raw.method).into_iter().map(|method| method.value.0).collect(),
            headers,
            query: values(raw.query),
            cookies: values(raw.cookies),
            properties: values(raw.properties),
            claims: values(raw.claims),
            percent: self.number_if_given(raw.percent, bounds::MATCH_PERCENT),
        }
    }

    /// Hosts; none when any will do.
    fn hosts(&self, field: Field<OneOrMany<Text<Option<HostMatch>>>>) -> Vec<HostMatch> {
        let hosts = self.alternatives(field).into_iter().map(|host| host.value.0);
        hosts.collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Values one of which must match. An empty list would match nothing, or everything: it is refused.
    pub(super) fn alternatives<T>(&self, field: Field<OneOrMany<T>>) -> Vec<Located<T>> {
        let Some(Located { value: OneOrMany(list), span }) = field.given() else { return Vec::new() };
        if list.is_empty() {
            self.log.error_with_hint(
                span,
                "an empty list matches nothing",
                "leave the line out to match everything",
            );
        }
        items(list).collect()
    }

    pub(super) fn value_match(&self, field: Field<raw::ValueMatcher>) -> Option<ValueMatch> {
        use raw::ValueMatcher as Raw;
        Some(match field.value()? {
            Raw::Exact(text) => ValueMatch::Exact(text.value()?),
            Raw::Prefix(text) => ValueMatch::Prefix(self.part(text)?),
            Raw::Suffix(text) => ValueMatch::Suffix(self.part(text)?),
            Raw::Contains(text) => ValueMatch::Contains(self.part(text)?),
            Raw::Regex(text) => ValueMatch::Regex(self.whole_pattern(&text.given()?)?),
            Raw::Range(range) => {
                let Located { value: raw::Range { from, to }, span } = range.given()?;
                let (from, to) = (from.value().unwrap_or(i64::MIN), to.value().unwrap_or(i64::MAX));
                if from > to {
                    self.log.error(span, "no number is in this range: `from` is more than `to`");
                }
                ValueMatch::Range(from, to)
            }
            Raw::Present(present) => ValueMatch::Present(present.value()?),
            Raw::Not(inner) => {
                let Located { value, span } = inner.given()?;
                let inner = Field::Given(Located { value: *value, span });
                ValueMatch::Not(Box::new(self.value_match(inner)?))
            }
        })
    }

    pub(super) fn part(&self, field: Field<String>) -> Option<String> {
        let text = field.given()?;
        if text.value.is_empty() {
            self.log.error_with_hint(
                text.span,
                "an empty text is in every value",
                "to ask for any value, write `{present: true}`",
            );
        }
        Some(text.value)
    }

    fn action(&self, raw: raw::Route, span: Span, path: &PathMatch) -> Option<Action> {
        let given = [
            ("cluster", raw.cluster.is_absent()),
            ("clusters", raw.clusters.is_absent()),
            ("cluster_header", raw.cluster_header.is_absent()),
            ("redirect", raw.redirect.is_absent()),
            ("respond", raw.respond.is_absent()),
        ];
        let given: Vec<_> =
            given.into_iter().filter_map(|(name, absent)| (!absent).then_some(name)).collect();
        match given[..] {
            [_] => {}
            [] => {
                let hint = format!("give one of {ACTIONS}");
                self.log.error_with_hint(span, "this route does nothing with its requests", hint);
            }
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` cannot be given together");
                self.log.error_with_hint(span, message, format!("a route has one of {ACTIONS}"));
            }
        }
        if let Some(redirect) = raw.redirect.given() {
            return Some(Action::Redirect(self.redirect(redirect, path)));
        }
        if let Some(respond) = raw.respond.value() {
            return Some(Action::Respond(self.respond(respond)));
        }
        let wanted = self.metadata(raw.metadata_match);
        let clusters = match raw.cluster_header.given() {
            Some(header) => self.cluster_header(header)?,
            None => Clusters::Weighted(self.shares_of_route(raw.cluster, raw.clusters, &wanted)),
        };
        let mirrors = self.mirrors(raw.mirror);
        let follow_redirects = raw.follow_redirects.value().map(|raw| self.follow_redirects(raw));
        let metadata_match = (!wanted.is_empty()).then(|| MetadataMatch::new(&wanted));
        let hash_policy = self.hash_policies(raw.hash_policy);
        let rewrite = raw.rewrite.value();
        let (path, host) = rewrite.map_or((None, None), |rewrite| {
            let path = self.path_rewrite(rewrite.prefix, rewrite.regex, rewrite.template, path);
            (path, rewrite.host.given())
        });
        let host = host.map(|Located { value: Text(AuthorityText(host)), span }| {
            self.refuse_unknown(&host, span, Message::Request);
            host
        });
        Some(Action::Forward(Box::new(Forward {
            clusters,
            metadata_match,
            hash_policy,
            mirrors,
            follow_redirects,
            path,
            host,
        })))
    }

    fn cluster_header(&self, raw: Located<raw::ClusterHeader>) -> Option<Clusters> {
        let Located { value: raw, span } = raw;
        let name = self.required(raw.name, "name", span);
        if raw.allow.is_absent() {
            let hint = "list the clusters that it may name: whoever sets the header chooses among them";
            self.log.error_with_hint(span, "the field `allow` is missing here", hint);
        }
        let list = raw.allow.given()?;
        if list.value.is_empty() {
            self.log.error(list.span, "`allow` names no cluster");
        }
        let mut twice = Unique::new(self.log);
        let mut allow = IndexMap::new();
        for cluster in items(list.value) {
            let index = self.cluster_index(&cluster);
            twice.take(cluster.value.clone(), cluster.span, || format!("`{}` is given twice", cluster.value));
            allow.extend(index.map(|index| (cluster.value, index)));
        }
        let Text(header) = name?.value;
        Some(Clusters::Named { header, allow })
    }

    fn follow_redirects(&self, raw: raw::FollowRedirects) -> FollowRedirects {
        let mut codes = vec![StatusCode::FOUND];
        if let Some(list) = raw.codes.given() {
            if list.value.is_empty() {
                self.log.error_with_hint(list.span, "nothing is followed", "leave `follow_redirects` out");
            }
            codes.clear();
            for Located { value: Text(status), span } in items(list.value) {
                self.is_redirect(status, span);
                codes.push(status);
            }
        }
        let Count(max) = self.number(raw.max, bounds::FOLLOWED_REDIRECTS);
        let cross_scheme = raw.allow_cross_scheme.value().unwrap_or(false);
        FollowRedirects { codes, max: u32::try_from(max).unwrap_or(u32::MAX), cross_scheme }
    }

    fn is_redirect(&self, status: StatusCode, span: Span) {
        if !REDIRECTS.contains(&status.as_u16()) {
            let message = format!("{} is not a redirect", status.as_u16());
            self.log.error_with_hint(span, message, "the choices are 301, 302, 303, 307 and 308");
        }
    }

    fn redirect(&self, raw: Located<raw::Redirect>, matched: &PathMatch) -> Redirect {
        let Located { value: raw, span } = raw;
        let status = raw.status.given();
        if let Some(status) = &status {
            self.is_redirect(status.value.0, status.span);
        }
        let strip_query = raw.strip_query.value().unwrap_or(false);
        let goes_elsewhere =
            !(raw.scheme.is_absent() && raw.host.is_absent() && raw.port.is_absent() && raw.path.is_absent());
        if !goes_elsewhere && !strip_query {
            let hint = "give at least one of `scheme`, `host`, `port`, `path` and `strip_query`";
            self.log.error_with_hint(span, "this redirect leads back to itself", hint);
        }
        let port = raw.port.given().map(|port| self.in_range(port, bounds::PORT).0);
        Redirect {
            status: status.map_or(StatusCode::MOVED_PERMANENTLY, |status| status.value.0),
            scheme: raw.scheme.value().map(|Text(scheme)| name_of(scheme).to_owned()),
            host: raw.host.value().map(|Text(Host(host))| host),
            port: port.and_then(|port| u16::try_from(port).ok()),
            path: self.redirect_path(raw.path, matched),
            strip_query,
        }
    }

    fn respond(&self, raw: raw::Respond) -> Respond {
        let status = raw.status.value().map_or(StatusCode::OK, |Text(status)| status);
        let (body, file) = self.respond_body(raw.body.given(), raw.file.given());
        if let Some(body) = &body {
            if file.is_none() && body.value.len() > bounds::MAX_RESPOND_BODY {
                let message = format!("the body has {} bytes", body.value.len());
                self.log.error_with_hint(
                    body.span,
                    message,
                    "at most 64KiB: give it a `file`, or serve it from a cluster",
                );
            }
            // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
            if matches!(status.as_u16(), 204 | 205 | 304) && !body.value.is_empty() {
                let message = format!("a response with status {} has no body", status.as_u16());
                self.log.error_with_hint(body.span, message, "remove the body, or choose another status");
            }
        }
        Respond {
            status,
            body: body.map_or_else(Bytes::new, |body| body.value),
            file,
            headers: self.fields(raw.headers, Message::Response),
        }
    }
}

impl Checker<'_> {
    /// The body of a response of the proxy's own, and the file that it is from.
    pub(super) fn respond_body(
        &self,
        body: Option<Located<String>>,
        file: Option<Located<String>>,
    ) -> (Option<Located<Bytes>>, Option<PathBuf>) {
        let body = body.map(|body| Located { value: Bytes::from(body.value), span: body.span });
        let Some(Located { value, span }) = file else { return (body, None) };
        if body.is_some() {
            self.log.error_with_hint(
                span,
                "`body` and `file` cannot be given together",
                "keep one of the two",
            );
        }
        let path = self.folder.join(value);
        let content = self.bytes_of(&path, bounds::MAX_RESPOND_FILE_BYTES, span).unwrap_or_default();
        (Some(Located { value: Bytes::from(content), span }), Some(path))
    }
}

/// Whether no request is left for the routes after this.
pub(super) fn takes_everything(matches: &Match) -> bool {
    let any_path = match &matches.path {
        PathMatch::Any => true,
        PathMatch::Prefix(prefix) => prefix == "/",
        PathMatch::Segments(_) | PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Template(_) => false,
    };
    any_path
        && matches.hosts.is_empty()
        && matches.methods.is_empty()
        && matches.headers.is_empty()
        && matches.query.is_empty()
        && matches.cookies.is_empty()
        && matches.properties.is_empty()
        && matches.claims.is_empty()
        && matches.percent.is_none()
}
