//! Which endpoint a request goes to: over real sockets, by configurations as users write them.

mod affinity;
mod hashing;
mod reloads;
mod subsets;
mod tcp;

use std::net::SocketAddr;

use crate::equipment::{Answer, Gate, Proxy, Upstream, eventually};

/// The bodies that upstreams answer with.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Upstreams that each answer with a letter.
fn upstreams(count: usize) -> Vec<Upstream> {
    NAMES[..count].iter().map(|name| Upstream::ok(name)).collect()
}

/// A configuration that sends everything to the cluster `up`. `endpoints` has `A`, `B` and so on where an address is to
/// be, `cluster` and `route` are more fields of these, in flow style with a comma before each.
fn config(upstreams: &[Upstream], endpoints: &str, cluster: &str, route: &str) -> String {
    let names = ["A", "B", "C", "D", "E", "F"];
    let endpoints = upstreams.iter().zip(names).fold(endpoints.to_owned(), |text, (upstream, name)| {
        text.replace(name, &format!("\"{}\"", upstream.address()))
    });
    format!(
        "locality: {{zone: here}}\nlisteners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
         \x20 - {{match: {{path: {{prefix: /}}}}, cluster: up{route}}}\n\
         clusters:\n  up: {{endpoints: [{endpoints}]{cluster}}}\n"
    )
}

/// Who answered each of so many requests, in order.
fn answers(proxy: &Proxy, count: usize) -> String {
    let mut client = proxy.client();
    (0..count).map(|_| client.get("/").text()).collect()
}

fn count(answers: &str, name: &str) -> usize {
    answers.matches(name).count()
}

/// What the admin listener says of an endpoint.
fn endpoint(proxy: &Proxy, address: SocketAddr) -> serde_json::Value {
    let page: serde_json::Value = serde_json::from_str(&proxy.admin("/clusters").text()).expect("JSON");
    let endpoints = page["clusters"]["up"]["endpoints"].as_array().expect("a list").clone();
    endpoints.into_iter().find(|it| it["address"] == address.to_string()).expect("the endpoint is there")
}

#[test]
fn weights_decide_how_many_requests_an_endpoint_gets() {
    let up = upstreams(3);
    let proxy = Proxy::start(&config(&up, "{address: A, weight: 3}, {address: B, weight: 2}, C", "", ""));
    let answers = answers(&proxy, 60);
    assert_eq!(["a", "b", "c"].map(|name| count(&answers, name)), [30, 20, 10], "{answers}");
}

#[test]
fn an_endpoint_with_requests_in_flight_gets_no_more_while_another_is_idle() {
    let gate = Gate::new();
    let held = gate.clone();
    let busy = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let up = [busy, Upstream::ok("b")];
    let proxy = Proxy::start(&config(&up, "A, B", ", load_balancer: {least_request: {choice_count: 3}}", ""));
    // One of the first requests is held, whichever it is.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
            client
        })
        .collect();
    up[0].wait_for_heads(1);
    let active = |at: usize| endpoint(&proxy, up[at].address())["active_requests"].as_u64();
    eventually("the others to be answered", || (active(1) == Some(0)).then_some(()));
    assert!(active(0) > Some(0));
    assert_eq!(answers(&proxy, 20), "b".repeat(20));
    gate.open();
    for mut client in clients {
        assert_eq!(client.response().status(), 200);
    }
}

#[test]
fn fast_errors_do_not_attract_requests() {
    let up = [Upstream::start(|_| Answer::sized(500, &[], "a")), Upstream::ok("b"), Upstream::ok("c")];
    let proxy = Proxy::start(&config(&up, "A, B, C", ", load_balancer: peak_ewma", ""));
    let answers = answers(&proxy, 200);
    assert!(count(&answers, "a") <= 10, "{answers}");
    let shown = endpoint(&proxy, up[0].address());
    assert_eq!(shown["failures"], shown["requests"], "{shown}");
}

#[test]
fn a_priority_is_asked_when_the_one_before_it_is_out() {
    let up = upstreams(3);
    let first = "{address: A, health: HEALTH}, {address: B, health: HEALTH}, {address: C, priority: 1}";
    let with = |health: &str| config(&up, &first.replace("HEALTH", health), "", "");
    let mut proxy = Proxy::start(&with("healthy"));
    assert_eq!(count(&answers(&proxy, 40), "c"), 0);
    assert!(proxy.change(&with("unhealthy")));
    assert_eq!(answers(&proxy, 40), "c".repeat(40));
    assert!(proxy.change(&with("healthy")));
    assert_eq!(count(&answers(&proxy, 40), "c"), 0);
}

