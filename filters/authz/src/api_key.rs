//! API keys: known by their hash only, so that who reads the configuration cannot use them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::place::Place;
use crate::values::NewHeader;
use vocabulary::HeaderName;

/// The most keys.
const MOST_KEYS: usize = 10_000;
/// The longest key that a client may send, in bytes.
const LONGEST: usize = 1024;

/// API keys as configured.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeysConfig {
    /// The keys. Make them long and random: a hash of a short one is soon undone.
    keys: Keys,
    /// Where in a request a key is looked for; the header `x-api-key` without this.
    #[serde(default = "default_from")]
    pub(crate) from: Vec<Place>,
    /// A header for the upstream with the key's name. What a client sends under it is removed.
    #[serde(default)]
    pub(crate) header: Option<NewHeader>,
    /// Whether the upstream sees the key.
    #[serde(default = "default_true")]
    pub(crate) forward: bool,
}

fn default_from() -> Vec<Place> {
    vec![Place::Header(HeaderName::from_known("x-api-key"))]
}

fn default_true() -> bool {
    true
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<ApiKey>")]
#[schemars(with = "Vec<ApiKey>")]
struct Keys(Rc<[ApiKey]>);

impl TryFrom<Vec<ApiKey>> for Keys {
    type Error = String;

    fn try_from(keys: Vec<ApiKey>) -> Result<Keys, String> {
        if keys.is_empty() || keys.len() > MOST_KEYS {
            return Err(format!("{} keys; expected 1 to {MOST_KEYS}", keys.len()));
        }
        Ok(Keys(keys.into()))
    }
}

/// One key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApiKey {
    /// Whose it is: for rules, logs and the upstream. Several keys may have one name, while one replaces another.
    name: KeyName,
    /// Its SHA-256, as 64 hexadecimal digits.
    sha256: KeyHash,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct KeyName(#[schemars(with = "String")] Rc<str>);

impl TryFrom<String> for KeyName {
    type Error = String;

    fn try_from(text: String) -> Result<KeyName, String> {
        let is_visible = |c: char| !c.is_control() && c != ',';
        if text.is_empty() || text.len() > 256 || !text.chars().all(is_visible) {
            return Err(format!("`{}` is not a name; expected 1 to 256 bytes of text", text.escape_debug()));
        }
        Ok(KeyName(text.into()))
    }
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct KeyHash(#[schemars(with = "String")] [u8; 32]);

impl TryFrom<String> for KeyHash {
    type Error = String;

    fn try_from(text: String) -> Result<KeyHash, String> {
        // The text may be a key that was written here by mistake: it is not repeated.
        read_hash(&text).map(KeyHash).ok_or_else(|| {
            format!("a text of {} bytes; expected a SHA-256 as 64 hexadecimal digits", text.len())
        })
    }
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// How many keys that were recognised are kept as they came.
const MOST_RECOGNISED: usize = 1024;

/// What recognises keys.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    /// Keys that were recognised: to hash one is most of what it costs. They are in the requests anyway; what is written
    /// down stays hashed.
    recognised: RefCell<HashMap<Box<str>, Rc<str>>>,
    /// By the first bytes of their hash, which tell nothing about the key.
    by_prefix: HashMap<[u8; 4], Vec<Known>>,
}

/// A hash, and the name of its key.
type Known = ([u8; 32], Rc<str>);

impl ApiKeys {
    pub(crate) fn new(config: &ApiKeysConfig) -> ApiKeys {
        let mut by_prefix: HashMap<_, Vec<Known>> = HashMap::new();
        for ApiKey { name, sha256 } in config.keys.0.iter() {
            by_prefix.entry(prefix(&sha256.0)).or_default().push((sha256.0, name.0.clone()));
        }
        ApiKeys { recognised: RefCell::default(), by_prefix }
    }

    /// The name of a key, if it is one.
    pub(crate) fn name_of(&self, key: &str) -> Option<Rc<str>> {
        if key.is_empty() || key.len() > LONGEST {
            return None;
        }
        // Found by a hash of the whole key: how long that takes tells nothing of how much of a guess is right.
        if let Some(name) = self.recognised.borrow().get(key) {
            return Some(name.clone());
        }
        let hash: [u8; 32] = Sha256::digest(key).into();
        let near = self.by_prefix.get(&prefix(&hash))?;
        let (_, name) = near.iter().find(|(known, _)| bool::from(known.ct_eq(&hash)))?;
        let mut recognised = self.recognised.borrow_mut();
        if recognised.len() >= MOST_RECOGNISED {
            recognised.clear();
        }
        recognised.insert(key.into(), name.clone());
        Some(name.clone())
    }
}

fn prefix(hash: &[u8; 32]) -> [u8; 4] {
    let [a, b, c, d, ..] = *hash;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `let-me-in`.
    const HASH: &str = "0ae09b9b6a9acf14f2ae7bbba2ab0b8ea6ad2d2ad5aa4eb8dcb0dc20cd0a9a70";

    fn config(json: &str) -> Result<ApiKeysConfig, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    fn hash_of(key: &str) -> String {
        Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let json = format!(
            r#"{{"keys": [{{"name": "ci", "sha256": "{}"}}, {{"name": "ann", "sha256": "{}"}}]}}"#,
            hash_of("let-me-in"),
            hash_of("me-too").to_uppercase()
        );
        let keys = ApiKeys::new(&config(&json).unwrap());
        assert_eq!(keys.name_of("let-me-in").as_deref(), Some("ci"));
        assert_eq!(keys.name_of("let-me-in").as_deref(), Some("ci"), "known from before");
        assert_eq!(keys.name_of("me-too").as_deref(), Some("ann"));
        for wrong in
            ["", "let-me-i", "let-me-in ", "LET-ME-IN", &hash_of("let-me-in"), &"x".repeat(LONGEST + 1)]
        {
            assert_eq!(keys.name_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_of_recognised_keys_has_a_limit() {
        let names: Vec<String> = (0..MOST_RECOGNISED + 10).map(|number| format!("key-{number}")).collect();
        let entry = |name: &String| format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, hash_of(name));
        let entries: Vec<String> = names.iter().map(entry).collect();
        let keys = ApiKeys::new(&config(&format!(r#"{{"keys": [{}]}}"#, entries.join(","))).unwrap());
        for name in names.iter().chain(&names) {
            assert_eq!(keys.name_of(name).as_deref(), Some(name.as_str()));
            assert!(keys.recognised.borrow().len() <= MOST_RECOGNISED);
        }
        assert_eq!(keys.name_of("key-x"), None);
        assert!(!keys.recognised.borrow().contains_key("key-x"), "only what is right is kept");
    }

    #[test]
    fn a_hash_is_compared_to_its_end() {
        let near = format!("{}{}", &hash_of("let-me-in")[..62], "00");
        let keys =
            ApiKeys::new(&config(&format!(r#"{{"keys": [{{"name": "a", "sha256": "{near}"}}]}}"#)).unwrap());
        assert_eq!(keys.name_of("let-me-in"), None);
    }

    #[test]
    fn an_error_names_the_field_and_keeps_what_may_be_a_secret() {
        let wrong = [
            (r#"{"keys": []}"#.to_owned(), "keys: 0 keys; expected 1 to 10000"),
            (
                r#"{"keys": [{"name": "ci", "sha256": "let-me-in"}]}"#.to_owned(),
                "keys[0].sha256: a text of 9 bytes; expected a SHA-256 as 64 hexadecimal digits",
            ),
            (
                format!(r#"{{"keys": [{{"name": "", "sha256": "{HASH}"}}]}}"#),
                "keys[0].name: `` is not a name",
            ),
            (
                format!(r#"{{"keys": [{{"name": "a", "sha256": "{HASH}"}}], "header": "host"}}"#),
                "header: `host` is not a filter's to set",
            ),
        ];
        for (json, message) in wrong {
            let error = config(&json).unwrap_err();
            assert!(error.starts_with(message), "{json} gave: {error}");
            assert!(!error.contains("let-me-in"), "{error}");
        }
    }
}
