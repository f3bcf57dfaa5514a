//! A case as an Envoy bootstrap.

use std::net::SocketAddr;

use serde_json::{Map, Value as Json, json};

use super::case::{Action, Case, Edits, EscapedSlashes, Filter, Path, Route, Value};

/// The bootstrap, with each cluster at its address and filter N's module in the file `N.wasm` of `folder`.
pub(crate) fn bootstrap(case: &Case, addresses: &[(String, SocketAddr)], folder: &std::path::Path) -> Json {
    let is_grpc = |name: &str| case.clusters.iter().any(|(had, cluster)| had == name && cluster.is_grpc());
    let clusters: Vec<Json> =
        addresses.iter().map(|(name, address)| cluster(name, *address, is_grpc(name))).collect();
    let mut listener = json!({
        "name": "in",
        "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager(case, folder),
        }]}],
    });
    if let Some(cluster) = case.tcp {
        listener = tcp_listener(&case.filters, cluster, folder);
    }
    if let Some(limit) = case.buffer_limit {
        listener["per_connection_buffer_limit_bytes"] = json!(limit);
    }
    json!({
        "admin": {"address": socket(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {"listeners": [listener], "clusters": clusters},
        // An embedded default, stated so that Envoy does not warn about it at each start.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    })
}

/// The bootstrap of a listener whose connections go through network filters to the cluster `up`.
pub(crate) fn tcp_bootstrap(filters: &[Filter], up: SocketAddr, folder: &std::path::Path) -> Json {
    let listener = tcp_listener(filters, "up", folder);
    json!({
        "admin": {"address": socket(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {"listeners": [listener], "clusters": [cluster("up", up, false)]},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    })
}

fn tcp_listener(filters: &[Filter], to: &str, folder: &std::path::Path) -> Json {
    let wasm = filters.iter().enumerate().map(|(at, filter)| {
        let mut rendered = wasm(filter, &folder.join(format!("{at}.wasm")));
        rendered["typed_config"]["@type"] =
            json!("type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm");
        rendered
    });
    let proxy = json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "in",
            "cluster": to,
            "max_connect_attempts": 1,
        },
    });
    json!({
        "name": "in",
        "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{"filters": wasm.chain([proxy]).collect::<Vec<Json>>()}],
    })
}

fn socket(address: SocketAddr) -> Json {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn cluster(name: &str, address: SocketAddr, is_grpc: bool) -> Json {
    let protocol = match is_grpc {
        true => json!({"http2_protocol_options": {}}),
        false => json!({"http_protocol_options": {"enable_trailers": true}}),
    };
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": socket(address)},
        }]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": protocol,
        }},
    })
}

fn connection_manager(case: &Case, folder: &std::path::Path) -> Json {
    let filters =
        case.filters.iter().enumerate().map(|(at, filter)| wasm(filter, &folder.join(format!("{at}.wasm"))));
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": true,
        "normalize_path": case.paths.normalize,
        "merge_slashes": case.paths.merge_slashes,
        "path_with_escaped_slashes_action": match case.paths.escaped_slashes {
            EscapedSlashes::Keep => "KEEP_UNCHANGED",
            EscapedSlashes::Reject => "REJECT_REQUEST",
            EscapedSlashes::Unescape => "UNESCAPE_AND_FORWARD",
            EscapedSlashes::Redirect => "UNESCAPE_AND_REDIRECT",
        },
        "http_protocol_options": {"enable_trailers": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "name": "routes",
            "ignore_port_in_host_matching": true,
            "virtual_hosts": virtual_hosts(&case.effective_routes()),
        },
        "http_filters": filters.chain([router]).collect::<Vec<Json>>(),
    })
}

fn wasm(filter: &Filter, file: &std::path::Path) -> Json {
    let text =
        |value: &str| json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": value});
    let env: Map<String, Json> =
        filter.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "name": filter.name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": filter.name,
                "root_id": filter.root_id,
                "configuration": text(&filter.config),
                "failure_policy": if filter.fail_open { "FAIL_OPEN" } else { "FAIL_CLOSED" },
                "allow_on_headers_stop_iteration": filter.allow_on_headers_stop_iteration,
                "vm_config": {
                    "vm_id": filter.vm_id,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": file}},
                    "configuration": text(&filter.vm_config),
                    "environment_variables": {"key_values": env},
                },
            },
        },
    })
}

/// Routes with the same hosts are one virtual host: Envoy looks for the host first, then for the route.
fn virtual_hosts(routes: &[Route]) -> Vec<Json> {
    let mut grouped: Vec<(Vec<String>, Vec<Json>)> = Vec::new();
    for route in routes {
        let domains = if route.hosts.is_empty() { vec!["*".to_owned()] } else { route.hosts.clone() };
        match grouped.iter_mut().find(|(had, _)| *had == domains) {
            Some((_, group)) => group.push(self::route(route)),
            None => grouped.push((domains, vec![self::route(route)])),
        }
    }
    let hosts = grouped.iter().enumerate();
    hosts
        .map(
            |(at, (domains, routes))| json!({"name": format!("h{at}"), "domains": domains, "routes": routes}),
        )
        .collect()
}

