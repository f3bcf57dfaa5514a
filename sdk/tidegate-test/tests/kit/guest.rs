//! The filters in `tests/guests`, and that of the SDK's own tests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_test::{Kit, Module, Setup};

/// A guest in WebAssembly text: the file of this name around the prelude.
pub(crate) fn guest(name: &str) -> Setup {
    let read = |name: &str| {
        std::fs::read_to_string(format!("tests/guests/{name}.wat")).expect("a guest can be read")
    };
    let module = format!("(module\n{}{})", read("prelude"), read(name));
    Kit::of(&Module::bytes(name, &wat::parse_str(module).unwrap_or_else(|error| panic!("{name}: {error}"))))
}

/// The guest that does what the header `x-do` says: see `tests/guests/sdk.rs` at the top.
pub(crate) fn sdk() -> Setup {
    Kit::of(&Module::file(guests::module("sdk")))
}

/// What a test would say that fails in `run`.
pub(crate) fn failure(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it fails");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => (*panic.downcast::<&str>().expect("a panic has a message")).to_owned(),
    }
}
