//! The page: bounds first, then a table for each load, then every single value.

use std::fmt::Write as _;

use crate::chain::Chain;
use crate::contender::{Contender, Setup};
use crate::load::{CONNECTIONS, Manner, Shape};
use crate::machine::Machine;
use crate::options::Options;
use crate::rounds::{Cost, LoadSample, PaceSample, Results};
use crate::stats::{Quarters, Spread};
use crate::verdict::Verdict;

/// How to read the bounds.
const READING: &str = "
Ratios are tidegate's median to the other's. Less is better. CPU time, and what a chain *adds* to it, come from turns
(below), since a machine does not stay as fast for half an hour as it was; the range is that of five turns at a time. The
others come from rounds, and the range is the same ratio round by round. Five filters are five instances of one
module, whose machine code tidegate holds once; five different modules would cost it more, in memory and in the processor's
caches. *The shipped four* are authz, rate-limit, ab-route and fault with `tests/bench/configurations`: four modules, which
all look at each request and let it through.
";

/// A core that others used for more than this share of the time makes a measurement doubtful.
const DISTURBED: f64 = 0.05;

/// The whole page, in Markdown.
pub(crate) fn render(
    options: &Options,
    machine: &Machine,
    results: &Results,
    verdicts: &[Verdict],
) -> String {
    let mut page = String::new();
    page.push_str("# Benchmarks\n\nWritten by `make bench`; not edited by hand. How it measures and how to read it: the folder `tests/bench`.\n");
    preamble(&mut page, options, machine, results);
    warnings(&mut page, results);
    page.push_str("\n## The bounds\n\n");
    bounds(&mut page, verdicts);
    page.push_str(READING);
    for shape in Shape::ALL {
        load_table(&mut page, results, shape);
    }
    turns_table(&mut page, results);
    pace_table(&mut page, results);
    memory_table(&mut page, results);
    raw(&mut page, results);
    page
}

/// What the terminal shows at the end: the bounds and the tables.
pub(crate) fn summary(results: &Results, verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    bounds(&mut text, verdicts);
    for shape in Shape::ALL {
        load_table(&mut text, results, shape);
    }
    turns_table(&mut text, results);
    pace_table(&mut text, results);
    text
}

fn preamble(page: &mut String, options: &Options, machine: &Machine, results: &Results) {
    let effort = options.effort();
    let _ = write!(
        page,
        "
| | |
|---|---|
| date, commit | {}, {} |
| machine | {}, {} cores, {} MiB, {} |
| cores used | proxy {}, upstream and load {} |
| effort | {} rounds of {:.1} s for each load, {} of {:.1} s for latencies; {:.0} min in all |
",
        machine.date,
        machine.commit,
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        options.proxy_core,
        options.load_core,
        effort.rounds,
        effort.measured.as_secs_f64(),
        effort.latency_rounds,
        effort.measured.as_secs_f64() * 1.6,
        (results.took.as_secs_f64() / 60.0).ceil(),
    );
    for version in &results.versions {
        let (program, version) = version.split_once(": ").unwrap_or((version, ""));
        let _ = writeln!(page, "| {program} | {version} |");
    }
}

fn warnings(page: &mut String, results: &Results) {
    for failure in &results.failures {
        let first = failure.lines().next().unwrap_or_default();
        let _ = write!(page, "\n> **Void:** {first}\n");
    }
    let worst = costs(results).map(|cost| cost.others).fold(0.0, f64::max);
    if worst > DISTURBED {
        let _ = write!(
            page,
            "\n> **Disturbed:** in the worst measurement something else used the proxy's core for {:.0} % of the time. Ratios of CPU time hold up well against that; rates and latencies do not.\n",
            worst * 100.0
        );
    }
}

fn costs(results: &Results) -> impl Iterator<Item = Cost> {
    let loads = results.loads.values().flatten().filter_map(|sample| sample.cost);
    loads.chain(results.paces.values().flatten().filter_map(|sample| sample.cost))
}

fn bounds(page: &mut String, verdicts: &[Verdict]) {
    page.push_str("| | bound | measured | range | |\n|---|---|---|---|---|\n");
    for verdict in verdicts {
        let (value, range) = match verdict.ratio {
            Some(ratio) => {
                (format!("{:.3}", ratio.value), format!("{:.3}–{:.3}", ratio.range.low, ratio.range.high))
            }
            None => ("–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(
            page,
            "| {} | ≤ {:.3} | {value} | {range} | {} |",
            verdict.what,
            verdict.bound,
            verdict.word()
        );
    }
}

fn load_table(page: &mut String, results: &Results, shape: Shape) {
    let rows: Vec<(Setup, &Vec<LoadSample>)> = results
        .loads
        .iter()
        .filter(|((s, _), _)| *s == shape)
        .map(|((_, setup), samples)| (*setup, samples))
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "\n## {}, as fast as it goes\n\nCPU time of the proxy's process for each request in µs (median, lowest–highest), user and system apart; requests a second; how busy the proxy's core was. {}.\n\n| | CPU | to Envoy | user | system | requests/s | busy |\n|---|---|---|---|---|---|---|\n",
        capitalised(shape.title()),
        match shape.manner() {
            Manner::KeepAlive | Manner::NewConnections => format!("{CONNECTIONS} connections"),
            Manner::Http2 { connections, streams } =>
                format!("Connections times streams: {connections} × {streams}; HTTP/2 to the upstream, too"),
        }
    );
    for (setup, samples) in &rows {
        let cost =
            |value: fn(&Cost) -> f64| Spread::of(samples.iter().filter_map(|s| s.cost.as_ref().map(value)));
        let envoy = rows.iter().find(|(other, _)| *other == Setup { contender: Contender::Envoy, ..*setup });
        let envoy =
            envoy.and_then(|(_, samples)| Spread::of(samples.iter().filter_map(|s| Some(s.cost?.us))));
        let to_envoy = cost(|c| c.us).zip(envoy).map(|(ours, theirs)| ours.median / theirs.median);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            setup.title(),
            spread(cost(|c| c.us), 2),
            number(to_envoy, 2),
            number(cost(|c| c.user_us).map(|s| s.median), 2),
            number(cost(|c| c.system_us).map(|s| s.median), 2),
            spread(Spread::of(samples.iter().map(|s| s.rate)), 0),
            number(cost(|c| c.busy * 100.0).map(|s| s.median), 0) + " %",
        );
    }
}

