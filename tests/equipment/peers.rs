//! Servers and clients of others, each on an address of its own: what is put between them is to make no difference.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;
use super::tool;

const SCRIPT: &str = "peers.sh";

/// A server that was started.
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it, and waits until its output says where it listens.
    fn start(
        name: &'static str,
        command: &mut Command,
        find: impl FnMut(&[String]) -> Option<SocketAddr>,
        on_stderr: bool,
    ) -> Server {
        let process = Process::start(name, command);
        let output = if on_stderr { &process.stderr } else { &process.stdout };
        let address = process.find(output, &format!("{name} to listen"), find);
        let address = address.unwrap_or_else(|| panic!("{name} ended:\n{}", process.stderr.text()));
        Server { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.process.is_running(), "a server has ended by itself");
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// An address of loopback that no other process of the tests has: for servers that cannot be told to choose a port.
fn own_address(port: u16) -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 128 | high, middle, low), port))
}

/// Redis, in memory only; nothing where it is not installed.
pub(crate) fn redis() -> Option<Server> {
    let program = tool::find("redis-server", "TIDEGATE_REDIS_SERVER", SCRIPT)?;
    let address = own_address(6379);
    let mut command = Command::new(program);
    command.args(["--bind", &address.ip().to_string(), "--port", "6379", "--save", "", "--appendonly", "no"]);
    let is_ready = |lines: &[String]| {
        lines.iter().any(|line| line.contains("Ready to accept connections")).then_some(address)
    };
    Some(Server::start("Redis", &mut command, is_ready, false))
}

/// Runs Redis's own benchmark against what listens there, as a client that sends much at once.
pub(crate) fn redis_benchmark(at: SocketAddr) {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]);
    command.args([
        "-n",
        "2000",
        "-c",
        "10",
        "-P",
        "16",
        "-d",
        "1000",
        "-q",
        "-t",
        "set,get,lpush,lrange_100",
    ]);
    let client = Process::start("redis-benchmark", &mut command);
    let status = client.wait();
    let said = client.stdout.text() + &client.stderr.text();
    assert!(status.success() && !said.contains("Error"), "{said}");
}

/// NATS; nothing where it is not installed.
pub(crate) fn nats() -> Option<Server> {
    let program = tool::find("nats-server", "TIDEGATE_NATS_SERVER", SCRIPT)?;
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", "-1"]);
    let listening = |lines: &[String]| {
        let line = lines.iter().find(|line| line.contains("Listening for client connections on"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    Some(Server::start("NATS", &mut command, listening, true))
}

fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/venv-peers/bin/python");
    tool::is_installed("Python's websockets", &path, SCRIPT).then_some(path)
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/websocket.py")
}

/// The server of `tests/peers/websocket.py`; nothing where its library is not installed.
pub(crate) fn websockets() -> Option<Server> {
    let mut command = Command::new(python()?);
    command.arg(script()).arg("serve");
    let port = |lines: &[String]| lines.first()?.trim().parse().ok().map(loopback);
    Some(Server::start("the WebSocket server", &mut command, port, false))
}

/// Has its client speak with what is served there. Fails the test with what it says where something does not go well.
pub(crate) fn check_websockets(at: SocketAddr) {
    let mut command = Command::new(python().expect("it is installed with the server"));
    command.arg(script()).args(["check", &format!("ws://{at}")]);
    let client = Process::start("the WebSocket client", &mut command);
    let status = client.wait();
    assert!(status.success(), "after {:?}: {}", client.stdout.lines(), client.stderr.text());
    assert_eq!(client.stdout.lines().len(), 6, "all of it was tried: {}", client.stdout.text());
}
