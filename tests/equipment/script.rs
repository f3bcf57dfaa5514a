//! What an upstream does with a request: a list of acts, performed in order on its connection.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};

use super::http1::from_latin1;
use super::wait::BOUND;

/// One thing that an upstream does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Reads the request's body to its end.
    ReadBody,
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Writes this block so many times: bodies that are larger than memory.
    Flood {
        /// What is written.
        block: Vec<u8>,
        /// How often.
        times: usize,
        /// How many bytes the connection has taken so far.
        written: Arc<AtomicU64>,
    },
    /// Waits until the test opens the gate.
    Await(Gate),
    /// Tells the test that this point was reached.
    Reached(Gate),
    /// Ends the connection in an orderly way.
    Close,
    /// Ends the connection with a reset.
    Reset,
    /// From here on the connection carries bytes: everything that comes is sent back, until the peer's end.
    Echo,
    /// Waits until the peer ends the connection.
    AwaitEnd,
}

/// A list of acts, usually one answer to one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) acts: Vec<Act>,
}

impl Answer {
    /// Reads the whole request, then answers 200 with this body.
    pub(crate) fn ok(body: &str) -> Answer {
        Answer::sized(200, &[], body)
    }

    /// Reads the whole request, then answers with a body under `content-length`.
    pub(crate) fn sized(status: u16, fields: &[(&str, &str)], body: &str) -> Answer {
        let length = body.len().to_string();
        let fields = [fields, &[("content-length", &length)]].concat();
        Answer::default().read_body().send(&(head_text(status, &fields) + body))
    }

    /// Reads the whole request, then answers with these chunks and trailers, all in one write.
    pub(crate) fn chunked(
        status: u16,
        fields: &[(&str, &str)],
        chunks: &[&str],
        trailers: &[(&str, &str)],
    ) -> Answer {
        let fields = [fields, &[("transfer-encoding", "chunked")]].concat();
        let answer = Answer::default().head(status, &fields);
        let answer = chunks.iter().fold(answer, |answer, chunk| answer.chunk(chunk)).last_chunk(trailers);
        let pieces = answer.acts.into_iter().filter_map(|act| match act {
            Act::Send(bytes) => Some(bytes),
            _ => None,
        });
        Answer::default().read_body().act(Act::Send(pieces.flatten().collect()))
    }

    /// Reads the request's body.
    pub(crate) fn read_body(self) -> Answer {
        self.act(Act::ReadBody)
    }

    /// Writes a response's head.
    pub(crate) fn head(self, status: u16, fields: &[(&str, &str)]) -> Answer {
        self.send(&head_text(status, fields))
    }

    /// Writes one chunk of a chunked body.
    pub(crate) fn chunk(self, content: &str) -> Answer {
        self.send(&format!("{:x}\r\n{content}\r\n", content.len()))
    }

    /// Writes the end of a chunked body, with trailers.
    pub(crate) fn last_chunk(self, trailers: &[(&str, &str)]) -> Answer {
        let trailers: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(&format!("0\r\n{trailers}\r\n"))
    }

    /// Writes these characters as Latin-1 bytes.
    pub(crate) fn send(self, text: &str) -> Answer {
        self.act(Act::Send(from_latin1(text)))
    }

    /// Waits until the test opens the gate.
    pub(crate) fn wait(self, gate: &Gate) -> Answer {
        self.act(Act::Await(gate.clone()))
    }

    /// Tells the test that this point was reached.
    pub(crate) fn reached(self, gate: &Gate) -> Answer {
        self.act(Act::Reached(gate.clone()))
    }

    /// Any other act.
    pub(crate) fn act(mut self, act: Act) -> Answer {
        self.acts.push(act);
        self
    }
}

fn head_text(status: u16, fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Scripted\r\n{fields}\r\n")
}

/// A door that is shut until somebody opens it; then it stays open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// A shut one.
    pub(crate) fn new() -> Gate {
        Gate::default()
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    /// Shuts it again, for the next run of the same script.
    pub(crate) fn shut(&self) {
        *self.open.0.lock().unwrap() = false;
    }

    /// Waits until it is open; false when the bound of all waits passes first.
    #[must_use]
    pub(crate) fn pass(&self) -> bool {
        let shut = self.open.0.lock().unwrap();
        let (open, _) = self.open.1.wait_timeout_while(shut, BOUND, |open| !*open).unwrap();
        *open
    }
}
