//! What a filter may do that its configuration says it may, and that there is no way around it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tidegate::config::model::{Access, BodyAccess, Capabilities, Grant, LogFloor, Names};
use tidegate::wasm::properties::ConnectionProperties;
use tidegate::wasm::stream::{Direction, StreamAction, StreamRef};
use tidegate::wasm::{CalloutResponse, CalloutResult, Capability, Effect, Vm};

use crate::bench::{Bench, ROOT, get, logged, respond};
use crate::guest::{Dump, Guest, OUT, write_pairs};

const ON: &str = "proxy_on_request_headers";
const ON_RESPONSE: &str = "proxy_on_response_headers";

fn names(texts: &[&str]) -> Names {
    Names::new(texts.iter().map(|text| (*text).to_owned())).expect("they are names")
}

fn reads(headers: &[&str]) -> Capabilities {
    Capabilities { headers: Access { read: names(headers), ..Access::default() }, ..nothing() }
}

fn writes(headers: &[&str]) -> Capabilities {
    Capabilities { headers: Access { read: names(&["*"]), write: names(headers) }, ..nothing() }
}

/// Nothing, except what guests of these tests show their memory by.
fn nothing() -> Capabilities {
    Capabilities {
        properties: Access { read: Names::default(), write: names(&["dump"]) },
        ..Capabilities::default()
    }
}

fn bench(capabilities: Capabilities) -> Bench {
    let mut bench = Bench::new();
    bench.filter.capabilities = Grant::Only(Box::new(capabilities));
    bench
}

/// How often something was denied on this bench.
fn denials(bench: &Bench, capability: Capability) -> u64 {
    bench.services.usage.denials(capability)
}

/// All that was denied on this bench.
fn denied(bench: &Bench) -> Vec<(&'static str, u64)> {
    let counts = Capability::ALL.iter().map(|one| (one.name(), denials(bench, *one)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Plays the guest's request headers on this stream.
fn show(bench: &Bench, guest: &Guest, stream: &StreamRef) -> (Vm, Dump) {
    let mut vm = bench.start(guest);
    let context = vm.open(ROOT, stream, 0).expect("nothing in it fails");
    vm.on_headers(context, Direction::Request, true).unwrap_or_else(|fault| panic!("{fault}"));
    (vm, Dump::of(stream))
}

fn header(guest: &mut Guest, map: i64, name: &str, out: i64) -> usize {
    let name = guest.text(name);
    guest.call(ON, "proxy_get_header_map_value", &[map, name.0, name.1, out, out + 4])
}

fn change(guest: &mut Guest, hostcall: &'static str, name: &str, value: &str) -> usize {
    let (name, value) = (guest.text(name), guest.text(value));
    match hostcall {
        "proxy_remove_header_map_value" => guest.call(ON, hostcall, &[0, name.0, name.1]),
        _ => guest.call(ON, hostcall, &[0, name.0, name.1, value.0, value.1]),
    }
}

fn property(guest: &mut Guest, path: &str, out: i64) -> usize {
    let path = guest.text(path.replace('.', "\0"));
    guest.call(ON, "proxy_get_property", &[path.0, path.1, out, out + 4])
}

#[test]
fn a_filter_whose_configuration_says_nothing_may_do_everything() {
    let mut guest = Guest::new();
    let slots = [
        header(&mut guest, 0, "x-twice", OUT),
        property(&mut guest, "source.address", OUT + 8),
        change(&mut guest, "proxy_add_header_map_value", "x-own", "1"),
    ];
    let bench = Bench::new();
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0; 3]);
    assert_eq!(denied(&bench), []);
}

#[test]
fn a_header_that_is_not_granted_is_not_there() {
    let mut guest = Guest::new();
    let granted = ["x-twice", "X-Twice", ":path", "host", ":authority"];
    let denied = ["x-empty", ":method", "x-twice2", "x-nowhere", ""];
    let seen = granted.map(|name| header(&mut guest, 0, name, OUT));
    let unseen = denied.map(|name| header(&mut guest, 0, name, OUT + 8));
    let bench = bench(reads(&["x-twice", ":path", ":authority"]));
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(seen), [0; 5]);
    assert_eq!(dump.statuses(unseen), [1; 5]);
    assert_eq!(denials(&bench, Capability::HeadersRead), 5);
}

