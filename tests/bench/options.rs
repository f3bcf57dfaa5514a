//! What was asked for on the command line, and what the quick and the full form mean.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::chain::Chain;
use crate::contender::{Contender, Setup};
use crate::load::Shape;

/// After this, in seconds, nothing gets faster any more: with half of it, Envoy is still compiling its filters and looks
/// a fifth slower than it is.
const WARM_UP: f64 = 0.8;

/// Compares tidegate with Envoy, nginx, HAProxy and a direct connection.
#[derive(Debug, Parser)]
#[command(name = "compare", subcommand_negates_reqs = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// A minute and a half instead of half an hour: fewer and shorter rounds, 60-byte keep-alive requests only.
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often everything is measured.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each measurement takes, in seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Who is measured: direct, nginx, haproxy, envoy, tidegate.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "direct,nginx,haproxy,envoy,tidegate"
    )]
    contenders: Vec<Contender>,
    /// Which chains of filters, for the contenders that run filters: a number of header filters, or `shipped`.
    #[arg(long, value_name = "CHAINS", value_delimiter = ',', default_value = "0,1,5,shipped")]
    filters: Vec<Chain>,
    /// Which loads: keep-alive-60b, keep-alive-64k, new-60b, new-64k, h2-1000-streams, h2-1000-connections,
    /// grpc-unary, grpc-streaming.
    #[arg(long, value_name = "SHAPES", value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// Requests a second for the latencies, instead of half of Envoy's peak.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// Another tidegate than the one just built.
    #[arg(long, value_name = "PATH")]
    tidegate: Option<PathBuf>,
    /// Envoy; else the variable ENVOY_BIN, else build/bin/envoy.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// The module of the header filter; else the variable TIDEGATE_BENCH_FILTER, else build/guests/headers.wasm.
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    /// The proxy's core.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    pub(crate) proxy_core: usize,
    /// The core of the upstream and of the load.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    pub(crate) load_core: usize,
    /// Where the report goes: docs/benchmarks.md for a full run of everything, else build/bench/report.md.
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Fail when a bound is missed, too.
    #[arg(long)]
    pub(crate) strict: bool,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the program does besides comparing.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends requests at a fixed rate and prints latencies as JSON: the run starts this on the load's core.
    #[command(hide = true)]
    Pace(Schedule),
    /// Answers gRPC calls: the run starts this beside the load.
    #[command(hide = true)]
    Serve {
        /// Where to listen.
        address: SocketAddr,
    },
}

/// When requests are sent, and to whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Schedule {
    /// Whom to ask.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Requests a second, on average.
    #[arg(long)]
    pub(crate) rate: f64,
    /// For how long, in seconds.
    #[arg(long)]
    pub(crate) seconds: f64,
    /// The arrivals are random, and the same for the same seed.
    #[arg(long)]
    pub(crate) seed: u64,
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How often everything is measured as fast as possible.
    pub(crate) rounds: usize,
    /// How often latencies are measured.
    pub(crate) latency_rounds: usize,
    /// Before each measurement, unmeasured.
    pub(crate) warm_up: Duration,
    /// Each measurement.
    pub(crate) measured: Duration,
    /// How often everybody has a turn.
    pub(crate) turns: usize,
}

impl Options {
    pub(crate) fn effort(&self) -> Effort {
        let (rounds, latency_rounds, warm_up, measured, turns) =
            if self.quick { (3, 1, WARM_UP, 0.8, 5) } else { (5, 5, WARM_UP, 2.5, 25) };
        Effort {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            latency_rounds: self.rounds.unwrap_or(latency_rounds).max(1),
            warm_up: Duration::from_secs_f64(warm_up),
            measured: Duration::from_secs_f64(self.seconds.unwrap_or(measured).clamp(0.1, 600.0)),
            turns: self.rounds.map_or(turns, |rounds| 5 * rounds).max(1),
        }
    }

    /// Who is measured with how many filters, in the order of a round.
    pub(crate) fn setups(&self) -> Vec<Setup> {
        let mut setups = Vec::new();
        for &contender in &self.contenders {
            let chains: &[Chain] = if contender.runs_filters() { &self.filters } else { &[Chain::NONE] };
            setups.extend(chains.iter().map(|&filters| Setup { contender, filters }));
        }
        setups
    }

    /// Who is measured in turns under a load.
    pub(crate) fn setups_in_turns(&self, shape: Shape) -> Vec<Setup> {
        let mut setups = self.setups();
        setups.retain(|&setup| shape.compares(setup));
        if self.shapes().contains(&shape) { setups } else { Vec::new() }
    }

    pub(crate) fn shapes(&self) -> Vec<Shape> {
        match (self.shapes.is_empty(), self.quick) {
            (false, _) => self.shapes.clone(),
            (true, true) => vec![Shape::KeepAlive60B],
            (true, false) => Shape::ALL.to_vec(),
        }
    }

    pub(crate) fn tidegate_path(&self) -> PathBuf {
        self.tidegate.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tidegate")))
    }

    pub(crate) fn envoy_path(&self) -> PathBuf {
        chosen(self.envoy.as_deref(), "ENVOY_BIN", "build/bin/envoy")
    }

    pub(crate) fn module_path(&self) -> PathBuf {
        chosen(self.module.as_deref(), "TIDEGATE_BENCH_FILTER", "build/guests/headers.wasm")
    }

    /// A partial or quick run does not replace the published page.
    pub(crate) fn report_path(&self) -> PathBuf {
        let whole = !self.quick
            && self.rounds.is_none()
            && self.seconds.is_none()
            && self.rate.is_none()
            && self.shapes.is_empty()
            && self.filters == Chain::USUAL
            && Contender::ALL.iter().all(|contender| self.contenders.contains(contender));
        let default = if whole { "docs/benchmarks.md" } else { "build/bench/report.md" };
        self.report.clone().unwrap_or_else(|| repository().join(default))
    }
}

fn chosen(flag: Option<&Path>, variable: &str, default: &str) -> PathBuf {
    match (flag, std::env::var_os(variable)) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) => PathBuf::from(path),
        (None, None) => repository().join(default),
    }
}

/// The repository's root: `cargo bench` starts a benchmark in its package's folder.
pub(crate) fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
