//! `make demo`: starts two services and the proxy with this folder's configuration, sends a few requests, and shows what
//! the client got and what each filter did. Everything that is shown is also checked.
//!
//! The map, in reading order: this file (the story), `scenes` (the requests and what must be true of them),
//! `configuration` (which ports), `processes` (what is started and how it ends), `service` (what is behind the proxy),
//! `http`, `metrics`, `signals`, `screen`.

mod configuration;
mod http;
mod metrics;
mod processes;
mod scenes;
mod screen;
mod service;
mod signals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tidegate_build::{Build, Toolchain};

use processes::{Proxy, Service};
use scenes::{Exchange, FILTERS, SCENES, Scene, Stage};
use screen::{Look, Screen};

const USAGE: &str = "\
usage: quickstart                         the demonstration, left running until Ctrl-C
       quickstart --once                  ends after it: with 0 if everything was right
       quickstart service NAME ADDRESS    one of the services, until its standard input ends";
/// How many requests are sent to see how they are shared out.
const CROWD: u32 = 200;
/// Between two looks at whether the proxy is still there.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => run(false),
        ["--once"] => run(true),
        ["service", name, address] => {
            service::run(name, address).with_context(|| format!("{name} cannot serve on {address}"))
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demonstration. Fails if anything was not as it should be.
fn run(once: bool) -> anyhow::Result<()> {
    let screen = Screen::new();
    let signals = signals::catch().context("cannot watch for Ctrl-C")?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR"));

    let toolchain = Toolchain::find()?;
    screen.step(format!("building the filter guard with {toolchain}"));
    let build = Build::new(example.join("guard")).profile("filter").locked();
    build.run_with(&toolchain).context("the filter guard is not built")?;

    let (services, configuration) = set_up(screen, example)?;
    screen.step(format!("starting tidegate run {}", shown(&configuration)));
    let mut proxy = Proxy::start(&configuration)?;
    let (ingress, admin) = (proxy.address("ingress")?, proxy.address("admin")?);
    screen.step(format!("listening on {ingress}, admin on {admin}"));
    if cfg!(debug_assertions) {
        screen.step("this is a debug build: a filter's time is many times that of a release build");
    }

    let mistakes = show(screen, &Stage { proxy: &proxy, ingress, admin })?;
    if !once {
        screen.title("Running until Ctrl-C. Try:");
        screen.line(format!("  curl -i http://{ingress}/hello"));
        screen.line(format!("  curl -i http://{ingress}/hello -H 'x-canary: 1'"));
        screen.line(format!("  curl -i http://{ingress}/admin/users"));
        screen.line(format!("  curl -s http://{admin}/metrics\n"));
        leave_running(screen, &mut proxy, &signals)?;
    }
    screen.step("stopping");
    let status = proxy.stop()?;
    drop(services);
    if !status.success() {
        bail!("tidegate ended with {status}");
    }
    match mistakes {
        0 => Ok(()),
        _ => bail!("{mistakes} of the above are not as they should be"),
    }
}

/// Starts the services and says which configuration leads to them.
fn set_up(screen: Screen, example: &Path) -> anyhow::Result<([Service; 2], PathBuf)> {
    let file = example.join("tidegate.yaml");
    let busy = configuration::WRITTEN.in_use();
    let wanted = if busy.is_some() { configuration::ANY } else { configuration::WRITTEN };
    let services = [Service::start("api", wanted.api)?, Service::start("api-canary", wanted.canary)?];
    let [api, canary] = [services[0].address, services[1].address];
    screen.step(format!("started the services api on {api} and api-canary on {canary}"));
    let Some(busy) = busy else { return Ok((services, file)) };
    let folder = example.join("../../target/quickstart");
    let copy =
        configuration::write_copy(&file, &folder, &configuration::Addresses { api, canary, ..wanted })?;
    screen.step(screen.paint(
        Look::Warning,
        &format!("{busy} is in use: running a copy of {} with free ports", shown(&file)),
    ));
    Ok((services, copy.canonicalize()?))
}

/// Sends the requests and shows what came of them; returns how many things were wrong.
fn show(screen: Screen, stage: &Stage<'_>) -> anyhow::Result<usize> {
    let before = stage.metrics()?;
    let mut wrong = 0;
    for (number, scene) in (1..).zip(&SCENES) {
        let exchange = stage.play(scene, &format!("demo-{number}"))?;
        let mistakes = scene.mistakes(&exchange);
        show_exchange(screen, number, scene, &exchange);
        verdict(screen, &mistakes);
        wrong += mistakes.len();
    }
    let mistakes = show_crowd(screen, stage)?;
    verdict(screen, &mistakes);
    wrong += mistakes.len();
    let mistakes = show_metrics(screen, stage, &before)?;
    verdict(screen, &mistakes);
    Ok(wrong + mistakes.len())
}

fn show_exchange(screen: Screen, number: u32, scene: &Scene, exchange: &Exchange) {
    let Exchange { answer, entry, .. } = exchange;
    screen.title(&format!("{number}. {}", scene.title));
    let header = scene.header.map_or(String::new(), |(name, value)| format!("   {name}: {value}"));
    screen.row("request", format!("GET {}{header}", scene.path));
    let mut got = answer.status.to_string();
    for name in ["x-served-by", "x-guard"] {
        if let Some(value) = answer.header(name) {
            got.push_str(&format!("   {name}: {value}"));
        }
    }
    screen.row("client got", got);
    if answer.header("x-served-by").is_none() {
        screen.row("", answer.body.trim_end());
    }
    for filter in FILTERS {
        let cost = screen.paint(Look::Dim, &format!("({})", exchange.cost_of(filter)));
        screen.row(filter, format!("{} {cost}", exchange.deed_of(filter)));
    }
    screen.row("access log", summary(entry));
}

/// The access log's line in short.
fn summary(entry: &Value) -> String {
    let fields = ["route", "cluster", "upstream", "status", "outcome", "filter", "details", "duration_ms"];
    let shown = fields.iter().filter(|field| !entry[**field].is_null());
    shown.map(|field| format!("{field}={}", entry[*field]).replace('"', "")).collect::<Vec<_>>().join(" ")
}

fn show_crowd(screen: Screen, stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    screen.title(&format!("{}. {CROWD} ordinary requests, shared out by weight", SCENES.len() + 1));
    let mut services = BTreeMap::<String, u32>::new();
    let before = stage.metrics()?;
    for _ in 0..CROWD {
        let answer = http::get(stage.ingress, "/hello", &[])?;
        let service = answer.header("x-served-by").filter(|_| answer.status == 200).unwrap_or("nobody");
        *services.entry(service.to_owned()).or_default() += 1;
    }
    let counted = stage.metrics_after(&before, f64::from(CROWD))?.since(&before);
    let mut mistakes = Vec::new();
    let logged = stage.count_entries(CROWD);
    if logged != CROWD {
        mistakes.push(format!("the access log has {logged} lines about {CROWD} requests"));
    }
    for (service, count) in &services {
        screen.row(service, count.to_string());
        let in_metrics = counted.sum("tidegate_requests_total", &[("cluster", service), ("outcome", "ok")]);
        if in_metrics != f64::from(*count) {
            mistakes.push(format!("{service} answered {count} requests and {in_metrics} are counted"));
        }
    }
    Ok(mistakes)
}

fn show_metrics(screen: Screen, stage: &Stage<'_>, before: &metrics::Page) -> anyhow::Result<Vec<String>> {
    screen.title("What the metrics say of all this");
    let now = stage.metrics()?;
    let lines = now.lines(&[
        "tidegate_requests_total",
        "tidegate_filter_instructions_total",
        "tidegate_filter_time_seconds_total",
        "tidegate_filter_faults_total",
        "wasmcustom_guard_passed_total",
        "wasmcustom_guard_refused_total",
        "wasmcustom_fault_aborts_total",
    ]);
    lines.iter().for_each(|line| screen.line(format!("  {line}")));
    let (made, counted) =
        (SCENES.len() as f64 + f64::from(CROWD), now.since(before).sum("tidegate_requests_total", &[]));
    let faults = now.sum("tidegate_filter_faults_total", &[]);
    let mut mistakes = Vec::new();
    if made != counted {
        mistakes.push(format!("{made} requests were made and {counted} are counted"));
    }
    if faults > 0.0 {
        mistakes.push(format!("{faults} faults of filters are counted: none should have failed"));
    }
    Ok(mistakes)
}

fn verdict(screen: Screen, mistakes: &[String]) {
    if mistakes.is_empty() {
        screen.row("", screen.paint(Look::Good, "as it should be"));
    }
    for mistake in mistakes {
        screen.row("", screen.paint(Look::Bad, &format!("WRONG: {mistake}")));
    }
}

/// Shows the access log until somebody ends the demonstration, or the proxy ends by itself.
fn leave_running(screen: Screen, proxy: &mut Proxy, signals: &Receiver<()>) -> anyhow::Result<()> {
    while signals.try_recv().is_err() {
        if let Some(line) = proxy.next_exchange(LOOK_PERIOD) {
            screen.line(line);
        }
        proxy.show_complaints();
        if let Some(status) = proxy.has_ended()? {
            bail!("tidegate ended by itself with {status}");
        }
    }
    Ok(())
}

/// A path as one would type it in the current folder, where that is shorter.
fn shown(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    path.strip_prefix(here).unwrap_or(&path).display().to_string()
}
