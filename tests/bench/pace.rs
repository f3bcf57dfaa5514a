//! Load at a fixed rate, whatever the other side does: how long does an answer take when the proxy is not saturated?
//!
//! Arrivals are random and independent (a Poisson process, the same one for every contender of a round), and a latency
//! is counted from the moment when the request was *due*, so a stall is felt by every request that it held up and not
//! just by the one that was under way (no "coordinated omission"). h2load's `--rps` was tried and left: all its
//! connections send at once, every 10 ms, so it measures how long the burst takes to drain.
//!
//! This runs as a process of its own, so that it can be pinned. One thread sends, since only a sleeping thread is woken
//! on the microsecond; another waits for all responses, since that is the cheapest way to read them: the generator
//! shares its core with the upstream, and its own work must not be what is measured.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::load::{CONNECTIONS, Shape};
use crate::options::Schedule;
use crate::probe;
use crate::stats::percentile;

/// What came of it. Times in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) requests: u64,
    /// Requests a second that were sent.
    pub(crate) rate: f64,
    /// From when a request was due to the last byte of its response.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) longest_us: f64,
    /// The same from when it was sent.
    pub(crate) sent_p99_us: f64,
    /// How late requests were sent, because the generator slept too long or every connection was waiting.
    pub(crate) lag_p99_us: f64,
}

/// Runs a schedule in a process on `core`.
pub(crate) fn start(schedule: &Schedule, core: usize) -> anyhow::Result<Latencies> {
    let output = Command::new("taskset")
        .args(["--cpu-list", &core.to_string()])
        .arg(std::env::current_exe().context("cannot name this program")?)
        .args(["pace", "--address", &schedule.address.to_string(), "--rate", &schedule.rate.to_string()])
        .args(["--seconds", &schedule.seconds.to_string(), "--seed", &schedule.seed.to_string()])
        .output()
        .context("cannot run the paced load through taskset")?;
    ensure!(
        output.status.success(),
        "the paced load failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let latencies: Latencies =
        serde_json::from_slice(&output.stdout).context("the paced load printed no result")?;
    let share = latencies.rate / schedule.rate;
    ensure!(
        share > 0.95,
        "only {:.0} of {:.0} requests a second were answered",
        latencies.rate,
        schedule.rate
    );
    Ok(latencies)
}

/// The other side of [`start`]: sends, measures, prints.
pub(crate) fn run(schedule: &Schedule) -> anyhow::Result<()> {
    ensure!(schedule.rate > 0.0 && schedule.seconds > 0.0, "the rate and the time must be positive");
    // The kernel may let a sleeper sleep 50 µs longer than it asked for, unless it asks to be woken sharp. Threads
    // inherit it. Where that is refused, requests are sent a little later, which the lag shows.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");

    let (idle, waiting) = channel();
    let start = Instant::now() + Duration::from_millis(50);
    let mut lanes = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        lanes.push(Lane { socket: probe::connect(schedule.address)?, times: Arc::default() });
        lanes[index].socket.set_nonblocking(true)?;
        idle.send(index).context("nobody waits for connections")?;
    }
    let readers = lanes
        .iter()
        .enumerate()
        .map(|(index, lane)| Ok(Reader { lane: lane.share()?, index, start, idle: idle.clone() }))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let schedule = schedule.clone();
    let sender = std::thread::spawn(move || send(&lanes, &schedule, start, &waiting));
    let exchanges = receive(readers)?;
    let Ok(sent) = sender.join() else { bail!("the sending thread panicked") };
    ensure!(sent? == exchanges.len(), "a response is missing");
    let elapsed = start.elapsed().as_secs_f64();
    serde_json::to_writer(std::io::stdout(), &summarise(&exchanges, elapsed)).context("cannot print")
}

/// A connection, and when the request on it was due and sent (in nanoseconds after the start).
struct Lane {
    socket: TcpStream,
    times: Arc<(AtomicU64, AtomicU64)>,
}

impl Lane {
    fn share(&self) -> anyhow::Result<Lane> {
        Ok(Lane { socket: self.socket.try_clone()?, times: Arc::clone(&self.times) })
    }
}

