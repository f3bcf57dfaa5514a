//! A filter that was built before, in another language than Rust.

use tidegate_test::{Kit, LogLevel, Module, Request, Response};

use crate::guest::failure;

fn tagger() -> Module {
    Module::bytes("tagger", &wat::parse_file("tests/guests/tagger.wat").expect("it is a module"))
}

#[test]
fn it_is_run_like_any_other() {
    let kit = Kit::of(&tagger()).workers(2).start();
    kit.upstream(|request| Response::new(201).body(request.header("x-tag").unwrap_or_default().to_owned()));
    for worker in [0, 1, 1] {
        let seen = kit.send(Request::get("/").on_worker(worker));
        assert_eq!((seen.status(), seen.text().as_str()), (201, "seen"));
        assert_eq!((seen.logs()[0].level, seen.logs()[0].worker), (LogLevel::Debug, worker));
    }
    assert_eq!(kit.counter("requests"), 3);
}

#[test]
fn what_it_refuses_is_said_with_what_it_logged() {
    let refused = Kit::of(&tagger()).config_text("refuse").try_start().expect_err("it refuses");
    assert_eq!(refused.fault.kind.word(), "configure");
    let said = failure(|| drop(Kit::of(&tagger()).config_text("refuse").start()));
    assert!(said.starts_with("tagger: configure fault in proxy_on_configure"), "{said}");
    assert!(said.ends_with("error: cannot use this configuration"), "{said}");
}

#[test]
fn what_is_no_module_is_said_to_be_none() {
    let said = failure(|| drop(Module::bytes("notes", b"dear diary")));
    assert_eq!(
        said,
        "notes: this is not a WebAssembly module but text; build the filter for a wasm32 target"
    );
    let said = failure(|| drop(Module::file("nowhere.wasm")));
    assert!(said.starts_with("cannot read nowhere.wasm: "), "{said}");
}

#[test]
fn a_metric_that_is_not_there_is_said_with_those_that_are() {
    let kit = Kit::of(&tagger()).start();
    let said = failure(|| _ = kit.counter("request"));
    assert_eq!(said, "the filter has defined no Counter `request`; there are: Counter requests");
}

#[test]
fn a_crate_that_makes_no_module_is_said_with_its_folder() {
    let said = failure(|| drop(Module::build("no such folder")));
    assert!(said.starts_with("the filter in no such folder cannot be built: "), "{said}");
}
