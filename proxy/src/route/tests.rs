//! What a table finds, in sentences, and that its index finds what looking at one route after the other would.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use proptest::prelude::*;
use regex::Regex;

use super::claims::Claims;
use super::matcher::{Asked, Conditions};
use super::{Table, host};
use crate::config::model::{Action, HostMatch, Match, PathMatch, Respond, Route, ValueMatch};

fn any() -> Match {
    Match {
        hosts: vec![],
        path: PathMatch::Any,
        methods: vec![],
        headers: vec![],
        query: vec![],
        cookies: vec![],
        properties: vec![],
        claims: vec![],
        percent: None,
    }
}

fn path(path: PathMatch) -> Match {
    Match { path, ..any() }
}

fn prefix(text: &str) -> Match {
    path(PathMatch::Prefix(text.into()))
}

fn exact(text: &str) -> Match {
    path(PathMatch::Exact(text.into()))
}

fn anchored(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("a pattern")
}

/// As the configuration writes it.
fn host_match(host: &str) -> HostMatch {
    match (host.strip_prefix('*'), host.strip_suffix('*')) {
        (Some(suffix), _) => HostMatch::Suffix(suffix.into()),
        (_, Some(prefix)) => HostMatch::Prefix(prefix.into()),
        _ => HostMatch::Exact(host.into()),
    }
}

fn for_host(hosts: &[&str]) -> Match {
    Match { hosts: hosts.iter().map(|host| host_match(host)).collect(), ..any() }
}

fn header(name: &'static str, value: ValueMatch) -> Match {
    Match { headers: vec![(HeaderName::from_static(name), value)], ..any() }
}

fn route(matches: Match) -> Route {
    Route {
        name: String::new(),
        matches,
        filters: Default::default(),
        cors: None,
        compression: None,
        decompression: None,
        buffer_limit: None,
        action: Action::Respond(Respond {
            file: None,
            status: StatusCode::OK,
            body: Default::default(),
            headers: vec![],
        }),
        request_headers: Default::default(),
        response_headers: Default::default(),
        timeout: None,
        grpc_timeout: None,
        max_duration: None,
        idle_timeout: None,
        retries: None,
        shed: true,
    }
}

fn table(matches: impl IntoIterator<Item = Match>) -> Table {
    Table::new(&matches.into_iter().map(route).collect::<Vec<_>>())
}

