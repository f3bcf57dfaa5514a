//! A checked configuration in the words of the file, with everything filled in.
//!
//! What it gives is itself a valid configuration that means the same.

mod balancing;
mod canary;
mod cluster;
mod exposure;
mod overload;
mod pages;
mod recovery;
mod retries;
mod route_filters;
mod tls;

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::check::without_anchors;
use super::model::{
    Action, Clusters, Config, Credentials, FieldValue, Filter, FilterLimits, Forward, Grant, HeaderEdits,
    HostMatch, Http2, Keepalive, Listener, ListenerLimits, Locality, Location, Match, MetadataMatch,
    ModuleSource, PathMatch, PathRewrite, Protocol, Recycle, Redirect, RedirectPath, Respond, Route, Secret,
    SecretOrigin, Share, ValueMatch,
};
use super::raw::{FROM_ENV, FROM_FILE};
use super::scalar::{Count, Quantity, Size, name_of};
use crate::path::PathNormalization;

pub(crate) use canary::policy as canary_policy;

/// The whole configuration with its defaults filled in, as the file could have said it. Of files that a filter's
/// `config` names there are only the names.
pub fn effective(config: &Config) -> Value {
    let mut file = Map::new();
    if let Some(workers) = config.workers {
        file.insert("workers".into(), workers.into());
    }
    file.insert("drain_timeout".into(), config.drain_timeout.write().into());
    if let Some(overload) = overload::overload(&config.overload) {
        file.insert("overload".into(), overload);
    }
    if config.locality != Locality::default() {
        file.insert("locality".into(), cluster::locality(&config.locality));
    }
    if let Some(admin) = &config.admin {
        file.insert("admin".into(), json!({ "address": admin.address }));
    }
    file.insert("listeners".into(), config.listeners.iter().map(|it| signed_listener(it, config)).collect());
    let mut filters: Map<String, Value> =
        config.filters.iter().map(|it| (it.name.clone(), filter(it))).collect();
    for canary in &config.canaries {
        canary::nest(&mut filters, config, canary);
    }
    file.insert("filters".into(), Value::Object(filters));
    let clusters = config.clusters.iter().map(|it| (it.name.clone(), cluster::cluster(it)));
    file.insert("clusters".into(), Value::Object(clusters.collect()));
    if !config.trusted_keys.is_empty() {
        let keys = config.trusted_keys.iter();
        let keys = keys.map(|key| (key.name.clone(), json!({ FROM_FILE: key.path.to_string_lossy() })));
        file.insert("trusted_keys".into(), Value::Object(keys.collect()));
    }
    Value::Object(file)
}

/// A list without a key would be refused: nobody could sign for it.
fn signed_listener(it: &Listener, config: &Config) -> Value {
    let mut shown = listener(it, config);
    if !it.require_signature_by.is_empty() {
        let keys = it.require_signature_by.iter().filter_map(|&index| config.trusted_keys.get(index));
        shown["require_signature_by"] = keys.map(|key| key.name.as_str()).collect();
    }
    shown
}

fn listener(listener: &Listener, config: &Config) -> Value {
    let ListenerLimits {
        connections,
        header_bytes,
        headers,
        header_timeout,
        detection_timeout,
        stream_idle_timeout,
        idle_timeout,
    } = listener.limits;
    let PathNormalization { normalize_path, merge_slashes, escaped_slashes } = listener.path_normalization;
    let chain = listener.filters.iter().filter_map(|&index| config.filters.get(index));
    if let Protocol::Tcp(shares) = &listener.protocol {
        let (field, value) = clusters(shares, config);
        let mut fields = json!({
            "name": listener.name,
            "address": listener.address,
            "protocol": "tcp",
            "filters": chain.map(|filter| filter.name.as_str()).collect::<Vec<_>>(),
            "access_log": listener.access_log,
            "buffer_limit": size(listener.buffer_limit),
            "proxy_protocol": listener.proxy_protocol,
            "limits": {
                "connections": connections,
                "detection_timeout": detection_timeout.write(),
                "idle_timeout": idle_timeout.write(),
            },
        });
        if !shares.is_empty() {
            fields[field] = value;
        }
        tls::of_listener(listener, config, &mut fields);
        if let Some(version) = listener.send_proxy_protocol {
            fields["send_proxy_protocol"] = name_of(version).into();
        }
        return fields;
    }
    let mut fields = json!({
        "name": listener.name,
        "address": listener.address,
        "protocol": if listener.protocol == Protocol::Http { "http" } else { "auto" },
        "filters": chain.map(|filter| filter.name.as_str()).collect::<Vec<_>>(),
        "access_log": listener.access_log,
        "buffer_limit": size(listener.buffer_limit),
        "proxy_protocol": listener.proxy_protocol,
        "grpc_web": listener.grpc_web,
        "h2c_upgrade": listener.h2c_upgrade,
        "upgrades": listener.upgrades,
        "trusted_hops": listener.trusted_hops,
        "path_normalization": {
            "normalize_path": normalize_path,
            "merge_slashes": merge_slashes,
            "escaped_slashes": name_of(escaped_slashes),
        },
        "http2": http2(&listener.http2),
        "limits": {
            "connections": connections,
            "header_bytes": size(header_bytes),
            "headers": headers,
            "header_timeout": header_timeout.write(),
            "detection_timeout": detection_timeout.write(),
            "stream_idle_timeout": stream_idle_timeout.write(),
            "idle_timeout": idle_timeout.write(),
        },
        "routes": listener.routes.iter().map(|it| route(it, &listener.filters, config)).collect::<Vec<_>>(),
    });
    if let Protocol::Auto(shares) = &listener.protocol {
        let (field, value) = clusters(shares, config);
        fields[field] = value;
    }
    tls::of_listener(listener, config, &mut fields);
    if !listener.error_pages.is_empty() {
        fields["error_pages"] = listener.error_pages.iter().map(pages::error_page).collect();
    }
    fields
}

