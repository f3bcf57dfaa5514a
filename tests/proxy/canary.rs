//! Two versions of a filter side by side.

use serde_json::Value;

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Answer, Backend, Buffer, Exit, Flow, Gate, Guest, On, Proxy, Response, Step, Upstream, When, eventually,
    forwarding, in_listener, message, request_text,
};

/// A filter that says which version it is, in both directions.
fn version(name: &str) -> Guest {
    let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-version", name)]);
    guest.on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-version", name)])
}

/// A filter `f`, of which `canary` says what it says of the second version.
fn config(upstream: &Upstream, canary: &str) -> String {
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    config
        + &format!("filters: {{f: {{module: ./first.wasm, canary: {{module: ./second.wasm, {canary}}}}}}}\n")
}

fn with_canary(upstream: &Upstream, first: &Guest, second: &Guest, canary: &str) -> Proxy {
    let start = Proxy::with(&config(upstream, canary));
    start.file("first.wasm", first.build()).file("second.wasm", second.build()).start()
}

/// What the admin listener says of the only canary.
fn report(proxy: &Proxy) -> Value {
    let page: Value = serde_json::from_str(&proxy.admin("/canaries").text()).expect("it is JSON");
    page["canaries"][0].clone()
}

fn steer(proxy: &Proxy, order: &str) -> Response {
    steer_with(proxy, order, &[])
}

fn steer_with(proxy: &Proxy, order: &str, fields: &[(&str, &str)]) -> Response {
    proxy.ask_admin("POST", &format!("/canaries/{order}"), fields, "")
}

/// Sends requests until it has happened.
fn until(proxy: &Proxy, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
    let mut client = proxy.client();
    eventually(what, || {
        for _ in 0..10 {
            client.get("/");
        }
        Some(report(proxy)).filter(|report| holds(report))
    })
}

fn version_of(response: &Response) -> String {
    response.field("x-version").unwrap_or("none").to_owned()
}

#[test]
fn a_share_of_exchanges_gets_the_second_version_in_both_directions() {
    let upstream = Upstream::ok("hello");
    let proxy = with_canary(&upstream, &version("1"), &version("2"), "percent: 25");
    let mut client = proxy.client();
    let versions: Vec<_> = (0..400).map(|_| version_of(&client.get("/"))).collect();
    let second = versions.iter().filter(|version| *version == "2").count();
    assert!((92..=108).contains(&second), "{second} of 400");
    for (received, version) in upstream.requests().iter().zip(&versions) {
        assert_eq!(received.head.all("x-version"), [version], "another version saw the request");
    }
    let exchanges = "tidegate_filter_canary_exchanges_total";
    proxy.wait_for_metric(exchanges, &[("filter", "f"), ("version", "candidate")], second as f64);
    proxy.wait_for_metric(exchanges, &[("version", "stable")], 400.0 - second as f64);
    let metrics = proxy.metrics();
    let calls = |filter| {
        metrics.sum("tidegate_filter_calls_total", &[("filter", filter), ("callback", "on_response_headers")])
    };
    assert_eq!((calls("f@canary"), calls("f")), (second as f64, 400.0 - second as f64));
    assert_eq!(metrics.sum("tidegate_filter_canary_percent", &[("filter", "f")]), 25.0);
}

#[test]
fn requests_that_match_get_the_second_version_and_no_others() {
    let upstream = Upstream::ok("hello");
    let matching = "match: {headers: {x-canary: {exact: \"1\"}}}";
    let proxy = with_canary(&upstream, &version("1"), &version("2"), matching);
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(version_of(&client.request("GET", "/", &[("x-canary", "1")], "")), "2");
        assert_eq!(version_of(&client.request("GET", "/", &[("x-canary", "0")], "")), "1");
        assert_eq!(version_of(&client.get("/")), "1");
    }
    // A rollback is for them as well.
    assert_eq!(steer(&proxy, "f?rollback").status(), 200);
    assert_eq!(version_of(&client.request("GET", "/", &[("x-canary", "1")], "")), "1");
}

