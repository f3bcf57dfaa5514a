//! What was seen on one side, as lines that can be compared: what only Envoy adds and what differs from run to run is
//! left out, and orders that mean nothing are made equal.

use crate::equipment::{Body, End, Framing, Received, Response, Rpc};

/// Who saw something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Clients,
    Upstreams,
    /// Guests, before the first exchange.
    Start,
    /// Guests, from the first exchange on.
    Guests,
}

impl At {
    pub(crate) const ALL: [At; 4] = [At::Clients, At::Upstreams, At::Start, At::Guests];
}

/// Everything that was seen in a run.
pub(crate) struct Observation {
    pub(crate) clients: Vec<String>,
    pub(crate) upstreams: Vec<String>,
    pub(crate) start: Vec<String>,
    pub(crate) guests: Vec<String>,
}

impl Observation {
    /// What these saw.
    pub(crate) fn of(&self, at: At) -> &[String] {
        match at {
            At::Clients => &self.clients,
            At::Upstreams => &self.upstreams,
            At::Start => &self.start,
            At::Guests => &self.guests,
        }
    }

    /// All of it, a section after the other.
    pub(crate) fn lines(&self) -> Vec<String> {
        At::ALL.iter().flat_map(|at| [&[format!("== {at:?}")], self.of(*at)].concat()).collect()
    }
}

/// Whether a field is one that Envoy adds about itself, and tidegate does not.
pub(super) fn is_envoys(name: &str, value: &str) -> bool {
    match name {
        "server" => value == "envoy",
        "x-envoy-external-address"
        | "x-envoy-internal"
        | "x-envoy-expected-rq-timeout-ms"
        | "x-envoy-upstream-service-time" => true,
        _ => false,
    }
}

/// A field's value; for those that differ from run to run, only what it looks like.
pub(super) fn steady<'a>(name: &str, value: &'a str) -> &'a str {
    match name {
        "date" if value.ends_with(" GMT") => "(a date)",
        "x-request-id" if value.len() == 36 && value.matches('-').count() == 4 => "(a UUID)",
        _ => value,
    }
}

/// Names are shown as they are spelled: both proxies write them in lower case.
fn fields(fields: &[(String, String)]) -> Vec<String> {
    let mut shown: Vec<_> = fields.iter().filter(|(name, value)| !is_envoys(name, value)).collect();
    shown.sort_by_key(|(name, _)| name); // stable: the order of one field's values counts
    shown.iter().map(|(name, value)| format!("   {name}: {}", steady(name, value))).collect()
}

fn body(body: &Body) -> Vec<String> {
    let framing = match body.framing {
        Framing::Empty => return Vec::new(),
        Framing::Sized(_) => "sized",
        Framing::Chunked => "chunked",
        Framing::UntilClose => "until the connection's end",
    };
    let cut = if body.end == End::Cut { ", cut" } else { "" };
    let text = body.text();
    let mut lines = vec![format!("   body ({framing}{cut}): {text:?}")];
    lines.extend(fields(&body.trailers).iter().map(|trailer| format!("   trailer{}", trailer.trim_end())));
    lines
}

/// What a client saw of an answer.
pub(crate) fn response(response: &Response) -> Vec<String> {
    let mut lines: Vec<String> =
        response.interim.iter().map(|head| format!("<- {} first", head.status())).collect();
    lines.push(format!("<- {}", response.status()));
    lines.extend(fields(&response.head.fields));
    lines.extend(body(&response.body));
    lines
}

/// What an upstream saw.
pub(crate) fn upstream(name: &str, requests: &[Received]) -> Vec<String> {
    let request = |request: &Received| {
        let mut lines = vec![format!("-> {name}: {}", request.head.line)];
        lines.extend(fields(&request.head.fields));
        lines.extend(request.body.iter().flat_map(body));
        lines
    };
    requests.iter().flat_map(request).collect()
}

