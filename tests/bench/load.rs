//! Load that is as heavy as the other side bears: h2load on connections that stay, wrk on a new one for each request.
//!
//! Both check the status of every response. h2load also counts the bytes of the bodies, which must be exactly right;
//! of wrk's, which count the headers too, only a shortfall can be seen.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use crate::probe::SHOWN;

/// Connections at once, each with one request in flight.
pub(crate) const CONNECTIONS: usize = 64;

/// A response that takes longer is a failure.
const SILENCE: &str = "10s";

/// What is asked for, and whether connections are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Shape {
    #[value(name = "keep-alive-60b")]
    KeepAlive60B,
    #[value(name = "keep-alive-64k")]
    KeepAlive64K,
    #[value(name = "new-60b")]
    New60B,
    #[value(name = "new-64k")]
    New64K,
}

impl Shape {
    pub(crate) const ALL: [Shape; 4] =
        [Shape::KeepAlive60B, Shape::KeepAlive64K, Shape::New60B, Shape::New64K];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Shape::KeepAlive60B => "keep-alive, 60 B",
            Shape::KeepAlive64K => "keep-alive, 64 KiB",
            Shape::New60B => "new connection, 60 B",
            Shape::New64K => "new connection, 64 KiB",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Shape::KeepAlive60B | Shape::New60B => "/60b",
            Shape::KeepAlive64K | Shape::New64K => "/64k",
        }
    }

    /// The body's length in bytes.
    pub(crate) fn body_length(self) -> u64 {
        match self {
            Shape::KeepAlive60B | Shape::New60B => 60,
            Shape::KeepAlive64K | Shape::New64K => 64 * 1024,
        }
    }
}

/// What a load got through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throughput {
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rate: f64,
}

/// Loads `address` for about `time`. `expected` (requests a second) says how many requests that is where the
/// generator counts requests and not time.
pub(crate) fn run(
    shape: Shape,
    address: SocketAddr,
    core: usize,
    time: Duration,
    expected: f64,
) -> anyhow::Result<Throughput> {
    match shape {
        Shape::KeepAlive60B | Shape::KeepAlive64K => {
            let requests = (expected * time.as_secs_f64()).max(CONNECTIONS as f64) as u64;
            keep_alive(shape, address, core, requests)
        }
        Shape::New60B | Shape::New64K => new_connections(shape, address, core, time),
    }
}

/// `requests` requests, to the last one.
pub(crate) fn keep_alive(
    shape: Shape,
    address: SocketAddr,
    core: usize,
    requests: u64,
) -> anyhow::Result<Throughput> {
    let (connections, count) = (CONNECTIONS.to_string(), requests.to_string());
    let url = format!("http://{address}{}", shape.path());
    let shown = shown();
    let shown = shown.iter().flat_map(|field| ["-H", field]);
    let arguments = ["--h1", "-t1", "-N", SILENCE, "-c", &connections, "-n", &count];
    let arguments: Vec<&str> = arguments.into_iter().chain(shown).chain([url.as_str()]).collect();
    let output = generate(core, "h2load", &arguments)?;
    let line = |name: &str| {
        output
            .lines()
            .find(|line| line.starts_with(name))
            .with_context(|| format!("no {name:?} in:\n{output}"))
    };
    // requests: N total, N started, N done, N succeeded, N failed, N errored, N timeout
    let (requests_line, status_line) = (line("requests:")?, line("status codes:")?);
    let (counts, statuses) = (numbers(requests_line), numbers(status_line));
    ensure!(
        counts == [requests, requests, requests, requests, 0, 0, 0] && statuses.first() == Some(&requests),
        "requests failed: {requests_line}; {status_line}"
    );
    let data = last_in_brackets(line("traffic:")?).context("no bytes of bodies in h2load's answer")?;
    ensure!(data == requests * shape.body_length(), "{data} bytes of bodies for {requests} requests");
    let rate = line("finished in")?.split(", ").nth(1).and_then(|text| text.split(' ').next()?.parse().ok());
    Ok(Throughput { requests, rate: rate.context("no rate in h2load's answer")? })
}

/// A connection for each request, closed after it.
fn new_connections(
    shape: Shape,
    address: SocketAddr,
    core: usize,
    time: Duration,
) -> anyhow::Result<Throughput> {
    // wrk counts whole seconds.
    let seconds = format!("-d{}s", time.as_secs_f64().ceil().max(1.0));
    let connections = format!("-c{CONNECTIONS}");
    let url = format!("http://{address}{}", shape.path());
    let shown = shown();
    let shown = shown.iter().flat_map(|field| ["-H", field]);
    let arguments = ["-t1", &connections, &seconds, "--timeout", SILENCE, "-H", "Connection: close"];
    let arguments: Vec<&str> = arguments.into_iter().chain(shown).chain([url.as_str()]).collect();
    let output = generate(core, "wrk", &arguments)?;
    let trouble = output.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    ensure!(trouble.is_none(), "requests failed: {}", trouble.unwrap_or_default().trim());
    // N requests in 1.00s, 2.86MB read
    let line = output.lines().find(|line| line.contains(" requests in ")).context("wrk counted nothing")?;
    let requests = numbers(line.trim()).first().copied().context("no count in wrk's answer")?;
    let read = line.rsplit(", ").next().and_then(|text| bytes(text.trim_end_matches(" read")));
    let read = read.context("no bytes in wrk's answer")?;
    let owed = (requests * shape.body_length()) as f64;
    ensure!(requests > 0 && read >= 0.99 * owed, "{read} bytes cannot hold {requests} bodies");
    let rate = output.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|text| text.trim().parse().ok()).context("no rate in wrk's answer")?;
    Ok(Throughput { requests, rate })
}

/// Header fields as both generators take them.
fn shown() -> Vec<String> {
    SHOWN.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

fn generate(core: usize, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("taskset")
        .args(["--cpu-list", &core.to_string(), program])
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program} through taskset"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{program} failed with {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// The numbers that words of a line are: `5000 total, 0 failed`.
fn numbers(line: &str) -> Vec<u64> {
    line.split(' ').filter_map(|word| word.parse().ok()).collect()
}

/// The last number in brackets of a line: h2load's bytes of bodies.
fn last_in_brackets(line: &str) -> Option<u64> {
    line.rsplit_once('(')?.1.split_once(')')?.0.parse().ok()
}

/// A size as wrk prints it: `2.86MB`.
fn bytes(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "B" => 1.0,
        "KB" => 1024.0,
        "MB" => 1024.0 * 1024.0,
        "GB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * unit)
}
