//! HTTP Basic (RFC 7617): users and the hashes of their passwords, as htpasswd writes them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use quick_cache::unsync::Cache;
use schemars::JsonSchema;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::values::NewHeader;

/// bcrypt's own base64. What is left over in the last character of a salt is not looked at, by nobody.
const BCRYPT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));
/// What a password costs to check, as a power of two: 12 is a quarter of a second in a filter.
const COSTS: std::ops::RangeInclusive<u32> = 4..=12;
/// The most users, and the largest text with them.
const MOST_USERS: usize = 10_000;
/// bcrypt looks at no more, in bytes; whoever sends more has another password than they think.
const LONGEST_PASSWORD: usize = 72;
/// How many passwords are remembered to be right.
const REMEMBERED: usize = 256;

/// HTTP Basic as configured.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicConfig {
    /// The users: the text of a file made by `htpasswd -B`, a line each of `user:hash`. Hashes are bcrypt (`$2y$`) or
    /// `{SHA}`.
    htpasswd: Users,
    /// A header for the upstream with the user's name. What a client sends under it is removed.
    #[serde(default)]
    pub(crate) header: Option<NewHeader>,
    /// Whether the upstream sees user and password.
    #[serde(default = "default_true")]
    pub(crate) forward: bool,
}

fn default_true() -> bool {
    true
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct Users(#[schemars(with = "String")] Rc<HashMap<Rc<str>, Hash>>);

/// A password's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hash {
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        hash: [u8; 23],
    },
    /// Without salt, and quick to try out: for passwords that are as long and random as keys.
    Sha1([u8; 20]),
}

impl TryFrom<String> for Users {
    type Error = String;

    fn try_from(text: String) -> Result<Users, String> {
        let mut users = HashMap::new();
        let is_entry = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
        for (at, line) in text.lines().enumerate().filter(|(_, line)| is_entry(line)) {
            let wrong = |problem: String| format!("line {}: {problem}", at + 1);
            let (user, hash) =
                line.trim_end().split_once(':').ok_or_else(|| wrong("expected `user:hash`".to_owned()))?;
            if user.is_empty() || user.len() > 256 || user.chars().any(char::is_control) {
                return Err(wrong("expected a user's name of 1 to 256 bytes".to_owned()));
            }
            let hash =
                Hash::read(hash).map_err(|problem| wrong(format!("the hash of `{user}` is {problem}")))?;
            if users.insert(user.into(), hash).is_some() {
                return Err(wrong(format!("`{user}` is there twice")));
            }
        }
        if users.is_empty() || users.len() > MOST_USERS {
            return Err(format!("{} users; expected 1 to {MOST_USERS}", users.len()));
        }
        Ok(Users(Rc::new(users)))
    }
}

