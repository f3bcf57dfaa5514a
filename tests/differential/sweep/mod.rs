//! The sweep: every hostcall in every callback, in tidegate and in Envoy, call by call.
//!
//! [`calls`] are its rows and [`columns`] its columns: a new hostcall, or a callback that can be reached, is a line there.
//! [`play`] brings one side to each cell, with the probe of `tests/guests`, which is told by a header of the request what
//! to do in which callback. What differs has a rule in [`rules`], and all of it is on a page of the book.

mod calls;
mod columns;
mod page;
mod play;
mod rules;
mod wire;

use std::collections::BTreeSet;

use expect_test::expect_file;

use calls::Call;
use columns::COLUMNS;
use page::Differences;
use play::{Player, Results};
use rules::RULES;

use crate::equipment::Envoy;

/// The modules, and whether they are of ABI 0.1.0.
const MODULES: [(&str, bool); 2] = [("probe", false), ("probe_0_1_0", true)];

/// Tries everything on one side.
fn sweep(calls: &[Call], envoy: bool) -> Results {
    let mut results = Results::new();
    for (module, is_old) in MODULES {
        let calls: Vec<&Call> = calls.iter().filter(|call| call.is_old == is_old).collect();
        for is_tcp in [false, true] {
            let mut player = Player::start(module, &calls, envoy, is_tcp);
            results.append(&mut player.play(&calls));
            player.check_leaks();
            results.append(&mut player.finish(&calls));
        }
    }
    results
}

#[test]
fn every_hostcall_in_every_callback_is_as_in_envoy_or_different_on_purpose() {
    if !Envoy::is_installed() {
        return;
    }
    let calls = calls::calls();
    let (envoy, ours) = std::thread::scope(|scope| {
        let (envoy, ours) = (scope.spawn(|| sweep(&calls, true)), scope.spawn(|| sweep(&calls, false)));
        (envoy.join().expect("Envoy's side was swept"), ours.join().expect("tidegate's side was swept"))
    });
    let differences = explain(&calls, &envoy, &ours);
    let page = page::page(&calls, &differences);
    expect_file!["../../../docs/src/reference/compatibility.md"].assert_eq(&page);
}

/// Finds the rule for each difference, and fails the test where there is none, or no difference for a rule.
fn explain(calls: &[Call], envoy: &Results, ours: &Results) -> Differences {
    let mut differences = Differences::new();
    let mut used = BTreeSet::new();
    let mut unexplained = Vec::new();
    assert_eq!(envoy.len(), ours.len(), "both sides have the same cells");
    for ((cell @ (column, text), theirs), own) in envoy.iter().zip(ours.values()) {
        if theirs == own {
            continue;
        }
        let name = COLUMNS[*column].name;
        let cases = RULES
            .iter()
            .enumerate()
            .flat_map(|(rule, entry)| entry.cases.iter().enumerate().map(move |(at, case)| (rule, at, case)));
        let found = cases.into_iter().find(|(_, _, case)| case.is(name, text, theirs, own));
        let call = calls.iter().find(|call| call.text == *text);
        match (found, call) {
            (Some((rule, at, _)), Some(call)) => {
                used.insert((rule, at));
                differences.entry((*column, call.hostcall)).or_default().insert(rule);
            }
            _ => unexplained.push(format!("{cell:?} in {name}:\n- {theirs:?}\n+ {own:?}")),
        }
    }
    let count = unexplained.len();
    assert!(
        unexplained.is_empty(),
        "in {count} cells tidegate (+) differs from Envoy (-), and no rule says why:\n{}",
        unexplained.join("\n")
    );
    for (rule, entry) in RULES.iter().enumerate() {
        for (at, case) in entry.cases.iter().enumerate() {
            assert!(used.contains(&(rule, at)), "{:?}: nothing differs like this: {case:?}", entry.title);
        }
    }
    differences
}
