//! TCP listeners: connections go to a cluster, whole and in both directions, through filters of their own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::equipment::{
    BOUND, Backend, Buffer, Client, Flow, Guest, Map, On, Proxy, Start, Step, When, eventually, message,
    refusing_address, silent_address,
};

use Buffer::{DownstreamData, UpstreamData};

/// A proxy whose TCP listener `in` sends connections to this endpoint through these filters: name, guest, and more of
/// its configuration in flow style. `fields` are more of its listener's, each a line of YAML.
pub(super) fn prepared(endpoint: SocketAddr, fields: &[&str], filters: &[(&str, &Guest, &str)]) -> Start {
    let names: Vec<&str> = filters.iter().map(|(name, ..)| *name).collect();
    let more: String = fields.iter().map(|field| format!("  {field}\n")).collect();
    let mut config = format!(
        "drain_timeout: 1h\nlisteners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  cluster: up\n  \
         access_log: true\n  filters: [{}]\n{more}clusters:\n  up: {{endpoints: [\"{endpoint}\"]}}\nfilters:\n",
        names.join(", ")
    );
    for (name, _, more) in filters {
        config += &format!("  {name}: {{module: ./{name}.wasm{more}}}\n");
    }
    if filters.is_empty() {
        config = config.replace("filters:\n", "");
    }
    let start = Proxy::with(&config).log_guests_fully();
    filters.iter().fold(start, |start, (name, guest, _)| start.file(&format!("{name}.wasm"), guest.build()))
}

fn serving(backend: &Backend, filters: &[(&str, &Guest, &str)]) -> Proxy {
    prepared(backend.address(), &[], filters).start()
}

/// A connection that goes all the way: its client's end and its upstream's.
fn pair(proxy: &Proxy, backend: &Backend) -> (Client, Client) {
    let client = proxy.client();
    (client, backend.accept())
}

fn wait_for_outcome(proxy: &Proxy, outcome: &str) {
    let labels = [("listener", "in"), ("cluster", "up"), ("outcome", outcome)];
    proxy.wait_for_metric("tidegate_tcp_connections_total", &labels, 1.0);
}

fn wait_for_guest(proxy: &Proxy, text: &str) {
    eventually(&format!("{text:?} in the guests' log"), || {
        proxy.guest_log().iter().any(|(_, line)| line.contains(text)).then_some(())
    });
}

#[test]
fn a_connection_is_carried_both_ways_and_reported_once() {
    let backend = Backend::start();
    let proxy = serving(&backend, &[]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    proxy.wait_for_metric("tidegate_upstream_active_connections", &[("cluster", "up")], 1.0);
    client.send("ping");
    assert_eq!(upstream.exactly(4), "ping");
    upstream.send("pong!");
    assert_eq!(client.exactly(5), "pong!");
    assert!(proxy.access_log().is_empty(), "it is reported when it ends");
    client.half_close();
    upstream.expect_orderly_end();
    upstream.send("bye");
    upstream.half_close();
    assert_eq!(client.rest(), "bye");
    wait_for_outcome(&proxy, "ok");
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["protocol"], &line["outcome"]), (&"TCP".into(), &"ok".into()), "{line}");
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&4.into(), &8.into()), "{line}");
    assert_eq!((&line["cluster"], &line["status"]), (&"up".into(), &serde_json::Value::Null), "{line}");
    assert_eq!(line["upstream"], backend.address().to_string(), "{line}");
    proxy.wait_for_metric("tidegate_tcp_received_bytes_total", &[("listener", "in")], 4.0);
    proxy.wait_for_metric("tidegate_tcp_sent_bytes_total", &[("listener", "in")], 8.0);
    proxy.wait_for_metric("tidegate_upstream_active_connections", &[("cluster", "up")], 0.0);
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[("listener", "in")], 0.0);
}

/// Bytes of which any that is lost, doubled or out of place shows.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at % 251) as u8 ^ (at >> 13) as u8).collect()
}

