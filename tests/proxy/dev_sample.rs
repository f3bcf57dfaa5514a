//! The sample service of `tidegate dev`, as one asks it through a filter that lets everything pass.

use serde_json::Value;
use tempfile::TempDir;

use super::dev::{Dev, folder_with};
use crate::equipment::{Client, End, Guest};

/// It runs for as long as this is there.
struct Sample {
    dev: Dev,
    _folder: TempDir,
}

impl Sample {
    fn start() -> Sample {
        let folder = folder_with(&Guest::new().build(), &[]);
        Sample { dev: Dev::start(folder.path(), &["guest.wasm", "--format", "json"]), _folder: folder }
    }

    fn client(&self) -> Client {
        self.dev.client()
    }
}

fn told(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn it_tells_what_it_received_with_its_trailers() {
    let sample = Sample::start();
    let answer = sample.client().request("POST", "/items?page=2", &[("x-team", "red")], "body");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let said = told(&answer.text());
    assert_eq!((&said["method"], &said["path"]), (&"POST".into(), &"/items?page=2".into()));
    assert_eq!((&said["headers"]["x-team"], &said["body"]), (&"red".into(), &"body".into()));
    assert_eq!(said["trailers"], Value::Null);

    let mut client = sample.client();
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
    let said = told(&client.response().text());
    assert_eq!((&said["body"], &said["trailers"]["x-sum"]), (&"hi".into(), &"7".into()));
    sample.dev.interrupt();
}

#[test]
fn a_path_asks_for_a_status_a_delay_headers_and_a_length() {
    let sample = Sample::start();
    let mut client = sample.client();
    assert_eq!(client.get("/status/418").status(), 418);
    assert_eq!(client.get("/status/204").text(), "");
    assert_eq!(told(&client.get("/delay/1ms").text())["path"], "/delay/1ms");
    let answer = client.get("/headers?cache-control=max-age%3D60,+public&x-a=1&x-a=2");
    assert_eq!(answer.field("cache-control"), Some("max-age=60, public"));
    assert_eq!(answer.head.all("x-a"), ["1", "2"]);
    for (size, bytes) in [("0", 0), ("7", 7), ("150KiB", 150 << 10)] {
        assert_eq!(client.get(&format!("/bytes/{size}")).body.bytes.len(), bytes);
    }
    sample.dev.interrupt();
}

#[test]
fn what_cannot_be_had_is_answered_with_what_can() {
    let sample = Sample::start();
    let mut client = sample.client();
    for (path, says) in [
        ("/status/99", "200 to 599"),
        ("/status/ok", "/status/503"),
        ("/delay/2h", "/delay/200ms"),
        ("/stream/many", "/stream/5?every=200ms"),
        ("/stream/2?every=2h", "/stream/5?every=200ms"),
        ("/bytes/2GiB", "/bytes/64KiB"),
        ("/headers?a%20b=1", "`a b: 1` is no header"),
        ("/headers?content-length=9", "content-length is set by what is sent"),
    ] {
        let answer = client.get(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert!(answer.text().contains(says), "{path}: {}", answer.text());
    }
    for path in ["/status", "/statuses/503", "/delay/", "/stream", "/a/status/503"] {
        assert_eq!(told(&client.get(path).text())["path"], path, "what asks for nothing is told");
    }
    sample.dev.interrupt();
}

#[test]
fn pieces_come_when_they_are_made() {
    let sample = Sample::start();
    assert_eq!(
        sample.client().get("/stream/3?every=1ms").text(),
        "piece 1 of 3\npiece 2 of 3\npiece 3 of 3\n"
    );
    let mut client = sample.client();
    let events = client.request("GET", "/stream/2?every=1ms", &[("accept", "text/event-stream")], "");
    assert_eq!(events.field("content-type"), Some("text/event-stream"));
    assert_eq!(events.text(), "data: piece 1 of 2\n\ndata: piece 2 of 2\n\n");
    // The second is a minute away.
    client.send("GET /stream/2?every=60s HTTP/1.1\r\nhost: a.test\r\n\r\n");
    client.head();
    assert_eq!(client.exactly(18).to_lowercase(), "d\r\npiece 1 of 2\n\r\n");
    drop(client);
    sample.dev.interrupt();
}

#[test]
fn an_echo_comes_while_the_request_is_sent_with_its_type_and_its_trailers() {
    let sample = Sample::start();
    let mut client = sample.client();
    let fields = "content-type: text/csv\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked";
    client.send(&format!("POST /echo HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n\r\n"));
    client.send("5\r\nfirst\r\n");
    let head = client.head();
    assert_eq!(head.field("content-type"), Some("text/csv"));
    assert_eq!(client.exactly(10), "5\r\nfirst\r\n");
    client.send("6\r\nsecond\r\n0\r\nx-sum: 2\r\n\r\n");
    let rest = client.exactly("6\r\nsecond\r\n0\r\nx-sum: 2\r\n\r\n".len());
    assert_eq!(rest, "6\r\nsecond\r\n0\r\nx-sum: 2\r\n\r\n");
    assert_eq!(sample.client().request("POST", "/echo", &[], "all").text(), "all");
    sample.dev.interrupt();
}

#[test]
fn a_response_has_trailers_or_breaks_off_where_a_path_says_so() {
    let sample = Sample::start();
    let answer = sample.client().request("GET", "/trailers", &[("te", "trailers")], "");
    let length = answer.text().len().to_string();
    assert_eq!(answer.body.trailers, [("x-length".to_owned(), length)]);
    assert_eq!(told(&answer.text())["path"], "/trailers");
    let answer = sample.client().get("/cut");
    assert_eq!((answer.status(), answer.body.end), (200, End::Cut));
    assert_eq!(answer.text(), "this is the beginning\n");
    sample.dev.interrupt();
}
