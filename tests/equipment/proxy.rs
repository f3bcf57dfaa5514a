//! The proxy under test: the built `tidegate` binary, started with a configuration text of the test's own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;
use super::wait::eventually;

/// A running proxy. It ends with this value; a test that passes also proves that nothing was left in flight.
pub(crate) struct Proxy {
    process: Process,
    listeners: HashMap<String, SocketAddr>,
    settles: bool,
    has_clusters: bool,
    /// Holds the configuration and the modules; removed with the proxy.
    folder: TempDir,
}

/// How a proxy ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    /// Its exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to its standard error.
    pub(crate) stderr: String,
    /// What it wrote to its standard output.
    pub(crate) stdout: String,
}

/// How a proxy is to be started.
pub(crate) struct Start {
    config: String,
    files: Vec<(String, Vec<u8>)>,
    /// As the configuration says where the command line does not.
    workers: Option<usize>,
    environment: Vec<(String, String)>,
    open_files: Option<u64>,
    watches: bool,
    /// A command line that it is started by.
    wrapper: Vec<String>,
}

impl Start {
    /// A file beside the configuration: a module, usually.
    pub(crate) fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Start {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// More of its configuration.
    pub(crate) fn and(mut self, text: &str) -> Start {
        self.config += text;
        self
    }

    /// The same with another text in the place of one of its configuration.
    pub(crate) fn replace(mut self, from: &str, to: &str) -> Start {
        assert!(self.config.contains(from), "{from:?} is not in {}", self.config);
        self.config = self.config.replace(from, to);
        self
    }

    /// How many workers it has; 1 otherwise.
    pub(crate) fn workers(mut self, count: usize) -> Start {
        self.workers = Some(count);
        self
    }

    /// It has as many workers as its configuration says.
    pub(crate) fn workers_as_configured(mut self) -> Start {
        self.workers = None;
        self
    }

    /// How many files it may have open at first.
    pub(crate) fn open_files(mut self, count: u64) -> Start {
        self.open_files = Some(count);
        self
    }

    /// It notices changed files by itself; otherwise a test says when to look.
    pub(crate) fn watching(mut self) -> Start {
        self.watches = true;
        self
    }

    /// It is started by a shell that does this first. For what only a process itself can be denied.
    pub(crate) fn after(mut self, wrapper: &[&str], first: &str) -> Start {
        self.wrapper = wrapper.iter().map(|&part| part.to_owned()).collect();
        self.wrapper.extend(["sh", "-c"].map(str::to_owned));
        self.wrapper.push(format!("{first} && exec \"$0\" \"$@\""));
        self
    }

    /// A variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Guests' lines are logged at every level.
    pub(crate) fn log_guests_fully(self) -> Start {
        self.env("TIDEGATE_LOG", "info,tidegate::guest=trace")
    }

    /// Starts it and waits until it is ready; fails the test where it does not become so.
    pub(crate) fn start(self) -> Proxy {
        self.start_until(|event| message(event) == "ready")
    }

    /// Starts it and waits until it listens, ready for traffic or not.
    pub(crate) fn start_unready(self) -> Proxy {
        self.start_until(|event| message(event) == "listening" && text(event, "listener") == "admin")
    }

    fn start_until(self, is_there: impl Fn(&Value) -> bool) -> Proxy {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = self.write_to(folder.path());
        let mut arguments = vec!["run", &file];
        let workers = self.workers.map(|count| count.to_string());
        arguments.extend(workers.iter().flat_map(|count| ["--workers", count]));
        arguments.extend((!self.watches).then_some("--no-watch"));
        let process = self.spawn(&arguments);
        let listeners = process.find(&process.stderr, "the proxy to be ready", |lines| {
            let events: Vec<Value> =
                lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
            events.iter().any(&is_there).then(|| listeners(&events))
        });
        let Some(listeners) = listeners else {
            let status = process.wait();
            panic!("the proxy did not become ready: it ended with {status}");
        };
        let has_clusters = self.config.contains("endpoints");
        Proxy { process, listeners, settles: true, has_clusters, folder }
    }

    /// Runs a command, its options behind it, where it is expected to end by itself, and says how it did.
    pub(crate) fn run(self, command: &str) -> Exit {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = self.write_to(folder.path());
        let words: Vec<&str> = command.split(' ').chain([file.as_str()]).collect();
        self.run_in(&words)
    }

    /// The same with arguments of the test's own.
    pub(crate) fn run_in(&self, arguments: &[&str]) -> Exit {
        let process = self.spawn(arguments);
        let code = process.wait().code();
        Exit { code, stderr: process.stderr.text(), stdout: process.stdout.text() }
    }

    fn write_to(&self, folder: &Path) -> String {
        for (name, content) in &self.files {
            let file = folder.join(name);
            std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("a folder can be made");
            std::fs::write(file, content).expect("a temporary file can be written");
        }
        let file: PathBuf = folder.join("tidegate.yaml");
        std::fs::write(&file, &self.config).expect("a temporary file can be written");
        file.to_str().expect("temporary folders have plain names").to_owned()
    }

    fn spawn(&self, arguments: &[&str]) -> Process {
        let chosen = std::env::var("TIDEGATE_BINARY");
        let binary = chosen.as_deref().unwrap_or(env!("CARGO_BIN_EXE_tidegate"));
        let mut wrapper = self.wrapper.clone();
        if let Some(count) = self.open_files {
            let limited = format!("ulimit -S -n {count} && exec \"$0\" \"$@\"");
            wrapper.extend(["sh".to_owned(), "-c".to_owned(), limited]);
        }
        wrapper.push(binary.to_owned());
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]);
        command.args(["--log-format", "json"]).args(arguments).env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start("tidegate", &mut command)
    }
}

