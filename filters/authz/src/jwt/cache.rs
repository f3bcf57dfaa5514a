//! Tokens that were verified, so that the next request with the same one costs a look-up.
//!
//! The key is the whole token: no two tokens share an entry, whatever an attacker computes, and only tokens that were
//! verified get in, so nobody fills it with forgeries. An entry ends with the token's own expiry at the latest, and when
//! its issuer's keys are replaced.

use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use quick_cache::unsync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::claims::Claims;

/// What one entry weighs beside its token, in bytes: the claims are about as large as the token.
const OVERHEAD: u64 = 256;

/// A token whose signature and demands were checked.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    pub(crate) claims: Rc<Claims>,
    /// Which of the configured issuers it is from.
    pub(crate) issuer: usize,
    /// Of the keys that verified it.
    pub(crate) generation: u64,
    /// Good until then, leeway included; since 1970.
    pub(crate) until: Duration,
}

/// The verified tokens of one worker.
pub(crate) struct Tokens {
    cache: Cache<Known, Verified, ByBytes>,
}

/// A token that was verified.
#[derive(PartialEq, Eq)]
struct Known(Box<str>);

/// A token that was sent.
struct Sent<'a>(&'a str);

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sent(&self.0).hash(state);
    }
}

/// Of the end alone, which is of the signature and as good as random. Nobody gains by tokens with the same: what is not
/// signed does not get in.
impl Hash for Sent<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        bytes[bytes.len().saturating_sub(16)..].hash(state);
    }
}

impl Equivalent<Known> for Sent<'_> {
    fn equivalent(&self, known: &Known) -> bool {
        is_same(self.0.as_bytes(), known.0.as_bytes())
    }
}

/// In a time that tells nothing but the lengths; eight bytes at a time, as WebAssembly has nothing to compare memory.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let words = a_words.iter().zip(b_words).map(|(a, b)| u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b));
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| u64::from(a ^ b));
    a.len() == b.len() && words.chain(rest).fold(0, |differences, difference| differences | difference) == 0
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Known, Verified> for ByBytes {
    fn weight(&self, token: &Known, _: &Verified) -> u64 {
        OVERHEAD + 2 * token.0.len() as u64
    }
}

impl Tokens {
    /// Keeps so many bytes at most; none with 0.
    pub(crate) fn new(bytes: u64) -> Tokens {
        let typical = OVERHEAD + 2 * 1024;
        Tokens { cache: Cache::with_weighter((bytes / typical) as usize, bytes, ByBytes) }
    }

    /// A token that is still good. `generation` tells which keys an issuer has now, if
    /// any that serve.
    pub(crate) fn get(
        &mut self,
        token: &str,
        now: Duration,
        generation: impl Fn(usize) -> Option<u64>,
    ) -> Option<Verified> {
        let found = self.cache.get(&Sent(token))?;
        if now < found.until && generation(found.issuer) == Some(found.generation) {
            return Some(found.clone());
        }
        self.cache.remove(&Sent(token));
        None
    }

    /// Remembers a token.
    pub(crate) fn insert(&mut self, token: &str, verified: Verified) {
        self.cache.insert(Known(token.into()), verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(until_s: u64, generation: u64) -> Verified {
        Verified { claims: Rc::default(), issuer: 0, generation, until: Duration::from_secs(until_s) }
    }

    #[test]
    fn a_token_is_remembered_until_it_expires() {
        let mut tokens = Tokens::new(1 << 20);
        tokens.insert("a", verified(10, 0));
        let get =
            |tokens: &mut Tokens, now_s| tokens.get("a", Duration::from_secs(now_s), |_| Some(0)).is_some();
        assert!(get(&mut tokens, 9));
        assert!(!get(&mut tokens, 10));
        assert!(!get(&mut tokens, 9), "what has expired is gone");
    }

    #[test]
    fn a_token_is_forgotten_when_the_keys_that_verified_it_are_replaced() {
        let mut tokens = Tokens::new(1 << 20);
        tokens.insert("a", verified(10, 1));
        assert!(tokens.get("a", Duration::ZERO, |_| Some(1)).is_some());
        assert!(tokens.get("a", Duration::ZERO, |_| Some(2)).is_none());
    }

    #[test]
    fn a_token_that_differs_anywhere_is_another() {
        let mut tokens = Tokens::new(1 << 20);
        let token = "0123456789abcdefghijklmnopqrstuvwxyz";
        tokens.insert(token, verified(10, 0));
        for at in 0..token.len() {
            let mut other = token.to_owned();
            other.replace_range(at..=at, "_");
            assert!(tokens.get(&other, Duration::ZERO, |_| Some(0)).is_none(), "{other}");
        }
        assert!(tokens.get(&token[1..], Duration::ZERO, |_| Some(0)).is_none());
        assert!(tokens.get(token, Duration::ZERO, |_| Some(0)).is_some());
    }

    #[test]
    fn memory_is_bounded_by_bytes() {
        let mut tokens = Tokens::new(64 * 1024);
        for n in 0..1000 {
            tokens.insert(&format!("{n:04}{}", "x".repeat(2000)), verified(10, 0));
        }
        assert!(tokens.cache.weight() <= 64 * 1024);
        assert!(tokens.cache.len() >= 10);
        let mut none = Tokens::new(0);
        none.insert("a", verified(10, 0));
        assert!(none.get("a", Duration::ZERO, |_| Some(0)).is_none());
    }
}
