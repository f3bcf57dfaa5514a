//! The pages in `docs/src/reference`, written from the code.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use expect_test::{ExpectFile, expect_file};
use serde_json::{Map, Value};
use tidegate::config;
use tidegate::error::{Failure, Outcome, StatusClass};
use tidegate::telemetry::access_log::{Ending, Entry};
use tidegate::telemetry::metrics::{
    CallbackOverview, CallbackSample, CanarySample, CellsSample, ConnectFailure, EjectionReason,
    EndpointsSample, FilterOverview, FilterSample, Format, Limit, OverloadSample, Overview, Registry,
    RetryDenial, RetryReason, VersionSample, write_canaries, write_cells, write_endpoints, write_overload,
};
use tidegate::wasm::FaultKind;
use tidegate::wasm::exports::EXPORTS;
use tidegate::wasm::hostcalls::{FOREIGN_FUNCTIONS, Family, ForeignFunction, HOSTCALLS, ResultForm};

use crate::hostcalls::{self, ERRNOS, STATUSES};

const NOTE: &str = "<!-- Written by a test from the code: UPDATE_EXPECT=1 cargo test --test docs -->\n";

fn check(page: &ExpectFile, title: &str, text: &str) {
    page.assert_eq(&format!("# {title}\n\n{NOTE}\n{}\n", text.trim()));
}

#[test]
fn the_page_of_the_configuration_has_every_field() {
    let schema = config::schema();
    let mut text =
        "A field without a default is required, or has no effect unless it is given; the text says which. \
        How these fit together is in [Configuration](../configuration.md); what a shipped filter's `config` takes is on \
        its [own page](../shipped-filters.md).\n\n"
            .to_owned();
    section(&mut text, "The file", &schema);
    let is_of_the_file = |(name, _): &(&String, &Value)| !name.starts_with("builtin-") && *name != "FromFile";
    for (name, definition) in object(&schema["$defs"]).filter(is_of_the_file) {
        section(&mut text, name, definition);
    }
    check(
        &expect_file!["../../docs/src/reference/configuration.md"],
        "Every field of the configuration",
        &text,
    );
}

#[test]
fn the_page_of_cases_has_every_field() {
    let schema = tidegate::cases::schema();
    let mut text = "What `tidegate filter test` reads. [Test a filter](../testing-filters.md) shows how these fit together; the fields that a \
        configuration has too are explained [there](configuration.md).\n\n"
        .to_owned();
    section(&mut text, "The file", &schema);
    for (name, definition) in object(&schema["$defs"]) {
        section(&mut text, name, definition);
    }
    check(&expect_file!["../../docs/src/reference/cases.md"], "Every field of a file of cases", &text);
}

/// A type of the schema: a table of its fields, or of its forms.
fn section(text: &mut String, name: &str, definition: &Value) {
    let described = definition["description"].as_str().unwrap_or_default();
    let _ = write!(text, "## {name}\n\n{described}\n\n| field | value | |\n|---|---|---|\n");
    let forms = definition["oneOf"].as_array().or(definition["anyOf"].as_array());
    for (form, described) in forms.into_iter().flatten().map(|form| (form, form["description"].as_str())) {
        match form["properties"].as_object() {
            Some(fields) => {
                fields.iter().for_each(|(field, value)| row(text, field, value, false, described))
            }
            None => row(text, "a text itself", form, false, described),
        }
    }
    let required = definition["required"].as_array();
    for (field, value) in object(&definition["properties"]) {
        let required = required.is_some_and(|required| required.iter().any(|name| name == field));
        row(text, field, value, required, None);
    }
    text.push('\n');
}

fn row(text: &mut String, field: &str, value: &Value, required: bool, described: Option<&str>) {
    let required = if required { "**Required.** " } else { "" };
    let described = described.or(value["description"].as_str()).unwrap_or_default();
    let cell = format!("{required}{described}").replace('|', "\\|").replace('\n', " ");
    let _ = writeln!(text, "| `{field}` | {} | {cell} |", kind(value));
}

