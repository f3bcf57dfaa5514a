//! Envoy, the arbiter of what Proxy-Wasm filters see: the pinned binary, with a bootstrap of the test's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;
use super::tool;
use super::wait::eventually;

/// A running Envoy.
pub(crate) struct Envoy {
    process: Process,
    admin: SocketAddr,
    listeners: Vec<(String, SocketAddr)>,
    _folder: TempDir,
}

impl Envoy {
    /// Whether it is installed.
    pub(crate) fn is_installed() -> bool {
        Envoy::binary().is_some()
    }

    fn binary() -> Option<PathBuf> {
        tool::find("envoy", "TIDEGATE_ENVOY", "envoy.sh")
    }

    /// Starts it with one worker and a bootstrap made for `folder`, where the modules are, and waits until it serves.
    pub(crate) fn start(folder: TempDir, bootstrap: &Value) -> Envoy {
        Envoy::start_with(folder, bootstrap, 1)
    }

    /// The same, with so many workers.
    pub(crate) fn start_with(folder: TempDir, bootstrap: &Value, workers: usize) -> Envoy {
        let file = folder.path().join("envoy.json");
        let admin_file = folder.path().join("admin-address");
        std::fs::write(&file, bootstrap.to_string()).expect("a temporary file can be written");
        let mut command = Command::new(Envoy::binary().expect("the test asked before"));
        command.arg("-c").arg(&file).arg("--admin-address-path").arg(&admin_file);
        command.args([
            "--concurrency",
            &workers.to_string(),
            "--disable-hot-restart",
            "--log-level",
            "error",
        ]);
        command.args(["--component-log-level", "wasm:trace,config:warn", "--log-format", "%l %v"]);
        let process = Process::start("Envoy", &mut command);
        let admin = eventually("Envoy's admin listener", || {
            assert!(process.is_running(), "Envoy refused its configuration:\n{}", process.stderr.text());
            std::fs::read_to_string(&admin_file).ok()?.trim().parse().ok()
        });
        eventually("Envoy to be ready", || {
            let ready = Client::connect(admin).request("GET", "/ready", &[("connection", "close")], "");
            (ready.status() == 200).then_some(())
        });
        let listeners = listeners(admin);
        Envoy { process, admin, listeners, _folder: folder }
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        found.unwrap_or_else(|| panic!("Envoy has no listener {listener:?}")).1
    }

    /// What guests logged so far, in order: each line's level, as tidegate names it, and its text. The throw-away VM's
    /// lines are among them.
    pub(crate) fn guest_log(&self) -> Vec<(String, String)> {
        self.process.stderr.lines().iter().filter_map(|line| guest_line(line)).collect()
    }

    /// All that it logged but for the first so many lines.
    pub(crate) fn log_from(&self, first: usize) -> Vec<String> {
        self.process.stderr.lines_from(first)
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(&self) {
        self.process.signal(Signal::TERM);
        self.process.wait();
    }

    /// Waits until as many requests have ended as were begun.
    pub(crate) fn settle(&self) {
        eventually("Envoy to have nothing in flight", || {
            let path = "/stats?filter=downstream_rq_active|upstream_rq_active";
            let stats =
                Client::connect(self.admin).request("GET", path, &[("connection", "close")], "").text();
            let active = |line: &str| line.starts_with("http.") || line.starts_with("cluster.");
            let counts = stats.lines().filter(|line| active(line) && !line.starts_with("http.admin."));
            counts.into_iter().all(|line| line.ends_with(": 0")).then_some(())
        });
    }
}

/// The text of a line like `info wasm log NAME ROOT VM: TEXT`. The names are missing where a root context speaks.
pub(crate) fn guest_line(line: &str) -> Option<(String, String)> {
    let (level, rest) = line.split_once(' ')?;
    let (_names, text) = rest.strip_prefix("wasm log")?.split_once(": ")?;
    let level = if level == "warning" { "warn" } else { level };
    Some((level.to_uppercase(), text.to_owned()))
}

fn listeners(admin: SocketAddr) -> Vec<(String, SocketAddr)> {
    let path = "/listeners?format=json";
    let answer = Client::connect(admin).request("GET", path, &[("connection", "close")], "").text();
    let answer: Value = serde_json::from_str(&answer).expect("Envoy's admin answers JSON");
    let listeners = answer["listener_statuses"].as_array().cloned().unwrap_or_default();
    let listener = |status: &Value| {
        let address = &status["local_address"]["socket_address"];
        let ip = address["address"].as_str()?.parse().ok()?;
        let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
        Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
    };
    listeners.iter().filter_map(listener).collect()
}

/// A bootstrap with the HTTP listener `in`. `manager` is what its connection manager has beside what each has; the filters
/// that it names come before the router.
pub(crate) fn http_bootstrap(mut manager: Value, clusters: &[Value]) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    });
    manager["@type"] = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager".into();
    manager["stat_prefix"] = "in".into();
    let mut filters = manager["http_filters"].as_array().cloned().unwrap_or_default();
    filters.push(router);
    manager["http_filters"] = filters.into();
    let any = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    json!({
        "admin": {"address": any},
        "static_resources": {
            "listeners": [{"name": "in", "address": any, "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }]}]}],
            "clusters": clusters,
        },
        // An embedded default, stated so that Envoy does not warn about it at each start.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    })
}

/// A cluster of one endpoint.
pub(crate) fn envoy_cluster(name: &str, endpoint: SocketAddr) -> Value {
    let address =
        json!({"socket_address": {"address": endpoint.ip().to_string(), "port_value": endpoint.port()}});
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": address},
        }]}]},
    })
}
