//! The smallest HTTP/1.1 client that can tell a right answer from a wrong one.
//!
//! It knows responses with a `content-length` only, which is all that the upstream sends: anything else is an error.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// How long one answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A whole response.
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// The header block as it came, without the status line.
    head: &'a str,
}

/// What every request shows, whoever is measured: the shipped filters look at it.
pub(crate) const SHOWN: [(&str, &str); 3] = [
    ("x-user", "ann"),
    ("x-api-key", "the key of the benchmark"),
    ("cookie", "session=0123456789abcdef; who=ann"),
];

/// A GET of `path` as this client sends it.
pub(crate) fn request(address: SocketAddr, path: &str) -> Vec<u8> {
    let shown: String = SHOWN.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: tidegate-bench\r\n{shown}\r\n")
        .into_bytes()
}

/// Opens a connection that gives up on a silent peer.
pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends `request` and reads the whole response into `buffer`.
pub(crate) fn exchange<'a>(
    mut socket: &TcpStream,
    request: &[u8],
    buffer: &'a mut Vec<u8>,
) -> anyhow::Result<Response<'a>> {
    buffer.clear();
    socket.write_all(request).context("cannot send the request")?;
    let mut chunk = [0; 16 * 1024];
    while parse(buffer)?.is_none() {
        let count = socket.read(&mut chunk).context("cannot read the response")?;
        ensure!(count > 0, "the connection ended inside a response");
        buffer.extend_from_slice(&chunk[..count]);
    }
    parse(buffer)?.context("a response that is no longer there")
}

/// The response in `bytes`; `None` if more is to come. An error if there is more than one response.
pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<Response<'_>>> {
    let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head_end]).context("a header block that is not text")?;
    let (status_line, head) = text.split_once("\r\n").context("a response without a header")?;
    let status = status_line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("not a status line: {status_line:?}"))?;
    let length = values(head, "content-length").next().context("a response without content-length")?;
    let length: usize = length.parse().with_context(|| format!("not a content-length: {length:?}"))?;
    let body = &bytes[head_end + 4..];
    ensure!(body.len() <= length, "bytes after the response");
    Ok((body.len() == length).then_some(Response { status, body, head }))
}

impl<'a> Response<'a> {
    /// The values of a header field, however often it is there.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(self.head, name)
    }
}

fn values<'a>(head: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    head.split("\r\n").filter_map(move |line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
