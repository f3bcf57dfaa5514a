//! Whether a module may run: it is the one that the configuration names by its digest, and whom its listeners trust has
//! signed it.

use crate::config::model::{Config, Listener};
use crate::files::Sha256;
use crate::origin::Obtained;
use crate::signature::{SignatureError, Signed};

/// Why a module is not trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untrusted {
    /// It is another than the one that is expected.
    #[error("{origin}: its SHA-256 is {found}, and `sha256` says {expected}")]
    WrongDigest { origin: String, expected: Sha256, found: Sha256 },
    /// Its signatures say nothing.
    #[error("{origin}: {error}")]
    Signature { origin: String, error: SignatureError },
    /// It has no signature.
    #[error("{origin}: the listener `{listener}` requires a signature by {keys}, and the module has none")]
    Unsigned { origin: String, listener: String, keys: String },
    /// It has signatures, and none of them counts.
    #[error(
        "{origin}: the listener `{listener}` requires a signature by {keys}, and the module has no valid one"
    )]
    SignedByOthers { origin: String, listener: String, keys: String },
}

impl Untrusted {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Untrusted::WrongDigest { .. } => {
                "is it a new version? Then pin that; otherwise somebody replaced the module"
            }
            Untrusted::Signature { .. } => "sign it anew: `tidegate filter sign --key PRIVATE FILE`",
            Untrusted::Unsigned { .. } => "sign it: `tidegate filter sign --key PRIVATE FILE`",
            Untrusted::SignedByOthers { .. } => {
                "somebody else signed it, or it was changed since: `tidegate filter verify --key PUBLIC FILE` says"
            }
        }
    }
}

/// The listeners that want this filter's module to be signed.
fn demanding(config: &Config, filter: usize) -> impl Iterator<Item = &Listener> {
    let filter = config.first_version(filter);
    let has = move |listener: &&Listener| listener.runs(filter);
    config.listeners.iter().filter(has).filter(|listener| !listener.require_signature_by.is_empty())
}

/// Whether a signature of this filter's module is asked for.
pub(super) fn is_asked_of(config: &Config, filter: usize) -> bool {
    demanding(config, filter).next().is_some()
}

/// Lets a module through that may run. What is built in is part of this binary: whoever trusts that trusts it.
pub(super) fn examine(config: &Config, filter: usize, module: Obtained) -> Result<Obtained, Untrusted> {
    let (origin, found) = (module.name.clone(), module.digest);
    if let Some(expected) = config.filters[filter].sha256.filter(|expected| *expected != found) {
        return Err(Untrusted::WrongDigest { origin, expected, found });
    }
    if module.is_builtin || !is_asked_of(config, filter) {
        return Ok(module);
    }
    let signed = Signed::read(&module.bytes, module.detached.as_deref());
    let signed = signed.map_err(|error| Untrusted::Signature { origin: origin.clone(), error })?;
    for listener in demanding(config, filter) {
        let keys = || listener.require_signature_by.iter().map(|&index| &config.trusted_keys[index]);
        if keys().any(|key| signed.is_by(&key.key)) {
            continue;
        }
        let keys: Vec<_> = keys().map(|key| format!("`{}`", key.name)).collect();
        let (listener, keys) = (listener.name.clone(), keys.join(" or "));
        return Err(match signed.has_signatures() {
            true => Untrusted::SignedByOthers { origin, listener, keys },
            false => Untrusted::Unsigned { origin, listener, keys },
        });
    }
    Ok(module)
}
