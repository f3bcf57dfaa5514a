//! One key: read from a JWK (RFC 7517), and what it verifies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use p256::ecdsa::signature::Verifier as _;
use rsa::{BigUint, RsaPublicKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::algorithm::{Algorithm, Family};

/// RSA moduli, in bits: less is broken (RFC 7518, section 3.3), more only costs.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The shortest secret, in bytes: as long as the shortest digest (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;

/// A key that verifies.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    /// What the key's owner says it is for; then it is for nothing else.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Rsa(Box<RsaPublicKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    Hmac(Vec<u8>),
}

/// Why a key is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// For something else, or of a kind that is not known here: to be passed over (RFC 7517, section 5).
    NotForUs(String),
    /// It should work and does not.
    Wrong(String),
}

/// The members that are read; a member twice is an error.
#[derive(Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    k: Option<String>,
    /// The private part of an asymmetric key.
    #[serde(default)]
    d: Option<IgnoredAny>,
}

impl Key {
    /// Of a JWK.
    pub(crate) fn read(jwk: Jwk) -> Result<Key, Unusable> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(Unusable::NotForUs("`use` is not `sig`".to_owned()));
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err(Unusable::NotForUs("`key_ops` has no `verify`".to_owned()));
        }
        let algorithm = match jwk.alg.as_deref().map(|name| (name, Algorithm::from_name(name))) {
            None => None,
            Some((_, Some(algorithm))) => Some(algorithm),
            Some((name, None)) => return Err(Unusable::NotForUs(format!("`alg` is `{name}`"))),
        };
        if jwk.d.is_some() {
            return Err(Unusable::Wrong("it has a private part (`d`): give the public key alone".to_owned()));
        }
        let key = Key { material: Material::read(&jwk)?, id: jwk.kid, algorithm };
        if algorithm.is_some_and(|algorithm| algorithm.family() != key.family()) {
            return Err(Unusable::Wrong("`alg` does not go with `kty` and `crv`".to_owned()));
        }
        Ok(key)
    }

    /// Which algorithms could work with it.
    pub(crate) fn family(&self) -> Family {
        match self.material {
            Material::Rsa(_) => Family::Rsa,
            Material::P256(_) => Family::P256,
            Material::P384(_) => Family::P384,
            Material::Ed25519(_) => Family::Ed25519,
            Material::Hmac(_) => Family::Hmac,
        }
    }

    /// It may be used with this algorithm.
    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        match self.algorithm {
            Some(own) => own == algorithm,
            None => self.family() == algorithm.family(),
        }
    }

    /// The signature is this key's over the input, by an algorithm that the key is for.
    pub(crate) fn verify(&self, algorithm: Algorithm, input: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::Rsa(key), algorithm) => verify_rsa(key, algorithm, input, signature),
            (Material::P256(key), _) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(input, &signature).is_ok()),
            (Material::P384(key), _) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(input, &signature).is_ok()),
            // Strict: a signature has one form only, and keys of small order sign nothing.
            (Material::Ed25519(key), _) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(input, &signature).is_ok()),
            (Material::Hmac(secret), Algorithm::Hs256) => {
                verify_hmac(Hmac::<Sha256>::new_from_slice(secret), input, signature)
            }
            (Material::Hmac(secret), Algorithm::Hs384) => {
                verify_hmac(Hmac::<Sha384>::new_from_slice(secret), input, signature)
            }
            (Material::Hmac(secret), Algorithm::Hs512) => {
                verify_hmac(Hmac::<Sha512>::new_from_slice(secret), input, signature)
            }
            (Material::Hmac(_), _) => false,
        }
    }
}

fn verify_rsa(key: &RsaPublicKey, algorithm: Algorithm, input: &[u8], signature: &[u8]) -> bool {
    use rsa::{Pkcs1v15Sign, Pss};
    let verified = match algorithm {
        Algorithm::Rs256 => key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(input), signature),
        Algorithm::Rs384 => key.verify(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(input), signature),
        Algorithm::Rs512 => key.verify(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(input), signature),
        // The salt is as long as the digest (RFC 7518, section 3.5).
        Algorithm::Ps256 => key.verify(Pss::new_with_salt::<Sha256>(32), &Sha256::digest(input), signature),
        Algorithm::Ps384 => key.verify(Pss::new_with_salt::<Sha384>(48), &Sha384::digest(input), signature),
        Algorithm::Ps512 => key.verify(Pss::new_with_salt::<Sha512>(64), &Sha512::digest(input), signature),
        _ => return false,
    };
    verified.is_ok()
}

/// Compares in constant time.
fn verify_hmac<M: hmac::Mac>(
    mac: Result<M, hmac::digest::InvalidLength>,
    input: &[u8],
    signature: &[u8],
) -> bool {
    mac.is_ok_and(|mac| mac.chain_update(input).verify_slice(signature).is_ok())
}

impl Material {
    fn read(jwk: &Jwk) -> Result<Material, Unusable> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => rsa_key(&member("n", &jwk.n)?, &member("e", &jwk.e)?),
            ("EC", Some("P-256")) => {
                let point = point(&member("x", &jwk.x)?, &member("y", &jwk.y)?);
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point);
                key.map(|key| Material::P256(Box::new(key))).map_err(|_| off_curve())
            }
            ("EC", Some("P-384")) => {
                let point = point(&member("x", &jwk.x)?, &member("y", &jwk.y)?);
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point);
                key.map(|key| Material::P384(Box::new(key))).map_err(|_| off_curve())
            }
            ("OKP", Some("Ed25519")) => {
                let key = ed25519_dalek::VerifyingKey::try_from(member("x", &jwk.x)?.as_slice());
                let key = key.ok().filter(|key| !key.is_weak()).ok_or_else(off_curve)?;
                Ok(Material::Ed25519(Box::new(key)))
            }
            ("oct", _) => {
                let secret = member("k", &jwk.k)?;
                if secret.len() < SHORTEST_SECRET {
                    let (have, need) = (secret.len(), SHORTEST_SECRET);
                    return Err(Unusable::Wrong(format!(
                        "a secret of {have} bytes; expected at least {need}"
                    )));
                }
                Ok(Material::Hmac(secret))
            }
            (kty, None) => Err(Unusable::NotForUs(format!("`kty` is `{kty}`"))),
            (kty, Some(crv)) => Err(Unusable::NotForUs(format!("`kty` is `{kty}` and `crv` is `{crv}`"))),
        }
    }
}

fn rsa_key(n: &[u8], e: &[u8]) -> Result<Material, Unusable> {
    let (n, e) = (BigUint::from_bytes_be(n), BigUint::from_bytes_be(e));
    let bits = n.bits();
    if !RSA_BITS.contains(&bits) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Err(Unusable::Wrong(format!("an RSA key of {bits} bits; expected {least} to {most}")));
    }
    let key = RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end());
    let key = key.map_err(|error| Unusable::Wrong(format!("not an RSA key: {error}")))?;
    Ok(Material::Rsa(Box::new(key)))
}

/// An uncompressed point (SEC 1, section 2.3.3).
fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

fn off_curve() -> Unusable {
    Unusable::Wrong("not a point of the curve".to_owned())
}

fn member(name: &str, value: &Option<String>) -> Result<Vec<u8>, Unusable> {
    let text = value.as_ref().ok_or_else(|| Unusable::Wrong(format!("`{name}` is missing")))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Unusable::Wrong(format!("`{name}` is not base64url without padding")))
}
