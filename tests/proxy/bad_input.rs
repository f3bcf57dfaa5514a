//! What is wrong with a configuration is said at the start, all of it, with its place and a remedy; nothing is left
//! half started.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;

use crate::equipment::{Exit, Guest, On, Proxy, Start, Step, Upstream, When};

const GOOD: &str = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [f]\n  routes:\n\
                    \x20 - {match: {path: {prefix: /}}, respond: {status: 200, body: hello}}\n\
                    filters:\n  f: {module: ./f.wasm}\n";

/// Runs a configuration that is wrong, with `check` and with `run`: both must refuse it in the same way.
fn refused(start: impl Fn() -> Start, mentions: &[&str]) {
    for command in ["check", "run"] {
        let Exit { code, stderr, .. } = start().run(command);
        assert_eq!(code, Some(1), "{command}: {stderr}");
        for mention in mentions {
            assert!(stderr.contains(mention), "{command} does not mention {mention:?}:\n{stderr}");
        }
        if command == "run" {
            all_events(&stderr);
        }
        assert!(!stderr.contains("panicked"), "{command}:\n{stderr}");
        assert!(!stderr.contains("\"listening\""), "{command} was half started:\n{stderr}");
    }
}

/// What `run` says with `--log-format json`: an object a line, each with a level and a message.
fn all_events(stderr: &str) -> Vec<Value> {
    let event = |line: &str| -> Value {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert!(event["level"].is_string() && event["message"].is_string(), "{event}");
        event
    };
    stderr.lines().map(event).collect()
}

fn good_guest() -> Vec<u8> {
    Guest::new().build()
}

fn with_module(module: impl Into<Vec<u8>>) -> Start {
    Proxy::with_text(GOOD).file("f.wasm", module)
}

#[test]
fn a_right_configuration_is_checked_and_found_right() {
    let exit = with_module(good_guest()).run("check");
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.ends_with("is valid: 1 listener, 1 route, 1 filter, 0 clusters"), "{}", exit.stdout);
    assert_eq!(exit.stderr, "", "a check says nothing else");
}

#[test]
fn a_missing_file_is_named() {
    for command in ["check", "run"] {
        let exit = Proxy::with_text("").run_in(&[command, "/nowhere/tidegate.yaml"]);
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains("/nowhere/tidegate.yaml"), "{}", exit.stderr);
    }
}

#[test]
fn broken_yaml_is_shown_where_it_breaks() {
    refused(|| Proxy::with_text("listeners:\n- name: in\n  address: [oops\n"), &["tidegate.yaml"]);
    refused(|| Proxy::with_text("listeners: \"never closed\n"), &["tidegate.yaml"]);
    refused(|| Proxy::with_text("\t- tab\n"), &["tidegate.yaml"]);
}

#[test]
fn an_empty_file_is_told_to_be_empty() {
    refused(|| Proxy::with_text(""), &["tidegate.yaml", "empty"]);
}

