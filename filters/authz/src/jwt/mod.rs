//! JSON Web Tokens (RFC 7519), signed (RFC 7515): from the text that a client sends to claims that hold.
//!
//! What a token says about itself only ever narrows what configuration and keys allow. Checks go from cheap to dear, so
//! that a token that cannot be good costs no signature.

mod algorithm;
mod cache;
mod claims;
mod issuer;
mod json;
mod jwks;
mod key;
mod remote;
mod token;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use cache::Verified;
#[cfg(test)]
pub(crate) use claims::Claims;
use claims::header_value;
pub(crate) use claims::{ClaimName, ClaimRule};
pub(crate) use issuer::{Issuer, IssuerConfig};
pub(crate) use jwks::LARGEST as LARGEST_KEY_SET;

use crate::place::Place;
use crate::values::NewHeader;
use crate::verdict::{Denial, Reason};
use cache::Tokens;
use claims::Unmet;
use token::{Malformed, Token};
use vocabulary::HeaderName;

/// The most issuers.
const MOST_ISSUERS: usize = 16;
/// The longest token that can be allowed for, in bytes.
const LONGEST_TOKEN: usize = 64 * 1024;
/// How long a token without an expiry is remembered.
const LONGEST_MEMORY: Duration = Duration::from_secs(300);

/// Tokens: where they are in a request, and who issues them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "RawJwt")]
#[schemars(with = "RawJwt")]
pub(crate) struct JwtConfig {
    issuers: Vec<IssuerConfig>,
    pub(crate) from: Vec<Place>,
    longest: usize,
    cache_bytes: u64,
    pub(crate) forward: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Jwt")]
struct RawJwt {
    /// Whose tokens are taken.
    issuers: Vec<IssuerConfig>,
    /// Where in a request a token is looked for; `authorization: Bearer …` without this.
    #[serde(default = "default_from")]
    from: Vec<Place>,
    /// The longest token, in bytes.
    #[serde(default = "default_longest")]
    max_token_bytes: usize,
    /// Memory for tokens that were verified, in bytes on each worker; 0 remembers none.
    #[serde(default = "default_cache")]
    cache_bytes: u64,
    /// Whether the upstream sees the token.
    #[serde(default = "default_true")]
    forward: bool,
}

fn default_from() -> Vec<Place> {
    vec![Place::Header(HeaderName::from_known("authorization"))]
}

fn default_longest() -> usize {
    8192
}

fn default_cache() -> u64 {
    1 << 20
}

fn default_true() -> bool {
    true
}

impl TryFrom<RawJwt> for JwtConfig {
    type Error = String;

    fn try_from(raw: RawJwt) -> Result<JwtConfig, String> {
        if !(1..=MOST_ISSUERS).contains(&raw.issuers.len()) {
            return Err(format!("issuers: {} of them; expected 1 to {MOST_ISSUERS}", raw.issuers.len()));
        }
        for (at, config) in raw.issuers.iter().enumerate() {
            if raw.issuers[..at].iter().any(|before| before.issuer == config.issuer) {
                return Err(format!("issuers[{at}].issuer: `{}` is there twice", config.issuer));
            }
        }
        if raw.from.is_empty() {
            return Err("from: expected at least one place".to_owned());
        }
        if !(1..=LONGEST_TOKEN).contains(&raw.max_token_bytes) {
            return Err(format!("max_token_bytes: {}; expected 1 to {LONGEST_TOKEN}", raw.max_token_bytes));
        }
        Ok(JwtConfig {
            issuers: raw.issuers,
            from: raw.from,
            longest: raw.max_token_bytes,
            cache_bytes: raw.cache_bytes,
            forward: raw.forward,
        })
    }
}

/// What verifies tokens, on one worker.
pub(crate) struct Jwt {
    pub(crate) from: Vec<Place>,
    pub(crate) forward: bool,
    pub(crate) issuers: Vec<Rc<Issuer>>,
    longest: usize,
    tokens: RefCell<Tokens>,
}

/// What became of a token.
#[derive(Debug)]
pub(crate) enum Outcome {
    Verified(Verified),
    Refused(Denial),
    /// It has to wait for keys of this issuer, which may verify it.
    NeedsKeys(Rc<Issuer>),
}

impl Jwt {
    pub(crate) fn new(config: JwtConfig) -> Jwt {
        let issuers = config.issuers.into_iter().map(|issuer| Rc::new(Issuer::new(issuer))).collect();
        let tokens = RefCell::new(Tokens::new(config.cache_bytes));
        Jwt { from: config.from, forward: config.forward, issuers, longest: config.longest, tokens }
    }