impl Proxy {
    /// Prepares a proxy with this configuration (YAML). Where the text has no `admin` block it gets one.
    pub(crate) fn with(config: &str) -> Start {
        Proxy::with_text(&with_admin(config))
    }

    /// Prepares a proxy with exactly this text as its configuration, right or wrong.
    pub(crate) fn with_text(config: &str) -> Start {
        let (files, environment) = (Vec::new(), Vec::new());
        let config = config.to_owned();
        let (open_files, watches, wrapper) = (None, false, Vec::new());
        Start { config, files, workers: Some(1), environment, open_files, watches, wrapper }
    }

    /// Starts a proxy with this configuration and one worker.
    pub(crate) fn start(config: &str) -> Proxy {
        Proxy::with(config).start()
    }

    /// Starts a proxy whose listener `in` sends everything to one cluster with these endpoints.
    pub(crate) fn forwarding_to(endpoints: &[SocketAddr]) -> Proxy {
        Proxy::start(&forwarding(endpoints, ""))
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let address = self.listeners.get(listener);
        *address
            .unwrap_or_else(|| panic!("no listener {listener:?} in the log; there are {:?}", self.listeners))
    }

    /// A client of the listener `in`.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address("in"))
    }

    /// An answer of the admin listener to a GET.
    pub(crate) fn admin(&self, path: &str) -> super::Response {
        self.ask_admin("GET", path, &[], "")
    }

    /// An answer of the admin listener.
    pub(crate) fn ask_admin(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> super::Response {
        let fields = [&[("host", "localhost"), ("connection", "close")], fields].concat();
        Client::connect(self.address("admin")).request(method, path, &fields, body)
    }

    /// All metrics now.
    pub(crate) fn metrics(&self) -> Metrics {
        let response = self.admin("/metrics");
        assert_eq!(response.status(), 200, "metrics: {response:?}");
        Metrics { text: response.text() }
    }

    /// Waits until a metric with these labels (all of them named ones, others may be there) has this value.
    pub(crate) fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut last = None;
        let wanted = format!("{name} {labels:?} to be {value}");
        eventually(&wanted, || {
            let now = self.metrics();
            let sum = now.sum(name, labels);
            if sum != value && last.is_none_or(|before: f64| before != sum) {
                println!("{name} {labels:?} is {sum}, waiting for {value}");
                last = Some(sum);
            }
            (sum == value).then_some(())
        });
    }

    /// Lines of the access log so far, parsed.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let lines = self.process.stdout.lines();
        let parse =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?} is no JSON: {e}"));
        lines.iter().map(parse).collect()
    }

    /// Waits until the access log has `count` lines.
    pub(crate) fn wait_for_access_log(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} access-log lines");
        let found =
            self.process.find(&self.process.stdout, &what, |lines| (lines.len() >= count).then_some(()));
        found.unwrap_or_else(|| panic!("the proxy ended before {what}"));
        self.access_log()
    }

    /// The events of its log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.process.stderr.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The lines of its log but for the first so many, parsed; what is none of its own is null.
    pub(crate) fn log_from(&self, first: usize) -> Vec<Value> {
        let lines = self.process.stderr.lines_from(first);
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Waits until an event of the log satisfies a condition.
    pub(crate) fn wait_for_log(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let found = self.process.find(&self.process.stderr, what, |lines| {
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|event| holds(event))
        });
        found.unwrap_or_else(|| panic!("the proxy ended before this stood in its log: {what}"))
    }

    /// What guests logged so far: the filter's name and the text.
    pub(crate) fn guest_log(&self) -> Vec<(String, String)> {
        self.guest_events().iter().map(|event| (text(event, "filter"), message(event).to_owned())).collect()
    }

    /// The same with all that the log says of each line.
    pub(crate) fn guest_events(&self) -> Vec<Value> {
        let mut events = self.log();
        events.retain(|event| event["target"] == "tidegate::guest");
        events
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.kernels_count("VmRSS:") * 1024
    }

    /// The part of it that it has allocated: the kernel takes the pages of the binary and gives them back as it likes.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        (self.kernels_count("RssAnon:") + self.kernels_count("RssShmem:")) * 1024
    }

    /// Whether the kernel may give it pages of 2 MiB.
    pub(crate) fn may_have_huge_pages(&self) -> bool {
        self.kernels_count("THP_enabled:") != 0
    }

    /// What `/proc` says of its memory, in KiB where it is one.
    fn kernels_count(&self, key: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the proxy is running");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel reports it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many files it may have open now.
    pub(crate) fn open_files(&self) -> u64 {
        let limits =
            std::fs::read_to_string(format!("/proc/{}/limits", self.id())).expect("the proxy is running");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().next()).expect("the kernel reports it");
        soft.parse().unwrap_or(u64::MAX)
    }

    /// Lets it have no more than this many open files from now on.
    pub(crate) fn limit_open_files(&self, count: u64) {
        let limit = Rlimit { current: Some(count), maximum: Some(count) };
        let id = Pid::from_raw(self.id().cast_signed());
        prlimit(id, Resource::Nofile, limit).expect("a child's limits can be lowered");
    }

    /// Asks it to drain.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Where a file beside the configuration is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the admin listener says of the configuration that is served.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.admin("/reload").text()).expect("the page is JSON")
    }

    /// Waits until the admin listener says that so many configurations were served, this one included.
    pub(crate) fn wait_for_generation(&self, generation: u64) -> Value {
        eventually(&format!("generation {generation}"), || {
            Some(self.status()).filter(|status| status["generation"] == generation)
        })
    }

    /// Asks the admin listener to have the configuration read.
    pub(crate) fn post_reload(&self) -> super::Response {
        self.ask_admin("POST", "/reload", &[], "")
    }

    /// Replaces a file beside the configuration, or makes one, at once.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let (file, new) = (self.folder.path().join(name), self.folder.path().join(format!("{name}.new")));
        std::fs::write(&new, content).expect("a temporary file can be written");
        std::fs::rename(new, file).expect("a temporary file can be renamed");
    }

    /// Replaces its configuration, has it read it, and waits until it serves it or has said that it does not: whether
    /// it does. Listeners that are new can be reached.
    pub(crate) fn change(&mut self, config: &str) -> bool {
        self.put("tidegate.yaml", with_admin(config));
        self.reload()
    }

    /// Has it read its configuration again, in the same way.
    pub(crate) fn reload(&mut self) -> bool {
        let before = self.process.stderr.lines().len();
        self.signal(Signal::HUP);
        let found = self.process.find(&self.process.stderr, "the configuration to be read", |lines| {
            let events: Vec<Value> =
                lines.iter().skip(before).filter_map(|line| serde_json::from_str(line).ok()).collect();
            let ended = events.iter().find_map(|event| match message(event) {
                "the configuration is served" => Some(true),
                text if text.starts_with("the configuration is not taken over") => Some(false),
                _ => None,
            });
            ended.map(|served| (served, listeners(&events)))
        });
        let (served, new) = found.expect("the proxy goes on");
        self.listeners.extend(new);
        served
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Exit {
        self.settles = false;
        let code = self.process.wait().code();
        Exit { code, stderr: self.process.stderr.text(), stdout: self.process.stdout.text() }
    }

    /// Waits until nothing is in flight any more, on either side.
    pub(crate) fn settle(&self) {
        let mut gauges = vec!["tidegate_active_requests"];
        if self.has_clusters {
            gauges.push("tidegate_upstream_active_requests");
        }
        let metrics = self.metrics();
        for gauge in gauges {
            assert!(metrics.has(gauge), "there is no metric {gauge}, so nobody can tell what is in flight");
            self.wait_for_metric(gauge, &[], 0.0);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.settles && self.listeners.contains_key("admin") {
            assert!(self.process.is_running(), "the proxy ended by itself:\n{}", self.process.stderr.text());
            self.settle();
        }
    }
}

/// The same configuration with an admin listener, unless it has one.
pub(crate) fn with_admin(config: &str) -> String {
    if config.lines().any(|line| line.starts_with("admin:")) || config.starts_with('{') {
        return config.to_owned();
    }
    format!("admin: {{address: 127.0.0.1:0}}\n{config}")
}

/// The configuration of a listener `in` that sends everything to the cluster `up` with these endpoints; `more` is
/// put into its route, as YAML in flow style.
pub(crate) fn forwarding(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n  - {{match: {{path: {{prefix: /}}}}, cluster: up{more}}}\n\
         clusters:\n  up: {{endpoints: [{}]}}\n",
        endpoints.join(", ")
    )
}