#[test]
fn an_unknown_field_is_refused_with_a_suggestion() {
    let text = GOOD.replace("  routes:", "  acces_log: true\n  routes:");
    refused(
        || Proxy::with_text(&text).file("f.wasm", good_guest()),
        &["tidegate.yaml:5", "acces_log", "access_log"],
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let text = "listeners:\n- name: in\n  address: nonsense\n  routes:\n\
                \x20 - {match: {path: {prefix: no-slash}}, cluster: missing}\n";
    refused(|| Proxy::with_text(text), &["nonsense", "no-slash", "missing"]);
}

#[test]
fn a_cluster_that_is_not_there_is_named_with_the_nearest() {
    let text = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
                \x20 - {match: {path: {prefix: /}}, cluster: backand}\nclusters:\n  backend: {endpoints: [127.0.0.1:1]}\n";
    refused(|| Proxy::with_text(text), &["backand", "backend"]);
}

#[test]
fn a_filter_that_is_not_there_is_named() {
    let text = GOOD.replace("filters: [f]", "filters: [g]");
    refused(|| Proxy::with_text(&text).file("f.wasm", good_guest()), &["g"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let text = GOOD.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let exit = Proxy::with_text(&text).file("f.wasm", good_guest()).run("run");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for mention in [&format!("127.0.0.1:{port}"), "in use", "ss -ltnp", "tidegate.yaml:3"] {
        assert!(exit.stderr.contains(mention), "{mention:?} in {}", exit.stderr);
    }
}

#[test]
fn every_port_in_use_is_named_at_its_place() {
    let taken =
        [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port"));
    let [first, second] = taken.each_ref().map(|taken| taken.local_addr().expect("it is bound"));
    let route = "  routes: [{match: {path: {prefix: /}}, respond: {status: 200}}]\n";
    let text = format!(
        "listeners:\n- name: one\n  address: {first}\n{route}- name: two\n  address: {second}\n{route}"
    );
    let exit = Proxy::with_text(&text).run("run");
    for mention in [first.to_string(), second.to_string(), "tidegate.yaml:3".into(), "tidegate.yaml:6".into()]
    {
        assert!(exit.stderr.contains(&mention), "{mention:?} in {}", exit.stderr);
    }
    let text = GOOD.replace("filters: [f]", "filters: []");
    let exit = Proxy::with_text(&format!("admin:\n  address: {first}\n{text}"))
        .file("f.wasm", good_guest())
        .run("run");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for mention in [first.to_string(), "tidegate.yaml:2".into()] {
        assert!(exit.stderr.contains(&mention), "{mention:?} in {}", exit.stderr);
    }
}

#[test]
fn a_port_of_another_tidegate_is_not_shared_with_it() {
    let upstream = Upstream::ok("first");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let address = proxy.address("in").to_string();
    let exit =
        Proxy::with_text(&GOOD.replace("127.0.0.1:0", &address)).file("f.wasm", good_guest()).run("run");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("in use"), "{}", exit.stderr);
    assert_eq!(proxy.client().get("/").text(), "first");
}

#[test]
fn a_missing_module_is_named() {
    refused(|| Proxy::with_text(GOOD), &["tidegate.yaml:8", "f.wasm"]);
}

#[test]
fn every_filter_that_cannot_be_used_is_named() {
    let text = GOOD.replace("filters: [f]", "filters: [f, g]") + "  g: {module: ./g.wasm}\n";
    refused(
        || Proxy::with_text(&text),
        &["tidegate.yaml:8", "f.wasm", "tidegate.yaml:9", "g.wasm", "relative to"],
    );
}

#[test]
fn a_built_in_filter_that_is_not_there_is_told_from_those_that_are() {
    let text = GOOD.replace("./f.wasm", "builtin:falt");
    refused(|| Proxy::with_text(&text), &["tidegate.yaml:8", "`falt`", "shipped are: ", "fault"]);
}

#[test]
fn a_module_that_is_larger_than_any_filter_is_not_read() {
    let exit = with_module(vec![0; (64 << 20) + 1]).run("check");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("larger than 64 MiB"), "{}", exit.stderr);
}

#[test]
fn a_limit_that_is_too_low_to_start_is_named() {
    for (step, limits, name) in [
        (Step::EatMemory, "memory: 1MiB", "1088KiB of memory, more than it may have (`limits.memory: 1MiB`)"),
        (Step::Loop, "instructions: 1000", "(50 times `limits.instructions: 1k`)"),
        (Step::Loop, "instructions: 1000000M, wall_clock: 2ms", "(50 times `limits.wall_clock: 2ms`)"),
    ] {
        let text = GOOD.replace("./f.wasm", &format!("./f.wasm, limits: {{{limits}}}"));
        let guest = Guest::new().on(On::Configure, [step]).build();
        refused(
            || Proxy::with_text(&text).file("f.wasm", guest.clone()),
            &["tidegate.yaml:8", name, ": raise it"],
        );
    }
}

/// As C compilers for WASI make them that give every program a stack of 16 MiB.
#[test]
fn a_module_that_begins_with_more_memory_than_the_default_needs_a_limit_of_its_own() {
    let text = "(module (memory (export \"memory\") 257) (func (export \"malloc\") (param i32) (result i32) (i32.const 0))\
                (func (export \"proxy_abi_version_0_2_1\")))";
    let module = wat::parse_str(text).unwrap();
    let said = "it asked for 16448KiB of memory, more than it may have (`limits.memory: 16MiB`)";
    refused(|| with_module(module.clone()), &["tidegate.yaml:8", said, "a smaller stack"]);
    let text = GOOD.replace("./f.wasm", "./f.wasm, limits: {memory: 20MiB}");
    let exit = Proxy::with_text(&text).file("f.wasm", module).run("check");
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[test]
fn a_corrupt_module_is_named() {
    refused(|| with_module("no wasm at all"), &["tidegate.yaml:8", "f.wasm"]);
    let mut cut = good_guest();
    cut.truncate(cut.len() / 2);
    refused(move || with_module(cut.clone()), &["f.wasm"]);
}

#[test]
fn a_module_that_is_not_proxy_wasm_is_named() {
    let plain = || with_module(wat::parse_str("(module (memory (export \"memory\") 1))").unwrap());
    refused(plain, &["f.wasm", "proxy_abi_version"]);
    let newer = || with_module(Guest::new().abi("9_9_9").build());
    refused(newer, &["f.wasm", "proxy_abi_version"]);
}

#[test]
fn an_import_that_no_host_has_is_named() {
    let guest = || {
        let text = "(module (import \"env\" \"proxy_does_not_exist\" (func)) (memory (export \"memory\") 1)\
                    (func (export \"malloc\") (param i32) (result i32) (i32.const 0))(func (export \"proxy_abi_version_0_2_1\")))";
        with_module(wat::parse_str(text).unwrap())
    };
    refused(guest, &["f.wasm", "proxy_does_not_exist"]);
}

#[test]
fn a_filter_that_rejects_its_configuration_stops_the_start() {
    let guest = || {
        let refusing = Guest::new()
            .on(On::Configure, [Step::Say(4, "rate must be positive".to_owned()), Step::Return(0)]);
        with_module(refusing.build())
    };
    refused(guest, &["tidegate.yaml:8", "rate must be positive", "the filter refuses its `config`"]);
    let text = GOOD.replace("{module: ./f.wasm}", "\n    module: ./f.wasm\n    config: {rate: -1}");
    let refusing = Guest::new().on(On::Configure, [Step::Return(0)]).build();
    refused(|| Proxy::with_text(&text).file("f.wasm", refusing.clone()), &["tidegate.yaml:10"]);
}

#[test]
fn a_filter_that_fails_at_its_start_stops_the_start() {
    for callback in [On::VmStart, On::Configure, On::Create] {
        refused(|| with_module(Guest::new().on(callback, [Step::Trap]).build()), &["tidegate.yaml:8", "f"]);
    }
    refused(|| with_module(Guest::new().on(On::VmStart, [Step::Return(0)]).build()), &["f"]);
}

#[test]
fn what_is_likely_not_meant_is_shown_and_does_not_stop_the_check() {
    let text = GOOD.replace("  filters: [f]\n", "");
    let exit = Proxy::with_text(&text).file("f.wasm", good_guest()).run("check");
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("the filter `f` is in no chain"), "{}", exit.stderr);
    assert!(!exit.stderr.contains('\u{1b}'), "colours are for terminals: {:?}", exit.stderr);
}

#[test]
fn a_check_can_be_told_to_end_with_one_for_a_warning() {
    for (text, code) in [(GOOD.to_owned(), 0), (GOOD.replace("  filters: [f]\n", ""), 1)] {
        let exit = Proxy::with_text(&text).file("f.wasm", good_guest()).run("check --deny-warnings");
        assert_eq!(exit.code, Some(code), "{}", exit.stderr);
        assert_eq!(exit.stderr.contains("--deny-warnings"), code == 1, "{}", exit.stderr);
    }
}

#[test]
fn a_check_reads_standard_input_where_it_is_told_to() {
    let reading = |text: &str| {
        let quoted = text.replace('\'', "'\\''");
        let first = format!("cd \"$TMPDIR\" && printf '%s' '{quoted}' > in.yaml && exec < in.yaml");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("f.wasm"), good_guest()).expect("it can be written");
        let inside = folder.path().to_str().expect("it has a plain name");
        Proxy::with_text("").env("TMPDIR", inside).after(&[], &first).run_in(&["check", "-"])
    };
    let exit = reading(GOOD);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.starts_with("standard input is valid: 1 listener"), "{}", exit.stdout);
    let exit = reading(&GOOD.replace("module", "modul"));
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("standard input:8:"), "{}", exit.stderr);
    assert_eq!(reading("").code, Some(1));
}

