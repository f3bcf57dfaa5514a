//! What an operator sees: metrics, the access log, the admin listener. Each exchange is reported exactly once.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::equipment::{
    Act, Answer, Buffer, Gate, Guest, On, Proxy, Step, Upstream, forwarding, in_listener, refusing_address,
    request_text, tool,
};

fn logged(upstream: &Upstream) -> Proxy {
    let config = forwarding(&[upstream.address()], "name: all");
    Proxy::start(&in_listener(&config, &["access_log: true"]))
}

#[test]
fn a_request_is_counted_with_its_route_cluster_and_outcome() {
    let upstream =
        Upstream::start(|head| Answer::sized(if head.target() == "/bad" { 500 } else { 200 }, &[], "hello"));
    let proxy = logged(&upstream);
    let mut client = proxy.client();
    for path in ["/", "/", "/bad"] {
        client.get(path);
    }
    let labels = |class| {
        [("listener", "in"), ("route", "all"), ("cluster", "up"), ("code_class", class), ("outcome", "ok")]
    };
    proxy.wait_for_metric("tidegate_requests_total", &labels("2xx"), 2.0);
    proxy.wait_for_metric("tidegate_requests_total", &labels("5xx"), 1.0);
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_request_duration_seconds_count", &[("route", "all")]), 3.0);
    assert_eq!(metrics.sum("tidegate_downstream_connections_total", &[("listener", "in")]), 1.0);
    assert_eq!(metrics.sum("tidegate_upstream_requests_total", &[("cluster", "up")]), 3.0);
    assert_eq!(metrics.sum("tidegate_upstream_connections_total", &[("cluster", "up")]), 1.0);
}

#[test]
fn metrics_are_prometheus_text() {
    let upstream = Upstream::ok("hello");
    let proxy = logged(&upstream);
    proxy.client().get("/");
    proxy.settle();
    let response = proxy.admin("/metrics");
    assert!(
        response.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        response.head
    );
    let mut typed = std::collections::HashSet::new();
    for line in response.text().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => {
                assert!(["counter", "gauge", "histogram", "unknown"].contains(&kind), "{line}");
                assert!(typed.insert(name.to_owned()), "{name} has two types");
            }
            ["#", ..] => {}
            _ => {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let families =
                    ["", "_bucket", "_sum", "_count"].map(|end| name.strip_suffix(end).unwrap_or(name));
                assert!(
                    families.iter().any(|family| typed.contains(*family)),
                    "{line:?} has no type before it"
                );
                assert!(
                    words.last().is_some_and(|value| value.parse::<f64>().is_ok()),
                    "{line:?} has no value"
                );
            }
        }
    }
}

#[test]
fn prometheus_has_nothing_to_say_about_the_metrics() {
    let Some(promtool) = tool::find("promtool", "TIDEGATE_PROMTOOL", "promtool.sh") else { return };
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::start(&format!(
        "{}filters:\n  marks: {{module: \"builtin:fault\"}}\n",
        in_listener(&forwarding(&[upstream.address()], ""), &["filters: [marks]"])
    ));
    proxy.client().get("/");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "ok")], 1.0);
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = check.stdin.take().expect("it is piped");
    stdin.write_all(proxy.admin("/metrics").text().as_bytes()).expect("promtool reads");
    drop(stdin);
    let said = check.wait_with_output().expect("promtool ends");
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn the_processs_memory_and_files_are_the_kernels() {
    let proxy = logged(&Upstream::ok("hello"));
    let (memory, metrics) = (proxy.resident_bytes() as f64, proxy.metrics());
    let shown = metrics.sum("process_resident_memory_bytes", &[]);
    assert!(shown > memory / 2.0 && shown < memory * 2.0, "{shown} where the kernel says {memory}");
    assert!(metrics.sum("process_open_fds", &[]) >= 8.0);
}

