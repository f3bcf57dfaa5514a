//! Holds what happened against what was expected.

use bytes::Bytes;
use http::HeaderMap;

use super::compare::shown;
use super::matcher::Text;
use super::model::{At, CallExpect, Expect, Expected, FieldExpect, LogExpect, MessageExpect};
use super::raw::OutcomeWord;
use crate::config::{Quantity, Span, suggest};
use crate::error::Failure;
use crate::kit::{Call, Fault, Kit, LogLine, Outcome, Seen};
use crate::wasm::metrics::MetricValue;

/// Something that is not as expected, and where the file expects it.
#[derive(Debug, Clone)]
pub(super) struct Mismatch {
    pub(super) span: Span,
    /// What is wrong, in one line.
    pub(super) message: String,
    /// What was expected and what is there in its place, where there is one value to tell.
    pub(super) expected: Option<String>,
    pub(super) found: Option<String>,
    /// More lines: a difference, a call stack.
    pub(super) lines: Vec<String>,
}

impl Mismatch {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Mismatch {
        Mismatch { span, message: message.into(), expected: None, found: None, lines: Vec::new() }
    }

    fn of(span: Span, message: impl Into<String>, expected: impl ToString, found: impl ToString) -> Mismatch {
        Mismatch {
            expected: Some(expected.to_string()),
            found: Some(found.to_string()),
            ..Mismatch::new(span, message)
        }
    }

    pub(super) fn lines(self, lines: impl IntoIterator<Item = String>) -> Mismatch {
        Mismatch { lines: lines.into_iter().collect(), ..self }
    }
}

/// What happened in a step, or in a whole case.
pub(super) struct Happened<'a> {
    /// The exchange, where it is one.
    pub(super) exchange: Option<&'a Seen>,
    pub(super) logs: &'a [LogLine],
    pub(super) faults: &'a [Fault],
    pub(super) callouts: &'a [Call],
    pub(super) instructions: u64,
    pub(super) memory: u64,
}

/// Everything that is not as expected. What is wrong with nothing of the file in particular is wrong at `span`.
pub(super) fn judge(expect: &Expect, happened: &Happened<'_>, kit: &Kit, span: Span) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if let Some(seen) = happened.exchange {
        exchange(expect, seen, &mut found);
    }
    faults(expect, happened, span, &mut found);
    for log in &expect.logs {
        found.extend(log_line(log, happened.logs));
    }
    for (name, expected) in &expect.metrics {
        found.extend(metric(name, expected, kit));
    }
    if let Some(expected) = &expect.callouts {
        callouts(expected, happened.callouts, &mut found);
    }
    let at_most = [
        (&expect.instructions, happened.instructions, "instructions"),
        (&expect.memory, happened.memory, "bytes of memory"),
    ];
    for (limit, used, what) in at_most {
        if let Some(limit) = limit.as_ref().filter(|limit| used > limit.value) {
            let message = format!("the filter took more {what} than this");
            found.push(Mismatch::of(limit.span, message, format!("{} at most", limit.value), used));
        }
    }
    found
}

fn exchange(expect: &Expect, seen: &Seen, found: &mut Vec<Mismatch>) {
    if let Some(expected) = &expect.outcome {
        let outcome = word(seen.outcome());
        if outcome != expected.value.word() {
            let message = format!("the exchange ended otherwise: it was {}", seen.outcome());
            found.push(Mismatch::of(expected.span, message, expected.value.word(), outcome));
        }
    }
    if let Some(expected) = &expect.details {
        found.extend(text(expected, Some(seen.details().as_bytes()), "`details`"));
    }
    if let Some(expected) = expect.duration.as_ref().filter(|expected| expected.value != seen.duration()) {
        let message = "the exchange took another time";
        found.push(Mismatch::of(expected.span, message, expected.value.write(), seen.duration().write()));
    }
    for (path, expected) in &expect.properties {
        let path: Vec<_> = path.split('.').collect();
        let name = format!("the property `{}`", path.join("."));
        found.extend(text(expected, seen.property(&path), &name));
    }
    let forwarded = seen.forwarded.as_ref().map(|forwarded| Got {
        line: format!("{} {}", forwarded.method(), forwarded.target()),
        method: Some(forwarded.method().as_str()),
        path: Some(forwarded.target()),
        status: None,
        headers: forwarded.headers(),
        body: forwarded.body(),
        trailers: forwarded.trailers(),
    });
    let received = seen.received.as_ref().map(|received| Got {
        line: format!("status {}", received.status()),
        method: None,
        path: None,
        status: Some(received.status()),
        headers: received.headers(),
        body: received.body(),
        trailers: received.trailers(),
    });
    message(expect.forwarded.as_ref(), forwarded, "the upstream", "request", seen, found);
    message(expect.response.as_ref(), received, "the client", "response", seen, found);
}

