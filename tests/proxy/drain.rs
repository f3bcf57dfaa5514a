//! SIGTERM: no request that began fails, no new connection is taken, and the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

use super::filters::with_filters;
use crate::equipment::{
    Act, Answer, Client, Gate, Guest, Map, On, Proxy, Step, Upstream, When, eventually, forwarding,
    in_listener, request_text,
};

#[test]
fn requests_in_flight_are_finished_before_the_end() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body().head(200, &[("content-length", "8")]);
        answer.send("half").wait(&held).send("rest")
    });
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let (mut client, mut idle) = (proxy.client(), proxy.client());
    client.send(&request_text("GET", "/", &[], ""));
    assert_eq!(client.head().status(), 200);
    let address = proxy.address("in");
    proxy.terminate();
    eventually("new connections to be refused", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    idle.expect_end(); // what is not needed any more is closed, what is under way goes on
    gate.open();
    assert_eq!(client.exactly(8), "halfrest");
    client.expect_end();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[test]
fn idle_connections_are_closed_and_the_proxy_ends() {
    let upstream = Upstream::ok("hello");
    // Nothing else closes them.
    let config = forwarding(&[upstream.address()], "");
    let config = in_listener(&config, &["limits: {header_timeout: 1h}"]);
    let mut proxy = Proxy::start(&format!("drain_timeout: 1h\n{config}"));
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "hello");
    let mut silent = proxy.client();
    proxy.terminate();
    client.expect_end();
    silent.expect_end();
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn no_request_fails_when_the_proxy_is_told_to_end_under_load() {
    let upstream = Upstream::ok("hello");
    let mut proxy = Proxy::with(&forwarding(&[upstream.address()], "")).workers(2).start();
    let address = proxy.address("in");
    let (served, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let draining = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (served, failed, draining) = (served.clone(), failed.clone(), draining.clone());
            std::thread::spawn(move || keep_asking(address, &served, &failed, &draining))
        })
        .collect();
    eventually("a hundred answers", || (served.load(Ordering::Relaxed) > 100).then_some(()));
    draining.store(true, Ordering::SeqCst);
    proxy.terminate();
    for client in clients {
        client.join().expect("a client does not fail");
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", served.load(Ordering::Relaxed));
    assert_eq!(proxy.wait().code, Some(0));
}

/// Asks on connection after connection until the proxy takes no more. A request counts as failed when its head was
/// answered by anything but a whole 200. A connection that is closed before its next request is no failure: with
/// keep-alive a close may cross a request, and clients ask again then (RFC 9112 section 9.3.1).
fn keep_asking(
    address: std::net::SocketAddr,
    served: &AtomicUsize,
    failed: &AtomicUsize,
    draining: &AtomicBool,
) {
    while let Ok(mut client) = Client::try_connect(address) {
        for at in 0..50 {
            if client.try_send(request_text("GET", "/", &[], "").as_bytes()).is_err() {
                break;
            }
            match client.try_response_to("GET") {
                Ok(Some(response)) if response.status() == 200 && response.text() == "hello" => {
                    served.fetch_add(1, Ordering::Relaxed);
                    if response.head.lists("connection", "close") {
                        break;
                    }
                }
                Ok(None) | Err(_) if draining.load(Ordering::SeqCst) && at > 0 => break,
                Ok(None) | Err(_) if draining.load(Ordering::SeqCst) => return,
                other => {
                    eprintln!("request {at} of a connection failed: {other:?}");
                    failed.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

#[test]
fn a_drain_that_takes_too_long_is_cut_and_says_so() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let config = in_listener(&forwarding(&[upstream.address()], "timeout: 0s"), &["access_log: true"]);
    let mut proxy = Proxy::start(&format!("drain_timeout: 300ms\n{config}"));
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(1);
    proxy.terminate();
    let _ = client.try_response_to("GET");
    let exit = proxy.wait();
    assert!(exit.stderr.contains("cutting what is left"), "{}", exit.stderr);
    assert!(exit.stdout.contains(r#""outcome":"draining""#), "{}", exit.stdout);
}

#[test]
fn the_admin_listener_says_that_a_draining_proxy_is_not_ready() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "2")]).send("ok")
    });
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(1);
    proxy.terminate();
    eventually("readiness to be taken back", || (proxy.admin("/ready").status() == 503).then_some(()));
    assert_eq!(proxy.admin("/live").status(), 200);
    gate.open();
    let response = client.response();
    assert_eq!(response.text(), "ok");
    assert!(response.head.lists("connection", "close"), "{response:?}");
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_request_whose_head_is_on_its_way_is_answered() {
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
                  \x20 - {match: {path: {prefix: /}}, respond: {status: 200, body: hello}}\n";
    let mut proxy = Proxy::start(config);
    let (mut client, mut idle) = (proxy.client(), proxy.client());
    client.send("GET / HTTP/1.1\r\nhost: ti");
    assert_eq!(proxy.client().get("/").text(), "hello"); // what came before was read by now
    proxy.terminate();
    idle.expect_end();
    client.send("de.test\r\n\r\n");
    let response = client.response();
    assert!(response.text() == "hello" && response.head.lists("connection", "close"), "{response:?}");
    client.expect_end();
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_served() {
    let upstream = Upstream::ok("hello");
    let busy = vec![Step::say("busy"), Step::Spin(200_000_000)];
    let guest = Guest::new()
        .on(On::RequestHeaders, [Step::If(When::Header(Map::RequestHeaders, "x-busy", "yes"), busy)]);
    let limits = ", limits: {instructions: 100000M, wall_clock: 30s}";
    let mut proxy = with_filters(&upstream, &[("busy", &guest, limits)]);
    let address = proxy.address("in");
    let busy_lines = |count| {
        eventually("the worker to be busy", || {
            (proxy.guest_log().iter().filter(|(_, line)| line == "busy").count() >= count).then_some(())
        });
    };
    let (mut first, mut second) = (proxy.client(), proxy.client());
    assert_eq!(second.get("/").text(), "hello");
    let ask = request_text("GET", "/", &[("x-busy", "yes")], "");
    first.send(&ask);
    busy_lines(1);
    // The worker will find both when it has time: the order to drain, and a request that takes its time again.
    second.send(&ask);
    proxy.terminate();
    busy_lines(2);
    // So this one comes when the worker has begun to drain, and nobody has told it to look at its socket.
    let mut late = Client::try_connect(address).ok();
    if let Some(late) = &mut late {
        late.send(&request_text("GET", "/", &[], ""));
    }
    for client in [Some(&mut first), Some(&mut second), late.as_mut()].into_iter().flatten() {
        assert_eq!(client.response().text(), "hello");
    }
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_second_signal_ends_the_proxy_at_once() {
    for first in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
        let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
        let mut client = proxy.client();
        client.send(&request_text("GET", "/", &[], ""));
        upstream.wait_for(1);
        proxy.signal(first);
        eventually("the drain to begin", || (proxy.admin("/ready").status() == 503).then_some(()));
        proxy.signal(Signal::INT);
        let exit = proxy.wait();
        assert_eq!(exit.code, Some(1));
        assert!(exit.stderr.contains("a second SIGINT"), "{}", exit.stderr);
    }
}

#[test]
fn the_last_lines_of_the_access_log_are_written() {
    let upstream = Upstream::ok("hello");
    let config = forwarding(&[upstream.address()], "");
    let mut proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = proxy.client();
    for _ in 0..500 {
        client.send(&request_text("GET", "/", &[], ""));
    }
    for _ in 0..500 {
        assert_eq!(client.response().text(), "hello");
    }
    client.leave();
    proxy.terminate();
    assert_eq!(proxy.wait().stdout.lines().count(), 500);
}

#[test]
fn filters_end_with_the_proxy() {
    let upstream = Upstream::ok("hello");
    let mut proxy = with_filters(&upstream, &[("ending", &Guest::logger(), "")]);
    proxy.client().get("/");
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0));
    // The plugin's own context is 1. It ended once before, when it was tried out.
    let (_, after) = exit.stderr.split_once("\"draining\"").expect("the drain is logged");
    for end in ["done ctx=1", "delete ctx=1"] {
        assert!(after.contains(end), "{end} in {after}");
    }
}

#[test]
fn a_callout_of_a_filter_that_was_lost_is_not_waited_for() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let fails = When::Header(Map::RequestHeaders, "x-fail", "yes");
    let asks = [Step::If(fails, vec![Step::Trap]), Step::callout("up", "/never", 0), Step::Return(1)];
    let guest = Guest::new().quiet().on(On::RequestHeaders, asks);
    // Nothing else ends the callout.
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [lost]"]);
    let config = format!("drain_timeout: 1h\n{config}filters: {{lost: {{module: ./lost.wasm}}}}\n");
    let mut proxy = Proxy::with(&config).file("lost.wasm", guest.build()).start();
    let mut waiting = proxy.client();
    waiting.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(1);
    assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    assert_eq!(waiting.response().status(), 503);
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
    let requests = upstream.requests();
    assert!(requests.len() == 1 && requests[0].head.target() == "/never", "{requests:?}");
}
