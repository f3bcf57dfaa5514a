//! The upstream of a TCP listener, and conversations with it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::equipment::{BOUND, eventually};

/// What the upstream says once it has heard something.
const ANSWER: &str = "hello";

/// An upstream that hears something, answers, and ends when its peer does.
pub(super) struct Wire {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    /// Starts it.
    pub(super) fn start() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = heard.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let record = record.clone();
                std::thread::spawn(move || serve(stream, &record));
            }
        });
        Wire { address, heard }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects to a proxy in front of it, sends a line, takes the answer, sends the mark of the cell and the end, and
    /// says what it read. None where there is no proxy.
    pub(super) fn converse(&self, proxy: SocketAddr, line: &str, mark: &str) -> Option<String> {
        let mut stream = TcpStream::connect(proxy).ok()?;
        stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
        let _ = stream.write_all(line.as_bytes());
        let mut read = Vec::new();
        // A connection that a filter closes may end with a reset: what is read of it counts.
        let _ = (&mut stream).take(ANSWER.len() as u64).read_to_end(&mut read);
        let _ = stream.write_all(mark.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut read);
        Some(String::from_utf8_lossy(&read).into_owned())
    }

    /// What it heard before this mark, once that connection has ended.
    pub(super) fn heard(&self, mark: &str) -> String {
        eventually("the upstream's end of a connection", || {
            let heard = self.heard.lock().expect("no thread panics with it");
            heard.iter().find_map(|text| text.strip_suffix(mark)).map(str::to_owned)
        })
    }
}

fn serve(mut stream: TcpStream, record: &Mutex<Vec<String>>) {
    let mut heard = vec![0; 64 * 1024];
    let first = stream.read(&mut heard).unwrap_or_default();
    heard.truncate(first);
    if first > 0 {
        let _ = stream.write_all(ANSWER.as_bytes());
    }
    let _ = stream.read_to_end(&mut heard);
    record.lock().expect("no thread panics with it").push(String::from_utf8_lossy(&heard).into_owned());
}
