//! How endpoints are picked: what is taken, and what is told where it makes no sense.

use expect_test::expect;

use super::super::model::{LoadBalancer, Localities, RingSize};
use super::{parse, problems, valid};

/// A file with one cluster, in flow style, and a route to it with these fields.
fn file(cluster: &str, route: &str) -> String {
    format!(
        "locality: {{zone: a}}\n\
         listeners: [{{name: l, address: 127.0.0.1:0, routes: [{{match: {{}}, cluster: up{route}}}]}}]\n\
         clusters:\n  up: {{{cluster}}}\n  other: {{endpoints: []}}\n"
    )
}

fn cluster(cluster: &str) -> String {
    problems(&file(cluster, ""))
}

#[test]
fn an_algorithm_is_a_name_or_a_name_with_settings() {
    let of = |text: &str| {
        let loaded = valid(&file(&format!("endpoints: [], load_balancer: {text}"), ""));
        loaded.config.clusters[0].balancing.algorithm
    };
    assert_eq!(of("random"), LoadBalancer::Random);
    assert_eq!(of("least_request"), LoadBalancer::LeastRequest(2));
    assert_eq!(of("{least_request: {choice_count: 5}}"), LoadBalancer::LeastRequest(5));
    assert_eq!(of("{maglev: {}}"), LoadBalancer::Maglev(65_537));
    let LoadBalancer::RingHash(ring) = of("{ring_hash: {minimum_size: 64}}") else { panic!("it is a ring") };
    assert_eq!(ring.size, RingSize::AtLeast(64));
}

#[test]
fn callers_are_counted_by_where_they_are() {
    let text = file("endpoints: [], localities: {zone_aware: {callers: other}}", "");
    let endpoint = |port, zone| format!("{{address: 10.0.0.1:{port}, locality: {{zone: {zone}}}}}");
    let callers = [endpoint(1, "a"), endpoint(2, "b"), endpoint(3, "a")].join(", ");
    let text = text.replace("other: {endpoints: []}", &format!("other: {{endpoints: [{callers}]}}"));
    let loaded = valid(&text);
    let Localities::ZoneAware(aware) = &loaded.config.clusters[0].balancing.localities else {
        panic!("it is aware")
    };
    assert_eq!(aware.local.zone, "a");
    let places = &aware.callers.as_ref().expect("they are known").places;
    assert_eq!(
        places.iter().map(|(place, count)| (&*place.zone, *count)).collect::<Vec<_>>(),
        [("a", 2), ("b", 1)]
    );
}

