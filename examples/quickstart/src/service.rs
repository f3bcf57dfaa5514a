//! A service to put a proxy before: it answers every request with its own name and what it was sent.
//!
//! Only what the demonstration needs of HTTP/1.1: requests with a `content-length` body or none, kept connections.

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
pub(crate) fn run(name: &str, address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    // The first line tells the port where 0 was asked for.
    writeln!(io::stdout(), "{name} listens on {}", listener.local_addr()?)?;
    let name: Arc<str> = name.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            // What ends a connection is of no interest here.
            thread::spawn(move || drop(serve(&name, &stream)));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Answers the requests of one connection, one after another.
fn serve(name: &str, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    while let Some(head) = read_head(&mut input)? {
        let last = head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let length =
            match (head.field("transfer-encoding"), head.field("content-length").unwrap_or("0").parse()) {
                (None, Ok(length)) if length <= BODY_LIMIT => length,
                _ => {
                    return write!(
                        output,
                        "HTTP/1.1 411 Length Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                    );
                }
            };
        io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        let body = describe(name, &head, length);
        write!(
            output,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-served-by: {name}\r\ncontent-length: {}\r\n\r\n{}",
            body.len(),
            if head.line.starts_with("HEAD ") { "" } else { &body },
        )?;
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

fn describe(name: &str, head: &Head, length: u64) -> String {
    let mut text = format!("{name} was asked: {}\n", head.line);
    for (field, value) in &head.fields {
        text.push_str(&format!("  {field}: {value}\n"));
    }
    if length > 0 {
        text.push_str(&format!("  and {length} bytes of body\n"));
    }
    text
}
