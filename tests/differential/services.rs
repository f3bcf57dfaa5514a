//! What a host gives to guests beside the exchange: properties, shared data, metrics, the clock, the environment.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Answer, Guest, On, Step};

use super::{Case, Route};

#[test]
fn properties_of_the_request() {
    let read = || {
        [
            "request.path",
            "request.url_path",
            "request.query",
            "request.host",
            "request.scheme",
            "request.method",
            "request.protocol",
            "request.referer",
            "request.useragent",
            "request.headers.x-one",
            "request.headers.x-two",
            "request.headers.missing",
            "request.size",
            "request.missing",
            "missing",
            "plugin_name",
            "plugin_root_id",
            "plugin_vm_id",
        ]
        .map(Step::property)
    };
    let sizes = || {
        [
            "request.time",
            "request.id",
            "source.address",
            "source.port",
            "destination.port",
            "connection.id",
            "connection_id",
        ]
        .map(Step::property_size)
    };
    let guest = Guest::logger().on(On::RequestHeaders, read()).on(On::RequestHeaders, sizes());
    let fields =
        [("referer", "http://r.test/"), ("user-agent", "ua"), ("x-one", "1"), ("x-two", "a"), ("x-two", "b")];
    let named = |mut filter: super::Filter| {
        filter.root_id = "a-root".to_owned();
        filter.vm_id = "a-vm".to_owned();
        filter
    };
    Case::new("request properties").filter_with("props", &guest, named).run(|stage| {
        stage.request("POST", "/a/b?c=d", &fields, "body");
    });
}

#[test]
fn properties_of_the_response_and_the_upstream() {
    let read = || {
        [
            "response.code",
            "response.headers.x-down",
            "response.code_details",
            "response.flags",
            "xds.route_name",
            "xds.cluster_name",
            "xds.listener_direction",
        ]
        .map(Step::property)
    };
    let sizes = || {
        ["upstream.address", "upstream.port", "upstream.local_address", "response.size"]
            .map(Step::property_size)
    };
    let guest = Guest::logger()
        .on(On::RequestHeaders, read())
        .on(On::ResponseHeaders, read())
        .on(On::Log, read())
        .on(
            On::Log,
            ["response.size", "response.total_size", "request.total_size", "request.duration"]
                .map(Step::property_size),
        );
    let guest = guest.on(On::RequestHeaders, sizes()).on(On::ResponseHeaders, []);
    let upstream = |_: &_| Answer::chunked(201, &[("x-down", "1")], &["hello"], &[]);
    let route = Route { name: Some("a-route".to_owned()), ..Route::default() };
    Case::new("response properties").upstream(upstream).route(route).filter("props", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn the_roots_that_envoy_has_no_more() {
    let read = ["cluster_name", "route_name", "listener_direction"].map(Step::property);
    let guest = Guest::logger().on(On::ResponseHeaders, read);
    let route = Route { name: Some("a-route".to_owned()), ..Route::default() };
    Case::new("legacy roots").route(route).filter("props", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_property_that_a_guest_sets_is_read_by_the_next() {
    let path = || vec!["custom".to_owned(), "key".to_owned()];
    let setting = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::SetProperty(vec!["simple".to_owned()], "one".to_owned()),
            Step::SetProperty(path(), "two".to_owned()),
            Step::property("simple"),
        ],
    );
    let reading = Guest::logger()
        .on(On::RequestHeaders, [Step::property("simple"), Step::Property(path())])
        .on(On::ResponseHeaders, [Step::property("simple")]);
    Case::new("set property").filter("setting", &setting).filter("reading", &reading).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn shared_data_is_compared_before_it_is_set() {
    let text = |text: &str| text.to_owned();
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::SharedGet(text("k")),
            Step::SharedSet(text("k"), text("one"), None),
            Step::SharedGet(text("k")),
            Step::SharedSet(text("k"), text("two"), Some(0)),
            Step::SharedSet(text("k"), text("stale"), Some(0)),
            Step::SharedGet(text("k")),
            Step::SharedSet(text("k"), text("wrong"), Some(1000)),
            Step::SharedSet(text("new"), text("with a cas"), Some(5)),
            Step::SharedGet(text("new")),
            Step::SharedSet(text("k"), text(""), None),
            Step::SharedGet(text("k")),
        ],
    );
    Case::new("shared data").filter("shared", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn filters_with_one_vm_id_share_data_and_others_do_not() {
    let text = |text: &str| text.to_owned();
    let writing = Guest::logger().on(On::RequestHeaders, [Step::SharedSet(text("k"), text("from a"), None)]);
    let reading = Guest::logger().on(On::RequestHeaders, [Step::SharedGet(text("k"))]);
    let vm = |id: &'static str| {
        move |mut filter: super::Filter| {
            filter.vm_id = id.to_owned();
            filter
        }
    };
    Case::new("shared by vm")
        .filter_with("writer", &writing, vm("one"))
        .filter_with("same", &reading, vm("one"))
        .filter_with("other", &reading, vm("two"))
        .run(|stage| {
            stage.get("/");
        });
}

#[test]
fn metrics_count_set_and_refuse() {
    let define = |kind, name: &str, slot| Step::DefineMetric(kind, name.to_owned(), slot);
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            define(0, "a_counter", 0),
            define(1, "a_gauge", 1),
            define(2, "a_histogram", 2),
            define(9, "no kind", 3),
            Step::IncrementMetric(0, 5),
            Step::IncrementMetric(0, -1),
            Step::RecordMetric(0, 2),
            Step::GetMetric(0),
            Step::IncrementMetric(1, 5),
            Step::IncrementMetric(1, -2),
            Step::GetMetric(1),
            Step::RecordMetric(1, 40),
            Step::GetMetric(1),
            Step::RecordMetric(2, 7),
            Step::IncrementMetric(2, 1),
            Step::GetMetric(2),
            Step::GetMetric(50),
            Step::IncrementMetric(50, 1),
            define(0, "a_counter", 4),
            Step::IncrementMetric(4, 1),
            Step::GetMetric(0),
        ],
    );
    Case::new("metrics").filter("metrics", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_line_is_logged_at_the_level_that_the_guest_says() {
    let words = ["trace", "debug", "info", "warn", "error", "critical"];
    let lines = (0..).zip(words).map(|(level, word)| Step::Say(level, word.to_owned()));
    let guest = Guest::logger().on(On::RequestHeaders, lines).on(On::RequestHeaders, [Step::LogLevel]);
    Case::new("log levels").filter("log", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn foreign_functions_that_are_unknown_are_not_found() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::Foreign("no_such_function".to_owned(), "x".to_owned())]);
    Case::new("foreign").filter("foreign", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn what_a_root_may_do_at_its_start() {
    let guest = Guest::logger().on(
        On::Configure,
        [
            Step::get(RequestHeaders, ":path"),
            Step::property("plugin_name"),
            Step::property("request.path"),
            Step::SharedSet("k".to_owned(), "v".to_owned(), None),
            Step::reply(403, "to whom", &[]),
            Step::ProxyDone,
        ],
    );
    Case::new("root calls").filter("root", &guest).run(|stage| {
        stage.get("/");
    });
}
