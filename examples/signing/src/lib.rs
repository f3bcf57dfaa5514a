//! Signs requests, and verifies signatures: HTTP Message Signatures (RFC 9421) with `hmac-sha256`, and `content-digest` of the body
//! (RFC 9530).
//!
//! ```yaml
//! config:
//!   mode: verify                       # or sign
//!   keys: {orders: {from_file: ./orders.key}}   # base64
//!   key: orders                        # that which signs
//!   components: ["@method", "@authority", "@path", "@query", "date"]
//! ```
//!
//! Signing holds a body until it is whole, up to the listener's `buffer_limit`, because its digest is in a header. Verifying holds
//! none: the last piece goes on when the digest is right, and a request whose end never came is none. Counter:
//! `signing_requests{outcome}`.

mod message;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tidegate_sdk::log::warn;
use tidegate_sdk::{Block, Body, Cells, CounterFamily, Exchange, Filter, Next, Request, filter};

use crate::message::{Signature, digest_field, is_component, list, read_digest, signature_base};

filter!(Signing);

// Which headers a signature covers, is for its configuration to say.
tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["content-digest", "signature", "signature-input", "date", "x-signed-by"]},
    "body": "read",
    "properties": {"read": ["plugin_name"]},
    "shared_data": ["*"],
    "metrics": ["signing_*"],
    "reply": true
}

/// The shortest secret, in bytes: as long as what it makes.
const SHORTEST_SECRET: usize = 32;
const DIGEST: &str = "content-digest";

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mode: Mode,
    /// Secrets in base64, by their names.
    keys: BTreeMap<String, String>,
    /// The name of the key that signs.
    key: Option<String>,
    /// What a signature covers, or has to cover, beside the body's digest.
    #[serde(default = "default_components")]
    components: Vec<String>,
    /// How old a signature may be, and how far clocks may be apart, in seconds.
    #[serde(default = "default_max_age")]
    max_age: u64,
    #[serde(default = "default_skew")]
    skew: u64,
    /// A signature counts once.
    #[serde(default = "default_true")]
    once: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Sign,
    Verify,
}

fn default_components() -> Vec<String> {
    ["@method", "@authority", "@path", "@query"].map(str::to_owned).to_vec()
}

fn default_max_age() -> u64 {
    60
}

fn default_skew() -> u64 {
    5
}

fn default_true() -> bool {
    true
}

/// The filter.
struct Signing {
    config: Config,
    keys: BTreeMap<String, Hmac<Sha256>>,
    /// The nonces that were seen.
    seen: Cells,
    requests: CounterFamily<1>,
}

/// The body so far.
#[derive(Default)]
struct State {
    digest: Sha256,
    /// Bytes that are in it: those that are held are shown again.
    read: usize,
    /// What it has to come to, where it is verified.
    expected: Option<[u8; 32]>,
}

impl Filter for Signing {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Signing, String> {
        let mut keys = BTreeMap::new();
        for (name, secret) in &config.keys {
            // The text is not repeated: it is a secret.
            let secret =
                BASE64.decode(secret.trim()).map_err(|_| format!("keys.{name}: it is not base64"))?;
            if secret.len() < SHORTEST_SECRET
                || name.contains(|c: char| !c.is_ascii_graphic() || "\"\\".contains(c))
            {
                return Err(format!(
                    "keys.{name}: expected a plain name and {SHORTEST_SECRET} bytes or more"
                ));
            }
            let key = Hmac::new_from_slice(&secret).map_err(|error| format!("keys.{name}: {error}"))?;
            keys.insert(name.clone(), key);
        }
        if let Some((at, name)) = config.components.iter().enumerate().find(|(_, name)| !is_component(name)) {
            return Err(format!(
                "components[{at}]: `{name}` is no header in small letters, and none of @method, @authority, @path, @query"
            ));
        }
        if config.mode == Mode::Sign && !config.key.as_ref().is_some_and(|key| keys.contains_key(key)) {
            return Err("key: name the one of `keys` that signs".to_owned());
        }
        let requests = CounterFamily::new("signing_requests", ["outcome"]);
        Ok(Signing { config, keys, seen: Cells::of_this_filter(), requests })
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        match (self.config.mode, request.is_complete()) {
            (Mode::Sign, true) => self.sign(request, None),
            // Headers wait for the body: see `allow_on_headers_stop_iteration` in the configuration.
            (Mode::Sign, false) => Next::Pause,
            (Mode::Verify, is_complete) => match self.verify(request, is_complete) {
                Ok((key, expected)) => {
                    request.set_header("x-signed-by", key);
                    state.expected = expected;
                    match (is_complete, expected) {
                        (false, _) => Next::Continue,
                        // A body that was taken away is another body.
                        (true, Some(_)) => self.end(state, request),
                        (true, None) => self.accept(),
                    }
                }
                Err(why) => self.refuse(request, why),
            },
        }
    }