#[test]
fn a_map_and_its_size_and_its_count_show_what_is_granted() {
    let mut guest = Guest::new();
    guest.code(ON, &format!("i32.const {OUT} local.get 1 i32.store"));
    let pairs = guest.call(ON, "proxy_get_header_map_pairs", &[0, OUT + 8, OUT + 12]);
    let size = guest.call(ON, "proxy_get_header_map_size", &[0, OUT + 16]);
    let bench = bench(reads(&["x-t*", ":path"]));
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses([pairs, size]), [0; 2]);
    let shown = [(":path", "/path?query"), ("x-twice", "one"), ("x-twice", "two")];
    assert_eq!(dump.pairs(OUT + 8), shown.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(dump.word(OUT), 3, "how many the callback is told of");
    let size_of_shown: usize = shown.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert_eq!(dump.word(OUT + 16) as usize, size_of_shown);
    assert_eq!(denied(&bench), [], "to ask for what there is is no attempt on the rest");

    let none = self::bench(nothing());
    let (_, _, dump) = none.on_request_headers(&guest);
    assert_eq!((dump.status(pairs), dump.word(OUT + 8), dump.word(OUT + 12)), (0, 0, 0));
}

#[test]
fn trailers_and_responses_are_headers_too() {
    let mut guest = Guest::new();
    let slots = [1, 2, 3].map(|map| header(&mut guest, map, "x-secret", OUT));
    let fine = [1, 2, 3].map(|map| header(&mut guest, map, "x-open", OUT));
    let stream = get("/");
    let fields = [("x-secret", "1"), ("x-open", "1")];
    respond(&stream, 200, &fields);
    let trailers: HeaderMap = fields
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    stream.borrow_mut().set_trailers(Direction::Request, trailers.clone());
    stream.borrow_mut().set_trailers(Direction::Response, trailers);
    let (_, dump) = show(&bench(reads(&["x-open"])), &guest, &stream);
    assert_eq!(dump.statuses(slots), [1; 3]);
    assert_eq!(dump.statuses(fine), [0; 3]);
}

#[test]
fn a_header_has_no_other_way_out_by_properties() {
    let mut guest = Guest::new();
    let hidden = [
        "request.headers.x-empty",
        "request.headers.X-EMPTY",
        "request.headers_bytes.x-empty",
        "request.headers.:path",
        "request.headers.host",
        "request.path",
        "request.url_path",
        "request.query",
        "request.host",
        "request.method",
        "request.scheme",
        "request.referer",
        "request.useragent",
        "request.id",
        "response.headers.x-empty",
        "response.trailers.x-empty",
        "response.code",
        "response.grpc_status",
        "wasm.request.headers.x-empty",
        "filter_state.wasm.request.headers.x-empty",
    ];
    let slots = hidden.map(|path| property(&mut guest, path, OUT));
    let map = property(&mut guest, "request.headers", OUT + 8);
    let map_of_response = property(&mut guest, "response.headers", OUT + 16);
    let stream = get("/secret?a");
    respond(&stream, 200, &[("x-empty", "1"), ("x-twice", "3")]);
    let bench = bench(reads(&["x-twice"]));
    let (_, dump) = show(&bench, &guest, &stream);
    assert_eq!(dump.statuses(slots), [1; 20]);
    assert_eq!(dump.statuses([map, map_of_response]), [0; 2]);
    assert_eq!(dump.pairs(OUT + 8), [("x-twice".to_owned(), "one,two".to_owned())]);
    assert_eq!(dump.pairs(OUT + 16), [("x-twice".to_owned(), "3".to_owned())]);
}

#[test]
fn a_property_is_granted_by_its_name_or_as_the_header_that_it_shows() {
    let mut guest = Guest::new();
    let granted =
        ["source.address", "xds.route_name", "route_name", "request.path", "request.host", "plugin_name"];
    let others =
        ["source.port", "xds.cluster_name", "cluster_name", "connection_id", "request.headers.x-empty"];
    let seen = granted.map(|path| property(&mut guest, path, OUT));
    let unseen = others.map(|path| property(&mut guest, path, OUT + 8));
    let mut capabilities = reads(&[":authority"]);
    capabilities.properties.read = names(&["source.address", "xds.route_*", "request.*"]);
    let bench = bench(capabilities);
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(seen), [0; 6]);
    assert_eq!(dump.statuses(unseen), [1; 5]);
    assert_eq!(denied(&bench), [("headers.read", 1), ("properties.read", 4)]);
}

