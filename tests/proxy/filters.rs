//! What filters may count on beyond what Envoy gives them: where Envoy fails or cannot be asked.

use crate::equipment::Map::{self, RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Act, Answer, Flow, Gate, Guest, On, Proxy, Step, Upstream, When, eventually, forwarding, in_listener,
    request_text,
};

/// A proxy with these filters in its chain: name, guest, and more of its configuration in flow style.
pub(super) fn with_filters(upstream: &Upstream, filters: &[(&str, &Guest, &str)]) -> Proxy {
    with_filters_in(upstream, &[], filters)
}

/// The same with more fields of its listener.
pub(super) fn with_filters_in(
    upstream: &Upstream,
    listener: &[&str],
    filters: &[(&str, &Guest, &str)],
) -> Proxy {
    with_filters_before(&[upstream], listener, filters)
}

/// The same with a cluster of these upstreams.
pub(super) fn with_filters_before(
    upstreams: &[&Upstream],
    listener: &[&str],
    filters: &[(&str, &Guest, &str)],
) -> Proxy {
    let endpoints: Vec<_> = upstreams.iter().map(|upstream| upstream.address()).collect();
    let names: Vec<&str> = filters.iter().map(|(name, ..)| *name).collect();
    let chain = format!("filters: [{}]", names.join(", "));
    let fields = [listener, &[chain.as_str()]].concat();
    let mut config = in_listener(&forwarding(&endpoints, ""), &fields) + "filters:\n";
    for (name, _, more) in filters {
        config += &format!("  {name}: {{module: ./{name}.wasm{more}}}\n");
    }
    let start = Proxy::with(&config);
    filters
        .iter()
        .fold(start, |start, (name, guest, _)| start.file(&format!("{name}.wasm"), guest.build()))
        .start()
}

#[test]
fn filters_run_in_order_and_in_reverse_on_the_way_back() {
    let marking = |mark: &str| {
        let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-mark", mark)]);
        guest.on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-mark", mark)])
    };
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let chain = [("a", &marking("a"), ""), ("b", &marking("b"), ""), ("c", &marking("c"), "")];
    let proxy = with_filters(&upstream, &chain);
    let response = proxy.client().get("/");
    assert_eq!(upstream.requests()[0].head.all("x-mark"), ["a", "b", "c"]);
    assert_eq!(response.head.all("x-mark"), ["c", "b", "a"]);
}

#[test]
fn a_reply_from_log_changes_nothing() {
    // Envoy recurses here until it dies.
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger().on(On::Log, [Step::reply(403, "too late", &[])]);
    let proxy = with_filters(&upstream, &[("late", &guest, "")]);
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/").text(), "hello");
    }
}

#[test]
fn a_resume_that_nobody_waits_for_sends_a_request_once() {
    // Envoy sends it twice, and a response's pieces may miss the guest.
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::Resume(Flow::Request)])
        .on(On::RequestBody, [Step::Resume(Flow::Request)])
        .on(On::ResponseHeaders, [Step::Resume(Flow::Response)])
        .on(On::ResponseBody, [Step::Resume(Flow::Response)]);
    let proxy = with_filters(&upstream, &[("resume", &guest, "")]);
    assert_eq!(proxy.client().request("POST", "/", &[], "body").text(), "hello");
    proxy.settle();
    assert_eq!(upstream.requests().len(), 1);
    let log = proxy.guest_log();
    assert!(log.iter().any(|(_, line)| line.starts_with("response_body ctx=2 size=5")), "{log:#?}");
}

#[test]
fn the_log_level_that_guests_are_told_is_that_of_their_own_lines() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger().on(On::RequestHeaders, [Step::LogLevel]);
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [log]"]);
    let start = Proxy::with(&(config + "filters: {log: {module: ./log.wasm}}\n"));
    let start = start.env("TIDEGATE_LOG", "info,tidegate::upstream=trace");
    let proxy = start.file("log.wasm", guest.build()).start();
    proxy.client().get("/");
    assert!(
        proxy.guest_log().iter().any(|(_, line)| line == "  log-level -> 0 2"),
        "{:#?}",
        proxy.guest_log()
    );
}

#[test]
fn ticks_that_are_asked_for_at_configuration_begin_then() {
    // In Envoy the throw-away instance ticks as well.
    let upstream = Upstream::ok("hello");
    let third = When::Call(3);
    let guest = Guest::logger()
        .on(On::Configure, [Step::TickPeriod(20)])
        .on(On::Tick, [Step::If(third, vec![Step::TickPeriod(0), Step::say("enough")])]);
    let proxy = with_filters(&upstream, &[("ticking", &guest, "")]);
    proxy.wait_for_log("the third tick", |event| crate::equipment::message(event) == "enough");
    proxy.client().get("/");
    let log = proxy.guest_log();
    let ticks = || log.iter().filter(|(_, line)| line.starts_with("tick ")).count();
    assert_eq!(ticks(), 3, "{log:#?}");
}

