//! Filters that leave an exchange: it goes on as if they were not there.

use crate::equipment::{Act, Answer, Proxy, Received, Response, Upstream, forwarding, in_listener, message};

/// A proxy whose chain has the guest twice.
fn with_guests(upstream: &Upstream) -> Proxy {
    let fields = ["access_log: true", "filters: [first, second]"];
    let text = in_listener(&forwarding(&[upstream.address()], ""), &fields);
    let module = std::fs::read(guests::module("tasks")).expect("a module that was built can be read");
    let text =
        format!("{text}filters:\n  first: {{module: ./tasks.wasm}}\n  second: {{module: ./tasks.wasm}}\n");
    Proxy::with(&text).file("tasks.wasm", module).start()
}

/// Answers in each way that a message may end.
fn upstream() -> Upstream {
    Upstream::start(|head| match head.target() {
        "/chunked" => Answer::chunked(200, &[("trailer", "x-down")], &["a", "bc"], &[("x-down", "1")]),
        "/none" => Answer::default().read_body().head(204, &[]),
        "/unchanged" => Answer::default().read_body().head(304, &[("content-length", "5")]),
        "/until-close" => Answer::default()
            .read_body()
            .head(200, &[("connection", "close")])
            .send("to the end")
            .act(Act::Close),
        "/broken" => {
            Answer::default().read_body().head(200, &[("content-length", "9")]).send("cut").act(Act::Close)
        }
        _ => Answer::sized(200, &[("x-kind", "sized"), ("keep-alive", "timeout=5")], "hello"),
    })
}

/// What the client gets, but for what is new each time.
fn seen_by_client(response: &Response) -> String {
    let fields: Vec<_> = response.head.fields.iter().filter(|(name, _)| name != "date").collect();
    let body = &response.body;
    format!("{} {fields:?} {:?} {:?} {:?}", response.status(), body.text(), body.trailers, body.end)
}

/// What the upstream gets, but for what is new each time and what asks the guest to leave.
fn seen_by_upstream(request: &Received) -> String {
    let is_same = |name: &str| !matches!(name, "x-do" | "x-request-id" | "x-forwarded-for" | "host");
    let mut fields: Vec<_> = request.head.fields.iter().filter(|(name, _)| is_same(name)).collect();
    fields.sort(); // the order of different fields says nothing (RFC 9110, section 5.3)
    let body = request.body.as_ref().map(|body| (body.text(), body.trailers.clone()));
    format!("{} {fields:?} {body:?}", request.head.line)
}

/// Each way that a message may end, with this task for the guests.
fn all_exchanges(proxy: &Proxy, upstream: &Upstream, task: &str) -> (Vec<String>, Vec<String>) {
    let mut responses = Vec::new();
    let mut ask = |text: &str| {
        let mut client = proxy.client();
        client.send(text);
        responses.push(seen_by_client(&client.response_to(text.split(' ').next().unwrap_or_default())));
    };
    for path in ["/sized", "/chunked", "/none", "/unchanged", "/until-close", "/broken", "/sized?again"] {
        ask(&format!("GET {path} HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\nx-do: {task}\r\n\r\n"));
    }
    ask(&format!("HEAD /sized HTTP/1.1\r\nhost: tide.test\r\nx-do: {task}\r\n\r\n"));
    let post = format!("POST /sized HTTP/1.1\r\nhost: tide.test\r\nx-do: {task}\r\n");
    ask(&format!("{post}content-length: 4\r\n\r\nbody"));
    ask(&format!("{post}trailer: x-up\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n0\r\nx-up: 2\r\n\r\n"));
    (responses, upstream.requests().iter().map(seen_by_upstream).collect())
}

#[test]
fn neither_client_nor_upstream_can_tell() {
    let plain = {
        let upstream = upstream();
        all_exchanges(&Proxy::forwarding_to(&[upstream.address()]), &upstream, "none")
    };
    assert_eq!((plain.0.len(), plain.1.len()), (10, 10));
    for task in ["leave", "leave-at-response"] {
        let upstream = upstream();
        let proxy = with_guests(&upstream);
        let seen = all_exchanges(&proxy, &upstream, task);
        assert_eq!(seen, plain, "{task}");
        assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0);
    }
}

#[test]
fn a_tunnel_is_made_without_them() {
    let upstream = Upstream::start(|_| {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
        Answer::default().head(101, &fields).act(Act::Echo)
    });
    let proxy = with_guests(&upstream);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nhost: tide.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-do: leave\r\n\r\n",
    );
    assert_eq!(client.head().status(), 101);
    client.send("to and fro");
    assert_eq!(client.exactly(10), "to and fro");
}

#[test]
fn what_they_left_is_in_the_access_log_and_not_in_theirs() {
    let upstream = upstream();
    let proxy = with_guests(&upstream);
    let mut client = proxy.client();
    client.request("GET", "/sized", &[("x-do", "leave")], "");
    client.request("GET", "/sized", &[("x-do", "leave-never")], "");
    let lines = proxy.wait_for_access_log(2);
    assert!(lines.iter().all(|line| line["status"] == 200 && line["response_bytes"] == 5), "{lines:?}");
    proxy.wait_for_log("the end of the second", |event| message(event) == "[tasks] sees the end");
    let ends = |filter: &'static str, callback: &'static str| {
        proxy.wait_for_metric(
            "tidegate_filter_calls_total",
            &[("filter", filter), ("callback", callback)],
            if callback == "on_log" { 1.0 } else { 2.0 },
        );
    };
    for filter in ["first", "second"] {
        ends(filter, "on_request_headers");
        ends(filter, "on_log");
    }
}
