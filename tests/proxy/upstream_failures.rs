//! What a client gets when the upstream fails, and how it is counted.

use crate::equipment::{Act, Answer, Proxy, Upstream, forwarding, refusing_address, silent_address};

fn counted(proxy: &Proxy, outcome: &str, times: f64) {
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", outcome), ("cluster", "up")], times);
}

#[test]
fn a_refused_connection_is_503() {
    let (address, _taken) = refusing_address();
    let proxy = Proxy::forwarding_to(&[address]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 503);
    assert_eq!(client.request("POST", "/", &[], "body").status(), 503, "and the connection goes on");
    counted(&proxy, "connect_failed", 2.0);
    proxy.wait_for_metric("tidegate_upstream_connect_failures_total", &[("cluster", "up")], 2.0);
}

#[test]
fn an_endpoint_that_does_not_take_the_connection_in_time_is_503() {
    let (address, _queue) = silent_address();
    let config = forwarding(&[address], "").replace("endpoints:", "connect_timeout: 100ms, endpoints:");
    let proxy = Proxy::start(&config);
    assert_eq!(proxy.client().get("/").status(), 503);
    counted(&proxy, "connect_timeout", 1.0);
    let labels = [("cluster", "up"), ("reason", "timeout")];
    proxy.wait_for_metric("tidegate_upstream_connect_failures_total", &labels, 1.0);
}

#[test]
fn a_cluster_without_endpoints_is_503() {
    let proxy = Proxy::start(&forwarding(&[], ""));
    assert_eq!(proxy.client().get("/").status(), 503);
    counted(&proxy, "no_endpoint", 1.0);
}

#[test]
fn an_upstream_that_closes_before_its_answer_is_502() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::Close));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    assert_eq!(client.request("POST", "/", &[], "body").status(), 502);
    assert_eq!(client.get("/").status(), 502);
    counted(&proxy, "upstream_reset", 2.0);
}

#[test]
fn an_upstream_that_resets_in_the_middle_of_its_head_is_502() {
    let upstream = Upstream::start(|_| {
        Answer::default().read_body().send("HTTP/1.1 200 OK\r\ncontent-le").act(Act::Reset)
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    assert_eq!(proxy.client().request("POST", "/", &[], "body").status(), 502);
    counted(&proxy, "upstream_reset", 1.0);
}

#[test]
fn an_upstream_that_says_nonsense_is_502() {
    for nonsense in
        ["nonsense\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nbad field\r\n\r\n", "\0\0\0\0"]
    {
        let upstream = Upstream::start(move |_| Answer::default().read_body().send(nonsense).act(Act::Close));
        let proxy = Proxy::forwarding_to(&[upstream.address()]);
        assert_eq!(proxy.client().get("/").status(), 502, "{nonsense:?}");
        proxy.wait_for_metric("tidegate_requests_total", &[("code_class", "5xx")], 1.0);
    }
}

#[test]
fn an_answer_with_two_lengths_is_502() {
    let upstream = Upstream::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk";
        Answer::default().read_body().send(head).act(Act::Close)
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    assert_eq!(proxy.client().get("/").status(), 502);
    counted(&proxy, "upstream_malformed", 1.0);
}

#[test]
fn an_answer_with_too_large_a_head_is_502() {
    let upstream = Upstream::start(|_| Answer::sized(200, &[("x-large", &"x".repeat(9000))], "ok"));
    let config =
        forwarding(&[upstream.address()], "").replace("endpoints:", "header_bytes: 8KiB, endpoints:");
    let proxy = Proxy::start(&config);
    assert_eq!(proxy.client().get("/").status(), 502);
    counted(&proxy, "upstream_head_too_large", 1.0);
}

#[test]
fn a_body_that_is_cut_by_the_upstream_is_cut_for_the_client() {
    for (framing, part) in [("content-length: 100", "half"), ("transfer-encoding: chunked", "4\r\nhalf\r\n")]
    {
        for end in [Act::Close, Act::Reset] {
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}");
            let upstream =
                Upstream::start(move |_| Answer::default().read_body().send(&head).act(end.clone()));
            let proxy = Proxy::forwarding_to(&[upstream.address()]);
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
            // Whether the head still goes out before the cut is known is up to the network; a whole answer is wrong.
            match client.try_response_to("GET") {
                Ok(Some(response)) if response.status() == 200 => {
                    assert!(!crate::equipment::is_whole(&response.body), "{framing}: a cut body looks whole");
                    counted(&proxy, "upstream_body_cut", 1.0);
                    assert_eq!(client.rest(), "");
                }
                Ok(Some(response)) => assert_eq!(response.status(), 502),
                Ok(None) | Err(_) => {}
            }
            proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "ok")], 0.0);
        }
    }
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let proxy = Proxy::start(&forwarding(&[upstream.address()], "timeout: 300ms"));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 504);
    assert_eq!(client.request("POST", "/", &[], "body").status(), 504);
    counted(&proxy, "upstream_timeout", 2.0);
    crate::equipment::eventually("the request to be ended at the upstream", || {
        (upstream.open_connections() == 0).then_some(())
    });
    assert_eq!(client.get("/").status(), 504, "and the connection goes on");
    assert_eq!(
        client.request("POST", "/", &[], "body").status(),
        504,
        "a body is awaited first, not for ever"
    );
}

#[test]
fn a_body_that_takes_longer_than_the_routes_timeout_is_cut() {
    let gate = crate::equipment::Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default()
            .read_body()
            .head(200, &[("content-length", "8")])
            .send("half")
            .wait(&held)
            .send("rest")
    });
    let proxy = Proxy::start(&forwarding(&[upstream.address()], "timeout: 1s"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(4), "half");
    client.expect_end();
    gate.open();
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "upstream_timeout")], 1.0);
}

#[test]
fn one_bad_endpoint_does_not_fail_the_others_requests() {
    let (refusing, _taken) = refusing_address();
    let upstream = Upstream::ok("good");
    let proxy = Proxy::forwarding_to(&[refusing, upstream.address()]);
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..10).map(|_| client.get("/").status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
}