#[test]
fn a_property_that_may_not_be_written_stays_as_it_was() {
    let mut guest = Guest::new();
    let (mine, theirs, value) = (guest.text("mine\0a"), guest.text("theirs"), guest.text("new"));
    let set = |guest: &mut Guest, path: (i64, i64)| {
        guest.call(ON, "proxy_set_property", &[path.0, path.1, value.0, value.1])
    };
    let slots = [set(&mut guest, mine), set(&mut guest, theirs)];
    let mut capabilities = nothing();
    capabilities.properties.write = names(&["dump", "mine.*"]);
    let bench = bench(capabilities);
    let (_, stream, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0; 2], "SDKs do not know that this can fail");
    let stream = stream.borrow();
    assert_eq!(stream.properties[b"mine\0a"], "new");
    assert!(stream.properties.get(b"theirs").is_none());
    assert_eq!(denied(&bench), [("properties.write", 1)]);
}

#[test]
fn a_header_that_may_not_be_written_stays_as_it_was() {
    let mut guest = Guest::new();
    let slots = [
        change(&mut guest, "proxy_add_header_map_value", "x-new", "1"),
        change(&mut guest, "proxy_replace_header_map_value", "X-Twice", "1"),
        change(&mut guest, "proxy_replace_header_map_value", ":path", "/other"),
        change(&mut guest, "proxy_replace_header_map_value", "host", "other"),
        change(&mut guest, "proxy_remove_header_map_value", "x-empty", ""),
        change(&mut guest, "proxy_add_header_map_value", "x-mine", "1"),
    ];
    let bench = bench(writes(&["x-mine"]));
    let (_, stream, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0; 6], "SDKs do not know that this can fail");
    let stream = stream.borrow();
    let head = &stream.request;
    assert_eq!(head.uri, "/path?query");
    assert_eq!(head.headers["host"], "example.com");
    assert_eq!(head.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert!(head.headers.contains_key("x-empty") && !head.headers.contains_key("x-new"));
    assert_eq!(head.headers["x-mine"], "1");
    assert_eq!(denials(&bench, Capability::HeadersWrite), 5);
}

