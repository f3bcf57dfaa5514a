//! Envoy's foreign functions.

use crate::equipment::{Guest, On, Step};

use super::Case;

/// A message of protobuf's: the number and the value of each field.
fn message(fields: &[(u8, Field<'_>)]) -> Vec<u8> {
    let field = |(number, field): &(u8, Field<'_>)| match field {
        Field::Number(value) => vec![number << 3, *value],
        Field::Text(text) => [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat(),
    };
    fields.iter().flat_map(field).collect()
}

enum Field<'a> {
    Number(u8),
    Text(&'a str),
}

use Field::{Number, Text};

fn set(name: &str, value: &str) -> Step {
    Step::SetProperty(vec![name.to_owned()], value.to_owned())
}

#[test]
fn what_is_compressed_is_uncompressed() {
    let hello = b"x\x9c\xcbH\xcd\xc9\xc9\x07\x00\x06,\x02\x15";
    let uncompress = || Step::ForeignOnAnswer("uncompress".to_owned());
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::foreign("compress", b"to be, or not to be, that is the question: to be"),
            uncompress(),
            Step::foreign("compress", b""),
            uncompress(),
            Step::Foreign("uncompress".to_owned(), hello.map(char::from).iter().collect()),
            Step::foreign("uncompress", &hello[..hello.len() - 5]),
            Step::foreign("uncompress", b"no stream at all"),
            Step::foreign("uncompress", b""),
        ],
    );
    Case::new("zlib").filter("zlib", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn the_first_value_of_a_property_that_was_declared_read_only_stays() {
    let declare = |fields: &[_]| Step::foreign("declare_property", &message(fields));
    let declaring = Guest::logger()
        .on(
            On::Configure,
            [
                declare(&[(1, Text("fixed")), (2, Number(1))]),
                declare(&[(1, Text("fixed"))]),
                declare(&[(1, Text("free")), (3, Number(1)), (4, Text("a schema")), (5, Number(1))]),
                Step::foreign("declare_property", b"\x0a\x7f"),
            ],
        )
        .on(
            On::RequestHeaders,
            [
                set("fixed", "one"),
                set("fixed", "two"),
                Step::property("fixed"),
                set("free", "one"),
                set("free", "two"),
                Step::property("free"),
            ],
        );
    let other = Guest::logger().on(
        On::RequestHeaders,
        [set("fixed", "three"), Step::property("fixed"), set("free", "three"), Step::property("free")],
    );
    Case::new("declared").filter("declaring", &declaring).filter("other", &other).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_property_may_live_as_long_as_its_connection() {
    let declare = Step::foreign("declare_property", &message(&[(1, Text("kept")), (5, Number(2))]));
    let guest = Guest::logger().on(On::Configure, [declare]).on(
        On::RequestHeaders,
        [
            Step::property("kept"),
            Step::property("lost"),
            set("lost", "of this request"),
            set("kept", "of this connection"),
            Step::property("kept"),
        ],
    );
    let guest = guest.on(On::Log, [Step::property("kept"), Step::property("lost")]);
    Case::new("kept").filter("keeping", &guest).run(|stage| {
        let mut client = stage.client();
        for path in ["/first", "/second"] {
            let response = client.get(path);
            stage.record(&response);
            stage.wait_for_guest_times("  property lost", if path == "/first" { 2 } else { 4 });
        }
        drop(client);
        stage.get("/other");
    });
}

#[test]
fn filter_state_has_envoys_own_names() {
    let set = |fields: &[_]| Step::foreign("set_envoy_filter_state", &message(fields));
    let read = |name: &str| Step::Property(vec!["filter_state".to_owned(), name.to_owned()]);
    let guest = Guest::logger()
        .on(On::Configure, [set(&[(1, Text("envoy.string")), (2, Text("to nobody"))])])
        .on(
            On::RequestHeaders,
            [
                read("envoy.string"),
                set(&[(1, Text("envoy.string")), (2, Text("one"))]),
                read("envoy.string"),
                set(&[(1, Text("envoy.string")), (2, Text("two")), (3, Number(0))]),
                set(&[(1, Text("no.such.name")), (2, Text("one"))]),
                Step::foreign("set_envoy_filter_state", b"\x0a\x7f"),
            ],
        )
        .on(On::ResponseHeaders, [read("envoy.string")]);
    Case::new("filter state").filter("state", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn what_a_stream_declares_holds_for_nobody() {
    let declare = Step::foreign("declare_property", &message(&[(1, Text("fixed")), (2, Number(1))]));
    let steps = [declare, set("fixed", "one"), set("fixed", "two"), Step::property("fixed")];
    let guest = Guest::logger().on(On::RequestHeaders, steps);
    Case::new("declared by a stream").filter("declaring", &guest).run(|stage| {
        stage.get("/");
        stage.get("/");
    });
}
