//! Where an exchange takes place: one listener on one worker, with everything that its exchanges need, looked up
//! before the first of them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::mirror::Mirroring;
use crate::config::model::{Action, Listener, Mirror, Overload};
use crate::filter::{Chain, Guide};
use crate::overload::Admission;
use crate::route::Table;
use crate::snapshot::Snapshot;
use crate::tasks::Tasks;
use crate::telemetry::Reporter;
use crate::telemetry::metrics::{ExchangeCell, MirrorCell, Registry, TcpCell};
use crate::upstream::Upstreams;
use crate::wasm::stream::{RequestHead, Stream};

/// How far a worker's life has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Serving,
    /// It ends what is under way.
    Draining,
    /// It drops what is left.
    Over,
}

/// One listener on one worker. It holds the snapshot that its exchanges see.
pub(crate) struct Site {
    snapshot: Arc<Snapshot>,
    listener: usize,
    chain: Rc<Chain>,
    upstreams: Rc<Upstreams>,
    tasks: Rc<Tasks>,
    stage: Rc<Cell<Stage>>,
    mirroring: Rc<Mirroring>,
    reporter: Rc<Reporter>,
    admission: Rc<Admission>,
    routes: Vec<RouteFacts>,
    /// How much of a body is kept for a redirect on any of them, in bytes, if one follows some.
    most_followed_bytes: Option<usize>,
    /// For each cluster that TCP connections may go to: its index, and where they are counted.
    tcp: Vec<(usize, Arc<TcpCell>)>,
    cluster_names: Vec<Arc<str>>,
    _life: Life,
}

