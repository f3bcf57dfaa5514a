//! A set of keys: from a JWK set (RFC 7517, section 5), or a single JWK.

use serde::Deserialize;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::key::{Jwk, Key, Unusable};

/// The largest JWK set, in bytes.
pub(crate) const LARGEST: usize = 256 * 1024;
/// The most keys in a set.
pub(crate) const MOST_KEYS: usize = 100;
/// How many keys a token is tried with that does not name one.
const MOST_TRIED: usize = 4;

/// The keys of one issuer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jwks {
    keys: Vec<Key>,
    /// Keys of the set that are not used, and why.
    pub(crate) passed_over: Vec<String>,
}

/// Who vouches for a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The operator: every key has to work, and there may be secrets.
    Configuration,
    /// Somebody else: what does not work is passed over, and a published secret is none.
    Fetched,
}

impl Jwks {
    /// Of JSON text.
    pub(crate) fn parse(text: &[u8], source: Source) -> Result<Jwks, String> {
        if text.len() > LARGEST {
            return Err(format!("a JWK set of {} bytes; expected at most {LARGEST}", text.len()));
        }
        let value = serde_json::from_slice(text).map_err(|error| format!("not a JWK set: {error}"))?;
        Jwks::read(value, source)
    }

    /// Of a JSON value.
    pub(crate) fn read(value: Value, source: Source) -> Result<Jwks, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let single = value.get("keys").is_none() && value.get("kty").is_some();
        let keys = match single {
            true => vec![value],
            false => Set::deserialize(value).map_err(|error| format!("not a JWK set: {error}"))?.keys,
        };
        if keys.len() > MOST_KEYS {
            return Err(format!("{} keys; expected at most {MOST_KEYS}", keys.len()));
        }
        let mut set = Jwks::default();
        for (at, jwk) in keys.into_iter().enumerate() {
            match read_key(jwk, source) {
                Ok(key) => set.keys.push(key),
                Err(Unusable::Wrong(why)) if source == Source::Configuration => {
                    return Err(format!("keys[{at}]: {why}"));
                }
                Err(Unusable::Wrong(why) | Unusable::NotForUs(why)) => {
                    set.passed_over.push(format!("keys[{at}]: {why}"));
                }
            }
        }
        if set.keys.is_empty() {
            let why = set.passed_over.first().map_or("it is empty", String::as_str);
            return Err(format!("no key to verify tokens with: {why}"));
        }
        Ok(set)
    }

    /// What of it could be used at all with these algorithms.
    pub(crate) fn has_use_for(&self, algorithms: &[Algorithm]) -> bool {
        self.keys.iter().any(|key| algorithms.iter().any(|algorithm| key.is_for(*algorithm)))
    }

    /// The keys that a token with this `kid`, or none, may have been signed with. Nothing is looked up by what a token
    /// says but in this list: a `kid` is compared, never a path or a query.
    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let named = move |key: &&Key| match (kid, &key.id) {
            (Some(kid), Some(id)) => id == kid,
            _ => true,
        };
        self.keys.iter().filter(move |key| key.is_for(algorithm)).filter(named).take(MOST_TRIED)
    }
}

fn read_key(jwk: Value, source: Source) -> Result<Key, Unusable> {
    let jwk = Jwk::deserialize(jwk).map_err(|error| Unusable::Wrong(error.to_string()))?;
    let key = Key::read(jwk)?;
    if source == Source::Fetched && key.family() == super::algorithm::Family::Hmac {
        return Err(Unusable::NotForUs("a secret that is published".to_owned()));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const OCT: &str = r#"{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;

    fn parse(text: &str, source: Source) -> Result<usize, String> {
        Jwks::parse(text.as_bytes(), source).map(|set| set.keys.len())
    }

    #[test]
    fn a_set_and_a_single_key_both_read() {
        assert_eq!(parse(&format!(r#"{{"keys": [{ED}, {OCT}]}}"#), Source::Configuration), Ok(2));
        assert_eq!(parse(ED, Source::Configuration), Ok(1));
    }

    #[test]
    fn a_secret_that_is_published_is_no_key() {
        let both = format!(r#"{{"keys": [{ED}, {OCT}]}}"#);
        assert_eq!(parse(&both, Source::Fetched), Ok(1));
        assert!(parse(OCT, Source::Fetched).unwrap_err().contains("no key to verify tokens with"));
    }

    #[test]
    fn keys_that_are_not_for_us_are_passed_over() {
        let others = [
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
            r#"{"kty":"RSA","use":"enc","n":"AA","e":"AQAB"}"#,
            r#"{"kty":"RSA","key_ops":["encrypt"],"n":"AA","e":"AQAB"}"#,
            r#"{"kty":"RSA","alg":"RSA-OAEP","n":"AA","e":"AQAB"}"#,
        ];
        for other in others {
            let set =
                Jwks::parse(format!(r#"{{"keys": [{other}, {ED}]}}"#).as_bytes(), Source::Configuration);
            assert_eq!(set.unwrap().passed_over.len(), 1, "{other}");
        }
    }

    #[test]
    fn a_key_that_should_work_and_does_not_is_named_in_a_configuration_and_passed_over_when_fetched() {
        let wrong = [
            (
                r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
                "keys[1]: an RSA key of 17 bits; expected 2048 to 8192",
            ),
            (r#"{"kty":"RSA","e":"AQAB"}"#, "keys[1]: `n` is missing"),
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#, "keys[1]: a secret of 6 bytes; expected at least 32"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AA=="}"#, "keys[1]: `x` is not base64url without padding"),
            (
                r#"{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
                "keys[1]: not a point of the curve",
            ),
            (
                r#"{"kty":"OKP","crv":"Ed25519","d":"AA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
                "keys[1]: it has a private part",
            ),
            (
                r#"{"kty":"OKP","crv":"Ed25519","alg":"RS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
                "keys[1]: `alg` does not go with",
            ),
            (r#"{"x":"1"}"#, "keys[1]: missing field `kty`"),
        ];
        for (key, message) in wrong {
            let text = format!(r#"{{"keys": [{ED}, {key}]}}"#);
            let error = parse(&text, Source::Configuration).unwrap_err();
            assert!(error.starts_with(message), "{key} gave: {error}");
            assert_eq!(parse(&text, Source::Fetched), Ok(1), "{key}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let many = format!(r#"{{"keys": [{}]}}"#, vec![ED; MOST_KEYS + 1].join(","));
        assert_eq!(parse(&many, Source::Fetched).unwrap_err(), "101 keys; expected at most 100");
        let large = format!("{}{ED}", " ".repeat(LARGEST));
        assert!(parse(&large, Source::Fetched).unwrap_err().contains("expected at most 262144"));
    }

    #[test]
    fn a_token_is_tried_with_the_key_that_it_names_or_with_few() {
        let ids = ["a", "b", "c", "d", "e", "f"].map(|id| ED.replace(r#""a""#, &format!("\"{id}\"")));
        let set =
            Jwks::parse(format!(r#"{{"keys": [{}]}}"#, ids.join(",")).as_bytes(), Source::Fetched).unwrap();
        let tried = |kid, algorithm| {
            set.candidates(kid, algorithm).filter_map(|key| key.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(tried(Some("e"), Algorithm::EdDsa), ["e"]);
        assert_eq!(tried(Some("../e"), Algorithm::EdDsa), [""; 0]);
        assert_eq!(tried(Some("e"), Algorithm::Rs256), [""; 0]);
        assert_eq!(tried(None, Algorithm::EdDsa).len(), MOST_TRIED);
    }
}
