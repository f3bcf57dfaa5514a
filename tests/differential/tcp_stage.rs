//! The stage for TCP connections: a listener, a chain of filters, one upstream that the script speaks for itself.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};

use super::case::Filter;
use super::observe::{self, Observation};
use super::stage::{spoken, tidegate_guests};
use super::{compare, render_envoy, render_tidegate};
use crate::equipment::{Backend, Client, Envoy, Guest, Proxy, eventually, refusing_address};

/// A chain of filters between clients and an upstream.
pub(crate) struct TcpCase {
    name: &'static str,
    filters: Vec<Filter>,
    refusing: bool,
}

/// What a case's script drives: it does not know which proxy is behind it.
pub(crate) struct TcpStage {
    proxy: Side,
    backend: Backend,
    notes: RefCell<Vec<String>>,
    _refusing: Option<socket2::Socket>,
}

enum Side {
    Tidegate(Proxy),
    Envoy(Envoy),
}

impl TcpCase {
    /// A case without filters. Its name is also how `deliberate` speaks of it.
    pub(crate) fn new(name: &'static str) -> TcpCase {
        TcpCase { name, filters: Vec::new(), refusing: false }
    }

    /// The last filter of the chain so far is followed by this one.
    pub(crate) fn filter(self, name: &str, guest: &Guest) -> TcpCase {
        self.filter_with(name, guest, |filter| filter)
    }

    /// The same, with more said about the filter.
    pub(crate) fn filter_with(
        mut self,
        name: &str,
        guest: &Guest,
        more: impl FnOnce(Filter) -> Filter,
    ) -> TcpCase {
        self.filters.push(more(Filter::of(name, guest)));
        self
    }

    /// The upstream refuses connections.
    pub(crate) fn refusing(mut self) -> TcpCase {
        self.refusing = true;
        self
    }

    /// Runs the script on both sides and fails the test where they differ.
    pub(crate) fn run(self, script: impl Fn(&TcpStage)) {
        if !Envoy::is_installed() {
            return;
        }
        let arbiter = self.observe(true, &script);
        let against_itself = std::env::var("TIDEGATE_DIFFERENTIAL").is_ok_and(|mode| mode == "envoy");
        let ours = self.observe(against_itself, &script);
        println!("---- what Envoy did with {:?} ----\n{}", self.name, arbiter.lines().join("\n"));
        compare::compare(self.name, &arbiter, &ours, against_itself);
    }

    fn observe(&self, envoy: bool, script: &impl Fn(&TcpStage)) -> Observation {
        let stage = TcpStage::set(self, envoy);
        script(&stage);
        stage.settle(self);
        let names: Vec<&str> = self.filters.iter().map(|filter| filter.name.as_str()).collect();
        let (start, guests) = observe::guests(&names, stage.guest_log());
        Observation { clients: stage.notes.take(), upstreams: Vec::new(), start, guests }
    }
}

impl TcpStage {
    fn set(case: &TcpCase, envoy: bool) -> TcpStage {
        let backend = Backend::start();
        let (address, refusing) = match case.refusing {
            true => {
                let (address, socket) = refusing_address();
                (address, Some(socket))
            }
            false => (backend.address(), None),
        };
        let proxy = if envoy { Side::envoy(case, address) } else { Side::tidegate(case, address) };
        TcpStage { proxy, backend, notes: RefCell::default(), _refusing: refusing }
    }

    /// A client that has connected.
    pub(crate) fn connect(&self) -> Client {
        let address = match &self.proxy {
            Side::Tidegate(proxy) => proxy.address("in"),
            Side::Envoy(envoy) => envoy.address("in"),
        };
        Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), address)
    }

    /// The proxy's next connection to the upstream.
    pub(crate) fn accept(&self) -> Client {
        self.backend.accept()
    }

    /// A connection that goes all the way: its client's end and its upstream's.
    pub(crate) fn pair(&self) -> (Client, Client) {
        let client = self.connect();
        (client, self.accept())
    }

    /// Whether the proxy has connected to the upstream by now.
    pub(crate) fn is_connected(&self) -> bool {
        self.backend.try_accept().is_some()
    }

    /// Something that one end saw.
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.notes.borrow_mut().push(what.into());
    }

    /// Waits until a guest has logged a line with this text in it.
    pub(crate) fn wait_for_guest(&self, text: &str) {
        eventually(&format!("a line {text:?} in the guests' log"), || {
            self.guest_log().iter().any(|(_, line)| line.contains(text)).then_some(())
        });
    }

    /// Waits until every guest was told of every end.
    fn settle(&self, case: &TcpCase) {
        for filter in case.filters.iter().filter(|filter| filter.sees_ends) {
            eventually(&format!("the end of every context of {}", filter.name), || {
                let log = self.guest_log();
                let count = |text: &str| {
                    let own = log.iter().filter(|(name, _)| *name == filter.name);
                    own.filter(|(_, line)| line.starts_with(text) && !line.ends_with("parent=0")).count()
                };
                (count("context_create ") == count("delete ")).then_some(())
            });
        }
    }

    fn guest_log(&self) -> Vec<(String, String)> {
        match &self.proxy {
            Side::Tidegate(proxy) => tidegate_guests(proxy),
            Side::Envoy(envoy) => spoken(&envoy.guest_log()),
        }
    }
}

impl Side {
    fn tidegate(case: &TcpCase, up: SocketAddr) -> Side {
        let start = Proxy::with(&render_tidegate::tcp_config(&case.filters, up));
        let modules = case.filters.iter().enumerate();
        let start = modules.fold(start.log_guests_fully(), |start, (at, filter)| {
            start.file(&format!("{at}.wasm"), filter.module.clone())
        });
        Side::Tidegate(start.start())
    }

    fn envoy(case: &TcpCase, up: SocketAddr) -> Side {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (at, filter) in case.filters.iter().enumerate() {
            let file = folder.path().join(format!("{at}.wasm"));
            std::fs::write(file, &filter.module).expect("a temporary file can be written");
        }
        let bootstrap = render_envoy::tcp_bootstrap(&case.filters, up, folder.path());
        Side::Envoy(Envoy::start(folder, &bootstrap))
    }
}
