//! What filters of TCP connections see, and what becomes of the bytes.

use super::TcpCase;
use super::tcp_stage::TcpStage;
use crate::equipment::{Buffer, Client, Flow, Guest, Map, On, Step, When};

use Buffer::{DownstreamData, UpstreamData};

/// Lets a guest of a case that holds something go on: a tick, on the last connection.
fn on_tick(guest: Guest, steps: Vec<Step>) -> Guest {
    guest.on(On::Tick, [vec![Step::EffectiveStream], steps, vec![Step::TickPeriod(0)]].concat())
}

/// A filter whose contexts are not waited for: it is lost before their ends, or Envoy does not end them.
fn without_ends(mut filter: super::Filter) -> super::Filter {
    filter.sees_ends = false;
    filter
}

/// A whole conversation, each piece of which is seen before the next is sent; then the client ends, then the upstream.
fn converse(stage: &TcpStage) {
    let (mut client, mut upstream) = stage.pair();
    client.send("ping");
    stage.note(format!("upstream got {:?}", upstream.exactly(4)));
    upstream.send("pong!");
    stage.note(format!("client got {:?}", client.exactly(5)));
    client.half_close();
    stage.note(format!("upstream got {:?} and the end", upstream.rest()));
    upstream.send("bye");
    stage.note(format!("client got {:?}", client.exactly(3)));
    upstream.half_close();
    stage.note(format!("client got {:?} and the end", client.rest()));
}

/// The client ends, then the upstream; what is left to come is noted.
fn end_in_turn(stage: &TcpStage, client: Client, mut upstream: Client) {
    client.half_close();
    stage.note(upstream.rest());
    upstream.half_close();
    note_rest(stage, "client", client);
}

/// The client sends a word at which a filter ends the connection; how it ends is noted.
fn stop(stage: &TcpStage) {
    let (mut client, upstream) = stage.pair();
    client.send("stop");
    note_rest(stage, "client", client);
    note_rest(stage, "upstream", upstream);
}

/// Notes what is left to come, and how it ends.
fn note_rest(stage: &TcpStage, who: &str, mut end: Client) {
    let rest = end.try_orderly_rest();
    stage.note(
        rest.map_or_else(|_| format!("{who} got a reset"), |rest| format!("{who} got {rest:?} and the end")),
    );
}

#[test]
fn two_filters_see_data_each_way_and_both_ends() {
    TcpCase::new("tcp conversation")
        .filter("first", &Guest::logger())
        .filter("second", &Guest::logger())
        .run(converse);
}

#[test]
fn the_upstream_may_end_first() {
    TcpCase::new("tcp upstream ends").filter("log", &Guest::logger()).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        upstream.send("hello");
        stage.note(client.exactly(5));
        upstream.half_close();
        stage.note(format!("client got {:?} and the end", client.rest()));
        client.send("late");
        stage.note(upstream.exactly(4));
        client.half_close();
        note_rest(stage, "upstream", upstream);
    });
}

#[test]
fn a_client_that_resets() {
    TcpCase::new("tcp client resets").filter("log", &Guest::logger()).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        client.send("half");
        stage.note(upstream.exactly(4));
        client.reset();
        stage.wait_for_guest("delete ctx=2");
        note_rest(stage, "upstream", upstream);
    });
}

#[test]
fn an_upstream_that_resets() {
    TcpCase::new("tcp upstream resets").filter("log", &Guest::logger()).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        upstream.send("half");
        stage.note(client.exactly(4));
        upstream.reset();
        note_rest(stage, "client", client);
    });
}

#[test]
fn an_upstream_that_cannot_be_reached() {
    TcpCase::new("tcp refused").refusing().filter("log", &Guest::logger()).run(|stage| {
        let client = stage.connect();
        note_rest(stage, "client", client);
    });
}

#[test]
fn a_new_connection_is_held_until_it_is_resumed() {
    let guest = Guest::logger().on(On::NewConnection, [Step::TickPeriod(50), Step::Return(1)]);
    let guest = on_tick(guest, vec![Step::Resume(Flow::Downstream)]);
    TcpCase::new("tcp held").filter("hold", &guest).filter("next", &Guest::logger()).run(|stage| {
        let mut client = stage.connect();
        client.send("early");
        stage.wait_for_guest("resume Downstream");
        let mut upstream = stage.accept();
        stage.note(upstream.exactly(5));
        client.half_close();
        note_rest(stage, "upstream", upstream);
        note_rest(stage, "client", client);
    });
}