    /// Whether the token holds at this time since 1970. `may_wait`: keys may still be fetched for it.
    pub(crate) fn verify(&self, text: &str, now: Duration, may_wait: bool) -> Outcome {
        if text.len() > self.longest {
            return refuse(Reason::TokenTooLarge, None);
        }
        let generation = |issuer: usize| self.issuers[issuer].generation(now);
        if let Some(verified) = self.tokens.borrow_mut().get(text, now, generation) {
            return Outcome::Verified(verified);
        }
        let token = match Token::parse(text) {
            Ok(token) => token,
            Err(Malformed::Form) => return refuse(Reason::TokenMalformed, None),
            Err(Malformed::Algorithm) => return refuse(Reason::TokenAlgorithm, None),
            Err(Malformed::Critical) => return refuse(Reason::TokenCritical, None),
        };
        let named = token.claims().issuer();
        let Some(at) = self.issuers.iter().position(|issuer| Some(&*issuer.config.issuer) == named) else {
            return refuse(Reason::TokenIssuer, None);
        };
        self.verify_by(at, text, token, now, may_wait)
    }

    fn verify_by(&self, at: usize, text: &str, token: Token<'_>, now: Duration, may_wait: bool) -> Outcome {
        let issuer = &self.issuers[at];
        let config = &issuer.config;
        let refused = |reason| refuse(reason, Some(config.issuer.clone()));
        if !config.algorithms.contains(&token.algorithm) {
            return refused(Reason::TokenAlgorithm);
        }
        // Not believed yet, but what already says that it does not hold need not be signed for that.
        if let Err(unmet) = token.claims().check(&config.demands, now) {
            return refused(reason(unmet));
        }
        let helps = |fetch| may_wait && issuer.schedule.borrow().may_help(fetch, now);
        let Some(keys) = issuer.keys(now) else {
            return match issuer.fetch().is_some_and(helps) {
                true => Outcome::NeedsKeys(issuer.clone()),
                false => refused(Reason::KeysUnavailable),
            };
        };
        let candidates: Vec<_> = keys.candidates(token.key_id.as_deref(), token.algorithm).collect();
        if candidates.is_empty() {
            return match issuer.fetch().is_some_and(helps) {
                true => Outcome::NeedsKeys(issuer.clone()),
                false => refused(Reason::TokenKey),
            };
        }
        if !candidates.iter().any(|key| key.verify(token.algorithm, token.signed(), token.signature())) {
            return refused(Reason::TokenSignature);
        }
        let expiry = token.claims().expiry().map(|expiry| expiry.saturating_add(config.demands.leeway));
        let until = expiry.unwrap_or(now + LONGEST_MEMORY);
        let generation = issuer.generation(now).unwrap_or_default();
        let verified = Verified { claims: Rc::new(token.into_claims()), issuer: at, generation, until };
        self.tokens.borrow_mut().insert(text, verified.clone());
        Outcome::Verified(verified)
    }

    /// Every header that is made of claims: none of them may come from a client.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().flat_map(|issuer| issuer.config.headers.keys().map(NewHeader::as_str))
    }

    /// The headers that a token makes.
    pub(crate) fn headers_of(&self, token: &Verified) -> Vec<(&str, String)> {
        let headers = self.issuers[token.issuer].config.headers.iter();
        let value = |claim| header_value(token.claims.get(claim)?);
        headers.filter_map(|(header, claim)| Some((header.as_str(), value(claim)?))).collect()
    }
}

/// The token in a header: behind `Bearer`, in any case (RFC 9110, section 11.1), or alone where that is the header's
/// purpose. Another scheme is somebody else's.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        Some(_) => None,
        None => Some(value),
    }
}

fn refuse(reason: Reason, by: Option<Rc<str>>) -> Outcome {
    Outcome::Refused(Denial::new(reason, by))
}

fn reason(unmet: Unmet) -> Reason {
    match unmet {
        Unmet::Expired => Reason::TokenExpired,
        Unmet::NoExpiry => Reason::TokenWithoutExpiry,
        Unmet::NotYetValid => Reason::TokenNotYetValid,
        Unmet::Audience => Reason::TokenAudience,
        Unmet::Required => Reason::TokenClaims,
        Unmet::Type => Reason::TokenMalformed,
    }
}

#[cfg(test)]
mod tests;
