//! What the SDK itself costs, in instructions. Most of it is the proxy-wasm crate's dispatcher, which looks for the context
//! in each callback: 136 of them are a callback that the SDK does not have.

use tidegate_test::{Callback, Request, Response};

use crate::guest;

#[test]
fn an_exchange_of_a_filter_that_does_nothing_costs_this() {
    let kit = guest("empty").upstream(|_| Response::new(200).body("def")).start();
    kit.send(Request::post("/").body("abc")); // the first exchange allocates what later ones use again
    let seen = kit.send(Request::post("/").body("abc"));
    for (callback, bound) in [
        (Callback::ContextCreate, 560),
        (Callback::RequestHeaders, 190),
        (Callback::RequestBody, 210),
        (Callback::ResponseHeaders, 190),
        (Callback::ResponseBody, 210),
        (Callback::Done, 140),
        (Callback::Log, 145),
        (Callback::Delete, 350),
    ] {
        let cost = seen.instructions_in(callback);
        assert!(seen.calls(callback) == 1 && cost <= bound, "{callback:?} costs {cost}, more than {bound}");
    }
    assert!(seen.instructions() <= 1_950, "{}", seen.instructions());
}