#[test]
fn a_connection_that_is_held_is_not_passed_on() {
    let guest = Guest::logger().on(On::NewConnection, [Step::Return(1)]);
    let next = Guest::logger();
    let case = TcpCase::new("tcp held for ever").filter_with("hold", &guest, without_ends);
    case.filter("next", &next).run(|stage| {
        let mut client = stage.connect();
        client.send("early");
        stage.wait_for_guest("new_connection");
        stage.note(format!("connected: {}", stage.is_connected()));
    });
}

#[test]
fn data_is_shown_and_changed_each_way() {
    let guest = Guest::logger()
        .on(
            On::DownstreamData,
            [
                Step::buffer(DownstreamData),
                Step::set_buffer(DownstreamData, 0, 0, "<"),
                Step::set_buffer(DownstreamData, u32::MAX, 0, ">"),
                Step::buffer(DownstreamData),
                Step::BufferStatus(DownstreamData),
                Step::set_buffer(UpstreamData, 0, 0, "no"),
            ],
        )
        .on(
            On::UpstreamData,
            [
                Step::set_buffer(UpstreamData, 0, 3, "new"),
                Step::buffer(UpstreamData),
                Step::GetBuffer(UpstreamData, 1, 2),
                Step::set_buffer(DownstreamData, 0, 0, "no"),
            ],
        );
    TcpCase::new("tcp edits").filter("edit", &guest).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        client.send("ab");
        stage.note(upstream.exactly(4));
        upstream.send("old!");
        stage.note(client.exactly(4));
        client.reset();
        stage.wait_for_guest("delete ctx=2");
    });
}

#[test]
fn a_part_in_the_middle_is_replaced() {
    let guest = Guest::logger()
        .on(On::DownstreamData, [Step::set_buffer(DownstreamData, 1, 2, "--"), Step::buffer(DownstreamData)]);
    TcpCase::new("tcp splice").filter("edit", &guest).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        client.send("abcd");
        stage.note(upstream.exactly(4));
        end_in_turn(stage, client, upstream);
    });
}

#[test]
fn a_filter_changes_the_end() {
    let last = vec![Step::set_buffer(DownstreamData, 0, 0, "last")];
    let guest = Guest::logger().on(On::DownstreamData, [Step::If(When::EndOfStream, last)]);
    TcpCase::new("tcp last words").filter("edit", &guest).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        client.send("ab");
        stage.note(upstream.exactly(2));
        end_in_turn(stage, client, upstream);
    });
}

#[test]
fn a_filter_holds_what_the_client_sends() {
    let held = [Step::buffer(DownstreamData), Step::If(When::Call(1), vec![Step::Return(1)])];
    let guest = Guest::logger().on(On::DownstreamData, held);
    TcpCase::new("tcp hold").filter("first", &Guest::logger()).filter("hold", &guest).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        client.send("ab");
        stage.wait_for_guest("buffer DownstreamData 0 4294967295 -> 0 ab");
        client.send("cd");
        stage.note(upstream.exactly(4));
        end_in_turn(stage, client, upstream);
    });
}

#[test]
fn what_is_held_goes_on_when_it_is_resumed() {
    let guest = Guest::logger().on(On::DownstreamData, [Step::TickPeriod(50), Step::Return(1)]);
    let guest = on_tick(guest, vec![Step::buffer(DownstreamData), Step::Resume(Flow::Downstream)]);
    TcpCase::new("tcp resume").filter("hold", &guest).filter("next", &Guest::logger()).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        client.send("ab");
        stage.note(upstream.exactly(2));
        client.reset();
        stage.wait_for_guest("delete ctx=2");
    });
}

#[test]
fn a_filter_holds_what_the_upstream_sends() {
    let held = [Step::buffer(UpstreamData), Step::If(When::Call(1), vec![Step::Return(1)])];
    let guest = Guest::logger().on(On::UpstreamData, held);
    TcpCase::new("tcp hold upstream").filter("first", &Guest::logger()).filter("hold", &guest).run(|stage| {
        let (mut client, mut upstream) = stage.pair();
        upstream.send("ab");
        stage.wait_for_guest("buffer UpstreamData 0 4294967295 -> 0 ab");
        upstream.send("cd");
        stage.note(client.exactly(4));
        client.reset();
        stage.wait_for_guest("delete ctx=2");
    });
}