/// What a second version says of a field takes the place of what the first one has, and nothing else does.
#[test]
fn a_second_version_may_do_what_the_first_may_not() {
    let upstream = Upstream::ok("hello");
    let granted = "capabilities: {headers: {write: [x-version]}}";
    let config = config(&upstream, &format!("percent: 100, {granted}"));
    let config =
        config.replace("{module: ./first.wasm,", "{module: ./first.wasm, capabilities: {log: warn},");
    let start = Proxy::with(&config).file("first.wasm", version("1").build());
    let mut proxy = start.file("second.wasm", version("2").build()).start();
    assert_eq!(version_of(&proxy.client().get("/")), "2");
    assert!(proxy.change(&config.replace(&format!(", {granted}"), "")));
    assert_eq!(version_of(&proxy.client().get("/")), "none", "as the first version, which may write nothing");
}

#[test]
fn a_key_keeps_its_version() {
    let upstream = Upstream::ok("hello");
    let proxy = with_canary(&upstream, &version("1"), &version("2"), "percent: 50, key: x-user");
    let mut client = proxy.client();
    let mut seen = Vec::new();
    for user in 0..40 {
        let user = format!("user-{user}");
        let mut versions = (0..5).map(|_| version_of(&client.request("GET", "/", &[("x-user", &user)], "")));
        let first = versions.next().expect("there are five");
        assert!(versions.all(|version| version == first), "{user} had two versions");
        seen.push(first);
    }
    assert!(seen.contains(&"1".to_owned()) && seen.contains(&"2".to_owned()), "{seen:?}");
}

#[test]
fn a_shadow_changes_nothing_and_its_decisions_are_compared() {
    let upstream = Upstream::ok("hello");
    let on = |name, steps| Step::If(When::Header(RequestHeaders, "x-do", name), steps);
    let second = Guest::new()
        .quiet()
        .on(
            On::RequestHeaders,
            [
                on("deny", vec![Step::reply(403, "no", &[])]),
                on("edit", vec![Step::add(RequestHeaders, "x-edited", "yes")]),
                on("trap", vec![Step::Trap]),
                on("call", vec![Step::callout("up", "/side-effect", 1000), Step::Return(1)]),
                on("hold", vec![Step::Return(1)]),
                on("close", vec![Step::Close(Flow::Request)]),
            ],
        )
        .on(On::RequestBody, [Step::reply(413, "too much", &[])])
        .on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-edited", "yes")])
        .on(On::ResponseBody, [Step::set_buffer(Buffer::ResponseBody, 0, 100, "other")])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::reply(401, "the callout failed", &[])]);
    let first = Guest::new().quiet().on(
        On::RequestHeaders,
        [Step::If(When::Header(RequestHeaders, "x-first", "deny"), vec![Step::reply(403, "no", &[])])],
    );
    let canary = "percent: 100, mode: shadow, rollback: {faults: 0}";
    // A pause at the headers lets it see the body.
    let config = config(&upstream, canary).replace("{f: {", "{f: {allow_on_headers_stop_iteration: true, ");
    let start = Proxy::with(&config).file("first.wasm", first.build());
    let proxy = start.file("second.wasm", second.build()).start();
    let mut client = proxy.client();
    let mut ask = |fields: &[(&str, &str)], body: &str, status, counted: &str| {
        let before = report(&proxy)["shadow"][counted].as_u64();
        let response = client.request("POST", "/", fields, body);
        assert_eq!(response.status(), status, "{fields:?}");
        assert_eq!(response.field("x-edited"), None, "{fields:?}");
        if status == 200 {
            assert_eq!(response.text(), "hello", "{fields:?}");
        }
        eventually(&format!("{fields:?} is counted as {counted}"), || {
            let now = report(&proxy)["shadow"][counted].as_u64();
            (now == before.map(|before| before + 1)).then_some(())
        });
    };
    ask(&[("x-do", "nothing")], "", 200, "same");
    ask(&[("x-do", "deny")], "", 200, "decision");
    ask(&[("x-do", "deny"), ("x-first", "deny")], "", 403, "same");
    ask(&[("x-do", "nothing"), ("x-first", "deny")], "", 403, "decision");
    ask(&[("x-do", "edit")], "", 200, "headers");
    ask(&[("x-do", "close")], "", 200, "decision");
    ask(&[("x-do", "hold")], "body", 200, "decision");
    ask(&[("x-do", "hold")], "", 200, "unknown");
    ask(&[("x-do", "call")], "", 200, "unknown");
    ask(&[("x-do", "trap")], "", 200, "fault");
    for received in upstream.requests() {
        assert_eq!(received.head.all("x-edited"), [] as [&str; 0]);
        assert!(!received.head.line.contains("/side-effect"), "a shadow called out");
    }
    let metrics = proxy.metrics();
    let counted = |result| metrics.sum("tidegate_filter_canary_shadow_total", &[("result", result)]);
    assert_eq!((counted("same"), counted("decision"), counted("fault")), (2.0, 4.0, 1.0));
}

