//! A client's requests go to the endpoint that its first one went to.

use super::{config, upstreams};
use crate::equipment::{Answer, Proxy, Response, Upstream};

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

/// Two upstreams of which one answers 503 where it is told to, and a proxy that tries again; the cookie of the one.
fn failing(more: &str) -> (Vec<Upstream>, Proxy, String) {
    let up: Vec<Upstream> = ["a", "b"]
        .map(|name| {
            Upstream::start(move |head| match head.field("x-fail") == Some(name) {
                true => Answer::sized(503, &[], name),
                false => Answer::ok(name),
            })
        })
        .into();
    let retries = "retries: {on: [5xx], attempts: 2, backoff: {base: 1ms, max: 1ms}}";
    let config = sticky(&up, "A, B", more).replace("cluster: up", &format!("cluster: up, {retries}"));
    let proxy = start(&config);
    // Whichever comes first, it is the first one's cookie that is wanted.
    let mut answers = std::iter::repeat_with(|| proxy.client().get("/"));
    let tied = answers.find(|answer| answer.text() == "a").expect("it has its turn");
    let cookie = given(&tied).expect("a cookie");
    (up, proxy, cookie)
}

fn ask_failing(proxy: &Proxy, cookie: &str) -> Response {
    proxy.client().request("GET", "/", &[("cookie", cookie), ("x-fail", "a")], "")
}

#[test]
fn a_retry_elsewhere_leaves_a_client_with_its_own_endpoint() {
    let (_up, proxy, cookie) = failing("");
    let helped = ask_failing(&proxy, &cookie);
    assert_eq!((helped.status(), helped.text(), given(&helped)), (200, "b".to_owned(), None));
    let next = ask(&proxy, &cookie);
    assert_eq!((next.text(), given(&next)), ("a".to_owned(), None));
}

#[test]
fn a_retry_of_a_strict_clients_request_goes_to_its_own_endpoint() {
    let (up, proxy, cookie) = failing(", strict: true");
    let before = up[1].requests().len();
    let refused = ask_failing(&proxy, &cookie);
    assert_eq!((refused.status(), refused.text(), given(&refused)), (503, "a".to_owned(), None));
    assert_eq!(up[1].requests().len(), before, "nobody else is asked");
    assert_eq!(up[0].requests().iter().filter(|it| it.head.field("x-fail").is_some()).count(), 3);
}
