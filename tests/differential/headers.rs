//! Header maps as guests see and change them.

use crate::equipment::Map::{RequestHeaders, RequestTrailers, ResponseHeaders, ResponseTrailers};
use crate::equipment::{Answer, Guest, On, Step, pairs};

use super::Case;

#[test]
fn a_body_of_another_transfer_coding_is_refused() {
    Case::new("transfer codings").run(|stage| {
        for coding in ["gzip, chunked", "chunked, chunked", "identity, chunked", "chunked"] {
            let mut client = stage.client();
            client.send(&format!(
                "POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
            ));
            stage.note(&format!("{coding} <- {}", client.response().status()));
        }
    });
}

#[test]
fn a_guest_reads_adds_replaces_and_removes_request_headers() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::get(RequestHeaders, "x-in"),
            Step::get(RequestHeaders, "X-IN"),
            Step::get(RequestHeaders, "missing"),
            Step::add(RequestHeaders, "x-added", "one"),
            Step::add(RequestHeaders, "X-Added", "two"),
            Step::replace(RequestHeaders, "x-in", "replaced"),
            Step::replace(RequestHeaders, "x-new", "created"),
            Step::remove(RequestHeaders, "x-secret"),
            Step::remove(RequestHeaders, "missing"),
            Step::Pairs(RequestHeaders),
        ],
    );
    Case::new("request headers").filter("headers", &guest).run(|stage| {
        stage.request("GET", "/a?b=c", &[("X-In", "value"), ("x-secret", "s")], "");
    });
}

#[test]
fn a_guest_reads_and_changes_response_headers() {
    let guest = Guest::logger().on(
        On::ResponseHeaders,
        [
            Step::get(ResponseHeaders, ":status"),
            Step::get(ResponseHeaders, "x-multi"),
            Step::replace(ResponseHeaders, "x-out", "changed"),
            Step::replace(ResponseHeaders, "x-multi", "single"),
            Step::add(ResponseHeaders, "x-more", "1"),
            Step::remove(ResponseHeaders, "x-private"),
            Step::replace(ResponseHeaders, ":status", "201"),
            Step::Pairs(ResponseHeaders),
        ],
    );
    let fields = [("x-multi", "a"), ("X-Multi", "b"), ("x-private", "p"), ("x-kept", "k")];
    let upstream = move |_: &_| Answer::chunked(200, &fields, &["hello"], &[]);
    Case::new("response headers").upstream(upstream).filter("headers", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn duplicates_are_separate_pairs_and_a_read_gives_the_first() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::Pairs(RequestHeaders),
            Step::get(RequestHeaders, "x-twice"),
            Step::get(RequestHeaders, "cookie"),
            Step::replace(RequestHeaders, "x-twice", "once"),
            Step::remove(RequestHeaders, "x-thrice"),
            Step::Pairs(RequestHeaders),
        ],
    );
    let fields = [
        ("x-twice", "a"),
        ("cookie", "a=1"),
        ("x-thrice", "1"),
        ("x-twice", "b"),
        ("cookie", "b=2"),
        ("x-thrice", "2"),
        ("x-thrice", "3"),
    ];
    Case::new("duplicates").filter("headers", &guest).run(|stage| {
        stage.request("GET", "/", &fields, "");
    });
}

#[test]
fn values_of_any_bytes_and_empty_ones_pass_through_guests() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::get(RequestHeaders, "x-bytes"),
            Step::get(RequestHeaders, "x-empty"),
            Step::add(RequestHeaders, "x-guest-bytes", "\u{c3}\u{a9}\u{ff}"),
            Step::add(RequestHeaders, "x-guest-empty", ""),
            Step::Pairs(RequestHeaders),
        ],
    );
    Case::new("bytes").filter("headers", &guest).run(|stage| {
        stage.request("GET", "/", &[("x-bytes", "caf\u{e9} \u{80}"), ("x-empty", "")], "");
    });
}

