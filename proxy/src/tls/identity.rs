//! A certificate with its key: what the proxy proves to be.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::PROVIDER;
use super::facts::Facts;
use crate::files::Sha256;
use crate::telemetry::timestamp;

/// A certificate, those that vouch for it, and its key.
#[derive(Clone)]
pub struct Identity {
    /// Where the certificates are from.
    pub certificate: PathBuf,
    /// Where the key is from.
    pub private_key: PathBuf,
    /// What was in the two files.
    content: [Sha256; 2],
    key: Arc<CertifiedKey>,
    facts: Facts,
}

/// Why two files are no identity. The first two are of the certificate's file, the others of the key's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no certificate in the file.
    #[error("has no certificate in it")]
    NoCertificate,
    /// One of them cannot be read.
    #[error("has a certificate in it that cannot be read: {0}")]
    Certificate(String),
    /// There is no key in the file.
    #[error("has no private key in it")]
    NoKey,
    /// There is one, which takes a password.
    #[error("has a private key in it that is encrypted")]
    EncryptedKey,
    /// It is of a kind that is not known, or is broken.
    #[error("has a private key in it that cannot be used: {0}")]
    Key(String),
    /// It is another's.
    #[error("has the private key of another certificate in it")]
    Mismatch,
}

impl IdentityError {
    /// Whether the file with the key is to blame.
    pub fn is_of_the_key(&self) -> bool {
        !matches!(self, IdentityError::NoCertificate | IdentityError::Certificate(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            IdentityError::NoCertificate | IdentityError::Certificate(_) => {
                "it is to be PEM: the certificate first, behind it those that vouch for it"
            }
            IdentityError::NoKey | IdentityError::Key(_) => {
                "it is to be PEM, with a key of RSA, ECDSA (P-256, P-384) or Ed25519"
            }
            IdentityError::EncryptedKey => "`openssl pkey -in KEY -out PLAIN` writes it without the password",
            IdentityError::Mismatch => {
                "`openssl x509 -noout -pubkey` and `openssl pkey -pubout` show what belongs together"
            }
        }
    }
}

/// What is wrong with the time of a certificate that can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It has ended.
    Expired(SystemTime),
    /// It has not begun.
    Early(SystemTime),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Expired(since) => write!(f, "expired at {}", timestamp(*since)),
            Trouble::Early(from) => write!(f, "does not hold before {}", timestamp(*from)),
        }
    }
}

impl Identity {
    /// The identity that is in two files, of which these are the contents.
    ///
    /// # Errors
    ///
    /// One of them is not what it is to be, or they do not belong together.
    pub fn new(
        (certificate, certificates): (PathBuf, &[u8]),
        (private_key, key): (PathBuf, &[u8]),
    ) -> Result<Identity, IdentityError> {
        let content = [Sha256::of(certificates), Sha256::of(key)];
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let first = chain.first().ok_or(IdentityError::NoCertificate)?;
        let facts = Facts::of(first).map_err(IdentityError::Certificate)?;
        let parsed = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls_pki_types::pem::Error::NoItemsFound if is_encrypted(key) => IdentityError::EncryptedKey,
            rustls_pki_types::pem::Error::NoItemsFound => IdentityError::NoKey,
            error => IdentityError::Key(error.to_string()),
        })?;
        let key = CertifiedKey::from_der(chain, parsed, &PROVIDER).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch,
            rustls::Error::InvalidCertificate(_) => IdentityError::Certificate(error.to_string()),
            error => IdentityError::Key(error.to_string()),
        })?;
        Ok(Identity { certificate, private_key, content, key: Arc::new(key), facts })
    }

    /// What is wrong with its time, if anything is.
    pub fn trouble(&self, now: SystemTime) -> Option<Trouble> {
        if now > self.facts.ends {
            return Some(Trouble::Expired(self.facts.ends));
        }
        (now < self.facts.begins).then_some(Trouble::Early(self.facts.begins))
    }

    /// Until when it holds.
    pub fn ends(&self) -> SystemTime {
        self.facts.ends
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let mark = b"ENCRYPTED";
    pem.windows(mark.len()).any(|part| part == mark)
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        let Identity { certificate, private_key, content, key: _, facts: _ } = self;
        (certificate, private_key, content) == (&other.certificate, &other.private_key, &other.content)
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .field("private_key", &self.private_key)
            .finish_non_exhaustive()
    }
}
