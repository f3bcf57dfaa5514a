//! TLS that ends without a word of it (`close_notify`; RFC 8446, 6.1): what came before is passed on.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::with_files;
use crate::equipment::frames::{DATA, END_STREAM, RST_STREAM};
use crate::equipment::{
    Authority, BOUND, Backend, Client, Framing, Gate, Issued, Proxy, Start, TlsOptions, tls_accepted,
};
use crate::proxy::reload::holding;
use crate::proxy::upgrades::{ASK, upgraded_stream};

/// More than a client with small buffers takes that does not read.
const MUCH: usize = 256 << 10;

/// A server that speaks TLS to the first who comes: it reads a request's head where there is to be one, says this, and is
/// gone without a word.
struct Abrupt {
    listener: TcpListener,
    issued: Issued,
}

impl Abrupt {
    fn new(authority: &Authority) -> Abrupt {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        Abrupt { listener, issued: authority.issue(&["up.test"]) }
    }

    fn endpoint(&self) -> String {
        self.listener.local_addr().expect("it is bound").to_string()
    }

    fn say(self, reads: bool, said: Vec<u8>) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let (stream, _) = self.listener.accept().expect("somebody connects");
            let mut stream = tls_accepted(stream, &self.issued);
            let mut head = Vec::new();
            while reads && !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("it asks");
                head.extend(byte);
            }
            stream.write_all(&said).expect("somebody reads");
            stream.flush().expect("somebody reads");
        })
    }
}

/// A proxy whose listener has these fields, and whose cluster speaks TLS with this endpoint.
fn before(endpoint: &str, authority: &Authority, fields: &str) -> Start {
    let config = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", {fields}}}]\n\
         clusters:\n  up: {{endpoints: [\"{endpoint}\"], tls: {{ca: ca.pem, server_name: up.test}}}}\n"
    );
    Proxy::with(&config).file("ca.pem", authority.pem())
}

#[test]
fn what_an_upstream_said_before_it_was_gone_reaches_the_client_whole() {
    let authority = Authority::new("tide");
    let server = Abrupt::new(&authority);
    let proxy = before(&server.endpoint(), &authority, "protocol: tcp, cluster: up").start();
    let mut client = Client::connect_narrow(proxy.address("in"));
    server.say(false, vec![b'x'; MUCH]).join().expect("it is taken");
    let received = client.try_orderly_rest().expect("nothing is reset");
    assert_eq!(received.len(), MUCH);
}

#[test]
fn what_a_client_said_before_it_ended_reaches_the_upstream_whole_and_is_answered() {
    let (authority, backend) = (Authority::new("tide"), Backend::start());
    let issued = authority.issue(&["a.test"]);
    let config = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", protocol: tcp, cluster: up, {}}}]\n\
         clusters:\n  up: {{endpoints: [\"{}\"]}}\n",
        super::tls(&["a"], ""),
        backend.address()
    );
    let proxy = with_files(Proxy::with(&config), &[("a", &issued)]).start();
    let stream = TcpStream::connect(proxy.address("in")).expect("it listens");
    stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
    let mut client = TlsOptions::new(&authority, "a.test").shake(stream).expect("the handshake goes well");
    client.write_all(b"ping").expect("it is taken");
    client.sock.shutdown(Shutdown::Write).expect("it is open");
    let mut upstream = backend.accept();
    assert_eq!(upstream.exactly(4), "ping");
    upstream.expect_orderly_end();
    upstream.send("pong");
    upstream.half_close();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("that side ends with a word");
    assert_eq!(answer, "pong");
}

#[test]
fn who_speaks_tls_is_not_told_that_something_is_whole_which_may_not_be() {
    let authority = Authority::new("tide");
    let server = Abrupt::new(&authority);
    let issued = authority.issue(&["a.test"]);
    let fields = format!("protocol: tcp, cluster: up, {}", super::tls(&["a"], ""));
    let start = before(&server.endpoint(), &authority, &fields);
    let proxy = with_files(start, &[("a", &issued)]).start();
    let stream = TcpStream::connect(proxy.address("in")).expect("it listens");
    stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
    let mut client = TlsOptions::new(&authority, "a.test").shake(stream).expect("the handshake goes well");
    let said = server.say(false, vec![b'x'; MUCH]);
    let mut received = Vec::new();
    let end = client.read_to_end(&mut received).expect_err("that is no end");
    assert_eq!((received.len(), end.kind()), (MUCH, ErrorKind::UnexpectedEof));
    said.join().expect("it was taken");
}

#[test]
fn what_a_tunnel_carried_before_its_upstream_was_gone_reaches_the_client_whole() {
    let authority = Authority::new("tide");
    let server = Abrupt::new(&authority);
    let proxy = before(&server.endpoint(), &authority, "routes: [{match: {}, cluster: up}]").start();
    let said = server.say(true, agreed(&[b'x'; MUCH]));
    let mut client = Client::connect_narrow(proxy.address("in"));
    client.send(ASK);
    assert_eq!(client.head().status(), 101);
    said.join().expect("it was taken");
    let received = client.try_orderly_rest().expect("nothing is reset");
    assert_eq!(received.len(), MUCH);
}

/// An agreement to a tunnel, and what is said in it.
fn agreed(said: &[u8]) -> Vec<u8> {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    [&head[..], said].concat()
}

