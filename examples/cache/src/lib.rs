//! A response cache for all workers of a proxy, which asks the service whether what it has is still right (RFC 9111).
//!
//! ```yaml
//! config:
//!   max_object: 262144     # bytes; what is larger passes and is not stored
//!   keep_stale: 600        # seconds for which a stale response is kept, to be renewed
//! limits: {cells: 256MiB}  # how much there is room for
//! ```
//!
//! Responses are stored as the service says in `cache-control`, `expires` and `vary`, whole or not at all; those for one client
//! are not, nor those to requests with `authorization` unless they are public. `cache-status` (RFC 9211) says what happened.
//! Counter: `cache_requests{outcome}`.

mod control;
mod entry;
mod renew;
mod store;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::log::warn;
use tidegate_sdk::{
    Background, Block, Body, CounterFamily, Exchange, Filter, Next, Request, Response, filter,
};

use crate::control::Directives;
use crate::entry::Entry;
use crate::renew::Renewal;
use crate::store::{Found, Store};

filter!(Cache);

tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["*"]},
    "body": "read",
    "properties": {"read": ["xds.cluster_name", "plugin_name"]},
    "clusters": ["*"],
    "shared_data": ["*"],
    "metrics": ["cache_*"],
    "reply": true
}

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The largest body that is stored, in bytes.
    #[serde(default = "default_max_object")]
    max_object: usize,
    /// How long a response is fresh that does not say so, in seconds.
    #[serde(default)]
    default_lifetime: u64,
    #[serde(default = "default_keep_stale")]
    keep_stale: u64,
    /// What it calls itself in `cache-status`.
    #[serde(default = "default_name")]
    name: String,
}

fn default_max_object() -> usize {
    256 << 10
}

fn default_keep_stale() -> u64 {
    600
}

fn default_name() -> String {
    "tidegate".to_owned()
}

/// The filter.
struct Cache {
    config: Rc<Config>,
    store: Rc<Store>,
    requests: CounterFamily<1>,
    /// There once the filter has started.
    background: RefCell<Option<Background>>,
}

/// What is going on with one exchange.
#[derive(Default)]
enum State {
    /// The cache has no part in it.
    #[default]
    Apart,
    /// The response may be stored, and what there is may be renewed by it.
    Asking(Asking),
    /// It is being stored.
    Storing { key: Key, entry: Entry, body: Vec<u8> },
    /// What is stored is wrong if this succeeds.
    Changing { address: String },
}

struct Asking {
    key: Key,
    /// What is stored, where that may be right still.
    stale: Option<(Entry, Vec<u8>)>,
    has_authorization: bool,
    client: Client,
    /// Why the service is asked, in the words of RFC 9211.
    why: &'static str,
}

/// What a response is found by.
#[derive(Clone)]
struct Key {
    address: String,
    /// The request's headers, for what `vary` names.
    request: Rc<Block>,
}

/// What the client wants, and has.
struct Client {
    is_head: bool,
    if_none_match: Option<String>,
    if_modified_since: Option<String>,
}

impl Filter for Cache {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Cache, String> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !config.name.starts_with(|c: char| c.is_ascii_alphabetic()) || !config.name.chars().all(is_token) {
            return Err(format!("name: `{}` is not a letter, and letters and digits after it", config.name));
        }
        let (requests, background) = (CounterFamily::new("cache_requests", ["outcome"]), RefCell::default());
        Ok(Cache { config: Rc::new(config), store: Rc::new(Store::new()), requests, background })
    }

    fn on_start(&self, background: &Background) {
        self.background.replace(Some(background.clone()));
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let address = format!("{}{}", request.authority(), request.path());
        let is_head = match request.method().as_str() {
            "GET" => false,
            "HEAD" => true,
            "OPTIONS" | "TRACE" => return Next::Leave,
            _ => {
                *state = State::Changing { address };
                return Next::Continue;
            }
        };
        let fields = request.headers().block();
        let has = |name| fields.values(name).next().is_some();
        let wishes = Directives::of(&fields);
        if has("range") || has("upgrade") || wishes.has("no-store") || !request.is_complete() {
            self.count("bypass");
            return Next::Leave;
        }
        let (if_none_match, if_modified_since) =
            (fields.joined("if-none-match"), fields.joined("if-modified-since"));
        let client = Client { is_head, if_none_match, if_modified_since };
        let has_authorization = has("authorization");
        let key = Key { address, request: Rc::new(fields) };
        let mut asking = Asking { key, stale: None, has_authorization, client, why: "uri-miss" };
        if let Some(next) = self.look_up(&mut asking, &wishes, request) {
            return next;
        }
        if wishes.has("only-if-cached") {
            self.count("only_if_cached");
            let status = format!("{}; fwd={}", self.config.name, asking.why);
            return request.reply(504).header("cache-status", &status).details("cache_only_if_cached").send();
        }
        if let Some((entry, _)) = asking.stale.as_ref().filter(|(entry, _)| entry.can_be_renewed()) {
            // The service is asked about what is stored here; what the client has is compared with that afterwards.
            for (condition, validator) in Entry::CONDITIONS {
                match entry.field(validator) {
                    Some(value) => request.set_header(condition, value),
                    None => request.remove_header(condition),
                }
            }
        }
        *state = State::Asking(asking);
        Next::Continue
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        let status = response.status();
        match std::mem::take(state) {
            State::Changing { address } => {
                if (200..400).contains(&status) {
                    self.store.forget(&address);
                }
                Next::Leave
            }
            State::Asking(asking) => self.take(state, asking, status, response),
            other => {
                *state = other;
                Next::Leave
            }
        }
    }

    fn on_response_body(&self, state: &mut State, response: &Response<'_>, piece: &Body) -> Next {
        let State::Storing { key, entry, body } = state else { return Next::Leave };
        if body.len() + piece.len() > self.config.max_object {
            self.count("too_large");
            return Next::Leave;
        }
        body.extend_from_slice(&piece.bytes());
        if !piece.is_last() {
            return Next::Continue;
        }
        // Only here, where all of it has come: a response that breaks off is never stored.
        self.keep(key, entry, body, response.now());
        Next::Leave
    }

    /// What is in trailers would be lost.
    fn on_response_trailers(&self, _: &mut State, _: &Response<'_>) -> Next {
        Next::Leave
    }
}