#[test]
fn a_map_that_is_set_keeps_what_may_not_be_written() {
    let mut guest = Guest::new();
    let given = [(":path", "/other"), ("x-mine", "new"), ("x-twice", "one"), ("x-new", "1")];
    let pairs = guest.text(write_pairs(&given));
    let slot = guest.call(ON, "proxy_set_header_map_pairs", &[0, pairs.0, pairs.1]);
    let stream = get("/path");
    stream.borrow_mut().request.headers.insert("x-mine", http::HeaderValue::from_static("old"));
    let bench = bench(writes(&["x-mine", "x-gone"]));
    let (_, dump) = show(&bench, &guest, &stream);
    assert_eq!(dump.status(slot), 0);
    let stream = stream.borrow();
    let head = &stream.request;
    assert_eq!((head.uri.path(), &head.headers["host"]), ("/path", &"example.com".parse().expect("a value")));
    assert_eq!(head.headers["x-mine"], "new");
    assert_eq!(head.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert!(head.headers.contains_key("x-empty") && !head.headers.contains_key("x-new"));
    assert_eq!(denied(&bench), [("headers.write", 1)]);

    // What is given back as it was is no attempt to change it.
    let mut guest = Guest::new();
    let same = [(":path", "/path"), (":authority", "example.com"), ("x-twice", "one"), ("x-twice", "two")];
    let pairs = guest.text(write_pairs(&same));
    guest.call(ON, "proxy_set_header_map_pairs", &[0, pairs.0, pairs.1]);
    let bench = self::bench(writes(&[]));
    show(&bench, &guest, &get("/path"));
    assert_eq!(denied(&bench), []);
}

#[test]
fn a_body_is_read_and_written_only_where_that_is_granted() {
    const SEES: &str = "proxy_on_request_body";
    for (access, seen, body) in [
        (BodyAccess::None, [1, 1, 0], "body"),
        (BodyAccess::Read, [0, 0, 0], "body"),
        (BodyAccess::Write, [0, 0, 0], "new"),
    ] {
        let mut guest = Guest::new();
        let value = guest.text("new");
        let slots = [
            guest.call(SEES, "proxy_get_buffer_bytes", &[0, 0, 100, OUT, OUT + 4]),
            guest.call(SEES, "proxy_get_buffer_status", &[0, OUT + 8, OUT + 12]),
            guest.call(SEES, "proxy_set_buffer_bytes", &[0, 0, -1, value.0, value.1]),
        ];
        let config = guest.call(SEES, "proxy_get_buffer_bytes", &[7, 0, 100, OUT + 16, OUT + 20]);
        let bench = bench(Capabilities { body: access, ..nothing() });
        let mut vm = bench.start(&guest);
        let stream = get("/");
        stream.borrow_mut().stages[0].request_body.push("body".into());
        let context = vm.open(ROOT, &stream, 0).expect("nothing in it fails");
        vm.on_body(context, Direction::Request, true).unwrap_or_else(|fault| panic!("{fault}"));
        let dump = Dump::of(&stream);
        assert_eq!(dump.statuses(slots), seen, "{access:?}");
        assert_eq!(dump.status(config), 0, "its own configuration is no body");
        let mut held = vec![0; body.len()];
        let stream = stream.borrow();
        assert_eq!(stream.stages[0].request_body.len(), body.len());
        stream.stages[0].request_body.copy_range(0, &mut held);
        assert_eq!(held, body.as_bytes(), "{access:?}");
    }
}

#[test]
fn a_body_has_no_other_way_in_by_injection() {
    let mut guest = Guest::new();
    let data = guest.text("injected");
    let name = guest.text("inject_encoded_data_to_filter_chain");
    let message = guest.text([&[0x0a, 8][..], b"injected"].concat());
    let slots = [
        guest.call(ON_RESPONSE, "proxy_inject_encoded_data_to_filter_chain", &[data.0, data.1, 1]),
        guest.call(ON_RESPONSE, "proxy_call_foreign_function", &[name.0, name.1, message.0, message.1, 0, 0]),
    ];
    let bench = bench(Capabilities { body: BodyAccess::Read, ..nothing() });
    let mut vm = bench.start(&guest);
    let stream = get("/");
    respond(&stream, 200, &[]);
    let context = vm.open(ROOT, &stream, 0).expect("nothing in it fails");
    vm.on_headers(context, Direction::Response, false).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(Dump::of(&stream).statuses(slots), [2; 2]);
    assert_eq!(stream.borrow().stages[0].injection.data.len(), 0);
    assert_eq!(denied(&bench), [("body.write", 2)]);
}

#[test]
fn a_cluster_that_may_not_be_called_is_as_one_that_is_not_there() {
    let mut guest = Guest::new();
    let head = guest.text(write_pairs(&[(":method", "GET"), (":path", "/"), (":authority", "a")]));
    let service = (guest.text("a.Service"), guest.text("Do"));
    let call = |guest: &mut Guest, cluster: &[u8]| {
        let cluster = guest.text(cluster);
        let (service, method) = service;
        let http = [cluster.0, cluster.1, head.0, head.1, 0, 0, 0, 0, 100, OUT];
        let grpc = [cluster.0, cluster.1, service.0, service.1, method.0, method.1, 0, 0, OUT + 4];
        [guest.call(ON, "proxy_http_call", &http), guest.call(ON, "proxy_grpc_stream", &grpc)]
    };
    // The same cluster by Envoy's message: envoy_grpc {cluster_name: "api"}
    let inline = b"\x0a\x05\x0a\x03api";
    let slots = [call(&mut guest, b"api"), call(&mut guest, b"nowhere"), call(&mut guest, inline)];
    let bench = bench(Capabilities { clusters: names(&["auth"]), ..nothing() });
    let (mut vm, _, dump) = bench.on_request_headers(&guest);
    for [http, grpc] in slots {
        assert_eq!(dump.statuses([http, grpc]), [2, 4]);
    }
    assert!(vm.take_effects().is_empty());
    assert_eq!(denied(&bench), [("clusters", 3)], "one that is not there is not denied");

    let bench = self::bench(Capabilities { clusters: names(&["a*"]), ..nothing() });
    let (mut vm, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses([slots[0][0], slots[0][1], slots[2][1]]), [0; 3]);
    assert!(matches!(
        vm.take_effects()[..],
        [(_, Effect::HttpCall(..)), (_, Effect::Grpc(_)), (_, Effect::Grpc(_))]
    ));
}

#[test]
fn what_a_callout_was_answered_is_the_filters_own() {
    const HEARS: &str = "proxy_on_http_call_response";
    let mut guest = Guest::new();
    let (cluster, name) = (guest.text("api"), guest.text("x-any"));
    let head = guest.text(write_pairs(&[(":method", "GET"), (":path", "/"), (":authority", "a")]));
    guest.call(ON, "proxy_http_call", &[cluster.0, cluster.1, head.0, head.1, 0, 0, 0, 0, 100, OUT]);
    let slots = [
        guest.call(HEARS, "proxy_get_header_map_pairs", &[6, OUT, OUT + 4]),
        guest.call(HEARS, "proxy_get_header_map_value", &[6, name.0, name.1, OUT + 8, OUT + 12]),
        guest.call(HEARS, "proxy_get_buffer_bytes", &[4, 0, 9, OUT + 16, OUT + 20]),
        guest.call(HEARS, "proxy_get_status", &[OUT + 24, OUT + 28, OUT + 32]),
        guest.call(HEARS, "proxy_set_effective_context", &[2]),
    ];
    let bench = bench(Capabilities { clusters: names(&["api"]), ..nothing() });
    let (mut vm, stream, _) = bench.on_request_headers(&guest);
    let [(_, Effect::HttpCall(call, _))] = &vm.take_effects()[..] else { panic!("it called") };
    let mut headers = HeaderMap::new();
    headers.insert("x-any", http::HeaderValue::from_static("value"));
    let response =
        CalloutResponse { status: http::StatusCode::OK, headers, body: "answer".into(), trailers: None };
    vm.on_http_call_response(call.token, CalloutResult::Response(response)).expect("nothing fails");
    let dump = Dump::of(&stream);
    assert_eq!(dump.statuses(slots), [0; 5]);
    assert_eq!((dump.value(OUT + 8), dump.value(OUT + 16)), (&b"value"[..], &b"answer"[..]));
    assert_eq!(denied(&bench), []);
}

#[test]
fn endpoints_are_chosen_among_those_of_a_cluster_that_may_be_called() {
    let mut guest = Guest::new();
    let address = guest.text("192.0.2.1:80");
    let slots = [
        guest.call(ON, "proxy_get_upstream_hosts", &[OUT, OUT + 4]),
        guest.call(ON, "proxy_set_upstream_override_host", &[address.0, address.1]),
    ];
    for (clusters, statuses, chosen) in [(&["api"][..], [0, 0], true), (&["other"], [1, 2], false)] {
        let stream = get("/");
        stream.borrow_mut().info.cluster_name = Some("api".into());
        let (_, dump) =
            show(&bench(Capabilities { clusters: names(clusters), ..nothing() }), &guest, &stream);
        assert_eq!(dump.statuses(slots), statuses);
        assert_eq!(stream.borrow().preferred_endpoint.is_some(), chosen);
    }
}

#[test]
fn a_reply_that_is_not_granted_still_ends_the_exchange_and_says_nothing_of_the_filters() {
    let mut guest = Guest::new();
    let (details, body) = (guest.text("details"), guest.text("body"));
    let fields = guest.text(write_pairs(&[("x-granted", "1"), ("x-other", "2")]));
    let args = [403, details.0, details.1, body.0, body.1, fields.0, fields.1, -1];
    let slot = guest.call(ON, "proxy_send_local_response", &args);
    let replied = |capabilities| {
        let bench = bench(capabilities);
        let (_, stream, dump) = bench.on_request_headers(&guest);
        assert_eq!(dump.status(slot), 0);
        let (_, action) = stream.borrow_mut().take_action(|_, _| true).expect("it replied");
        let StreamAction::Reply(reply) = action else { panic!("{action:?}") };
        (reply, denied(&bench))
    };
    let (reply, counted) = replied(nothing());
    assert_eq!((reply.status.as_u16(), reply.is_granted, reply.body.len()), (503, false, 0));
    assert!(reply.headers.is_empty());
    assert_eq!(counted, [("reply", 1)]);

    let (reply, counted) = replied(Capabilities { reply: true, ..writes(&["x-granted"]) });
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (403, &b"body"[..]));
    assert_eq!(reply.headers.keys().collect::<Vec<_>>(), ["x-granted"]);
    assert_eq!(counted, [("headers.write", 1)]);
}

