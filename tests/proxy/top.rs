//! `tidegate top`: what the filters of a running proxy cost.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::fetching::{filtering, folder, keeping};
use super::filters::with_filters;
use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Answer, Exit, Guest, On, Proxy, Step, Terminal, Upstream, When, eventually, refusing_address,
};

/// A filter that reads, writes and runs a while in each direction.
fn busy() -> Guest {
    let guest = Guest::new().quiet();
    let guest =
        guest.on(On::RequestHeaders, [Step::Spin(10_000), Step::add(RequestHeaders, "x-busy", "yes")]);
    guest.on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-busy", "yes")])
}

fn calm() -> Guest {
    Guest::new().quiet().on(On::RequestHeaders, [])
}

fn top(arguments: &[&str]) -> Exit {
    Proxy::with("").run_in(&[&["top"], arguments].concat())
}

/// What it says while requests go through the proxy.
fn top_of(proxy: &Proxy, arguments: &[&str]) -> String {
    let admin = proxy.address("admin").to_string();
    let arguments = [&["--admin", &admin, "--interval", "500ms", "--once"], arguments].concat();
    let exit = std::thread::scope(|scope| {
        let top = scope.spawn(|| top(&arguments));
        let mut client = proxy.client();
        while !top.is_finished() {
            client.get("/");
        }
        top.join().expect("it ends by itself")
    });
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    exit.stdout
}

#[test]
fn the_page_of_filters_counts_as_the_metrics_do() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("busy", &busy(), ""), ("calm", &calm(), "")]);
    let mut client = proxy.client();
    for _ in 0..5 {
        client.get("/");
    }
    proxy.wait_for_metric("tidegate_requests_total", &[], 5.0);
    let metrics = proxy.metrics();
    let response = proxy.admin("/filters");
    assert_eq!(response.field("content-type"), Some("application/json"));
    let page: Value = serde_json::from_str(&response.text()).expect("it is JSON");
    assert_eq!((page["requests"].as_u64(), page["workers"].as_u64()), (Some(5), Some(1)), "{page}");
    assert_eq!((page["active_requests"].as_i64(), page["config_generation"].as_u64()), (Some(0), Some(1)));
    for (filter, callback) in
        [("busy", "on_request_headers"), ("busy", "on_response_headers"), ("calm", "on_request_headers")]
    {
        let costs = &page["filters"][filter]["callbacks"][callback];
        let labels = [("filter", filter), ("callback", callback)];
        for (field, metric) in [
            ("calls", "tidegate_filter_calls_total"),
            ("instructions", "tidegate_filter_instructions_total"),
            ("hostcalls", "tidegate_filter_hostcalls_total"),
        ] {
            let counted = metrics.sum(metric, &labels);
            assert_eq!(costs[field].as_f64(), Some(counted), "{metric} {labels:?}: {page}");
        }
        assert_eq!(costs["calls"].as_u64(), Some(5));
        assert!(costs["time_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{page}");
    }
    let written = "x-busyyes".len() as f64 * 5.0;
    let labels = [("filter", "busy"), ("callback", "on_request_headers"), ("direction", "out")];
    assert_eq!(metrics.sum("tidegate_filter_copied_bytes_total", &labels), written);
    assert_eq!(metrics.sum("tidegate_filter_hostcalls_total", &labels[..2]), 5.0);
    assert!(!metrics.has("tidegate_filter_rate_limited_total"));
}

#[test]
fn one_look_as_json_has_every_filter_with_its_callbacks() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("busy", &busy(), ""), ("calm", &calm(), "")]);
    let costs: Value =
        serde_json::from_str(&top_of(&proxy, &["--format", "json"])).expect("it is one object");
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number: {costs}"));
    let filter = |name: &str| {
        let filters = costs["filters"].as_array().expect("there is a list of them");
        filters.iter().find(|filter| filter["name"] == name).unwrap_or_else(|| panic!("{name}: {costs}"))
    };
    assert!(number(&costs["requests_per_second"]) > 0.0 && number(&costs["seconds"]) >= 0.5);
    assert_eq!((&costs["workers"], &costs["config_generation"]), (&1.into(), &1.into()));
    assert!(number(&costs["uptime_seconds"]) > 0.0 && costs["config_last_reload_successful"] == true);
    assert_eq!(costs["version"], env!("CARGO_PKG_VERSION"));
    let (busy, calm) = (filter("busy"), filter("calm"));
    assert_eq!((&busy["state"], &busy["instances"]), (&"ok".into(), &1.into()));
    assert!(number(&busy["cpu"]) > number(&calm["cpu"]) && number(&busy["cpu"]) < 1.0, "{costs}");
    let each = number(&busy["instructions_per_second"]) / number(&busy["exchanges_per_second"]);
    assert!((10_000.0..200_000.0).contains(&each), "{each}: {costs}");
    let callback = &busy["callbacks"]["on_request_headers"];
    assert!(
        number(&callback["microseconds_per_call"]) > 0.0 && number(&callback["hostcalls_per_second"]) > 0.0
    );
    assert!(number(&callback["bytes_out_per_second"]) > 0.0);
}