fn http2(http2: &Http2) -> Value {
    let Http2 {
        max_concurrent_streams,
        initial_stream_window_size,
        initial_connection_window_size,
        keepalive,
    } = http2;
    let mut fields = json!({
        "max_concurrent_streams": max_concurrent_streams,
        "initial_stream_window_size": size(*initial_stream_window_size as usize),
        "initial_connection_window_size": size(*initial_connection_window_size as usize),
    });
    if let Some(Keepalive { interval, timeout }) = keepalive {
        fields["keepalive"] = json!({"interval": interval.write(), "timeout": timeout.write()});
    }
    fields
}

fn route(route: &Route, chain: &[usize], config: &Config) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), route.name.as_str().into());
    fields.insert("match".into(), matches(&route.matches));
    if let Some(filters) = route_filters::shown(&route.filters, chain, config) {
        fields.insert("filters".into(), filters);
    }
    if let Some(cors) = &route.cors {
        fields.insert("cors".into(), exposure::cors(cors));
    }
    if let Some(compression) = &route.compression {
        fields.insert("compression".into(), exposure::compression(compression));
    }
    if let Some(decompression) = &route.decompression {
        fields.insert("decompression".into(), exposure::decompression(decompression));
    }
    if !route.shed {
        fields.insert("shed".into(), false.into());
    }
    if let Some(limit) = route.buffer_limit {
        fields.insert("buffer_limit".into(), size(limit).into());
    }
    let mut headers = Map::new();
    match &route.action {
        Action::Forward(forward) => {
            forward_fields(forward, config, &mut fields);
            fields.insert("timeout".into(), route.timeout.unwrap_or_default().write().into());
            if let Some(longest) = route.grpc_timeout {
                fields.insert("grpc_timeout".into(), longest.write().into());
            }
            if let Some(it) = &route.retries {
                fields.insert("retries".into(), retries::retries(it));
            }
            headers.insert("request".into(), edits(&route.request_headers));
        }
        Action::Redirect(it) => {
            fields.insert("redirect".into(), redirect(it));
        }
        Action::Respond(it) => {
            fields.insert("respond".into(), respond(it));
        }
    }
    for (name, time) in [("max_duration", route.max_duration), ("idle_timeout", route.idle_timeout)] {
        fields.extend(time.map(|time| (name.to_owned(), time.write().into())));
    }
    headers.insert("response".into(), edits(&route.response_headers));
    fields.insert("headers".into(), Value::Object(headers));
    Value::Object(fields)
}

