//! Routes that say which filters their requests pass, and what those are configured with.

use std::fmt::Write as _;

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{
    Buffer, Guest, On, Proxy, Start, Step, Upstream, When, forwarding, in_listener, message,
};

/// A listener with this chain and these routes, each a line of YAML, in front of the upstream `up`; and these filters.
fn config(upstream: &Upstream, chain: &str, routes: &[&str], filters: &str) -> String {
    let config = in_listener(&forwarding(&[upstream.address()], ""), &[&format!("filters: {chain}")]);
    let routes = routes.iter().fold(String::from("  routes:\n"), |mut text, route| {
        let _ = writeln!(text, "  - {route}");
        text
    });
    config.replace("  routes:\n", &routes) + &format!("filters:\n{filters}")
}

/// Answers every request with this status.
fn aborting(status: u32) -> String {
    format!("{{abort: {{status: {status}, percent: 100}}}}")
}

fn aborts(upstream: &Upstream, routes: &[&str]) -> String {
    let filters = format!("  abort: {{module: \"builtin:fault\", config: {}}}\n", aborting(418));
    config(upstream, "[abort]", routes, &filters)
}

fn route(path: &str, filters: &str) -> String {
    format!("{{match: {{path: {{prefix: {path}}}}}, cluster: up, filters: {filters}}}")
}

/// Says its configuration to the upstream's log, and which root it belongs to.
fn telling() -> Guest {
    Guest::logger()
        .on(On::Configure, [Step::If(When::Call(1), vec![Step::say("the first configuration of this VM")])])
        .on(On::RequestHeaders, [Step::GetBuffer(Buffer::PluginConfig, 0, 100)])
}

fn told(start: Start) -> Proxy {
    start.file("tell.wasm", telling().build()).log_guests_fully().start()
}

fn lines(proxy: &Proxy, part: &str) -> usize {
    proxy.guest_events().iter().filter(|event| message(event).contains(part)).count()
}

