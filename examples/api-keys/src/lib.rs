//! API keys: who calls is known by a key, of which the configuration has the SHA-256 alone, and may call certain paths.
//!
//! ```yaml
//! config:
//!   header: x-api-key          # where the key is; with `query: api_key` it may be there instead
//!   client_header: x-client    # tells the service who calls
//!   clients:
//!     - name: mobile
//!       sha256: [9f86d081…]    # two while one key replaces another
//!       scopes: [{path: /orders, methods: [GET, HEAD]}]
//! ```
//!
//! The key does not go on to the service. Counter: `api_keys_requests{client, outcome}`, the outcome being `allowed`,
//! `out_of_scope`, `unknown` or `missing`.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tidegate_sdk::log::{info, warn};
use tidegate_sdk::{CounterFamily, Filter, Next, Request, filter, without_query};

filter!(ApiKeys);

// Which headers, is for its configuration to say.
tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["*"]},
    "properties": {"read": ["source.address"]},
    "metrics": ["api_keys_*"],
    "reply": true
}

/// The longest key that a client may send, in bytes: what is longer is not hashed.
const LONGEST_KEY: usize = 512;
/// The most keys: each is compared with, so that time tells nothing.
const MOST_KEYS: usize = 256;
/// What stands for the client in the metrics where none is known.
const NOBODY: &str = "";

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "default_header")]
    header: String,
    /// The parameter that a key may come in where there is no header; none unless it is set, because queries are logged.
    query: Option<String>,
    #[serde(default = "default_client_header")]
    client_header: String,
    #[serde(default = "default_realm")]
    realm: String,
    clients: Vec<Client>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    name: String,
    sha256: Vec<String>,
    /// What it may call; everything where nothing is said.
    scopes: Option<Vec<Scope>>,
}

/// A path and everything below it, for these methods or all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    path: String,
    #[serde(default)]
    methods: Vec<String>,
}

fn default_header() -> String {
    "x-api-key".to_owned()
}

fn default_client_header() -> String {
    "x-client".to_owned()
}

fn default_realm() -> String {
    "api".to_owned()
}

/// The filter.
struct ApiKeys {
    config: Config,
    /// A hash, and which client's it is.
    hashes: Vec<([u8; 32], u32)>,
    requests: CounterFamily<2>,
}

impl Filter for ApiKeys {
    type Config = Config;
    type State = ();

    fn new(mut config: Config) -> Result<ApiKeys, String> {
        // Hosts show names of headers in lower case.
        config.header.make_ascii_lowercase();
        config.client_header.make_ascii_lowercase();
        if config.realm.contains(['"', '\\', '\r', '\n']) {
            return Err("realm: a text without quotes, backslashes and line breaks is expected".to_owned());
        }
        let mut hashes = Vec::new();
        for (at, client) in config.clients.iter().enumerate() {
            if client.name.is_empty() || client.name.contains(char::is_control) {
                return Err(format!("clients[{at}].name: a text of visible characters is expected"));
            }
            for (index, text) in client.sha256.iter().enumerate() {
                // The text is not repeated: it may be a key that was written here by mistake.
                let hash = read_hash(text).ok_or_else(|| {
                    format!("clients[{at}].sha256[{index}]: expected the key's SHA-256 as 64 hexadecimal digits, found {} bytes", text.len())
                })?;
                hashes.push((hash, at as u32));
            }
            for (index, scope) in client.scopes.iter().flatten().enumerate() {
                if !scope.path.starts_with('/') {
                    let path = &scope.path;
                    return Err(format!(
                        "clients[{at}].scopes[{index}].path: `{path}` does not begin with `/`"
                    ));
                }
            }
        }
        if hashes.is_empty() || hashes.len() > MOST_KEYS {
            return Err(format!(
                "clients: they have {} keys together; expected 1 to {MOST_KEYS}",
                hashes.len()
            ));
        }
        let requests = CounterFamily::new("api_keys_requests", ["client", "outcome"]).at_most(1024);
        Ok(ApiKeys { config, hashes, requests })
    }

    fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
        let Some(key) = self.take_key(request) else {
            return self.unauthorized(request, "missing");
        };
        let Some(client) = self.client_of(&key) else {
            return self.unauthorized(request, "unknown");
        };
        let name = client.name.as_str();
        if !client.may(&request.method(), &request.path()) {
            info!(client = name; "a request is out of its scope");
            self.requests.with([name, "out_of_scope"]).increment();
            return request
                .reply(403)
                .body("this key is not for that\n")
                .details("api_keys_out_of_scope")
                .send();
        }
        self.requests.with([name, "allowed"]).increment();
        // Whatever the client said of itself under this name is gone.
        request.set_header(&self.config.client_header, name);
        Next::Leave
    }
}

impl ApiKeys {
    /// The key, which is taken out of the request: out of both places, wherever it was found.
    fn take_key(&self, request: &Request<'_>) -> Option<String> {
        let mut key = request.header(&self.config.header);
        if key.is_some() {
            request.remove_header(&self.config.header);
        }
        if let Some(name) = &self.config.query
            && let Some(found) = request.query(name)
        {
            request.set_header(":path", without_query(&request.path(), name));
            key = key.or(Some(found));
        }
        key.filter(|key| !key.is_empty())
    }

    /// Whose key this is. Every hash is compared with, to its end, whichever is right.
    fn client_of(&self, key: &str) -> Option<&Client> {
        if key.len() > LONGEST_KEY {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(key).into();
        let (mut found, mut owner) = (Choice::from(0), u32::MAX);
        for (known, client) in &self.hashes {
            let same = known.ct_eq(&hash);
            owner.conditional_assign(client, same);
            found |= same;
        }
        self.config.clients.get(owner as usize).filter(|_| found.into())
    }

    fn unauthorized(&self, request: &Request<'_>, outcome: &'static str) -> Next {
        let from = request.source_address().map(|address| address.ip().to_string()).unwrap_or_default();
        warn!(client_address = from.as_str(), outcome = outcome; "no client is known by its key");
        self.requests.with([NOBODY, outcome]).increment();
        let challenge = format!("ApiKey realm=\"{}\"", self.config.realm);
        let reply =
            request.reply(401).header("www-authenticate", &challenge).header("cache-control", "no-store");
        reply.body("an API key is needed\n").details(format!("api_keys_{outcome}")).send()
    }
}

impl Client {
    fn may(&self, method: &str, path: &str) -> bool {
        let Some(scopes) = &self.scopes else { return true };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let is_for =
            |scope: &Scope| scope.methods.is_empty() || scope.methods.iter().any(|one| one == method);
        !climbs(path) && scopes.iter().any(|scope| is_for(scope) && is_within(path, &scope.path))
    }
}

/// Whether a path is that of a scope or below it: `/orders` has `/orders/7` in it, and not `/orders-of-others`.
fn is_within(path: &str, scope: &str) -> bool {
    let scope = scope.strip_suffix('/').unwrap_or(scope);
    path.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path may lead out of where it begins. tidegate has resolved such segments before; other hosts may not have,
/// and the service may decode once more.
fn climbs(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace(['\\', ';'], "/");
    plain.contains("%25") || plain.contains("%5c") || plain.split('/').any(|segment| segment == "..")
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = text.as_bytes().chunks_exact(2);
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}