#[test]
fn shared_data_and_cells_are_granted_by_their_keys() {
    let mut guest = Guest::new();
    let value = guest.text("1");
    let add = guest.text("tidegate.counter.add");
    let calls = |guest: &mut Guest, key: &str| {
        let arguments = guest.text([&1i64.to_le_bytes()[..], &0u64.to_le_bytes(), key.as_bytes()].concat());
        let key = guest.text(key);
        [
            guest.call(ON, "proxy_set_shared_data", &[key.0, key.1, value.0, value.1, 0]),
            guest.call(ON, "proxy_get_shared_data", &[key.0, key.1, OUT, OUT + 4, OUT + 8]),
            guest.call(ON, "proxy_call_foreign_function", &[add.0, add.1, arguments.0, arguments.1, 0, 0]),
        ]
    };
    let (mine, theirs) = (calls(&mut guest, "mine/a"), calls(&mut guest, "theirs/a"));
    let bench = bench(Capabilities { shared_data: names(&["mine/*"]), ..nothing() });
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(mine), [0; 3]);
    assert_eq!(dump.statuses(theirs), [8, 1, 10]);
    assert_eq!(denied(&bench), [("shared_data", 3)]);

    let mut reader = Guest::new();
    let key = reader.text("theirs/a");
    let read = reader.call(ON, "proxy_get_shared_data", &[key.0, key.1, OUT, OUT + 4, OUT + 8]);
    let unrestricted = Bench { services: bench.services.clone(), ..Bench::new() };
    assert_eq!(unrestricted.on_request_headers(&reader).2.status(read), 1, "nothing was written");
}

