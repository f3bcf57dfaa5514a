//! Which requests take a route, beyond host, path and header fields; and what routes answer by themselves.

use std::fmt::Write as _;

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Guest, On, Proxy, Start, Step, When};

/// Routes that answer with their names, each by what it matches.
fn naming(chain: &str, routes: &[(&str, &str)]) -> String {
    let mut config =
        format!("listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [{chain}]\n  routes:\n");
    for (name, matches) in routes {
        let _ = writeln!(config, "  - {{match: {matches}, respond: {{body: {name}}}}}");
    }
    config
}

fn answers(proxy: &Proxy, path: &str, fields: &[(&str, &str)]) -> String {
    proxy.client().request("GET", path, fields, "").text()
}

#[test]
fn a_path_is_matched_by_its_segments() {
    let proxy = Proxy::start(&naming("", &[("api", "{path: {segments: /api/}}"), ("other", "{}")]));
    for (path, name) in
        [("/api", "api"), ("/api/", "api"), ("/api/x?y", "api"), ("/apix", "other"), ("/", "other")]
    {
        assert_eq!(answers(&proxy, path, &[]), name, "{path}");
    }
}

#[test]
fn a_value_is_matched_by_the_range_that_it_is_in() {
    let routes = [
        ("some", "{headers: {x-n: {range: {from: 5, to: 10}}}}"),
        ("below", "{headers: {x-n: {range: {to: -1}}}}"),
        ("other", "{}"),
    ];
    let proxy = Proxy::start(&naming("", &routes));
    for (value, name) in [
        ("5", "some"),
        ("10", "some"),
        ("11", "other"),
        ("-7", "below"),
        ("0", "other"),
        ("7x", "other"),
        ("", "other"),
    ] {
        assert_eq!(answers(&proxy, "/", &[("x-n", value)]), name, "{value}");
    }
}

#[test]
fn a_cookie_leads_to_its_route() {
    let routes = [
        ("beta", "{cookies: {beta: {exact: \"1\"}}}"),
        ("known", "{cookies: {user: {present: true}}}"),
        ("other", "{}"),
    ];
    let proxy = Proxy::start(&naming("", &routes));
    for (cookie, name) in
        [("a=2; beta=1", "beta"), ("beta=2; user=ann", "known"), ("alphabeta=1", "other"), ("", "other")]
    {
        assert_eq!(answers(&proxy, "/", &[("cookie", cookie)]), name, "{cookie}");
    }
}

