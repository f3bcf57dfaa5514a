//! Requests that belong together reach the same endpoint.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::{config, upstreams};
use crate::equipment::{Client, Proxy};

fn ask(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> String {
    client.request("GET", path, fields, "").text()
}

/// Who answers when each of these is asked three times; each has to be the same one.
fn owners<T>(all: impl IntoIterator<Item = T>, mut ask: impl FnMut(&T) -> String) -> Vec<String> {
    let mut owner = |it: T| {
        let first = ask(&it);
        assert!((0..2).all(|_| ask(&it) == first));
        first
    };
    all.into_iter().map(&mut owner).collect()
}

fn are_several(owners: &[String]) -> bool {
    owners.iter().collect::<HashSet<_>>().len() > 2
}

#[test]
fn a_header_a_parameter_or_an_address_decides() {
    for algorithm in ["ring_hash", "maglev"] {
        let up = upstreams(5);
        let policies = ", hash_policy: [{header: x-user, terminal: true}, {query: user, terminal: true}, \
                        {source_address: true}]";
        let cluster = format!(", load_balancer: {algorithm}");
        let proxy = Proxy::start(&config(&up, "A, B, C, D, E", &cluster, policies));
        let mut client = proxy.client();
        let users: Vec<String> = (0..20).map(|user| format!("user-{user}")).collect();
        let by_header = owners(&users, |user| ask(&mut client, "/", &[("x-user", user)]));
        assert!(are_several(&by_header), "{by_header:?}");
        let by_query = owners(&users, |user| ask(&mut client, &format!("/?a=1&user={user}"), &[]));
        assert_eq!(by_query, by_header, "the same text has the same hash");
        let by_address = owners(1..20_u8, |last| {
            ask(&mut Client::connect_from(Ipv4Addr::new(127, 0, 0, *last), proxy.address("in")), "/", &[])
        });
        assert!(are_several(&by_address), "{by_address:?}");
    }
}

#[test]
fn a_cookie_is_given_to_a_client_that_has_none_and_keeps_it_where_it_is() {
    let up = upstreams(5);
    let policy = ", hash_policy: [{cookie: {name: at, ttl: 1h, path: /shop}}]";
    let proxy = Proxy::start(&config(&up, "A, B, C, D, E", ", load_balancer: ring_hash", policy));
    let owners = owners(0..20, |_| {
        let mut client = proxy.client();
        let first = client.get("/");
        let set = first.field("set-cookie").expect("a cookie").to_owned();
        let (pair, attributes) = set.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Max-Age=3600; Path=/shop; HttpOnly");
        assert!(pair.starts_with("at="), "{set}");
        let other = proxy.client().request("GET", "/", &[("cookie", &format!("x=1; {pair}"))], "");
        assert_eq!(other.field("set-cookie"), None, "the client has one");
        assert_eq!(other.text(), first.text(), "the hash goes with the cookie");
        // Of each connection another one.
        "any".to_owned()
    });
    assert_eq!(owners.len(), 20);
}

#[test]
fn requests_without_anything_to_hash_reach_any_endpoint() {
    let up = upstreams(5);
    let cluster = ", load_balancer: maglev";
    let proxy = Proxy::start(&config(&up, "A, B, C, D, E", cluster, ", hash_policy: [{header: x-user}]"));
    let mut client = proxy.client();
    let all: HashSet<String> = (0..60).map(|_| client.get("/").text()).collect();
    assert!(all.len() > 2, "{all:?}");
}

#[test]
fn only_the_requests_of_an_endpoint_that_leaves_move() {
    for (algorithm, others_may_move) in [("ring_hash", 0), ("maglev", 3)] {
        let up = upstreams(5);
        let cluster = format!(", load_balancer: {algorithm}");
        let with = |endpoints: &str| config(&up, endpoints, &cluster, ", hash_policy: [{header: x-user}]");
        let mut proxy = Proxy::start(&with("A, B, C, D, E"));
        let users: Vec<String> = (0..100).map(|user| format!("user-{user}")).collect();
        let owners = |proxy: &Proxy| -> Vec<String> {
            let mut client = proxy.client();
            users.iter().map(|user| ask(&mut client, "/", &[("x-user", user)])).collect()
        };
        let before = owners(&proxy);
        assert!(proxy.change(&with("A, B, C, {address: D, health: unhealthy}, E")));
        let after = owners(&proxy);
        let moved = |after: &[String]| {
            let pairs = before.iter().zip(after);
            pairs.filter(|(before, after)| *before != "d" && before != after).count()
        };
        assert_eq!(moved(&after), 0, "{algorithm}");
        assert!(!after.contains(&"d".to_owned()));
        assert!(proxy.change(&with("A, B, C, E")));
        let after = owners(&proxy);
        assert!(moved(&after) <= others_may_move, "{algorithm}: {}", moved(&after));
    }
}
