//! A case in words that belong to neither proxy: filters, routes, clusters, and what the upstreams answer.

use crate::equipment::{Answer, Gate, GrpcAct, Guest, Head};

use std::net::SocketAddr;
use std::sync::Arc;

/// How an upstream answers.
pub(crate) type Script = Arc<dyn Fn(&Head) -> Answer + Send + Sync>;

/// How a gRPC service answers a method.
pub(crate) type GrpcScript = Arc<dyn Fn(&str) -> Vec<GrpcAct> + Send + Sync>;

/// One description of a proxy and what stands behind it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) filters: Vec<Filter>,
    pub(crate) routes: Vec<Route>,
    pub(crate) clusters: Vec<(String, Cluster)>,
    pub(crate) buffer_limit: Option<usize>,
    pub(crate) paths: Paths,
    pub(crate) gates: Vec<Gate>,
    /// The cluster that the listener passes connections on to, where it is one for TCP.
    pub(crate) tcp: Option<&'static str>,
}

/// How paths are normalised. The default is tidegate's.
#[derive(Clone, Copy)]
pub(crate) struct Paths {
    pub(crate) normalize: bool,
    pub(crate) merge_slashes: bool,
    pub(crate) escaped_slashes: EscapedSlashes,
}

/// What becomes of escaped slashes.
#[derive(Clone, Copy)]
pub(crate) enum EscapedSlashes {
    Keep,
    Reject,
    Unescape,
    Redirect,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths { normalize: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Keep }
    }
}

/// What stands behind a cluster's one endpoint.
#[derive(Clone)]
pub(crate) enum Cluster {
    /// An upstream that answers by this script.
    Scripted(Script),
    /// A gRPC service that answers by this script.
    Grpc(GrpcScript),
    /// Whatever is at this address.
    At(SocketAddr),
    /// Nothing: connections are refused. Whether HTTP/2 is what would be spoken.
    Refusing { grpc: bool },
}

impl Cluster {
    /// Whether HTTP/2 is spoken to it. Envoy wants to be told.
    pub(crate) fn is_grpc(&self) -> bool {
        matches!(self, Cluster::Grpc(_) | Cluster::Refusing { grpc: true })
    }
}

/// A filter of the chain.
#[derive(Clone)]
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) module: Vec<u8>,
    pub(crate) config: String,
    pub(crate) vm_config: String,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) allow_on_headers_stop_iteration: bool,
    pub(crate) fail_open: bool,
    /// Whether its log shows the creation and the end of every context, unless a fault takes its instance.
    pub(crate) sees_ends: bool,
    /// Its budget here; Envoy has none.
    pub(crate) instructions: &'static str,
    /// How much it may log in a second here; Envoy has no bound.
    pub(crate) log_bytes: &'static str,
}

impl Filter {
    /// A module and nothing more.
    pub(super) fn new(name: &str, module: Vec<u8>) -> Filter {
        Filter {
            name: name.to_owned(),
            module,
            config: String::new(),
            vm_config: String::new(),
            root_id: String::new(),
            vm_id: String::new(),
            env: Vec::new(),
            allow_on_headers_stop_iteration: false,
            fail_open: false,
            sees_ends: false,
            instructions: "2M",
            log_bytes: "64KiB",
        }
    }

    /// A guest, built under this name.
    pub(super) fn of(name: &str, guest: &Guest) -> Filter {
        let module = guest.clone().named(name).build();
        Filter { sees_ends: guest.sees_ends(), ..Filter::new(name, module) }
    }
}

/// A filter whose pauses in headers let body callbacks go on.
pub(crate) fn with_held_headers(mut filter: Filter) -> Filter {
    filter.allow_on_headers_stop_iteration = true;
    filter
}

/// Which requests, and what becomes of them. The default is every request.
#[derive(Clone, Default)]
pub(crate) struct Route {
    pub(crate) name: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) path: Path,
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<(String, Value)>,
    pub(crate) query: Vec<(String, Value)>,
    pub(crate) action: Option<Action>,
    pub(crate) rewrite_prefix: Option<String>,
    pub(crate) rewrite_regex: Option<(String, String)>,
    pub(crate) rewrite_host: Option<String>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) request_edits: Edits,
    pub(crate) response_edits: Edits,
}

/// A path, without its query.
#[derive(Clone)]
pub(crate) enum Path {
    Exact(String),
    Prefix(String),
    Regex(String),
}

impl Default for Path {
    fn default() -> Path {
        Path::Prefix("/".to_owned())
    }
}

/// A header's or a query parameter's value.
#[derive(Clone)]
pub(crate) enum Value {
    Present(bool),
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(String),
    Not(Box<Value>),
}

