//! What sockets of both sides are told alike.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long nothing may come before the kernel asks whether the other side is still there, and how often it does then.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Has the kernel find out about a peer that is gone without a word: on a tunnel, or between the messages of a stream,
/// nobody else would for as long as an idle timeout lasts. HTTP/2's own pings are too often for many gRPC servers.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}