#[test]
fn with_too_few_fit_endpoints_all_are_asked_and_it_is_counted() {
    let up = upstreams(3);
    let endpoints = "{address: A, health: unhealthy}, {address: B, health: unhealthy}, C";
    let mut proxy = Proxy::start(&config(&up, endpoints, "", ""));
    let seen = answers(&proxy, 30);
    assert_eq!(["a", "b", "c"].map(|name| count(&seen, name)), [10, 10, 10]);
    let labels = [("cluster", "up")];
    proxy.wait_for_metric("tidegate_upstream_panic_picks_total", &labels, 30.0);
    let metrics = proxy.metrics();
    let health =
        |health| metrics.sum("tidegate_upstream_endpoints", &[("cluster", "up"), ("health", health)]);
    assert_eq!(["healthy", "degraded", "unhealthy"].map(health), [1.0, 0.0, 2.0]);
    assert!(proxy.change(&config(&up, endpoints, ", panic_threshold: 0%", "")));
    assert_eq!(answers(&proxy, 30), "c".repeat(30));
    assert_eq!(proxy.metrics().sum("tidegate_upstream_panic_picks_total", &labels), 30.0);
}

#[test]
fn without_anybody_fit_and_without_panic_a_request_is_answered_503() {
    let up = upstreams(1);
    let proxy = Proxy::start(&config(&up, "{address: A, health: unhealthy}", ", panic_threshold: 0%", ""));
    assert_eq!(proxy.client().get("/").status(), 503);
    assert!(up[0].requests().is_empty());
}

#[test]
fn localities_get_their_weights() {
    let up = upstreams(3);
    let endpoints = "{address: A, locality: {zone: x}}, {address: B, locality: {zone: y}}, \
                     {address: C, locality: {zone: y}}";
    let cluster = ", localities: {weights: [{zone: x, weight: 3}]}";
    let answers = answers(&Proxy::start(&config(&up, endpoints, cluster, "")), 80);
    assert_eq!(["a", "b", "c"].map(|name| count(&answers, name)), [60, 10, 10], "{answers}");
}

#[test]
fn requests_stay_where_the_proxy_is() {
    let up = upstreams(4);
    let endpoints = "{address: A, locality: {zone: here}}, {address: B, locality: {zone: here}}, \
                     {address: C, locality: {zone: there}}, {address: D, locality: {zone: there}}";
    let near = ", localities: {zone_aware: {minimum_endpoints: 4}}";
    let mut proxy = Proxy::start(&config(&up, endpoints, near, ""));
    let seen = answers(&proxy, 40);
    assert_eq!(["a", "b", "c", "d"].map(|name| count(&seen, name)), [20, 20, 0, 0]);
    // By default so few endpoints are not told apart.
    assert!(proxy.change(&config(&up, endpoints, ", localities: {zone_aware: {}}", "")));
    let seen = answers(&proxy, 40);
    assert_eq!(["a", "b", "c", "d"].map(|name| count(&seen, name)), [10; 4]);
}

#[test]
fn the_admin_listener_shows_endpoints() {
    let up = upstreams(2);
    let endpoints = "{address: A, weight: 2, locality: {zone: x}, metadata: {version: v1}}, \
                     {address: B, health: degraded, priority: 3}";
    let proxy = Proxy::start(&config(&up, endpoints, "", ""));
    answers(&proxy, 5);
    proxy.settle();
    let [first, second] = [0, 1].map(|at| endpoint(&proxy, up[at].address()));
    assert_eq!(
        (&first["health"], &first["weight"], &first["requests"]),
        (&"healthy".into(), &2.into(), &5.into())
    );
    assert_eq!((&first["metadata"]["version"], &first["locality"]["zone"]), (&"v1".into(), &"x".into()));
    assert_eq!((&first["active_requests"], &first["failures"]), (&0.into(), &0.into()));
    assert_eq!(
        (&second["health"], &second["priority"], &second["requests"]),
        (&"degraded".into(), &3.into(), &0.into())
    );
}
