//! One side of a comparison: a proxy that was set up from a case, its upstreams, and what was seen there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::equipment::{
    Client, Envoy, Gate, GrpcService, Guest, Proxy, Response, Upstream, eventually, message,
    refusing_address, text,
};

use super::case::{Case, Cluster};
use super::observe::{self, Observation};
use super::{compare, render_envoy, render_tidegate};

/// What a case's script drives: it does not know which proxy is behind it.
pub(crate) struct Stage {
    pub(super) proxy: Side,
    upstreams: HashMap<String, Upstream>,
    services: HashMap<String, GrpcService>,
    clients: RefCell<Vec<String>>,
    _refusing: Vec<socket2::Socket>,
}

pub(super) enum Side {
    Tidegate(Proxy),
    Envoy(Envoy),
}

impl Case {
    /// Runs the script on both sides and fails the test where they differ.
    pub(crate) fn run(self, script: impl Fn(&Stage)) {
        self.run_and_show(script);
    }

    /// The same; shows what was seen here. `None` where nothing was compared with Envoy.
    pub(crate) fn run_and_show(self, script: impl Fn(&Stage)) -> Option<String> {
        if !Envoy::is_installed() {
            return None;
        }
        let arbiter = self.observe(true, &script);
        let against_itself = std::env::var("TIDEGATE_DIFFERENTIAL").is_ok_and(|mode| mode == "envoy");
        let ours = self.observe(against_itself, &script);
        println!("---- what Envoy did with {:?} ----\n{}", self.name, arbiter.lines().join("\n"));
        compare::compare(self.name, &arbiter, &ours, against_itself);
        (!against_itself).then(|| ours.lines().join("\n") + "\n")
    }

    fn observe(&self, envoy: bool, script: &impl Fn(&Stage)) -> Observation {
        let stage = Stage::set(self, envoy);
        script(&stage);
        stage.settle(self);
        stage.observation(self)
    }
}

impl Stage {
    pub(super) fn set(case: &Case, envoy: bool) -> Stage {
        case.gates.iter().for_each(Gate::shut);
        let mut upstreams = HashMap::new();
        let mut services = HashMap::new();
        let mut refusing = Vec::new();
        let mut addresses: Vec<(String, SocketAddr)> = Vec::new();
        for (name, cluster) in &case.clusters {
            let address = match cluster {
                Cluster::Scripted(script) => {
                    let script = script.clone();
                    let upstream = Upstream::start(move |head| script(head));
                    let address = upstream.address();
                    upstreams.insert(name.clone(), upstream);
                    address
                }
                Cluster::Grpc(script) => {
                    let script = script.clone();
                    let service = GrpcService::start(move |method| script(method));
                    let address = service.address();
                    services.insert(name.clone(), service);
                    address
                }
                Cluster::At(address) => *address,
                Cluster::Refusing { .. } => {
                    let (address, socket) = refusing_address();
                    refusing.push(socket);
                    address
                }
            };
            addresses.push((name.clone(), address));
        }
        let proxy = if envoy { Side::envoy(case, &addresses) } else { Side::tidegate(case, &addresses) };
        Stage { proxy, upstreams, services, clients: RefCell::default(), _refusing: refusing }
    }

