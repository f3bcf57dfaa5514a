//! What a listener says in the place of an error's own words.

use crate::equipment::{
    Answer, Guest, Http2Client, Map, On, Proxy, Step, Upstream, forwarding, in_listener, refusing_address,
};

const PAGES: &str = r#"error_pages:
  - {outcomes: [no_route], status: 410, content_type: text/html, file: ./gone.html, headers: {x-page: gone}}
  - {statuses: [5xx], upstreams: true, content_type: application/json, body: '{"code": %RESPONSE_CODE%, "was": "%LOCAL_REPLY_BODY%", "by": "%UPSTREAM_CLUSTER%", "flags": "%RESPONSE_FLAGS%", "path": "%PATH:9%"}'}
  - {statuses: 403, body: "no: %LOCAL_REPLY_BODY% (%OUTCOME%, %ROUTE_NAME%, %REQ(x-user?x-other)%)"}"#;

const GONE: &str = "<p title=\"%PATH%\">%REQ(x-user)% at %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%, 100%%</p>";

/// A proxy with these pages, that sends what is below `/up` to an upstream.
fn start(upstream: &Upstream, fields: &[&str], more: &str) -> Proxy {
    let config = forwarding(&[upstream.address()], "").replace("prefix: /}", "prefix: /up}");
    let pages: Vec<&str> = PAGES.lines().collect();
    let config = in_listener(&config, &[&pages[..], &["access_log: true"], fields].concat());
    Proxy::with(&format!("{config}{more}")).file("gone.html", GONE).file("refuse.wasm", refusing()).start()
}

/// Answers by itself.
fn refusing() -> Vec<u8> {
    let reply = Step::reply(403, "not you", &[]);
    Guest::new().quiet().on(On::RequestHeaders, [reply]).build()
}

#[test]
fn a_failure_has_a_page_with_what_a_client_sent_and_nothing_more() {
    let upstream = Upstream::ok("ok");
    let proxy = start(&upstream, &[], "");
    let evil = "<script>alert('&\"')</script>";
    let response = proxy.client().request("GET", "/none?a'&b", &[("x-user", evil)], "");
    assert_eq!((response.status(), response.field("x-page")), (410, Some("gone")));
    assert_eq!(response.field("content-type"), Some("text/html"));
    let expected = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt; at 127.0.0.1, 100%</p>";
    assert!(response.text().ends_with(expected), "{}", response.text());
    assert!(response.text().contains("title=\"/none?a&#39;&amp;b\""), "{}", response.text());
    let head = proxy.client().request("HEAD", "/none", &[], "");
    assert_eq!((head.status(), head.text().as_str()), (410, ""));
    assert!(head.field("content-length").is_some_and(|length| length != "0"));
    let line = &proxy.wait_for_access_log(2)[0];
    assert_eq!((&line["status"], &line["outcome"]), (&410.into(), &"no_route".into()));
    assert_eq!(proxy.client().get("/up").text(), "ok", "what is no error is left alone");
}

#[test]
fn a_page_says_what_envoys_access_log_would_of_a_request() {
    let upstream = Upstream::ok("ok");
    let body =
        "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(x-user?:AUTHORITY):9% %REQ(:SCHEME?x-user)%";
    let page = format!("error_pages: [{{outcomes: [no_route], body: \"{body}\"}}]");
    let config = forwarding(&[upstream.address()], "").replace("prefix: /}", "prefix: /up}");
    let proxy = Proxy::start(&in_listener(&config, &[&page]));
    let response = proxy.client().request("GET", "/none?a", &[("host", "tide.test:80")], "");
    assert_eq!(response.text(), "GET /none?a tide.test http");
    let response = proxy.client().request("PUT", "/", &[("x-user", "ann")], "");
    assert_eq!(response.text(), "PUT / ann http");
}

#[test]
fn an_upstreams_error_has_a_page_where_that_is_asked_for() {
    let upstream = Upstream::start(|head| match head.target() {
        "/up/busy" => {
            Answer::chunked(503, &[("retry-after", "9"), ("etag", "\"x\"")], &["a secret", "!"], &[])
        }
        _ => Answer::sized(404, &[], "of the upstream"),
    });
    let proxy = start(&upstream, &[], "");
    let mut client = proxy.client();
    let response = client.request("GET", "/up/busy", &[], "");
    let expected = r#"{"code": 503, "was": "", "by": "up", "flags": "-", "path": "/up/busy"}"#;
    assert_eq!((response.status(), response.text().as_str()), (503, expected));
    let fields = ["content-type", "retry-after", "etag"].map(|name| response.field(name));
    assert_eq!(fields, [Some("application/json"), Some("9"), None]);
    assert_eq!(client.get("/up/none").text(), "of the upstream", "its 404 was not asked for");
    let line = &proxy.wait_for_access_log(1)[0];
    assert_eq!((&line["details"], &line["outcome"]), (&"error_page".into(), &"ok".into()));
}

#[test]
fn the_proxys_own_words_can_be_a_part_of_the_page() {
    let (refusing, _taken) = refusing_address();
    let upstream = Upstream::ok("ok");
    let config = forwarding(&[refusing], "").replace("prefix: /}", "prefix: /up}");
    let config = in_listener(&config, &PAGES.lines().collect::<Vec<_>>());
    let proxy = Proxy::with(&config).file("gone.html", GONE).start();
    let expected =
        r#"{"code": 503, "was": "upstream connection failed", "by": "up", "flags": "UF", "path": "/up"}"#;
    assert_eq!(proxy.client().get("/up").text(), expected);
    let proxy = start(&upstream, &["filters: [refuse]"], "filters: {refuse: {module: ./refuse.wasm}}\n");
    let response = proxy.client().request("GET", "/up", &[("x-other", "ann")], "");
    assert_eq!((response.status(), response.text().as_str()), (403, "no: not you (ok, route-0, ann)"));
}

#[test]
fn a_page_passes_the_filters_of_the_response_and_a_grpc_client_gets_its_status() {
    let upstream = Upstream::ok("ok");
    let guest =
        Guest::new().quiet().on(On::ResponseHeaders, [Step::add(Map::ResponseHeaders, "x-seen", "1")]);
    let config = forwarding(&[upstream.address()], "").replace("prefix: /}", "prefix: /up}");
    let fields = [&PAGES.lines().collect::<Vec<_>>()[..], &["filters: [marking]"]].concat();
    let config = in_listener(&config, &fields) + "filters: {marking: {module: ./marking.wasm}}\n";
    let proxy = Proxy::with(&config).file("gone.html", GONE).file("marking.wasm", guest.build()).start();
    let response = proxy.client().get("/none");
    assert_eq!((response.status(), response.field("x-seen")), (410, Some("1")));
    let mut http2 = Http2Client::connect(proxy.address("in"));
    let call = http2.request("POST", "/none", &[("content-type", "application/grpc")], b"");
    let call = call.expect("it is answered");
    assert_eq!((call.status, call.field("grpc-status"), call.field("x-page")), (200, Some("12"), None));
}

#[test]
fn a_page_that_changes_is_served_as_it_is_now_and_one_that_is_wrong_is_refused() {
    let upstream = Upstream::ok("ok");
    let mut proxy = start(&upstream, &[], "");
    proxy.put("gone.html", "now: %RESPONSE_CODE%");
    assert!(proxy.reload());
    assert_eq!(proxy.client().get("/none").text(), "now: 410");
    proxy.put("gone.html", "now: %RESPONSE_COD%");
    assert!(!proxy.reload());
    assert_eq!(proxy.client().get("/none").text(), "now: 410");
}