/// Stores for users what a verified token would say.
fn verifying() -> Guest {
    let claim = |user: &'static str, path: &[&str], value: &str| {
        let path = path.iter().map(|&segment| segment.to_owned()).collect();
        let steps = vec![Step::SetProperty(path, value.to_owned())];
        Step::If(When::Header(RequestHeaders, "x-user", user), steps)
    };
    Guest::new().on(
        On::RequestHeaders,
        [
            claim("ann", &["jwt", "role"], "admin"),
            claim("bob", &["jwt", "role"], "guest"),
            claim("eve", &["jwt.role"], "admin"),
            claim("dan", &["jwt_claims"], r#"{"groups": ["ops", "dev"], "realm": {"level": 7}}"#),
            claim("fay", &["jwt_claims"], r#"{"groups": "ops", "realm": {"level": 8}}"#),
        ],
    )
}

fn with_claims(config: &str) -> Start {
    Proxy::with(&format!("{config}filters:\n  verify: {{module: ./verify.wasm}}\n"))
        .file("verify.wasm", verifying().build())
}

#[test]
fn a_claim_that_a_filter_stored_leads_to_its_route() {
    let routes = [("admins", "{properties: {jwt.role: {exact: admin}}}"), ("others", "{}")];
    let proxy = with_claims(&naming("verify", &routes)).start();
    for (user, name) in [("ann", "admins"), ("bob", "others"), ("eve", "admins"), ("nobody", "others")] {
        assert_eq!(answers(&proxy, "/", &[("x-user", user)]), name, "{user}");
    }
}

#[test]
fn a_claim_of_a_verified_token_leads_to_its_route() {
    let routes = [
        ("devs", "{claims: {groups: {exact: dev}, realm.level: {range: {to: 7}}}}"),
        ("known", "{claims: {groups: {present: true}}}"),
        ("others", "{}"),
    ];
    let proxy = with_claims(&naming("verify", &routes)).start();
    for (user, name) in [("dan", "devs"), ("fay", "known"), ("ann", "others"), ("nobody", "others")] {
        assert_eq!(answers(&proxy, "/", &[("x-user", user)]), name, "{user}");
    }
    let claimed = [("jwt_claims", r#"{"groups": "dev"}"#)];
    assert_eq!(answers(&proxy, "/", &claimed), "others", "no client's word is a claim");
}

#[test]
fn what_a_filter_stored_for_a_connection_leads_the_requests_that_follow_on_it() {
    // `DeclarePropertyArguments` with the name `role` and the life span of a connection.
    let declared = Step::foreign("declare_property", b"\x0a\x04role\x28\x02");
    let stored = Step::SetProperty(vec!["role".to_owned()], "admin".to_owned());
    let guest = Guest::new()
        .on(On::Configure, [declared])
        .on(On::RequestHeaders, [Step::If(When::Header(RequestHeaders, "x-user", "ann"), vec![stored])]);
    let routes = [("admins", "{properties: {role: {exact: admin}}}"), ("others", "{}")];
    let config = naming("verify", &routes);
    let proxy = Proxy::with(&format!("{config}filters:\n  verify: {{module: ./verify.wasm}}\n"))
        .file("verify.wasm", guest.build())
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "others");
    assert_eq!(client.request("GET", "/", &[("x-user", "ann")], "").text(), "admins");
    assert_eq!(client.get("/").text(), "admins", "it lives as long as the connection");
    assert_eq!(proxy.client().get("/").text(), "others", "and is nobody else's");
}

#[test]
fn a_claim_decides_what_the_filters_behind_it_are() {
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [verify, abort]\n  routes:\n  \
        - {match: {properties: {jwt.role: {exact: admin}}}, respond: {body: admins}, filters: {abort: off}}\n  \
        - {match: {}, respond: {body: others}}\n";
    let filters = "  abort: {module: \"builtin:fault\", config: {abort: {status: 403, percent: 100}}}\n";
    let start = Proxy::with(&format!("{config}filters:\n  verify: {{module: ./verify.wasm}}\n{filters}"));
    let proxy = start.file("verify.wasm", verifying().build()).start();
    let mut client = proxy.client();
    for (user, status) in [("ann", 200), ("bob", 403)] {
        assert_eq!(client.request("GET", "/", &[("x-user", user)], "").status(), status, "{user}");
    }
}

#[test]
fn a_route_answers_with_a_file_which_is_watched() {
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n  \
        - {match: {}, respond: {status: 503, file: ./page.html, headers: {content-type: text/html}}}\n";
    let page = [b"<h1>\0\xff".to_vec(), vec![b'x'; 200_000]].concat();
    let proxy = Proxy::with(config).file("page.html", page.clone()).watching().start();
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!((response.status(), response.field("content-type")), (503, Some("text/html")));
    assert_eq!(response.body.bytes, page);
    proxy.put("page.html", "<h1>soon</h1>");
    proxy.wait_for_generation(2);
    assert_eq!(client.get("/").text(), "<h1>soon</h1>");
}

#[test]
fn a_file_that_cannot_be_answered_with_is_a_problem() {
    let config = |file: &str| {
        format!(
            "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n  - {{match: {{}}, respond: {{{file}}}}}\n"
        )
    };
    for (file, why) in [
        ("file: ./none.html", "cannot be read"),
        ("file: ./large.html", "is larger than 1 MiB"),
        ("file: ./page.html, body: text", "cannot be given together"),
        ("file: ./page.html, status: 204", "has no body"),
    ] {
        let start = Proxy::with(&config(file)).file("page.html", "page");
        let exit = start.file("large.html", vec![b'x'; (1 << 20) + 1]).run("check");
        assert_eq!(exit.code, Some(1), "{file}");
        assert!(exit.stderr.contains(why), "{why} in {}", exit.stderr);
    }
}

#[test]
fn a_route_gets_its_share_of_the_requests_and_those_behind_it_the_rest_of_theirs() {
    let routes = [
        ("none", "{percent: 0%}"),
        ("first", "{percent: 30%}"),
        ("second", "{percent: 60%, headers: {x-new: {present: true}}}"),
        ("all", "{percent: 100%}"),
    ];
    let proxy = Proxy::start(&naming("", &routes));
    let mut client = proxy.client();
    let mut counts = std::collections::HashMap::<String, u32>::new();
    for _ in 0..1000 {
        *counts.entry(client.request("GET", "/", &[("x-new", "1")], "").text()).or_default() += 1;
    }
    // Each is within seven standard deviations of what is meant: 300, 300 of the 600 that the second may have, 400.
    for (name, meant) in [("first", 300), ("second", 300), ("all", 400)] {
        let count = counts.get(name).copied().unwrap_or_default();
        assert!(count.abs_diff(meant) < 110, "{name}: {counts:?}");
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[test]
fn a_request_has_the_same_chance_however_often_its_route_is_looked_for() {
    let routes = [
        ("some", "{percent: 50%, properties: {seen: {exact: \"1\"}}}"),
        ("never", "{percent: 50%, headers: {x-always: {present: true}}}"),
        ("other", "{}"),
    ];
    let guest = Guest::new()
        .quiet()
        .on(On::RequestHeaders, [Step::SetProperty(vec!["seen".to_owned()], "1".to_owned())]);
    let config = naming("marking", &routes) + "filters: {marking: {module: ./marking.wasm}}\n";
    let proxy = Proxy::with(&config).file("marking.wasm", guest.build()).start();
    let mut client = proxy.client();
    let answers: Vec<_> =
        (0..100).map(|_| client.request("GET", "/", &[("x-always", "1")], "").text()).collect();
    assert!(
        !answers.contains(&"never".to_owned()),
        "with the property it is the first's, by the same chance"
    );
    assert!(answers.contains(&"some".to_owned()) && answers.contains(&"other".to_owned()), "{answers:?}");
}