fn turns_table(page: &mut String, results: &Results) {
    if results.turns.is_empty() {
        return;
    }
    page.push_str("\n## In turns, and what filters add\n\nEverybody runs, and is loaded in turns of half a second (of 2.5 where there are 1,000 connections to make). CPU time for each request in µs: the median of the turns, and that of what lies between a turn and the one without filters beside it (a quarter of the turns lie below the first number in brackets, and a quarter above the other).\n\n| | | CPU | filters add |\n|---|---|---|---|\n");
    for ((shape, setup), costs) in &results.turns {
        let bare = results.turns.get(&(*shape, Setup { filters: Chain::NONE, ..*setup }));
        let added =
            bare.map(|bare| costs.iter().zip(bare).map(|(cost, bare)| cost - bare).collect::<Vec<_>>());
        let quarters = added.filter(|_| setup.filters != Chain::NONE).and_then(Quarters::of);
        let quarters =
            quarters.map(|Quarters { low, median, high }| format!("{median:.2} ({low:.2}–{high:.2})"));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            shape.title(),
            setup.title(),
            number(Spread::of(costs.iter().copied()).map(|s| s.median), 2),
            quarters.unwrap_or_else(|| "–".to_owned()),
        );
    }
}

fn pace_table(page: &mut String, results: &Results) {
    if results.paces.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "\n## Latency at a fixed rate\n\nKeep-alive, 60 B, at half of Envoy's peak with as many filters, random arrivals on {} connections. µs from when a request was due to its last byte (median of the rounds, lowest–highest). *Sent* counts from when it was sent; *lag* is how late that was: the generator's own part.\n\n| | requests/s | p50 | p99 | p99.9 | longest | p99 sent | p99 lag | CPU | busy |\n|---|---|---|---|---|---|---|---|---|---|\n",
        CONNECTIONS
    );
    for (setup, samples) in &results.paces {
        let value = |value: fn(&PaceSample) -> f64| Spread::of(samples.iter().map(value));
        let middle = |value: Option<Spread>| number(value.map(|s| s.median), 0);
        let cost =
            |value: fn(&Cost) -> f64| Spread::of(samples.iter().filter_map(|s| s.cost.as_ref().map(value)));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} % |",
            setup.title(),
            middle(value(|s| s.latencies.rate)),
            spread(value(|s| s.latencies.p50_us), 0),
            spread(value(|s| s.latencies.p99_us), 0),
            middle(value(|s| s.latencies.p999_us)),
            middle(value(|s| s.latencies.longest_us)),
            middle(value(|s| s.latencies.sent_p99_us)),
            middle(value(|s| s.latencies.lag_p99_us)),
            number(cost(|c| c.us).map(|s| s.median), 2),
            middle(cost(|c| c.busy * 100.0)),
        );
    }
}

fn memory_table(page: &mut String, results: &Results) {
    if results.memory.is_empty() {
        return;
    }
    page.push_str("\n## Memory after the load\n\nMiB, all of the proxy's processes (median, lowest–highest). A page that two of them share counts twice in RSS and once in PSS.\n\n| | RSS | PSS |\n|---|---|---|\n");
    for (setup, samples) in &results.memory {
        let mib = |kib: fn(&crate::process::Memory) -> u64| {
            spread(Spread::of(samples.iter().map(|memory| kib(memory) as f64 / 1024.0)), 1)
        };
        let _ = writeln!(page, "| {} | {} | {} |", setup.title(), mib(|m| m.rss_kib), mib(|m| m.pss_kib));
    }
}

/// Every value, round by round.
fn raw(page: &mut String, results: &Results) {
    page.push_str("\n## Every round\n\nCPU µs for each request / requests a second; for turns CPU µs alone; for the fixed rate, p50 / p99 in µs. *Others* is the largest share of the proxy's core that went to anybody else.\n\n| | | rounds | others |\n|---|---|---|---|\n");
    let others = |costs: Vec<Option<Cost>>| {
        let worst = costs.into_iter().flatten().map(|cost| cost.others * 100.0).reduce(f64::max);
        number(worst, 0) + " %"
    };
    for ((shape, setup), samples) in &results.loads {
        let values = samples.iter().map(|s| format!("{} / {:.0}", number(s.cost.map(|c| c.us), 2), s.rate));
        let worst = others(samples.iter().map(|s| s.cost).collect());
        let values = values.collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| {} | {} | {values} | {worst} |", shape.title(), setup.title());
    }
    for ((shape, setup), costs) in &results.turns {
        let values = costs.iter().map(|cost| format!("{cost:.2}")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| turns, {} | {} | {values} | – |", shape.title(), setup.title());
    }
    for (setup, samples) in &results.paces {
        let values = samples.iter().map(|s| format!("{:.0} / {:.0}", s.latencies.p50_us, s.latencies.p99_us));
        let worst = others(samples.iter().map(|s| s.cost).collect());
        let values = values.collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| fixed rate | {} | {values} | {worst} |", setup.title());
    }
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        Some(Spread { median, low, high }) => format!("{median:.digits$} ({low:.digits$}–{high:.digits$})"),
        None => "–".to_owned(),
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
