//! SIGTERM: no request that began fails, no new connection is taken, and the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::equipment::{Act, Answer, Client, Gate, Proxy, Upstream, eventually, forwarding, request_text};

#[test]
fn requests_in_flight_are_finished_before_the_end() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body().head(200, &[("content-length", "8")]);
        answer.send("half").wait(&held).send("rest")
    });
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    assert_eq!(client.head().status(), 200);
    let address = proxy.address("in");
    proxy.terminate();
    eventually("new connections to be refused", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    gate.open();
    assert_eq!(client.exactly(8), "halfrest");
    client.expect_end();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[test]
fn idle_connections_are_closed_and_the_proxy_ends() {
    let upstream = Upstream::ok("hello");
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
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
    let mut proxy = Proxy::start(&format!("drain_timeout: 300ms\n{}", forwarding(&[upstream.address()], "")));
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(1);
    proxy.terminate();
    let _ = client.try_response_to("GET");
    let exit = proxy.wait();
    assert!(exit.stderr.contains("drain"), "{}", exit.stderr);
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
    assert_eq!(client.response().text(), "ok");
    assert_eq!(proxy.wait().code, Some(0));
}