#[test]
fn what_a_shadow_decides_on_a_callout_that_was_not_sent_is_not_compared() {
    let upstream = Upstream::ok("hello");
    let stop_all_and_buffer = 3;
    let asking = [Step::callout("up", "/ask", 60_000), Step::Return(stop_all_and_buffer)];
    let second = Guest::new()
        .on(On::RequestHeaders, asking)
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::reply(401, "no", &[]), Step::say("denied")]);
    let proxy = with_canary(&upstream, &version("1"), &second, "percent: 100, mode: shadow");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf");
    proxy.wait_for_log("the shadow's decision", |event| message(event) == "denied");
    client.send("half");
    assert_eq!(client.response().text(), "hello");
    proxy.wait_for_metric("tidegate_filter_canary_shadow_total", &[], 1.0);
    let counted = report(&proxy);
    assert_eq!((&counted["shadow"]["unknown"], &counted["candidate"]["denials"]), (&1.into(), &0.into()));
}

#[test]
fn what_a_shadow_shares_nobody_else_sees() {
    let upstream = Upstream::ok("hello");
    let sharing = [Step::SharedSet("k".to_owned(), "shadow".to_owned(), None)];
    let second = Guest::new().on(
        On::RequestHeaders,
        sharing
            .iter()
            .cloned()
            .chain([Step::DefineMetric(0, "from_a_shadow".to_owned(), 0), Step::IncrementMetric(0, 1)]),
    );
    let first = Guest::new().on(On::ResponseHeaders, [Step::SharedGet("k".to_owned())]);
    let proxy = with_canary(&upstream, &first, &second, "percent: 100, mode: shadow");
    proxy.client().get("/");
    proxy.client().get("/");
    proxy.wait_for_metric("tidegate_filter_canary_shadow_total", &[("result", "same")], 2.0);
    let log = proxy.guest_log();
    assert!(log.iter().any(|(filter, line)| filter == "f@canary" && line.contains("shared-set")), "{log:#?}");
    let read: Vec<_> = log.iter().filter(|(_, line)| line.contains("shared-get")).collect();
    assert!(read.len() == 2 && read.iter().all(|(_, line)| !line.contains("shadow")), "{log:#?}");
    assert!(!proxy.admin("/metrics").text().contains("from_a_shadow"));
}

/// Has a second version rolled back for `reason`, and looks at what is left.
fn rolled_back_for(reason: &str, rollback: &str, first: &Guest, second: &Guest) {
    let upstream = Upstream::start(|head| {
        let fails = head.all("x-version") == ["broken"];
        if fails { Answer::sized(500, &[], "no") } else { Answer::ok("hello") }
    });
    let canary = format!(
        "percent: 50, on_fault: open, limits: {{instructions: 1G}}, rollback: {{minimum: 20, {rollback}}}"
    );
    let proxy = with_canary(&upstream, first, second, &canary);
    let last = until(&proxy, "a rollback", |report| report["state"] == "rolled_back");
    let why = &last["rolled_back"];
    assert_eq!((&why["reason"], &why["from_percent"]), (&reason.into(), &50.0.into()), "{last}");
    assert_eq!(last["percent"], 0.0);
    let seen = last["candidate"]["exchanges"].as_u64();
    assert!(reason == "faults" || seen.is_some_and(|seen| seen >= 20), "before the minimum: {last}");
    let event =
        proxy.wait_for_log("the rollback", |event| message(event).starts_with("the canary is rolled back"));
    assert_eq!((&event["reason"], &event["filter"]), (&reason.into(), &"f".into()));
    proxy.settle();
    let before = report(&proxy)["candidate"].clone();
    for _ in 0..20 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    proxy.settle();
    assert_eq!(report(&proxy)["candidate"], before, "the second version is called still");
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_filter_canary_rollbacks_total", &[("reason", reason)]), 1.0);
    assert_eq!(metrics.sum("tidegate_filter_canary_percent", &[("filter", "f")]), 0.0);
}

