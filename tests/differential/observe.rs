//! What was seen on one side, as lines that can be compared: what each proxy adds by itself and what differs from
//! run to run is left out, and orders that mean nothing are made equal.

use crate::equipment::{Body, End, Framing, Received, Response};

/// Everything that was seen in a run.
pub(crate) struct Observation {
    pub(crate) clients: Vec<String>,
    pub(crate) upstreams: Vec<String>,
    pub(crate) start: Vec<String>,
    pub(crate) guests: Vec<String>,
}

impl Observation {
    /// All of it, a section after the other.
    pub(crate) fn lines(&self) -> Vec<String> {
        let section = |title: &str, lines: &[String]| [&[format!("== {title}")], lines].concat();
        [
            section("clients", &self.clients),
            section("upstreams", &self.upstreams),
            section("guests at their start", &self.start),
            section("guests", &self.guests),
        ]
        .concat()
    }
}

/// Whether a field is each proxy's own affair: `date` and `server`, what it says about itself to the next, and the
/// request's id, which is made at random.
fn is_own(name: &str) -> bool {
    matches!(name, "date" | "server" | "x-request-id") || name.starts_with("x-envoy-")
}

fn fields(fields: &[(String, String)]) -> Vec<String> {
    let named = fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut lines: Vec<(String, String)> = named
        .filter(|(name, _)| !is_own(name))
        .map(|(name, value)| (name.clone(), format!("   {name}: {value}")))
        .collect();
    lines.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: the order of one field's values counts
    lines.into_iter().map(|(_, line)| line).collect()
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
    let shown = match text.len() {
        0..=200 => format!("{text:?}"),
        length => format!("{:?}... of {length}", text.get(..100).unwrap_or_default()),
    };
    let mut lines = vec![format!("   body ({framing}{cut}): {shown}")];
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

/// What guests logged: at their start (the last time for each filter: a throw-away instance may come before), and
/// from the first stream on, all filters together in order.
pub(crate) fn guests(filters: &[&str], log: Vec<(String, String)>) -> (Vec<String>, Vec<String>) {
    let is_stream = |line: &str| line.starts_with("context_create ") && !line.ends_with(" parent=0");
    let first = log.iter().position(|(_, line)| is_stream(line)).unwrap_or(log.len());
    let (before, after) = log.split_at(first);
    let mut start = Vec::new();
    for filter in filters {
        let own: Vec<&String> =
            before.iter().filter(|(name, _)| name == filter).map(|(_, line)| line).collect();
        let is_root = |line: &&String| line.starts_with("context_create ") && line.ends_with(" parent=0");
        let last = own.iter().rposition(is_root).unwrap_or(0);
        start.extend(own[last..].iter().map(|line| format!("[{filter}] {line}")));
    }
    let lines = after.iter().filter(|(_, line)| !pair(line).is_some_and(|(name, _)| is_own(name)));
    let mut lines: Vec<String> = lines.map(|(name, line)| format!("[{name}] {line}")).collect();
    sort_pairs(&mut lines);
    (start, lines)
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