/// A value by the name of its kind: `value("prefix", "v1")`.
pub(crate) fn value(kind: &str, text: &str) -> Value {
    let owned = text.to_owned();
    match kind {
        "exact" => Value::Exact(owned),
        "prefix" => Value::Prefix(owned),
        "suffix" => Value::Suffix(owned),
        "contains" => Value::Contains(owned),
        "regex" => Value::Regex(owned),
        other => panic!("{other:?} is no kind of value"),
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub(crate) enum Action {
    Cluster(String),
    Clusters(Vec<(String, u32)>),
    /// The cluster that this header field names, one of these. (In Envoy any of the clusters.)
    ClusterHeader(String, Vec<String>),
    Redirect {
        status: u16,
        scheme: Option<String>,
        host: Option<String>,
        port: Option<u16>,
        path: Option<String>,
        prefix: Option<String>,
        strip_query: bool,
    },
    Respond {
        status: u16,
        body: String,
        fields: Vec<(String, String)>,
    },
}

/// Changes to header fields.
#[derive(Clone, Default)]
pub(crate) struct Edits {
    pub(crate) set: Vec<(String, String)>,
    pub(crate) add: Vec<(String, String)>,
    pub(crate) remove: Vec<String>,
}

impl Case {
    /// A case without filters, whose one route leads to an upstream that answers 200 `hello`, chunked: the end of a
    /// sized body is seen at different moments (see the case "sized body"). Its name is also how `deliberate` speaks
    /// of it.
    pub(crate) fn new(name: &'static str) -> Case {
        let up: Script = Arc::new(|_| Answer::chunked(200, &[], &["hello"], &[]));
        let clusters = vec![("up".to_owned(), Cluster::Scripted(up))];
        Case {
            name,
            filters: Vec::new(),
            routes: Vec::new(),
            clusters,
            buffer_limit: None,
            paths: Paths::default(),
            gates: Vec::new(),
            tcp: None,
        }
    }

    /// The last filter of the chain so far is followed by this one.
    pub(crate) fn filter(self, name: &str, guest: &Guest) -> Case {
        self.filter_with(name, guest, |filter| filter)
    }

    /// The same, with more said about the filter.
    pub(crate) fn filter_with(
        mut self,
        name: &str,
        guest: &Guest,
        more: impl FnOnce(Filter) -> Filter,
    ) -> Case {
        self.filters.push(more(Filter::of(name, guest)));
        self
    }

    /// The last filter of the chain so far is followed by a shipped one, with this configuration (JSON).
    #[cfg(feature = "builtin")]
    pub(crate) fn shipped(self, name: &str, config: &str) -> Case {
        let module = tidegate_filter_bundle::module(name);
        self.module(name, module.unwrap_or_else(|| panic!("no filter {name:?} is shipped")).to_vec(), config)
    }

    /// The last filter of the chain so far is followed by a guest of `tests/guests`, with this configuration (JSON).
    pub(crate) fn sdk(self, name: &str, config: &str) -> Case {
        let module = std::fs::read(guests::module(name)).expect("a module that was built can be read");
        self.module(name, module, config)
    }

    /// The last filter of the chain so far is followed by the tour that is in `tests/languages`, in some language.
    pub(crate) fn tour(mut self, module: Vec<u8>, config: &str) -> Case {
        let filter = Filter { config: config.to_owned(), ..Filter::new("tour", module) };
        self.filters.push(Filter { root_id: "tour".to_owned(), ..filter });
        self
    }

    /// The last filter of the chain so far is followed by this module, with this configuration.
    pub(crate) fn module(mut self, name: &str, module: Vec<u8>, config: &str) -> Case {
        // A signature takes many instructions, and the probe logs much.
        let (instructions, log_bytes) = ("200M", "100MiB");
        let filter =
            Filter { config: config.to_owned(), instructions, log_bytes, ..Filter::new(name, module) };
        self.filters.push(filter);
        self
    }

    /// The upstream `up` answers by this script.
    pub(crate) fn upstream(self, script: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Case {
        self.cluster("up", script)
    }

    /// A cluster with one upstream that answers by this script.
    pub(crate) fn cluster(
        self,
        name: &str,
        script: impl Fn(&Head) -> Answer + Send + Sync + 'static,
    ) -> Case {
        self.with_cluster(name, Cluster::Scripted(Arc::new(script)))
    }

    /// A cluster with one gRPC service, which answers by this script of its methods' names.
    pub(crate) fn grpc(
        self,
        name: &str,
        script: impl Fn(&str) -> Vec<GrpcAct> + Send + Sync + 'static,
    ) -> Case {
        self.with_cluster(name, Cluster::Grpc(Arc::new(script)))
    }

    /// The listener is one for TCP, and passes its connections on to this address.
    pub(crate) fn over_tcp(self, to: SocketAddr) -> Case {
        Case { tcp: Some("wire"), ..self.with_cluster("wire", Cluster::At(to)) }
    }

    /// A cluster whose endpoint refuses connections.
    pub(crate) fn refusing(self, name: &str) -> Case {
        self.with_cluster(name, Cluster::Refusing { grpc: false })
    }

    /// The same of a gRPC service.
    pub(crate) fn refusing_grpc(self, name: &str) -> Case {
        self.with_cluster(name, Cluster::Refusing { grpc: true })
    }

    fn with_cluster(mut self, name: &str, cluster: Cluster) -> Case {
        self.clusters.retain(|(had, _)| had != name);
        self.clusters.push((name.to_owned(), cluster));
        self
    }

    /// One more route, after those that are there.
    pub(crate) fn route(mut self, route: Route) -> Case {
        self.routes.push(route);
        self
    }

    /// These gates are shut at the beginning of each side's run.
    pub(crate) fn gates(mut self, gates: &[Gate]) -> Case {
        self.gates.extend_from_slice(gates);
        self
    }

    /// How much of a body may be held, in bytes.
    pub(crate) fn buffer_limit(mut self, bytes: usize) -> Case {
        self.buffer_limit = Some(bytes);
        self
    }

    /// How paths are normalised.
    pub(crate) fn paths(mut self, paths: Paths) -> Case {
        self.paths = paths;
        self
    }

    /// Its routes; one to `up` where it names none.
    pub(crate) fn effective_routes(&self) -> Vec<Route> {
        match self.routes.is_empty() {
            true => vec![Route::default()],
            false => self.routes.clone(),
        }
    }
}

impl Route {
    /// Its action; `up` where it names none.
    pub(crate) fn effective_action(&self) -> Action {
        self.action.clone().unwrap_or_else(|| Action::Cluster("up".to_owned()))
    }
}
