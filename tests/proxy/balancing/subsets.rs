//! Routes ask for endpoints by their metadata.

use super::{answers, config, count, upstreams};
use crate::equipment::{Proxy, Upstream};

const ENDPOINTS: &str = "{address: A, metadata: {version: v1}}, {address: B, metadata: {version: v2}}, \
                         {address: C, metadata: {version: v2}}";

fn versions(up: &[Upstream], fallback: &str, route: &str) -> String {
    config(up, ENDPOINTS, &format!(", subsets: {{selectors: [[version]]{fallback}}}"), route)
}

#[test]
fn a_route_reaches_the_subset_that_it_asks_for() {
    let up = upstreams(3);
    let proxy = Proxy::start(&versions(&up, "", ", metadata_match: {version: v2}"));
    let seen = answers(&proxy, 40);
    assert_eq!(["a", "b", "c"].map(|name| count(&seen, name)), [0, 20, 20], "{seen}");
}

#[test]
fn without_such_a_subset_the_fallback_decides_and_it_is_counted() {
    let up = upstreams(3);
    let missing = ", metadata_match: {version: v3}";
    let mut proxy = Proxy::start(&versions(&up, "", missing));
    assert_eq!(proxy.client().get("/").status(), 503);
    assert!(proxy.change(&versions(&up, ", fallback: any", missing)));
    let seen = answers(&proxy, 30);
    assert_eq!(["a", "b", "c"].map(|name| count(&seen, name)), [10; 3], "{seen}");
    proxy.wait_for_metric("tidegate_upstream_subset_fallbacks_total", &[("cluster", "up")], 30.0);
    assert!(proxy.change(&versions(&up, ", fallback: default, default: {version: v1}", missing)));
    assert_eq!(answers(&proxy, 30), "a".repeat(30));
}

#[test]
fn shares_of_one_cluster_go_to_its_subsets() {
    let up = upstreams(3);
    let shares = "clusters: [{cluster: up, weight: 3, metadata_match: {version: v2}}, \
                  {cluster: up, weight: 1, metadata_match: {version: v1}}]";
    let config = versions(&up, "", "").replace("cluster: up}", &format!("{shares}}}"));
    assert!(config.contains("weight: 3"), "{config}");
    let proxy = Proxy::start(&config);
    let seen = answers(&proxy, 400);
    // 100 are expected; the standard deviation is below 9.
    assert!((40..160).contains(&count(&seen, "a")), "{seen}");
    assert_eq!(count(&seen, "a") + count(&seen, "b") + count(&seen, "c"), 400);
    assert!(count(&seen, "b").abs_diff(count(&seen, "c")) <= 1);
}