/// What a gRPC service saw.
pub(crate) fn service(name: &str, rpcs: &[Rpc]) -> Vec<String> {
    let rpc = |rpc: &Rpc| {
        let mut lines = vec![format!("-> {name}: gRPC {}", rpc.path)];
        lines.extend(fields(&rpc.fields));
        lines.extend(rpc.messages.iter().map(|message| format!("   message: {message:?}")));
        lines.extend(rpc.end.iter().map(|end| format!("   end: {end:?}")));
        lines
    };
    rpcs.iter().flat_map(rpc).collect()
}

/// What guests logged: at their start (the last time for each filter: a throw-away instance may come before), and
/// from the first stream on, all filters together in order.
pub(crate) fn guests(filters: &[&str], log: Vec<(String, String)>) -> (Vec<String>, Vec<String>) {
    let is_stream = |line: &str| {
        (line.starts_with("context_create ") && !line.ends_with(" parent=0"))
            || line.starts_with("request_headers ")
    };
    let first = log.iter().position(|(_, line)| is_stream(line)).unwrap_or(log.len());
    check_counts(&log);
    let (before, after) = log.split_at(first);
    let mut start = Vec::new();
    for filter in filters {
        let own: Vec<&String> =
            before.iter().filter(|(name, _)| name == filter).map(|(_, line)| line).collect();
        let is_root = |line: &&String| line.starts_with("context_create ") && line.ends_with(" parent=0");
        let last = own.iter().rposition(is_root).unwrap_or(0);
        start.extend(own[last..].iter().map(|line| format!("[{filter}] {line}")));
    }
    let lines =
        after.iter().filter(|(_, line)| !pair(line).is_some_and(|(name, value)| is_envoys(name, value)));
    let steadied = |line: &String| match pair(line) {
        Some((name, value)) => format!("  | {name}: {}", steady(name, value)),
        None if line.starts_with("  ") => line.clone(),
        None => without_fields(line),
    };
    let mut lines: Vec<String> = lines.map(|(name, line)| format!("[{name}] {}", steadied(line))).collect();
    sort_pairs(&mut lines);
    (start, lines)
}

/// How many fields a callback was told of is not compared, since Envoy adds its own, but it has to be what a dump that
/// follows at once shows.
fn check_counts(log: &[(String, String)]) {
    for (at, (name, line)) in log.iter().enumerate() {
        let Some(count) = line.split(' ').find_map(|word| word.strip_prefix("fields=")) else { continue };
        let dump = match line.split(' ').next() {
            Some("request_headers") => "  pairs request-headers -> 0",
            Some("grpc_receive_initial_metadata") => "  pairs grpc-initial -> 0",
            Some("grpc_receive_trailing_metadata") => "  pairs grpc-trailing -> 0",
            Some("response_headers") => "  pairs response-headers -> 0",
            _ => "  pairs callout-headers -> 0",
        };
        let mut next = log[at + 1..].iter().filter(|(other, _)| other == name).map(|(_, line)| line);
        if next.next().is_some_and(|line| line == dump) {
            let dumped = next.take_while(|line| pair(line).is_some()).count();
            assert_eq!(count, dumped.to_string(), "[{name}] {line}: this is how many follow");
        }
    }
}

/// A line without how many fields there are.
fn without_fields(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("fields=")).collect::<Vec<_>>().join(" ")
}

/// A line of a header map's dump.
fn pair(line: &str) -> Option<(&str, &str)> {
    let pair = line.strip_prefix("  | ")?;
    let colon = pair.get(1..)?.find(": ")? + 1; // pseudo-headers begin with one
    Some((&pair[..colon], &pair[colon + 2..]))
}

/// The order of different fields in a dump means nothing; the order of one field's values does.
fn sort_pairs(lines: &mut [String]) {
    let name = |line: &String| {
        let (_, line) = line.split_once("] ")?;
        pair(line).map(|(name, _)| name.to_owned())
    };
    for run in lines.chunk_by_mut(|a, b| name(a).is_some() && name(b).is_some()) {
        run.sort_by_key(name);
    }
}