/// What a value may be, in a few words.
fn kind(value: &Value) -> String {
    if let Some(name) = value["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = value["enum"].as_array() {
        return choices
            .iter()
            .map(|choice| format!("`{choice}`").replace('"', ""))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(forms) = value["anyOf"].as_array().or(value["oneOf"].as_array()) {
        return forms.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match (value["type"].as_str(), value["pattern"].as_str()) {
        (Some("array"), _) => format!("list of {}", kind(&value["items"])),
        (Some("object"), _) if value["additionalProperties"].is_object() => {
            format!("name: {}", kind(&value["additionalProperties"]))
        }
        (Some("object"), _) if value["properties"].is_object() => {
            let fields =
                object(&value["properties"]).map(|(field, value)| format!("{field}: {}", kind(value)));
            format!("`{{{}}}`", fields.collect::<Vec<_>>().join(", "))
        }
        (_, Some(pattern)) if pattern.ends_with("%?$") => "percentage".to_owned(),
        (_, Some(pattern)) if pattern.ends_with("x?$") => "factor".to_owned(),
        (_, Some(pattern)) if pattern.contains("ms") => "duration".to_owned(),
        (_, Some(pattern)) if pattern.contains("KiB") => "size".to_owned(),
        (_, Some(pattern)) if pattern.contains("|M|") => "number".to_owned(),
        (Some("boolean"), _) => "`true` or `false`".to_owned(),
        (Some("string"), _) => "text".to_owned(),
        (Some("integer"), _) => "number".to_owned(),
        _ => "anything".to_owned(),
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

#[test]
fn the_page_of_failures_has_every_failure() {
    let mut text = "Why an exchange, or a TCP connection, was not what the client and the upstream meant it to be. The \
        reason is the label `outcome` of `tidegate_requests_total` and `tidegate_tcp_connections_total`, and the field \
        `outcome` of the access log; the flag is Envoy's, in the field `flags`. Without a status, and after the response's head was sent, the connection is cut.\n\n\
        | reason | status | at fault | flag | what happened |\n|---|---|---|---|---|\n"
        .to_owned();
    for failure in Failure::ALL {
        let status = failure.status().map_or("cut".to_owned(), |status| status.as_u16().to_string());
        let (reason, party, flag) = (failure.reason(), failure.at_fault().word(), failure.flag());
        let _ = writeln!(text, "| `{reason}` | {status} | {party} | `{flag}` | {failure} |");
    }
    text.push_str(
        "\n## Faults of filters\n\nThe label `kind` of `tidegate_filter_faults_total`, and of an exchange that was answered \
        for it the end of `details` in the access log (`wasm_fail_stream:trap`). The log's line has the message. What becomes \
        of the exchange is up to the filter's `on_fault`.\n\n| kind | what happened |\n|---|---|\n",
    );
    for kind in FaultKind::ALL {
        let _ = writeln!(text, "| `{kind}` | {} |", kind.description());
    }
    check(&expect_file!["../../docs/src/reference/failures.md"], "Failures", &text);
}

#[test]
fn the_page_of_metrics_has_every_metric_with_its_labels() {
    let registry = Registry::new();
    registry.note_config();
    let failed = Outcome { class: StatusClass::ServerError, failure: Some(Failure::NoRoute) };
    let exchanges = registry.exchange(0, "l", "r", "c");
    exchanges.count(failed);
    exchanges.duration.observe(Duration::from_millis(1));
    exchanges.request_bytes.increment();
    exchanges.response_bytes.increment();
    let connections = registry.tcp(0, "l", "c");
    connections.count(Some(Failure::NoEndpoint));
    connections.received_bytes.increment();
    connections.sent_bytes.increment();
    registry.listener(0, "l").count_protocol_error(Failure::MalformedRequest);
    let cluster = registry.cluster(0, "c");
    cluster.count_connect_failure(ConnectFailure::Timeout);
    cluster.count_retry(RetryReason::Status);
    cluster.count_retry_denial(RetryDenial::Budget);
    cluster.count_overflow(Limit::Requests);
    cluster.count_ejection(EjectionReason::SuccessRate);
    cluster.ejections_denied.increment();
    cluster.checks_passed.increment();
    cluster.concurrency_limit.set(1);
    let sample = || FilterSample {
        callbacks: [("on_tick", CallbackSample { bytes_in: 1, ..CallbackSample::default() })].into(),
        rate_limited: [("tick", 1)].into(),
        faults: [("trap", 1)].into(),
        denials: [("headers.write", 1)].into(),
        ..FilterSample::default()
    };
    let _observed = registry.observe_filter("f", sample);
    registry.add_source(|page| {
        write_cells(page, &[CellsSample { vm_id: "v".to_owned(), ..CellsSample::default() }])
    });
    registry.add_source(|page| {
        let sample = OverloadSample {
            stages: vec![("normal", 0), ("relieving", 1)],
            memory: Some((1, 2)),
            refused: vec![("request", "memory", 1)],
            ..OverloadSample::default()
        };
        write_overload(page, &sample)
    });
    registry.add_source(|page| {
        let sample = CanarySample {
            filter: "f".to_owned(),
            percent: Some(5.0),
            versions: [("stable", VersionSample::default()), ("candidate", VersionSample::default())],
            rollbacks: vec![("faults", 1)],
            compared: vec![("same", 1)],
        };
        write_canaries(page, &[sample])
    });
    registry.add_source(|page| {
        let counts = [("healthy", 1), ("degraded", 0), ("unhealthy", 0)];
        write_endpoints(page, &[EndpointsSample { cluster: "c".to_owned(), counts }])
    });
    let page = registry.render(Format::Prometheus).expect("metrics can be rendered");

    let mut text = "What `/metrics` of the admin listener shows, in Prometheus's text format or, for a client that \
        asks for it, in OpenMetrics. Numbers are kept by each worker and summed when somebody asks. A set of labels \
        that has counted nothing is left out.\n\nA filter's own metrics are there too, as `wasmcustom_NAME`: what \
        Prometheus does not allow in a name becomes `_`, and a counter ends in `_total`.\n\n\
        | metric | type | labels | |\n|---|---|---|---|\n"
        .to_owned();
    let described = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    for (name, help) in described.filter(|(name, _)| !name.starts_with("process_")) {
        let kind =
            page.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap_or_default();
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels(&page, name));
    }
    text.push_str(
        "\nThe process itself is there under the names that every Prometheus client uses: \
        `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and others.\n",
    );
    check(&expect_file!["../../docs/src/reference/metrics.md"], "Metrics", &text);
}

/// The labels of a metric's first sample.
fn labels(page: &str, name: &str) -> String {
    let sample = page
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name}_bucket{{")));
    let labels =
        sample.and_then(|line| line.split_once('{')?.1.split_once('}')).map_or("", |(labels, _)| labels);
    let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label);
    names.filter(|label| *label != "le").map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_page_of_hostcalls_has_every_hostcall() {
    let mut text = "Every function that a module may import, and what it answers beside 0, `Ok`. Modules of every version \
        of the ABI may import every one, whichever version introduced it. `tidegate filter inspect` shows which of them a \
        module imports. Before the root context is created, and while the guest's allocator runs, only those that log, \
        those of tool chains and those of WASI may be called; any other stops the guest.\n\n\
        The numbers: "
        .to_owned();
    let numbers: Vec<String> = STATUSES.iter().map(|(name, number)| format!("`{name}` {number}")).collect();
    let _ = write!(text, "{}; of WASI ", numbers.join(", "));
    let numbers: Vec<String> = ERRNOS.iter().map(|(name, number)| format!("`{name}` {number}")).collect();
    let _ = writeln!(text, "{}.", numbers.join(", "));
    let mut family = None;
    for call in HOSTCALLS {
        if family.replace(call.family) != Some(call.family) {
            let _ = writeln!(text, "\n## {}", call.family.title());
            if call.family == Family::Wasi {
                text.push_str("\nOf `wasi_snapshot_preview1`, and of `wasi_unstable` by the same names.\n");
            }
        }
        let params =
            call.param_names.iter().zip(call.params).map(|(name, ty)| format!("{name}: {}", ty.name()));
        let result = match call.result {
            ResultForm::I32 => " -> i32",
            ResultForm::None => "",
            ResultForm::Either => " [-> i32]",
        };
        let params = params.collect::<Vec<_>>().join(", ");
        let doc = hostcalls::documentation(call.function);
        let _ = write!(text, "\n### {}\n\n`({params}){result}`. {}", call.name, doc.text);
        text.push('\n');
        for (position, (status, when)) in doc.statuses.iter().enumerate() {
            let gap = if position == 0 { "\n" } else { "" };
            let _ = writeln!(text, "{gap}- `{status}`: {when}");
        }
    }
    text.push_str(
        "\n## Functions by name\n\nWhat `proxy_call_foreign_function` knows; any other name is `NotFound`. Numbers are \
        little-endian, one after the other; messages are Envoy's, in `source/extensions/common/wasm/ext`. What is not \
        wanted of an answer costs nothing: its place may be null.\n\n| function | arguments | answer | |\n|---|---|---|---|\n",
    );
    for ForeignFunction { name, arguments, answer, about, .. } in FOREIGN_FUNCTIONS {
        let _ = writeln!(text, "| `{name}` | {arguments} | {answer} | {about} |");
    }
    text.push_str(
        "\n## Callbacks\n\nWhat a module may export, all of it 32-bit integers; what it does not export is never entered. \
        Beside these there are the [markers of versions](../writing-filters.md#in-any-language), `memory`, and \
        `_initialize`, `main`, `__main_void` or `_start`, of which it is told first.\n\n| about | export | |\n|---|---|---|\n",
    );
    for export in EXPORTS {
        let mut params = export.params.join(", ");
        if export.last_is_optional {
            params = params.replace(", end_of_stream", "[, end_of_stream]");
        }
        let answers = if export.result { " -> answer" } else { "" };
        let note = if export.is_called() { "" } else { "never called here" };
        let _ =
            writeln!(text, "| {} | `{}({params}){answers}` | {note} |", export.group.title(), export.name);
    }
    check(&expect_file!["../../docs/src/reference/abi.md"], "The ABI", &text);
}

#[test]
fn every_hostcall_says_what_it_does_and_names_statuses_that_there_are() {
    for call in HOSTCALLS {
        let doc = hostcalls::documentation(call.function);
        assert!(!doc.text.is_empty(), "{} ({}) has no documentation", call.name, call.function);
        let known = if call.family == Family::Wasi { ERRNOS } else { STATUSES };
        for (status, _) in &doc.statuses {
            assert!(known.iter().any(|(name, _)| name == status), "{} does not know {status}", call.name);
        }
    }
}

/// The help of a command and of those within it, which it lists: none can be left out.
fn write_help(text: &mut String, command: &[&str]) {
    let arguments = [command, &["--help"]].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(&arguments).output();
    let help = String::from_utf8(output.expect("the binary runs").stdout).expect("the help is text");
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(text, "## tidegate {}\n\n```text\n{}\n```\n\n", arguments.join(" "), lines.join("\n"));
    let listed =
        lines.iter().skip_while(|line| **line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What a name is said to do may go on in a line that is set in further.
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    for name in names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help") {
        write_help(text, &[command, &[name]].concat());
    }
}

#[test]
fn the_page_of_the_command_line_is_the_help_text() {
    let mut text = String::new();
    write_help(&mut text, &[]);
    check(&expect_file!["../../docs/src/reference/command-line.md"], "The command line", &text);
}

#[test]
fn the_page_of_costs_names_every_field_of_the_admin_listeners_page() {
    let page =
        std::fs::read_to_string(crate::root().join("docs/src/reference/costs.md")).expect("it is there");
    let (_, page) = page.split_once("## The page /filters").expect("it has that part");
    let filter = FilterOverview {
        callbacks: [("on_log".to_owned(), CallbackOverview::default())].into(),
        ..FilterOverview::default()
    };
    let overview = Overview { filters: [("f".to_owned(), filter)].into(), ..Overview::default() };
    let shown = serde_json::to_value(overview).expect("it is JSON");
    let filter = &shown["filters"]["f"];
    for (field, _) in [&shown, filter, &filter["callbacks"]["on_log"]].into_iter().flat_map(object) {
        assert!(page.contains(&format!("| `{field}` |")), "the page does not say what `{field}` is");
    }
}

#[test]
fn the_page_on_operating_names_every_field_of_the_access_log() {
    let page = std::fs::read_to_string(crate::root().join("docs/src/operating.md")).expect("there is a page");
    let outcome = Outcome { class: StatusClass::Success, failure: None };
    let ending = Ending {
        status: None,
        outcome,
        grpc_status: None,
        duration: Duration::ZERO,
        request_bytes: 0,
        response_bytes: 0,
    };
    let mut line = Vec::new();
    Entry::begin(&"ingress".into()).write_line(&ending, &mut line);
    let line: Value = serde_json::from_slice(&line).expect("a line is JSON");
    for (field, _) in object(&line) {
        assert!(page.contains(&format!("| `{field}` |")), "the page does not say what `{field}` is");
    }
}
