//! A filter in another language than Rust, built before.

use tidegate_test::{Kit, Module, Request, Response};

fn tagger() -> Module {
    Module::bytes("tagger", &wat::parse_file("tests/guests/tagger.wat").unwrap())
}

#[test]
fn a_filter_that_no_sdk_made_is_run() {
    let kit = Kit::of(&tagger()).workers(2).start();
    kit.upstream(|request| Response::new(201).body(request.header("x-tag").unwrap_or_default().to_owned()));
    for worker in [0, 1, 1] {
        let seen = kit.send(Request::get("/").on_worker(worker));
        assert_eq!((seen.status(), seen.text().as_str()), (201, "seen"));
        assert!(seen.logged("tagging"), "{seen}");
    }
    assert_eq!(kit.counter("requests"), 3);
}
