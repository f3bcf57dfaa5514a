//! Rewrites headers and JSON bodies, of requests and of responses, as they pass.
//!
//! ```yaml
//! config:
//!   response:
//!     headers: {remove: [server], set: {x-frame-options: DENY}}
//!     json:
//!       - {path: user.password, redact: "***"}
//!       - {path: items.*.internal_id, remove: true}
//!       - {path: items.*.price, rename: cost}
//! ```
//!
//! A body of any size goes on as it comes: of a document nothing is held but the name of a member, while it is not whole.
//! What is no JSON is refused: a request with 400, a response by its end in the midst; with `invalid: pass` it goes on as it
//! is. Counters: `rewrite_changes{direction}`, `rewrite_invalid{direction}`, `rewrite_skipped{direction}` (bodies that are
//! compressed).

mod json;

use serde::Deserialize;
use std::collections::BTreeMap;
use tidegate_sdk::log::warn;
use tidegate_sdk::{Body, Counter, CounterFamily, Exchange, Fields, Filter, Next, Request, Response, filter};

use crate::json::{Document, RuleConfig, Rules};

filter!(Rewrite);

tidegate_sdk::manifest! {
    "headers": {"read": ["content-type", "content-encoding"], "write": ["*"]},
    "body": "write",
    "metrics": ["rewrite_*"],
    "reply": true
}

/// Fields that are not true of a body any more when it is changed. The length is the host's to see to, or unknown.
const OF_THE_BODY: [&str; 5] = ["content-length", "content-md5", "content-digest", "repr-digest", "digest"];

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    request: SideConfig,
    #[serde(default)]
    response: SideConfig,
    #[serde(default)]
    invalid: Invalid,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SideConfig {
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    json: Vec<RuleConfig>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Headers {
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

/// What becomes of a body that is no JSON although it says so.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Invalid {
    #[default]
    Refuse,
    Pass,
}

/// The filter.
struct Rewrite {
    request: Side,
    response: Side,
    invalid: Invalid,
}

/// One direction.
struct Side {
    headers: Headers,
    rules: Rules,
    changes: Counter,
    not_json: Counter,
    skipped: Counter,
}

/// The documents that are on their way.
#[derive(Default)]
struct State {
    request: Option<Document>,
    response: Option<Document>,
}

/// What became of a piece.
enum Piece {
    /// It has gone on, rewritten or not.
    Done,
    /// It is no JSON, and must not go on.
    Refused,
}

impl Filter for Rewrite {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Rewrite, String> {
        Ok(Rewrite {
            request: Side::new("request", config.request)?,
            response: Side::new("response", config.response)?,
            invalid: config.invalid,
        })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        if !self.response.rules.is_empty() {
            // What cannot be read cannot be rewritten, and neither can a part of a document.
            request.set_header("accept-encoding", "identity");
            request.remove_header("range");
        }
        state.request = self.request.begin(&request.headers(), request.is_complete());
        Next::Continue
    }

    fn on_request_body(&self, state: &mut State, request: &Request<'_>, body: &Body) -> Next {
        match self.request.rewrite(&mut state.request, body, self.invalid) {
            Piece::Done => Next::Continue,
            Piece::Refused => {
                request.reply(400).body("the body is not JSON\n").details("rewrite_not_json").send()
            }
        }
    }

    fn on_request_trailers(&self, state: &mut State, request: &Request<'_>) -> Next {
        self.request.end(&mut state.request, request, self.invalid)
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        state.response = self.response.begin(&response.headers(), response.is_complete());
        Next::Continue
    }

    fn on_response_body(&self, state: &mut State, response: &Response<'_>, body: &Body) -> Next {
        match self.response.rewrite(&mut state.response, body, self.invalid) {
            Piece::Done => Next::Continue,
            // The client has its headers already.
            Piece::Refused => response.reset(),
        }
    }

    fn on_response_trailers(&self, state: &mut State, response: &Response<'_>) -> Next {
        self.response.end(&mut state.response, response, self.invalid)
    }
}

impl Side {
    fn new(direction: &'static str, config: SideConfig) -> Result<Side, String> {
        for name in config.headers.remove.iter().chain(config.headers.set.keys()) {
            if name.is_empty() || name.starts_with(':') || name.contains(|c: char| !c.is_ascii_graphic()) {
                return Err(format!(
                    "{direction}.headers: `{}` is not the name of a header",
                    name.escape_debug()
                ));
            }
        }
        let rules = Rules::new(config.json).map_err(|why| format!("{direction}.json{why}"))?;
        let counter = |name| CounterFamily::new(name, ["direction"]).with([direction]);
        let (changes, not_json) = (counter("rewrite_changes"), counter("rewrite_invalid"));
        Ok(Side { headers: config.headers, rules, changes, not_json, skipped: counter("rewrite_skipped") })
    }

    /// Rewrites the headers, and says whether a document comes that is to be rewritten.
    fn begin(&self, fields: &Fields, is_complete: bool) -> Option<Document> {
        for name in &self.headers.remove {
            fields.remove(name);
        }
        for (name, value) in &self.headers.set {
            fields.set(name, value);
        }
        if is_complete
            || self.rules.is_empty()
            || !fields.text("content-type").is_some_and(|kind| is_json(&kind))
        {
            return None;
        }
        if fields.text("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            warn!("a body is compressed and goes on as it is");
            self.skipped.increment();
            return None;
        }
        OF_THE_BODY.iter().for_each(|name| fields.remove(name));
        Some(Document::default())
    }

    fn rewrite(&self, document: &mut Option<Document>, body: &Body, invalid: Invalid) -> Piece {
        let Some(open) = document else { return Piece::Done };
        let (piece, changes) = (body.bytes(), open.changes());
        let mut out = Vec::with_capacity(piece.len());
        let ended = match open.push(&self.rules, &piece, &mut out) {
            Ok(()) if !body.is_last() || open.is_whole() => None,
            Ok(()) => Some(piece.len()),
            Err(not_json) => Some(not_json.at),
        };
        self.changes.add(open.changes() - changes);
        if let Some(at) = ended {
            self.not_json.increment();
            // In a value that is left out there is no way back: the rest of it would go on.
            if invalid == Invalid::Refuse || !open.give_up(&mut out) {
                body.replace("");
                return Piece::Refused;
            }
            out.extend_from_slice(&piece[at..]);
            *document = None;
        }
        if out != piece {
            body.replace(&out);
        }
        Piece::Done
    }

    /// A body has ended with trailers: what is held of it cannot go on any more.
    fn end(&self, document: &mut Option<Document>, exchange: &Exchange, invalid: Invalid) -> Next {
        match document.take() {
            Some(document) if !document.is_whole() => {
                self.not_json.increment();
                let cut = invalid == Invalid::Refuse || document.holds();
                if cut { exchange.reset() } else { Next::Continue }
            }
            _ => Next::Continue,
        }
    }
}

/// `application/json`, and what is JSON by its suffix (RFC 6839).
fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}