#[test]
fn a_new_tick_period_takes_the_place_of_the_old_one() {
    let upstream = Upstream::ok("hello");
    let stop = Step::If(When::Call(3), vec![Step::TickPeriod(0)]);
    let stopping = Guest::logger().on(On::Configure, [Step::TickPeriod(20)]).on(On::Tick, [stop]);
    let clock = Guest::logger().on(On::Configure, [Step::TickPeriod(20)]);
    let proxy = with_filters(&upstream, &[("stopping", &stopping, ""), ("clock", &clock, "")]);
    let ticks = |filter| {
        let labels = [("filter", filter), ("callback", "on_tick")];
        proxy.metrics().sum("tidegate_filter_calls_total", &labels)
    };
    eventually("the clock to go on", || (ticks("clock") >= 12.0).then_some(()));
    assert_eq!(ticks("stopping"), 3.0);
}

#[test]
fn the_end_of_an_exchange_is_told_in_the_order_of_the_chain() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger();
    let proxy = with_filters(&upstream, &[("a", &guest, ""), ("b", &guest, "")]);
    proxy.client().get("/");
    let ends = || {
        let lines = proxy.guest_log().into_iter().filter(|(_, line)| line == "log ctx=2");
        lines.map(|(filter, _)| filter).collect::<Vec<_>>()
    };
    eventually("both ends", || (ends().len() == 2).then_some(()));
    assert_eq!(ends(), ["a", "b"]);
}

#[test]
fn a_filter_is_told_when_the_proxy_ends() {
    let upstream = Upstream::ok("hello");
    let mut proxy = with_filters(&upstream, &[("last", &Guest::logger(), "")]);
    proxy.client().get("/");
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for line in ["done ctx=1", "delete ctx=1"] {
        assert!(exit.stderr.contains(line), "no {line:?} in {}", exit.stderr);
    }
}

#[test]
fn a_callout_without_authority_takes_the_clusters_name() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [
                Step::callout_with("up", &[(":method", "GET"), (":path", "/callout")], "", 5000),
                Step::Return(1),
            ],
        )
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Request)]);
    let proxy = with_filters(&upstream, &[("asking", &guest, "")]);
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(upstream.requests()[0].head.target(), "/callout");
    assert_eq!(upstream.requests()[0].head.field("host"), Some("up"));
}

#[test]
fn a_path_that_a_filter_changed_is_routed_anew() {
    let upstream = Upstream::ok("hello");
    let moving =
        Guest::new().quiet().on(On::RequestHeaders, [Step::replace(RequestHeaders, ":path", "/new")]);
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [moving]\n  routes:\n\
                  \x20 - {match: {path: {prefix: /old}}, cluster: up}\n\
                  \x20 - {name: new, match: {path: {prefix: /new}}, respond: {status: 200, body: moved}}\n\
                  filters:\n  moving: {module: ./moving.wasm}\nclusters:\n";
    let config = format!("{config}  up: {{endpoints: [\"{}\"]}}\n", upstream.address());
    let proxy = Proxy::with(&config).file("moving.wasm", moving.build()).start();
    assert_eq!(proxy.client().get("/old").text(), "moved");
    proxy.wait_for_metric("tidegate_requests_total", &[("route", "new")], 1.0);
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_filter_may_answer_while_the_upstream_is_waited_for() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/ask" => Answer::default().read_body().wait(&held).head(204, &[]),
        _ => Answer::default().read_body().act(Act::AwaitEnd),
    });
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::callout("up", "/ask", 30_000)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::reply(403, "no after all", &[])]);
    let proxy = with_filters(&upstream, &[("late", &guest, "")]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(2);
    gate.open();
    assert_eq!((client.response().status(), client.get("/").status()), (403, 403));
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "ok")], 2.0);
}

#[test]
fn request_headers_stay_readable_in_the_response() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger().on(On::ResponseHeaders, [Step::get(RequestHeaders, "x-key")]);
    let proxy = with_filters(&upstream, &[("reading", &guest, "")]);
    proxy.client().request("GET", "/", &[("x-key", "kept")], "");
    eventually("the guest's line", || {
        let line = "  get request-headers x-key -> 0 kept";
        proxy.guest_log().iter().any(|(_, text)| text == line).then_some(())
    });
}

#[test]
fn a_body_that_a_filter_changed_is_framed_anew() {
    // In Envoy the filter has to remove content-length itself.
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let longer =
        |buffer| vec![Step::If(When::Content, vec![Step::set_buffer(buffer, u32::MAX, 0, " and more")])];
    let guest = Guest::new()
        .quiet()
        .on(On::RequestBody, longer(crate::equipment::Buffer::RequestBody))
        .on(On::ResponseBody, longer(crate::equipment::Buffer::ResponseBody));
    let proxy = with_filters(&upstream, &[("longer", &guest, "")]);
    let mut client = proxy.client();
    assert_eq!(client.request("POST", "/", &[], "body").text(), "hello and more");
    assert_eq!(upstream.wait_for(1)[0].body.clone().unwrap().text(), "body and more");
    assert_eq!(client.request("POST", "/", &[], "body").text(), "hello and more");
}

