//! Endpoints come and go while those that stay keep what they have.

use super::{answers, config, count, endpoint, upstreams};
use crate::equipment::Proxy;

#[test]
fn endpoints_that_stay_keep_their_connections_and_counts() {
    let up = upstreams(4);
    let mut proxy = Proxy::start(&config(&up, "A, B, C", "", ""));
    answers(&proxy, 30);
    assert!(proxy.change(&config(&up, "{address: A, weight: 2}, B, D", ", connect_timeout: 2s", "")));
    let seen = answers(&proxy, 40);
    assert_eq!(["a", "b", "c", "d"].map(|name| count(&seen, name)), [20, 10, 0, 10], "{seen}");
    assert_eq!([0, 1, 3].map(|at| up[at].connections()), [1, 1, 1], "nothing was connected anew");
    crate::equipment::eventually("the connection to the one that left to be closed", || {
        (up[2].open_connections() == 0).then_some(())
    });
    proxy.settle();
    let requests = |at: usize| endpoint(&proxy, up[at].address())["requests"].clone();
    assert_eq!([0, 1, 3].map(requests), [30, 20, 10], "they are counted on");
}

#[test]
fn what_is_in_flight_comes_back_to_the_pool_of_the_next_configuration() {
    let gate = crate::equipment::Gate::new();
    let upstream = crate::proxy::reload::holding(&gate);
    let other = upstreams(1).remove(0);
    let up = [upstream, other];
    let mut proxy = Proxy::start(&config(&up, "A", "", ""));
    let mut held = proxy.client();
    held.send("GET /held HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    up[0].wait_for_heads(1);
    assert!(proxy.change(&config(&up, "A, {address: B, priority: 1}", "", "")));
    assert_eq!(endpoint(&proxy, up[0].address())["active_requests"], 1, "it is known to be busy");
    gate.open();
    assert_eq!(held.response().status(), 200);
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(up[0].connections(), 1, "the connection of the former configuration serves on");
}

#[test]
fn other_settings_of_connections_make_new_ones() {
    let up = upstreams(1);
    let mut proxy = Proxy::start(&config(&up, "A", "", ""));
    answers(&proxy, 3);
    assert!(proxy.change(&config(&up, "A", ", header_bytes: 16KiB", "")));
    answers(&proxy, 3);
    assert_eq!(up[0].connections(), 2, "the limit is one of the connection");
}
