//! What a kit is made of: the module, its configuration, its surroundings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::cluster::{Answer, Call, Order, Script};
use super::drive::Upstream;
use super::message::Response;
use super::module::Module;
use super::running::Kit;
use super::seen::Forwarded;
use super::world::LogLine;
use crate::config::model::{BUFFER_LIMIT, Filter, FilterLimits, Grant, ModuleSource, OnFault};
use crate::wasm::{Clock, Fault, LogLevel};

/// A filter's configuration and surroundings, from which a [`Kit`] is started.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use std::time::Duration;
/// use tidegate_test::{Kit, Request, Response};
/// # let module = tidegate_test::Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
///
/// let kit = Kit::of(&module)
///     .config(serde_json::json!({"header": "x-user"}))
///     .cluster("auth", |call| Response::new(200).body(format!("asked for {}", call.target)))
///     .workers(2)
///     .seed(7)
///     .start();
/// kit.advance(Duration::from_secs(1));
/// assert_eq!(kit.send(Request::get("/").on_worker(1)).status(), 200);
/// ```
#[derive(Clone)]
#[must_use = "a kit is made by `start`"]
pub struct Setup {
    pub(crate) module: Module,
    pub(crate) filter: Filter,
    pub(crate) buffer_limit: usize,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) wall: SystemTime,
    pub(crate) patience: Duration,
    pub(crate) log_level: LogLevel,
    pub(crate) scripts: BTreeMap<String, Script>,
    pub(crate) upstream: Upstream,
    pub(crate) order: Order,
    pub(crate) gap: Duration,
    /// What tells the filter the time, in the place of the virtual clock; timers are the virtual clock's all the same.
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

/// 2026-01-01T00:00:00Z, in seconds since 1970.
const FIRST_SECOND: u64 = 1_767_225_600;

