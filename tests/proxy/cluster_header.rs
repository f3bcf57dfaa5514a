//! A request's header names the cluster that it goes to, as far as the route allows.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Guest, On, Proxy, Step, Upstream, When};

/// Three services, of which the route's header may name two, behind a chain of one filter.
struct Services {
    blue: Upstream,
    green: Upstream,
    secret: Upstream,
    proxy: Proxy,
}

impl Services {
    fn behind(guest: &Guest) -> Services {
        Services::behind_with(guest, "")
    }

    /// The same with more of the filter's configuration, in flow style.
    fn behind_with(guest: &Guest, more: &str) -> Services {
        let [blue, green, secret] = ["blue", "green", "secret"].map(Upstream::ok);
        let config = format!(
            "listeners:\n- name: in\n  address: 127.0.0.1:0\n  access_log: true\n  filters: [naming]\n  routes:\n\
             \x20 - name: named\n    match: {{}}\n    cluster_header: {{name: X-Cluster, allow: [blue, green]}}\n\
             \x20   headers: {{request: {{remove: [x-cluster]}}}}\n\
             filters:\n  naming: {{module: ./naming.wasm{more}}}\n\
             clusters:\n  blue: {{endpoints: [\"{}\"]}}\n  green: {{endpoints: [\"{}\"]}}\n  secret: {{endpoints: [\"{}\"]}}\n",
            blue.address(),
            green.address(),
            secret.address()
        );
        let proxy = Proxy::with(&config).file("naming.wasm", guest.build()).start();
        Services { blue, green, secret, proxy }
    }

    fn get(&self, cluster: &str) -> (u16, String) {
        let response = self.proxy.client().request("GET", "/", &[("x-cluster", cluster)], "");
        (response.status(), response.text())
    }
}

#[test]
fn a_client_reaches_what_the_route_allows_and_nothing_else() {
    let services = Services::behind(&Guest::new().quiet());
    assert_eq!(services.get("blue"), (200, "blue".to_owned()));
    assert_eq!(services.get("green"), (200, "green".to_owned()));
    let labels = |cluster| [("route", "named"), ("cluster", cluster), ("outcome", "ok")];
    for cluster in ["blue", "green"] {
        services.proxy.wait_for_metric("tidegate_requests_total", &labels(cluster), 1.0);
    }
    for named in ["secret", "nowhere", "", "blue, green"] {
        assert_eq!(services.get(named), (503, "no cluster for this request".to_owned()), "{named:?}");
    }
    assert_eq!(services.proxy.client().get("/").status(), 503, "nobody named one");
    services.proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "cluster_not_found")], 5.0);
    assert!(services.secret.requests().is_empty());
    let line = &services.proxy.wait_for_access_log(7)[2];
    assert_eq!((&line["outcome"], &line["flags"]), (&"cluster_not_found".into(), &"NC".into()), "{line}");
    assert_eq!((&line["route"], &line["cluster"]), (&"named".into(), &serde_json::Value::Null), "{line}");
    assert_eq!(services.blue.requests()[0].head.field("x-cluster"), None, "the route takes it away");
}

#[test]
fn a_filter_has_the_last_word_on_the_cluster() {
    let beta = When::Header(RequestHeaders, "x-user", "beta");
    let guest = Guest::new().quiet().on(
        On::RequestHeaders,
        [
            Step::replace(RequestHeaders, "x-cluster", "blue"),
            Step::If(beta, vec![Step::replace(RequestHeaders, "x-cluster", "green")]),
        ],
    );
    let services = Services::behind(&guest);
    assert_eq!(services.get("green"), (200, "blue".to_owned()), "what the client wants does not count");
    let response = services.proxy.client().request("GET", "/", &[("x-user", "beta")], "");
    assert_eq!(response.text(), "green");
    assert_eq!(services.green.requests().len(), 1);
}

#[test]
fn a_cluster_that_a_filter_names_once_it_has_the_body_is_taken() {
    let guest =
        Guest::new().quiet().on(On::RequestHeaders, [Step::If(When::MoreToCome, vec![Step::Return(1)])]).on(
            On::RequestBody,
            [
                Step::If(When::MoreToCome, vec![Step::Return(1)]),
                Step::replace(RequestHeaders, "x-cluster", "green"),
            ],
        );
    let services = Services::behind_with(&guest, ", allow_on_headers_stop_iteration: true");
    let fields = [("x-cluster", "blue")];
    assert_eq!(services.proxy.client().request("POST", "/", &fields, "body").text(), "green");
    assert!(services.blue.requests().is_empty());
}