    /// Where the listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.proxy {
            Side::Tidegate(proxy) => proxy.address("in"),
            Side::Envoy(envoy) => envoy.address("in"),
        }
    }

    /// Whether it is Envoy that plays.
    pub(crate) fn is_envoy(&self) -> bool {
        matches!(self.proxy, Side::Envoy(_))
    }

    /// A client; what it reads counts once it is given to [`Stage::record`].
    ///
    /// It calls from 127.0.0.2: for 127.0.0.1 Envoy puts an address of its machine into `x-forwarded-for`.
    pub(crate) fn client(&self) -> Client {
        Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), self.address())
    }

    /// The upstream behind a cluster.
    pub(crate) fn upstream(&self, cluster: &str) -> &Upstream {
        self.upstreams.get(cluster).unwrap_or_else(|| panic!("no upstream for cluster {cluster:?}"))
    }

    /// The gRPC service behind a cluster.
    pub(crate) fn service(&self, cluster: &str) -> &GrpcService {
        self.services.get(cluster).unwrap_or_else(|| panic!("no gRPC service for cluster {cluster:?}"))
    }

    /// One GET on a connection of its own, recorded.
    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], "")
    }

    /// One request on a connection of its own, recorded. A body is sent as one chunk.
    pub(crate) fn request(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        let chunked = if body.is_empty() { &[][..] } else { &[("transfer-encoding", "chunked")] };
        let response = self.client().request(method, path, &[fields, chunked].concat(), body);
        self.record(&response);
        response
    }

    /// One request as exact text on a connection of its own, recorded.
    pub(crate) fn send(&self, text: &str) -> Response {
        let mut client = self.client();
        client.send(text);
        let response = client.response();
        self.record(&response);
        response
    }

    /// What a client saw.
    pub(crate) fn record(&self, response: &Response) {
        self.clients.borrow_mut().extend(observe::response(response));
    }

    /// Anything else that counts.
    pub(crate) fn note(&self, what: &str) {
        self.clients.borrow_mut().push(what.to_owned());
    }

    /// Waits until a guest has logged a line with this text in it.
    pub(crate) fn wait_for_guest(&self, text: &str) {
        self.wait_for_guest_times(text, 1);
    }

    /// Waits until guests have logged so many lines with this text in it.
    pub(crate) fn wait_for_guest_times(&self, text: &str, times: usize) {
        eventually(&format!("{times} lines {text:?} in the guests' log"), || {
            let log = self.proxy.guest_log();
            (log.iter().filter(|(_, line)| line.contains(text)).count() >= times).then_some(())
        });
    }

    /// Waits until nothing is in flight and every guest was told of every end.
    fn settle(&self, case: &Case) {
        match &self.proxy {
            Side::Tidegate(proxy) => proxy.settle(),
            Side::Envoy(envoy) => envoy.settle(),
        }
        self.services.values().for_each(GrpcService::settle);
        for filter in case.filters.iter().filter(|filter| filter.sees_ends) {
            eventually(&format!("the end of every context of {}", filter.name), || {
                let log = self.proxy.guest_log();
                let count = |text: &str, root: bool| {
                    let lines = log.iter().filter(|(name, _)| *name == filter.name).map(|(_, line)| line);
                    lines.filter(|line| line.starts_with(text) && line.ends_with("parent=0") == root).count()
                };
                (count("context_create ", false) == count("delete ", false)).then_some(())
            });
        }
    }

    fn observation(&self, case: &Case) -> Observation {
        let mut upstreams: Vec<String> = Vec::new();
        for (name, cluster) in &case.clusters {
            match cluster {
                Cluster::Scripted(_) => {
                    upstreams.extend(observe::upstream(name, &self.upstream(name).requests()));
                }
                Cluster::Grpc(_) => upstreams.extend(observe::service(name, &self.service(name).rpcs())),
                Cluster::At(_) | Cluster::Refusing { .. } => {}
            }
        }
        let names: Vec<&str> = case.filters.iter().map(|filter| filter.name.as_str()).collect();
        let (start, guests) = observe::guests(&names, self.proxy.guest_log());
        Observation { clients: self.clients.borrow().clone(), upstreams, start, guests }
    }
}

impl Side {
    fn tidegate(case: &Case, addresses: &[(String, SocketAddr)]) -> Side {
        let start = Proxy::with(&render_tidegate::config(case, addresses)).log_guests_fully();
        let modules = case.filters.iter().enumerate();
        let start = modules
            .fold(start, |start, (at, filter)| start.file(&format!("{at}.wasm"), filter.module.clone()));
        Side::Tidegate(start.start())
    }

    fn envoy(case: &Case, addresses: &[(String, SocketAddr)]) -> Side {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (at, filter) in case.filters.iter().enumerate() {
            let file = folder.path().join(format!("{at}.wasm"));
            std::fs::write(file, &filter.module).expect("a temporary file can be written");
        }
        let bootstrap = render_envoy::bootstrap(case, addresses, folder.path());
        Side::Envoy(Envoy::start(folder, &bootstrap))
    }

    /// The name that each guest gives itself, and its line; with its level, where that is not the one of most lines.
    fn guest_log(&self) -> Vec<(String, String)> {
        match self {
            Side::Tidegate(proxy) => tidegate_guests(proxy),
            Side::Envoy(envoy) => spoken(&envoy.guest_log()),
        }
    }
}

/// What guests logged in tidegate: the name that each gives itself, and its line.
pub(super) fn tidegate_guests(proxy: &Proxy) -> Vec<(String, String)> {
    let events = proxy.guest_events();
    let lines: Vec<_> =
        events.iter().map(|event| (text(event, "level"), message(event).to_owned())).collect();
    spoken(&lines)
}

/// Takes lines with their levels apart: the name that each guest gives itself, and its line; with its level, where that
/// is not the one of most lines.
pub(super) fn spoken(lines: &[(String, String)]) -> Vec<(String, String)> {
    let line = |(level, line): &(String, String)| {
        let (speaker, line) = Guest::speaker(line)?;
        Some((speaker, if level == "INFO" { line } else { format!("{line} ({level})") }))
    };
    lines.iter().filter_map(line).collect()
}