impl Setup {
    pub(crate) fn of(module: &Module) -> Setup {
        Setup {
            filter: Filter::new(module.name(), ModuleSource::File(module.name().into())),
            module: module.clone(),
            buffer_limit: BUFFER_LIMIT,
            workers: 1,
            seed: 0,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_SECOND),
            patience: Duration::from_secs(600),
            log_level: LogLevel::Trace,
            scripts: BTreeMap::new(),
            upstream: Rc::new(RefCell::new(|_: &Forwarded| Response::new(200))),
            order: Order::Scripted,
            gap: Duration::ZERO,
            clock: None,
        }
    }

    /// The filter's configuration, given to it as JSON text. None, unless it is set.
    pub fn config(self, config: serde_json::Value) -> Setup {
        self.config_text(config.to_string())
    }

    /// The filter's configuration as it is.
    pub fn config_text(mut self, config: impl Into<Bytes>) -> Setup {
        self.filter.config = config.into();
        self
    }

    /// The configuration of the filter's VM.
    pub fn vm_config(mut self, config: impl Into<Bytes>) -> Setup {
        self.filter.vm_config = config.into();
        self
    }

    /// The filter's `vm_id`, by which filters share data. Empty, unless it is set.
    pub fn vm_id(mut self, id: &str) -> Setup {
        self.filter.vm_id = id.to_owned();
        self
    }

    /// The filter's `root_id`.
    pub fn root_id(mut self, id: &str) -> Setup {
        self.filter.root_id = id.to_owned();
        self
    }

    /// A variable of the environment that WASI shows the filter.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.filter.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes what the filter may use; at first that is what a proxy allows where its configuration says nothing.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # let module = tidegate_test::Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
    /// # use tidegate_test::Kit;
    /// let kit = Kit::of(&module).limits(|limits| limits.instructions = 50_000).start();
    /// ```
    ///
    /// Without `cells` the host has none, as hosts other than tidegate: what a filter does then is to be tested too. There is
    /// no limit on wall-clock time: it would not be the same in every run.
    pub fn limits(mut self, change: impl FnOnce(&mut FilterLimits)) -> Setup {
        change(&mut self.filter.limits);
        self
    }

    /// Grants the filter what its manifest asks for, and nothing else (`capabilities: manifest`): one whose tests pass so
    /// asks for all that it needs. Without this it may do everything. What it is denied is in the log, as warnings.
    pub fn as_its_manifest_asks(mut self) -> Setup {
        self.filter.capabilities = Grant::Manifest;
        self
    }

    /// Requests go on without the filter when it fails (`on_fault: open`), or is over its `instructions_per_second`.
    /// Without this they are answered 503.
    pub fn open_on_fault(mut self) -> Setup {
        self.filter.on_fault = OnFault::Open;
        self.filter.on_rate_exceeded = OnFault::Open;
        self
    }

    /// Whether a pause at the headers lets the filter see the body meanwhile, as the field of this name in Envoy does.
    pub fn allow_on_headers_stop_iteration(mut self) -> Setup {
        self.filter.allow_on_headers_stop_iteration = true;
        self
    }

    /// How much of a body is held for the filter, in bytes.
    pub fn buffer_limit(mut self, bytes: usize) -> Setup {
        self.buffer_limit = bytes;
        self
    }

    /// How many workers there are, each with an instance of its own. One, unless it is set.
    pub fn workers(mut self, workers: usize) -> Setup {
        self.workers = workers.max(1);
        self
    }

    /// What randomness starts from: that which WASI gives, and the proxy's own where it concerns filters.
    pub fn seed(mut self, seed: u64) -> Setup {
        self.seed = seed;
        self
    }

    /// What the wall clock says at first: 2026-01-01T00:00:00Z, unless it is set.
    pub fn start_time(mut self, wall: SystemTime) -> Setup {
        self.wall = wall;
        self
    }

    /// The lowest level that is logged, which a filter may ask for. Everything, unless it is set.
    pub fn log_level(mut self, level: LogLevel) -> Setup {
        self.log_level = level;
        self
    }

    /// How long an exchange may take, in virtual time, before it counts as one that never ends. Ten minutes, unless it
    /// is set.
    pub fn patience(mut self, time: Duration) -> Setup {
        self.patience = time;
        self
    }

    /// A cluster that the filter may call, and how it answers. See [`Answer`] for what else than a response it may be.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # let module = tidegate_test::Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
    /// use tidegate_test::{Answer, Kit, Response};
    ///
    /// let kit = Kit::of(&module)
    ///     .cluster("users", |call| match call.target.as_str() {
    ///         "/ann" => Response::new(200).body("{}").into(),
    ///         "/bob" => Response::new(404).into(),
    ///         _ => Answer::never(),
    ///     })
    ///     .cluster("down", |_| Answer::unavailable("no endpoint"))
    ///     .start();
    /// ```
    pub fn cluster<A: Into<Answer>>(
        mut self,
        name: &str,
        mut script: impl FnMut(&Call) -> A + 'static,
    ) -> Setup {
        let script: Script = Rc::new(RefCell::new(move |call: &Call| script(call).into()));
        self.scripts.insert(name.to_owned(), script);
        self
    }

    /// How the service behind the proxy answers a request, which it sees as the filter left it. With 200 and nothing
    /// else, unless it is set here or by [`Kit::upstream`].
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let module = Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
    /// use tidegate_test::{Request, Response};
    ///
    /// let kit = Kit::of(&module).upstream(|request| Response::new(200).body(request.target().to_owned())).start();
    /// assert_eq!(kit.send(Request::get("/a")).text(), "/a");
    /// ```
    pub fn upstream(mut self, answer: impl FnMut(&Forwarded) -> Response + 'static) -> Setup {
        self.upstream = Rc::new(RefCell::new(answer));
        self
    }

    /// Starts the filter on every worker.
    ///
    /// # Panics
    ///
    /// When it does not start, or refuses its configuration: with the reason, and what it logged.
    #[track_caller]
    pub fn start(self) -> Kit {
        let name = self.module.name().to_owned();
        self.try_start().unwrap_or_else(|refused| panic!("{name}: {refused}"))
    }

    /// As [`start`](Setup::start), for the test of what a filter refuses.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # let module = tidegate_test::Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
    /// # use tidegate_test::Kit;
    /// let refused = Kit::of(&module).config_text("refuse this").try_start().unwrap_err();
    /// assert!(refused.logged("cannot use"), "{refused}");
    /// ```
    pub fn try_start(self) -> Result<Kit, Refused> {
        Kit::start(self)
    }

    pub(crate) fn shared_filter(&self) -> Arc<Filter> {
        Arc::new(self.filter.clone())
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("module", &self.module).finish_non_exhaustive()
    }
}

/// A filter did not start, or refused its configuration. See [`Setup::try_start`].
#[derive(Debug, Clone, thiserror::Error)]
pub struct Refused {
    /// What the host says of it.
    pub fault: Fault,
    /// What the filter logged.
    pub logs: Vec<LogLine>,
}

impl Refused {
    /// Whether it logged a line that has `text` in it.
    pub fn logged(&self, text: &str) -> bool {
        self.logs.iter().any(|line| line.text.contains(text))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        self.logs.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