#[test]
fn a_second_version_that_fails_is_rolled_back_at_once() {
    let trapping = Guest::new().quiet().on(On::RequestHeaders, [Step::Trap]);
    rolled_back_for("faults", "faults: 1", &version("1"), &trapping);
}

#[test]
fn a_second_version_whose_responses_are_errors_is_rolled_back() {
    rolled_back_for("server_errors", "server_errors: 5%", &version("1"), &version("broken"));
}

#[test]
fn a_second_version_that_denies_more_is_rolled_back() {
    let denying = Guest::new().quiet().on(On::RequestHeaders, [Step::reply(403, "no", &[])]);
    rolled_back_for("denials", "denials: 5%", &version("1"), &denying);
}

#[test]
fn a_second_version_that_is_slow_is_rolled_back() {
    let slow = Guest::new().quiet().on(On::RequestHeaders, [Step::Spin(20_000_000)]);
    rolled_back_for("latency", "latency: 3x", &version("1"), &slow);
}

#[test]
fn a_second_version_that_runs_more_instructions_is_rolled_back() {
    let busy = Guest::new().quiet().on(On::RequestHeaders, [Step::Spin(100_000)]);
    rolled_back_for("instructions", "instructions: 2x", &version("1"), &busy);
}

#[test]
fn a_second_version_that_does_well_is_promoted_in_steps() {
    let upstream = Upstream::ok("hello");
    let canary = "promote: {steps: [25, 50, 100], every: 1s}, rollback: {minimum: 10, denials: 5%}";
    let proxy = with_canary(&upstream, &version("1"), &version("2"), canary);
    let first = report(&proxy);
    assert_eq!((&first["percent"], &first["next"]["percent"]), (&25.0.into(), &50.0.into()), "{first}");
    until(&proxy, "the last step", |report| report["state"] == "promoted");
    let step = |event: &Value| message(event) == "the canary's next step";
    let steps: Vec<_> = proxy.log().into_iter().filter(step).map(|event| event["percent"].clone()).collect();
    assert_eq!(steps, [Value::from(50.0), Value::from(100.0)]);
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(version_of(&client.get("/")), "2");
    }
    assert_eq!(steer(&proxy, "f?promote").status(), 409);
}

#[test]
fn the_admin_listener_steers() {
    let upstream = Upstream::ok("hello");
    let canary = "promote: {steps: [5, 50], every: 1h}";
    let proxy = with_canary(&upstream, &version("1"), &version("2"), canary);
    let said = |order: &str| -> Value {
        let response = steer(&proxy, order);
        assert_eq!(response.status(), 200, "{order}: {}", response.text());
        serde_json::from_str(&response.text()).expect("it is JSON")
    };
    assert_eq!(said("f?promote")["percent"], 50.0);
    assert_eq!(said("f?percent=0.5%25")["percent"], 0.5);
    assert_eq!(said("f?pause")["state"], "paused");
    assert_eq!(said("f?resume")["state"], "running");
    assert_eq!(said("f?rollback")["rolled_back"]["reason"], "operator");
    assert_eq!(steer(&proxy, "f?pause").status(), 409);
    assert_eq!(said("f?percent=100")["state"], "promoted");
    assert_eq!(version_of(&proxy.client().get("/")), "2");
    for wrong in ["f", "f?percent=101", "f?percent=-1", "f?percent=", "f?forward"] {
        assert_eq!(steer(&proxy, wrong).status(), 400, "{wrong}");
    }
    assert_eq!(steer(&proxy, "g?rollback").status(), 404);
    assert_eq!(steer_with(&proxy, "f?rollback", &[("origin", "http://evil.example")]).status(), 403);
    assert_eq!(proxy.admin("/canaries/f?rollback").status(), 405);
    assert_eq!(report(&proxy)["state"], "promoted");
}

fn command(proxy: &Proxy, arguments: &[&str]) -> Exit {
    let admin = proxy.address("admin").to_string();
    Proxy::with("").run_in(&[&["canary"], arguments, &["--admin", &admin]].concat())
}