#[test]
fn a_body_that_is_cut_while_a_filter_holds_its_head_is_502() {
    let upstream = Upstream::start(|_| {
        Answer::default().read_body().head(200, &[("content-length", "9")]).send("half").act(Act::Close)
    });
    let holding = Guest::new()
        .quiet()
        .on(On::ResponseHeaders, [Step::Return(1)])
        .on(On::ResponseBody, [Step::If(When::MoreToCome, vec![Step::Return(1)])]);
    let more = ", allow_on_headers_stop_iteration: true";
    let proxy = with_filters(&upstream, &[("hold", &holding, more)]);
    assert_eq!(proxy.client().get("/").status(), 502);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "upstream_reset")], 1.0);
}

#[test]
fn no_hop_by_hop_field_leaves_a_filter() {
    let upstream = Upstream::ok("hello");
    let adding = |map| {
        let fields = [("connection", "x-own"), ("x-own", "1"), ("keep-alive", "timeout=5"), ("te", "gzip")];
        fields.map(|(name, value)| Step::add(map, name, value))
    };
    let guest = Guest::new()
        .quiet()
        .on(On::RequestHeaders, adding(RequestHeaders))
        .on(On::ResponseHeaders, adding(ResponseHeaders));
    let proxy = with_filters(&upstream, &[("adding", &guest, "")]);
    let response = proxy.client().get("/");
    let request = upstream.requests().remove(0);
    for name in ["connection", "x-own", "keep-alive", "te"] {
        assert_eq!((request.head.field(name), response.field(name)), (None, None), "{name}");
    }
}

#[test]
fn what_a_filter_replies_is_cleaned_and_framed() {
    let upstream = Upstream::ok("never");
    let fields = [("content-length", "999"), ("keep-alive", "timeout=5")];
    let empty = When::Header(RequestHeaders, "x-empty", "yes");
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [Step::If(empty, vec![Step::reply(403, "", &fields)]), Step::reply(403, "denied", &fields)],
        )
        .on(On::ResponseHeaders, [Step::get(ResponseHeaders, "keep-alive")]);
    let proxy = with_filters(&upstream, &[("deny", &guest, "")]);
    let mut client = proxy.client();
    for method in ["GET", "HEAD"] {
        assert_eq!(client.request(method, "/", &[], "").field("content-length"), Some("6"));
        let empty = client.request(method, "/", &[("x-empty", "yes")], "");
        assert!(matches!(empty.field("content-length"), None | Some("0")), "{empty:?}");
    }
    proxy.settle();
    let log = proxy.guest_log();
    assert!(!log.iter().any(|(_, line)| line.contains("timeout=5")), "{log:#?}");
}

#[test]
fn a_filter_gets_a_callouts_answer_clean_and_up_to_a_limit() {
    let large = "x".repeat(2 << 20);
    let upstream = Upstream::start(move |head| match head.target() {
        "/ask" => Answer::sized(200, &[("keep-alive", "timeout=5"), ("x-kept", "yes")], "short"),
        "/large" => Answer::sized(200, &[], &large),
        _ => Answer::ok("hello"),
    });
    let asking = |path| {
        let fields = ["keep-alive", "x-kept"].map(|name| Step::get(Map::CalloutHeaders, name));
        Guest::logger()
            .on(On::RequestHeaders, [Step::callout("up", path, 5000), Step::Return(1)])
            .on(On::CalloutResponse, fields)
            .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Request)])
    };
    for (path, size) in [("/ask", " size=5 "), ("/large", " size=0 ")] {
        let proxy = with_filters(&upstream, &[("asking", &asking(path), "")]);
        assert_eq!(proxy.client().get("/").text(), "hello");
        let log = proxy.guest_log();
        let has = |part: &str| log.iter().any(|(_, line)| line.contains(part));
        assert!(has("http_call_response ctx=1 ") && has(size), "{log:#?}");
        assert_eq!(has("x-kept -> 0 yes"), path == "/ask", "{log:#?}");
        assert!(!has("timeout=5"), "{log:#?}");
    }
}

#[test]
fn a_failure_after_the_head_is_counted_as_what_it_is() {
    let upstream = Upstream::start(|_| {
        Answer::default()
            .read_body()
            .head(200, &[("transfer-encoding", "chunked")])
            .chunk("a")
            .last_chunk(&[])
    });
    let guest = Guest::new().quiet().on(On::ResponseBody, [Step::If(When::Content, vec![Step::Trap])]);
    let proxy = with_filters(&upstream, &[("bad", &guest, "")]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    let _ = client.try_response_to("GET");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "filter_fault")], 1.0);
}