impl Hash {
    /// An error says of which kind it is; it does not repeat what may be a password.
    fn read(text: &str) -> Result<Hash, String> {
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            let hash = STANDARD.decode(encoded).ok().and_then(|hash| hash.try_into().ok());
            return hash.map(Hash::Sha1).ok_or_else(|| "not 20 bytes of base64 after `{SHA}`".to_owned());
        }
        let bcrypt = ["$2y$", "$2b$", "$2a$"].iter().find_map(|prefix| text.strip_prefix(prefix));
        if let Some(rest) = bcrypt {
            return Hash::read_bcrypt(rest);
        }
        let kind = match text.as_bytes() {
            [b'$', b'a', b'p', b'r', b'1', ..] => "of the kind apr1 (MD5), which is broken",
            [b'$', b'2', b'x', ..] => "of the kind `$2x$`, which is broken",
            [b'$', ..] => "of another kind",
            _ => "a password in plain text, or of the kind crypt, which is broken",
        };
        Err(format!("{kind}; expected bcrypt (`htpasswd -B`) or `{{SHA}}`"))
    }

    /// `12$` and 22 characters of salt and 31 of hash.
    fn read_bcrypt(rest: &str) -> Result<Hash, String> {
        let malformed = || "not bcrypt: expected `$2y$`, a cost, `$` and 53 characters".to_owned();
        let (cost, encoded) = rest.split_once('$').ok_or_else(malformed)?;
        let cost: u32 = cost.parse().map_err(|_| malformed())?;
        if !COSTS.contains(&cost) {
            let (least, most) = (COSTS.start(), COSTS.end());
            return Err(format!("bcrypt of cost {cost}; expected {least} to {most}"));
        }
        let (salt, hash) = encoded.split_at_checked(22).ok_or_else(malformed)?;
        let decode = |text: &str| BCRYPT.decode(text).map_err(|_| malformed());
        let salt = decode(salt)?.try_into().map_err(|_| malformed())?;
        let hash = decode(hash)?.try_into().map_err(|_| malformed())?;
        Ok(Hash::Bcrypt { cost, salt, hash })
    }

    fn accepts(&self, password: &[u8]) -> bool {
        match self {
            Hash::Bcrypt { cost, salt, hash } => {
                // A password ends with a NUL, as far as that is among the bytes that count.
                let ended = [password, &[0]].concat();
                let made = bcrypt::bcrypt(*cost, *salt, &ended[..ended.len().min(LONGEST_PASSWORD)]);
                made[..23].ct_eq(hash).into()
            }
            Hash::Sha1(hash) => Sha1::digest(password).as_slice().ct_eq(hash).into(),
        }
    }
}

/// What checks passwords, on one worker.
pub(crate) struct Basic {
    users: Rc<HashMap<Rc<str>, Hash>>,
    /// Checked against when there is no such user, so that the time does not tell.
    stand_in: Hash,
    /// Of user and password that were right, by a hash over both and the known hash: bcrypt is slow on purpose.
    right: RefCell<Cache<[u8; 32], ()>>,
}

impl Basic {
    pub(crate) fn new(config: &BasicConfig) -> Basic {
        let users = config.htpasswd.0.clone();
        let dearest = users.values().max_by_key(|hash| match hash {
            Hash::Bcrypt { cost, .. } => *cost,
            Hash::Sha1(_) => 0,
        });
        let stand_in = dearest.cloned().unwrap_or(Hash::Sha1([0; 20]));
        Basic { users, stand_in, right: RefCell::new(Cache::new(REMEMBERED)) }
    }

    /// The user, if the password is theirs. `credentials` is what follows `Basic`.
    pub(crate) fn user_of(&self, credentials: &str) -> Option<Rc<str>> {
        let decoded = STANDARD.decode(credentials.trim()).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (user, password) = (std::str::from_utf8(&decoded[..colon]).ok()?, &decoded[colon + 1..]);
        // bcrypt reads a password and its NUL over and over: "a\0a" would be as good as "a".
        if password.len() > LONGEST_PASSWORD || password.contains(&0) {
            return None;
        }
        let Some((name, hash)) = self.users.get_key_value(user) else {
            self.stand_in.accepts(password);
            return None;
        };
        let memory = digest(hash, &decoded);
        let known = self.right.borrow_mut().get(&memory).is_some();
        if !known {
            if !hash.accepts(password) {
                return None;
            }
            self.right.borrow_mut().insert(memory, ());
        }
        Some(name.clone())
    }
}

/// The salted hash first: what is remembered is salted too.
fn digest(hash: &Hash, credentials: &[u8]) -> [u8; 32] {
    let digest = match hash {
        Hash::Bcrypt { salt, hash, .. } => Sha256::new().chain_update(salt).chain_update(hash),
        Hash::Sha1(hash) => Sha256::new().chain_update(hash),
    };
    digest.chain_update(credentials).finalize().into()
}

