//! Steps and hostcalls as people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::wasm::witness::{Blob, Hostcall, Op, Value};

/// How much of a text is shown, in bytes.
pub(super) const SHOWN: usize = 200;

/// What a step is called.
pub(crate) fn name(op: &Op) -> &'static str {
    use crate::wasm::witness::Side::{Request, Response};
    match op {
        Op::Start => "start",
        Op::Open { .. } => "begin",
        Op::Headers { direction: Request, .. } => "request headers",
        Op::Headers { direction: Response, .. } => "response headers",
        Op::Body { direction: Request, .. } => "request body",
        Op::Body { direction: Response, .. } => "response body",
        Op::Trailers { direction: Request, .. } => "request trailers",
        Op::Trailers { direction: Response, .. } => "response trailers",
        Op::NewConnection { .. } => "new connection",
        Op::Data { direction: Request, .. } => "downstream data",
        Op::Data { direction: Response, .. } => "upstream data",
        Op::UpstreamClose { .. } => "upstream close",
        Op::CloseConnection { .. } => "downstream close",
        Op::Log { .. } => "log",
        Op::Release { .. } => "end",
        Op::GiveUp { .. } => "end, too late",
        Op::Tick => "tick",
        Op::QueueReady { .. } => "queue",
        Op::HttpCallResponse { .. } => "answer of a callout",
        Op::Grpc { .. } => "answer of a gRPC callout",
        Op::ForeignFunction { .. } => "foreign function",
        Op::Clusters { .. } => "clusters",
        Op::Shutdown => "shutdown",
    }
}

/// A hostcall as people read it.
pub(super) fn written(call: &Hostcall) -> String {
    let mut text = format!("{}(", call.call.strip_prefix("proxy_").unwrap_or(&call.call));
    for (at, value) in call.args.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{}", self::value(value));
    }
    text.push(')');
    match call.status {
        Some(0) => {}
        Some(status) => text.push_str(&format!(" = status {status}")),
        None => text.push_str(" = stopped"),
    }
    text
}

/// What a hostcall answered, as people read it.
pub(super) fn answered(call: &Hostcall) -> String {
    let values: Vec<String> = call.answer.iter().map(value).collect();
    if values.is_empty() { String::new() } else { format!(" = {}", values.join(", ")) }
}

fn value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bytes(blob) => format!("{:?}", beginning(blob)),
        Value::Fields(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}: {}", shown(name), shown(value))).collect();
            format!("[{}]", fields.join(", "))
        }
    }
}

/// As much of a text as is shown, as a terminal may be given it.
pub(crate) fn shown(blob: &Blob) -> String {
    plain(&beginning(blob)).into_owned()
}

/// A text of a stranger's, as a terminal may be given it: control characters, which would move its cursor or worse, are
/// written out. Ends of lines and tabs are left.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_written_out = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(is_written_out) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_written_out(letter) { plain.extend(letter.escape_default()) } else { plain.push(letter) }
    }
    plain.into()
}

fn beginning(blob: &Blob) -> String {
    let text = blob.text();
    if text.len() <= SHOWN {
        return text.into_owned();
    }
    format!("{}… ({} bytes)", &text[..text.floor_char_boundary(SHOWN)], blob.0.len())
}
