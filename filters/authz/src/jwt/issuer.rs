//! One issuer of tokens: what is demanded of them, and the keys that verify them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::algorithm::{Algorithm, Family};
use super::claims::{ClaimName, ClaimRule, Demands};
use super::jwks::{Jwks, Source};
use super::remote::{Fetch, Schedule};
use crate::values::{NewHeader, Span};

/// An issuer as configured.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "RawIssuer")]
#[schemars(with = "RawIssuer")]
pub(crate) struct IssuerConfig {
    pub(crate) issuer: Rc<str>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) demands: Demands,
    /// Header by claim.
    pub(crate) headers: BTreeMap<NewHeader, ClaimName>,
    pub(crate) keys: KeySource,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    Given(Rc<Jwks>),
    Fetched(Fetch),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Issuer")]
struct RawIssuer {
    /// What `iss` of its tokens is, exactly.
    issuer: String,
    /// One of these has to be in `aud`.
    #[serde(default)]
    audiences: Vec<String>,
    /// Takes tokens for anyone, in the place of `audiences`.
    #[serde(default)]
    any_audience: bool,
    /// How its tokens may be signed; by any algorithm with a public key without this. `HS256` and the like have to be
    /// named here.
    #[serde(default)]
    algorithms: Option<Vec<Algorithm>>,
    /// The keys: a JWK set or one JWK, as a mapping or as JSON text.
    #[serde(default)]
    jwks: Option<Value>,
    /// Where the keys are fetched, in the place of `jwks`.
    #[serde(default)]
    fetch: Option<Fetch>,
    /// How far clocks may be apart.
    #[serde(default = "default_leeway")]
    leeway: Span,
    /// Refuses tokens that do not expire.
    #[serde(default = "default_true")]
    require_expiry: bool,
    /// What other claims have to be.
    #[serde(default)]
    claims: BTreeMap<ClaimName, ClaimRule>,
    /// Headers that the upstream gets, and the claims that they are made of. What a client sends under these names is
    /// removed.
    #[serde(default)]
    headers: BTreeMap<NewHeader, ClaimName>,
}

fn default_leeway() -> Span {
    Span::new(Duration::from_secs(60))
}

fn default_true() -> bool {
    true
}

impl TryFrom<RawIssuer> for IssuerConfig {
    type Error = String;

    fn try_from(raw: RawIssuer) -> Result<IssuerConfig, String> {
        let audiences = match (raw.audiences.is_empty(), raw.any_audience) {
            (false, false) => Some(raw.audiences),
            (true, true) => None,
            (true, false) => return Err("expected `audiences`, or `any_audience: true`".to_owned()),
            (false, true) => return Err("`audiences` and `any_audience` exclude each other".to_owned()),
        };
        let public = |algorithm: &Algorithm| algorithm.family() != Family::Hmac;
        let algorithms =
            raw.algorithms.unwrap_or_else(|| Algorithm::ALL.into_iter().filter(public).collect());
        if algorithms.is_empty() {
            return Err("algorithms: expected at least one".to_owned());
        }
        let keys = match (raw.jwks, raw.fetch) {
            (Some(jwks), None) => {
                let jwks = read_keys(jwks).map_err(|problem| format!("jwks: {problem}"))?;
                if !jwks.has_use_for(&algorithms) {
                    return Err("jwks: no key goes with `algorithms`".to_owned());
                }
                KeySource::Given(Rc::new(jwks))
            }
            (None, Some(fetch)) => {
                if !algorithms.iter().any(public) {
                    return Err(
                        "algorithms: keys that are fetched are public; expected such as `RS256`".to_owned()
                    );
                }
                KeySource::Fetched(fetch)
            }
            (None, None) => return Err("expected `jwks` or `fetch`".to_owned()),
            (Some(_), Some(_)) => return Err("`jwks` and `fetch` exclude each other".to_owned()),
        };
        let (leeway, require_expiry) = (raw.leeway.duration(), raw.require_expiry);
        let claims = raw.claims.into_iter().collect();
        let demands = Demands { audiences, require_expiry, leeway, claims };
        Ok(IssuerConfig { issuer: raw.issuer.into(), algorithms, demands, headers: raw.headers, keys })
    }
}

/// A mapping as it is, or the JSON in a text: a file's, mostly.
fn read_keys(jwks: Value) -> Result<Jwks, String> {
    match jwks {
        Value::String(text) => Jwks::parse(text.as_bytes(), Source::Configuration),
        value => Jwks::read(value, Source::Configuration),
    }
}

/// An issuer at work.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) config: IssuerConfig,
    keys: RefCell<Option<Rc<Jwks>>>,
    /// Counts the times that the keys became others.
    generation: Cell<u64>,
    /// Of what the keys were read from.
    digest: Cell<[u8; 32]>,
    pub(crate) schedule: RefCell<Schedule>,
}

impl Issuer {
    pub(crate) fn new(config: IssuerConfig) -> Issuer {
        let keys = match &config.keys {
            KeySource::Given(keys) => Some(keys.clone()),
            KeySource::Fetched(_) => None,
        };
        Issuer {
            config,
            keys: RefCell::new(keys),
            generation: Cell::new(0),
            digest: Cell::default(),
            schedule: RefCell::default(),
        }
    }

    /// Where keys are fetched, if they are.
    pub(crate) fn fetch(&self) -> Option<&Fetch> {
        match &self.config.keys {
            KeySource::Given(_) => None,
            KeySource::Fetched(fetch) => Some(fetch),
        }
    }

    /// The keys, as far as they still serve.
    pub(crate) fn keys(&self, now: Duration) -> Option<Rc<Jwks>> {
        let serve = self.fetch().is_none_or(|fetch| self.schedule.borrow().serves(fetch, now));
        if serve { self.keys.borrow().clone() } else { None }
    }

    /// Which keys these are: another number with every change. Keys that no longer serve are none.
    pub(crate) fn generation(&self, now: Duration) -> Option<u64> {
        let serve = self.fetch().is_none_or(|fetch| self.schedule.borrow().serves(fetch, now));
        serve.then(|| self.generation.get())
    }

    /// Takes what was fetched; returns whether the keys are others than before. What is wrong leaves those in place:
    /// tell [`fail`](Issuer::fail) then.
    pub(crate) fn receive(&self, body: &[u8], now: Duration) -> Result<bool, String> {
        let jwks = Jwks::parse(body, Source::Fetched)?;
        if !jwks.has_use_for(&self.config.algorithms) {
            return Err("no key goes with `algorithms`".to_owned());
        }
        self.schedule.borrow_mut().end(now, true);
        let digest = Sha256::digest(body).into();
        let is_other = self.digest.replace(digest) != digest;
        if is_other {
            self.keys.replace(Some(Rc::new(jwks)));
            self.generation.set(self.generation.get() + 1);
        }
        Ok(is_other)
    }

    /// Nothing came that could be used.
    pub(crate) fn fail(&self, now: Duration) {
        self.schedule.borrow_mut().end(now, false);
    }
}