    fn on_request_body(&self, state: &mut State, request: &Request<'_>, body: &Body) -> Next {
        match self.config.mode {
            Mode::Sign => {
                // All that is held is shown, and what was there before is in the digest already.
                state.digest.update(body.bytes_from(state.read));
                state.read = body.len();
                if !body.is_last() {
                    return Next::Pause;
                }
                self.sign(request, Some(std::mem::take(&mut state.digest)))
            }
            Mode::Verify => {
                state.digest.update(body.bytes());
                if body.is_last() { self.end(state, request) } else { Next::Continue }
            }
        }
    }

    fn on_request_trailers(&self, state: &mut State, request: &Request<'_>) -> Next {
        match self.config.mode {
            Mode::Sign => self.sign(request, Some(std::mem::take(&mut state.digest))),
            Mode::Verify => self.end(state, request),
        }
    }
}

impl Signing {
    fn sign(&self, request: &Request<'_>, body: Option<Sha256>) -> Next {
        let Some((name, key)) = self.config.key.as_ref().and_then(|name| self.keys.get_key_value(name))
        else {
            return request.reply(500).details("signing_no_key").send();
        };
        let mut components = self.config.components.clone();
        let now = request.now().as_secs();
        if let Some(body) = body {
            request.set_header(DIGEST, digest_field(body));
            components.push(DIGEST.to_owned());
        }
        let nonce = [tidegate_sdk::random(..), tidegate_sdk::random(..)].map(u64::to_le_bytes);
        let nonce = BASE64.encode(nonce.as_flattened());
        let list = list(&components);
        let parameters =
            format!("{list};created={now};keyid=\"{name}\";alg=\"hmac-sha256\";nonce=\"{nonce}\"");
        let fields = request.headers().block();
        let Some(base) = signature_base(&fields, &components, &parameters) else {
            return self.refuse(request, "incomplete");
        };
        let signature = key.clone().chain_update(base).finalize().into_bytes();
        request.set_header("signature-input", format!("sig={parameters}"));
        request.set_header("signature", format!("sig=:{}:", BASE64.encode(signature)));
        self.requests.with(["signed"]).increment();
        Next::Leave
    }

    /// The name of the key that signed a request, and the digest that its body has to have.
    fn verify(
        &self,
        request: &Request<'_>,
        is_complete: bool,
    ) -> Result<(String, Option<[u8; 32]>), &'static str> {
        let fields: Block = request.headers().block();
        let signature = Signature::read(&fields).ok_or("missing")?;
        let covers = |name: &str| signature.components.iter().any(|covered| covered == name);
        if !self.config.components.iter().all(|name| covers(name)) || !(is_complete || covers(DIGEST)) {
            return Err("covers_too_little");
        }
        let base =
            signature_base(&fields, &signature.components, &signature.parameters).ok_or("incomplete")?;
        let key = self.keys.get(&signature.key).ok_or("unknown_key")?;
        // Compares in constant time.
        key.clone().chain_update(base).verify_slice(&signature.bytes).map_err(|_| "wrong")?;
        // Only now is it known who says the rest.
        let (now, created) = (request.now().as_secs(), signature.created.ok_or("undated")?);
        let Config { max_age, skew, once, .. } = self.config;
        if created > now + skew || signature.expires.is_some_and(|expires| expires + skew < now) {
            return Err("expired");
        }
        if created + max_age + skew < now {
            return Err("expired");
        }
        if once {
            let nonce = signature.nonce.ok_or("no_nonce")?;
            // One second more, as `now` has lost a part of one.
            let kept = Duration::from_secs(max_age + 2 * skew + 1);
            let seen = self.seen.add(format!("{}\0{nonce}", signature.key), 1, Some(kept));
            if seen.map_err(|_| "not_counted")?.count > 1 {
                return Err("replayed");
            }
        }
        let digest = fields.joined(DIGEST).filter(|_| covers(DIGEST));
        let digest = digest.map(|digest| read_digest(&digest).ok_or("wrong_digest")).transpose()?;
        Ok((signature.key, digest))
    }

    /// The body is whole, and its last piece has not gone on.
    fn end(&self, state: &mut State, request: &Request<'_>) -> Next {
        let digest: [u8; 32] = std::mem::take(&mut state.digest).finalize().into();
        match state.expected.is_some_and(|expected| expected.ct_eq(&digest).into()) {
            true => self.accept(),
            false => self.refuse(request, "wrong_digest"),
        }
    }

    fn accept(&self) -> Next {
        self.requests.with(["verified"]).increment();
        Next::Leave
    }

    /// The client is not told why: what an attacker learns from is in the log.
    fn refuse(&self, exchange: &Exchange, why: &'static str) -> Next {
        self.requests.with([why]).increment();
        warn!(why = why; "a request is refused");
        exchange.reply(401).body("a valid signature is needed\n").details(format!("signing:{why}")).send()
    }
}
