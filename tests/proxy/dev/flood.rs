//! More than whoever reads what is shown keeps up with.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::super::recording::ends::distinct;
use super::{command, folder_with};
use crate::equipment::{Client, Guest, On, Step, eventually};

/// More than a pipe holds of what is said of them.
const SMALL: u64 = 300;

/// `tidegate dev` into a pipe, which a test reads when it likes.
struct Piped {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Piped {
    fn start(folder: &Path) -> Piped {
        let mut command = command(folder);
        command.args(["dev", "guest.wasm", "--listen", "127.0.0.1:0", "--format", "json"]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let events = lines.by_ref().map_while(Result::ok);
        let mut events = events.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let serving = events.find(|event| event["event"] == "serving").expect("it serves");
        let address = serving["address"].as_str().and_then(|address| address.parse().ok());
        Piped { child, lines, address: address.expect("it is an address") }
    }

    /// Sends requests of which nobody reads.
    fn fill(&self) -> Client {
        let mut client = Client::connect(self.address);
        for _ in 0..SMALL {
            assert_eq!(client.get("/").status(), 200);
        }
        client
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_waits_to_be_shown_is_bounded_and_what_is_left_out_is_counted() {
    const LARGE: u64 = 20;
    let guest = Guest::new().quiet().on(On::RequestBody, [Step::Return(0)]).build();
    let folder = folder_with(&guest, &[]);
    let mut dev = Piped::start(folder.path());
    let mut client = dev.fill();
    let body = distinct(4 << 20);
    for _ in 0..LARGE {
        assert_eq!(client.request("POST", "/", &[], &body).status(), 200);
    }
    let (mut shown, mut missed) = (0, 0);
    while shown + missed < SMALL + LARGE {
        let line = dev.lines.next().expect("it goes on").expect("it is text");
        let event: Value = serde_json::from_str(&line).expect("it is JSON");
        match event["event"].as_str() {
            Some("exchange") => {
                assert_eq!((&event["outcome"], &event["status"]), (&"passed".into(), &200.into()), "{event}");
                shown += 1;
            }
            Some("missed") => missed += event["exchanges"].as_u64().expect("a number"),
            _ => {}
        }
    }
    // Nor is one told of once more that was left out, as one that the filter had not seen.
    kill_process(Pid::from_child(&dev.child), Signal::INT).expect("a child can be signalled");
    for line in dev.lines.by_ref().map_while(Result::ok) {
        assert!(!line.contains("\"exchange") && !line.contains("\"missed\""), "{line}");
    }
    assert_eq!(shown + missed, SMALL + LARGE);
    assert!(missed > 0 && shown > SMALL, "{shown} shown, {missed} missed");
}

#[test]
fn a_reader_who_does_not_read_does_not_keep_it_from_ending() {
    let folder = folder_with(&Guest::new().build(), &[]);
    let mut dev = Piped::start(folder.path());
    drop(dev.fill());
    kill_process(Pid::from_child(&dev.child), Signal::INT).expect("a child can be signalled");
    let status = eventually("its end", || dev.child.try_wait().expect("a child can be waited for"));
    assert!(status.success());
    let left = fs::read_dir(folder.path()).expect("it is a folder").flatten().map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["guest.wasm"]);
}