/// The route of `GET target` with these headers.
fn get(table: &Table, target: &str, headers: &[(&'static str, &str)]) -> Option<usize> {
    find(table, Method::GET, target, headers)
}

fn find(table: &Table, method: Method, target: &str, headers: &[(&'static str, &str)]) -> Option<usize> {
    let headers = headers
        .iter()
        .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")))
        .collect();
    table.find(&method, &target.parse().expect("a target"), &headers)
}

#[test]
fn a_table_without_routes_finds_none() {
    assert_eq!(get(&table([]), "/", &[]), None);
}

#[test]
fn the_first_route_that_matches_wins_however_specific_the_others_are() {
    let table = table([prefix("/a"), exact("/a/b"), prefix("/a/b"), path(PathMatch::Any), exact("/")]);
    assert_eq!(get(&table, "/a/b", &[]), Some(0));
    assert_eq!(get(&table, "/b", &[]), Some(3));
    assert_eq!(get(&table, "/", &[]), Some(3));
}

#[test]
fn a_prefix_matches_by_characters() {
    let table = table([prefix("/api")]);
    for target in ["/api", "/api/", "/api/v1", "/apix", "/api?x=1"] {
        assert_eq!(get(&table, target, &[]), Some(0), "{target}");
    }
    for target in ["/ap", "/", "/x/api", "/API"] {
        assert_eq!(get(&table, target, &[]), None, "{target}");
    }
}

#[test]
fn an_exact_path_is_compared_without_its_query() {
    let table = table([exact("/api")]);
    assert_eq!(get(&table, "/api?x=1", &[]), Some(0));
    assert_eq!(get(&table, "/api/", &[]), None);
}

#[test]
fn a_pattern_matches_the_path_without_its_query() {
    let table = table([path(PathMatch::Regex(anchored(r"/v\d+/.*|/v"))), prefix("/")]);
    assert_eq!(get(&table, "/v12/x?y", &[]), Some(0));
    assert_eq!(get(&table, "/v", &[]), Some(0));
    assert_eq!(get(&table, "/v12", &[]), Some(1));
    assert_eq!(get(&table, "/x/v12/", &[]), Some(1));
}

#[test]
fn the_target_of_options_in_general_has_no_prefix() {
    let table = table([prefix("/"), path(PathMatch::Any)]);
    assert_eq!(find(&table, Method::OPTIONS, "*", &[]), Some(1));
}

#[test]
fn a_host_is_compared_without_its_port_and_its_case() {
    let table = table([for_host(&["example.com"]), for_host(&["[::1]"])]);
    for host in ["example.com", "example.com:8080", "EXAMPLE.com", "Example.Com:80"] {
        assert_eq!(get(&table, "/", &[("host", host)]), Some(0), "{host}");
    }
    for host in ["[::1]", "[::1]:8080"] {
        assert_eq!(get(&table, "/", &[("host", host)]), Some(1), "{host}");
    }
    for host in ["example.co", "example.comm", "www.example.com", "", "[::2]", "::1"] {
        assert_eq!(get(&table, "/", &[("host", host)]), None, "{host}");
    }
    assert_eq!(get(&table, "/", &[]), None, "no host at all");
}

#[test]
fn a_wildcard_stands_for_at_least_one_character() {
    let table = table([for_host(&["*.example.com"]), for_host(&["api.*"])]);
    for host in ["a.example.com", "A.B.Example.com:80", "..example.com"] {
        assert_eq!(get(&table, "/", &[("host", host)]), Some(0), "{host}");
    }
    for host in ["api.example.org", "API.x"] {
        assert_eq!(get(&table, "/", &[("host", host)]), Some(1), "{host}");
    }
    for host in ["example.com", ".example.com", "api.", "api", "xapi.x"] {
        assert_eq!(get(&table, "/", &[("host", host)]), None, "{host}");
    }
}

#[test]
fn a_route_may_be_for_several_hosts_and_its_place_counts_for_each() {
    let table = table([
        for_host(&["a.example.com", "b.example.com", "a.example.com"]),
        for_host(&["*.example.com"]),
        for_host(&["c.example.com"]),
        any(),
    ]);
    assert_eq!(get(&table, "/", &[("host", "a.example.com")]), Some(0));
    assert_eq!(get(&table, "/", &[("host", "b.example.com")]), Some(0));
    assert_eq!(get(&table, "/", &[("host", "c.example.com")]), Some(1));
    assert_eq!(get(&table, "/", &[("host", "example.com")]), Some(3));
    assert_eq!(get(&table, "/", &[]), Some(3));
}

#[test]
fn any_of_the_methods_matches() {
    let table =
        table([Match { methods: vec![Method::GET, Method::from_bytes(b"PURGE").unwrap()], ..any() }, any()]);
    assert_eq!(find(&table, Method::GET, "/", &[]), Some(0));
    assert_eq!(find(&table, Method::from_bytes(b"PURGE").unwrap(), "/", &[]), Some(0));
    assert_eq!(find(&table, Method::HEAD, "/", &[]), Some(1));
}

#[test]
fn every_header_condition_must_hold() {
    let matches = Match {
        headers: vec![
            (HeaderName::from_static("x-a"), ValueMatch::Exact("1".into())),
            (HeaderName::from_static("x-b"), ValueMatch::Present(false)),
        ],
        ..any()
    };
    let table = table([matches]);
    assert_eq!(get(&table, "/", &[("x-a", "1")]), Some(0));
    assert_eq!(get(&table, "/", &[("x-a", "2")]), None);
    assert_eq!(get(&table, "/", &[("x-a", "1"), ("x-b", "")]), None);
    assert_eq!(get(&table, "/", &[]), None);
}

#[test]
fn a_value_is_compared_in_each_of_the_ways() {
    let yes_and_no = [
        (ValueMatch::Exact("abc".into()), "abc", "abcd"),
        (ValueMatch::Prefix("ab".into()), "abc", "xab"),
        (ValueMatch::Suffix("bc".into()), "abc", "bcx"),
        (ValueMatch::Contains("b".into()), "abc", "ac"),
        (ValueMatch::Contains("".into()), "", "none"),
        (ValueMatch::Regex(anchored("a.c")), "abc", "xabc"),
        (ValueMatch::Not(Box::new(ValueMatch::Exact("abc".into()))), "x", "abc"),
    ];
    for (condition, yes, no) in yes_and_no {
        let table = table([header("x-a", condition.clone())]);
        assert_eq!(get(&table, "/", &[("x-a", yes)]), Some(0), "{condition:?} {yes}");
        if no != "none" {
            assert_eq!(get(&table, "/", &[("x-a", no)]), None, "{condition:?} {no}");
        }
    }
}

#[test]
fn a_missing_value_matches_nothing_but_its_absence_and_what_is_negated() {
    let exact = ValueMatch::Exact(String::new());
    assert_eq!(get(&table([header("x-a", exact.clone())]), "/", &[]), None);
    assert_eq!(get(&table([header("x-a", ValueMatch::Present(false))]), "/", &[]), Some(0));
    assert_eq!(get(&table([header("x-a", ValueMatch::Not(exact.into()))]), "/", &[]), Some(0));
}

#[test]
fn one_of_several_values_of_a_header_is_enough() {
    let sent = [("x-a", "1"), ("x-a", "2")];
    assert_eq!(get(&table([header("x-a", ValueMatch::Exact("2".into()))]), "/", &sent), Some(0));
    assert_eq!(get(&table([header("x-a", ValueMatch::Exact("1,2".into()))]), "/", &sent), None);
    let not = ValueMatch::Not(ValueMatch::Exact("2".into()).into());
    assert_eq!(get(&table([header("x-a", not)]), "/", &sent), None);
}

#[test]
fn a_value_that_is_no_text_matches_bytes_but_no_pattern() {
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_bytes(b"ab\xff").unwrap());
    for (condition, expected) in
        [(ValueMatch::Prefix("ab".into()), Some(0)), (ValueMatch::Regex(anchored("(?s).*")), None)]
    {
        let found = table([header("x-a", condition)]).find(&Method::GET, &Uri::from_static("/"), &headers);
        assert_eq!(found, expected);
    }
}

#[test]
fn a_query_parameter_is_compared_as_it_was_sent() {
    let query = |value| Match { query: vec![("v".into(), value)], ..any() };
    let table = table([query(ValueMatch::Exact("a%20b".into())), query(ValueMatch::Present(true)), any()]);
    assert_eq!(get(&table, "/?x=1&v=a%20b", &[]), Some(0));
    assert_eq!(get(&table, "/?v=a+b", &[]), Some(1));
    assert_eq!(get(&table, "/?v", &[]), Some(1));
    assert_eq!(get(&table, "/?vv=1", &[]), Some(2));
    assert_eq!(get(&table, "/", &[]), Some(2));
}

#[test]
fn a_negated_query_condition_also_holds_where_the_parameter_is_missing() {
    let not = ValueMatch::Not(Box::new(ValueMatch::Exact("1".into())));
    let table = table([Match { query: vec![("v".into(), not)], ..any() }]);
    assert_eq!(get(&table, "/?v=2", &[]), Some(0));
    assert_eq!(get(&table, "/", &[]), Some(0));
    assert_eq!(get(&table, "/?v=1", &[]), None);
}

/// What [`Table::find`] has to find, by looking at one route after the other.
fn scan(routes: &[Route], method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<usize> {
    let host = String::from_utf8(host::of(headers).to_ascii_lowercase()).expect("hosts here are text");
    routes.iter().position(|route| {
        let Match { hosts, path, .. } = &route.matches;
        let path_fits = match path {
            PathMatch::Any | PathMatch::Regex(_) | PathMatch::Template(_) => true,
            PathMatch::Exact(text) => uri.path() == text,
            PathMatch::Prefix(text) => uri.path().starts_with(text.as_str()),
            PathMatch::Segments(text) => uri
                .path()
                .strip_prefix(text.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        let host_fits = |wanted: &HostMatch| match wanted {
            HostMatch::Exact(text) => host == *text,
            HostMatch::Prefix(text) => host.len() > text.len() && host.starts_with(text),
            HostMatch::Suffix(text) => host.len() > text.len() && host.ends_with(text),
        };
        path_fits
            && (hosts.is_empty() || hosts.iter().any(host_fits))
            && Conditions::new(&route.matches).hold(&Asked {
                method,
                uri,
                headers,
                stored: &|_| None,
                claims: Claims::default(),
                chance: 0,
            })
    })
}

// Few letters, so that texts often begin alike and often match.

fn some_path() -> impl Strategy<Value = String> {
    "/[ab/]{0,5}"
}

fn some_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::POST])
}

fn some_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![
        "[ab]\\.[ab]".prop_map(HostMatch::Exact),
        "\\.[ab]".prop_map(HostMatch::Suffix),
        "[ab]\\.".prop_map(HostMatch::Prefix),
    ];
    let path = prop_oneof![
        Just(PathMatch::Any),
        some_path().prop_map(PathMatch::Exact),
        some_path().prop_map(PathMatch::Prefix),
        "(/[ab]{1,2}){1,3}".prop_map(PathMatch::Segments),
        "/[ab.]{1,3}\\*?".prop_map(|pattern| PathMatch::Regex(anchored(&pattern))),
    ];
    let header = "[12]".prop_map(|value| (HeaderName::from_static("x-a"), ValueMatch::Exact(value)));
    (
        prop::collection::vec(host, 0..3),
        path,
        prop::collection::vec(some_method(), 0..2),
        prop::collection::vec(header, 0..2),
    )
        .prop_map(|(hosts, path, methods, headers)| route(Match { hosts, path, methods, headers, ..any() }))
}

fn some_request() -> impl Strategy<Value = (Method, Uri, HeaderMap)> {
    let host = prop::option::of("[abAB]\\.[ab](:80)?|[ab]\\.|\\.[ab]|");
    (some_method(), some_path(), host, prop::option::of("[12]")).prop_map(|(method, path, host, header)| {
        let values = [("host", host), ("x-a", header)];
        let headers = values.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(&value?).expect("a value")))
        });
        (method, path.parse().expect("a path"), headers.collect())
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        routes in prop::collection::vec(some_route(), 0..24),
        requests in prop::collection::vec(some_request(), 1..24),
    ) {
        let table = Table::new(&routes);
        for (method, uri, headers) in requests {
            prop_assert_eq!(
                table.find(&method, &uri, &headers),
                scan(&routes, &method, &uri, &headers),
                "{} {} {:?}", method, uri, headers
            );
        }
    }
}