#[test]
fn a_queue_is_granted_by_its_name_and_not_reached_by_its_number() {
    let other = Bench::new();
    let mut owner = Guest::new();
    let theirs = owner.text("theirs");
    owner.call(ON, "proxy_register_shared_queue", &[theirs.0, theirs.1, OUT]);
    let (_owner, _, dump) = other.on_request_headers(&owner);
    let id = i64::from(dump.word(OUT));

    let mut guest = Guest::new();
    let (mine, theirs, vm, item) =
        (guest.text("mine"), guest.text("theirs"), guest.text("the-vm"), guest.text("item"));
    let slots = [
        guest.call(ON, "proxy_register_shared_queue", &[mine.0, mine.1, OUT]),
        guest.call(ON, "proxy_register_shared_queue", &[theirs.0, theirs.1, OUT + 4]),
        guest.call(ON, "proxy_resolve_shared_queue", &[0, 0, theirs.0, theirs.1, OUT + 8]),
        guest.call(ON, "proxy_resolve_shared_queue", &[vm.0, vm.1, theirs.0, theirs.1, OUT + 8]),
        guest.call(ON, "proxy_enqueue_shared_queue", &[id, item.0, item.1]),
        guest.call(ON, "proxy_dequeue_shared_queue", &[id, OUT + 12, OUT + 16]),
        guest.call(ON, "proxy_enqueue_shared_queue", &[0, item.0, item.1]),
    ];
    let mut bench = bench(Capabilities { shared_data: names(&["mine"]), ..nothing() });
    bench.services = other.services.clone();
    let (_vm, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 0, 1, 1, 1, 1, 1]);
    assert_ne!(dump.word(OUT), 0);
    assert_eq!(dump.word(OUT + 4), 0, "what was not granted has no number");
}

#[test]
fn a_metric_that_is_not_granted_leads_nowhere() {
    let mut guest = Guest::new();
    let (mine, other) = (guest.text("mine_total"), guest.text("other_total"));
    let slots = [
        guest.call(ON, "proxy_define_metric", &[0, mine.0, mine.1, OUT]),
        guest.call(ON, "proxy_define_metric", &[0, other.0, other.1, OUT + 4]),
        guest.call(ON, "proxy_increment_metric", &[0, 5]),
        guest.call(ON, "proxy_record_metric", &[0, 5]),
        guest.call(ON, "proxy_get_metric", &[0, OUT + 8]),
    ];
    let bench = bench(Capabilities { metrics: names(&["mine_*"]), ..nothing() });
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0; 5]);
    assert_eq!((dump.word(OUT), dump.word(OUT + 4), dump.double_word(OUT + 8)), (4, 0, 0));
    assert_eq!(bench.services.metrics.collect().len(), 1);
    assert_eq!(denied(&bench), [("metrics", 1)]);
}

