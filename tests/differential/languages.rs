//! Filters in other languages do in Envoy what they do here, and the same in every language: the tour, whose sources and
//! description are in `tests/languages`.

use expect_test::expect_file;

use super::{Case, Stage};
use crate::equipment::language::{ASSEMBLYSCRIPT, ASSEMBLYSCRIPT_0_2_0, C, CPP, GO, RUST, RUST_WASI, ZIG};
use crate::equipment::{Answer, Head, Language};

fn up(head: &Head) -> Answer {
    match head.target() {
        "/question" => Answer::sized(201, &[("x-by", "up")], "an answer"),
        _ => Answer::chunked(200, &[("x-internal", "1"), ("x-empty", "")], &["hello ", "world"], &[]),
    }
}

/// Each exchange is over before the next begins, so that the guest's lines have one order.
fn take(stage: &Stage) {
    let many = [("x-in", "wave"), ("x-many", "a"), ("x-remove", "1"), ("x-many", "b"), ("x-empty", "")];
    stage.request("GET", "/", &many, "");
    stage.wait_for_guest_times("log ", 1);
    stage.request("POST", "/shout", &[("x-in", "")], "gruss");
    stage.wait_for_guest_times("log ", 2);
    stage.request("GET", "/denied", &[], "");
    stage.wait_for_guest_times("log ", 3);
    stage.request("POST", "/asked", &[], "hold on");
    stage.wait_for_guest_times("log ", 4);
    stage.request("GET", "/later", &[], "");
    stage.wait_for_guest_times("log ", 5);
}

fn tour(language: &Language) {
    let Some(module) = language.tour() else { return };
    if let Some(seen) = Case::new("tour").upstream(up).tour(module, "tide").run_and_show(take) {
        expect_file!["../languages/seen.txt"].assert_eq(&seen);
    }
}

#[test]
fn a_filter_in_c() {
    tour(&C);
}

#[test]
fn a_filter_in_cpp() {
    tour(&CPP);
}

#[test]
fn a_filter_in_zig() {
    tour(&ZIG);
}

#[test]
fn a_filter_in_go() {
    tour(&GO);
}

#[test]
fn a_filter_in_assemblyscript() {
    tour(&ASSEMBLYSCRIPT);
}

#[test]
fn a_filter_in_assemblyscript_of_abi_0_2_0() {
    tour(&ASSEMBLYSCRIPT_0_2_0);
}

#[test]
fn a_filter_in_rust() {
    tour(&RUST);
}

#[test]
fn a_filter_in_rust_for_wasi() {
    tour(&RUST_WASI);
}