#[test]
fn a_route_configures_a_filter_or_switches_it_off() {
    let upstream = Upstream::ok("hello");
    let teapot = format!("{{abort: {{config: {}}}}}", aborting(451));
    let routes = [route("/other", &teapot), route("/off", "{abort: off}"), route("/same", &teapot)];
    let proxy = Proxy::start(&aborts(&upstream, &routes.each_ref().map(String::as_str)));
    let mut client = proxy.client();
    for (path, status) in [("/other", 451), ("/off", 200), ("/same", 451), ("/", 418), ("/other/x", 451)] {
        assert_eq!(client.get(path).status(), status, "{path}");
    }
    let metrics = proxy.metrics();
    let labels = [("filter", "abort")];
    assert_eq!(metrics.sum("tidegate_filter_instances", &labels), 1.0, "all of it is one instance");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_chain_of_a_routes_own_takes_the_place_of_the_listeners() {
    let upstream = Upstream::ok("hello");
    let configured = format!("[{{abort: {{config: {}}}}}]", aborting(451));
    let routes = [route("/none", "[]"), route("/usual", "[abort]"), route("/other", &configured)];
    let routes = routes.each_ref().map(String::as_str);
    let filters = format!(
        "  abort: {{module: \"builtin:fault\", config: {}}}\n  gone: {{module: \"builtin:fault\", config: {}}}\n",
        aborting(418),
        aborting(410)
    );
    let proxy = Proxy::start(&config(&upstream, "[gone]", &routes, &filters));
    let mut client = proxy.client();
    for (path, status) in [("/none", 200), ("/usual", 418), ("/other", 451), ("/", 410)] {
        assert_eq!(client.get(path).status(), status, "{path}");
    }
}

#[test]
fn a_chain_of_a_routes_own_runs_where_the_listener_has_none() {
    let upstream = Upstream::ok("hello");
    let own = route("/other", "[tell]");
    let proxy =
        told(Proxy::with(&config(&upstream, "[]", &[&own], "  tell: {module: ./tell.wasm, config: own}\n")));
    assert_eq!(proxy.client().get("/other").status(), 200);
    assert_eq!(proxy.client().get("/").status(), 200);
    proxy.settle();
    assert_eq!(lines(&proxy, "request_headers ctx="), 1);
    assert_eq!(lines(&proxy, "delete ctx="), 1);
}

#[test]
fn a_stream_belongs_to_the_root_that_its_route_configured() {
    let upstream = Upstream::ok("hello");
    let own = route("/own", "{tell: {config: of the route}}");
    let proxy = told(Proxy::with(&config(
        &upstream,
        "[tell]",
        &[&own],
        "  tell: {module: ./tell.wasm, config: of the filter}\n",
    )));
    let mut client = proxy.client();
    client.get("/own");
    client.get("/");
    let log: Vec<String> = proxy.guest_log().into_iter().map(|(_, line)| line).collect();
    let log = log.join("\n");
    for line in ["create ctx=2 parent=0", "create ctx=3 parent=2", "create ctx=4 parent=1"] {
        assert!(log.contains(line), "{line} in {log}");
    }
    let of = |part: &str| log.find(part).unwrap_or_else(|| panic!("{part} in {log}"));
    assert!(of("of the route") < of("create ctx=4"), "{log}");
    assert!(of("of the filter") > of("create ctx=4"), "{log}");
}

#[test]
fn a_filter_that_changes_the_request_decides_what_the_filters_behind_it_are() {
    let upstream = Upstream::ok("hello");
    let routes =
        [route("/a", &format!("{{abort: {{config: {}}}}}", aborting(451))), route("/b", "{abort: off}")];
    let filters = format!(
        "  move: {{module: ./move.wasm}}\n  abort: {{module: \"builtin:fault\", config: {}}}\n",
        aborting(418)
    );
    let to = |path: &'static str| {
        Step::If(
            When::Header(RequestHeaders, "x-to", path),
            vec![Step::replace(RequestHeaders, ":path", path)],
        )
    };
    let guest = Guest::new().on(On::RequestHeaders, [to("/a"), to("/b"), to("/c")]);
    let config = config(&upstream, "[move, abort]", &routes.each_ref().map(String::as_str), &filters);
    let proxy = Proxy::with(&config).file("move.wasm", guest.build()).start();
    let mut client = proxy.client();
    for (from, to, status) in
        [("/a", "/b", 200), ("/b", "/a", 451), ("/a", "/c", 418), ("/c", "/a", 451), ("/b", "-", 200)]
    {
        let response = client.request("GET", from, &[("x-to", to)], "");
        assert_eq!(response.status(), status, "from {from} to {to}");
    }
}

#[test]
fn a_configuration_that_a_filter_refuses_is_found_on_its_route() {
    let upstream = Upstream::ok("hello");
    let bad = ["/a", "/b"].map(|path| route(path, &format!("{{abort: {{config: {{abort: {path}}}}}}}")));
    let good = route("/c", &format!("{{abort: {{config: {}}}}}", aborting(451)));
    let config = aborts(&upstream, &[&bad[0], &good, &bad[1]]);
    let exit = Proxy::with(&config).run("check");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for line in [7, 9] {
        let place = format!(":{line}:");
        assert!(exit.stderr.contains(&place), "{place} in {}", exit.stderr);
    }
    assert_eq!(exit.stderr.matches("filter `abort` on this route").count(), 2, "{}", exit.stderr);
}