#[test]
fn what_is_logged_below_the_floor_is_not_taken() {
    let mut guest = Guest::new();
    let texts = [guest.text("an info"), guest.text("a warning")];
    let slots = [
        guest.call(ON, "proxy_log", &[2, texts[0].0, texts[0].1]),
        guest.call(ON, "proxy_log", &[3, texts[1].0, texts[1].1]),
        guest.call(ON, "proxy_get_log_level", &[OUT]),
    ];
    let lines = logged(|| {
        let bench = bench(Capabilities { log: LogFloor::Warn, ..nothing() });
        let (_, _, dump) = bench.on_request_headers(&guest);
        assert_eq!(dump.statuses(slots), [0; 3]);
        assert_eq!(dump.word(OUT), 3, "the guest is told");
        assert_eq!(denied(&bench), [], "it is no attempt on anything");
    });
    assert!(lines.iter().any(|line| line.contains("a warning")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("an info")), "{lines:#?}");
}

#[test]
fn hostcalls_that_are_left_out_do_nothing_that_a_guest_would_not_survive() {
    let mut guest = Guest::new();
    let (name, value) = (guest.text("x-twice"), guest.text("v"));
    let path = guest.text("source\0address");
    let compress = guest.text("compress");
    let slots = [
        guest.call(ON, "proxy_get_header_map_value", &[0, name.0, name.1, OUT, OUT + 4]),
        guest.call(ON, "proxy_get_header_map_pairs", &[0, OUT + 8, OUT + 12]),
        guest.call(ON, "proxy_add_header_map_value", &[0, name.0, name.1, value.0, value.1]),
        guest.call(ON, "proxy_get_property", &[path.0, path.1, OUT + 16, OUT + 20]),
        guest.call(ON, "proxy_define_metric", &[0, name.0, name.1, OUT + 24]),
        guest.call(ON, "proxy_call_foreign_function", &[compress.0, compress.1, value.0, value.1, 0, 0]),
        guest.call(ON, "proxy_get_current_time_nanoseconds", &[OUT + 32]),
    ];
    let everything = Capabilities {
        headers: Access { read: Names::all(), write: Names::all() },
        properties: Access { read: Names::all(), write: Names::all() },
        metrics: Names::all(),
        ..Capabilities::default()
    };
    let left = ["proxy_set_property", "proxy_get_p*", "tidegate.*"];
    let bench = bench(Capabilities { hostcalls: Some(names(&left)), ..everything.clone() });
    let (_, stream, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [1, 0, 0, 0, 0, 1, 0]);
    assert_eq!([OUT + 8, OUT + 12, OUT + 24].map(|at| dump.word(at)), [0; 3]);
    assert_eq!(stream.borrow().request.headers.get_all("x-twice").iter().count(), 2);
    assert_eq!(denied(&bench), [("hostcalls", 5)]);

    for names in
        [&["proxy_set_property", "compress"][..], &["proxy_set_property", "proxy_call_foreign_function"]]
    {
        let bench = self::bench(Capabilities { hostcalls: Some(self::names(names)), ..everything.clone() });
        assert_eq!(bench.on_request_headers(&guest).2.status(slots[5]), 0, "{names:?}");
    }
}

#[test]
fn another_context_of_the_same_guest_is_no_way_around() {
    const TICK: &str = "proxy_on_tick";
    let mut guest = Guest::new();
    let name = guest.text("x-twice");
    guest.call(ON, "proxy_log", &[0, 0, 0]);
    let chosen = guest.call(TICK, "proxy_set_effective_context", &[2]);
    let read = guest.call(TICK, "proxy_get_header_map_value", &[0, name.0, name.1, OUT, OUT + 4]);
    let bench = bench(nothing());
    let (mut vm, stream, _) = bench.on_request_headers(&guest);
    vm.on_tick(ROOT).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(Dump::of(&stream).statuses([chosen, read]), [0, 1]);
    assert_eq!(denied(&bench), [("headers.read", 1)]);
}

#[test]
fn filters_that_may_do_different_things_do_not_share_a_vm() {
    let guest = Guest::new();
    let mut bench = Bench::new();
    let free = bench.plugin(&guest);
    let same = tidegate::wasm::Plugin::new(Arc::new(bench.filter.clone()), free.module().clone());
    bench.filter.capabilities = Grant::Only(Box::new(nothing()));
    let restricted = tidegate::wasm::Plugin::new(Arc::new(bench.filter.clone()), free.module().clone());
    assert!(free.shares(&same));
    assert!(!free.shares(&restricted), "one memory is no place for a boundary");
}