/// Sends so many bytes to a service that sends them back, and checks what comes.
fn transfer(address: SocketAddr, len: usize) {
    const PIECE: usize = 24 * 1024 + 7;
    let stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
    let mut to = stream.try_clone().expect("a socket can be duplicated");
    let sending = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < len {
            let piece = pattern(sent, PIECE.min(len - sent));
            to.write_all(&piece).expect("the proxy takes it");
            sent += piece.len();
        }
        to.shutdown(Shutdown::Write).expect("an open connection can be half closed");
    });
    let (mut from, mut received, mut block) = (stream, 0, vec![0; 32 * 1024]);
    loop {
        let count = from.read(&mut block).expect("the proxy sends it");
        if count == 0 {
            break;
        }
        assert_eq!(block[..count], pattern(received, count), "after {received} bytes");
        received += count;
    }
    sending.join().expect("sending does not fail");
    assert_eq!(received, len);
}

#[test]
fn large_transfers_arrive_whole() {
    let echo = Backend::start().echo();
    let seeing = Guest::new().quiet().on(On::DownstreamData, []).on(On::UpstreamData, []);
    let chains: [&[(&str, &Guest, &str)]; 2] = [&[], &[("one", &seeing, ""), ("two", &seeing, "")]];
    for (filters, limit) in chains.into_iter().zip(["buffer_limit: 1MiB", "buffer_limit: 1000"]) {
        let proxy = prepared(echo, &[limit], filters).start();
        transfer(proxy.address("in"), if filters.is_empty() { 32 << 20 } else { 4 << 20 });
    }
}

#[test]
fn a_transfer_through_a_filter_that_pauses_now_and_then_arrives_whole() {
    let echo = Backend::start().echo();
    // What is held goes on with the next piece, or with the tick where none comes.
    let pausing = |on| {
        let guest = Guest::new().quiet().on(On::Configure, [Step::TickPeriod(5)]).on(On::NewConnection, []);
        let steps = (2..400).step_by(2).map(|call| Step::If(When::Call(call), vec![Step::Return(1)]));
        let flow = if on == On::DownstreamData { Flow::Downstream } else { Flow::Upstream };
        guest.on(on, steps).on(On::Tick, [Step::EffectiveStream, Step::Resume(flow)])
    };
    let (down, up) = (pausing(On::DownstreamData), pausing(On::UpstreamData));
    let filters = [("down", &down, ""), ("up", &up, "")];
    let proxy = prepared(echo, &["buffer_limit: 10000"], &filters).start();
    transfer(proxy.address("in"), 1 << 20);
}

