//! Whom the proxy believes when they vouch for somebody.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::files::Sha256;

/// Certificates whose owners are believed.
#[derive(Clone)]
pub struct Authorities {
    /// Where they are from; nothing where they are the system's.
    pub path: Option<PathBuf>,
    content: Sha256,
    store: Arc<RootCertStore>,
}

/// Why there is nobody to believe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// There is no certificate in the file.
    #[error("has no certificate in it")]
    None,
    /// One of them cannot be read.
    #[error("has a certificate in it that cannot be read: {0}")]
    Unreadable(String),
    /// The system has none.
    #[error("no certificate authorities are installed on this system")]
    NoneInstalled,
}

impl Authorities {
    /// Those of a file, of which this is the content.
    ///
    /// # Errors
    ///
    /// There are none in it, or one cannot be read.
    pub fn new(path: PathBuf, pem: &[u8]) -> Result<Authorities, AuthoritiesError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| AuthoritiesError::Unreadable(error.to_string()))?;
            store.add(certificate).map_err(|error| AuthoritiesError::Unreadable(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(AuthoritiesError::None);
        }
        Ok(Authorities { path: Some(path), content: Sha256::of(pem), store: Arc::new(store) })
    }

    /// Those of the system. What among them cannot be read is left out, as everywhere.
    ///
    /// # Errors
    ///
    /// There are none.
    pub fn of_the_system() -> Result<Authorities, AuthoritiesError> {
        let found = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        let content = Sha256::of(&found.iter().flat_map(|it| it.iter().copied()).collect::<Vec<_>>());
        store.add_parsable_certificates(found);
        if store.is_empty() {
            return Err(AuthoritiesError::NoneInstalled);
        }
        Ok(Authorities { path: None, content, store: Arc::new(store) })
    }

    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        (&self.path, self.content) == (&other.path, other.content)
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities")
            .field("path", &self.path)
            .field("count", &self.store.len())
            .finish_non_exhaustive()
    }
}