/// What it says of the only filter of a proxy that has no traffic: as an object, and its line.
fn seen(proxy: &Proxy) -> (Value, String) {
    let admin = proxy.address("admin").to_string();
    let once = ["--admin", &admin, "--interval", "100ms", "--once"];
    let look = |more: &[&str]| {
        let exit = top(&[&once, more].concat());
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        exit.stdout
    };
    let costs: Value = serde_json::from_str(&look(&["--format", "json"])).expect("it is one object");
    let text = look(&[]);
    (costs["filters"][0].clone(), text.lines().last().unwrap_or_default().to_owned())
}

fn shown(proxy: &Proxy, filter: &str) -> Value {
    let page: Value = serde_json::from_str(&proxy.admin("/filters").text()).expect("it is JSON");
    page["filters"][filter].clone()
}

#[test]
fn a_filter_that_is_left_alone_is_not_said_to_be_well() {
    let upstream = Upstream::ok("hello");
    let failing = Guest::new().quiet().on(On::RequestHeaders, [Step::Loop]);
    let more = ", isolation: exchange, limits: {instructions: 100k}, breaker: {faults: 2, open_for: 1h}";
    let proxy = with_filters(&upstream, &[("bad", &failing, more)]);
    assert_eq!(seen(&proxy).0["state"], "ok");
    for _ in 0..5 {
        assert_eq!(proxy.client().get("/").status(), 503);
    }
    let page = shown(&proxy, "bad");
    assert_eq!((&page["breakers_open"], &page["breaker_trips"]), (&1.into(), &1.into()), "{page}");
    assert_eq!((&page["on_fault"], &page["workers"]), (&5.into(), &1.into()), "{page}");
    let (filter, line) = seen(&proxy);
    assert_eq!((&filter["state"], &filter["breakers_open"]), (&"breaker_open".into(), &1.into()), "{filter}");
    assert!(line.starts_with("bad ") && line.contains(" breaker "), "{line}");
}

#[test]
fn a_filter_whose_module_is_missing_is_shown_as_that() {
    let upstream = Upstream::ok("hello");
    let (server, _kept) = refusing_address();
    let module = format!("module: {{url: \"http://{server}/f.wasm\", retries: 0}}");
    let cache = folder();
    let proxy = keeping(&filtering(&upstream, &[("absent", &module)]), &cache).start_unready();
    assert_eq!(proxy.client().get("/").status(), 503);
    let page = shown(&proxy, "absent");
    assert_eq!((&page["module_missing"], &page["instances"]), (&true.into(), &0.into()), "{page}");
    let (filter, line) = seen(&proxy);
    assert_eq!((&filter["state"], &filter["module_missing"]), (&"missing".into(), &true.into()), "{filter}");
    assert!(line.starts_with("absent ") && line.contains(" missing "), "{line}");
}