#[test]
fn an_access_log_line_says_what_happened() {
    let upstream = Upstream::ok("hello");
    let proxy = logged(&upstream);
    let fields = [("user-agent", "tests"), ("x-request-id", "given")];
    proxy.client().request("POST", "/a?b=c", &fields, "body");
    let line = proxy.wait_for_access_log(1).remove(0);
    for (field, value) in [
        ("listener", "in"),
        ("route", "all"),
        ("cluster", "up"),
        ("method", "POST"),
        ("path", "/a?b=c"),
        ("host", "tide.test"),
        ("protocol", "HTTP/1.1"),
        ("outcome", "ok"),
        ("user_agent", "tests"),
        ("upstream", &upstream.address().to_string()),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert_eq!((line["status"].as_u64(), line["request_bytes"].as_u64()), (Some(200), Some(4)), "{line}");
    assert_eq!(line["response_bytes"].as_u64(), Some(5), "{line}");
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 30_000.0), "{line}");
    assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
    assert_eq!(line["request_id"].as_str(), upstream.requests()[0].head.field("x-request-id"), "{line}");
}

#[test]
fn an_exchange_is_reported_once_however_it_ends() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/close" => Answer::default().read_body().act(Act::Close),
        "/cut" => {
            Answer::default().read_body().head(200, &[("content-length", "9")]).send("half").act(Act::Close)
        }
        "/hold" => Answer::default().read_body().act(Act::AwaitEnd),
        "/half" => Answer::default().head(200, &[("content-length", "9")]).send("half").wait(&held),
        _ => Answer::ok("hello"),
    });
    let proxy = logged(&upstream);
    let started = SystemTime::now();
    for path in ["/ok", "/close", "/cut"] {
        let mut client = proxy.client();
        client.send(&request_text("GET", path, &[], ""));
        let _ = client.try_response_to("GET");
    }
    for path in ["/hold", "/half"] {
        let mut client = proxy.client();
        client.send(&request_text("GET", path, &[], ""));
        upstream.wait_until("the request", |requests| {
            requests.iter().any(|request| request.head.target() == path)
        });
        if path == "/half" {
            assert_eq!(client.head().status(), 200);
        }
        client.reset();
    }
    proxy.wait_for_metric("tidegate_requests_total", &[], 5.0);
    let mut lines = proxy.wait_for_access_log(5);
    gate.open();
    proxy.client().get("/last");
    lines.extend(proxy.wait_for_access_log(6).into_iter().skip(5));
    let mut paths: Vec<&str> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/close", "/cut", "/half", "/hold", "/last", "/ok"], "since {started:?}");
    let outcome =
        |path: &str| lines.iter().find(|line| line["path"] == path).map(|line| line["outcome"].clone());
    assert_eq!(outcome("/hold").unwrap(), "client_left");
    assert_eq!(outcome("/half").unwrap(), "client_left");
    assert_eq!(outcome("/close").unwrap(), "upstream_reset");
    proxy.wait_for_metric("tidegate_requests_total", &[], 6.0);
}

#[test]
fn the_admin_listener_says_that_it_lives_and_is_ready() {
    let upstream = Upstream::ok("hello");
    let proxy = logged(&upstream);
    assert_eq!(proxy.admin("/live").status(), 200);
    assert_eq!(proxy.admin("/ready").status(), 200);
    assert_eq!(proxy.admin("/nothing").status(), 404);
}