fn matches(matches: &Match) -> Value {
    let mut fields = Map::new();
    if !matches.hosts.is_empty() {
        let hosts = matches.hosts.iter().map(|host| match host {
            HostMatch::Exact(host) => host.clone(),
            HostMatch::Suffix(suffix) => format!("*{suffix}"),
            HostMatch::Prefix(prefix) => format!("{prefix}*"),
        });
        fields.insert("host".into(), hosts.collect());
    }
    match &matches.path {
        PathMatch::Any => None,
        PathMatch::Exact(path) => fields.insert("path".into(), json!({ "exact": path })),
        PathMatch::Segments(path) => fields.insert("path".into(), json!({ "segments": path })),
        PathMatch::Prefix(prefix) => fields.insert("path".into(), json!({ "prefix": prefix })),
        PathMatch::Regex(regex) => fields.insert("path".into(), json!({ "regex": without_anchors(regex) })),
        PathMatch::Template(template) => fields.insert("path".into(), json!({ "template": template.source })),
    };
    if !matches.methods.is_empty() {
        fields.insert("method".into(), matches.methods.iter().map(http::Method::as_str).collect());
    }
    if !matches.headers.is_empty() {
        let headers = matches.headers.iter().map(|(name, value)| (name.to_string(), value_match(value)));
        fields.insert("headers".into(), Value::Object(headers.collect()));
    }
    if !matches.query.is_empty() {
        let query = matches.query.iter().map(|(name, value)| (name.clone(), value_match(value)));
        fields.insert("query".into(), Value::Object(query.collect()));
    }
    if let Some(percent) = matches.percent {
        fields.insert("percent".into(), percent.write().into());
    }
    for (name, values) in
        [("cookies", &matches.cookies), ("properties", &matches.properties), ("claims", &matches.claims)]
    {
        if !values.is_empty() {
            let values = values.iter().map(|(name, value)| (name.clone(), value_match(value)));
            fields.insert(name.into(), Value::Object(values.collect()));
        }
    }
    Value::Object(fields)
}

fn value_match(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Present(present) => json!({ "present": present }),
        ValueMatch::Exact(text) => json!({ "exact": text }),
        ValueMatch::Prefix(text) => json!({ "prefix": text }),
        ValueMatch::Suffix(text) => json!({ "suffix": text }),
        ValueMatch::Contains(text) => json!({ "contains": text }),
        ValueMatch::Regex(regex) => json!({ "regex": without_anchors(regex) }),
        ValueMatch::Range(from, to) => {
            let ends = [("from", *from, i64::MIN), ("to", *to, i64::MAX)];
            let ends = ends.into_iter().filter(|(_, end, none)| end != none);
            let ends = ends.map(|(name, end, _)| (name.to_owned(), Value::from(end)));
            json!({ "range": Value::Object(ends.collect()) })
        }
        ValueMatch::Not(inner) => json!({ "not": value_match(inner) }),
    }
}

fn forward_fields(forward: &Forward, config: &Config, fields: &mut Map<String, Value>) {
    let (field, value) = match &forward.clusters {
        Clusters::Weighted(weighted) => shares(weighted, forward.metadata_match.as_ref(), config),
        Clusters::Named { header, allow } => {
            let allow: Vec<&String> = allow.keys().collect();
            ("cluster_header", json!({ "name": header.as_str(), "allow": allow }))
        }
    };
    fields.insert(field.into(), value);
    if !forward.mirrors.is_empty() {
        let mirrors = forward.mirrors.iter().filter_map(|mirror| {
            let cluster = &config.clusters.get(mirror.cluster)?.name;
            let percent = mirror.percent.write();
            Some(json!({ "cluster": cluster, "percent": percent, "mark_host": mirror.mark_host }))
        });
        fields.insert("mirror".into(), mirrors.collect());
    }
    if let Some(follow) = &forward.follow_redirects {
        let codes = follow.codes.iter().map(|code| code.as_u16()).collect::<Vec<_>>();
        let follow = json!({ "codes": codes, "max": follow.max, "allow_cross_scheme": follow.cross_scheme });
        fields.insert("follow_redirects".into(), follow);
    }
    if let Some(wanted) = &forward.metadata_match {
        fields.insert("metadata_match".into(), balancing::metadata_match(wanted));
    }
    if !forward.hash_policy.is_empty() {
        fields.insert("hash_policy".into(), forward.hash_policy.iter().map(balancing::hash_policy).collect());
    }
    let mut rewrite = Map::new();
    match &forward.path {
        None => None,
        Some(PathRewrite::Prefix(prefix)) => rewrite.insert("prefix".into(), prefix.as_str().into()),
        Some(PathRewrite::Template { source, .. }) => {
            rewrite.insert("template".into(), source.as_str().into())
        }
        Some(PathRewrite::Regex { pattern, substitution }) => rewrite.insert(
            "regex".into(),
            json!({ "pattern": pattern.as_str(), "substitution": substitution.replace('\\', r"\\") }),
        ),
    };
    if let Some(host) = &forward.host {
        rewrite.insert("host".into(), field_value(host));
    }
    if !rewrite.is_empty() {
        fields.insert("rewrite".into(), Value::Object(rewrite));
    }
}