#[test]
fn a_log_in_json_has_an_object_for_each_problem_and_each_warning() {
    let text = GOOD.replace("  filters: [f]\n", "  acces_log: true\n").replace("127.0.0.1:0", "nonsense");
    let start = || Proxy::with_text(&text).file("f.wasm", good_guest());
    let silent = start().env("TIDEGATE_LOG", "tidegate::wasm=debug").run("run");
    assert_eq!(
        all_events(&silent.stderr).len(),
        2,
        "why it does not start is said at every level: {silent:?}"
    );
    let exit = start().run("run");
    let mut said = all_events(&exit.stderr);
    said.retain(|event| event["level"] == "ERROR");
    let [address, field] = &said[..] else { panic!("{said:#?}") };
    let of = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    assert!(of(address, "place").ends_with("tidegate.yaml:3:12"), "{address}");
    assert!(of(field, "place").ends_with("tidegate.yaml:4:3"), "{field}");
    assert!(
        of(field, "message").contains("acces_log") && of(field, "hint").contains("access_log"),
        "{field}"
    );

    let text = GOOD.replace("  filters: [f]\n", "");
    let proxy = Proxy::with(&text).file("f.wasm", good_guest()).start();
    let warning = proxy.wait_for_log("the warning", |event| of(event, "message").contains("in no chain"));
    assert_eq!(warning["level"], "WARN");
    assert!(of(&warning, "place").contains("tidegate.yaml:"), "{warning}");
    assert!(proxy.log_from(0).iter().all(Value::is_object), "{:#?}", proxy.log_from(0));
}