#[test]
fn the_admin_listener_shows_the_configuration_in_force() {
    let upstream = Upstream::ok("hello");
    let proxy = logged(&upstream);
    let response = proxy.admin("/config");
    assert_eq!(response.status(), 200);
    let text = response.text();
    for part in ["tide", "up", "all", &upstream.address().to_string()].into_iter().skip(1) {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn a_filter_reads_the_text_of_a_file_that_nobody_is_shown() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger().on(On::Configure, [Step::buffer(Buffer::PluginConfig)]);
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [keyed]"]);
    let config =
        config + "filters: {keyed: {module: ./keyed.wasm, config: {keys: {from_file: ./keys.json}}}}\n";
    let start = || Proxy::with(&config).file("keyed.wasm", guest.build());
    let proxy = start().file("keys.json", "[\"secret\"]").start();
    let log = proxy.guest_log();
    assert!(log.iter().any(|(_, line)| line.contains(r#"{"keys":"[\"secret\"]"}"#)), "{log:#?}");
    let shown = proxy.admin("/config").text();
    assert!(
        shown.contains("from_file") && shown.contains("keys.json") && !shown.contains("secret"),
        "{shown}"
    );
    for command in ["check", "run"] {
        let exit = start().run(command);
        assert_eq!(exit.code, Some(1), "{command}: {}", exit.stderr);
        for mention in ["tidegate.yaml:10:", "keys.json` cannot be read", "relative to the folder"] {
            assert!(exit.stderr.contains(mention), "{command}: {mention:?} in {}", exit.stderr);
        }
    }
}

#[test]
fn a_request_that_no_route_takes_is_404_and_counted() {
    let upstream = Upstream::ok("hello");
    let config = forwarding(&[upstream.address()], "").replace("prefix: /}", "prefix: /only}");
    let proxy = Proxy::start(&config);
    assert_eq!(proxy.client().get("/other").status(), 404);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "no_route"), ("route", "")], 1.0);
}

#[test]
fn a_routes_own_answer_is_counted_under_its_route() {
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
                  \x20 - {name: own, match: {path: {prefix: /}}, respond: {status: 418, body: tea, headers: {x-pot: short}}}\n";
    let proxy = Proxy::start(config);
    let response = proxy.client().get("/");
    assert_eq!((response.status(), response.text().as_str()), (418, "tea"));
    assert_eq!(response.field("x-pot"), Some("short"));
    let labels = [("route", "own"), ("cluster", ""), ("outcome", "ok"), ("code_class", "4xx")];
    proxy.wait_for_metric("tidegate_requests_total", &labels, 1.0);
}

#[test]
fn a_filter_of_two_listeners_is_one_instance_for_each_worker() {
    let listener = |name: &str| {
        format!(
            "- name: {name}\n  address: 127.0.0.1:0\n  filters: [shared]\n  routes:\n\
             \x20 - {{match: {{path: {{prefix: /}}}}, respond: {{status: 200, body: ok}}}}\n"
        )
    };
    let config = format!(
        "listeners:\n{}{}filters:\n  shared: {{module: ./shared.wasm}}\n",
        listener("in"),
        listener("two")
    );
    let proxy = Proxy::with(&config).file("shared.wasm", Guest::new().build()).workers(3).start();
    assert_eq!(proxy.metrics().sum("tidegate_filter_instances", &[("filter", "shared")]), 3.0);
}

#[test]
fn a_grpc_client_is_told_in_its_own_words() {
    let (address, _taken) = refusing_address();
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
         \x20 - {{match: {{path: {{prefix: /own}}}}, respond: {{status: 403, body: \"100% \\u00e9\\n\"}}}}\n\
         \x20 - {{match: {{path: {{prefix: /up}}}}, cluster: up}}\nclusters:\n  up: {{endpoints: [\"{address}\"]}}\n"
    );
    let proxy = Proxy::start(&config);
    for (path, status, words) in [
        ("/own", "7", "100%25 %C3%A9%0A"),
        ("/up", "14", "upstream connection failed"),
        ("/nothing", "12", "no route for this request"),
    ] {
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;v=1"] {
            let response = proxy.client().request("POST", path, &[("content-type", kind)], "body");
            assert_eq!((response.status(), response.field("content-type")), (200, Some("application/grpc")));
            assert_eq!(
                (response.field("grpc-status"), response.field("grpc-message")),
                (Some(status), Some(words))
            );
            assert_eq!(response.text(), "");
        }
    }
    let other = proxy.client().request("POST", "/up", &[("content-type", "application/grpc-web")], "body");
    assert_eq!((other.status(), other.field("grpc-status")), (503, None), "another protocol");
}
