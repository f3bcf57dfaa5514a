//! Large numbers: connections, bytes, and the memory that they take.
//!
//! `TIDEGATE_TEST_STREAM_MIB` sets how much is streamed each way (256 otherwise; the promise is made for 1024).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::equipment::{Act, Answer, Client, Guest, On, Proxy, Upstream, forwarding, in_listener};

const CONNECTIONS: usize = 5_000;
/// What the proxy may grow by while it streams, whatever the length of the stream.
const GROWTH: u64 = 8 << 20;

/// Lets this process, and the proxies it starts from now on, open as many files as the kernel allows.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("the soft limit may be raised to the hard one");
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most > 2 * CONNECTIONS as u64 + 200,
        "this test needs more open files than {most}: see `ulimit -Hn`"
    );
}

#[test]
fn five_thousand_connections_are_served_and_kept_alive() {
    raise_open_files();
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::with(&forwarding(&[upstream.address()], "")).workers(2).start();
    let before = proxy.allocated_bytes();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "hello");
    }
    assert_eq!(
        proxy.metrics().sum("tidegate_downstream_active_connections", &[("listener", "in")]),
        CONNECTIONS as f64
    );
    let each = proxy.allocated_bytes().saturating_sub(before) / CONNECTIONS as u64;
    println!("an idle connection takes {each} bytes of resident memory");
    assert!(each < 64 << 10, "an idle connection takes {each} bytes");
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "hello", "again on the same connection");
    }
}

#[test]
fn the_limit_on_open_files_is_raised_as_far_as_the_system_allows() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::with(&forwarding(&[upstream.address()], "")).open_files(128).start();
    assert_eq!(proxy.open_files(), getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
}

/// Most of each would hold nothing: see `main.rs`.
#[test]
fn no_memory_is_taken_in_pages_of_2_mib() {
    let upstream = Upstream::ok("hello");
    assert!(!Proxy::with(&forwarding(&[upstream.address()], "")).start().may_have_huge_pages());
}

fn stream_bytes() -> u64 {
    let mib = std::env::var("TIDEGATE_TEST_STREAM_MIB").ok().and_then(|mib| mib.parse::<u64>().ok());
    mib.unwrap_or(256) << 20
}

/// A proxy whose one filter sees every piece of every body and lets it pass.
fn streaming_proxy(upstream: &Upstream) -> Proxy {
    let guest = Guest::new().quiet().on(On::RequestBody, []).on(On::ResponseBody, []);
    let config = in_listener(&forwarding(&[upstream.address()], "timeout: 0s"), &["filters: [pass]"]);
    Proxy::with(&format!("{config}filters:\n  pass: {{module: ./pass.wasm}}\n"))
        .file("pass.wasm", guest.build())
        .start()
}

/// How much the proxy's memory grew at most while this went on, once a first small exchange has warmed it up.
fn growth_during(proxy: &Proxy, work: impl FnOnce()) -> u64 {
    proxy.client().request("POST", "/small", &[], &"x".repeat(100_000));
    let before = proxy.allocated_bytes();
    let done = AtomicBool::new(false);
    let peak = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = before;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(proxy.allocated_bytes());
                std::thread::park_timeout(Duration::from_millis(20));
            }
            peak
        });
        work();
        done.store(true, Ordering::Relaxed);
        watching.join().expect("the proxy can be watched")
    });
    peak - before
}

#[test]
fn a_huge_response_streams_through_a_filter_in_little_memory() {
    let block = vec![b'x'; 64 << 10];
    let total = stream_bytes();
    let times = (total / block.len() as u64) as usize;
    let upstream = Upstream::start(move |head| match head.target() {
        "/small" => Answer::ok(&"y".repeat(100_000)),
        _ => {
            let written = Arc::new(AtomicU64::new(0));
            let answer = Answer::default().head(200, &[("content-length", &total.to_string())]);
            answer.act(Act::Flood { block: block.clone(), times, written })
        }
    });
    let proxy = streaming_proxy(&upstream);
    let grown = growth_during(&proxy, || {
        let mut client = proxy.client();
        client.forget_bodies();
        let response = client.get("/huge");
        assert!(crate::equipment::is_whole(&response.body));
        assert_eq!(client.progress(), total);
    });
    println!("{} MiB down: the proxy grew by {} KiB", total >> 20, grown >> 10);
    assert!(grown <= GROWTH, "the proxy grew by {grown} bytes");
    let calls = [("filter", "pass"), ("callback", "on_response_body")];
    assert!(proxy.metrics().sum("tidegate_filter_calls_total", &calls) > 1.0, "it went through the filter");
}

#[test]
fn a_huge_request_streams_through_a_filter_in_little_memory() {
    let total = stream_bytes();
    let upstream = Upstream::start_forgetful(|_| Answer::ok("thanks"));
    let proxy = streaming_proxy(&upstream);
    let block = vec![b'x'; 64 << 10];
    let grown = growth_during(&proxy, || {
        let mut client = proxy.client();
        client.send("POST /huge HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n");
        let size = format!("{:x}\r\n", block.len());
        let chunk = [size.as_bytes(), &block, b"\r\n"].concat();
        (0..total / block.len() as u64).for_each(|_| client.send_bytes(&chunk));
        client.send("0\r\n\r\n");
        assert_eq!(client.response().text(), "thanks");
    });
    assert_eq!(upstream.wait_for(2)[1].arrived, total);
    println!("{} MiB up: the proxy grew by {} KiB", total >> 20, grown >> 10);
    assert!(grown <= GROWTH, "the proxy grew by {grown} bytes");
}

/// Ten thousand endpoints, and one more in the first cluster, or one less.
fn many_endpoints(of_first: usize) -> String {
    use std::fmt::Write as _;
    let mut config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n".to_owned();
    let mut clusters = "clusters:\n".to_owned();
    for cluster in 0..500 {
        let _ = writeln!(config, "  - {{match: {{path: {{prefix: /{cluster}/}}}}, cluster: c{cluster}}}");
        let count = if cluster == 0 { of_first } else { 20 };
        let address = |at: usize| format!("\"10.{}.{}.{}:80\"", cluster / 250, cluster % 250, at + 1);
        let addresses: Vec<String> = (0..count).map(address).collect();
        let _ = writeln!(clusters, "  c{cluster}: {{endpoints: [{}]}}", addresses.join(", "));
    }
    config + &clusters
}

#[test]
fn ten_thousand_endpoints_over_five_hundred_clusters_are_small_and_reloaded_within_a_second() {
    let few = Proxy::start(&forwarding(&["10.0.0.1:80".parse().expect("an address")], ""));
    let mut proxy = Proxy::with(&many_endpoints(20)).workers(2).start();
    let grown = proxy.allocated_bytes().saturating_sub(few.allocated_bytes());
    println!("10,000 endpoints in 500 clusters take {} KiB of resident memory", grown >> 10);
    let mut longest = 0;
    for of_first in [21, 20, 21] {
        assert!(proxy.change(&many_endpoints(of_first)));
        let took = proxy.status()["last_reload"]["duration_ms"].as_u64().expect("a time");
        longest = longest.max(took);
    }
    println!("a reload that changes one of them took {longest} ms at most");
    assert!(grown < 64 << 20, "they take {grown} bytes");
    // A second is for the release build on a machine that does nothing else: `make soak`.
    if std::env::var_os("TIDEGATE_BINARY").is_some() {
        assert!(longest <= 1000, "a reload took {longest} ms");
    }
}
