//! One connection, many requests: keep-alive, pipelining and leaving clients.

use crate::equipment::{
    Act, Answer, Client, Gate, Proxy, Upstream, forwarding, in_listener, message, request_text,
};

#[test]
fn a_connection_serves_one_request_after_another() {
    let upstream = Upstream::start(|head| Answer::ok(head.target()));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    for at in 0..10 {
        let path = format!("/{at}");
        assert_eq!(client.get(&path).text(), path);
    }
    assert!(client.is_open());
    assert_eq!(upstream.connections(), 1, "the connection to the upstream is used again as well");
}

#[test]
fn a_client_that_asks_to_close_is_answered_and_closed() {
    let upstream = Upstream::ok("last");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let response = client.request("GET", "/", &[("connection", "close")], "");
    assert_eq!(response.text(), "last");
    assert!(response.head.lists("connection", "close"));
    client.expect_end();
    assert_eq!(upstream.requests()[0].head.field("connection"), None, "that is between client and proxy");
}

#[test]
fn an_http_1_0_client_is_answered_in_its_own_way() {
    let upstream = Upstream::start(|_| Answer::chunked(200, &[], &["one", "two"], &[]));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nhost: tide.test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "onetwo");
    assert_eq!(response.field("transfer-encoding"), None, "HTTP/1.0 has no chunks");
    client.expect_end();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let first = Gate::new();
    let (hold, let_go) = (first.clone(), first);
    let upstream = Upstream::start(move |head| match head.target() {
        "/0" => Answer::default().read_body().wait(&hold).head(200, &[("content-length", "2")]).send("/0"),
        target => Answer::ok(target),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let requests: String = (0..5).map(|at| request_text("GET", &format!("/{at}"), &[], "")).collect();
    client.send(&requests);
    upstream.wait_for_heads(1);
    let_go.open();
    let answers: Vec<String> = (0..5).map(|_| client.response().text()).collect();
    assert_eq!(answers, ["/0", "/1", "/2", "/3", "/4"]);
}

#[test]
fn pipelined_requests_with_bodies_do_not_run_into_each_other() {
    let upstream = Upstream::start(|_| Answer::ok("done"));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let chunked =
        "POST /2 HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    client.send(
        &[&request_text("POST", "/1", &[], "one"), chunked, &request_text("POST", "/3", &[], "three")]
            .concat(),
    );
    for _ in 0..3 {
        assert_eq!(client.response().text(), "done");
    }
    let bodies = upstream.requests().into_iter().map(|request| request.body.map(|body| body.text()));
    assert_eq!(bodies.collect::<Option<Vec<_>>>().unwrap(), ["one", "two", "three"]);
}

#[test]
fn a_client_that_leaves_ends_its_request_at_the_upstream() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    // A client that ends its side has left as much as one that resets the connection, also where it has sent more than
    // this request.
    let leaves: [fn(Client); 3] = [Client::reset, Client::leave, |mut client| {
        client.half_close();
        assert_eq!(client.rest(), "");
    }];
    for (method, body, behind) in [("GET", "", ""), ("POST", "all of it", ""), ("GET", "", "GET /next HTTP")]
    {
        for leave in leaves {
            let before = upstream.requests().len();
            let mut client = proxy.client();
            client.send(&(request_text(method, "/", &[], body) + behind));
            upstream.wait_until("the request", |requests| {
                requests.iter().skip(before).any(|request| request.body.is_some())
            });
            leave(client);
            crate::equipment::eventually("the upstream to be told", || {
                (upstream.open_connections() == 0).then_some(())
            });
        }
    }
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "client_left")], 9.0);
}

#[test]
fn a_reset_is_noticed_while_nobody_takes_the_requests_body() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Answer::default().wait(&held));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 1073741824\r\n\r\n");
    upstream.wait_for_heads(1);
    client.send_until_stopped(1 << 30); // there is something to read now that is left unread
    client.reset();
    proxy.settle();
    gate.open();
}

#[test]
fn an_answer_that_needs_nobody_else_reaches_a_client_that_has_ended_its_side() {
    let proxy = Proxy::start(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
         \x20 - {match: {path: {prefix: /}}, respond: {status: 200, body: here}}\n",
    );
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    client.half_close();
    assert_eq!(client.response().text(), "here");
    client.expect_end();
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_is_not_forwarded_as_whole() {
    let upstream = Upstream::ok("never");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 10\r\n\r\nhalf");
    upstream.wait_until("half of the body", |requests| requests.iter().any(|request| request.arrived == 4));
    client.leave();
    let requests = upstream.wait_for(1);
    let body = requests[0].body.clone().unwrap();
    assert!(!crate::equipment::is_whole(&body), "{body:?}");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "client_left")], 1.0);
}

#[test]
fn an_upstream_that_closed_an_idle_connection_does_not_cost_a_request() {
    let upstream = Upstream::start(|head| match head.target() {
        "/last" => Answer::ok("closing").act(Act::Close),
        _ => Answer::ok("served"),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    assert_eq!(client.get("/last").text(), "closing");
    for _ in 0..20 {
        assert_eq!(client.get("/last").text(), "closing");
        assert_eq!(client.get("/more").text(), "served");
    }
}

#[test]
fn requests_of_different_clients_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/slow" => {
            Answer::default().read_body().wait(&held).head(200, &[("content-length", "4")]).send("slow")
        }
        _ => Answer::ok("quick"),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut slow = proxy.client();
    slow.send(&request_text("GET", "/slow", &[], ""));
    upstream.wait_for_heads(1);
    assert_eq!(Client::connect(slow.address()).get("/").text(), "quick");
    gate.open();
    assert_eq!(slow.response().text(), "slow");
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    let upstream = Upstream::ok("hello");
    let config = forwarding(&[upstream.address()], "");
    let proxy = Proxy::start(&in_listener(&config, &["limits: {idle_timeout: 300ms}"]));
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "hello");
    client.expect_end();
}

#[test]
fn a_proxy_that_ran_out_of_files_goes_on_when_there_are_some_again() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut clients = vec![proxy.client()];
    assert_eq!(clients[0].get("/").text(), "hello");
    proxy.limit_open_files(64);
    clients.extend((0..64).map(|_| proxy.client()));
    proxy.wait_for_log("that no connection can be accepted", |event| {
        message(event) == "cannot accept connections"
    });
    assert_eq!(clients[0].get("/").text(), "hello", "those that it has are served");
    clients.truncate(1);
    assert_eq!(proxy.client().get("/").text(), "hello");
}
