//! The SDK as filters use it: guests that were built with it, on the real host.

mod cells;
mod cost;
mod handles;
mod leave;
mod tasks;

use tidegate_test::{Kit, Module, Request, Setup};

/// The guest of this name in `tests/guests`.
fn guest(name: &str) -> Setup {
    Kit::of(&Module::file(guests::module(name)))
}

/// A request that has the guest do this.
fn doing(task: &str) -> Request {
    Request::get("/").header("x-do", task)
}

#[track_caller]
fn assert_no_fault(kit: &Kit) {
    let faults = kit.faults();
    assert!(faults.is_empty(), "{faults:?}");
}