/// What follows `Basic` in a value of `authorization`.
pub(crate) fn credentials(value: &str) -> Option<&str> {
    let (scheme, credentials) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ann` has a vector of crypt_blowfish's (`U*U`), `bob` the same scheme under its other name, `eve` SHA-1.
    const FILE: &str = "# users\n\nann:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n\
        bob:$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n\
        eve:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=\n";

    fn read(file: &str) -> Result<Basic, String> {
        let config = serde_json::from_value::<BasicConfig>(serde_json::json!({ "htpasswd": file }));
        config.map(|config| Basic::new(&config)).map_err(|error| error.to_string())
    }

    fn user(basic: &Basic, user: &str, password: &[u8]) -> Option<Rc<str>> {
        basic.user_of(&STANDARD.encode([user.as_bytes(), b":", password].concat()))
    }

    #[test]
    fn passwords_are_checked_against_each_kind_of_hash() {
        let basic = read(FILE).unwrap();
        for (name, password) in [("ann", "U*U"), ("bob", "U*U*"), ("eve", "wonderland")] {
            for _ in 0..2 {
                assert_eq!(user(&basic, name, password.as_bytes()).as_deref(), Some(name), "{name}");
            }
            for wrong in ["", "U*", "U*U**", "u*u", "wonderlan"] {
                assert_eq!(user(&basic, name, wrong.as_bytes()), None, "{name} {wrong}");
            }
        }
        assert_eq!(user(&basic, "ann", b"U*U*"), None, "bob's");
        assert_eq!(user(&basic, "nobody", b"U*U"), None);
    }

    #[test]
    fn what_bcrypt_would_cut_off_is_refused() {
        let long = "zoe:$2a$05$CCCCCCCCCCCCCCCCCCCCC.D7RDOYXakZhsFmh/LdqQNx0kQ424AFS\n";
        let basic = read(&format!("{FILE}{long}")).unwrap();
        assert!(user(&basic, "zoe", &[b'x'; LONGEST_PASSWORD]).is_some());
        assert_eq!(user(&basic, "zoe", &[b'x'; LONGEST_PASSWORD + 1]), None, "bcrypt would not see the last");
        assert_eq!(user(&basic, "ann", b"U*U\0U*U"), None, "bcrypt reads a password over and over");
    }

    #[test]
    fn what_is_no_basic_credential_is_refused() {
        let basic = read(FILE).unwrap();
        for credentials in ["", "%%%", "YW5u", &STANDARD.encode([0xff, b':', b'x'])] {
            assert_eq!(basic.user_of(credentials), None, "{credentials}");
        }
        assert_eq!(credentials("BASIC YTpi"), Some("YTpi"));
        assert_eq!(credentials("Bearer YTpi"), None);
        assert_eq!(credentials("Basic"), None);
    }

    #[test]
    fn hashes_that_are_broken_or_none_are_refused_with_their_line_and_without_the_text() {
        let wrong = [
            ("ann:secret", "line 1: the hash of `ann` is a password in plain text"),
            (
                "ann:rl.3StKT.4T8M",
                "line 1: the hash of `ann` is a password in plain text, or of the kind crypt",
            ),
            ("ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "is of the kind apr1 (MD5)"),
            ("ann:$2x$05$abc", "of the kind `$2x$`"),
            ("ann:$6$abc$def", "of another kind; expected bcrypt"),
            ("ann:$2y$05$short", "line 1: the hash of `ann` is not bcrypt"),
            (
                "ann:$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                "bcrypt of cost 31; expected 4 to 12",
            ),
            ("ann:{SHA}secret", "not 20 bytes of base64"),
            ("\nann", "line 2: expected `user:hash`"),
            (":x", "line 1: expected a user's name"),
            ("", "0 users; expected 1 to 10000"),
        ];
        for (file, message) in wrong {
            let error = read(file).err().unwrap();
            assert!(error.contains(message), "{file} gave: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let twice = format!("{FILE}{FILE}");
        assert!(read(&twice).err().unwrap().contains("line 8: `ann` is there twice"));
    }
}