/// The same, where shares may say more: then it is a list, in which a cluster may be more than once.
fn shares(shares: &[Share], of_route: Option<&MetadataMatch>, config: &Config) -> (&'static str, Value) {
    if shares.iter().all(|share| share.metadata_match.as_ref() == of_route) && is_unique(shares) {
        let plain: Vec<_> = shares.iter().map(|share| (share.cluster, share.weight)).collect();
        return clusters(&plain, config);
    }
    let shown = shares.iter().filter_map(|share| {
        let name = &config.clusters.get(share.cluster)?.name;
        let mut fields = Map::from_iter([("cluster".to_owned(), name.as_str().into())]);
        fields.insert("weight".into(), share.weight.into());
        if let Some(wanted) = &share.metadata_match {
            fields.insert("metadata_match".into(), balancing::metadata_match(wanted));
        }
        Some(Value::Object(fields))
    });
    ("clusters", shown.collect())
}

fn is_unique(shares: &[Share]) -> bool {
    let mut seen = HashSet::new();
    shares.iter().all(|share| seen.insert(share.cluster))
}

/// The field that names clusters, and what it says.
fn clusters(shares: &[(usize, u32)], config: &Config) -> (&'static str, Value) {
    let name = |index: usize| config.clusters.get(index).map(|cluster| cluster.name.clone());
    match shares {
        [(index, 1)] => ("cluster", name(*index).into()),
        _ => {
            let shares = shares.iter().filter_map(|&(index, weight)| Some((name(index)?, weight.into())));
            ("clusters", Value::Object(shares.collect()))
        }
    }
}

