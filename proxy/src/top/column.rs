//! What is shown of a filter and of a callback: the columns, and numbers that people read.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::costs::{CallCosts, FilterCosts, State};

/// The longest name that is shown whole.
const LONGEST_NAME: usize = 40;

/// What is shown of a `T`.
pub(super) struct Column<T> {
    /// What stands above it.
    pub(super) title: &'static str,
    /// How wide it is; the names' column is as wide as it has to be.
    pub(super) width: usize,
    /// The text in it.
    pub(super) text: fn(&T) -> String,
    /// What comes first when it is sorted by this.
    pub(super) order: fn(&T, &T) -> Ordering,
}

/// A callback: its name, and what it cost.
pub(super) type CallbackCosts = (String, CallCosts);

/// Of a filter, the most wanted first: where there is no room, the last ones are left out.
pub(super) const FILTER_COLUMNS: [Column<FilterCosts>; 11] = [
    Column { title: "FILTER", width: 0, text: |f| name(&f.name), order: |a, b| a.name.cmp(&b.name) },
    Column {
        title: "CPU%",
        width: 6,
        text: |f| percent(f.total.cpu),
        order: |a, b| most(a.total.cpu, b.total.cpu),
    },
    Column {
        title: "µs/EXCH",
        width: 8,
        text: |f| f.microseconds_per_exchange.map_or_else(dash, number),
        order: |a, b| most_of(a.microseconds_per_exchange, b.microseconds_per_exchange),
    },
    Column {
        title: "EXCH/S",
        width: 7,
        text: |f| number(f.exchanges_per_second),
        order: |a, b| most(a.exchanges_per_second, b.exchanges_per_second),
    },
    Column {
        title: "INSTR/S",
        width: 8,
        text: |f| number(f.total.instructions_per_second),
        order: |a, b| most(a.total.instructions_per_second, b.total.instructions_per_second),
    },
    Column {
        title: "STATE",
        width: 8,
        text: |f| state(f.state).to_owned(),
        order: |a, b| a.state.cmp(&b.state),
    },
    Column {
        title: "MEMORY",
        width: 8,
        text: |f| bytes(f.memory_bytes as f64),
        order: |a, b| b.memory_bytes.cmp(&a.memory_bytes),
    },
    Column {
        title: "FAULTS",
        width: 7,
        text: |f| total(&f.faults_since_start),
        order: |a, b| most_counted(&a.faults_since_start, &b.faults_since_start),
    },
    Column {
        title: "LIMITED",
        width: 8,
        text: |f| total(&f.rate_limited_since_start),
        order: |a, b| most_counted(&a.rate_limited_since_start, &b.rate_limited_since_start),
    },
    Column {
        title: "HOST/S",
        width: 7,
        text: |f| number(f.total.hostcalls_per_second),
        order: |a, b| most(a.total.hostcalls_per_second, b.total.hostcalls_per_second),
    },
    Column {
        title: "COPIED/S",
        width: 9,
        text: |f| bytes(f.total.bytes_per_second()),
        order: |a, b| most(a.total.bytes_per_second(), b.total.bytes_per_second()),
    },
];

/// Of a callback.
pub(super) const CALLBACK_COLUMNS: [Column<CallbackCosts>; 8] = [
    Column { title: "CALLBACK", width: 0, text: |c| name(&c.0), order: |a, b| a.0.cmp(&b.0) },
    Column { title: "CPU%", width: 6, text: |c| percent(c.1.cpu), order: |a, b| most(a.1.cpu, b.1.cpu) },
    Column {
        title: "µs/CALL",
        width: 8,
        text: |c| c.1.microseconds_per_call.map_or_else(dash, number),
        order: |a, b| most_of(a.1.microseconds_per_call, b.1.microseconds_per_call),
    },
    Column {
        title: "CALLS/S",
        width: 8,
        text: |c| number(c.1.calls_per_second),
        order: |a, b| most(a.1.calls_per_second, b.1.calls_per_second),
    },
    Column {
        title: "INSTR/S",
        width: 8,
        text: |c| number(c.1.instructions_per_second),
        order: |a, b| most(a.1.instructions_per_second, b.1.instructions_per_second),
    },
    Column {
        title: "HOST/S",
        width: 7,
        text: |c| number(c.1.hostcalls_per_second),
        order: |a, b| most(a.1.hostcalls_per_second, b.1.hostcalls_per_second),
    },
    Column {
        title: "IN/S",
        width: 8,
        text: |c| bytes(c.1.bytes_in_per_second),
        order: |a, b| most(a.1.bytes_in_per_second, b.1.bytes_in_per_second),
    },
    Column {
        title: "OUT/S",
        width: 8,
        text: |c| bytes(c.1.bytes_out_per_second),
        order: |a, b| most(a.1.bytes_out_per_second, b.1.bytes_out_per_second),
    },
];

/// The word for a state.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Missing => "missing",
        State::BreakerOpen => "breaker",
        State::Failing => "failing",
        State::RateLimited => "limited",
        State::Gone => "gone",
        State::Ok => "ok",
    }
}

/// A name that cannot move the cursor, of bounded width.
pub(super) fn name(name: &str) -> String {
    let shown = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let mut letters = name.chars().map(shown);
    let mut short: String = letters.by_ref().take(LONGEST_NAME).collect();
    if letters.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// A number in at most five characters: `950`, `1.2k`, `34.5M`.
pub(super) fn number(number: f64) -> String {
    scaled(number, 1000.0, ["", "k", "M", "G", "T"])
}

/// The same of bytes, in powers of 1024: `950`, `1.2K`, `16.0M`.
pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, ["", "K", "M", "G", "T"])
}

/// A share in hundredths.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

fn scaled(number: f64, step: f64, units: [&str; 5]) -> String {
    let mut scaled = number;
    let mut unit = 0;
    // What would be rounded up to the next unit's first number is that.
    while scaled >= step - if unit == 0 { 0.5 } else { 0.05 } && unit + 1 < units.len() {
        scaled /= step;
        unit += 1;
    }
    match unit {
        0 if scaled >= 99.95 || scaled.fract() == 0.0 => format!("{scaled:.0}"),
        _ => format!("{scaled:.1}{}", units[unit]),
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn total(counts: &BTreeMap<String, u64>) -> String {
    number(counts.values().sum::<u64>() as f64)
}

fn most(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}

fn most_of(one: Option<f64>, other: Option<f64>) -> Ordering {
    most(one.unwrap_or(-1.0), other.unwrap_or(-1.0))
}

fn most_counted(one: &BTreeMap<String, u64>, other: &BTreeMap<String, u64>) -> Ordering {
    other.values().sum::<u64>().cmp(&one.values().sum())
}

/// How wide each column is that has room in `width`, for these rows.
pub(super) fn widths<T>(columns: &[Column<T>], rows: &[T], width: usize) -> Vec<usize> {
    let names = rows.iter().map(|row| (columns[0].text)(row).chars().count());
    let first = names.chain([columns[0].title.len()]).max().unwrap_or_default();
    let mut taken = 0;
    let wanted = columns.iter().map(|column| column.width.max(if column.width == 0 { first } else { 0 }));
    wanted
        .take_while(|width_of_one| {
            taken += width_of_one + usize::from(taken > 0);
            taken <= width.max(first)
        })
        .collect()
}

/// A text in a column: names begin on the left, numbers end on the right.
pub(super) fn pad(text: &str, width: usize, place: usize) -> String {
    if place == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
}
