//! What is signed: the parts of a request that a signature covers, in the form of RFC 9421, section 2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tidegate_sdk::Block;

/// What is not a header but part of the request.
const DERIVED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

/// Whether a signature can cover this.
pub(crate) fn is_component(name: &str) -> bool {
    let is_field = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    DERIVED.contains(&name) || (!name.is_empty() && name.chars().all(is_field))
}

/// The text that is signed; `None` where the request does not have one of the components.
pub(crate) fn signature_base(fields: &Block, components: &[String], parameters: &str) -> Option<String> {
    let mut base = String::new();
    for name in components {
        let value = component(fields, name)?;
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str(&format!("\"@signature-params\": {parameters}"));
    Some(base)
}

fn component(fields: &Block, name: &str) -> Option<String> {
    let pseudo = |name| fields.joined(name);
    let target = || pseudo(":path");
    match name {
        "@method" => pseudo(":method"),
        "@authority" => Some(without_default_port(&pseudo(":authority")?.to_ascii_lowercase()).to_owned()),
        "@path" => target().map(|target| target.split('?').next().unwrap_or_default().to_owned()),
        "@query" => {
            target().map(|target| format!("?{}", target.split_once('?').map_or("", |(_, query)| query)))
        }
        // Each value without the blanks around it.
        name => {
            let mut values =
                fields.values(name).map(|value| String::from_utf8_lossy(value).trim().to_owned()).peekable();
            values.peek()?;
            Some(values.collect::<Vec<_>>().join(", "))
        }
    }
}

fn without_default_port(authority: &str) -> &str {
    authority.strip_suffix(":80").or_else(|| authority.strip_suffix(":443")).unwrap_or(authority)
}

/// A list of components as a signature names it: `("@method" "date")`.
pub(crate) fn list(components: &[String]) -> String {
    let quoted: Vec<String> = components.iter().map(|name| format!("\"{name}\"")).collect();
    format!("({})", quoted.join(" "))
}

/// What a signature says of itself, and its bytes.
pub(crate) struct Signature {
    pub(crate) components: Vec<String>,
    /// As they came: they are signed too.
    pub(crate) parameters: String,
    pub(crate) created: Option<u64>,
    pub(crate) expires: Option<u64>,
    pub(crate) key: String,
    pub(crate) nonce: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Signature {
    /// Reads the first of a request's signatures out of `signature-input` and `signature` (RFC 9421, section 4). What is not in
    /// the form that signers write is none: parameters of components, and algorithms other than `hmac-sha256`.
    pub(crate) fn read(fields: &Block) -> Option<Signature> {
        let input = fields.joined("signature-input")?;
        let (label, input) = input.split_once('=')?;
        let (components, rest) = input.strip_prefix('(')?.split_once(')')?;
        let components: Option<Vec<String>> = components.split_ascii_whitespace().map(quoted).collect();
        let components = components?;
        let mut sorted = components.clone();
        sorted.sort();
        sorted.dedup();
        if sorted.len() != components.len() || !components.iter().all(|name| is_component(name)) {
            return None;
        }
        // Up to the next signature, if there is one.
        let end = outside_quotes(rest, ',').next()?.len();
        let mut signature = Signature {
            parameters: input[..input.len() - rest.len() + end].trim().to_owned(),
            components,
            created: None,
            expires: None,
            key: String::new(),
            nonce: None,
            bytes: Vec::new(),
        };
        for parameter in outside_quotes(&rest[..end], ';').skip(1) {
            let (name, value) = parameter.trim().split_once('=')?;
            match name {
                "created" => signature.created = Some(value.parse().ok()?),
                "expires" => signature.expires = Some(value.parse().ok()?),
                "keyid" => signature.key = quoted(value)?,
                "nonce" => signature.nonce = Some(quoted(value)?),
                "alg" => (value == "\"hmac-sha256\"").then_some(())?,
                _ => {}
            }
        }
        let all = fields.joined("signature")?;
        let prefix = format!("{}=:", label.trim());
        let bytes =
            outside_quotes(&all, ',').find_map(|one| one.trim().strip_prefix(&prefix)?.strip_suffix(':'))?;
        signature.bytes = BASE64.decode(bytes).ok()?;
        Some(signature)
    }
}

fn quoted(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix('"')?.strip_suffix('"')?;
    // Escapes would be two ways to write one thing.
    (!inner.contains(['"', '\\'])).then(|| inner.to_owned())
}

/// The parts of a text between this sign, where it is not in quotes.
fn outside_quotes(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    text.split(move |c| {
        in_quotes ^= c == '"';
        c == sign && !in_quotes
    })
}

/// `content-digest` of a body (RFC 9530).
pub(crate) fn digest_field(body: Sha256) -> String {
    format!("sha-256=:{}:", BASE64.encode(body.finalize()))
}

/// The SHA-256 that a `content-digest` has, among others perhaps.
pub(crate) fn read_digest(field: &str) -> Option<[u8; 32]> {
    let text = field.split(',').find_map(|one| one.trim().strip_prefix("sha-256=:")?.strip_suffix(':'))?;
    BASE64.decode(text).ok()?.try_into().ok()
}
