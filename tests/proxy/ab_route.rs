//! The shipped experiments, with real proxies in front of real services.

use std::collections::BTreeMap;

use crate::equipment::{Answer, Gate, Proxy, Response, Upstream, refusing_address};

/// Services behind a proxy whose route lets the variant's cluster be chosen.
struct Services {
    api: Upstream,
    blue: Upstream,
    next: Upstream,
}

impl Services {
    fn start() -> Services {
        let [api, blue, next] = ["api", "blue", "next"].map(Upstream::ok);
        Services { api, blue, next }
    }

    /// A proxy with this configuration of the filter, in flow style.
    fn proxy(&self, config: &str) -> Proxy {
        proxy([&self.api, &self.blue, &self.next].map(|service| service.address().to_string()), config)
    }
}

fn proxy([api, blue, next]: [String; 3], config: &str) -> Proxy {
    let text = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [split]\n  routes:\n\
         \x20 - name: chosen\n    match: {{headers: {{x-ab-cluster: {{present: true}}}}}}\n\
         \x20   cluster_header: {{name: x-ab-cluster, allow: [blue]}}\n\
         \x20 - {{name: usual, match: {{}}, cluster: api}}\n\
         filters:\n  split: {{module: \"builtin:ab-route\", config: {config}}}\n\
         clusters:\n  api: {{endpoints: [\"{api}\"]}}\n  blue: {{endpoints: [\"{blue}\"]}}\n  next: {{endpoints: [\"{next}\"]}}\n"
    );
    Proxy::with(&text).workers(2).start()
}

const HALVES: &str = "{experiments: [{name: checkout, subject: [header:x-user], response_header: x-variant, \
                      variants: [{name: control, weight: 50}, {name: blue, weight: 50, cluster: blue}]}]}";

fn ask(proxy: &Proxy, user: usize) -> Response {
    proxy.client().request("GET", "/", &[("x-user", &user.to_string())], "")
}

#[test]
fn two_proxies_send_each_user_to_the_same_service() {
    let services = Services::start();
    let (one, other) = (services.proxy(HALVES), services.proxy(HALVES));
    let mut counts = BTreeMap::new();
    for user in 0..60 {
        let first = ask(&one, user);
        let variant = first.field("x-variant").expect("it takes part").to_owned();
        assert_eq!(first.text(), if variant == "blue" { "blue" } else { "api" });
        for again in [&one, &other] {
            assert_eq!(ask(again, user).field("x-variant"), Some(variant.as_str()), "user {user}");
        }
        *counts.entry(variant).or_insert(0.0) += 1.0;
    }
    assert!(counts["blue"] > 15.0 && counts["control"] > 15.0, "{counts:?}");
    for (variant, count) in counts {
        let labels = [("experiment", "checkout"), ("variant", variant.as_str())];
        one.wait_for_metric("wasmcustom_ab_route_exposures_total", &labels, count * 2.0);
        other.wait_for_metric("wasmcustom_ab_route_exposures_total", &labels, count);
    }
}

#[test]
fn a_client_does_not_choose_the_cluster_by_the_header_of_the_filter() {
    let services = Services::start();
    let proxy = services.proxy(HALVES);
    let spoofed = [("x-ab-cluster", "blue"), ("x-variant-checkout", "blue")];
    assert_eq!(proxy.client().request("GET", "/", &spoofed, "").text(), "api");
    let head = &services.api.requests()[0].head;
    assert_eq!((head.field("x-ab-cluster"), head.field("x-variant-checkout")), (None, None));
}

const ALL_COPIED: &str = "{experiments: [{name: rewrite, subject: [], without_subject: chance, \
                          variants: [{name: all, weight: 1, shadow: {cluster: next, max_body: 1KiB, timeout: 1s}}]}]}";

fn outcome(proxy: &Proxy, outcome: &str, count: f64) {
    let labels = [("experiment", "rewrite"), ("outcome", outcome)];
    proxy.wait_for_metric("wasmcustom_ab_route_shadows_total", &labels, count);
}

#[test]
fn a_copy_reaches_its_cluster_marked_and_whole() {
    let services = Services::start();
    let proxy = services.proxy(ALL_COPIED);
    let response = proxy.client().request("POST", "/buy?x=1", &[("x-user", "ann")], "two apples");
    assert_eq!(response.text(), "api");
    let copy = services.next.wait_for(1).remove(0);
    assert_eq!((copy.head.method(), copy.head.target()), ("POST", "/buy?x=1"));
    assert_eq!(
        (copy.head.field("host"), copy.head.field("x-shadow")),
        (Some("tide.test-shadow"), Some("rewrite"))
    );
    assert_eq!(
        (copy.head.field("x-user"), copy.body.expect("it has one").text().as_str()),
        (Some("ann"), "two apples")
    );
    let original = services.api.requests().remove(0);
    assert_eq!((original.head.field("host"), original.head.field("x-shadow")), (Some("tide.test"), None));
    assert_eq!(copy.head.field("x-request-id"), original.head.field("x-request-id"));
    outcome(&proxy, "answered", 1.0);
    proxy.client().request("POST", "/", &[], &"x".repeat(2000));
    outcome(&proxy, "too_large", 1.0);
}

#[test]
fn a_shadow_that_hangs_or_is_down_does_not_hurt() {
    let services = Services::start();
    let gate = Gate::new();
    let held = gate.clone();
    let hanging = Upstream::start(move |_| Answer::default().wait(&held).read_body());
    let (down, _socket) = refusing_address();
    for next in [hanging.address(), down] {
        let addresses =
            [services.api.address(), services.blue.address(), next].map(|address| address.to_string());
        let proxy = proxy(addresses, ALL_COPIED);
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(client.request("POST", "/", &[], "two apples").text(), "api");
        }
        outcome(&proxy, "failed", 3.0);
    }
    gate.open();
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_the_field_and_what_was_expected() {
    let text = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [split]\n  routes:\n\
                \x20 - {match: {}, respond: {status: 200}}\n\
                filters:\n  split:\n    module: builtin:ab-route\n    config:\n      experiments:\n\
                \x20     - {name: a, subject: [identity], variants: [{name: b, weight: 1}], control: c}\n";
    let exit = Proxy::with_text(text).run("check");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for mention in ["tidegate.yaml:", "experiments[0].control", "`c`; expected one of `b`"] {
        assert!(exit.stderr.contains(mention), "{mention:?} in {}", exit.stderr);
    }
}