#[test]
fn a_filter_closes_a_connection() {
    for (name, flow) in [("tcp close downstream", Flow::Downstream), ("tcp close upstream", Flow::Upstream)] {
        let guest = Guest::logger().on(On::DownstreamData, [Step::Close(flow)]);
        TcpCase::new(name).filter("close", &guest).filter("next", &Guest::logger()).run(stop);
    }
}

#[test]
fn a_filter_closes_a_connection_with_the_upstreams_data() {
    let guest =
        Guest::logger().on(On::UpstreamData, [Step::If(When::Call(2), vec![Step::Close(Flow::Upstream)])]);
    TcpCase::new("tcp close with data").filter("next", &Guest::logger()).filter("close", &guest).run(
        |stage| {
            let (mut client, mut upstream) = stage.pair();
            upstream.send("first");
            stage.note(client.exactly(5));
            upstream.send("second");
            note_rest(stage, "client", client);
            note_rest(stage, "upstream", upstream);
        },
    );
}

#[test]
fn a_new_connection_is_closed() {
    let guest = Guest::logger().on(On::NewConnection, [Step::Close(Flow::Downstream), Step::Return(1)]);
    TcpCase::new("tcp close new").filter("close", &guest).filter("next", &Guest::logger()).run(|stage| {
        let client = stage.connect();
        note_rest(stage, "client", client);
    });
}

#[test]
fn a_filter_that_fails_ends_the_connection() {
    let guest = Guest::logger().on(On::DownstreamData, [Step::Trap]);
    TcpCase::new("tcp trap")
        .filter_with("trap", &guest, without_ends)
        .filter("next", &Guest::logger())
        .run(stop);
}

#[test]
fn hostcalls_of_http_answer_on_a_connection() {
    let steps = || {
        [
            Step::get(Map::RequestHeaders, ":path"),
            Step::Pairs(Map::RequestHeaders),
            Step::Pairs(Map::ResponseTrailers),
            Step::add(Map::RequestHeaders, "x-a", "1"),
            Step::replace(Map::ResponseHeaders, "x-a", "1"),
            Step::remove(Map::ResponseHeaders, "x-a"),
            Step::set_pairs(Map::RequestHeaders, &[("x-a", "1")]),
            Step::reply(403, "no", &[]),
            Step::Resume(Flow::Request),
            Step::Resume(Flow::Response),
            Step::Resume(Flow::Downstream),
            Step::buffer(Buffer::RequestBody),
            Step::set_buffer(Buffer::ResponseBody, 0, 0, "x"),
        ]
    };
    let guest = Guest::logger().on(On::NewConnection, steps()).on(On::Log, steps());
    TcpCase::new("tcp http calls").filter("calls", &guest).run(converse);
}

#[test]
fn a_connection_has_properties() {
    let read = || {
        let sizes = [
            "source.address",
            "source.port",
            "destination.address",
            "destination.port",
            "connection.id",
            "upstream.address",
            "upstream.port",
            "upstream.local_address",
            "request.time",
            "request.size",
            "request.total_size",
            "request.duration",
            "request.path",
            "request.protocol",
            "request.method",
            "request.headers",
            "response.size",
            "response.total_size",
            "response.code",
            "response.flags",
            "connection.mtls",
            "connection.tls_version",
            "connection.requested_server_name",
            "metadata",
        ];
        let texts = ["xds.cluster_name", "xds.listener_direction", "plugin_name", "plugin_root_id", "own"];
        let sizes = sizes.into_iter().map(Step::property_size);
        sizes.chain(texts.into_iter().map(Step::property)).collect::<Vec<_>>()
    };
    let set = Step::SetProperty(vec!["own".to_owned()], "kept".to_owned());
    let guest = Guest::logger()
        .on(On::NewConnection, read())
        .on(On::NewConnection, [set])
        .on(On::DownstreamData, read())
        .on(On::Log, read());
    TcpCase::new("tcp properties").filter("read", &guest).run(converse);
}

#[test]
fn actions_at_the_end_have_no_effect() {
    let late = || {
        [
            Step::Resume(Flow::Downstream),
            Step::Close(Flow::Downstream),
            Step::buffer(DownstreamData),
            Step::set_buffer(DownstreamData, 0, 0, "x"),
        ]
    };
    let guest = Guest::logger().on(On::DownstreamClose, late()).on(On::Done, late()).on(On::Log, late());
    TcpCase::new("tcp late").filter("late", &guest).run(converse);
}