#[test]
fn levels_that_make_no_sense_are_refused() {
    let exit = with_module(good_guest()).env("TIDEGATE_LOG", "info,tidegate=loud").run("run");
    let [event] = &all_events(&exit.stderr)[..] else { panic!("{}", exit.stderr) };
    assert!(event["message"].as_str().is_some_and(|text| text.contains("TIDEGATE_LOG")), "{event}");
    let exit = with_module(good_guest()).env("TIDEGATE_LOG", "info,tidegate=loud").run("check");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("TIDEGATE_LOG"), "{}", exit.stderr);
}

#[test]
fn the_schema_is_printed() {
    let exit = Proxy::with_text("").run_in(&["schema"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let printed: serde_json::Value = serde_json::from_str(&exit.stdout).expect("the schema is JSON");
    assert!(printed["properties"]["listeners"].is_object(), "{printed}");
}

#[test]
fn wrong_arguments_are_told_from_a_wrong_file() {
    for arguments in [&["walk"][..], &["run"], &["run", "--workers", "none", "x"]] {
        let exit = Proxy::with_text("").run_in(arguments);
        assert_eq!(exit.code, Some(2), "{arguments:?}: {}", exit.stderr);
        assert!(exit.stderr.contains("--help"), "{arguments:?}: {}", exit.stderr);
    }
}

#[test]
fn a_module_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let pipe = folder.path().join("pipe.wasm");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo can be run");
    assert!(made.success());
    for path in [folder.path(), &pipe, std::path::Path::new("/dev/zero")] {
        let text = GOOD.replace("./f.wasm", &path.display().to_string());
        refused(|| Proxy::with_text(&text), &["tidegate.yaml:8", "it is not a file"]);
    }
}

#[test]
fn a_filter_that_makes_no_contexts_for_exchanges_is_in_no_chain() {
    let says = Step::Say(5, "a service, not a filter".to_owned());
    let guest = Guest::new().on(On::Create, [Step::If(When::Call(2), vec![says, Step::Trap])]).build();
    let mentions =
        ["tidegate.yaml:8", "makes no contexts for exchanges: a service, not a filter", "get_type"];
    refused(|| with_module(guest.clone()), &mentions);
    let unused = GOOD.replace("  filters: [f]\n", "");
    let exit = Proxy::with_text(&unused).file("f.wasm", guest).run("check");
    assert_eq!(exit.code, Some(0), "what is in no chain makes none: {}", exit.stderr);
}