#[test]
fn a_reload_changes_what_routes_configure_without_another_vm() {
    let upstream = Upstream::ok("hello");
    let filters = "  tell: {module: ./tell.wasm, config: of the filter}\n";
    let with = |config_of_route: &str| {
        let own = route("/own", &format!("{{tell: {{config: {config_of_route}}}}}"));
        config(&upstream, "[tell]", &[&own], filters)
    };
    let mut proxy = told(Proxy::with(&with("one")));
    let mut client = proxy.client();
    client.get("/own");
    for next in ["two", "three", "four"] {
        assert!(proxy.change(&with(next)));
        client.get("/own");
        proxy.wait_for_log("the new configuration", |event| message(event).ends_with(next));
    }
    // At first one for the filter and one for the routes to be tried in, and the one that serves; later those to try.
    assert_eq!(lines(&proxy, "the first configuration of this VM"), 3 + 3);
    let log = proxy.guest_log();
    for root in [2, 4, 6, 8] {
        let created = format!("context_create ctx={root} parent=0");
        assert!(
            log.iter().any(|(_, line)| *line == created),
            "the guest that serves has root {root}: {log:?}"
        );
    }
    assert_eq!(proxy.metrics().sum("tidegate_filter_instances", &[("filter", "tell")]), 1.0);
    for root in [2, 4, 6] {
        let end = format!("delete ctx={root}");
        proxy.wait_for_log("a former root goes", |event| message(event) == end);
    }
}

/// Says its configuration to the upstream's log, once it is configured by these steps.
fn configured_by(steps: Vec<Step>) -> Guest {
    Guest::logger()
        .on(On::Configure, steps)
        .on(On::RequestHeaders, [Step::GetBuffer(Buffer::PluginConfig, 0, 100)])
}

/// A proxy whose one worker has a filter, which a route configures with `first`; and its configuration with another.
fn varied(upstream: &Upstream, guest: &Guest, limits: &str) -> (Proxy, impl Fn(&str) -> String) {
    let filters = format!("  tell: {{module: ./tell.wasm, config: of the filter{limits}}}\n");
    let address = upstream.address();
    let with = move |of_route: &str| {
        let own = route("/own", &format!("{{tell: {{config: {of_route}}}}}"));
        let config = in_listener(&forwarding(&[address], ""), &["filters: [tell]"]);
        config.replace("  routes:\n", &format!("  routes:\n  - {own}\n")) + &format!("filters:\n{filters}")
    };
    let start = Proxy::with(&with("first")).file("tell.wasm", guest.build());
    (start.workers(1).log_guests_fully().start(), with)
}

#[test]
fn what_routes_change_never_takes_the_instance_with_it_that_serves() {
    let upstream = Upstream::ok("hello");
    // Two configurations of it work in one instance, as when they are tried, and no third.
    let guest = configured_by(vec![Step::If(When::Call(3), vec![Step::Trap])]);
    let (mut proxy, with) = varied(&upstream, &guest, "");
    let mut client = proxy.client();
    assert_eq!(client.get("/own").status(), 200);
    for next in ["second", "third", "fourth"] {
        assert!(proxy.change(&with(next)), "{next}");
        for path in ["/own", "/"] {
            assert_eq!(client.get(path).status(), 200, "{next} {path}");
        }
        proxy.wait_for_log("the new configuration", |event| message(event).ends_with(next));
    }
}

#[test]
fn what_routes_change_has_a_new_instance_where_the_one_that_serves_is_nearly_full() {
    let upstream = Upstream::ok("hello");
    // 4 pages as it starts, and 6 for each configuration: 16 when it serves, 22 with one more.
    let guest = configured_by(vec![Step::Need(6)]);
    let (mut proxy, with) = varied(&upstream, &guest, ", limits: {memory: 1280KiB}");
    let mut under_way = proxy.client();
    under_way.send("POST /own HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n");
    proxy.wait_for_log("the request's head", |event| message(event).contains("request_headers ctx="));
    let mut client = proxy.client();
    for next in ["second", "third", "fourth"] {
        assert!(proxy.change(&with(next)), "{next}");
        assert_eq!(client.get("/own").status(), 200, "{next}");
        proxy.wait_for_log("the new configuration", |event| message(event).ends_with(next));
    }
    under_way.send("x");
    assert_eq!(under_way.response_to("POST").status(), 200, "it ends where it began");
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", "tell")]), 0.0);
}