#[test]
fn a_step_that_waits_for_traffic_says_for_how_much() {
    let upstream = Upstream::ok("hello");
    let canary = "promote: {steps: [50, 100], every: 1h}, rollback: {minimum: 20, denials: 5%}";
    let proxy = with_canary(&upstream, &version("1"), &version("2"), canary);
    let said = command(&proxy, &["list"]).stdout;
    assert!(said.contains("when stable has seen 20 more, when candidate has seen 20 more"), "{said}");
    let seen = until(&proxy, "some exchanges of both", |report| {
        ["stable", "candidate"].iter().all(|of| report[of]["exchanges"].as_u64() > Some(0))
    });
    let missing = 20 - seen["candidate"]["exchanges"].as_u64().expect("it is a number").min(20);
    assert_eq!(seen["next"]["missing_candidate"], missing, "{seen}");
}

#[test]
fn the_command_line_shows_and_steers() {
    let upstream = Upstream::ok("hello");
    let proxy = with_canary(&upstream, &version("1"), &version("2"), "percent: 5");
    let done = |arguments: &[&str]| {
        let exit = command(&proxy, arguments);
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.stderr);
        exit.stdout
    };
    assert!(done(&["list"]).starts_with("f  serve  5%  running\n"), "{}", done(&["list"]));
    assert!(done(&["set", "f", "100%"]).contains("100%  promoted"));
    assert_eq!(version_of(&proxy.client().get("/")), "2");
    proxy.settle();
    let page: Value = serde_json::from_str(&done(&["list", "--format", "json"])).expect("it is JSON");
    assert_eq!(page["canaries"][0]["candidate"]["exchanges"], 1);
    assert!(done(&["list"]).contains("candidate  1 exchange, 0 with 5xx"), "{}", done(&["list"]));
    assert!(done(&["rollback", "f"]).contains("rolled back from 100%, operator"));
    let exit = command(&proxy, &["pause", "f"]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("no `promote`"), "{}", exit.stderr);
    let exit = command(&proxy, &["promote", "nobody"]);
    assert!(exit.stderr.contains("no filter `nobody` has a canary"), "{}", exit.stderr);
    assert_eq!(command(&proxy, &["set", "f", "101%"]).code, Some(2));
    for (status, why) in [(200, "what it answers is not the page"), (404, "it has no page /canaries")] {
        let other = Upstream::start(move |_| Answer::sized(status, &[], "hello"));
        for format in ["text", "json"] {
            let admin = other.address().to_string();
            let exit = Proxy::with("").run_in(&["canary", "list", "--format", format, "--admin", &admin]);
            assert_eq!((exit.code, &*exit.stdout), (Some(1), ""));
            assert!(exit.stderr.contains(why), "{}", exit.stderr);
        }
    }
}

#[test]
fn a_reload_keeps_a_canary_that_is_as_it_was_and_begins_one_anew_that_is_not() {
    let upstream = Upstream::ok("hello");
    let mut proxy = with_canary(&upstream, &version("1"), &version("2"), "percent: 50");
    let mut client = proxy.client();
    for _ in 0..20 {
        client.get("/");
    }
    proxy.settle();
    assert_eq!(steer(&proxy, "f?rollback").status(), 200);
    let before = report(&proxy)["stable"]["exchanges"].clone();
    assert!(before.as_u64().is_some_and(|count| (8..=12).contains(&count)), "{before} of 20");
    let unchanged = config(&upstream, "percent: 50").replace("name: in", "access_log: true\n  name: in");
    assert!(proxy.change(&unchanged));
    let kept = report(&proxy);
    assert_eq!((&kept["state"], &kept["stable"]["exchanges"]), (&"rolled_back".into(), &before), "{kept}");
    assert_eq!(version_of(&proxy.client().get("/")), "1");
    proxy.put("second.wasm", version("3").build());
    assert!(proxy.reload());
    let anew = report(&proxy);
    assert_eq!((&anew["state"], &anew["stable"]["exchanges"]), (&"running".into(), &0.into()), "{anew}");
    let mut client = proxy.client();
    let seen: Vec<_> = (0..20).map(|_| version_of(&client.get("/"))).collect();
    assert!(seen.contains(&"3".to_owned()) && seen.contains(&"1".to_owned()), "{seen:?}");
    // What was counted is counted still.
    proxy.wait_for_metric("tidegate_filter_canary_exchanges_total", &[], 41.0);
    assert_eq!(proxy.metrics().sum("tidegate_filter_canary_rollbacks_total", &[("filter", "f")]), 1.0);
    assert!(proxy.change(&config(&upstream, "percent: 100")));
    assert_eq!(report(&proxy)["percent"], 100.0);
}

