//! Redirects of upstreams that the proxy follows itself.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::compression::encoded;
use crate::equipment::{
    Act, Answer, Buffer, Guest, Head, On, Proxy, Received, Step, Upstream, When, forwarding, in_listener,
};

/// The configuration of a listener that sends what begins with `/to` to `up`, whose redirects are followed, and has these
/// other routes and clusters.
fn leading_to(up: &str, routes: &str, clusters: &str) -> String {
    format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n  \
         - {{match: {{path: {{prefix: /to}}}}, cluster: up, follow_redirects: {{}}}}\n{routes}\
         clusters:\n  up: {up}\n{clusters}"
    )
}

/// Sends `/to?X` on to X, with this status, and answers everything else with what was asked for.
fn leading(status: u16) -> Upstream {
    Upstream::start(move |head: &Head| match head.target().split_once("/to?") {
        Some((_, target)) => {
            let location = format!("{target}#part");
            Answer::sized(status, &[("location", &location)], "elsewhere")
        }
        None => Answer::ok("here"),
    })
}

fn start(upstream: &Upstream, follow: &str) -> Proxy {
    let routes = format!("cluster: up, follow_redirects: {follow}");
    Proxy::start(&forwarding(&[upstream.address()], "").replace("cluster: up", &routes))
}

#[test]
fn a_redirect_is_followed_and_the_client_sees_the_last_answer() {
    let upstream = leading(302);
    let proxy = start(&upstream, "{}");
    let mut client = proxy.client();
    for (target, seen) in [("http://other.test:81/a?b", ("other.test:81", "/a?b")), ("/x", ("a.test", "/x"))]
    {
        let response = client.request("GET", &format!("/to?{target}"), &[("host", "a.test")], "");
        assert_eq!((response.status(), response.text()), (200, "here".to_owned()));
        let requests = upstream.requests();
        let last = &requests.last().expect("there is one").head;
        assert_eq!((last.field("host").unwrap_or_default(), last.target()), seen);
        let original = last.field("x-envoy-original-url");
        assert_eq!(original, Some(format!("http://a.test/to?{}", target).as_str()));
        assert_eq!(last.all("x-forwarded-for").len(), 1);
    }
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn what_is_not_to_be_followed_goes_to_the_client() {
    let upstream = leading(302);
    for (follow, path) in [
        ("{codes: [307]}", "/to?/x"),
        ("{}", "/to?/to?/x"),
        ("{}", "/to?https://a.test/x"),
        ("{}", "/to?http://user@a.test/x"),
        ("{}", "/to?x"),
        ("{}", "/to?//b.test/x"),
    ] {
        let response = start(&upstream, follow).client().get(path);
        assert_eq!(response.status(), 302, "{follow} {path}");
    }
    let twice = start(&upstream, "{max: 2}").client().get("/to?/to?/x");
    assert_eq!(twice.status(), 200);
    let crossing = start(&upstream, "{allow_cross_scheme: true}").client().get("/to?https://a.test/x");
    assert_eq!(crossing.status(), 200);
}

/// A body as it was before a filter put `changed: ` before each piece of it, once.
fn changed_once(received: &Received) -> String {
    let body = received.body.as_ref().expect("it has one").text();
    let rest = body.strip_prefix("changed: ").unwrap_or_else(|| panic!("{body}"));
    assert!(!rest.starts_with("changed: "), "{body}");
    rest.replace("changed: ", "")
}

#[test]
fn a_body_goes_along_as_it_came() {
    let upstream = leading(307);
    let settings = "cluster: up, follow_redirects: {codes: [307], max: 2}, decompression: {requests: true}";
    let config = forwarding(&[upstream.address()], "").replace("cluster: up", settings);
    // A filter that has changed it once is to see it as it was.
    let guest = Guest::new()
        .on(On::RequestHeaders, [Step::remove(RequestHeaders, "content-length")])
        .on(On::RequestBody, [Step::set_buffer(Buffer::RequestBody, 0, 0, "changed: ")]);
    let config = in_listener(&config, &["filters: [f]", "buffer_limit: 4KiB"]);
    let proxy = Proxy::with(&format!("{config}filters: {{f: {{module: ./f.wasm}}}}\n"))
        .file("f.wasm", guest.build())
        .start();
    let mut client = proxy.client();
    let sent = encoded("gzip", "a body");
    client.send(&format!(
        "POST /to?/to?/x HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        sent.len()
    ));
    client.send_bytes(&sent);
    assert_eq!(client.response_to("POST").text(), "here");
    for received in upstream.wait_for(3) {
        assert_eq!((received.head.method(), changed_once(&received)), ("POST", "a body".to_owned()));
    }
    let chunked = "POST /to?/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-last\r\n\r\n3\r\nabc\r\n0\r\nx-last: 1\r\n\r\n";
    client.send(chunked);
    assert_eq!(client.response_to("POST").text(), "here");
    for received in &upstream.wait_for(5)[3..] {
        assert_eq!(changed_once(received), "abc");
        let trailers = &received.body.as_ref().expect("it has one").trailers;
        assert_eq!(*trailers, [("x-last".to_owned(), "1".to_owned())]);
    }
    let large = "x".repeat(4097);
    assert_eq!(client.request("POST", "/to?/x", &[], &large).status(), 307, "it was not kept");
    assert_eq!(client.request("POST", "/to?/x", &[], &large[1..]).status(), 200);
}

#[test]
fn filters_see_the_request_again_as_it_came() {
    let upstream = leading(307);
    let had = Step::If(
        When::Header(RequestHeaders, "x-token", "t"),
        vec![Step::add(RequestHeaders, "x-seen", "1")],
    );
    let guest = Guest::new().on(On::RequestHeaders, [had, Step::remove(RequestHeaders, "x-token")]);
    let config = in_listener(
        &forwarding(&[upstream.address()], "follow_redirects: {codes: [307]}"),
        &["filters: [f]"],
    );
    let proxy = Proxy::with(&format!("{config}filters: {{f: {{module: ./f.wasm}}}}\n"))
        .file("f.wasm", guest.build())
        .start();
    let fields = [("x-token", "t"), ("content-type", "text/plain")];
    for (method, body) in [("GET", ""), ("GET", "a question"), ("POST", "a body")] {
        let first = upstream.requests().len();
        assert_eq!(proxy.client().request(method, "/to?/x", &fields, body).text(), "here");
        for received in upstream.wait_for(first + 2)[first..].iter() {
            assert_eq!((received.head.all("x-seen"), received.head.all("x-token")), (vec!["1"], vec![]));
            assert_eq!(received.head.field("content-type"), Some("text/plain"));
            assert_eq!(received.body.as_ref().expect("it was read").text(), body);
        }
    }
}

#[test]
fn a_body_goes_along_to_a_route_that_filters_lead_to() {
    let upstream = leading(307);
    let stored = Step::SetProperty(vec!["jwt_claims".to_owned()], r#"{"groups": "dev"}"#.to_owned());
    let routes = "  routes:\n  - {match: {claims: {groups: {exact: dev}}}, cluster: up, follow_redirects: {codes: [307]}}\n  \
        - {match: {}, cluster: up}\n";
    let config = forwarding(&[upstream.address()], "");
    let (before, rest) = config.split_once("  routes:\n").expect("there are routes");
    let (_, clusters) = rest.split_once("clusters:").expect("there are clusters");
    let config = in_listener(&format!("{before}{routes}clusters:{clusters}"), &["filters: [f]"]);
    let proxy = Proxy::with(&format!("{config}filters: {{f: {{module: ./f.wasm}}}}\n"))
        .file("f.wasm", Guest::new().on(On::RequestHeaders, [stored]).build())
        .start();
    assert_eq!(proxy.client().request("POST", "/to?/x", &[], "a body").text(), "here");
    assert_eq!(upstream.wait_for(2)[1].body.as_ref().expect("it has one").text(), "a body");
}

#[test]
fn an_upload_that_took_its_time_leaves_some_for_what_follows() {
    let upstream = leading(303);
    // One that answers when this time is over.
    let silent = Upstream::start(|_| Answer::default().act(Act::AwaitEnd));
    let clock = Proxy::start(&forwarding(&[silent.address()], "timeout: 600ms"));
    let settings = "follow_redirects: {codes: [303]}, timeout: 400ms";
    let config = in_listener(&forwarding(&[upstream.address()], settings), &["access_log: true"]);
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    client.send("POST /to?/x HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    upstream.wait_for_heads(1);
    assert_eq!(clock.client().get("/").status(), 504, "longer than all that is to come may take");
    client.send("a body");
    assert_eq!(client.response_to("POST").text(), "here");
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!(line["request_bytes"], 10, "what the client sent is counted: {line}");
}

#[test]
fn see_other_is_asked_for_without_a_body() {
    let upstream = leading(303);
    let proxy = start(&upstream, "{codes: [303]}");
    let fields = [("content-type", "text/plain"), ("content-encoding", "identity")];
    assert_eq!(proxy.client().request("POST", "/to?/x", &fields, "a body").text(), "here");
    let last = &upstream.wait_for(2)[1];
    assert_eq!((last.head.method(), last.head.field("content-type")), ("GET", None));
    assert_eq!(last.body.as_ref().expect("it was read").text(), "");
}

#[test]
fn a_body_that_is_still_coming_is_not_sent_again() {
    let upstream = Upstream::start(|_| {
        Answer::default().head(307, &[("location", "/x"), ("content-length", "0")]).act(Act::AwaitEnd)
    });
    let proxy = start(&upstream, "{codes: [307]}");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!(client.head().status(), 307);
    upstream.pardon();
}

#[test]
fn a_redirect_that_leads_to_no_route_goes_to_the_client() {
    let upstream = leading(302);
    let config =
        forwarding(&[upstream.address()], "follow_redirects: {}").replace("prefix: /}", "prefix: /to}");
    let response = Proxy::start(&config).client().get("/to?/x");
    assert_eq!((response.status(), response.field("location")), (302, Some("/x#part")));
}

#[test]
fn a_redirect_leads_to_a_route_by_what_filters_stored() {
    let upstream = leading(302);
    let routes = "  - {match: {properties: {role: {exact: admin}}}, cluster: up}\n";
    let config = leading_to(&format!("{{endpoints: [\"{}\"]}}", upstream.address()), routes, "");
    let config = in_listener(&config, &["filters: [f]"]) + "filters: {f: {module: ./f.wasm}}\n";
    // `DeclarePropertyArguments` with the name `role` and the life span of a request, or of a connection.
    for declared in [b"\x0a\x04role\x28\x01", b"\x0a\x04role\x28\x02"] {
        let guest = Guest::new()
            .on(On::Configure, [Step::foreign("declare_property", declared)])
            .on(On::RequestHeaders, [Step::SetProperty(vec!["role".to_owned()], "admin".to_owned())]);
        let proxy = Proxy::with(&config).file("f.wasm", guest.build()).start();
        let response = proxy.client().get("/to?/x");
        assert_eq!((response.status(), response.text().as_str()), (200, "here"), "{declared:?}");
    }
}

#[test]
fn a_client_is_tied_to_the_endpoints_that_redirects_led_it_to() {
    let upstreams = [leading(302), leading(302)];
    let [one, two] = upstreams.each_ref().map(|upstream| format!("\"{}\"", upstream.address()));
    let sticky = |name: &str| {
        format!("{{endpoints: [{one}, {two}], affinity: {{cookie: {name}, key: {{from_file: cookie.key}}}}}}")
    };
    let elsewhere = |cluster: &str| format!("  - {{match: {{}}, cluster: {cluster}}}\n");
    let cases = [
        (leading_to(&sticky("a"), &elsewhere("up"), ""), vec!["a"]),
        (
            leading_to(&sticky("a"), &elsewhere("plain"), &format!("  plain: {{endpoints: [{one}]}}\n")),
            vec!["a"],
        ),
        (
            leading_to(&sticky("a"), &elsewhere("other"), &format!("  other: {}\n", sticky("b"))),
            vec!["a", "b"],
        ),
    ];
    for (config, names) in cases {
        let proxy = Proxy::with(&config).file("cookie.key", "a key of more than 16 bytes\n").start();
        let response = proxy.client().get("/to?/x");
        assert_eq!(response.text(), "here");
        let cookies = response.head.all("set-cookie");
        let given: Vec<&str> = cookies.iter().filter_map(|cookie| Some(cookie.split_once('=')?.0)).collect();
        assert_eq!(given, names, "{config}");
        let known: Vec<&str> = cookies.iter().filter_map(|cookie| cookie.split(';').next()).collect();
        let response = proxy.client().request("GET", "/to?/x", &[("cookie", &known.join("; "))], "");
        assert_eq!(response.field("set-cookie"), None, "it is tied: {config}");
    }
}

#[test]
fn filters_see_the_request_that_a_redirect_leads_to() {
    let upstream = leading(303);
    let guest = Guest::logger().on(On::RequestHeaders, [Step::get(RequestHeaders, ":path")]);
    let config = in_listener(
        &forwarding(&[upstream.address()], "follow_redirects: {codes: [303]}"),
        &["filters: [f]"],
    );
    let proxy = Proxy::with(&format!("{config}filters: {{f: {{module: ./f.wasm}}}}\n"))
        .file("f.wasm", guest.build())
        .log_guests_fully()
        .start();
    assert_eq!(proxy.client().request("DELETE", "/to?/x", &[], "").text(), "here");
    let methods: Vec<String> = upstream.requests().iter().map(|one| one.head.method().to_owned()).collect();
    assert_eq!(methods, ["DELETE", "GET"], "See Other is asked for with GET");
    proxy.settle();
    let log = proxy.guest_log();
    let lines = |part: &str| log.iter().filter(|(_, line)| line.starts_with(part)).count();
    assert_eq!([lines("request_headers"), lines("log ctx"), lines("delete ctx")], [2, 2, 2]);
    assert_eq!(lines("response_headers"), 1, "the redirect itself is not shown to them");
}

#[test]
fn the_connection_of_a_redirect_that_is_followed_is_used_again() {
    let upstream = leading(302);
    let config =
        forwarding(&[upstream.address()], "").replace("cluster: up", "cluster: up, follow_redirects: {}");
    let proxy = Proxy::with(&config).workers(1).start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/to?/x").text(), "here");
    }
    assert_eq!(upstream.requests().len(), 20);
    // The rest of a redirect may still be on its way when the next request needs a connection.
    assert!(upstream.connections() <= 2, "{}", upstream.connections());
}

#[test]
fn where_a_redirect_leads_is_asked_of_its_normal_form() {
    let upstream = leading(302);
    let routes = "  routes:\n  - {match: {path: {prefix: /to}}, cluster: up, follow_redirects: {}}\n  \
        - {match: {path: {prefix: /x}}, cluster: up}\n";
    let config = forwarding(&[upstream.address()], "");
    let (before, rest) = config.split_once("  routes:\n").expect("there are routes");
    let (_, clusters) = rest.split_once("clusters:").expect("there are clusters");
    let proxy = Proxy::start(&format!("{before}{routes}clusters:{clusters}"));
    let mut client = proxy.client();
    let followed = client.get("/to?/y/%2e%2e/x");
    assert_eq!((followed.status(), followed.text()), (200, "here".to_owned()));
    assert_eq!(upstream.requests().last().expect("there is one").head.target(), "/x");
    let passed = client.get("/to?/x/%2e%2e/y");
    assert_eq!((passed.status(), passed.field("location")), (302, Some("/x/%2e%2e/y#part")));
    for ambiguous in ["/x%zz", "/x/%00"] {
        assert_eq!(client.get(&format!("/to?{ambiguous}")).status(), 302, "{ambiguous}");
    }
}

#[test]
fn a_redirect_of_a_route_leads_to_the_normal_form_of_what_a_filter_wrote() {
    let guest = Guest::new().on(On::RequestHeaders, [Step::replace(RequestHeaders, ":path", "/old/a/../b")]);
    let proxy = Proxy::with(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [f]\n  routes:\n  \
         - {match: {path: {prefix: /old}}, redirect: {path: {prefix: /new}}}\nfilters: {f: {module: ./f.wasm}}\n",
    )
    .file("f.wasm", guest.build())
    .start();
    let response = proxy.client().request("GET", "/", &[("host", "a.test")], "");
    assert_eq!(response.field("location"), Some("http://a.test/new/b"));
}
