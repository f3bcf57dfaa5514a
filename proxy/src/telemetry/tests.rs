//! Telemetry from the outside: what is counted, what a scrape and the log then say.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use expect_test::expect;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::access_log::{AccessLog, Ending, Entry};
use super::metrics::{
    CallbackSample, ConnectFailure, FilterSample, Format, GuestMetric, GuestValue, HistogramSample, Registry,
    write_guest_metrics,
};
use super::{ExchangeReport, Reporter};
use crate::error::{Failure, Outcome, StatusClass};

/// The lines of a scrape with `word` in them, without help and type.
fn samples(metrics: &Arc<Registry>, word: &str) -> String {
    let text = metrics.render(Format::Prometheus).expect("no source fails");
    text.lines()
        .filter(|line| !line.starts_with('#') && line.contains(word))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn reporter(metrics: &Registry) -> Rc<Reporter> {
    Reporter::new(metrics, 0, "ingress", None)
}

#[test]
fn an_exchange_is_counted_by_its_route_cluster_and_outcome() {
    let metrics = Registry::new();
    let cell = metrics.exchange(0, "ingress", "api", "backend");
    let mut report = ExchangeReport::begin(&reporter(&metrics), Instant::now());
    report.route(&cell);
    report.receive(60);
    report.answer(StatusCode::OK);
    report.send(40);
    report.send(2);
    report.complete();
    drop(report);

    expect![[r#"
        tidegate_requests_total{listener="ingress",route="api",cluster="backend",code_class="2xx",outcome="ok"} 1
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_requests_total"));
    expect![[r#"
        tidegate_request_body_bytes_total{listener="ingress",route="api",cluster="backend"} 60
        tidegate_response_body_bytes_total{listener="ingress",route="api",cluster="backend"} 42
    "#]]
    .assert_eq(&samples(&metrics, "_body_bytes_total"));
}

#[test]
fn an_exchange_that_drops_before_its_answer_says_that_the_client_left() {
    let metrics = Registry::new();
    drop(ExchangeReport::begin(&reporter(&metrics), Instant::now()));
    expect![[r#"
        tidegate_requests_total{listener="ingress",route="",cluster="",code_class="none",outcome="client_left"} 1
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_requests_total"));
}

#[test]
fn an_exchange_that_drops_within_its_response_says_that_the_client_left() {
    let metrics = Registry::new();
    let mut report = ExchangeReport::begin(&reporter(&metrics), Instant::now());
    report.answer(StatusCode::OK);
    report.send(10);
    drop(report);
    expect![[r#"
        tidegate_requests_total{listener="ingress",route="",cluster="",code_class="2xx",outcome="client_left"} 1
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_requests_total"));
}

#[test]
fn the_first_failure_counts_and_what_follows_from_it_does_not() {
    let metrics = Registry::new();
    let mut report = ExchangeReport::begin(&reporter(&metrics), Instant::now());
    report.fail(Failure::UpstreamTimeout);
    report.answer(StatusCode::GATEWAY_TIMEOUT);
    report.fail(Failure::ClientLeft);
    drop(report);
    expect![[r#"
        tidegate_requests_total{listener="ingress",route="",cluster="",code_class="5xx",outcome="upstream_timeout"} 1
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_requests_total"));
}

#[test]
fn requests_under_way_are_counted_until_they_drop() {
    let metrics = Registry::new();
    let reporter = reporter(&metrics);
    let reports: Vec<_> = (0..3).map(|_| ExchangeReport::begin(&reporter, Instant::now())).collect();
    expect![[r#"
        tidegate_active_requests{listener="ingress"} 3
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_active_requests"));
    drop(reports);
    expect![[r#"
        tidegate_active_requests{listener="ingress"} 0
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_active_requests"));
}

#[test]
fn workers_are_summed_and_the_same_labels_give_the_same_cell() {
    let metrics = Registry::new();
    metrics.cluster(0, "api").connections.add(2);
    metrics.cluster(1, "api").connections.add(3);
    metrics.cluster(0, "api").connections.increment();
    metrics.cluster(1, "api").count_connect_failure(ConnectFailure::Timeout);
    metrics.listener(0, "ingress").count_protocol_error(Failure::RequestHeadTooLarge);
    expect![[r#"
        tidegate_upstream_connections_total{cluster="api"} 6
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_upstream_connections_total"));
    expect![[r#"
        tidegate_downstream_protocol_errors_total{listener="ingress",reason="request_head_too_large"} 1
        tidegate_upstream_connect_failures_total{cluster="api",reason="timeout"} 1
    "#]]
    .assert_eq(&samples(&metrics, "reason="));
}

#[test]
fn a_duration_on_a_bound_falls_into_its_bucket() {
    let metrics = Registry::new();
    let cell = metrics.exchange(0, "l", "r", "c");
    for duration in
        [Duration::ZERO, Duration::from_micros(500), Duration::from_micros(501), Duration::from_secs(61)]
    {
        cell.duration.observe(duration);
    }
    expect![[r#"
        tidegate_request_duration_seconds_sum{listener="l",route="r",cluster="c"} 61.001001
        tidegate_request_duration_seconds_count{listener="l",route="r",cluster="c"} 4
        tidegate_request_duration_seconds_bucket{le="0.0005",listener="l",route="r",cluster="c"} 2
        tidegate_request_duration_seconds_bucket{le="0.001",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.0025",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.005",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.01",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.025",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.05",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.1",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.25",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="0.5",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="1.0",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="2.5",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="5.0",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="10.0",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="60.0",listener="l",route="r",cluster="c"} 3
        tidegate_request_duration_seconds_bucket{le="+Inf",listener="l",route="r",cluster="c"} 4
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_request_duration_seconds"));
}

#[test]
fn label_values_of_any_text_are_escaped() {
    let metrics = Registry::new();
    metrics.cluster(0, "outbound|80||\"s\"\\\n").connections.increment();
    expect![[r#"
        tidegate_upstream_connections_total{cluster="outbound|80||\"s\"\\\n"} 1
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_upstream_connections_total"));
}

#[test]
fn filters_are_summed_by_name_and_keep_their_counts_when_they_are_replaced() {
    let metrics = Registry::new();
    let callback = CallbackSample {
        calls: 2,
        instructions: 100,
        time: Duration::from_millis(5),
        hostcalls: 6,
        bytes_in: 30,
        bytes_out: 0,
    };
    let sample = move || FilterSample {
        callbacks: [("on_request_headers", callback)].into(),
        rate_limited: [("exchange", 3)].into(),
        faults: [("trap", 1)].into(),
        denials: [("headers.read", 3)].into(),
        dropped_log_lines: 7,
        rebuilds: 1,
        recycles: 1,
        policies: 3,
        breaker_trips: 1,
        breakers_open: 1,
        workers: 1,
        instances: 1,
        memory_bytes: 65536,
    };
    let first = metrics.observe_filter("auth", sample);
    let second = metrics.observe_filter("auth", sample);
    drop(first);
    expect![[r#"
        tidegate_filter_calls_total{filter="auth",callback="on_request_headers"} 4
        tidegate_filter_instructions_total{filter="auth",callback="on_request_headers"} 200
        tidegate_filter_time_seconds_total{filter="auth",callback="on_request_headers"} 0.01
        tidegate_filter_hostcalls_total{filter="auth",callback="on_request_headers"} 12
        tidegate_filter_copied_bytes_total{filter="auth",callback="on_request_headers",direction="in"} 60
        tidegate_filter_faults_total{filter="auth",kind="trap"} 2
        tidegate_filter_denials_total{filter="auth",capability="headers.read"} 6
        tidegate_filter_rate_limited_total{filter="auth",work="exchange"} 6
        tidegate_filter_dropped_log_lines_total{filter="auth"} 14
        tidegate_filter_rebuilds_total{filter="auth"} 2
        tidegate_filter_recycles_total{filter="auth"} 2
        tidegate_filter_on_fault_total{filter="auth"} 6
        tidegate_filter_breaker_trips_total{filter="auth"} 2
        tidegate_filter_breakers_open{filter="auth"} 1
        tidegate_filter_instances{filter="auth"} 1
        tidegate_filter_memory_bytes{filter="auth"} 65536
    "#]]
    .assert_eq(&samples(&metrics, "tidegate_filter"));
    drop(second);
}

#[test]
fn labels_in_the_name_of_a_filters_metric_are_labels() {
    let metrics = Registry::new();
    metrics.add_source(|page| {
        let metric =
            |name: &str, value| GuestMetric { name: name.to_owned(), value: GuestValue::Counter(value) };
        let names = [
            r#"denied{rule="admin",why="a\"b\\c\nd"}"#,
            r#"denied{rule="other",why=""}"#,
            r#"denied{rule="other",why=""}"#,
            "denied",
            r#"odd{le="1"}"#,
            r#"odd{a="1",a="2"}"#,
            r#"odd{a="1"} 7"#,
            r#"odd{a="1",}"#,
            r#"odd{a="\x"}"#,
        ];
        write_guest_metrics(page, names.into_iter().zip(1..).map(|(name, value)| metric(name, value)))
    });
    let text = metrics.render(Format::Prometheus).expect("no source fails");
    let samples = text.lines().filter(|line| line.starts_with("wasmcustom"));
    let lines: String = samples.map(|line| format!("{line}\n")).collect();
    expect![[r#"
        wasmcustom_denied_total{rule="admin",why="a\"b\\c\nd"} 1
        wasmcustom_denied_total{rule="other",why=""} 2
        wasmcustom_denied_total 4
        wasmcustom_odd_a__1___7_total 7
        wasmcustom_odd_a__1____total 8
        wasmcustom_odd_a__1__a__2___total 6
        wasmcustom_odd_a___x___total 9
        wasmcustom_odd_le__1___total 5
    "#]]
    .assert_eq(&lines);
}

#[test]
fn metrics_of_filters_are_cleaned_and_cannot_pass_for_the_proxys_own() {
    let metrics = Registry::new();
    metrics.add_source(|page| {
        let metric = |name: &str, value| GuestMetric { name: name.to_owned(), value };
        let buckets = vec![(1.0, 2), (f64::INFINITY, 1)];
        write_guest_metrics(
            page,
            [
                metric("my.requests-é\n\\", GuestValue::Counter(3)),
                metric("my_requests_____total", GuestValue::Counter(9)),
                metric("tidegate_requests_total", GuestValue::Gauge(1)),
                metric("sizes", GuestValue::Histogram(HistogramSample { buckets, sum: 12.0, count: 3 })),
            ],
        )
    });
    let text = metrics.render(Format::Prometheus).expect("no source fails");
    let lines: String = text.lines().filter(|l| l.contains("wasmcustom")).map(|l| format!("{l}\n")).collect();
    expect![[r#"
        # HELP wasmcustom_my_requests_____total Defined by a filter as my.requests-é??.
        # TYPE wasmcustom_my_requests_____total counter
        wasmcustom_my_requests_____total 3
        # HELP wasmcustom_sizes Defined by a filter as sizes.
        # TYPE wasmcustom_sizes histogram
        wasmcustom_sizes_sum 12.0
        wasmcustom_sizes_count 3
        wasmcustom_sizes_bucket{le="1.0"} 2
        wasmcustom_sizes_bucket{le="+Inf"} 3
        # HELP wasmcustom_tidegate_requests_total Defined by a filter as tidegate_requests_total.
        # TYPE wasmcustom_tidegate_requests_total gauge
        wasmcustom_tidegate_requests_total 1
    "#]]
    .assert_eq(&lines);
}

#[test]
fn each_format_names_counters_in_its_own_way() {
    let metrics = Registry::new();
    metrics.cluster(0, "api").connections.increment();
    let lines = |format| {
        let text = metrics.render(format).expect("no source fails");
        let wanted = |line: &&str| line.contains("tidegate_upstream_connections") || line.contains("EOF");
        text.lines().filter(wanted).map(|line| format!("{line}\n")).collect::<String>()
    };
    expect![[r#"
        # HELP tidegate_upstream_connections_total Connections made to endpoints.
        # TYPE tidegate_upstream_connections_total counter
        tidegate_upstream_connections_total{cluster="api"} 1
    "#]]
    .assert_eq(&lines(Format::Prometheus));
    expect![[r#"
        # HELP tidegate_upstream_connections Connections made to endpoints.
        # TYPE tidegate_upstream_connections counter
        tidegate_upstream_connections_total{cluster="api"} 1
        # EOF
    "#]]
    .assert_eq(&lines(Format::OpenMetrics));
}

#[test]
fn a_scrape_shows_the_process_and_the_server() {
    let metrics = Registry::new();
    metrics.note_workers(4);
    metrics.note_config();
    let text = metrics.render(Format::Prometheus).expect("no source fails");
    assert!(text.contains("\ntidegate_workers 4\n"), "{text}");
    assert!(text.contains("\ntidegate_config_generation 1\n"), "{text}");
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(text.contains(&format!("\n{name} ")), "{name} is missing from {text}");
    }
}

/// An entry with something in every field.
fn entry() -> Entry {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", &b"api.example.com"[..]),
        ("user-agent", b"curl/8 \"quoted\" \xff"),
        ("x-forwarded-for", b"10.0.0.1, 10.0.0.2"),
        ("x-request-id", b"7b6f"),
    ] {
        headers.insert(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    let mut entry = Entry::begin(&Arc::from("ingress"));
    entry.note_request(&Method::GET, &Uri::from_static("/a/b?c=d&e=%22"), &headers);
    entry.time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042);
    entry.route = Some(Arc::from("api"));
    entry.cluster = Some(Arc::from("outbound|80||svc"));
    entry.upstream = Some(SocketAddr::from(([10, 0, 0, 9], 9000)).into());
    entry.client = Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5555)));
    entry.protocol = Some("HTTP/1.1");
    entry.details = Some("trap\nin line 3".to_owned());
    entry.filter = Some(Arc::from("auth"));
    entry
}

fn ending() -> Ending {
    Ending {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        outcome: Outcome { class: StatusClass::ServerError, failure: Some(Failure::FilterFault) },
        grpc_status: None,
        duration: Duration::from_nanos(1_234_567),
        request_bytes: 60,
        response_bytes: 0,
    }
}

#[test]
fn a_line_of_the_access_log_is_one_line_of_json_whatever_is_in_it() {
    let mut lines = Vec::new();
    entry().write_line(&ending(), &mut lines);
    let line = String::from_utf8(lines).expect("JSON is UTF-8");
    assert_eq!(line.matches('\n').count(), 1);
    serde_json::from_str::<serde_json::Value>(&line).expect("it is JSON");
    expect![[r#"
        {"time":"2023-11-14T22:13:20.000042Z","listener":"ingress","route":"api","cluster":"outbound|80||svc","upstream":"10.0.0.9:9000","attempts":null,"client":"[::1]:5555","method":"GET","path":"/a/b?c=d&e=%22","host":"api.example.com","protocol":"HTTP/1.1","tls_version":null,"server_name":null,"status":503,"outcome":"filter_fault","grpc_status":null,"at_fault":"filter","flags":"-","details":"trap\nin line 3","filter":"auth","skipped":[],"duration_ms":1.234,"request_bytes":60,"response_bytes":0,"request_id":"7b6f","user_agent":"curl/8 \"quoted\" �","x_forwarded_for":"10.0.0.1, 10.0.0.2"}
    "#]]
    .assert_eq(&line);
}

#[test]
fn what_is_not_known_is_null() {
    let mut lines = Vec::new();
    let outcome = Outcome { class: StatusClass::NoResponse, failure: Some(Failure::ClientLeft) };
    let mut entry = Entry::begin(&Arc::from("ingress"));
    entry.time = SystemTime::UNIX_EPOCH;
    entry.write_line(&Ending { status: None, outcome, ..ending() }, &mut lines);
    expect![[r#"
        {"time":"1970-01-01T00:00:00.000000Z","listener":"ingress","route":null,"cluster":null,"upstream":null,"attempts":null,"client":null,"method":null,"path":null,"host":null,"protocol":null,"tls_version":null,"server_name":null,"status":null,"outcome":"client_left","grpc_status":null,"at_fault":"downstream","flags":"DC","details":null,"filter":null,"skipped":[],"duration_ms":1.234,"request_bytes":60,"response_bytes":0,"request_id":null,"user_agent":null,"x_forwarded_for":null}
    "#]]
    .assert_eq(&String::from_utf8_lossy(&lines));
}

/// A place to write that keeps what was written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("nobody panicked").clone()).expect("lines are UTF-8")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader who says when a write has reached him and takes nothing until he is let go.
struct Stuck {
    reached: Sender<()>,
    release: Receiver<()>,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Both ends of the test are gone when it is over.
        let _ = self.reached.send(());
        let _ = self.release.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader who has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_the_reader_refuses_is_counted() {
    let metrics = Registry::new();
    let log = AccessLog::start(Gone, &metrics).expect("a thread");
    let mut line = Vec::new();
    entry().write_line(&ending(), &mut line);
    log.lane().append(&entry(), &ending());
    log.close();
    let lost = format!("tidegate_access_log_lost_bytes_total {}", line.len());
    assert!(samples(&metrics, "lost_bytes").contains(&lost), "{}", samples(&metrics, "lost_bytes"));
}

#[test]
fn every_exchange_has_one_line_when_the_log_is_closed() {
    let (metrics, kept) = (Registry::new(), Kept::default());
    let log = AccessLog::start(kept.clone(), &metrics).expect("a thread");
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let (metrics, lane) = (Arc::clone(&metrics), log.lane());
            std::thread::spawn(move || {
                let reporter = Reporter::new(&metrics, worker, "ingress", Some(lane));
                for number in 0..500 {
                    let mut report = ExchangeReport::begin(&reporter, Instant::now());
                    report.log(|entry| entry.details = Some(format!("{worker}/{number}")));
                    report.answer(StatusCode::OK);
                    report.complete();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic");
    }
    log.close();
    let text = kept.text();
    assert_eq!(text.lines().count(), 1000);
    for worker in 0..2 {
        let own = text.lines().filter(|line| line.contains(&format!("\"details\":\"{worker}/")));
        for (number, line) in own.enumerate() {
            assert!(line.contains(&format!("\"details\":\"{worker}/{number}\"")), "out of order: {line}");
        }
    }
    expect![[r#"
        tidegate_access_log_lines_total 1000
        tidegate_access_log_dropped_lines_total 0
        tidegate_access_log_lost_bytes_total 0
    "#]]
    .assert_eq(&samples(&metrics, "access_log"));
}

#[test]
fn a_line_is_written_without_another_one_coming() {
    let metrics = Registry::new();
    let ((reached, writes), (release, held)) = (mpsc::channel(), mpsc::channel());
    let log = AccessLog::start(Stuck { reached, release: held }, &metrics).expect("a thread");
    log.lane().append(&entry(), &ending());
    writes.recv_timeout(Duration::from_secs(10)).expect("the line is written");
    drop(release);
    log.close();
}

#[test]
fn a_reader_who_does_not_read_costs_lines_and_never_time() {
    let metrics = Registry::new();
    let ((reached, writes), (release, held)) = (mpsc::channel(), mpsc::channel());
    let log = AccessLog::start(Stuck { reached, release: held }, &metrics).expect("a thread");
    let lane = log.lane();
    lane.append(&entry(), &ending());
    writes.recv_timeout(Duration::from_secs(10)).expect("the line is written");
    // The writer is stuck now. A lane is 1 MiB and a line over 400 bytes.
    for _ in 0..4_000 {
        lane.append(&entry(), &ending());
    }
    let dropped = samples(&metrics, "tidegate_access_log_dropped_lines_total");
    assert_ne!(dropped, "tidegate_access_log_dropped_lines_total 0\n");
    drop(release);
    log.close();
}

#[test]
fn without_an_access_log_nobody_asks_for_facts() {
    let metrics = Registry::new();
    let mut report = ExchangeReport::begin(&reporter(&metrics), Instant::now());
    report.log(|_| panic!("the log is off"));
}