/// The word for how an exchange ended.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => OutcomeWord::Forwarded.word(),
        Outcome::Replied => OutcomeWord::Replied.word(),
        Outcome::Fault(_) => Failure::FilterFault.reason(),
        Outcome::Failed(failure) => failure.reason(),
        Outcome::Left => Failure::ClientLeft.reason(),
    }
}

/// A message that somebody got.
struct Got<'a> {
    line: String,
    method: Option<&'a str>,
    path: Option<&'a str>,
    status: Option<u16>,
    headers: &'a HeaderMap,
    body: Bytes,
    trailers: Option<&'a HeaderMap>,
}

fn message(
    expected: Option<&At<Expected>>,
    got: Option<Got<'_>>,
    who: &str,
    what: &str,
    seen: &Seen,
    found: &mut Vec<Mismatch>,
) {
    let Some(At { value, span }) = expected else { return };
    match (value, got) {
        (Expected::Nothing, None) => {}
        (Expected::Nothing, Some(got)) => {
            let message = format!("{who} got a {what}");
            found.push(Mismatch::of(*span, message, "nothing", got.line));
        }
        (Expected::Message(_), None) => {
            let message = format!("{who} got no {what}");
            found.push(Mismatch::new(*span, message).lines([seen.to_string()]));
        }
        (Expected::Message(expected), Some(got)) => compare(expected, &got, &format!("the {what}"), found),
    }
}

fn compare(expected: &MessageExpect, got: &Got<'_>, what: &str, found: &mut Vec<Mismatch>) {
    if let Some(method) = expected.method.as_ref().filter(|method| Some(method.value.as_str()) != got.method)
    {
        let message = format!("the method of {what} differs");
        found.push(Mismatch::of(method.span, message, &method.value, got.method.unwrap_or_default()));
    }
    if let Some(path) = &expected.path {
        found.extend(text(path, got.path.map(str::as_bytes), &format!("the path of {what}")));
    }
    if let Some(status) = expected.status.as_ref().filter(|status| Some(status.value) != got.status) {
        let message = format!("the status of {what} differs");
        found.push(Mismatch::of(status.span, message, status.value, got.status.unwrap_or_default()));
    }
    for header in &expected.headers {
        found.extend(field(
            header,
            Some(got.headers),
            &format!("the header `{}` of {what}", header.value.name),
        ));
    }
    if let Some(body) = expected.body.as_ref().filter(|body| !body.value.matches(&got.body)) {
        let (how, lines) = body.value.explain(&got.body);
        let how = how.map(|how| format!(": {how}")).unwrap_or_default();
        let message = format!("the body of {what} differs{how}");
        let mismatch = Mismatch::of(body.span, message, &body.value, shown(&got.body));
        found.push(mismatch.lines(lines));
    }
    for trailer in &expected.trailers {
        let name = format!("the trailer `{}` of {what}", trailer.value.name);
        found.extend(field(trailer, got.trailers, &name));
    }
}

fn text(expected: &At<Text>, got: Option<&[u8]>, what: &str) -> Option<Mismatch> {
    let is_as_expected = expected.value.matches(got);
    (!is_as_expected).then(|| {
        let got = got.map_or_else(|| "nothing".to_owned(), shown);
        let message = match got.as_str() {
            "nothing" => format!("{what} is missing"),
            _ => format!("{what} differs"),
        };
        Mismatch::of(expected.span, message, &expected.value, got)
    })
}

/// A field with all of its values.
fn field(expected: &At<FieldExpect>, got: Option<&HeaderMap>, what: &str) -> Option<Mismatch> {
    let FieldExpect { name, values } = &expected.value;
    let got: Vec<&[u8]> =
        got.into_iter().flat_map(|got| got.get_all(name)).map(|value| value.as_bytes()).collect();
    let is_as_expected = match values.as_slice() {
        [one] if one.is_about_presence() || got.is_empty() => one.matches(got.first().copied()),
        all => {
            all.len() == got.len() && all.iter().zip(&got).all(|(wanted, value)| wanted.matches(Some(value)))
        }
    };
    if is_as_expected {
        return None;
    }
    let listed = |texts: Vec<String>| match texts.as_slice() {
        [] => "none".to_owned(),
        texts => texts.join(" and "),
    };
    let wanted = listed(values.iter().map(Text::to_string).collect());
    let message = match got.is_empty() {
        true => format!("{what} is missing"),
        false if wanted == "none" => format!("{what} is there"),
        false => format!("{what} differs"),
    };
    let got = listed(got.into_iter().map(shown).collect());
    Some(Mismatch::of(expected.span, message, wanted, got))
}

