//! A service to put a proxy before: it answers every request with its own name and what it was sent, and as it is told to.
//!
//! Only what demonstrations need of HTTP/1.1. Each request header `x-answer` says a header of the answer, such as
//! `x-answer: cache-control: max-age=60`, or its status, `x-answer: :status: 503`; `x-answer-body` says the body. A request
//! whose `if-none-match` is the `etag` of the answer gets 304.
//!
//! The tests of the examples' pages have it behind the proxy too, so that they see what a reader sees.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A client that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(120);
/// A request's line and headers together, in bytes.
const HEAD_LIMIT: u64 = 64 * 1024;
/// A request's body, in bytes.
const BODY_LIMIT: u64 = 16 * 1024 * 1024;

/// Serves until standard input ends, which it does when whoever started this is gone, however that came about.
#[allow(dead_code, reason = "the tests serve without a standard input")]
pub(crate) fn run(name: &str, address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    // The first line tells the port where 0 was asked for.
    writeln!(io::stdout(), "{name} listens on {}", listener.local_addr()?)?;
    serve_on(listener, name);
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Serves in the background, for as long as the process lives.
pub(crate) fn serve_on(listener: TcpListener, name: &str) {
    let name: Arc<str> = name.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            // What ends a connection is of no interest here.
            thread::spawn(move || drop(serve(&name, &stream)));
        }
    });
}

/// Answers the requests of one connection, one after another.
fn serve(name: &str, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    while let Some(head) = read_head(&mut input)? {
        let last = head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let body = read_body(&mut input, &head)?;
        output.write_all(&answer(name, &head, &body))?;
        if last {
            break;
        }
    }
    Ok(())
}

struct Head {
    line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// What `x-answer` asks for.
    fn wishes(&self) -> impl Iterator<Item = (&str, &str)> {
        let wishes = self.fields.iter().filter(|(name, _)| name == "x-answer");
        wishes.filter_map(|(_, wish)| {
            // The name of a status begins with a colon.
            let colon = wish.get(1..)?.find(':')? + 1;
            Some((wish[..colon].trim(), wish[colon + 1..].trim()))
        })
    }
}

/// The next request's head; nothing when the client has closed the connection.
fn read_head(input: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut lines = input.take(HEAD_LIMIT).lines();
    let Some(line) = lines.next().transpose()? else { return Ok(None) };
    let mut fields = Vec::new();
    for field in lines {
        let field = field?;
        if field.is_empty() {
            return Ok(Some(Head { line, fields }));
        }
        let (name, value) = field.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn read_body(input: &mut impl BufRead, head: &Head) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if head.field("transfer-encoding").is_none() {
        let length = head.field("content-length").unwrap_or("0").parse::<u64>();
        let length = length.ok().filter(|length| *length <= BODY_LIMIT).ok_or(io::ErrorKind::InvalidData)?;
        input.take(length).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        input.take(HEAD_LIMIT).read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            // Trailers, which are of no interest here, end as a head does.
            read_head(&mut (&b"trailers\r\n"[..]).chain(input))?;
            return Ok(body);
        }
        if body.len() as u64 + size > BODY_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        input.take(size).read_to_end(&mut body)?;
        input.take(2).read_to_end(&mut Vec::new())?;
    }
}

fn answer(name: &str, head: &Head, body: &[u8]) -> Vec<u8> {
    let wish = |wanted: &str| head.wishes().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let known = wish("etag").is_some_and(|etag| head.field("if-none-match") == Some(etag));
    let status = if known { "304" } else { wish(":status").unwrap_or("200") };
    let content = match head.field("x-answer-body") {
        Some(text) => text.as_bytes().to_vec(),
        None => describe(name, head, body),
    };
    let mut text = format!("HTTP/1.1 {status} {}\r\nx-served-by: {name}\r\n", reason(status));
    if wish("content-type").is_none() {
        text.push_str("content-type: text/plain\r\n");
    }
    for (name, value) in head.wishes().filter(|(name, _)| *name != ":status") {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !known {
        text.push_str(&format!("content-length: {}\r\n", content.len()));
    }
    text.push_str("\r\n");
    let has_content = !known && !head.line.starts_with("HEAD ");
    [text.as_bytes(), if has_content { &content } else { b"" }].concat()
}

fn reason(status: &str) -> &'static str {
    match status {
        "200" => "OK",
        "304" => "Not Modified",
        _ => "As Wished",
    }
}

/// `api answers GET /items`, the request's fields, and its body.
fn describe(name: &str, head: &Head, body: &[u8]) -> Vec<u8> {
    let asked = head.line.rsplit_once(' ').map_or(&*head.line, |(asked, _)| asked);
    let mut text = format!("{name} answers {asked}\n");
    for (field, value) in head.fields.iter().filter(|(field, _)| !field.starts_with("x-answer")) {
        text.push_str(&format!("  {field}: {value}\n"));
    }
    if !body.is_empty() {
        text.push('\n');
    }
    let mut text = text.into_bytes();
    text.extend_from_slice(body);
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    text
}
