//! Bodies stream: nothing waits for an end that it does not need, and a slow reader holds the writer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::equipment::{Act, Answer, Client, Framing, Gate, Proxy, Upstream, eventually};

/// What may be under way between two ends of the test before the first must wait: the kernel's buffers on both sides
/// (bounded by tcp_wmem and tcp_rmem) and the proxy's own. A proxy that buffers without bound takes far more.
const UNDER_WAY: u64 = 24 << 20;
/// What is offered: more than that by far.
const OFFERED: u64 = 128 << 20;

#[test]
fn chunks_of_a_response_arrive_as_they_are_sent() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer =
            Answer::default().read_body().head(200, &[("transfer-encoding", "chunked")]).chunk("first");
        answer.wait(&held).chunk("second").last_chunk(&[])
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly("5\r\nfirst\r\n".len()), "5\r\nfirst\r\n", "before the upstream goes on");
    gate.open();
    assert_eq!(client.body(Framing::Chunked).text(), "second");
}

#[test]
fn chunks_of_a_request_arrive_as_they_are_sent() {
    let upstream = Upstream::ok("thanks");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    upstream.wait_until("the first chunk", |requests| requests.iter().any(|request| request.arrived == 5));
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "thanks");
    assert_eq!(upstream.requests()[0].body.clone().unwrap().text(), "firstsecond");
}

#[test]
fn large_bodies_arrive_whole_in_both_directions_and_framings() {
    let body: String = (0..300_000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let sent = body.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/sized" => Answer::sized(200, &[], &sent),
        _ => Answer::chunked(200, &[], &[&sent[..100_000], &sent[100_000..100_001], &sent[100_001..]], &[]),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let chunked = format!(
        "POST /chunked HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let sized =
        format!("POST /sized HTTP/1.1\r\nhost: tide.test\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for (request, framing) in [(chunked, Framing::Chunked), (sized, Framing::Sized(body.len() as u64))] {
        client.send(&request);
        let response = client.response();
        assert!(response.text() == body, "the response's body was changed");
        assert_eq!(response.body.framing, framing);
    }
    for request in upstream.wait_for(2) {
        assert!(request.body.unwrap().text() == body, "the request's body was changed");
    }
}

#[test]
fn a_slow_client_holds_the_upstream_back() {
    let block = vec![b'x'; 64 << 10];
    let times = (OFFERED / block.len() as u64) as usize;
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body().head(200, &[("content-length", &OFFERED.to_string())]);
        answer.act(Act::Flood { block: block.clone(), times, written: count.clone() })
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Client::connect_narrow(proxy.address("in"));
    client.forget_bodies();
    client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    let taken = settled(|| written.load(Ordering::Relaxed));
    assert!(taken < UNDER_WAY, "{taken} bytes were taken for a client that reads none");
    let body = client.body(Framing::Sized(OFFERED));
    assert!(crate::equipment::is_whole(&body));
    assert_eq!(client.progress(), OFFERED);
}

#[test]
fn a_slow_upstream_holds_the_client_back() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start_forgetful(move |_| {
        Answer::default().wait(&held).read_body().head(200, &[("content-length", "2")]).send("ok")
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: {OFFERED}\r\n\r\n"));
    upstream.wait_for_heads(1);
    let taken = client.send_until_stopped(UNDER_WAY);
    gate.open();
    client.send_filler(OFFERED - taken);
    assert_eq!(client.response().text(), "ok");
    assert_eq!(upstream.requests()[0].arrived, OFFERED);
}

/// Waits until a value has not changed for half a second, and returns it.
fn settled(mut value: impl FnMut() -> u64) -> u64 {
    let (mut last, mut since) = (value(), Instant::now());
    eventually("a value to stay as it is", || {
        let now = value();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() >= Duration::from_millis(500)).then_some(now)
    })
}