#[test]
fn pseudo_headers_can_be_read_and_changed() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::get(RequestHeaders, ":method"),
            Step::get(RequestHeaders, ":path"),
            Step::get(RequestHeaders, ":authority"),
            Step::get(RequestHeaders, ":scheme"),
            Step::get(RequestHeaders, "host"),
            Step::replace(RequestHeaders, ":path", "/changed?x=1"),
            Step::replace(RequestHeaders, ":authority", "changed.test"),
            Step::replace(RequestHeaders, ":method", "PUT"),
            Step::Pairs(RequestHeaders),
        ],
    );
    Case::new("pseudo-headers").filter("headers", &guest).run(|stage| {
        stage.request("POST", "/before?a=b", &[], "body");
    });
}

#[test]
fn host_is_another_name_of_authority() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [Step::replace(RequestHeaders, "host", "by-host.test"), Step::Pairs(RequestHeaders)],
    );
    Case::new("host").filter("headers", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn all_pairs_can_be_set_at_once() {
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [
                Step::set_pairs(
                    RequestHeaders,
                    &[
                        (":method", "GET"),
                        (":path", "/set"),
                        (":authority", "set.test"),
                        (":scheme", "http"),
                        ("x-forwarded-proto", "http"), // without it Envoy finds no route
                        ("x-a", "1"),
                        ("x-a", "2"),
                    ],
                ),
                Step::Pairs(RequestHeaders),
            ],
        )
        .on(
            On::ResponseHeaders,
            [
                Step::set_pairs(ResponseHeaders, &[(":status", "202"), ("x-b", "1")]),
                Step::Pairs(ResponseHeaders),
            ],
        );
    let upstream = |_: &_| Answer::chunked(200, &[("x-gone", "1")], &["hello"], &[]);
    Case::new("set all").upstream(upstream).filter("headers", &guest).run(|stage| {
        stage.request("GET", "/", &[("x-gone", "1")], "");
    });
}

#[test]
fn a_host_that_sets_pairs_keeps_the_pseudo_headers_it_was_not_given() {
    let guest = Guest::logger().on(
        On::ResponseHeaders,
        [Step::set_pairs(ResponseHeaders, &[("x-b", "1")]), Step::Pairs(ResponseHeaders)],
    );
    Case::new("set without pseudo-headers").filter("headers", &guest).run(|stage| {
        let mut client = stage.client();
        client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
        match client.try_response_to("GET") {
            Ok(Some(response)) => stage.record(&response),
            other => stage.note(&format!("no answer: {}", other.is_ok())),
        }
    });
}

#[test]
fn broken_pairs_do_not_pass() {
    let mut cut = pairs(&[("x-a", "1")]);
    cut.truncate(cut.len() - 1);
    let guest = Guest::logger()
        .on(On::RequestTrailers, [Step::SetPairs(RequestTrailers, cut), Step::Pairs(RequestTrailers)]);
    Case::new("broken pairs").filter("headers", &guest).run(|stage| {
        stage.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n");
    });
}

#[test]
fn trailers_are_seen_and_changed_both_ways() {
    let guest = Guest::logger()
        .on(
            On::RequestTrailers,
            [
                Step::Pairs(RequestTrailers),
                Step::get(RequestTrailers, "x-up"),
                Step::add(RequestTrailers, "x-added", "1"),
                Step::replace(RequestTrailers, "x-up", "changed"),
            ],
        )
        .on(
            On::ResponseTrailers,
            [
                Step::Pairs(ResponseTrailers),
                Step::remove(ResponseTrailers, "x-secret"),
                Step::add(ResponseTrailers, "x-added", "2"),
            ],
        );
    let upstream = |_: &_| {
        let announced = [("trailer", "x-down, x-secret, x-added")];
        Answer::chunked(200, &announced, &["hello"], &[("x-down", "1"), ("x-secret", "s")])
    };
    Case::new("trailers").upstream(upstream).filter("trailers", &guest).run(|stage| {
        stage.send(
            "POST / HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\ntrailer: x-up, x-other, x-added\r\n\
             transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Up: 1\r\nx-other: 2\r\n\r\n",
        );
    });
}