/// A configuration like that of [`forwarding`] with more fields of its listener, each a line of YAML.
pub(crate) fn in_listener(config: &str, fields: &[&str]) -> String {
    assert!(config.contains("\n  routes:"), "there is no listener to put {fields:?} into: {config}");
    let lines: String = fields.iter().map(|field| format!("  {field}\n")).collect();
    config.replace("  routes:", &format!("{lines}  routes:"))
}

/// A scrape.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    text: String,
}

impl Metrics {
    /// Whether a metric has any sample.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text.lines().filter_map(sample).any(|(given, ..)| given == name)
    }

    /// The sum of a metric's samples that carry all these labels; 0 where there are none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.text.lines().filter(|line| !line.starts_with('#')).filter_map(sample);
        let wanted = |given: &str| labels.iter().all(|(label, value)| has_label(given, label, value));
        samples.filter(|(n, given, _)| *n == name && wanted(given)).fold(0.0, |sum, (.., value)| sum + value)
    }
}

/// Name, labels, value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some((name, labels.trim_end_matches('}'), value.parse().ok()?))
}

fn has_label(labels: &str, name: &str, value: &str) -> bool {
    let wanted = format!("{name}=\"{value}\"");
    labels.match_indices(&wanted).any(|(at, _)| at == 0 || labels.as_bytes()[at - 1] == b',')
}

/// An event's message, wherever the format puts it.
pub(crate) fn message(event: &Value) -> &str {
    event["fields"]["message"].as_str().or(event["message"].as_str()).unwrap_or_default()
}

/// A text field of an event.
pub(crate) fn text(event: &Value, field: &str) -> String {
    event["fields"][field].as_str().or(event[field].as_str()).unwrap_or_default().to_owned()
}

fn listeners(events: &[Value]) -> HashMap<String, SocketAddr> {
    // A UNIX socket is where the test says.
    let listening = events.iter().filter(|event| message(event) == "listening");
    let listening = listening.filter(|event| !text(event, "address").starts_with("unix:"));
    let address =
        |event: &Value| text(event, "address").parse().expect("the log names an IP address and a port");
    listening.map(|event| (text(event, "listener"), address(event))).collect()
}
