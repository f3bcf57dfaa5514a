//! The numbers on the page about performance: instructions, which are the same on every machine for one compiler. The page may be
//! off by a tenth, as one compiler is from the next.

use serde_json::json;
use tidegate::kit::{Kit, Module, Request, Response};

const PAGE: &str = include_str!("../../docs/src/write/performance.md");

/// The rows of a table of the page: a thing that is done, and its numbers.
fn rows(heading: &str) -> Vec<(&'static str, Vec<u64>)> {
    let (_, section) = PAGE.split_once(&format!("## {heading}\n")).expect("the page has that part");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2).map(cells);
    let number = |cell: &&str| cell.replace(',', "").parse().ok();
    rows.map(|cells| (cells[0], cells[1..].iter().filter_map(number).collect())).collect()
}

/// What a request costs where the guest does this so many times.
fn cost(what: &str, times: u32, request: &Request) -> u64 {
    let module = Module::file(guests::module("costs"));
    let kit = Kit::of(&module).config(json!({"what": what, "times": times}));
    let kit = kit.limits(|limits| limits.instructions = 1_000_000_000);
    let kit = kit.cluster("up", |_| Response::new(200).body("0123456789")).start();
    kit.send(request.clone()); // the first allocates what later ones use again
    let seen = kit.send(request.clone());
    assert_eq!(seen.status(), 200, "{what}");
    seen.instructions()
}

/// What doing it once costs beside everything else.
fn once(what: &str, request: &Request) -> u64 {
    (cost(what, 11, request) - cost(what, 1, request)) / 10
}

#[track_caller]
fn assert_near(what: &str, shown: u64, found: u64, off: &mut Vec<String>) {
    if shown.abs_diff(found) * 10 > found {
        off.push(format!("| {what} | {found} | the page has {shown}"));
    }
}

#[test]
fn what_hostcalls_cost_is_what_the_page_says() {
    let mut request = Request::get("/items").header("x-small", "0123456789");
    request = request.header("x-large", "0".repeat(1024));
    for at in 0..20 {
        request = request.header(&format!("x-{at}"), "0123456789");
    }
    let (mut off, rows) = (Vec::new(), rows("What a call costs"));
    assert!(rows.len() >= 15, "the table was not found");
    for (what, numbers) in rows {
        let found = once(what, &request);
        assert_near(what, numbers.first().copied().unwrap_or(0), found, &mut off);
    }
    assert!(off.is_empty(), "{}", off.join("\n"));
}

#[test]
fn what_bodies_cost_is_what_the_page_says() {
    let (mut off, rows) = (Vec::new(), rows("What a body costs"));
    assert!(rows.len() >= 4, "the table was not found");
    for (what, numbers) in rows {
        for (at, size) in [1 << 10, 64 << 10].into_iter().enumerate() {
            let list = format!("[{}]", vec!["12345"; size / 6].join(","));
            let request = Request::post("/").body(list);
            let found = once(what, &request);
            assert_near(&format!("{what} ({size})"), numbers.get(at).copied().unwrap_or(0), found, &mut off);
        }
    }
    assert!(off.is_empty(), "{}", off.join("\n"));
}