impl Cache {
    /// Answers a request with what is stored, or says why the service is to be asked.
    fn look_up(&self, asking: &mut Asking, wishes: &Directives, request: &Request<'_>) -> Option<Next> {
        let (entry, body) = match self.store.find(&asking.key.address, &asking.key.request) {
            Found::Nothing => return None,
            Found::OtherVariant => {
                asking.why = "vary-miss";
                return None;
            }
            Found::Entry(entry, body) => (entry, body),
        };
        let now = request.now();
        let is_for_others = asking.has_authorization && !entry.is_public;
        if is_for_others || wishes.ask_for_new(&asking.key.request, entry.age(now)) {
            asking.why = "request";
        } else if entry.ttl(now) > 0 {
            return Some(self.answer(request, &entry, &body, &asking.client, "hit", "hit"));
        } else if entry.may_be_used_while_renewed(now) {
            let next = self.answer(request, &entry, &body, &asking.client, "stale", "hit");
            self.renew_beside(request, asking, entry, body);
            return Some(next);
        } else {
            asking.why = "stale";
        }
        asking.stale = (!is_for_others).then_some((entry, body));
        None
    }

    /// The service has answered a request whose answer may be stored.
    fn take(&self, state: &mut State, asking: Asking, status: u16, response: &Response<'_>) -> Next {
        let (now, fields) = (response.now(), response.headers().block());
        let Asking { key, stale, has_authorization, client, why } = asking;
        let forwarded = format!("fwd={why}; fwd-status={status}");
        if let Some((entry, body)) = stale {
            if status == 304 && entry.can_be_renewed() {
                let renewed = entry.renewed(&fields, now, self.config.default_lifetime);
                if let Some(renewed) = &renewed {
                    self.keep(&key, renewed, &body, now);
                }
                let entry = renewed.unwrap_or(entry);
                return self.answer(response, &entry, &body, &client, "revalidated", &forwarded);
            }
            if status >= 500 && entry.may_be_used_after_an_error(now) {
                warn!(status = status; "the service failed, and what is stored is used");
                return self.answer(response, &entry, &body, &client, "stale_if_error", &forwarded);
            }
        }
        self.count("miss");
        response.set_header("cache-status", format!("{}; {forwarded}", self.config.name));
        // A reply has a type by itself where it is given none, and the response had none.
        let has_type = fields.values("content-type").next().is_some() || response.is_complete();
        let entry = Entry::new(status, &fields, now, self.config.default_lifetime, has_authorization);
        let Some(entry) = entry.filter(|_| !client.is_head && has_type) else { return Next::Leave };
        if response.is_complete() {
            self.keep(&key, &entry, b"", now);
            return Next::Leave;
        }
        *state = State::Storing { key, entry, body: Vec::new() };
        Next::Continue
    }

    /// Answers with what is stored.
    fn answer(
        &self,
        exchange: &Exchange,
        entry: &Entry,
        body: &[u8],
        client: &Client,
        outcome: &'static str,
        how: &str,
    ) -> Next {
        self.count(outcome);
        let now = exchange.now();
        let is_known =
            entry.is_known_to(client.if_none_match.as_deref(), client.if_modified_since.as_deref());
        let mut reply = exchange.reply(if is_known { 304 } else { entry.status });
        for (name, value) in &entry.fields {
            reply = reply.header(name, value);
        }
        let status = format!("{}; {how}; ttl={}", self.config.name, entry.ttl(now));
        reply = reply.header("age", &entry.age(now).to_string()).header("cache-status", &status);
        reply.body(if is_known { b"" } else { body }).details(format!("cache_{outcome}")).send();
        Next::Leave
    }

    /// Asks the service beside the exchange, which has been answered.
    fn renew_beside(&self, request: &Request<'_>, asking: &Asking, entry: Entry, body: Vec<u8>) {
        let background = self.background.borrow().clone();
        let (Some(host), Some(cluster)) = (background, request.cluster_name()) else { return };
        if !self.store.may_renew(&asking.key.address, renew::TIMEOUT) {
            return;
        }
        let Asking { key, has_authorization, .. } = asking;
        let (config, store, key) = (self.config.clone(), self.store.clone(), key.clone());
        let renewal = Renewal { config, store, key, entry, body, has_authorization: *has_authorization };
        host.spawn(renewal.run(host.clone(), cluster, request.authority(), request.path()));
    }

    fn keep(&self, key: &Key, entry: &Entry, body: &[u8], now: Duration) {
        let time = entry.kept_for(now, self.config.keep_stale);
        if !self.store.keep(&key.address, &key.request, entry, body, time) {
            self.count("not_stored");
        }
    }

    fn count(&self, outcome: &'static str) {
        self.requests.with([outcome]).increment();
    }
}
