//! Paths in one form: what reaches filters, routes and upstreams of a path that can be written in several ways.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Answer, Guest, Head, On, Step, request_text};

use super::{Action, Case, EscapedSlashes, Path, Paths, Route, Stage};

/// A case whose upstream says which path it was asked for.
fn case(name: &'static str) -> Case {
    Case::new(name).upstream(|head: &Head| Answer::ok(head.target()))
}

/// What becomes of each of these targets: the status, and the path that the upstream got or the client is sent to.
fn ask(stage: &Stage, targets: &[&str]) {
    for target in targets {
        let mut client = stage.client();
        client.send(&request_text("GET", target, &[], ""));
        let response = client.response();
        let more = match response.status() {
            200 => response.text(),
            _ => response.field("location").unwrap_or_default().to_owned(),
        };
        stage.note(&format!("{target} -> {} {more}", response.status()));
    }
}

/// Dot segments, slashes and characters that both bring into the same form.
const SAME: [&str; 34] = [
    "/",
    "/a/b?c",
    "/a/../b",
    "/..",
    "/../a",
    "/a/.",
    "/a/..",
    "/a/..?q",
    "/a//../b",
    "/a;/../b",
    "//a",
    "/a//b/",
    "/%2e%2e/x",
    "/a/%2E",
    "/a/.%2e/b",
    "/%61dmin",
    "/%7e%2d%5F%2E",
    "/a\\b",
    "/a\\..\\b",
    "/x/..;/b",
    "/x/..;foo=bar/admin",
    "/x/.;a/b",
    "/a/..;",
    "/a;x/b",
    "/a/;/b",
    "/a/...",
    "/.well-known/x",
    "/a%2Fb",
    "/a%20b",
    "/%252e%252e/x",
    "/a{b}\"|^",
    "/ADMIN",
    "/%00",
    "/a?x=../..//%2f%zz",
];

#[test]
fn what_has_a_normal_form_gets_it() {
    case("normal paths").run(|stage| ask(stage, &SAME));
}

#[test]
fn filters_and_routes_see_the_normal_form() {
    let property = |path: &[&str]| Step::Property(path.iter().map(|part| (*part).to_owned()).collect());
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::get(RequestHeaders, ":path"),
            property(&["request", "path"]),
            property(&["request", "url_path"]),
        ],
    );
    let respond =
        |body: &str| Some(Action::Respond { status: 200, body: body.to_owned(), fields: Vec::new() });
    let route = |path, body| Route { path, action: respond(body), ..Route::default() };
    case("filtered paths")
        .filter("seeing", &guest)
        .route(route(Path::Exact("/admin".to_owned()), "exactly"))
        .route(route(Path::Prefix("/admin/".to_owned()), "below"))
        .route(Route::default())
        .upstream(|head: &Head| Answer::chunked(200, &[], &[head.target()], &[]))
        .run(|stage| {
            ask(
                stage,
                &[
                    "/open/../admin",
                    "//admin",
                    "/%61dmin?x=/../",
                    "/open/%2e%2E/admin/x",
                    "/open\\..\\admin",
                    "/user/..;a=b/admin",
                    "/administrator",
                ],
            );
        });
}

#[test]
fn escaped_slashes_are_what_the_listener_says() {
    let slashes = |escaped_slashes| Paths { escaped_slashes, ..Paths::default() };
    let targets = [
        "/a%2Fb",
        "/a%2fb?c=%2f",
        "/a%5cb",
        "/a%2f..%2fb",
        "/a%2F%2Fb",
        "/%2f%2Ftide.test",
        "/a/../b",
        "/a%252Fb",
    ];
    case("slashes rejected").paths(slashes(EscapedSlashes::Reject)).run(|stage| ask(stage, &targets));
    case("slashes unescaped").paths(slashes(EscapedSlashes::Unescape)).run(|stage| ask(stage, &targets));
    case("slashes redirected").paths(slashes(EscapedSlashes::Redirect)).run(|stage| {
        ask(stage, &targets);
        let grpc = [("content-type", "application/grpc")];
        let response = stage.client().request("POST", "/a%2fb", &grpc, "");
        stage.note(&format!("{} {:?}", response.status(), response.field("location")));
    });
}

#[test]
fn each_part_of_it_can_be_turned_off() {
    let targets = ["/a/../b", "//a//b", "/%61/%2e%2e/b", "/a\\b", "/a%2fb", "/%zz", "/%00", "/..;/a"];
    let off = Paths { normalize: false, merge_slashes: false, escaped_slashes: EscapedSlashes::Keep };
    case("paths as they come").paths(off).run(|stage| ask(stage, &targets));
    case("paths unmerged")
        .paths(Paths { normalize: true, ..off })
        .run(|stage| ask(stage, &["//a/../b", "/a//b"]));
    case("paths only merged").paths(Paths { merge_slashes: true, ..off }).run(|stage| ask(stage, &targets));
    let unescaped = Paths { escaped_slashes: EscapedSlashes::Unescape, ..off };
    case("paths only unescaped").paths(unescaped).run(|stage| ask(stage, &["/a%2fb", "/a%5Cb", "/%zz%2F"]));
}

#[test]
fn what_envoy_writes_in_several_forms_has_one() {
    case("digits of escapes").run(|stage| ask(stage, &["/a%2fb", "/caf%c3%a9"]));
    case("escaped dots with parameters").run(|stage| ask(stage, &["/x/%2e%2e;a/b"]));
    case("brackets").run(|stage| ask(stage, &["/a[b]"]));
    case("nothing but slashes").run(|stage| ask(stage, &["//", "///"]));
}

#[test]
fn what_envoy_leaves_ambiguous_is_refused() {
    let respond = Action::Respond { status: 200, body: "passed".to_owned(), fields: Vec::new() };
    let answering = |name| Case::new(name).route(Route { action: Some(respond.clone()), ..Route::default() });
    answering("escapes that are none").run(|stage| ask(stage, &["/%zz", "/a%", "/%%36%31"]));
    answering("hidden dot segments").run(|stage| ask(stage, &["/a%2F..%2Fb", "/..%5Cb", "/x/..%3B/b"]));
}

#[test]
fn what_envoy_refuses_is_brought_into_form() {
    case("characters beyond ASCII").run(|stage| ask(stage, &["/caf\u{c3}\u{a9}"]));
    case("fragment").run(|stage| ask(stage, &["/a#b"]));
}
