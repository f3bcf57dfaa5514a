//! Failures that show after a response's head, or without any: they count like those that it says.

use crate::equipment::{
    Act, Answer, Client, GrpcAct, GrpcService, Proxy, Upstream, forwarding, refusing_address,
};

const TERMS: &str = "outlier_detection: {consecutive_5xx: 3, base_ejection_time: 1h, max_ejection_time: 1h}";

fn is_ejected(proxy: &Proxy) {
    proxy.wait_for_metric("tidegate_upstream_ejections_total", &[("reason", "consecutive_5xx")], 1.0);
}

#[test]
fn an_endpoint_that_cuts_its_responses_is_left_alone() {
    let bad = Upstream::start(|_| {
        Answer::default().read_body().head(200, &[("content-length", "100")]).send("cut").act(Act::Close)
    });
    let good = Upstream::ok("ok");
    let config = forwarding(&[bad.address(), good.address()], "");
    let config = config.replace("endpoints:", &format!("{TERMS}, endpoints:"));
    let proxy = Proxy::with(&config).workers(1).start();
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        client.rest();
    }
    is_ejected(&proxy);
    assert_eq!(bad.requests().len(), 3);
}

/// An endpoint whose answers are well until they end so, and one that is well. What ends them comes when their head has
/// reached the client.
fn calls(end: GrpcAct) -> (GrpcService, GrpcService, Proxy) {
    let start = |end: GrpcAct| {
        GrpcService::start(move |_| vec![GrpcAct::Head(vec![]), GrpcAct::ReadToEnd, end.clone()])
    };
    let (bad, good) = (start(end), start(GrpcAct::Trailers(vec![("grpc-status", "0")])));
    let config = forwarding(&[bad.address(), good.address()], "");
    let config = config.replace("endpoints:", &format!("protocol: http2, {TERMS}, endpoints:"));
    let proxy = Proxy::with(&config).workers(1).start();
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send(
            "POST /svc/Do HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
             connection: close\r\ncontent-length: 5\r\n\r\n",
        );
        assert_eq!(client.head().status(), 200);
        client.send("\0\0\0\0\0");
        client.rest();
    }
    (bad, good, proxy)
}

#[test]
fn an_endpoint_whose_calls_fail_in_their_trailers_is_left_alone() {
    let (bad, _good, proxy) = calls(GrpcAct::Trailers(vec![("grpc-status", "14")]));
    is_ejected(&proxy);
    assert_eq!(bad.rpcs().len(), 3);
}

#[test]
fn an_endpoint_that_resets_its_streams_midway_is_left_alone() {
    let (bad, _good, proxy) = calls(GrpcAct::Reset(2));
    is_ejected(&proxy);
    assert_eq!(bad.rpcs().len(), 3);
}

#[test]
fn a_client_that_leaves_midway_says_nothing_of_the_endpoint() {
    let upstream = Upstream::start(|_| {
        Answer::default().read_body().head(200, &[("content-length", "100")]).send("more").act(Act::AwaitEnd)
    });
    let config = forwarding(&[upstream.address(), upstream.address()], "");
    let config = config.replace("endpoints:", &format!("{TERMS}, endpoints:"));
    let proxy = Proxy::with(&config).workers(1).start();
    for count in 1..=10 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        client.reset();
        proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "client_left")], f64::from(count));
    }
    assert_eq!(proxy.metrics().sum("tidegate_upstream_ejections_total", &[]), 0.0);
}

#[test]
fn an_endpoint_that_takes_no_tcp_connection_is_left_alone() {
    let (refusing, _taken) = refusing_address();
    let good = Upstream::ok("ok");
    let proxy = Proxy::with(&format!(
        "listeners: [{{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: up}}]\n\
         clusters: {{up: {{{TERMS}, load_balancer: round_robin, endpoints: [\"{refusing}\", \"{}\"]}}}}\n",
        good.address()
    ));
    let proxy = proxy.workers(1).start();
    let mut served = 0;
    for _ in 0..20 {
        let mut client = Client::connect(proxy.address("in"));
        let sent = client.try_send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = sent.and_then(|()| client.try_response_to("GET"));
        served += usize::from(answer.is_ok_and(|answer| answer.is_some()));
    }
    is_ejected(&proxy);
    assert_eq!(served, 17);
}