fn faults(expect: &Expect, happened: &Happened<'_>, span: Span, found: &mut Vec<Mismatch>) {
    let words = |faults: Vec<&'static str>| match faults.is_empty() {
        true => "none".to_owned(),
        false => faults.join(", "),
    };
    let got = words(happened.faults.iter().map(|fault| fault.kind.word()).collect());
    let stacks = happened.faults.iter().map(ToString::to_string);
    match &expect.faults {
        Some(expected) => {
            let wanted = words(expected.value.iter().map(|kind| kind.word()).collect());
            if wanted != got {
                let message = "the filter failed in other ways";
                found.push(Mismatch::of(expected.span, message, wanted, got).lines(stacks));
            }
        }
        None => {
            let outcome = expect.outcome.as_ref().map(|outcome| outcome.value);
            let is_expected = outcome == Some(OutcomeWord::Failed(Failure::FilterFault));
            if !happened.faults.is_empty() && !is_expected {
                let message = format!("the filter failed, which is not expected: {got}");
                found.push(Mismatch::new(span, message).lines(stacks));
            }
        }
    }
}

fn log_line(expected: &At<LogExpect>, logs: &[LogLine]) -> Option<Mismatch> {
    let At { value: LogExpect { level, text, absent }, span } = expected;
    let is_it = |line: &&LogLine| {
        level.is_none_or(|level| level == line.level)
            && text.as_ref().is_none_or(|text| text.matches(Some(line.text.as_bytes())))
    };
    let line = logs.iter().find(is_it);
    let level = level.map(|level| format!(" at level {}", level.word())).unwrap_or_default();
    let text = text.as_ref().map_or_else(|| "any line".to_owned(), Text::to_string);
    match (line, absent) {
        (Some(line), true) => Some(Mismatch::of(*span, "this was logged", "no such line", line)),
        (None, false) => {
            let mismatch = Mismatch::new(*span, "this was not logged");
            Some(Mismatch { expected: Some(format!("{text}{level}")), ..mismatch })
        }
        _ => None,
    }
}

fn metric(name: &str, expected: &At<u64>, kit: &Kit) -> Option<Mismatch> {
    let defined = kit.metrics.collect();
    let Some(metric) = defined.iter().find(|metric| metric.name() == name) else {
        let known = defined.iter().map(|metric| metric.name());
        let message = format!("the filter has defined no metric `{name}`");
        return Some(Mismatch::new(expected.span, message).lines([suggest::remedy(name, "metrics", known)]));
    };
    let value = match metric.value() {
        MetricValue::Counter(value) | MetricValue::Gauge(value) => value,
        MetricValue::Histogram { counts, .. } => counts.iter().sum(),
    };
    (value != expected.value)
        .then(|| Mismatch::of(expected.span, format!("`{name}` differs"), expected.value, value))
}

fn callouts(expected: &At<Vec<At<CallExpect>>>, calls: &[Call], found: &mut Vec<Mismatch>) {
    for (nth, (expected, call)) in expected.value.iter().zip(calls).enumerate() {
        let what = format!("callout {}", nth + 1);
        if let Some(cluster) = expected.value.cluster.as_ref().filter(|cluster| **cluster != call.cluster) {
            let message = format!("{what} goes to another cluster");
            found.push(Mismatch::of(expected.span, message, cluster, &call.cluster));
        }
        let got = Got {
            line: String::new(),
            method: Some(call.method.as_str()),
            path: Some(&call.target),
            status: None,
            headers: call.headers(),
            body: call.body.clone(),
            trailers: None,
        };
        compare(&expected.value.message, &got, &what, found);
    }
    if expected.value.len() != calls.len() {
        let made = calls.iter().map(|call| format!("{} {} of {}", call.method, call.target, call.cluster));
        let message = "the filter made another number of callouts";
        let mismatch = Mismatch::of(expected.span, message, expected.value.len(), calls.len());
        found.push(mismatch.lines(made));
    }
}
