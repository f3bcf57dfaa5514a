//! What the SDK itself costs, in instructions. Of an exchange that a filter stays with most of it is the proxy-wasm
//! crate's dispatcher, which looks for the context in each callback; of one that it leaves at once that is not asked.

use tidegate_test::{Callback, Request, Response};

use crate::guest;

#[test]
fn an_exchange_of_a_filter_that_does_nothing_costs_this() {
    let kit = guest("empty").upstream(|_| Response::new(200).body("def")).start();
    kit.send(Request::post("/").body("abc")); // the first exchange allocates what later ones use again
    let seen = kit.send(Request::post("/").body("abc"));
    for (callback, bound) in [
        (Callback::RequestHeaders, 790),
        (Callback::RequestBody, 220),
        (Callback::ResponseHeaders, 220),
        (Callback::ResponseBody, 220),
        (Callback::Log, 650),
    ] {
        let cost = seen.instructions_in(callback);
        assert!(seen.calls(callback) == 1 && cost <= bound, "{callback:?} costs {cost}, more than {bound}");
    }
    assert!(seen.instructions() <= 2_070, "{}", seen.instructions());
}

#[test]
fn an_exchange_that_a_filter_leaves_costs_this() {
    let kit = guest("empty").config(serde_json::json!({"leave": true})).start();
    kit.send(Request::get("/"));
    let seen = kit.send(Request::get("/"));
    // How many exactly depends on the compiler: one counts 320, another 341.
    assert!(seen.instructions() <= 350, "{}", seen.instructions());
}