fn route(route: &Route) -> Json {
    let mut matches = match &route.path {
        Path::Exact(path) => json!({"path": path}),
        Path::Prefix(path) => json!({"prefix": path}),
        Path::Regex(path) => json!({"safe_regex": {"regex": path}}),
    };
    let mut headers: Vec<Json> =
        route.headers.iter().map(|(name, value)| header_matcher(name, value)).collect();
    if !route.methods.is_empty() {
        headers.push(header_matcher(":method", &Value::Regex(route.methods.join("|"))));
    }
    matches["headers"] = json!(headers);
    let query = route.query.iter().map(|(name, value)| match value {
        Value::Present(present) => json!({"name": name, "present_match": present}),
        value => json!({"name": name, "string_match": string_matcher(value)}),
    });
    matches["query_parameters"] = json!(query.collect::<Vec<Json>>());
    let mut rendered = json!({"match": matches});
    if let Some(name) = &route.name {
        rendered["name"] = json!(name);
    }
    action(route, &mut rendered);
    edits("request", &route.request_edits, &mut rendered);
    edits("response", &route.response_edits, &mut rendered);
    rendered
}

fn header_matcher(name: &str, value: &Value) -> Json {
    match value {
        Value::Present(present) => json!({"name": name, "present_match": present}),
        Value::Not(inner) => {
            let mut matcher = header_matcher(name, inner);
            matcher["invert_match"] = json!(true);
            matcher["treat_missing_header_as_empty"] = json!(true);
            matcher
        }
        value => json!({"name": name, "string_match": string_matcher(value)}),
    }
}

fn string_matcher(value: &Value) -> Json {
    match value {
        Value::Exact(text) => json!({"exact": text}),
        Value::Prefix(text) => json!({"prefix": text}),
        Value::Suffix(text) => json!({"suffix": text}),
        Value::Contains(text) => json!({"contains": text}),
        Value::Regex(text) => json!({"safe_regex": {"regex": text}}),
        Value::Present(_) | Value::Not(_) => panic!("Envoy has no string matcher for this"),
    }
}

fn action(route: &Route, rendered: &mut Json) {
    match route.effective_action() {
        Action::Cluster(name) => rendered["route"] = forward(route, json!({"cluster": name})),
        Action::Clusters(weights) => {
            let weights: Vec<Json> =
                weights.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect();
            rendered["route"] = forward(route, json!({"weighted_clusters": {"clusters": weights}}));
        }
        Action::ClusterHeader(name, _) => {
            rendered["route"] = forward(route, json!({"cluster_header": name}));
        }
        Action::Redirect { status, scheme, host, port, path, prefix, strip_query } => {
            let code = match status {
                301 => "MOVED_PERMANENTLY",
                302 => "FOUND",
                303 => "SEE_OTHER",
                307 => "TEMPORARY_REDIRECT",
                308 => "PERMANENT_REDIRECT",
                other => panic!("{other} is no redirect"),
            };
            let mut redirect = json!({"response_code": code, "strip_query": strip_query});
            let parts = [("scheme_redirect", scheme), ("host_redirect", host), ("path_redirect", path)];
            for (field, part) in parts.into_iter().chain([("prefix_rewrite", prefix)]) {
                if let Some(part) = part {
                    redirect[field] = json!(part);
                }
            }
            if let Some(port) = port {
                redirect["port_redirect"] = json!(port);
            }
            rendered["redirect"] = redirect;
        }
        Action::Respond { status, body, fields } => {
            rendered["direct_response"] = json!({"status": status, "body": {"inline_string": body}});
            rendered["response_headers_to_add"] = fields
                .iter()
                .map(|(name, value)| header_option(name, value, "OVERWRITE_IF_EXISTS_OR_ADD"))
                .collect();
        }
    }
}

fn forward(route: &Route, mut action: Json) -> Json {
    if let Some(prefix) = &route.rewrite_prefix {
        action["prefix_rewrite"] = json!(prefix);
    }
    if let Some((pattern, substitution)) = &route.rewrite_regex {
        action["regex_rewrite"] = json!({"pattern": {"regex": pattern}, "substitution": substitution});
    }
    if let Some(host) = &route.rewrite_host {
        action["host_rewrite_literal"] = json!(host);
    }
    if let Some(timeout) = route.timeout_ms {
        action["timeout"] = json!(format!("{}.{:03}s", timeout / 1000, timeout % 1000));
    }
    action
}

fn edits(side: &str, edits: &Edits, rendered: &mut Json) {
    let set = edits.set.iter().map(|(name, value)| header_option(name, value, "OVERWRITE_IF_EXISTS_OR_ADD"));
    let add = edits.add.iter().map(|(name, value)| header_option(name, value, "APPEND_IF_EXISTS_OR_ADD"));
    let added: Vec<Json> = set.chain(add).collect();
    if !added.is_empty() {
        rendered[format!("{side}_headers_to_add")] = json!(added);
    }
    if !edits.remove.is_empty() {
        rendered[format!("{side}_headers_to_remove")] = json!(edits.remove);
    }
}

fn header_option(name: &str, value: &str, action: &str) -> Json {
    json!({"header": {"key": name, "value": value}, "append_action": action})
}