#[test]
fn who_speaks_tls_is_not_told_that_a_tunnel_is_whole_which_may_not_be() {
    let authority = Authority::new("tide");
    let server = Abrupt::new(&authority);
    let issued = authority.issue(&["a.test"]);
    let fields = format!("routes: [{{match: {{}}, cluster: up}}], {}", super::tls(&["a"], ""));
    let start = before(&server.endpoint(), &authority, &fields);
    let proxy = with_files(start, &[("a", &issued)]).start();
    let stream = TcpStream::connect(proxy.address("in")).expect("it listens");
    stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
    let mut client = TlsOptions::new(&authority, "a.test").shake(stream).expect("the handshake goes well");
    let said = server.say(true, agreed(&[b'x'; MUCH]));
    client.write_all(ASK.as_bytes()).expect("it is taken");
    let mut received = Vec::new();
    let end = client.read_to_end(&mut received).expect_err("that is no end");
    let carried = received.iter().filter(|byte| **byte == b'x').count();
    assert_eq!((carried, end.kind()), (MUCH, ErrorKind::UnexpectedEof));
    said.join().expect("it was taken");
}

#[test]
fn a_tunnel_that_is_cut_is_a_stream_that_is_reset_when_all_of_it_was_sent() {
    let authority = Authority::new("tide");
    let server = Abrupt::new(&authority);
    let proxy = before(&server.endpoint(), &authority, "routes: [{match: {}, cluster: up}]").start();
    // As much as may be sent before anything is read.
    let said = server.say(true, agreed(&[b'x'; 65_535]));
    let (mut client, status) = upgraded_stream(&proxy);
    assert_eq!(status, 200);
    said.join().expect("it was taken");
    let received = Cell::new(0);
    let end = client.wait_for(|it| {
        received.update(|count| count + if it.kind == DATA { it.payload.len() } else { 0 });
        it.stream == 1 && (it.kind == RST_STREAM || it.flags & END_STREAM != 0)
    });
    let end = end.expect("it ends");
    assert_eq!((received.get(), end.kind), (65_535, RST_STREAM));
    assert_eq!(end.code(), 8, "CANCEL (RFC 8441, 5)");
}

/// Reads what a server speaking TLS is sent until its client has ended, and how it did.
fn taken(stream: TcpStream, issued: &Issued) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = tls_accepted(stream, issued);
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while !received.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut piece).expect("it asks");
        received.extend(&piece[..count]);
    }
    stream.write_all(&agreed(b"")).expect("somebody reads");
    stream.flush().expect("somebody reads");
    received.clear();
    let end = stream.read_to_end(&mut received).err().map(|error| error.kind());
    (received, end)
}

#[test]
fn an_upstream_that_speaks_tls_is_told_no_more_of_a_tunnels_end_than_the_client_said() {
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    for (says, expected) in [(false, Some(ErrorKind::UnexpectedEof)), (true, None)] {
        let server = Abrupt::new(&authority);
        let fields = format!("routes: [{{match: {{}}, cluster: up}}], {}", super::tls(&["a"], ""));
        let start = before(&server.endpoint(), &authority, &fields);
        let proxy = with_files(start, &[("a", &issued)]).start();
        let Abrupt { listener, issued } = server;
        let taken = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody connects");
            taken(stream, &issued)
        });
        let stream = TcpStream::connect(proxy.address("in")).expect("it listens");
        stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
        let mut client =
            TlsOptions::new(&authority, "a.test").shake(stream).expect("the handshake goes well");
        client.write_all(ASK.as_bytes()).expect("it is taken");
        let mut head = vec![0; 12];
        client.read_exact(&mut head).expect("it is agreed to");
        assert_eq!(head, b"HTTP/1.1 101");
        client.write_all(b"ping").expect("it is taken");
        if says {
            client.conn.send_close_notify();
        }
        client.flush().expect("it is taken");
        client.sock.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(taken.join().expect("it reads"), (b"ping".to_vec(), expected));
    }
}

#[test]
fn a_response_is_whole_by_its_length_and_without_one_only_by_a_word() {
    let authority = Authority::new("tide");
    for (fields, is_whole) in [("content-length: 5\r\n", true), ("", false)] {
        let server = Abrupt::new(&authority);
        let start = before(&server.endpoint(), &authority, "routes: [{match: {}, cluster: up}]");
        let proxy = start.start();
        let said = server.say(true, format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello").into());
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
        let head = client.head();
        assert_eq!(head.status(), 200);
        if is_whole {
            assert_eq!(client.body(Framing::Sized(5)).text(), "hello");
        } else {
            let rest = client.rest();
            assert!(rest.contains("hello") && !rest.ends_with("0\r\n\r\n"), "{rest:?}");
        }
        said.join().expect("it was taken");
    }
}

#[test]
fn a_client_that_ends_its_side_without_a_word_has_left() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    let proxy = super::prepared(upstream.address(), &[&super::tls(&["a"], "")], &[("a", &issued)]).start();
    let stream = TcpStream::connect(proxy.address("in")).expect("it listens");
    stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
    let mut client = TlsOptions::new(&authority, "a.test").shake(stream).expect("the handshake goes well");
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
    client.write_all((ask("/held") + &ask("/")).as_bytes()).expect("it is taken");
    upstream.wait_for(1);
    client.sock.shutdown(Shutdown::Write).expect("it is open");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "client_left")], 1.0);
    gate.open();
}