fn redirect(redirect: &Redirect) -> Value {
    let mut fields = Map::new();
    fields.insert("status".into(), redirect.status.as_u16().into());
    let parts = [
        ("scheme", redirect.scheme.as_deref().map(Value::from)),
        ("host", redirect.host.as_deref().map(Value::from)),
        ("port", redirect.port.map(Value::from)),
        (
            "path",
            redirect.path.as_ref().map(|path| match path {
                RedirectPath::Full(path) => json!(path),
                RedirectPath::Prefix(prefix) => json!({ "prefix": prefix }),
            }),
        ),
    ];
    fields.extend(parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    fields.insert("strip_query".into(), redirect.strip_query.into());
    Value::Object(fields)
}

fn respond(respond: &Respond) -> Value {
    let (name, body) = match &respond.file {
        Some(path) => ("file", path.to_string_lossy()),
        None => ("body", String::from_utf8_lossy(&respond.body)),
    };
    json!({
        "status": respond.status.as_u16(),
        name: body,
        "headers": fields(&respond.headers),
    })
}

fn edits(edits: &HeaderEdits) -> Value {
    json!({
        "remove": edits.remove.iter().map(HeaderName::as_str).collect::<Vec<_>>(),
        "set": field_values(&edits.set),
        "add": field_values(&edits.add),
    })
}

fn field_values(fields: &[(HeaderName, FieldValue)]) -> Value {
    Value::Object(fields.iter().map(|(name, value)| (name.to_string(), field_value(value))).collect())
}

fn field_value(value: &FieldValue) -> Value {
    match value {
        FieldValue::Plain(value) => String::from_utf8_lossy(value.as_bytes()).replace('%', "%%").into(),
        FieldValue::Made(template) => template.source().into(),
    }
}

fn fields(fields: &[(HeaderName, HeaderValue)]) -> Value {
    Value::Object(fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
}

fn text(value: &HeaderValue) -> Value {
    String::from_utf8_lossy(value.as_bytes()).into()
}

fn filter(filter: &Filter) -> Value {
    let FilterLimits {
        instructions,
        instructions_per_second,
        wall_clock,
        memory,
        instances,
        callouts,
        log_bytes,
        shared_data,
        queue,
        cells,
        metrics,
    } = filter.limits;
    let source_of = |name: &String| filter.env_sources.iter().find(|(known, _)| known == name);
    let shown = |(name, value): &(String, String)| match source_of(name) {
        Some((_, source)) => (name.clone(), json!({ FROM_ENV: source })),
        None => (name.clone(), Value::from(value.as_str())),
    };
    let environment = filter.env.iter().map(shown);
    let mut limits = json!({
        "instructions": Count(instructions).write(),
        "wall_clock": wall_clock.write(),
        "memory": size(memory),
        "instances": instances,
        "callouts": callouts,
        "log_bytes": size(log_bytes),
        "shared_data": size(shared_data),
        "queue": size(queue),
        "cells": size(cells),
        "metrics": metrics,
    });
    if let Some(rate) = instructions_per_second {
        limits["instructions_per_second"] = Count(rate).write().into();
    }
    let mut shown = json!({
        "module": module(filter),
        "config": config_of(filter),
        "vm_id": filter.vm_id,
        "vm_config": guest_value(&filter.vm_config),
        "root_id": filter.root_id,
        "env": Value::Object(environment.collect()),
        "limits": limits,
        "isolation": name_of(filter.isolation),
        "recycle": recycle(&filter.recycle),
        "on_fault": name_of(filter.on_fault),
        "reload": {
            "base_interval": filter.reload.base_interval.write(),
            "max_interval": filter.reload.max_interval.write(),
        },
        "breaker": {
            "faults": filter.breaker.faults,
            "interval": filter.breaker.interval.write(),
            "open_for": filter.breaker.open_for.write(),
        },
        "on_rate_exceeded": name_of(filter.on_rate_exceeded),
        "allow_on_headers_stop_iteration": filter.allow_on_headers_stop_iteration,
    });
    if let Some(granted) = grant(&filter.capabilities) {
        shown["capabilities"] = granted;
    }
    shown
}

fn config_of(filter: &Filter) -> Value {
    filter.config_shown.clone().unwrap_or_else(|| guest_value(&filter.config))
}

/// What a filter may do; nothing where the file says nothing, which is everything.
fn grant(grant: &Grant) -> Option<Value> {
    match grant {
        Grant::Everything => None,
        Grant::Manifest => Some("manifest".into()),
        Grant::Only(capabilities) => Some(capabilities.to_json()),
    }
}

/// What is not said is not there: it has no value that would mean the same.
fn recycle(recycle: &Recycle) -> Value {
    let Recycle { requests, memory, after } = recycle;
    let limits = [
        ("requests", requests.map(Value::from)),
        ("memory", memory.map(|bytes| size(bytes).into())),
        ("after", after.map(|after| after.write().into())),
    ];
    Value::Object(limits.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// A text where that says it all. Of secrets there is only where they are.
fn module(filter: &Filter) -> Value {
    let (mut fields, remote) = match (&filter.module, filter.sha256) {
        (ModuleSource::Builtin(name), _) => return format!("builtin:{name}").into(),
        (ModuleSource::File(path), None) => return path.to_string_lossy().into(),
        (ModuleSource::File(path), Some(_)) => {
            (Map::from_iter([("file".to_owned(), path.to_string_lossy().into())]), None)
        }
        (ModuleSource::Remote(remote), _) => (location(&remote.location), Some(remote)),
    };
    if let Some(sha256) = filter.sha256 {
        fields.insert("sha256".into(), sha256.to_string().into());
    }
    if let Some(remote) = remote {
        fields.insert("timeout".into(), remote.timeout.write().into());
        fields.insert("retries".into(), remote.retries.into());
        fields.insert("pull".into(), name_of(remote.pull).into());
        match &remote.credentials {
            Credentials::None => {}
            Credentials::Basic { username, password } => {
                let shown = json!({ "username": secret(username), "password": secret(password) });
                fields.insert("credentials".into(), shown);
            }
            Credentials::DockerConfig(path) => {
                fields.insert("credentials".into(), json!({ "docker_config": path.to_string_lossy() }));
            }
        }
        if remote.plain_http {
            fields.insert("plain_http".into(), true.into());
        }
    }
    Value::Object(fields)
}

fn location(location: &Location) -> Map<String, Value> {
    match location {
        Location::Image(image) => {
            let image = image.to_string();
            Map::from_iter([("oci".to_owned(), image.trim_start_matches("oci://").into())])
        }
        Location::Url { url, cluster } => {
            let mut fields = Map::from_iter([("url".to_owned(), url.to_string().into())]);
            fields.extend(cluster.iter().map(|name| ("cluster".to_owned(), name.as_str().into())));
            fields
        }
    }
}

fn secret(secret: &Secret) -> Value {
    match &secret.origin {
        SecretOrigin::Environment(name) => json!({ FROM_ENV: name }),
        SecretOrigin::File(path) => json!({ FROM_FILE: path.to_string_lossy() }),
    }
}

/// JSON as JSON where that gives the guest the same bytes again, else the text.
fn guest_value(bytes: &Bytes) -> Value {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) if value.to_string().as_bytes() == bytes => value,
        _ => String::from_utf8_lossy(bytes).into(),
    }
}

fn size(bytes: usize) -> String {
    Size(bytes as u64).write()
}
