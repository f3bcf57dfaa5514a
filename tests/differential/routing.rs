//! Routes: which one takes a request, and what it does to it. No filters here: what differs is the proxy's own.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Answer, Guest, Head, On, Step};

use super::{Action, Case, Edits, Path, Route, Value, value};

/// A route to the cluster of this name, whose upstream says its name.
fn to(name: &str) -> Route {
    Route { action: Some(Action::Cluster(name.to_owned())), ..Route::default() }
}

/// A case with these routes and an upstream for each letter.
fn case(name: &'static str, routes: impl IntoIterator<Item = Route>) -> Case {
    let case = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .fold(Case::new(name), |case, letter| case.cluster(letter, move |_: &Head| Answer::ok(letter)));
    routes.into_iter().fold(case, Case::route)
}

fn exact(path: &str) -> Path {
    Path::Exact(path.to_owned())
}

fn prefix(path: &str) -> Path {
    Path::Prefix(path.to_owned())
}

fn regex(path: &str) -> Path {
    Path::Regex(path.to_owned())
}

/// A request's fields.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// What a client sees of each of these paths, and only the status where no route takes it.
fn ask(stage: &super::Stage, requests: &[(&str, &str, Fields<'_>)]) {
    for (method, path, fields) in requests {
        stage.note(&format!("{method} {path} {fields:?}"));
        let response = stage.client().request(method, path, fields, "");
        match response.status() {
            404 => stage.note("<- 404"),
            _ => stage.record(&response),
        }
    }
}

#[test]
fn the_first_path_that_matches_wins() {
    let routes = [
        Route { path: exact("/exact"), ..to("a") },
        Route { path: prefix("/api/"), ..to("b") },
        Route { path: regex("/v[0-9]+/items/[^/]+"), ..to("c") },
        Route { path: prefix("/api"), ..to("d") },
        Route { path: exact("/api/never"), ..to("e") },
    ];
    case("paths", routes).run(|stage| {
        let paths = [
            "/exact",
            "/exact/",
            "/exact?q=1",
            "/EXACT",
            "/api",
            "/apix",
            "/api/",
            "/api/never",
            "/v1/items/x",
            "/v12/items/x%20y?q",
            "/v1/items/x/y",
            "/xv1/items/x",
            "/",
            "/exact%2f",
            "//exact",
            "/api/../exact",
        ];
        ask(stage, &paths.map(|path| ("GET", path, &[][..])));
    });
}

#[test]
fn hosts_match_whole_by_suffix_and_by_prefix_without_case_and_port() {
    let hosts = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
    let routes = [
        Route { hosts: hosts(&["exact.test", "other.test"]), ..to("a") },
        Route { hosts: hosts(&["*.long.wild.test"]), ..to("b") },
        Route { hosts: hosts(&["*.wild.test"]), ..to("c") },
        Route { hosts: hosts(&["pre.*"]), ..to("d") },
    ];
    case("hosts", routes).run(|stage| {
        let names = [
            "exact.test",
            "EXACT.Test",
            "other.test",
            "exact.test:8080",
            "notexact.test",
            "a.wild.test",
            "wild.test",
            ".wild.test",
            "a.b.wild.test",
            "x.long.wild.test",
            "A.WILD.test:99",
            "pre.anything",
            "pre.",
            "prefix.test",
            "none.test",
        ];
        for name in names {
            ask(stage, &[("GET", "/", &[("host", name)])]);
        }
    });
}

#[test]
fn methods_are_matched() {
    let methods = |methods: &[&str]| methods.iter().map(|method| (*method).to_owned()).collect();
    let routes = [
        Route { methods: methods(&["GET", "HEAD"]), ..to("a") },
        Route { methods: methods(&["POST"]), ..to("b") },
    ];
    case("methods", routes)
        .run(|stage| ask(stage, &["GET", "POST", "PUT", "DELETE"].map(|method| (method, "/", &[][..]))));
}

#[test]
fn header_values_are_matched_in_every_way() {
    let with = |name: &str, value: Value, cluster: &str| Route {
        headers: vec![(name.to_owned(), value)],
        ..to(cluster)
    };
    let routes = [
        with("x-exact", value("exact", "Yes"), "a"),
        with("x-prefix", value("prefix", "v1"), "b"),
        with("x-suffix", value("suffix", ".com"), "c"),
        with("x-contains", value("contains", "mid"), "d"),
        with("x-regex", value("regex", "[a-z]+[0-9]"), "e"),
        with("x-present", Value::Present(true), "f"),
    ];
    case("header values", routes).run(|stage| {
        let fields = [
            ("x-exact", "Yes"),
            ("x-exact", "yes"),
            ("X-Exact", "Yes"),
            ("x-prefix", "v12"),
            ("x-prefix", "xv1"),
            ("x-suffix", "a.com"),
            ("x-suffix", "a.com.au"),
            ("x-contains", "a mid b"),
            ("x-contains", "a b"),
            ("x-regex", "abc1"),
            ("x-regex", "abc12"),
            ("x-regex", "1abc1"),
            ("x-present", ""),
            ("x-present", "x"),
            ("x-absent", "x"),
        ];
        for field in fields {
            ask(stage, &[("GET", "/", &[field])]);
        }
        ask(stage, &[("GET", "/", &[("x-exact", "Yes"), ("x-exact", "Yes")])]);
        ask(stage, &[("GET", "/", &[("x-prefix", "no"), ("x-prefix", "v1")])]);
    });
}

#[test]
fn a_negated_value_also_matches_where_the_header_is_missing() {
    let not = |name: &str, inner: Value| (name.to_owned(), Value::Not(Box::new(inner)));
    let routes = [
        Route {
            headers: vec![not("x-a", value("exact", "1")), ("x-b".to_owned(), Value::Present(false))],
            ..to("a")
        },
        Route { headers: vec![not("x-a", value("prefix", "1"))], ..to("b") },
        to("c"),
    ];
    case("negated headers", routes).run(|stage| {
        for fields in
            [&[][..], &[("x-a", "1")], &[("x-a", "2")], &[("x-b", "1")], &[("x-a", "12"), ("x-b", "1")]]
        {
            ask(stage, &[("GET", "/", fields)]);
        }
    });
}

#[test]
fn query_parameters_are_matched() {
    let with = |name: &str, value: Value, cluster: &str| Route {
        query: vec![(name.to_owned(), value)],
        ..to(cluster)
    };
    let routes = [
        with("v", value("exact", "2"), "a"),
        with("name", value("prefix", "an"), "b"),
        with("flag", Value::Present(true), "c"),
    ];
    case("query", routes).run(|stage| {
        let paths = [
            "/?v=2",
            "/?v=3",
            "/?a=b&v=2",
            "/?v=2&v=3",
            "/?v=3&v=2",
            "/?name=anna",
            "/?name=Anna",
            "/?flag",
            "/?flag=",
            "/?flag=x",
            "/?flags",
            "/?v",
            "/?V=2",
            "/?v=%32",
            "/",
        ];
        ask(stage, &paths.map(|path| ("GET", path, &[][..])));
    });
}

#[test]
fn a_prefix_is_rewritten_and_the_query_kept() {
    let routes = [
        Route { path: prefix("/api/"), rewrite_prefix: Some("/v1/".to_owned()), ..to("a") },
        Route { path: exact("/one"), rewrite_prefix: Some("/uno".to_owned()), ..to("b") },
        Route { path: prefix("/strip"), rewrite_prefix: Some("/".to_owned()), ..to("c") },
    ];
    case("rewrite prefix", routes).run(|stage| {
        let paths = [
            "/api/x?q=1",
            "/api/",
            "/api/api/x",
            "/one",
            "/one?a",
            "/strip/x",
            "/strip",
            "/strip?q",
            "/api/%20x",
        ];
        ask(stage, &paths.map(|path| ("GET", path, &[][..])));
    });
}

#[test]
fn a_pattern_is_rewritten_with_its_groups() {
    let rewrite = |path: Path, pattern: &str, with: &str, cluster| Route {
        path,
        rewrite_regex: Some((pattern.to_owned(), with.to_owned())),
        ..to(cluster)
    };
    let routes = [
        rewrite(prefix("/service/"), "^/service/([^/]+)(/.*)$", "\\2/instance/\\1", "a"),
        rewrite(prefix("/xx"), "x", "y", "b"),
        rewrite(prefix("/none"), "z", "y", "c"),
        rewrite(prefix("/literal"), "^/(literal)$", r"/\\1-\1", "a"),
    ];
    case("rewrite regex", routes).run(|stage| {
        let paths = [
            "/service/foo/v1/api?x=service",
            "/service/a/",
            "/service/a",
            "/xx/axx?x=x",
            "/none/a",
            "/literal",
        ];
        ask(stage, &paths.map(|path| ("GET", path, &[][..])));
    });
}

#[test]
fn the_host_is_rewritten() {
    let route = Route { rewrite_host: Some("inner.test:81".to_owned()), ..to("a") };
    case("rewrite host", [route]).run(|stage| ask(stage, &[("GET", "/", &[])]));
}

fn redirect(status: u16) -> Action {
    Action::Redirect {
        status,
        scheme: None,
        host: None,
        port: None,
        path: None,
        prefix: None,
        strip_query: false,
    }
}

#[test]
fn redirects_name_the_new_location() {
    let mut routes = Vec::new();
    let mut add = |path: Path, change: &dyn Fn(Action) -> Action| {
        routes.push(Route { path, action: Some(change(redirect(301))), ..Route::default() });
    };
    add(exact("/https"), &|action| match action {
        Action::Redirect { status, host, port, path, prefix, strip_query, .. } => Action::Redirect {
            status,
            scheme: Some("https".to_owned()),
            host,
            port,
            path,
            prefix,
            strip_query,
        },
        other => other,
    });
    add(exact("/host"), &|_| Action::Redirect {
        status: 302,
        scheme: None,
        host: Some("new.test".to_owned()),
        port: None,
        path: None,
        prefix: None,
        strip_query: false,
    });
    add(exact("/port"), &|_| Action::Redirect {
        status: 307,
        scheme: None,
        host: None,
        port: Some(8443),
        path: None,
        prefix: None,
        strip_query: false,
    });
    add(exact("/path"), &|_| Action::Redirect {
        status: 308,
        scheme: None,
        host: None,
        port: None,
        path: Some("/new".to_owned()),
        prefix: None,
        strip_query: false,
    });
    add(exact("/strip"), &|_| Action::Redirect {
        status: 303,
        scheme: None,
        host: None,
        port: None,
        path: Some("/new".to_owned()),
        prefix: None,
        strip_query: true,
    });
    add(exact("/query"), &|_| Action::Redirect {
        status: 301,
        scheme: None,
        host: None,
        port: None,
        path: Some("/new?own=1".to_owned()),
        prefix: None,
        strip_query: false,
    });
    add(prefix("/old"), &|_| Action::Redirect {
        status: 301,
        scheme: None,
        host: None,
        port: None,
        path: None,
        prefix: Some("/new".to_owned()),
        strip_query: false,
    });
    add(exact("/all"), &|_| Action::Redirect {
        status: 301,
        scheme: Some("https".to_owned()),
        host: Some("all.test".to_owned()),
        port: Some(444),
        path: Some("/p".to_owned()),
        prefix: None,
        strip_query: true,
    });
    case("redirects", routes).run(|stage| {
        for path in ["/https", "/host", "/port", "/path", "/strip", "/query", "/old", "/old/deeper", "/all"] {
            for host in ["tide.test", "tide.test:80", "tide.test:8080"] {
                ask(stage, &[("GET", &format!("{path}?q=1"), &[("host", host)])]);
            }
            ask(stage, &[("GET", path, &[])]);
        }
        ask(stage, &[("POST", "/path", &[]), ("HEAD", "/path", &[])]);
    });
}

#[test]
fn a_direct_response_has_its_status_headers_and_body() {
    let respond = |status, body: &str, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Some(Action::Respond { status, body: body.to_owned(), fields })
    };
    let routes = [
        Route { path: exact("/text"), action: respond(200, "hello", &[]), ..Route::default() },
        Route {
            path: exact("/json"),
            action: respond(418, "{}", &[("content-type", "application/json"), ("x-a", "1")]),
            ..Route::default()
        },
        Route { path: exact("/empty"), action: respond(204, "", &[]), ..Route::default() },
    ];
    case("direct responses", routes).run(|stage| {
        ask(
            stage,
            &[("GET", "/text", &[]), ("HEAD", "/text", &[]), ("POST", "/json", &[]), ("GET", "/empty", &[])],
        );
    });
}

#[test]
fn all_the_weight_takes_all_the_requests() {
    let all = Action::Clusters(vec![("a".to_owned(), 100), ("b".to_owned(), 0)]);
    case("weights", [Route { action: Some(all), ..Route::default() }]).run(|stage| {
        ask(stage, &[("GET", "/", &[][..]); 10]);
    });
}

#[test]
fn header_edits_of_a_route_apply_in_both_directions() {
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let route = Route {
        request_edits: Edits {
            set: pairs(&[("x-set", "set"), ("x-fresh", "fresh")]),
            add: pairs(&[("x-add", "added")]),
            remove: vec!["x-remove".to_owned(), "x-none".to_owned()],
        },
        response_edits: Edits {
            set: pairs(&[("x-down-set", "set")]),
            add: pairs(&[("x-down-add", "added")]),
            remove: vec!["x-down-remove".to_owned()],
        },
        ..Route::default()
    };
    let upstream = |_: &_| {
        let fields = [("x-down-set", "1"), ("x-down-set", "2"), ("x-down-add", "1"), ("x-down-remove", "1")];
        Answer::sized(200, &fields, "hello")
    };
    Case::new("header edits").upstream(upstream).route(route).run(|stage| {
        let fields = [("x-set", "1"), ("x-set", "2"), ("x-add", "1"), ("x-remove", "1"), ("x-kept", "1")];
        stage.request("GET", "/", &fields, "");
    });
}

/// A route whose cluster is named by `x-cluster`.
fn by_header() -> Route {
    let allow = ["a", "b"].map(str::to_owned).to_vec();
    Route { action: Some(Action::ClusterHeader("x-cluster".to_owned(), allow)), ..Route::default() }
}

#[test]
fn a_header_names_the_cluster() {
    case("cluster header", [by_header()]).run(|stage| {
        for fields in
            [&[("x-cluster", "a")][..], &[("x-cluster", "b")], &[("x-cluster", "b"), ("x-cluster", "a")]]
        {
            ask(stage, &[("GET", "/", fields)]);
        }
        // What the client reads is each proxy's own.
        for fields in [&[][..], &[("x-cluster", "")], &[("x-cluster", "none")], &[("x-cluster", "A")]] {
            stage.note(&format!("{fields:?} {}", stage.client().request("GET", "/", fields, "").status()));
        }
    });
}

#[test]
fn a_filter_names_the_cluster() {
    let clear = Step::Foreign("clear_route_cache".to_owned(), String::new());
    let name = || Step::Property(["xds", "cluster_name"].map(str::to_owned).to_vec());
    for (called, more) in [("cluster named by a filter", vec![]), ("cluster named anew", vec![clear, name()])]
    {
        let set = Step::replace(RequestHeaders, "x-cluster", "b");
        let guest = Guest::logger()
            .on(On::RequestHeaders, [vec![name(), set], more].concat())
            .on(On::ResponseHeaders, [name()]);
        case(called, [by_header()])
            .filter("naming", &guest)
            .cluster("b", |_: &Head| Answer::chunked(200, &[], &["b"], &[]))
            .run(|stage| {
                for fields in [&[][..], &[("x-cluster", "a")], &[("x-cluster", "none")]] {
                    ask(stage, &[("GET", "/", fields)]);
                }
            });
    }
}