#[test]
fn declared_and_lasting_properties_are_written_only_where_that_is_granted() {
    let message = |number: u8, text: &str| [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat();
    let mut guest = Guest::new();
    let (declare, set) = (guest.text("declare_property"), guest.text("set_envoy_filter_state"));
    let declared = guest.text(message(1, "theirs"));
    let state = guest.text([message(1, "envoy.string"), message(2, "v")].concat());
    let call = "proxy_call_foreign_function";
    let of_root =
        guest.call("proxy_on_configure", call, &[declare.0, declare.1, declared.0, declared.1, 0, 0]);
    let of_stream = guest.call(ON, call, &[set.0, set.1, state.0, state.1, 0, 0]);
    let bench = bench(nothing());
    let stream = get("/");
    stream.borrow_mut().connection = Some(Arc::new(ConnectionProperties::default()));
    let (_, dump) = show(&bench, &guest, &stream);
    assert_eq!(dump.statuses([of_root, of_stream]), [1; 2]);
    assert_eq!(denied(&bench), [("properties.write", 2)]);
}

#[test]
fn a_denial_is_logged_once_a_minute_and_says_what_would_grant_it() {
    let mut guest = Guest::new();
    header(&mut guest, 0, "cookie", OUT);
    header(&mut guest, 0, "authorization", OUT);
    let bench = bench(nothing());
    let mut vm = bench.start(&guest);
    let mut play = || {
        logged(|| {
            let context = vm.open(ROOT, &get("/"), 0).expect("nothing in it fails");
            vm.on_headers(context, Direction::Request, true).unwrap_or_else(|fault| panic!("{fault}"));
        })
    };
    let lines = play();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = &lines[0];
    let says = "it may not read the header `cookie`: `capabilities.headers.read` does not grant it";
    assert!(line.starts_with("WARN") && line.contains(says) && line.contains("tested"), "{line}");
    assert_eq!(play(), [] as [String; 0]);
    bench.clock.advance(Duration::from_secs(60));
    let lines = play();
    assert!(lines.len() == 1 && lines[0].contains("(3 more denials since the last line)"), "{lines:#?}");
    assert_eq!(denials(&bench, Capability::HeadersRead), 6);
}

/// A guest with this in its section, which asks for two headers in its request's callback.
fn with_manifest(section: &str) -> (Guest, [usize; 2]) {
    let mut guest = Guest::new();
    let slots = [header(&mut guest, 0, "x-twice", OUT), header(&mut guest, 0, "x-empty", OUT)];
    guest.field(&format!(
        "(@custom \"tidegate.manifest\" \"{}\")",
        section.replace('"', "\\\"").replace('\n', " ")
    ));
    (guest, slots)
}

#[test]
fn what_a_manifest_asks_for_may_be_what_is_granted() {
    let (guest, slots) = with_manifest(
        r#"{"manifest": 1, "name": "a", "version": "2", "capabilities":
            {"headers": {"read": ["X-Twice"]}, "properties": {"write": ["dump"]}}}"#,
    );
    let mut bench = Bench::new();
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0; 2], "it asks and grants nothing by itself");
    bench.filter.capabilities = Grant::Manifest;
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 1]);
}

#[test]
fn a_manifest_that_cannot_be_read_grants_nothing() {
    let whole = r#"{"manifest": 1, "name": "a", "version": "2", "capabilities": {}}"#;
    let broken = [
        "",
        "{}",
        "[1]",
        &whole[1..],
        &whole[..whole.len() - 1],
        &format!("{whole}{whole}"),
        &whole.replace("1", "2"),
        &whole.replace("{}", r#"{"header": {}}"#),
        &whole.replace("{}", r#"{"clusters": [""]}"#),
        &whole.replace("{}", r#"{"body": "all"}"#),
        &whole.replace("{}", &format!(r#"{{"metrics": ["{}"]}}"#, "m".repeat(300))),
        &" ".repeat((64 << 10) + 1),
    ];
    for section in broken {
        let (guest, _) = with_manifest(section);
        let mut bench = Bench::new();
        bench.filter.capabilities = Grant::Manifest;
        let plugin = bench.plugin(&guest);
        let module = plugin.module();
        assert!(module.manifest().is_none() && module.manifest_error().is_some(), "{section}");
        let (_, stream) = bench.on_request_headers_undumped(&guest);
        assert!(stream.borrow().properties.get(b"dump").is_none(), "{section}");
    }
    let (guest, _) = with_manifest(whole);
    assert!(Bench::new().plugin(&guest).module().manifest().is_some());
}
