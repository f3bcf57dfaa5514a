//! A client that says exactly the bytes it is told and reads answers exactly as they come.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::checks;
use super::http1::{Body, End, Framing, Head, Wire, from_latin1, latin1, response_framing};

/// What a client sends when only the amount counts.
const FILLER: &[u8] = &[b'x'; 64 << 10];

/// One connection to a proxy.
pub(crate) struct Client {
    wire: Wire,
    address: SocketAddr,
    progress: u64,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// The 1xx heads before it.
    pub(crate) interim: Vec<Head>,
    /// Its own head.
    pub(crate) head: Head,
    /// Its body.
    pub(crate) body: Body,
}

impl Response {
    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// Its body as text.
    pub(crate) fn text(&self) -> String {
        self.body.text()
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::connect_with(address, None)
    }

    /// Connects with small socket buffers, so that little is in flight when this side stops reading.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Client {
        Client::connect_with(address, Some(16 * 1024))
    }

    /// Connects where that may be refused.
    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Ok(Client { wire: Wire::connect(address, None, None)?, address, progress: 0 })
    }

    /// The same from this address of the machine.
    pub(crate) fn try_connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<Client> {
        Ok(Client { wire: Wire::connect(address, Some(source), None)?, address, progress: 0 })
    }

    /// Connects from this address of the machine.
    pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Client {
        Client::over(address, Wire::connect(address, Some(source), None))
    }

    fn connect_with(address: SocketAddr, window: Option<usize>) -> Client {
        Client::over(address, Wire::connect(address, None, window))
    }

    /// A connection that was accepted.
    pub(crate) fn accepted(stream: TcpStream, address: SocketAddr) -> Client {
        Client { wire: Wire::new(stream), address, progress: 0 }
    }

    fn over(address: SocketAddr, wire: io::Result<Wire>) -> Client {
        let wire = wire.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Client { wire, address, progress: 0 }
    }

    /// Where it is connected to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, bodies are counted and not kept.
    pub(crate) fn forget_bodies(&mut self) {
        self.wire.forget_bodies();
    }

    /// Writes these characters as Latin-1 bytes, as one piece.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(&from_latin1(text));
    }

    /// Writes these bytes.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("cannot send to {}: {error}", self.address));
    }

    /// Writes these bytes; an error where the peer has ended the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.send(bytes)
    }

    /// Writes what the connection takes within `patience`, and says how many bytes that was.
    pub(crate) fn send_within(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let taken = self.wire.send_within(bytes, patience);
        taken.unwrap_or_else(|error| panic!("cannot send to {}: {error}", self.address))
    }

    /// Sends filler until the peer takes none for half a second, which is a stop; how much it took. The test fails if
    /// that is as much as `most`: then nothing holds this client back.
    pub(crate) fn send_until_stopped(&mut self, most: u64) -> u64 {
        let mut taken = 0;
        loop {
            let count = self.send_within(FILLER, Duration::from_millis(500)) as u64;
            if count == 0 {
                return taken;
            }
            taken += count;
            assert!(taken < most, "{} took {taken} bytes and did not stop", self.address);
        }
    }

    /// Sends so many bytes of filler.
    pub(crate) fn send_filler(&mut self, mut count: u64) {
        while count > 0 {
            let block = &FILLER[..usize::try_from(count).unwrap_or(usize::MAX).min(FILLER.len())];
            self.send_bytes(block);
            count -= block.len() as u64;
        }
    }

    /// Sends a GET and reads the answer.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], "")
    }

    /// Sends a request with these fields and this body (with `content-length` where there is one), reads the answer.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.send(&request_text(method, path, fields, body));
        self.response_to(method)
    }

    /// The next answer, to a request that is not HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next answer, to a request of this method. Fails the test when there is none or when it breaks what must
    /// always hold.
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(Some(response)) => response,
            Ok(None) => panic!("{} ended the connection instead of answering", self.address),
            Err(error) => panic!("no answer from {}: {error}", self.address),
        }
    }

    /// The next answer, or `None` where the peer ended the connection instead.
    pub(crate) fn try_response_to(&mut self, method: &str) -> io::Result<Option<Response>> {
        let mut interim = Vec::new();
        let head = loop {
            match self.wire.head()? {
                Some(head) if head.status() < 200 && head.status() != 101 => {
                    assert_holds(&checks::response(&head));
                    interim.push(head);
                }
                Some(head) => break head,
                None => return Ok(None),
            }
        };
        assert_holds(&checks::response(&head));
        let framing = response_framing(&head, method)?;
        let progress = &mut self.progress;
        let body = self.wire.body(framing, &mut |piece| *progress += piece.len() as u64)?;
        assert_holds(&checks::trailers(&body));
        Ok(Some(Response { interim, head, body }))
    }

    /// The next head alone, an interim one or not.
    pub(crate) fn head(&mut self) -> Head {
        let head = self.wire.head().unwrap_or_else(|error| panic!("no head from {}: {error}", self.address));
        let head = head.unwrap_or_else(|| panic!("{} ended the connection instead of a head", self.address));
        assert_holds(&checks::response(&head));
        head
    }

    /// The body of an answer whose head was read with [`Client::head`].
    pub(crate) fn body(&mut self, framing: Framing) -> Body {
        let progress = &mut self.progress;
        let body = self.wire.body(framing, &mut |piece| *progress += piece.len() as u64);
        body.unwrap_or_else(|error| panic!("no body from {}: {error}", self.address))
    }

    /// Exactly this many raw bytes, as text.
    pub(crate) fn exactly(&mut self, count: usize) -> String {
        let bytes = self.wire.exactly(count);
        latin1(&bytes.unwrap_or_else(|error| panic!("{}: {error}", self.address)))
    }

    /// Bytes of bodies that were read so far on this connection.
    pub(crate) fn progress(&self) -> u64 {
        self.progress
    }

    /// Everything up to the peer's end, as text.
    pub(crate) fn rest(&mut self) -> String {
        latin1(
            &self
                .wire
                .rest()
                .unwrap_or_else(|error| panic!("{} keeps the connection open: {error}", self.address)),
        )
    }

    /// Waits for the peer to end the connection and fails the test if it says anything more before.
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{} said more than one answer: {rest:?}", self.address);
    }

    /// Waits for the peer to end the connection, and fails the test if it says anything more before or resets it.
    pub(crate) fn expect_orderly_end(&mut self) {
        let rest = self.wire.orderly_rest();
        let rest = rest.unwrap_or_else(|error| panic!("{} is not ended in order: {error}", self.address));
        assert!(rest.is_empty(), "{} said more than one answer: {:?}", self.address, latin1(&rest));
    }

    /// Everything up to the peer's orderly end, as text; an error where it resets the connection.
    pub(crate) fn try_orderly_rest(&mut self) -> io::Result<String> {
        self.wire.orderly_rest().map(|bytes| latin1(&bytes))
    }

    /// Whether the connection is still open as far as can be known now.
    pub(crate) fn is_open(&mut self) -> bool {
        self.wire.is_open()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&self) {
        self.wire.half_close().expect("an open connection can be half closed");
    }

    /// Goes away with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }

    /// Goes away in an orderly way, both directions at once.
    pub(crate) fn leave(self) {
        let _ = self.wire.twin().shutdown(Shutdown::Both);
    }
}

/// A request as text. `host` is `tide.test` unless the fields name another; a body is one chunk where they say
/// `transfer-encoding: chunked`, and has a `content-length` otherwise.
pub(crate) fn request_text(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> String {
    let has = |wanted: &str| fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !has("host") {
        text += "host: tide.test\r\n";
    }
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    if has("transfer-encoding") {
        return format!("{text}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", from_latin1(body).len());
    }
    if !has("content-length") && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
        text += &format!("content-length: {}\r\n", from_latin1(body).len());
    }
    text + "\r\n" + body
}

/// Fails the test when a message broke what must always hold.
fn assert_holds(violations: &[String]) {
    assert!(violations.is_empty(), "an answer broke what must always hold:\n{}", violations.join("\n"));
}

/// Whether a body came to its end.
pub(crate) fn is_whole(body: &Body) -> bool {
    body.end == End::Complete
}