#[test]
fn data_is_changed_in_both_directions() {
    let guest = Guest::new()
        .on(On::DownstreamData, [Step::set_buffer(DownstreamData, 1, 2, "--"), Step::buffer(DownstreamData)])
        .on(On::UpstreamData, [Step::set_buffer(UpstreamData, 0, 0, "> "), Step::buffer(UpstreamData)]);
    let backend = Backend::start();
    let proxy = serving(&backend, &[("edit", &guest, "")]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("abcd");
    assert_eq!(upstream.exactly(4), "a--d");
    upstream.send("line");
    assert_eq!(client.exactly(6), "> line");
    client.leave();
}

#[test]
fn what_is_held_is_shown_again_until_it_goes_on() {
    let held = |buffer| [Step::buffer(buffer), Step::If(When::Call(1), vec![Step::Return(1)])];
    let guest =
        Guest::new().on(On::DownstreamData, held(DownstreamData)).on(On::UpstreamData, held(UpstreamData));
    let backend = Backend::start();
    let proxy = serving(&backend, &[("hold", &guest, "")]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("ab");
    wait_for_guest(&proxy, "buffer DownstreamData 0 4294967295 -> 0 ab");
    client.send("cd");
    assert_eq!(upstream.exactly(4), "abcd");
    upstream.send("ef");
    wait_for_guest(&proxy, "buffer UpstreamData 0 4294967295 -> 0 ef");
    upstream.send("gh");
    assert_eq!(client.exactly(4), "efgh");
    client.leave();
}

/// A guest that holds a direction, and resumes it at its first tick.
fn resuming(on: On, flow: Flow) -> Guest {
    Guest::new()
        .on(On::NewConnection, [])
        .on(on, [Step::TickPeriod(20), Step::Return(1)])
        .on(On::Tick, [Step::EffectiveStream, Step::Resume(flow)])
}

#[test]
fn both_directions_can_be_resumed() {
    // In Envoy the one to the client cannot.
    let backend = Backend::start();
    let down = resuming(On::DownstreamData, Flow::Downstream);
    let up = resuming(On::UpstreamData, Flow::Upstream);
    let proxy = serving(&backend, &[("down", &down, ""), ("up", &up, "")]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("question");
    client.half_close();
    assert_eq!(upstream.rest(), "question");
    upstream.send("answer");
    upstream.half_close();
    assert_eq!(client.rest(), "answer");
    wait_for_outcome(&proxy, "ok");
}

#[test]
fn a_filter_that_pauses_stops_reading_at_the_buffer_limit() {
    let guest =
        Guest::new().on(On::DownstreamData, [Step::Return(1)]).on(On::UpstreamData, [Step::Return(1)]);
    let backend = Backend::start();
    let proxy = prepared(backend.address(), &["buffer_limit: 50000"], &[("hold", &guest, "")]).start();
    let (mut client, mut upstream) = pair(&proxy, &backend);
    let before = proxy.allocated_bytes();
    client.send_until_stopped(64 << 20);
    upstream.send_until_stopped(64 << 20);
    let sizes = proxy.guest_log().into_iter().filter_map(|(_, line)| {
        line.split(' ').find_map(|word| word.strip_prefix("size=")).and_then(|size| size.parse::<u64>().ok())
    });
    assert_eq!(sizes.max(), Some(50_000), "it is held to the byte");
    let grown = proxy.allocated_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
    client.reset();
}

#[test]
fn a_filter_closes_a_connection_after_what_it_let_through() {
    let closing = vec![Step::Close(Flow::Downstream)];
    let guest = Guest::new().on(On::DownstreamData, [Step::If(When::Call(2), closing)]);
    let backend = Backend::start();
    let proxy = serving(&backend, &[("close", &guest, "")]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("one");
    assert_eq!(upstream.exactly(3), "one");
    upstream.send("an answer");
    assert_eq!(client.exactly(9), "an answer");
    client.send("two");
    client.expect_orderly_end();
    assert_eq!(upstream.rest(), "");
    wait_for_outcome(&proxy, "filter_closed");
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["filter"], &line["at_fault"]), (&"close".into(), &"filter".into()), "{line}");
}

#[test]
fn a_client_that_goes_on_sending_to_a_closed_connection_is_cut() {
    let closing = vec![Step::Close(Flow::Downstream)];
    let guest = Guest::new().quiet().on(On::DownstreamData, [Step::If(When::Call(1), closing)]);
    let backend = Backend::start();
    let proxy = serving(&backend, &[("close", &guest, "")]);
    let stream = TcpStream::connect(proxy.address("in")).expect("the proxy listens");
    let flood = |stream: TcpStream| {
        std::thread::spawn(move || while (&stream).write_all(&[b'x'; 256 << 10]).is_ok() {})
    };
    let floods = [(); 3].map(|()| flood(stream.try_clone().expect("a socket can be duplicated")));
    wait_for_outcome(&proxy, "filter_closed");
    for flood in floods {
        flood.join().expect("it ends when the proxy takes no more");
    }
}

#[test]
fn what_a_filter_let_through_is_written_before_it_closes_the_connection() {
    let guest = Guest::new().on(On::DownstreamData, [Step::Close(Flow::Upstream)]).on(On::UpstreamData, []);
    let backend = Backend::start();
    let proxy = serving(&backend, &[("close", &guest, "")]);
    let mut client = Client::connect_narrow(proxy.address("in"));
    let mut upstream = backend.accept();
    upstream.send_until_stopped(64 << 20); // so that something waits to be written to the client
    client.send("enough");
    wait_for_guest(&proxy, "close Upstream");
    let received = client.try_orderly_rest().expect("it is ended in order").len();
    let log = proxy.guest_log();
    let sizes = log.iter().filter(|(_, line)| line.starts_with("upstream_data"));
    let sizes =
        sizes.filter_map(|(_, line)| line.split("size=").nth(1)?.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(received, sizes.sum::<usize>());
}

#[test]
fn a_connection_without_an_upstream_is_closed_and_says_why() {
    let (address, _taken) = refusing_address();
    let proxy = prepared(address, &[], &[]).start();
    assert_eq!(proxy.client().rest(), "");
    wait_for_outcome(&proxy, "connect_failed");
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!(line["outcome"], "connect_failed", "{line}");
    proxy.wait_for_metric("tidegate_upstream_connect_failures_total", &[("reason", "refused")], 1.0);
}

#[test]
fn a_connection_to_an_upstream_takes_no_longer_than_it_may() {
    let (address, _queue) = silent_address();
    let config = format!(
        "listeners: [{{name: in, address: 127.0.0.1:0, protocol: tcp, clusters: {{up: 1}}}}]\n\
         clusters: {{up: {{endpoints: [\"{address}\"], connect_timeout: 100ms}}}}\n"
    );
    let proxy = Proxy::start(&config);
    assert_eq!(proxy.client().rest(), "");
    wait_for_outcome(&proxy, "connect_timeout");
}

#[test]
fn a_cluster_without_endpoints_takes_no_connection() {
    let config = "listeners: [{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: up}]\nclusters: {up: {endpoints: []}}\n";
    let proxy = Proxy::start(config);
    assert_eq!(proxy.client().rest(), "");
    wait_for_outcome(&proxy, "no_endpoint");
}

#[test]
fn connections_are_shared_out_by_weight() {
    let (one, other) = (Backend::start(), Backend::start());
    let config = format!(
        "listeners: [{{name: in, address: 127.0.0.1:0, protocol: tcp, clusters: {{one: 1, other: 1}}}}]\n\
         clusters:\n  one: {{endpoints: [\"{}\"]}}\n  other: {{endpoints: [\"{}\"]}}\n",
        one.address(),
        other.address()
    );
    let proxy = Proxy::start(&config);
    let mut kept = Vec::new();
    let mut seen = [false, false];
    // That a fair coin falls on one side a hundred times is not to be expected.
    for _ in 0..100 {
        kept.push(proxy.client());
        eventually("a connection to either", || {
            let taken = [one.try_accept(), other.try_accept()];
            let at = taken.iter().position(Option::is_some)?;
            seen[at] = true;
            kept.extend(taken.into_iter().flatten());
            Some(())
        });
        if seen == [true, true] {
            return;
        }
    }
    panic!("all went to one: {seen:?}");
}

#[test]
fn a_connection_on_which_nothing_moves_is_ended() {
    let backend = Backend::start();
    let proxy = prepared(backend.address(), &["limits: {idle_timeout: 200ms}"], &[]).start();
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("a");
    assert_eq!(upstream.exactly(1), "a");
    client.expect_end();
    upstream.expect_end();
    wait_for_outcome(&proxy, "connection_idle");
}

#[test]
fn a_connection_that_a_filter_holds_for_ever_is_ended() {
    let guest = Guest::new().on(On::NewConnection, [Step::Return(1)]).on(On::DownstreamClose, []);
    let backend = Backend::start();
    let limits = ["limits: {idle_timeout: 200ms}"];
    let proxy = prepared(backend.address(), &limits, &[("hold", &guest, "")]).start();
    let mut client = proxy.client();
    client.expect_end();
    wait_for_outcome(&proxy, "connection_idle");
    assert!(backend.try_accept().is_none(), "it went no further");
    wait_for_guest(&proxy, "downstream_connection_close ctx=2 peer=1");
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let backend = Backend::start();
    let proxy = serving(&backend, &[]);
    let (client, mut upstream) = pair(&proxy, &backend);
    client.reset();
    assert!(upstream.try_orderly_rest().is_err(), "the upstream is told by a reset");
    wait_for_outcome(&proxy, "client_left");
    let (mut client, upstream) = pair(&proxy, &backend);
    upstream.reset();
    assert!(client.try_orderly_rest().is_err(), "the client is told by a reset");
    wait_for_outcome(&proxy, "upstream_reset");
}

#[test]
fn a_reset_is_noticed_while_a_filter_holds_the_connection() {
    let new = Guest::new().on(On::NewConnection, [Step::Return(1)]).on(On::DownstreamClose, []);
    let full = Guest::new().on(On::DownstreamData, [Step::Return(1)]).on(On::DownstreamClose, []);
    for guest in [new, full] {
        let backend = Backend::start();
        let proxy = prepared(backend.address(), &["buffer_limit: 5"], &[("hold", &guest, "")]).start();
        let mut client = proxy.client();
        client.send("more than may be held");
        wait_for_guest(&proxy, "ctx=2");
        client.reset();
        wait_for_guest(&proxy, "downstream_connection_close ctx=2 peer=2");
        wait_for_outcome(&proxy, "client_left");
    }
}

#[test]
fn more_connections_than_allowed_are_closed_at_once() {
    let backend = Backend::start();
    let proxy = prepared(backend.address(), &["limits: {connections: 1}"], &[]).start();
    let (client, _upstream) = pair(&proxy, &backend);
    proxy.client().expect_end();
    proxy.wait_for_metric("tidegate_downstream_refused_connections_total", &[], 1.0);
    client.leave();
}

/// A guest that traps at its second piece of data in all.
fn trapping() -> Guest {
    Guest::new().on(On::DownstreamData, [Step::If(When::Call(2), vec![Step::Trap])]).on(On::Delete, [])
}

#[test]
fn a_fault_under_the_closed_policy_ends_the_connections_of_the_guest_and_no_other() {
    let backend = Backend::start();
    let proxy = serving(&backend, &[("trap", &trapping(), "")]);
    let (mut other, mut other_upstream) = pair(&proxy, &backend);
    other.send("a");
    assert_eq!(other_upstream.exactly(1), "a");
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("b");
    client.expect_end();
    assert_eq!(upstream.rest(), "");
    other.expect_end(); // its context was in the same guest
    let labels = [("outcome", "filter_fault")];
    proxy.wait_for_metric("tidegate_tcp_connections_total", &labels, 2.0);
    let line = proxy.wait_for_access_log(2).remove(0);
    assert_eq!((&line["filter"], &line["details"]), (&"trap".into(), &"trap".into()), "{line}");
    eventually("a new guest", || {
        let mut client = proxy.client();
        let mut upstream = match client.try_send(b"c") {
            Ok(()) => backend.try_accept()?,
            Err(_) => return None,
        };
        (upstream.exactly(1) == "c").then_some(())
    });
}

#[test]
fn a_fault_under_the_open_policy_lets_connections_go_on_without_the_filter() {
    let backend = Backend::start();
    let proxy = serving(&backend, &[("trap", &trapping(), ", on_fault: open")]);
    let (mut other, mut other_upstream) = pair(&proxy, &backend);
    other.send("a");
    assert_eq!(other_upstream.exactly(1), "a");
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("b");
    assert_eq!(upstream.exactly(1), "b", "the piece at hand goes on");
    upstream.send("answer");
    assert_eq!(client.exactly(6), "answer");
    other.send("more");
    assert_eq!(other_upstream.exactly(4), "more");
    for end in [client, other] {
        end.half_close();
    }
}

#[test]
fn a_connection_that_comes_while_a_filter_is_over_its_rate_is_closed_and_an_earlier_one_goes_on() {
    let guest = Guest::new().quiet().on(On::NewConnection, [Step::Spin(100_000)]).on(On::DownstreamData, []);
    let limits = ", limits: {instructions: 10M, instructions_per_second: 1k}";
    let backend = Backend::start();
    let proxy = serving(&backend, &[("spender", &guest, limits)]);
    let (mut first, mut upstream) = pair(&proxy, &backend);
    proxy.client().expect_end();
    wait_for_outcome(&proxy, "filter_over_rate");
    first.send("more");
    assert_eq!(upstream.exactly(4), "more");
    first.half_close();
}

#[test]
fn what_a_lost_filter_held_goes_on_under_the_open_policy() {
    let guest = Guest::new()
        .on(On::DownstreamData, [Step::If(When::Call(2), vec![Step::Trap]), Step::Return(1)])
        .on(On::Delete, []);
    let backend = Backend::start();
    let proxy = serving(&backend, &[("trap", &guest, ", on_fault: open")]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("held ");
    wait_for_guest(&proxy, "downstream_data ctx=2 size=5");
    let (mut killer, mut killed) = pair(&proxy, &backend);
    killer.send("x");
    assert_eq!(killed.exactly(1), "x");
    assert_eq!(upstream.exactly(5), "held ");
    client.send("more");
    assert_eq!(upstream.exactly(4), "more");
    killer.leave();
    client.leave();
}

#[test]
fn a_module_that_makes_no_context_for_connections_is_a_contained_fault() {
    let module = std::fs::read(guests::module("headers")).expect("a module that was built can be read");
    let backend = Backend::start();
    for (policy, outcome) in [("closed", "filter_fault"), ("open", "ok")] {
        let config = format!(
            "listeners: [{{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: up, filters: [http]}}]\n\
             clusters: {{up: {{endpoints: [\"{}\"]}}}}\n\
             filters: {{http: {{module: ./http.wasm, on_fault: {policy}}}}}\n",
            backend.address()
        );
        let proxy = Proxy::with(&config).file("http.wasm", module.clone()).start();
        let mut client = proxy.client();
        match policy {
            "closed" => client.expect_end(),
            _ => {
                let mut upstream = backend.accept();
                client.send("through");
                assert_eq!(upstream.exactly(7), "through");
                client.half_close();
                upstream.half_close();
                client.expect_orderly_end();
            }
        }
        wait_for_outcome(&proxy, outcome);
        proxy.wait_for_metric("tidegate_filter_faults_total", &[("filter", "http"), ("kind", "trap")], 1.0);
    }
}

#[test]
fn a_drain_waits_for_connections() {
    let backend = Backend::start();
    let mut proxy = serving(&backend, &[]);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    proxy.terminate();
    proxy.wait_for_log("the drain", |event| message(event) == "draining");
    client.send("still here");
    assert_eq!(upstream.exactly(10), "still here");
    client.half_close();
    upstream.expect_orderly_end();
    upstream.half_close();
    client.expect_orderly_end();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains(r#""outcome":"ok""#), "{}", exit.stdout);
}

#[test]
fn what_is_left_after_the_drain_is_cut_and_reported() {
    let backend = Backend::start();
    let config = format!(
        "drain_timeout: 100ms\nlisteners: [{{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: up, access_log: true}}]\n\
         clusters: {{up: {{endpoints: [\"{}\"]}}}}\n",
        backend.address()
    );
    let mut proxy = Proxy::start(&config);
    let (mut client, mut upstream) = pair(&proxy, &backend);
    proxy.terminate();
    client.expect_end();
    upstream.expect_end();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains(r#""outcome":"draining""#), "{}", exit.stdout);
}

#[test]
fn a_filter_asks_a_service_before_a_connection_goes_on() {
    let service = crate::equipment::Upstream::ok("yes");
    let guest = Guest::new().on(On::NewConnection, [Step::callout("auth", "/", 5000), Step::Return(1)]).on(
        On::CalloutResponse,
        [Step::get(Map::CalloutHeaders, ":status"), Step::EffectiveStream, Step::Resume(Flow::Downstream)],
    );
    let backend = Backend::start();
    let config = format!(
        "listeners: [{{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: up, filters: [ask]}}]\n\
         clusters:\n  up: {{endpoints: [\"{}\"]}}\n  auth: {{endpoints: [\"{}\"]}}\n\
         filters: {{ask: {{module: ./ask.wasm}}}}\n",
        backend.address(),
        service.address()
    );
    let proxy = Proxy::with(&config).log_guests_fully().file("ask.wasm", guest.build()).start();
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("let through");
    assert_eq!(upstream.exactly(11), "let through");
    wait_for_guest(&proxy, "get callout-headers :status -> 0 200");
    client.leave();
}

#[test]
fn a_filter_that_only_knows_http_is_warned_of() {
    let guest = Guest::new().on(On::RequestHeaders, []);
    let backend = Backend::start();
    let proxy = serving(&backend, &[("http", &guest, "")]);
    let warning = proxy.wait_for_log("a warning", |event| event["level"] == "WARN");
    assert_eq!(crate::equipment::text(&warning, "filter"), "http", "{warning}");
    let (mut client, mut upstream) = pair(&proxy, &backend);
    client.send("it passes");
    assert_eq!(upstream.exactly(9), "it passes");
    client.leave();
}
