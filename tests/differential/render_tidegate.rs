//! A case in tidegate's configuration language. JSON is YAML, so it is rendered as that.

use std::net::SocketAddr;

use serde_json::{Map, Value as Json, json};

use super::case::{Action, Case, Edits, EscapedSlashes, Filter, Path, Route, Value};

/// The configuration, with each cluster at its address. Filter N's module is the file `N.wasm` beside it.
pub(crate) fn config(case: &Case, addresses: &[(String, SocketAddr)]) -> String {
    let filters =
        case.filters.iter().enumerate().map(|(at, filter)| (filter.name.clone(), self::filter(at, filter)));
    let clusters =
        addresses.iter().map(|(name, address)| (name.clone(), json!({"endpoints": [address.to_string()]})));
    let names: Vec<&str> = case.filters.iter().map(|filter| filter.name.as_str()).collect();
    let mut listener = json!({
        "name": "in",
        "address": "127.0.0.1:0",
        "filters": names,
        "path_normalization": {
            "normalize_path": case.paths.normalize,
            "merge_slashes": case.paths.merge_slashes,
            "escaped_slashes": match case.paths.escaped_slashes {
                EscapedSlashes::Keep => "keep",
                EscapedSlashes::Reject => "reject",
                EscapedSlashes::Unescape => "unescape",
                EscapedSlashes::Redirect => "redirect",
            },
        },
        "routes": case.effective_routes().iter().map(route).collect::<Vec<Json>>(),
    });
    if let Some(cluster) = case.tcp {
        listener = tcp_listener(&names, cluster);
    }
    if let Some(limit) = case.buffer_limit {
        listener["buffer_limit"] = json!(format!("{limit}B"));
    }
    json!({
        "admin": {"address": "127.0.0.1:0"},
        "listeners": [listener],
        "filters": filters.collect::<Map<String, Json>>(),
        "clusters": clusters.collect::<Map<String, Json>>(),
    })
    .to_string()
}

/// The configuration of a listener whose connections go through these filters to the cluster `up`.
pub(crate) fn tcp_config(filters: &[Filter], up: SocketAddr) -> String {
    let names: Vec<&str> = filters.iter().map(|filter| filter.name.as_str()).collect();
    let listener = tcp_listener(&names, "up");
    let filters =
        filters.iter().enumerate().map(|(at, filter)| (filter.name.clone(), self::filter(at, filter)));
    json!({
        "admin": {"address": "127.0.0.1:0"},
        "listeners": [listener],
        "filters": filters.collect::<Map<String, Json>>(),
        "clusters": {"up": {"endpoints": [up.to_string()]}},
    })
    .to_string()
}

fn tcp_listener(filters: &[&str], cluster: &str) -> Json {
    json!({
        "name": "in", "address": "127.0.0.1:0", "protocol": "tcp", "filters": filters, "cluster": cluster,
    })
}

fn filter(at: usize, filter: &Filter) -> Json {
    json!({
        "module": format!("./{at}.wasm"),
        "config": filter.config,
        "vm_id": filter.vm_id,
        "vm_config": filter.vm_config,
        "root_id": filter.root_id,
        "env": object(&filter.env),
        "limits": {"instructions": filter.instructions, "log_bytes": filter.log_bytes},
        "on_fault": if filter.fail_open { "open" } else { "closed" },
        "allow_on_headers_stop_iteration": filter.allow_on_headers_stop_iteration,
    })
}

fn route(route: &Route) -> Json {
    let mut matches = Map::new();
    if !route.hosts.is_empty() {
        matches.insert("host".to_owned(), json!(route.hosts));
    }
    let path = match &route.path {
        Path::Exact(path) => json!({"exact": path}),
        Path::Prefix(path) => json!({"prefix": path}),
        Path::Regex(path) => json!({"regex": path}),
    };
    matches.insert("path".to_owned(), path);
    if !route.methods.is_empty() {
        matches.insert("method".to_owned(), json!(route.methods));
    }
    for (field, wanted) in [("headers", &route.headers), ("query", &route.query)] {
        if !wanted.is_empty() {
            let values = wanted.iter().map(|(name, value)| (name.clone(), self::value(value)));
            matches.insert(field.to_owned(), values.collect::<Map<String, Json>>().into());
        }
    }
    let mut rendered = json!({"match": matches});
    if let Some(name) = &route.name {
        rendered["name"] = json!(name);
    }
    action(&route.effective_action(), &mut rendered);
    if let Some(prefix) = &route.rewrite_prefix {
        rendered["rewrite"]["prefix"] = json!(prefix);
    }
    if let Some((pattern, substitution)) = &route.rewrite_regex {
        rendered["rewrite"]["regex"] = json!({"pattern": pattern, "substitution": substitution});
    }
    if let Some(host) = &route.rewrite_host {
        rendered["rewrite"]["host"] = json!(host);
    }
    if let Some(timeout) = route.timeout_ms {
        rendered["timeout"] = json!(format!("{timeout}ms"));
    }
    for (side, edits) in [("request", &route.request_edits), ("response", &route.response_edits)] {
        if !edits.is_empty() {
            rendered["headers"][side] = self::edits(edits);
        }
    }
    rendered
}

fn value(value: &Value) -> Json {
    match value {
        Value::Present(present) => json!({"present": present}),
        Value::Exact(text) => json!({"exact": text}),
        Value::Prefix(text) => json!({"prefix": text}),
        Value::Suffix(text) => json!({"suffix": text}),
        Value::Contains(text) => json!({"contains": text}),
        Value::Regex(text) => json!({"regex": text}),
        Value::Not(inner) => json!({"not": self::value(inner)}),
    }
}

fn action(action: &Action, rendered: &mut Json) {
    match action {
        Action::Cluster(name) => rendered["cluster"] = json!(name),
        Action::Clusters(weights) => {
            let weights = weights.iter().filter(|(_, weight)| *weight > 0);
            let weights = weights.map(|(name, weight)| (name.clone(), json!(weight)));
            rendered["clusters"] = weights.collect::<Map<String, Json>>().into();
        }
        Action::ClusterHeader(name, allow) => {
            rendered["cluster_header"] = json!({"name": name, "allow": allow});
        }
        Action::Redirect { status, scheme, host, port, path, prefix, strip_query } => {
            let mut redirect = json!({"status": status, "strip_query": strip_query});
            if let Some(scheme) = scheme {
                redirect["scheme"] = json!(scheme);
            }
            if let Some(host) = host {
                redirect["host"] = json!(host);
            }
            if let Some(port) = port {
                redirect["port"] = json!(port);
            }
            if let Some(path) = path {
                redirect["path"] = json!(path);
            }
            if let Some(prefix) = prefix {
                redirect["path"] = json!({"prefix": prefix});
            }
            rendered["redirect"] = redirect;
        }
        Action::Respond { status, body, fields } => {
            rendered["respond"] = json!({"status": status, "body": body, "headers": object(fields)});
        }
    }
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

fn edits(edits: &Edits) -> Json {
    json!({"set": object(&edits.set), "add": object(&edits.add), "remove": edits.remove})
}

fn object(pairs: &[(String, String)]) -> Json {
    pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<String, Json>>().into()
}
