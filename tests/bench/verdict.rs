//! The bounds that the design sets, and whether this run kept them.
//!
//! A verdict compares medians: of turns where CPU time is compared, else of rounds. Beside it stands the range of the same ratio
//! taken for a few turns at a time, or round by round: a bound inside that range is neither kept nor missed for certain.

use crate::chain::Chain;
use crate::contender::{Contender, Setup};
use crate::load::Shape;
use crate::rounds::Results;
use crate::stats::Spread;

/// One row of the design's table.
pub(crate) struct Verdict {
    pub(crate) what: &'static str,
    pub(crate) bound: f64,
    /// `None` if something that it needs was not measured.
    pub(crate) ratio: Option<Ratio>,
}

/// tidegate's part of the other's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    /// Of the medians.
    pub(crate) value: f64,
    /// A few turns at a time, or round by round.
    pub(crate) range: Spread,
}

impl Verdict {
    pub(crate) fn missed(&self) -> bool {
        self.ratio.is_some_and(|ratio| ratio.value.is_nan() || ratio.value > self.bound)
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.ratio {
            None => "not measured",
            Some(_) if self.missed() => "MISSED",
            Some(ratio) if ratio.range.high > self.bound => "kept, within the noise",
            Some(_) => "kept",
        }
    }
}

/// All rows, in the design's order.
pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    let (tidegate, envoy) = (Contender::Tidegate, Contender::Envoy);
    let turns_of = |shape, contender, filters| -> Series {
        results.turns.get(&(shape, Setup { contender, filters })).cloned().unwrap_or_default()
    };
    let turns = |contender, filters| turns_of(Shape::KeepAlive60B, contender, filters);
    let added = |contender, filters| minus(&turns(contender, filters), &turns(contender, Chain::NONE));
    let row =
        |what, bound, ours: Series, theirs: Series| Verdict { what, bound, ratio: ratio(&ours, &theirs) };
    let row_of_turns =
        |what, bound, ours: Series, theirs: Series| Verdict { what, bound, ratio: of_turns(&ours, &theirs) };
    let shipped = added(tidegate, Chain::Shipped);
    let bound = vec![SHIPPED_US; shipped.len()];
    let http2 = |what, shape| {
        let one = |contender| turns_of(shape, contender, Chain::Headers(1));
        row_of_turns(what, 0.50, one(tidegate), one(envoy))
    };
    vec![
        row_of_turns(
            "CPU, no filter, to Envoy",
            0.50,
            turns(tidegate, Chain::NONE),
            turns(envoy, Chain::NONE),
        ),
        row_of_turns(
            "CPU, no filter, to nginx",
            1.15,
            turns(tidegate, Chain::NONE),
            turns(Contender::Nginx, Chain::NONE),
        ),
        row_of_turns(
            "CPU that one filter adds, to Envoy",
            0.125,
            added(tidegate, Chain::Headers(1)),
            added(envoy, Chain::Headers(1)),
        ),
        row_of_turns(
            "CPU that five filters add, to Envoy",
            0.125,
            added(tidegate, Chain::Headers(5)),
            added(envoy, Chain::Headers(5)),
        ),
        row_of_turns("CPU that the shipped four add, to 6 µs", 1.0, shipped, bound),
        row_of_turns(
            "CPU, five filters, to Envoy with five",
            0.40,
            turns(tidegate, Chain::Headers(5)),
            turns(envoy, Chain::Headers(5)),
        ),
        row(
            "p99 at half of Envoy's peak, no filter",
            0.60,
            p99(results, tidegate, Chain::NONE),
            p99(results, envoy, Chain::NONE),
        ),
        row(
            "p99 at half of Envoy's peak, five filters",
            0.60,
            p99(results, tidegate, Chain::Headers(5)),
            p99(results, envoy, Chain::Headers(5)),
        ),
        row(
            "memory, the shipped four, to Envoy with them",
            0.40,
            rss(results, tidegate, Chain::Shipped),
            rss(results, envoy, Chain::Shipped),
        ),
        http2("CPU, HTTP/2, 1,000 streams on a connection, one filter, to Envoy", Shape::Http2Streams),
        http2("CPU, HTTP/2, 1,000 connections, one filter, to Envoy", Shape::Http2Connections),
        http2("CPU, gRPC, unary, one filter, to Envoy", Shape::GrpcUnary),
        http2("CPU, gRPC, server streaming, one filter, to Envoy", Shape::GrpcStreaming),
    ]
}

/// What the shipped filters may cost together, in µs of CPU for a request.
const SHIPPED_US: f64 = 6.0;

/// As many turns are looked at together: what filters add is less than what lies between two turns of one setup.
const TOGETHER: usize = 5;

/// A value for each round or turn.
type Series = Vec<f64>;

fn p99(results: &Results, contender: Contender, filters: Chain) -> Series {
    let samples = results.paces.get(&Setup { contender, filters });
    samples.into_iter().flatten().map(|sample| sample.latencies.p99_us).collect()
}

fn rss(results: &Results, contender: Contender, filters: Chain) -> Series {
    let samples = results.memory.get(&Setup { contender, filters });
    samples.into_iter().flatten().map(|memory| memory.rss_kib as f64).collect()
}

fn minus(more: &Series, less: &Series) -> Series {
    more.iter().zip(less).map(|(more, less)| more - less).collect()
}

/// The medians of [`TOGETHER`] turns each, as rounds of their own.
fn together(turns: &Series) -> Series {
    turns.chunks(TOGETHER).filter_map(|turns| Some(Spread::of(turns.iter().copied())?.median)).collect()
}

/// The ratio of the medians of all turns, and its range over a few of them at a time.
fn of_turns(ours: &Series, theirs: &Series) -> Option<Ratio> {
    Some(Ratio { value: ratio(ours, theirs)?.value, ..ratio(&together(ours), &together(theirs))? })
}

fn ratio(ours: &Series, theirs: &Series) -> Option<Ratio> {
    let value = Spread::of(ours.iter().copied())?.median / Spread::of(theirs.iter().copied())?.median;
    let range = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))?;
    Some(Ratio { value, range })
}
