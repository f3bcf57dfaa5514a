//! gRPC's own interoperability programs, by which its implementations are held against one another: the client and the
//! server of grpc-go.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::process::Process;
use super::tool;

const SCRIPT: &str = "grpc.sh";

/// Names another server.
const SERVER: &str = "TIDEGATE_GRPC_INTEROP_SERVER";

/// The cases that need no credentials and no special server, in the order of gRPC's own description.
pub(crate) const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

/// The server, on a port of its own.
pub(crate) struct InteropServer {
    process: Process,
    address: SocketAddr,
}

impl InteropServer {
    /// Starts it; nothing where it is not installed.
    pub(crate) fn start() -> Option<InteropServer> {
        let unavailable = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/grpc/unavailable");
        let own = std::env::var_os(SERVER).is_some();
        if let (false, Ok(why)) = (own, std::fs::read_to_string(unavailable)) {
            eprintln!("SKIPPED: gRPC's interoperability: {}, so nothing was tested with it", why.trim());
            return None;
        }
        let program = tool::find("grpc-interop-server", SERVER, SCRIPT)?;
        let mut command = Command::new(program);
        command.args(["-port", "0"]).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info");
        let process = Process::start("the interop server", &mut command);
        let port = process.find(&process.stderr, "the interop server to listen", |lines| {
            let line = lines.iter().find(|line| line.contains("interop server listening on"))?;
            line.rsplit(':').next()?.parse().ok()
        });
        let port = port.unwrap_or_else(|| panic!("it ended:\n{}", process.stderr.text()));
        Some(InteropServer { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_running()
    }
}

/// Runs one case of the client against what listens there. An error is what it said.
pub(crate) fn run_case(case: &str, at: SocketAddr) -> Result<(), String> {
    let program = tool::find("grpc-interop-client", "TIDEGATE_GRPC_INTEROP_CLIENT", SCRIPT);
    let mut command = Command::new(program.expect("it is installed with the server"));
    let port = at.port().to_string();
    command.args(["-server_host", &at.ip().to_string(), "-server_port", &port, "-test_case", case]);
    let client = Process::start("the interop client", &mut command);
    match client.wait().success() {
        true => Ok(()),
        false => Err(client.stderr.text()),
    }
}
