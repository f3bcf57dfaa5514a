//! A client's requests go to the endpoint that its first one went to.

use super::{config, upstreams};
use crate::equipment::{Proxy, Response, Upstream};

/// Writing the endpoints so, and with more of the cluster's affinity.
fn sticky(up: &[Upstream], endpoints: &str, more: &str) -> String {
    let affinity = format!(", affinity: {{cookie: stay, key: {{from_file: cookie.key}}{more}}}");
    config(up, endpoints, &affinity, "")
}

fn start(config: &str) -> Proxy {
    Proxy::with(config).file("cookie.key", "a key of more than 16 bytes\n").start()
}

fn ask(proxy: &Proxy, cookie: &str) -> Response {
    proxy.client().request("GET", "/", &[("cookie", cookie)], "")
}

/// The cookie that a response sets, as a client sends it back.
fn given(response: &Response) -> Option<String> {
    Some(response.field("set-cookie")?.split(';').next()?.to_owned())
}

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint_and_says_nothing_of_it() {
    let up = upstreams(4);
    let proxy = start(&sticky(&up, "A, B, C, D", ", ttl: 10m"));
    for _ in 0..8 {
        let first = proxy.client().get("/");
        let set = first.field("set-cookie").expect("a cookie").to_owned();
        assert!(set.ends_with("; Max-Age=600; Path=/; HttpOnly"), "{set}");
        assert!(!set.contains("127"), "the address is nobody's business: {set}");
        let cookie = given(&first).expect("a cookie");
        for _ in 0..5 {
            let next = ask(&proxy, &format!("theme=dark; {cookie}"));
            assert_eq!((next.text(), given(&next)), (first.text(), None));
        }
    }
}

#[test]
fn a_cookie_that_was_made_up_is_ignored_and_a_new_one_given() {
    let up = upstreams(4);
    let proxy = start(&sticky(&up, "A, B, C, D", ""));
    let honest = given(&proxy.client().get("/")).expect("a cookie");
    let mut forged = honest.clone();
    let last = if forged.ends_with('A') { 'E' } else { 'A' };
    forged.pop();
    forged.push(last);
    for cookie in [&*forged, "stay=", "stay=127.0.0.1:80", "stay"] {
        let answers: Vec<_> = (0..12).map(|_| ask(&proxy, cookie)).collect();
        assert!(answers.iter().all(|answer| given(answer).is_some()), "{cookie}");
        let first = answers[0].text();
        assert!(answers.iter().any(|answer| answer.text() != first), "{cookie} ties nobody");
    }
}

#[test]
fn a_cookie_of_an_endpoint_that_has_left_is_replaced_and_others_stay_good() {
    let up = upstreams(3);
    let mut proxy = start(&sticky(&up, "A, B, C", ""));
    let mut cookies = std::collections::HashMap::new();
    while cookies.len() < 3 {
        let answer = proxy.client().get("/");
        cookies.insert(answer.text(), given(&answer).expect("a cookie"));
    }
    assert!(proxy.change(&sticky(&up, "B, C", "")));
    let moved = ask(&proxy, &cookies["a"]);
    assert_ne!(moved.text(), "a");
    let again = ask(&proxy, &given(&moved).expect("a new cookie"));
    assert_eq!((again.text(), given(&again)), (moved.text(), None));
    let stayed = ask(&proxy, &cookies["c"]);
    assert_eq!((stayed.text(), given(&stayed)), ("c".to_owned(), None));
}

#[test]
fn affinity_yields_to_health_unless_it_is_strict() {
    let up = upstreams(3);
    let mut proxy = start(&sticky(&up, "A, B, C", ""));
    let first = proxy.client().get("/");
    let cookie = given(&first).expect("a cookie");
    let letter = first.text().to_uppercase();
    let ill = "A, B, C".replace(&letter, &format!("{{address: {letter}, health: unhealthy}}"));
    assert!(proxy.change(&sticky(&up, &ill, "")));
    let moved = ask(&proxy, &cookie);
    assert_ne!(moved.text(), first.text());
    assert!(given(&moved).is_some());
    assert!(proxy.change(&sticky(&up, &ill, ", strict: true")));
    let stayed = ask(&proxy, &cookie);
    assert_eq!((stayed.text(), given(&stayed)), (first.text(), None));
}