#[test]
fn an_exchange_that_began_in_the_second_version_ends_in_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body().wait(&held);
        answer.head(200, &[("content-length", "5")]).send("hello")
    });
    let proxy = with_canary(&upstream, &version("1"), &version("2"), "percent: 100");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(1);
    assert_eq!(steer(&proxy, "f?rollback").status(), 200);
    gate.open();
    assert_eq!(version_of(&client.response()), "2");
    assert_eq!(version_of(&client.get("/")), "1");
}

#[test]
fn a_second_version_that_fails_leaves_the_first_ones_instance_alone() {
    let upstream = Upstream::ok("hello");
    let trap = Step::If(When::Header(RequestHeaders, "x-canary", "1"), vec![Step::Trap]);
    let guest = Guest::new().quiet().on(On::RequestHeaders, [trap]);
    // Two filters of one `vm_id` and one code share a VM.
    let canary = "match: {headers: {x-canary: {exact: \"1\"}}}, on_fault: open, rollback: {faults: 0}";
    let both = config(&upstream, canary).replace("{f: {", "{f: {vm_id: one, ");
    let start = Proxy::with(&both).file("first.wasm", guest.build()).file("second.wasm", guest.build());
    let proxy = start.start();
    let mut client = proxy.client();
    assert_eq!(client.request("GET", "/", &[("x-canary", "1")], "").status(), 200);
    assert_eq!(client.get("/").status(), 200);
    let faults = |filter| proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", filter)]);
    assert_eq!(faults("f@canary"), 1.0);
    let alive = |filter| proxy.metrics().sum("tidegate_filter_instances", &[("filter", filter)]);
    assert_eq!(
        (alive("f"), alive("f@canary")),
        (1.0, 0.0),
        "the second one's is lost, the first one's is not"
    );
    assert_eq!(proxy.metrics().sum("tidegate_filter_rebuilds_total", &[("filter", "f")]), 0.0);
}

#[test]
fn a_second_version_that_cannot_be_used_is_refused_where_it_is() {
    let upstream = Upstream::ok("hello");
    let start = Proxy::with(&config(&upstream, "percent: 5")).file("first.wasm", version("1").build());
    let exit = start.file("second.wasm", "no module").run("check");
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("filter `f@canary`"), "{}", exit.stderr);
    assert!(exit.stderr.contains("./second.wasm"), "{}", exit.stderr);
}

#[test]
fn a_tcp_connection_has_one_version() {
    let backend = Backend::start();
    let guest = Guest::new().on(On::NewConnection, []).on(On::DownstreamData, []);
    let config = format!(
        "listeners:\n- {{name: in, address: \"127.0.0.1:0\", protocol: tcp, cluster: up, filters: [f]}}\n\
         clusters:\n  up: {{endpoints: [\"{}\"]}}\n\
         filters: {{f: {{module: ./first.wasm, canary: {{module: ./second.wasm, percent: 50}}}}}}\n",
        backend.address()
    );
    let start = Proxy::with(&config).file("first.wasm", guest.build()).file("second.wasm", guest.build());
    let proxy = start.start();
    for _ in 0..10 {
        let (mut client, mut upstream) = (proxy.client(), backend.accept());
        client.send("ping");
        assert_eq!(upstream.exactly(4), "ping");
        client.leave();
        upstream.expect_end();
    }
    let exchanges = |version| {
        proxy.metrics().sum("tidegate_filter_canary_exchanges_total", &[("version", version)]) as usize
    };
    eventually("all connections to be counted", || {
        (exchanges("stable") + exchanges("candidate") == 10).then_some(())
    });
    let called = |filter: &str, callback: &str| {
        let log = proxy.guest_log();
        log.iter().filter(|(name, line)| name == filter && line.starts_with(callback)).count()
    };
    for (filter, version) in [("f", "stable"), ("f@canary", "candidate")] {
        let connections = exchanges(version);
        assert!((3..=7).contains(&connections), "{connections} of 10 for {filter}");
        assert_eq!(called(filter, "new_connection"), connections);
        assert!(called(filter, "downstream_data") >= connections, "another version saw the data");
    }
}