#[test]
fn trailers_can_be_created_with_the_last_piece_of_a_body() {
    let guest = Guest::logger()
        .on(
            On::RequestBody,
            [Step::If(crate::equipment::When::EndOfStream, vec![Step::add(RequestTrailers, "x-made", "1")])],
        )
        .on(
            On::ResponseBody,
            [Step::If(crate::equipment::When::EndOfStream, vec![Step::add(ResponseTrailers, "x-made", "2")])],
        );
    let upstream = |_: &_| Answer::chunked(200, &[("trailer", "x-made")], &["hello"], &[]);
    Case::new("created trailers").upstream(upstream).filter("trailers", &guest).run(|stage| {
        stage.send(
            "POST / HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\ntrailer: x-made\r\n\
             transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        );
    });
}

#[test]
fn trailers_that_nobody_announced() {
    let upstream = |_: &_| Answer::chunked(200, &[], &["hello"], &[("x-down", "1")]);
    Case::new("unannounced trailers").upstream(upstream).filter("trailers", &Guest::logger()).run(|stage| {
        let chunked = "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-up: 1\r\n\r\n";
        stage.send(&format!("POST / HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\n{chunked}"));
    });
}

#[test]
fn trailers_that_the_client_did_not_ask_for() {
    let upstream = |_: &_| Answer::chunked(200, &[("trailer", "x-down")], &["hello"], &[("x-down", "1")]);
    Case::new("unwanted trailers").upstream(upstream).filter("trailers", &Guest::logger()).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn the_size_of_a_map_is_that_of_its_names_and_values() {
    let guest = Guest::logger()
        .on(On::ResponseHeaders, [Step::remove(ResponseHeaders, "transfer-encoding")])
        .on(On::ResponseHeaders, [Step::remove(ResponseHeaders, "date"), Step::MapBytes(ResponseHeaders)])
        .on(On::ResponseTrailers, [Step::MapBytes(ResponseTrailers)]);
    let fields = [("x-twice", "one"), ("x-twice", "two"), ("x-empty", ""), ("trailer", "x-trailer")];
    let upstream = move |_: &_| Answer::chunked(200, &fields, &["hello"], &[("x-trailer", "value")]);
    Case::new("map sizes").upstream(upstream).filter("size", &guest).run(|stage| {
        stage.request("GET", "/", &[("te", "trailers")], "");
    });
}

#[test]
fn who_the_server_is() {
    let upstream = |_: &_| Answer::chunked(200, &[("server", "upstream/1.0")], &["hello"], &[]);
    Case::new("server").upstream(upstream).filter("log", &Guest::logger()).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn maps_of_other_phases_answer_with_these_statuses() {
    let probe = || {
        [RequestHeaders, RequestTrailers, ResponseHeaders, ResponseTrailers].into_iter().flat_map(|map| {
            [
                Step::get(map, "x-probe"),
                Step::add(map, "x-late", "1"),
                Step::remove(map, "x-none"),
                Step::MapSize(map),
            ]
        })
    };
    let guest = Guest::logger()
        .on(On::RequestHeaders, probe())
        .on(On::ResponseHeaders, probe())
        .on(On::Log, [RequestHeaders, ResponseHeaders].map(|map| Step::get(map, "x-probe")))
        .on(On::Tick, []);
    let upstream = |_: &_| Answer::chunked(200, &[("x-probe", "down")], &["hello"], &[]);
    Case::new("phases").upstream(upstream).filter("probe", &guest).run(|stage| {
        stage.request("GET", "/", &[("x-probe", "up")], "");
    });
}

#[test]
fn calls_that_cannot_succeed_answer_with_these_statuses() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::EffectiveContext(9999),
            Step::BufferStatus(crate::equipment::Buffer::ResponseBody),
            Step::ProxyDone,
            Step::LogLevel,
        ],
    );
    Case::new("statuses").filter("probe", &guest).run(|stage| {
        stage.get("/");
    });
}