/// A configuration's life on one worker: it lasts until the last of its sites is gone, and with it the last exchange.
#[derive(Clone)]
pub(crate) struct Life(#[expect(dead_code, reason = "it is dropped")] Rc<oneshot::Sender<()>>);

impl Life {
    /// A new one, and what waits for its end.
    pub(crate) fn begin() -> (Life, impl Future<Output = ()> + use<>) {
        let (sender, receiver) = oneshot::channel();
        (Life(Rc::new(sender)), async move {
            let _ = receiver.await; // an error: the sender is gone
        })
    }
}

/// What is known of a route before any request takes it.
pub(super) struct RouteFacts {
    name: Arc<str>,
    /// The chain that it has in the place of the listener's, if it has one.
    chain: Option<Rc<Chain>>,
    /// Where it answers by itself.
    own: Arc<ExchangeCell>,
    /// For each cluster that it may take, in order: the cluster's index and the cell.
    targets: Vec<(usize, Arc<ExchangeCell>)>,
    /// Where copies are counted, for each of its mirrors.
    pub(super) mirrors: Box<[Arc<MirrorCell>]>,
    /// How much of a body is kept for a redirect of its upstreams, in bytes, if it follows some.
    followed_bytes: Option<usize>,
}

impl Site {
    /// Looks everything up. Labels of metrics are resolved here.
    #[allow(clippy::too_many_arguments)] // a worker's parts, each named where it is made
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        listener: usize,
        chain: Rc<Chain>,
        own_chains: Vec<Option<Rc<Chain>>>,
        upstreams: Rc<Upstreams>,
        tasks: Rc<Tasks>,
        stage: Rc<Cell<Stage>>,
        metrics: &Registry,
        worker: usize,
        reporter: Rc<Reporter>,
        admission: Rc<Admission>,
        life: Life,
    ) -> Rc<Site> {
        let config = &snapshot.config().listeners[listener];
        let clusters = &snapshot.config().clusters;
        let cell = |route: &str, cluster: &str| metrics.exchange(worker, &config.name, route, cluster);
        let routes: Vec<RouteFacts> = config
            .routes
            .iter()
            .zip(own_chains)
            .map(|(route, chain)| {
                let mut targets: Vec<usize> = match &route.action {
                    Action::Forward(forward) => forward.clusters.indices().collect(),
                    Action::Redirect(_) | Action::Respond(_) => Vec::new(),
                };
                targets.sort_unstable();
                let target = |index: usize| (index, cell(&route.name, &clusters[index].name));
                let mirrors = match &route.action {
                    Action::Forward(forward) => &forward.mirrors[..],
                    Action::Redirect(_) | Action::Respond(_) => &[],
                };
                let mirror = |mirror: &Mirror| {
                    metrics.mirror(worker, &config.name, &route.name, &clusters[mirror.cluster].name)
                };
                RouteFacts {
                    mirrors: mirrors.iter().map(mirror).collect(),
                    followed_bytes: route
                        .follows_redirects()
                        .then(|| route.buffer_limit.unwrap_or(config.buffer_limit)),
                    chain,
                    name: route.name.as_str().into(),
                    own: cell(&route.name, ""),
                    targets: targets.into_iter().map(target).collect(),
                }
            })
            .collect();
        let to_clusters = config.protocol.shares().iter().map(|(index, _)| index);
        let to_clusters: BTreeSet<_> =
            to_clusters.chain(config.server_names.iter().map(|(_, index)| index)).copied().collect();
        let tcp = to_clusters
            .into_iter()
            .map(|index| (index, metrics.tcp(worker, &config.name, &clusters[index].name)))
            .collect();
        let cluster_names = clusters.iter().map(|cluster| cluster.name.as_str().into()).collect();
        let mirroring = Mirroring::new(&upstreams, &tasks, &stage);
        Rc::new(Site {
            mirroring,
            most_followed_bytes: routes.iter().filter_map(|route| route.followed_bytes).max(),
            listener,
            chain,
            upstreams,
            tasks,
            stage,
            reporter,
            admission,
            routes,
            tcp,
            cluster_names,
            snapshot,
            _life: life,
        })
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.snapshot.config().listeners[self.listener]
    }

    pub(crate) fn reporter(&self) -> &Rc<Reporter> {
        &self.reporter
    }

    /// What is let in on this worker.
    pub(crate) fn admission(&self) -> &Rc<Admission> {
        &self.admission
    }

    /// What the proxy may use.
    pub(crate) fn overload(&self) -> &Overload {
        &self.snapshot.config().overload
    }

    pub(crate) fn tasks(&self) -> &Rc<Tasks> {
        &self.tasks
    }

    pub(crate) fn chain(&self) -> &Rc<Chain> {
        &self.chain
    }

    /// The chain that a route has in the place of the listener's, if it has one.
    pub(super) fn own_chain(&self, route: usize) -> Option<&Rc<Chain>> {
        self.routes[route].chain.as_ref()
    }

    pub(super) fn facts(&self, route: usize) -> &RouteFacts {
        &self.routes[route]
    }

    /// How much of a body is kept for a redirect of a route's upstreams, in bytes, if it follows some.
    pub(super) fn followed_bytes(&self, route: usize) -> Option<usize> {
        self.routes[route].followed_bytes
    }

    /// The same, whichever route it will be.
    pub(super) fn most_followed_bytes(&self) -> Option<usize> {
        self.most_followed_bytes
    }

    pub(super) fn mirroring(&self) -> &Rc<Mirroring> {
        &self.mirroring
    }

    /// The route that an exchange takes as it is now.
    pub(super) fn route_of(&self, stream: &Stream) -> Option<usize> {
        self.route_for(&stream.request, stream)
    }

    /// The route that it would take if it asked for this.
    pub(super) fn route_for(&self, head: &RequestHead, stream: &Stream) -> Option<usize> {
        let RequestHead { method, uri, headers, .. } = head;
        let stored =
            |path: &[u8]| stream.properties.get(path).cloned().or_else(|| stream.connection_property(path));
        self.routes().find_with(method, uri, headers, &stored, stream.info.chance)
    }

    pub(super) fn routes(&self) -> &Table {
        self.snapshot.routes(self.listener)
    }

    pub(crate) fn upstreams(&self) -> &Rc<Upstreams> {
        &self.upstreams
    }

    pub(super) fn route_name(&self, route: usize) -> Arc<str> {
        self.routes[route].name.clone()
    }

    pub(crate) fn cluster_name(&self, cluster: usize) -> Arc<str> {
        self.cluster_names[cluster].clone()
    }

    /// Whether no connection is to be kept: the worker drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.stage.get() != Stage::Serving
    }

    /// Whether the drain's time is over, and what is dropped is cut.
    pub(super) fn is_drained(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// Where TCP connections to a cluster are counted.
    pub(crate) fn tcp_cell(&self, cluster: usize) -> Option<&Arc<TcpCell>> {
        self.tcp.iter().find(|(index, _)| *index == cluster).map(|(_, cell)| cell)
    }

    /// Where exchanges of a route are counted: by the cluster that they took, if they took one.
    pub(super) fn cell(&self, route: usize, cluster: Option<usize>) -> &Arc<ExchangeCell> {
        let facts = &self.routes[route];
        let target = cluster
            .and_then(|cluster| facts.targets.binary_search_by_key(&cluster, |(index, _)| *index).ok());
        target.map_or(&facts.own, |at| &facts.targets[at].1)
    }
}

impl Guide for Site {
    fn route(&self, stream: &Stream) -> Option<usize> {
        self.route_of(stream)
    }

    fn depends_on_properties(&self) -> bool {
        self.routes().looks_at_properties()
    }
}
