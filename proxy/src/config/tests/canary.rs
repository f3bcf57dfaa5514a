//! What a filter's second version takes from the first, and what is told where it makes no sense.

use expect_test::expect;

use super::super::model::{CanaryMode, Config, OnFault, Percent};
use super::super::{effective, parse};
use super::{problems, valid, with_filter};

fn with_canary(fields: &str) -> String {
    let first = "    module: ./a.wasm\n    config: {a: 1}\n    limits: {memory: 8MiB}\n    on_fault: open\n";
    with_filter(&format!("{first}    canary: {{{fields}}}\n"))
}

fn warnings(text: &str) -> String {
    format!("{}\n", valid(text).warnings.render(false))
}

#[test]
fn what_a_second_version_does_not_say_is_as_in_the_first() {
    let config = valid(&with_canary("module: ./b.wasm, percent: 5")).config;
    let [first, second] = [0, 1].map(|index| config.filters[index].clone());
    assert_eq!((second.name.as_str(), &second.config), ("f@canary", &first.config));
    assert_eq!((second.limits.memory, second.on_fault), (8 << 20, OnFault::Open));
    assert_ne!(second.module, first.module);
    let canary = &config.canaries[0];
    assert_eq!((canary.filter, canary.candidate), (0, 1));
    assert_eq!((canary.mode, canary.percent, canary.rollback.faults), (CanaryMode::Serve, Percent(500), 1));
    assert_eq!(config.listeners[0].filters, [0], "chains do not name it");
}

#[test]
fn what_a_second_version_says_replaces_what_the_first_has() {
    let config = valid(&with_canary("config: {b: 2}, limits: {instructions: 5M}, percent: 5")).config;
    let [first, second] = [0, 1].map(|index| config.filters[index].clone());
    assert_eq!((&second.module, &second.config[..]), (&first.module, &br#"{"b":2}"#[..]));
    assert_eq!((second.limits.instructions, second.limits.memory), (5_000_000, 16 << 20));
}

#[test]
fn the_effective_configuration_is_one_that_means_the_same() {
    let text = with_canary("percent: 0.25%, promote: {steps: [1, 100], every: 1m}, key: x-user");
    let shown = effective(&valid(&text).config);
    assert!(shown["filters"].get("f@canary").is_none(), "{shown:#}");
    assert_eq!(shown["filters"]["f"]["canary"]["percent"], "0.25%");
    let again = parse(&shown.to_string(), std::path::Path::new("tidegate.yaml")).expect("it is valid");
    assert_eq!(effective(&again.config), shown);
}

#[test]
fn the_effective_configuration_has_what_a_second_version_may_do() {
    let text = with_canary("percent: 5, capabilities: {reply: true}");
    let loaded = valid(&text);
    let shown = effective(&loaded.config);
    assert_eq!(shown["filters"]["f"]["canary"]["capabilities"]["reply"], true, "{shown:#}");
    let again = parse(&shown.to_string(), std::path::Path::new("tidegate.yaml")).expect("it is valid");
    let granted = |config: &Config| config.filters[1].capabilities.clone();
    assert_eq!(granted(&again.config), granted(&loaded.config));
}

#[test]
fn a_promotion_begins_with_its_first_step() {
    let canary = |fields| valid(&with_canary(fields)).config.canaries[0].clone();
    assert_eq!(canary("promote: {steps: [2, 100]}").percent, Percent(200));
    assert_eq!(canary("promote: {steps: [2, 100]}, percent: 1").percent, Percent(100));
    assert_eq!(canary("match: {headers: {x-canary: {present: true}}}").percent, Percent::NONE);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (fields, complaint) in [
        ("percent: 101", "`101%` is too large"),
        ("percent: half", "expected a percentage such as `5%` or `0.5%`, found `half`"),
        ("promote: {steps: []}", "there are no steps"),
        ("promote: {steps: [5, 5]}", "the step `5%` is not more than `5%`"),
        ("promote: {}", "the field `steps` is missing here"),
        ("percent: 5, rollback: {latency: 1x}", "`1x` is too small"),
        ("percent: 5, mode: shadow, rollback: {latency: 2x}", "a shadow answers nobody: `latency`"),
        ("percent: 5, limits: {memory: 1}", "`1` is too small"),
        ("percent: 5, canary: {}", "unknown field `canary`"),
    ] {
        let told = problems(&with_canary(fields));
        assert!(told.contains(complaint), "{fields}: {told}");
    }
    let both = with_canary("percent: 5") + "  f@canary: {module: ./c.wasm}\n";
    assert!(problems(&both).contains("there is a filter `f@canary`"), "{}", problems(&both));
}

#[test]
fn a_share_without_its_sign_and_quotes_is_explained() {
    expect![[r#"
        error: expected a percentage such as `5%` or `0.5%`, found `0.5`
         --> tidegate.yaml:9:23
          |
        9 |     canary: {percent: 0.5}
          |                       ^^^
          |
          = help: write `0.5%`, with two places after the point at most
    "#]]
    .assert_eq(&problems(&with_canary("percent: 0.5")));
}

#[test]
fn what_is_likely_not_meant_is_warned_of() {
    expect![[r#"
        warning: this version gets no exchange until an operator says so
         --> tidegate.yaml:9:13
          |
        9 |     canary: {module: ./b.wasm}
          |             ^^^^^^^^^^^^^^^^^^
          |
          = help: give it a `percent`, a `match` or `promote.steps`
    "#]]
    .assert_eq(&warnings(&with_canary("module: ./b.wasm")));
    let tcp = with_canary("percent: 5, mode: shadow")
        .replace("routes: [{match: {}, respond: {}}]", "protocol: tcp, cluster: c");
    expect![[r#"
        warning: on the TCP listener `l` this version is shown nothing
         --> tidegate.yaml:9:13
          |
        9 |     canary: {percent: 5, mode: shadow}
          |             ^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: shadows are for HTTP: `mode: serve` works with both
    "#]]
    .assert_eq(&warnings(&format!("{tcp}clusters: {{c: {{endpoints: []}}}}\n")));
}
