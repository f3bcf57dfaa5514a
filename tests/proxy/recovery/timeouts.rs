//! How long a request may take, by its route and by what it says itself.

use crate::equipment::{Act, Answer, Proxy, Upstream, forwarding, in_listener};

fn silent() -> Upstream {
    Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd))
}

#[test]
fn an_exchange_that_lasts_longer_than_it_may_is_504_or_cut() {
    let upstream = silent();
    let proxy = Proxy::start(&forwarding(&[upstream.address()], "timeout: 0s, max_duration: 200ms"));
    assert_eq!(proxy.client().get("/").status(), 504);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "duration_exceeded")], 1.0);
    let upstream = Upstream::start(|_| {
        Answer::default().read_body().head(200, &[("content-length", "8")]).send("half").act(Act::AwaitEnd)
    });
    let proxy = Proxy::start(&forwarding(&[upstream.address()], "timeout: 0s, max_duration: 200ms"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    assert!(client.rest().ends_with("half"), "it is cut");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "duration_exceeded")], 1.0);
}

#[test]
fn a_route_has_an_idle_timeout_of_its_own() {
    let upstream = silent();
    let proxy = Proxy::start(&forwarding(&[upstream.address()], "timeout: 0s, idle_timeout: 200ms"));
    assert_eq!(proxy.client().get("/").status(), 504);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "response_idle")], 1.0);
}

#[test]
fn a_request_says_how_long_it_may_take_where_it_is_trusted() {
    let upstream = silent();
    let config = in_listener(&forwarding(&[upstream.address()], "timeout: 0s"), &["trusted_hops: 1"]);
    let proxy = Proxy::start(&config);
    let fields = [("x-envoy-upstream-rq-timeout-ms", "200")];
    assert_eq!(proxy.client().request("GET", "/", &fields, "").status(), 504);
    assert!(upstream.requests()[0].head.field("x-envoy-upstream-rq-timeout-ms").is_none());
}

#[test]
fn the_deadline_of_a_grpc_request_is_kept_and_what_is_left_of_it_is_passed_on() {
    let upstream = silent();
    let proxy = Proxy::start(&forwarding(&[upstream.address()], "timeout: 0s, grpc_timeout: 300ms"));
    let fields = [("content-type", "application/grpc"), ("grpc-timeout", "1H")];
    let response = proxy.client().request("POST", "/", &fields, "");
    assert_eq!(response.field("grpc-status"), Some("14"), "the route's limit on it is shorter");
    let told = upstream.requests()[0].head.field("grpc-timeout").map(str::to_owned).expect("it is passed on");
    let left: u64 = told.trim_end_matches('m').parse().expect("it is in milliseconds");
    assert!(left <= 300, "{told}");
}
