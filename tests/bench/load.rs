//! Load that is as heavy as the other side bears: h2load on connections that stay, in HTTP/1.1 and HTTP/2, wrk on a new
//! one for each request.
//!
//! Both check the status of every response. h2load also counts the bytes of the bodies, which must be exactly right;
//! of wrk's, which count the headers too, only a shortfall can be seen.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use crate::chain::Chain;
use crate::contender::{Contender, Setup};
use crate::grpc;
use crate::probe::SHOWN;

/// Connections at once, each with one request in flight, where HTTP/1.1 is spoken.
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
    #[value(name = "h2-1000-streams")]
    Http2Streams,
    #[value(name = "h2-1000-connections")]
    Http2Connections,
    #[value(name = "grpc-unary")]
    GrpcUnary,
    #[value(name = "grpc-streaming")]
    GrpcStreaming,
}

/// How a load is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// HTTP/1.1 on [`CONNECTIONS`] that are kept.
    KeepAlive,
    /// HTTP/1.1 on [`CONNECTIONS`] at once, each for one request.
    NewConnections,
    /// HTTP/2 by prior knowledge on both sides, so many streams at once on each of so many connections.
    Http2 { connections: usize, streams: usize },
}

impl Shape {
    pub(crate) const ALL: [Shape; 8] = [
        Shape::KeepAlive60B,
        Shape::KeepAlive64K,
        Shape::New60B,
        Shape::New64K,
        Shape::Http2Streams,
        Shape::Http2Connections,
        Shape::GrpcUnary,
        Shape::GrpcStreaming,
    ];

    pub(crate) fn manner(self) -> Manner {
        match self {
            Shape::KeepAlive60B | Shape::KeepAlive64K => Manner::KeepAlive,
            Shape::New60B | Shape::New64K => Manner::NewConnections,
            Shape::Http2Streams => Manner::Http2 { connections: 1, streams: 1000 },
            Shape::Http2Connections => Manner::Http2 { connections: 1000, streams: 1 },
            Shape::GrpcUnary | Shape::GrpcStreaming => Manner::Http2 { connections: 8, streams: 16 },
        }
    }

    /// Is it measured with this setup? HTTP/2 is a matter between the two that speak it to their upstreams and run
    /// filters, with none and with one.
    pub(crate) fn concerns(self, setup: Setup) -> bool {
        match self.manner() {
            Manner::KeepAlive | Manner::NewConnections => true,
            Manner::Http2 { .. } => {
                setup.contender.runs_filters()
                    && matches!(setup.filters, Chain::Headers(0) | Chain::Headers(1))
            }
        }
    }

    /// Is it measured in turns with this setup? Those are what the bounds are about: everybody whose CPU time is known, and
    /// in HTTP/2 those with a filter.
    pub(crate) fn compares(self, setup: Setup) -> bool {
        match self.manner() {
            Manner::KeepAlive => self == Shape::KeepAlive60B && setup.contender != Contender::Direct,
            Manner::NewConnections => false,
            Manner::Http2 { .. } => self.concerns(setup) && setup.filters == Chain::Headers(1),
        }
    }

    /// How long a turn takes. What disturbs the machine mostly lasts longer, but connections have to be made first: where
    /// there are many a turn is as long as that is to be little of it.
    pub(crate) fn turn(self) -> Duration {
        match self {
            Shape::Http2Connections => Duration::from_millis(2500),
            _ => Duration::from_millis(500),
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Shape::KeepAlive60B => "keep-alive, 60 B",
            Shape::KeepAlive64K => "keep-alive, 64 KiB",
            Shape::New60B => "new connection, 60 B",
            Shape::New64K => "new connection, 64 KiB",
            Shape::Http2Streams => "HTTP/2, 1 connection with 1,000 streams, 60 B",
            Shape::Http2Connections => "HTTP/2, 1,000 connections with 1 stream, 60 B",
            Shape::GrpcUnary => "gRPC, unary",
            Shape::GrpcStreaming => "gRPC, 100 messages from the server",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Shape::KeepAlive60B | Shape::New60B => "/60b",
            Shape::KeepAlive64K | Shape::New64K => "/64k",
            Shape::Http2Streams | Shape::Http2Connections => "/h2/60b",
            Shape::GrpcUnary => grpc::UNARY,
            Shape::GrpcStreaming => grpc::STREAMING,
        }
    }