#[test]
fn thousands_of_configurations_change_at_once() {
    let upstream = Upstream::ok("hello");
    let own = |round: &str| {
        let one = |at: usize| {
            let body = format!("{round} {at}");
            route(
                &format!("/r{at}/"),
                &format!("{{abort: {{config: {{abort: {{status: 451, body: \"{body}\"}}}}}}}}"),
            )
        };
        let routes: Vec<String> = (0..4000).map(one).collect();
        aborts(&upstream, &routes.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut proxy = Proxy::with(&own("first")).workers(1).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/r3999/").text(), "first 3999");
    for round in ["second", "third"] {
        let began = std::time::Instant::now();
        assert!(proxy.change(&own(round)));
        println!("a reload that changes 4000 of them takes {:?}", began.elapsed());
        assert_eq!(client.get("/r3999/").text(), format!("{round} 3999"));
        println!("and is over after {:?}", began.elapsed());
    }
}

#[test]
fn a_fault_on_one_route_restarts_the_filter_for_all_of_them() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::GetBuffer(Buffer::PluginConfig, 0, 100),
            Step::If(When::Header(RequestHeaders, "x-trap", "yes"), vec![Step::Trap]),
        ],
    );
    let own = route("/own", "{tell: {config: of the route}}");
    let filters = "  tell: {module: ./tell.wasm, config: of the filter}\n";
    let proxy = Proxy::with(&config(&upstream, "[tell]", &[&own], filters))
        .file("tell.wasm", guest.build())
        .log_guests_fully()
        .start();
    let mut client = proxy.client();
    assert_eq!(client.request("GET", "/own", &[("x-trap", "yes")], "").status(), 503);
    let mut client = proxy.client();
    let before = lines(&proxy, "of the route");
    assert_eq!(client.get("/own").status(), 200, "the first restart is at once");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(lines(&proxy, "of the route"), before + 1);
    let labels = [("filter", "tell")];
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_filter_faults_total", &labels), 1.0);
    assert_eq!(metrics.sum("tidegate_filter_instances", &labels), 1.0);
}

#[test]
fn an_isolated_filter_has_the_routes_configuration_in_instances_of_its_own() {
    let upstream = Upstream::ok("hello");
    let own = route("/own", &format!("{{abort: {{config: {}}}}}", aborting(451)));
    let config = aborts(&upstream, &[&own]).replace("{module:", "{isolation: exchange, module:");
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    for (path, status) in [("/own", 451), ("/", 418), ("/own", 451)] {
        assert_eq!(client.get(path).status(), status, "{path}");
    }
}

#[test]
fn a_thousand_routes_with_a_configuration_each_take_little_memory() {
    let upstream = Upstream::ok("hello");
    let own = |count: usize| {
        let abort = |at: usize| format!("{{abort: {{config: {{abort: {{status: 451, body: \"{at}\"}}}}}}}}");
        let routes: Vec<String> = (0..count).map(|at| route(&format!("/r{at}/"), &abort(at))).collect();
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        aborts(&upstream, &routes)
    };
    let plain = {
        let routes: Vec<String> = (0..1000).map(|at| route(&format!("/r{at}/"), "{}")).collect();
        aborts(&upstream, &routes.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let plain = Proxy::with(&plain).workers(1).start();
    plain.client().get("/");
    let mut proxy = Proxy::with(&own(1000)).workers(1).start();
    let mut client = proxy.client();
    for at in [0, 500, 999] {
        let response = client.get(&format!("/r{at}/"));
        assert_eq!((response.status(), response.text()), (451, at.to_string()));
    }
    let each = proxy.allocated_bytes().saturating_sub(plain.allocated_bytes()) / 1000;
    println!("a route's configuration of a filter takes {each} bytes of resident memory");
    assert!(each < 24 << 10, "{each} bytes");
    assert_eq!(proxy.metrics().sum("tidegate_filter_instances", &[("filter", "abort")]), 1.0);
    let began = std::time::Instant::now();
    assert!(proxy.change(&own(999)));
    println!("a reload that leaves 999 of them as they are takes {:?}", began.elapsed());
    assert_eq!(client.get("/r999/").status(), 418);
    assert_eq!(client.get("/r998/").text(), "998");
}