#[test]
fn settings_that_make_no_sense_are_told() {
    expect![[r#"
        error: `0` is too small
         --> tidegate.yaml:4:64
          |
        4 |   up: {endpoints: [10.0.0.1:80, {address: 10.0.0.2:80, weight: 0}, 8080, {weight: 2}]}
          |                                                                ^
          |
          = help: the range is 1 to 4294967295

        error: expected an address such as `127.0.0.1:8080`, `"[::1]:8080"` or `unix:/run/web.sock`, found `8080`
         --> tidegate.yaml:4:68
          |
        4 |   up: {endpoints: [10.0.0.1:80, {address: 10.0.0.2:80, weight: 0}, 8080, {weight: 2}]}
          |                                                                    ^^^^
          |
          = help: add the IP address: `127.0.0.1:8080`

        error: the field `address` is missing here
         --> tidegate.yaml:4:74
          |
        4 |   up: {endpoints: [10.0.0.1:80, {address: 10.0.0.2:80, weight: 0}, 8080, {weight: 2}]}
          |                                                                          ^^^^^^^^^^^
    "#]]
    .assert_eq(&cluster("endpoints: [10.0.0.1:80, {address: 10.0.0.2:80, weight: 0}, 8080, {weight: 2}]"));
    expect![[r#"
        error: `1000` is no prime number
         --> tidegate.yaml:4:60
          |
        4 |   up: {endpoints: [], load_balancer: {maglev: {table_size: 1000}}}
          |                                                            ^^^^
          |
          = help: the next one is 1009
    "#]]
    .assert_eq(&cluster("endpoints: [], load_balancer: {maglev: {table_size: 1000}}"));
    expect![[r#"
        error: the ring's minimum, 20, is above its maximum, 10
         --> tidegate.yaml:4:50
          |
        4 |   up: {endpoints: [], load_balancer: {ring_hash: {hashes: 10, minimum_size: 20, maximum_size: 10}}}
          |                                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: raise `maximum_size`, or lower `minimum_size`

        error: `hashes` and `minimum_size` cannot be given together
         --> tidegate.yaml:4:59
          |
        4 |   up: {endpoints: [], load_balancer: {ring_hash: {hashes: 10, minimum_size: 20, maximum_size: 10}}}
          |                                                           ^^
          |
          = help: remove `minimum_size`, unless the ring is to be the one that Envoy builds
    "#]].assert_eq(&cluster("endpoints: [], load_balancer: {ring_hash: {hashes: 10, minimum_size: 20, maximum_size: 10}}"));
    expect![[r#"
        error: there is no cluster `nobody`
         --> tidegate.yaml:4:58
          |
        4 |   up: {endpoints: [], localities: {zone_aware: {callers: nobody}}}
          |                                                          ^^^^^^
          |
          = help: the clusters are `up`, `other`
    "#]]
    .assert_eq(&cluster("endpoints: [], localities: {zone_aware: {callers: nobody}}"));
    expect![[r#"
        error: the field `weight` is missing here
         --> tidegate.yaml:4:46
          |
        4 |   up: {endpoints: [], localities: {weights: [{zone: a}]}}
          |                                              ^^^^^^^^^
    "#]]
    .assert_eq(&cluster("endpoints: [], localities: {weights: [{zone: a}]}"));
    expect![[r#"
        error: there is no default subset to fall back to
         --> tidegate.yaml:4:32
          |
        4 |   up: {endpoints: [], subsets: {selectors: [[]], fallback: default}}
          |                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: say which endpoints it has: `default: {NAME: TEXT}`

        error: a selector has from 1 to 64 names
         --> tidegate.yaml:4:45
          |
        4 |   up: {endpoints: [], subsets: {selectors: [[]], fallback: default}}
          |                                             ^^
    "#]]
    .assert_eq(&cluster("endpoints: [], subsets: {selectors: [[]], fallback: default}"));
    expect![[r#"
        error: without a selector there are no subsets
         --> tidegate.yaml:4:44
          |
        4 |   up: {endpoints: [], subsets: {selectors: [], default: {a: b}}}
          |                                            ^^

        error: the default subset is never asked
         --> tidegate.yaml:4:57
          |
        4 |   up: {endpoints: [], subsets: {selectors: [], default: {a: b}}}
          |                                                         ^^^^^^
          |
          = help: add `fallback: default`, or remove it
    "#]]
    .assert_eq(&cluster("endpoints: [], subsets: {selectors: [], default: {a: b}}"));
    expect![[r#"
        error: expected a cookie's name such as `session`, found `a b`
         --> tidegate.yaml:4:42
          |
        4 |   up: {endpoints: [], affinity: {cookie: "a b", key: secret, path: shop}}
          |                                          ^^^^^
          |
          = help: it is made of letters, digits and `-._~`, 128 at most

        error: expected `{from_env: NAME}` or `{from_file: PATH}`, found a text
         --> tidegate.yaml:4:54
          |
        4 |   up: {endpoints: [], affinity: {cookie: "a b", key: secret, path: shop}}
          |                                                      ^^^^^^
          |
          = help: a secret does not stand in the configuration: say where it is

        error: this is not a cookie's path
         --> tidegate.yaml:4:68
          |
        4 |   up: {endpoints: [], affinity: {cookie: "a b", key: secret, path: shop}}
          |                                                                    ^^^^
          |
          = help: it begins with `/` and has no spaces, no `;`, and ASCII characters only
    "#]]
    .assert_eq(&cluster("endpoints: [], affinity: {cookie: \"a b\", key: secret, path: shop}"));
}

#[test]
fn hash_policies_that_make_no_sense_are_told() {
    let route = |route: &str| problems(&file("endpoints: []", route));
    expect![[r#"
        error: a hash policy has one of `header`, `cookie`, `source_address` and `query`, and this has 2
         --> tidegate.yaml:2:93
          |
        2 | listeners: [{name: l, address: 127.0.0.1:0, routes: [{match: {}, cluster: up, hash_policy: [{header: a, query: b}, {}, {source_addres...
          |                                                                                             ^^^^^^^^^^^^^^^^^^^^^
          |
          = help: write a list item for each

        error: a hash policy has one of `header`, `cookie`, `source_address` and `query`, and this has 0
         --> tidegate.yaml:2:116
          |
        2 | listeners: [{name: l, address: 127.0.0.1:0, routes: [{match: {}, cluster: up, hash_policy: [{header: a, query: b}, {}, {source_addres...
          |                                                                                                                    ^^
          |
          = help: write a list item for each

        error: this hashes nothing
         --> tidegate.yaml:2:137
          |
        2 | ...up, hash_policy: [{header: a, query: b}, {}, {source_address: false}]}]}]
          |                                                                  ^^^^^
          |
          = help: remove the list item
    "#]].assert_eq(&route(", hash_policy: [{header: a, query: b}, {}, {source_address: false}]"));
    expect![[r#"
        error: expected a cookie's name such as `session`, found `a;b`
         --> tidegate.yaml:2:102
          |
        2 | listeners: [{name: l, address: 127.0.0.1:0, routes: [{match: {}, cluster: up, hash_policy: [{cookie: "a;b"}, {cookie: {ttl: 1h, path:...
          |                                                                                                      ^^^^^
          |
          = help: it is made of letters, digits and `-._~`, 128 at most

        error: the field `name` is missing here
         --> tidegate.yaml:2:119
          |
        2 | ...cluster: up, hash_policy: [{cookie: "a;b"}, {cookie: {ttl: 1h, path: "/a b"}}]}]}]
          |                                                         ^^^^^^^^^^^^^^^^^^^^^^^

        error: this is not a cookie's path
         --> tidegate.yaml:2:135
          |
        2 | ...: up, hash_policy: [{cookie: "a;b"}, {cookie: {ttl: 1h, path: "/a b"}}]}]}]
          |                                                                  ^^^^^^
          |
          = help: it begins with `/` and has no spaces, no `;`, and ASCII characters only
    "#]].assert_eq(&route(", hash_policy: [{cookie: \"a;b\"}, {cookie: {ttl: 1h, path: \"/a b\"}}]"));
    let text =
        file("endpoints: []", "").replace("cluster: up", "respond: {}, hash_policy: [], metadata_match: {}");
    expect![[r#"
        error: `hash_policy` has no effect beside `respond`: the request is not sent on
         --> tidegate.yaml:2:92
          |
        2 | listeners: [{name: l, address: 127.0.0.1:0, routes: [{match: {}, respond: {}, hash_policy: [], metadata_match: {}}]}]
          |                                                                                            ^^
          |
          = help: remove `hash_policy`

        error: `metadata_match` has no effect beside `respond`: the request is not sent on
         --> tidegate.yaml:2:112
          |
        2 | listeners: [{name: l, address: 127.0.0.1:0, routes: [{match: {}, respond: {}, hash_policy: [], metadata_match: {}}]}]
          |                                                                                                                ^^
          |
          = help: remove `metadata_match`
    "#]].assert_eq(&problems(&text));
}

#[test]
fn an_endpoint_that_is_there_twice_is_warned_of() {
    let loaded = valid(&file("endpoints: [10.0.0.1:80, {address: 10.0.0.1:80, priority: 1}]", ""));
    let warnings = loaded.warnings.render(false);
    assert!(warnings.contains("this endpoint is there twice"), "{warnings}");
}

#[test]
fn a_key_that_is_too_short_is_refused_and_not_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("cookie.key"), "fifteen bytes..\n").expect("a file");
    let text = file("endpoints: [], affinity: {cookie: a, key: {from_file: cookie.key}}", "");
    let refused = parse(&text, &folder.path().join("tidegate.yaml")).expect_err("the key is too short");
    let told = refused.render(false);
    assert!(told.contains("the key has 15 bytes") && told.contains("it has 16 at least"), "{told}");
    assert!(!told.contains("fifteen"), "{told}");
}