#[test]
fn a_filter_that_lost_its_instance_is_failing_until_it_has_another() {
    let upstream = Upstream::ok("hello");
    let trap = Step::If(When::Header(RequestHeaders, "x-fail", "yes"), vec![Step::Trap]);
    let proxy = with_filters(&upstream, &[("bad", &Guest::new().quiet().on(On::RequestHeaders, [trap]), "")]);
    let alive = || {
        let page = shown(&proxy, "bad");
        (page["instances"].as_u64(), page["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0))
    };
    assert_eq!(alive(), (Some(1), true));
    assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    assert_eq!(alive(), (Some(0), false));
    assert_eq!(seen(&proxy).0["state"], "failing");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(alive(), (Some(1), true));
    assert_eq!(seen(&proxy).0["state"], "ok");
}

#[test]
fn as_json_it_goes_on_until_nobody_reads() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("busy", &busy(), "")]);
    let admin = proxy.address("admin").to_string();
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let mut top = Command::new(binary)
        .args(["top", "--admin", &admin, "--interval", "100ms", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the proxy's binary starts");
    let mut lines = BufReader::new(top.stdout.take().expect("it is piped")).lines();
    for _ in 0..2 {
        let line = lines.next().expect("it goes on").expect("it is text");
        let costs: Value = serde_json::from_str(&line).expect("each line is an object");
        assert_eq!(costs["filters"][0]["name"], "busy");
    }
    drop(lines);
    assert!(eventually("its end", || top.try_wait().expect("a child can be waited for")).success());
}

#[test]
fn one_look_as_text_is_a_table_with_the_dearest_filter_first() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("calm", &calm(), ""), ("busy", &busy(), "")]);
    let text = top_of(&proxy, &[]);
    let firsts: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(firsts, ["tidegate", "1", "", "FILTER", "busy", "calm"], "{text}");
}

#[test]
fn it_says_that_nobody_answers_or_that_it_is_no_proxy() {
    let (nobody, _kept) = refusing_address();
    let nobody = nobody.to_string();
    let exit = top(&["--admin", &nobody, "--once"]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains(&format!("no admin listener answers at {nobody}")), "{}", exit.stderr);

    let upstream = Upstream::ok("hello");
    let exit = top(&["--admin", &format!("http://{}/", upstream.address()), "--once"]);
    let says = |why: &str, address: std::net::SocketAddr| {
        let hint = "`--admin` takes the `admin.address` of the proxy's configuration";
        format!("error: {address} is no admin listener of a tidegate: {why}; {hint}")
    };
    let not_the_page = says("what it answers is not the page /filters", upstream.address());
    assert_eq!((exit.code, &*exit.stderr), (Some(1), &*not_the_page));
    let upstream = Upstream::start(|_| Answer::sized(404, &[], ""));
    let exit = top(&["--admin", &upstream.address().to_string(), "--once"]);
    assert_eq!(exit.stderr, says("it has no page /filters and answered 404", upstream.address()));
    let upstream = Upstream::start(|_| Answer::default().send("220 mail.example.com ESMTP\r\n"));
    let exit = top(&["--admin", &upstream.address().to_string(), "--once"]);
    assert_eq!(exit.stderr, says("it does not answer in HTTP", upstream.address()));
}

#[test]
fn without_a_terminal_it_says_what_to_ask_for() {
    let exit = top(&["--admin", "127.0.0.1:1"]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("use --once, or --format json"), "{}", exit.stderr);
}

#[test]
fn on_a_terminal_it_goes_on_until_a_key_and_leaves_the_terminal_as_it_was() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("busy", &busy(), "")]);
    proxy.client().get("/");
    let admin = proxy.address("admin").to_string();
    let mut terminal = Terminal::start(&["top", "--admin", &admin, "--interval", "100ms"], 120, 30);
    terminal.wait_for("busy");
    assert!(terminal.is_taken());
    terminal.press("\r");
    terminal.wait_for("on_request_headers");
    let before = terminal.shown().len();
    terminal.press("?");
    terminal.wait_for_more(before, "Ctrl-C");
    terminal.press("xq");
    assert!(terminal.wait().success());
    assert!(terminal.is_restored());
    // What it wrote last may be read after its end is known.
    terminal.wait_for("\u{1b}[?1049l");
    let shown = terminal.shown();
    assert!(shown.contains("\u{1b}[?1049h"), "{shown:?}");
}

#[test]
fn a_proxy_that_goes_away_is_said_to_have_and_a_signal_restores_the_terminal() {
    let upstream = Upstream::ok("hello");
    let mut proxy = with_filters(&upstream, &[("busy", &busy(), "")]);
    let admin = proxy.address("admin").to_string();
    let mut terminal = Terminal::start(&["top", "--admin", &admin, "--interval", "100ms"], 120, 30);
    terminal.wait_for("busy");
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
    terminal.wait_for("asking again");
    terminal.signal(Signal::TERM);
    assert!(terminal.wait().success());
    assert!(terminal.is_restored());
}
