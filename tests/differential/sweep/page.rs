//! What the sweep found, as a page of the book.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tidegate::wasm::hostcalls::{Family, HOSTCALLS};

use super::calls::{Call, NOT_IN_ENVOY};
use super::columns::{COLUMNS, Column, Of, PLAIN_COLUMNS};
use super::play::is_tried;
use super::rules::RULES;

/// For each column and hostcall, the rules that it differs by (indices of [`RULES`]).
pub(super) type Differences = BTreeMap<(usize, &'static str), BTreeSet<usize>>;

const HEAD: &str = "# Compatibility

<!-- Written by a test from what it measured: UPDATE_EXPECT=1 cargo test --test e2e -- sweep -->

Every hostcall was made in every callback, in tidegate and in Envoy 1.40, by the same module: each with good arguments, and
with every member of an enumeration (all maps, buffers, streams, kinds of metric). What the guest was answered, what the
client saw and what the upstream saw were compared.

`=` is the same in both. A number is a difference on purpose, explained [below](#differences), in at least one of the calls.
`foreign_function` is missing because no Envoy calls it. The module is `tests/guests/probe.rs`, which runs any call from a
script; the sweep is in `tests/differential/sweep`.

";

/// The whole page.
pub(super) fn page(calls: &[Call], differences: &Differences) -> String {
    let mut page = HEAD.to_owned();
    for (of, title) in [
        (Of::Exchange, "Callbacks of an exchange"),
        (Of::Root, "Callbacks of a root"),
        (Of::Connection, "Callbacks of a connection"),
    ] {
        let columns: Vec<usize> = (0..COLUMNS.len()).filter(|at| COLUMNS[*at].of == of).collect();
        let _ = write!(page, "## {title}\n\n");
        let is_abi = |family: Family| family != Family::Wasi;
        table(&mut page, calls, differences, &columns, is_abi, |at| heading(&COLUMNS[at]));
    }
    page.push_str(
        "## WASI\n\nWhat these answer does not depend on the callback; they were tried in two.\n\n",
    );
    let columns: Vec<usize> =
        (0..COLUMNS.len()).filter(|at| PLAIN_COLUMNS.contains(&COLUMNS[*at].name)).collect();
    let is_wasi = |family: Family| family == Family::Wasi;
    table(&mut page, calls, differences, &columns, is_wasi, |at| format!("`{}`", COLUMNS[at].name));
    page.push_str("## Not in Envoy\n\n");
    for (name, why) in NOT_IN_ENVOY {
        let _ = writeln!(page, "- `{name}`: {why}");
    }
    page.push_str("\n## Differences\n\n");
    for (at, rule) in RULES.iter().enumerate() {
        let _ = write!(page, "### {}. {}\n\n{}\n\n", at + 1, rule.title, rule.reason);
        page.push_str("| call | | Envoy | tidegate |\n|---|---|---|---|\n");
        for case in rule.cases {
            let column = if case.column.is_empty() { String::new() } else { format!("in `{}`", case.column) };
            let (envoy, ours) = (shown(case.envoy), shown(case.ours));
            let _ = writeln!(page, "| `{}` | {column} | {envoy} | {ours} |", case.call);
        }
        page.push('\n');
    }
    page.trim_end().to_owned() + "\n"
}

/// A row for each hostcall, a column for each callback.
fn table(
    page: &mut String,
    calls: &[Call],
    differences: &Differences,
    columns: &[usize],
    is_shown: impl Fn(Family) -> bool,
    heading: impl Fn(usize) -> String,
) {
    let headings: Vec<String> = columns.iter().map(|at| heading(*at)).collect();
    let _ = write!(page, "| | {} |\n|---|{}\n", headings.join(" | "), "---|".repeat(columns.len()));
    for hostcall in HOSTCALLS.iter().filter(|hostcall| is_shown(hostcall.family)) {
        let Some(call) = calls.iter().find(|call| call.hostcall == hostcall.name) else { continue };
        let cell = |at: &usize| {
            let column = &COLUMNS[*at];
            if !is_tried(call, column) {
                return "·".to_owned();
            }
            match differences.get(&(*at, hostcall.name)) {
                Some(rules) => {
                    let numbers: Vec<String> = rules.iter().map(|rule| (rule + 1).to_string()).collect();
                    numbers.join(" ")
                }
                None => "=".to_owned(),
            }
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let _ = writeln!(page, "| `{}` | {} |", hostcall.name, cells.join(" | "));
    }
    page.push('\n');
}

/// A callback's name, broken where it is long.
fn heading(column: &Column) -> String {
    column.name.replace('_', "_<br>").replace(' ', "<br>")
}

/// An answer's beginning as people read it.
fn shown(answer: &str) -> String {
    let (status, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    let name = match status {
        "0" => "`Ok`",
        "1" => "`NotFound`",
        "2" => "`BadArgument`",
        "3" => "`SerializationFailure`",
        "4" => "`ParseFailure`",
        "10" => "`InternalFailure`",
        "12" => "`Unimplemented`",
        _ => return answer.trim_start_matches('…').to_owned(),
    };
    match rest {
        "" => name.to_owned(),
        rest => format!("{name}, {rest}"),
    }
}
