//! A bench for people.

use std::fmt::Write as _;

use super::{ALL, Bench, CallbackFigures, Comparison, Spread};
use crate::terminal::{Paint, grouped};

/// What was measured of one module. Ends without a line break.
pub fn text(bench: &Bench) -> String {
    let mut text = String::new();
    let machine = &bench.machine;
    let _ = writeln!(text, "{}: {} bytes", bench.module, grouped(bench.size_bytes));
    let _ = writeln!(
        text,
        "  compiles in {}, starts in {} ({}) and {} instructions",
        time(machine.compile_ns.median),
        time(machine.start_ns.median),
        range(&machine.start_ns),
        grouped(bench.start_instructions),
    );
    let _ = writeln!(
        text,
        "  memory: {} after its start, {} at most after a script",
        size(bench.memory_bytes.start),
        size(bench.memory_bytes.end)
    );
    let requests: u64 = bench.requests.iter().map(|sent| sent.count).sum();
    let _ = writeln!(
        text,
        "\nfor one request of {requests}; times are of {} requests, {:.0} ns of each call are for reading the clock\n",
        grouped(machine.requests),
        machine.clock_ns
    );
    let _ = writeln!(
        text,
        "{:36} {:>6} {:>13} {:>13} {:>10}  p10–p90",
        "callback", "calls", "instructions", "most", "time"
    );
    for figures in &bench.callbacks {
        let spread = figures.nanoseconds.as_ref();
        let line = format!(
            "{:36} {:>6} {:>13} {:>13} {:>10}  {}",
            name(figures),
            calls(figures),
            grouped(figures.instructions.median),
            grouped(figures.instructions.max),
            spread.map_or_else(|| "-".to_owned(), |spread| time(spread.median)),
            spread.map_or_else(String::new, range),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if machine.unoptimised {
        let _ = writeln!(text, "\nthis is an unoptimised build of tidegate: its times say nothing");
    }
    text.trim_end().to_owned()
}

/// Two modules beside each other. Ends without a line break.
pub fn against(one: &Bench, other: &Bench) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} in times of {}", one.module, other.module);
    let ratio = |one: f64, other: f64| match other > 0.0 {
        true => format!("{:.2}", one / other),
        false => "-".to_owned(),
    };
    let _ = writeln!(text, "{:36} {:>13} {:>8}", "", "instructions", "time");
    for figures in &one.callbacks {
        let Some(beside) = other.callbacks.iter().find(|beside| beside.name == figures.name) else {
            let _ = writeln!(text, "{:36} {:>13}", name(figures), "only here");
            continue;
        };
        let instructions = (figures.instructions.median as f64, beside.instructions.median as f64);
        let times = figures.nanoseconds.zip(beside.nanoseconds);
        let _ = writeln!(
            text,
            "{:36} {:>13} {:>8}",
            name(figures),
            ratio(instructions.0, instructions.1),
            times.map_or_else(|| "-".to_owned(), |(one, other)| ratio(one.median, other.median)),
        );
    }
    for gone in other.callbacks.iter().filter(|gone| !one.callbacks.iter().any(|it| it.name == gone.name)) {
        let _ = writeln!(text, "{:36} {:>13}", name(gone), "only there");
    }
    let other_size = other.size_bytes as f64;
    let _ = writeln!(text, "{:36} {:>13}", "size", ratio(one.size_bytes as f64, other_size));
    let (start, other_start) = (one.start_instructions as f64, other.start_instructions as f64);
    let times = ratio(one.machine.start_ns.median, other.machine.start_ns.median);
    let _ = writeln!(text, "{:36} {:>13} {:>8}", "start", ratio(start, other_start), times);
    text.trim_end().to_owned()
}

impl Comparison {
    /// A line for each figure that is not as it was. Ends without a line break.
    pub fn text(&self, baseline: &str, colours: bool) -> String {
        let paint = Paint(colours);
        let tolerance = self.tolerance * 100.0;
        if self.changes.is_empty() {
            return format!("{} nothing has changed since {baseline}", paint.green("✓"));
        }
        let mut text = format!("since {baseline}, of which {tolerance} % more are let pass:");
        for change in &self.changes {
            let growth = change.growth();
            let mark = if growth > self.tolerance { paint.red("✗") } else { paint.green("✓") };
            let percent = match growth.is_finite() {
                true => format!(" ({:+.1} %)", growth * 100.0),
                false => String::new(),
            };
            let (was, is) = (grouped(change.was), grouped(change.is));
            let _ = write!(text, "\n  {mark} {}: {is}, was {was}{percent}", change.what);
        }
        text
    }
}

fn name(figures: &CallbackFigures) -> &str {
    if figures.name == ALL { "a request" } else { &figures.name }
}

/// How often it is called for a request that leads to it.
fn calls(figures: &CallbackFigures) -> String {
    let calls = figures.calls as f64 / figures.requests.max(1) as f64;
    if calls.fract() == 0.0 { format!("{calls}") } else { format!("{calls:.1}") }
}

fn range(spread: &Spread) -> String {
    format!("{}–{}", time(spread.p10), time(spread.p90))
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        short if short < 10_000.0 => format!("{short:.0} ns"),
        short if short < 10_000_000.0 => format!("{:.1} µs", short / 1e3),
        long => format!("{:.1} ms", long / 1e6),
    }
}

fn size(bytes: u64) -> String {
    format!("{} KiB", grouped(bytes >> 10))
}