/// Sends each request when it is due, on the connection that has been idle for longest; when all is answered, closes
/// the connections. Returns how many it sent.
fn send(
    lanes: &[Lane],
    schedule: &Schedule,
    start: Instant,
    idle: &Receiver<usize>,
) -> anyhow::Result<usize> {
    let mut random = fastrand::Rng::with_seed(schedule.seed);
    let request = probe::request(schedule.address, Shape::KeepAlive60B.path());
    let wait = || idle.recv_timeout(probe::PATIENCE).context("no response for too long");
    let (mut due_after, mut sent) = (0.0, 0);
    loop {
        due_after += -(1.0 - random.f64()).ln() / schedule.rate;
        if due_after >= schedule.seconds {
            break;
        }
        let due = Duration::from_secs_f64(due_after);
        std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let lane = &lanes[wait()?];
        lane.times.0.store(due.as_nanos() as u64, Ordering::Relaxed);
        lane.times.1.store(start.elapsed().as_nanos() as u64, Ordering::Release);
        // It always fits: nothing else is under way on this connection.
        let written = (&lane.socket).write(&request).context("cannot send a request")?;
        ensure!(written == request.len(), "a request did not fit into an idle connection");
        sent += 1;
    }
    for _ in lanes {
        wait()?;
    }
    for lane in lanes {
        lane.socket.shutdown(std::net::Shutdown::Both)?;
    }
    Ok(sent)
}

/// One exchange: when it was sent and when it ended, in nanoseconds after it was due.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    lag: u64,
    latency: u64,
}

/// Reads all responses until the connections are closed.
fn receive(readers: Vec<Reader>) -> anyhow::Result<Vec<Exchange>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for reader in readers {
            tasks.spawn(reader.run());
        }
        let mut exchanges = Vec::new();
        while let Some(result) = tasks.join_next().await {
            exchanges.append(&mut result??);
        }
        Ok(exchanges)
    })
}

struct Reader {
    lane: Lane,
    index: usize,
    start: Instant,
    idle: Sender<usize>,
}

impl Reader {
    async fn run(self) -> anyhow::Result<Vec<Exchange>> {
        let socket = tokio::net::TcpStream::from_std(self.lane.socket)?;
        let mut exchanges = Vec::with_capacity(4096);
        let mut buffer = Vec::with_capacity(4096);
        loop {
            socket.readable().await?;
            match socket.try_read_buf(&mut buffer) {
                Ok(0) if buffer.is_empty() => return Ok(exchanges),
                Ok(0) => bail!("the connection ended inside a response"),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("cannot read a response"),
            }
            let now = self.start.elapsed().as_nanos() as u64;
            let Some(response) = probe::parse(&buffer)? else { continue };
            ensure!(response.status == 200, "a response with status {}", response.status);
            ensure!(
                response.body.len() as u64 == Shape::KeepAlive60B.body_length(),
                "a body of another length"
            );
            let sent = self.lane.times.1.load(Ordering::Acquire);
            let due = self.lane.times.0.load(Ordering::Relaxed);
            exchanges.push(Exchange { lag: sent.saturating_sub(due), latency: now.saturating_sub(due) });
            buffer.clear();
            // The sender has stopped early if this fails; its own error says why.
            let _ = self.idle.send(self.index);
        }
    }
}

fn summarise(exchanges: &[Exchange], elapsed: f64) -> Latencies {
    let sorted = |value: fn(&Exchange) -> u64| {
        let mut values: Vec<u64> = exchanges.iter().map(value).collect();
        values.sort_unstable();
        values
    };
    let (latency, sent, lag) = (sorted(|e| e.latency), sorted(|e| e.latency - e.lag), sorted(|e| e.lag));
    let us = |values: &[u64], share: f64| percentile(values, share) as f64 / 1e3;
    Latencies {
        requests: exchanges.len() as u64,
        rate: exchanges.len() as f64 / elapsed,
        p50_us: us(&latency, 0.5),
        p99_us: us(&latency, 0.99),
        p999_us: us(&latency, 0.999),
        longest_us: us(&latency, 1.0),
        sent_p99_us: us(&sent, 0.99),
        lag_p99_us: us(&lag, 0.99),
    }
}