    /// The body's length in bytes.
    pub(crate) fn body_length(self) -> u64 {
        match self {
            Shape::KeepAlive60B | Shape::New60B | Shape::Http2Streams | Shape::Http2Connections => 60,
            Shape::KeepAlive64K | Shape::New64K => 64 * 1024,
            Shape::GrpcUnary => grpc::MESSAGE.len() as u64,
            Shape::GrpcStreaming => (grpc::MESSAGE.len() * grpc::STREAMED) as u64,
        }
    }

    /// Is it a call that sends a message?
    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Shape::GrpcUnary | Shape::GrpcStreaming)
    }
}

/// What a load got through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throughput {
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rate: f64,
}

/// Where load goes, and what from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) shape: Shape,
    pub(crate) address: SocketAddr,
    /// The load's core.
    pub(crate) core: usize,
    /// A file with the message that a gRPC call sends.
    pub(crate) message: &'a Path,
}

/// Loads the target for about `time`. `expected` (requests a second) says how many requests that is where the
/// generator counts requests and not time.
pub(crate) fn run(target: Target<'_>, time: Duration, expected: f64) -> anyhow::Result<Throughput> {
    match target.shape.manner() {
        Manner::NewConnections => new_connections(target, time),
        Manner::KeepAlive | Manner::Http2 { .. } => {
            counted(target, (expected * time.as_secs_f64()).max(0.0) as u64)
        }
    }
}

/// Requests on connections that are kept, to the last one: as many as asked for, and at least two for each stream.
pub(crate) fn counted(target: Target<'_>, requests: u64) -> anyhow::Result<Throughput> {
    let Target { shape, address, core, message } = target;
    let (mut arguments, connections, streams) = match shape.manner() {
        Manner::Http2 { connections, streams } => (Vec::new(), connections, streams),
        Manner::KeepAlive | Manner::NewConnections => (vec!["--h1".to_owned()], CONNECTIONS, 1),
    };
    let requests = requests.max(2 * (connections * streams) as u64);
    let sizes = ["-t1", "-N", SILENCE].map(str::to_owned);
    arguments.extend(sizes.into_iter().chain([format!("-c{connections}"), format!("-m{streams}")]));
    arguments.push(format!("-n{requests}"));
    if shape.is_grpc() {
        arguments.extend(["-d".to_owned(), message.to_string_lossy().into_owned()]);
        arguments.extend(grpc::FIELDS.iter().flat_map(|(name, value)| header(name, value)));
    }
    arguments.extend(shown());
    arguments.push(format!("http://{address}{}", shape.path()));
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
fn new_connections(target: Target<'_>, time: Duration) -> anyhow::Result<Throughput> {
    let Target { shape, address, core, .. } = target;
    // wrk counts whole seconds.
    let seconds = format!("-d{}s", time.as_secs_f64().ceil().max(1.0));
    let connections = format!("-c{CONNECTIONS}");
    let fixed = ["-t1", &connections, &seconds, "--timeout", SILENCE, "-H", "Connection: close"];
    let mut arguments: Vec<String> = fixed.map(str::to_owned).to_vec();
    arguments.extend(shown());
    arguments.push(format!("http://{address}{}", shape.path()));
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
fn shown() -> impl Iterator<Item = String> {
    SHOWN.iter().flat_map(|(name, value)| header(name, value))
}

fn header(name: &str, value: &str) -> [String; 2] {
    ["-H".to_owned(), format!("{name}: {value}")]
}

fn generate(core: usize, program: &str, arguments: &[String]) -> anyhow::Result<String> {
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
