//! What depends on how bodies are divided is found, and nothing else is.

use tidegate_test::{Request, Response};

use crate::guest::{failure, guest, sdk};

#[test]
fn a_filter_that_marks_each_piece_is_caught_with_the_division_and_the_difference() {
    let request = Request::post("/").body("abcdef");
    let said = failure(|| guest("marker").assert_chunking_is_invisible(&request, &Response::new(200)));
    assert!(said.contains("request in pieces of [1, 5], response in pieces of [] bytes:"), "{said}");
    assert!(said.contains("\"abcdef|\"") && said.contains("\"a|bcdef|\""), "{said}");
}

#[test]
fn a_filter_that_marks_each_piece_of_a_long_body_is_caught_too() {
    let request = Request::post("/").body(vec![b'x'; 5000]);
    let said = failure(|| guest("marker").assert_chunking_is_invisible(&request, &Response::new(200)));
    assert!(said.starts_with("the filter's effect depends on how bodies are divided"), "{said}");
}

#[test]
fn a_filter_that_lets_the_order_of_answers_decide_is_caught() {
    let racer = guest("racer").cluster("a", |_| Response::new(200)).cluster("b", |_| Response::new(200));
    let said = failure(|| racer.assert_chunking_is_invisible(&Request::get("/"), &Response::new(200)));
    assert!(said.contains("callouts answered in reverse:"), "{said}");
    assert!(said.contains(r#""x-order": ["a", "b"]"#) && said.contains(r#""x-order": ["b", "a"]"#), "{said}");
}

#[test]
fn a_filter_that_changes_the_whole_body_passes() {
    let up = || sdk().cluster("up", |_| Response::new(200).body("an answer"));
    for task in ["append", "prepend", "replace", "call", "call-late", "reply", "headers"] {
        let request = Request::post("/").header("x-do", task).body("to be changed").trailer("x-t", "1");
        let response = Response::new(200).body("abc").trailer("x-u", "2");
        up().assert_chunking_is_invisible(&request, &response);
    }
}
