//! A token taken apart (RFC 7515, section 3.1): nothing in it is believed yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::claims::Claims;
use super::json;

/// The longest `kid` that is looked for.
const LONGEST_KID: usize = 256;

/// The parts of a token.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    /// What the token says it was signed with. It only chooses among what key and configuration allow.
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    claims: Claims,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// Why a text is no token that could be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not three parts of base64url with JSON objects in the first two.
    Form,
    /// `alg` is missing, `none`, or not known here.
    Algorithm,
    /// `crit`, or `b64: false` (RFC 7797): it asks for what is not done here, and has to be refused for that.
    Critical,
}

impl<'a> Token<'a> {
    /// Takes it apart. `jku`, `x5u`, `jwk` and `x5c` of the header are not looked at: where keys come from is
    /// configured.
    pub(crate) fn parse(text: &'a str) -> Result<Token<'a>, Malformed> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Malformed::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed::Form)?;
        // More points would be in the payload's text, where base64url has none.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Form);
        let header = json::read_object(&decode(header)?).ok_or(Malformed::Form)?;
        if header.contains_key("crit") || header.get("b64").is_some_and(|b64| b64 != &Value::Bool(true)) {
            return Err(Malformed::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let algorithm = algorithm.ok_or(Malformed::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= LONGEST_KID => Some(kid.clone()),
            Some(_) => return Err(Malformed::Form),
        };
        let payload = decode(payload)?;
        let claims = Claims::new(json::read_object(&payload).ok_or(Malformed::Form)?, payload);
        Ok(Token { algorithm, key_id, claims, signed: signed.as_bytes(), signature: decode(signature)? })
    }

    /// What it says, which nobody has vouched for yet.
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The same, once it was verified.
    pub(crate) fn into_claims(self) -> Claims {
        self.claims
    }

    /// What the signature is over.
    pub(crate) fn signed(&self) -> &[u8] {
        self.signed
    }

    /// The signature.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}
