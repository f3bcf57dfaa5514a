//! A connection to an endpoint, with TLS on it where the cluster has it. The caller sees to the time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;
use tokio_rustls::{TlsConnector, TlsStream};

use super::{Endpoint, UpstreamError};
use crate::config::model::{self, Address, UnixAddress};
use crate::telemetry::metrics::ClusterCell;
use crate::tls::{Origination, Purpose, Version};
use crate::transport::{Socket, Transport, Wire};

/// How long a UNIX socket is left alone that has no room for one more connection: the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Connects to an endpoint of a cluster, for this purpose, which is what is offered to it in a handshake,
/// and says the `prelude` before that.
///
/// # Errors
///
/// It cannot be reached, or the handshake failed.
pub(super) async fn dial(
    cluster: &model::Cluster,
    endpoint: &Endpoint,
    purpose: Purpose,
    prelude: &[u8],
    cell: &ClusterCell,
) -> Result<Transport, UpstreamError> {
    let mut socket = connect(endpoint.address()).await.map_err(UpstreamError::from_connect)?;
    socket.send_at_once().and_then(|()| socket.keep_alive()).map_err(UpstreamError::Connect)?;
    if !prelude.is_empty() {
        socket.write_all(prelude).await.map_err(UpstreamError::Connect)?;
    }
    match &cluster.tls {
        None => Ok(Transport::from(socket)),
        Some(tls) => shake(socket, tls, endpoint, purpose, cell).await,
    }
}

async fn connect(address: Address) -> io::Result<Socket> {
    match address {
        Address::Ip(address) => TcpStream::connect(address).await.map(Socket::from),
        Address::Unix(address) => connect_within(address).await.map(Socket::from),
    }
}

/// Connects within the machine. Where as many wait to be accepted as may, the kernel says so at once, and does not tell when
/// there is room.
async fn connect_within(address: UnixAddress) -> io::Result<UnixStream> {
    let name = match address.abstract_name() {
        Some(name) => format!("\0{name}"), // as the kernel knows it
        None => address.name().to_owned(),
    };
    let (mut pause, longest) = PAUSES;
    loop {
        match UnixStream::connect(&name).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
            connected => return connected,
        }
        pause = (2 * pause).min(longest);
    }
}

async fn shake(
    socket: Socket,
    tls: &Origination,
    endpoint: &Endpoint,
    purpose: Purpose,
    cell: &ClusterCell,
) -> Result<Transport, UpstreamError> {
    let wire = Wire::new(socket, Bytes::new());
    let name = tls.name_of(endpoint.address().ip().map(|address| address.ip()));
    let connector = TlsConnector::from(tls.config(purpose).clone());
    let stream = connector.connect(name, wire).await.map_err(UpstreamError::Tls)?;
    let (_, session) = stream.get_ref();
    if let Some(version) = session.protocol_version().and_then(Version::of) {
        cell.handshakes.count(version, session.handshake_kind() == Some(HandshakeKind::Resumed));
    }
    Ok(Transport::from(TlsStream::Client(stream)))
}
