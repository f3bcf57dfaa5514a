//! TLS with clients: which certificate one is shown, and what it may agree to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Authorities, Identity, PROVIDER, Version};
use crate::wasm::stream::Certificate;

/// What a listener says of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminationTerms {
    /// Never empty. The first is for clients that ask for no name, or for one that none of them has.
    pub certificates: Vec<Identity>,
    /// The lowest version that is spoken.
    pub min_version: Version,
    /// What may be agreed on, by preference; with none nothing is agreed on.
    pub alpn: Vec<Vec<u8>>,
    /// Who vouches for clients: those without a certificate of theirs are refused. Without it none is asked for.
    pub client_ca: Option<Authorities>,
    /// From a connection's acceptance to the end of its handshake.
    pub handshake_timeout: Duration,
}

/// TLS with the clients of a listener, ready to be spoken. Equal to another that was made of the same.
pub struct Termination {
    terms: TerminationTerms,
    certificates: Arc<Certificates>,
    /// Who looks at clients' certificates.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    config: ServerConfig,
}

/// Which of a listener's certificates a client was shown, once it was: its place among them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<OnceLock<usize>>);

impl Termination {
    /// TLS by these terms. Sessions can be resumed on any worker: what there is to know of one, its client keeps
    /// (RFC 8446, 2.2; RFC 5077), under a key that is changed every few hours and is never written down.
    ///
    /// # Errors
    ///
    /// There is nobody who could vouch for clients, or no randomness to be had.
    pub fn new(terms: TerminationTerms) -> Result<Termination, rustls::Error> {
        let certificates = Arc::new(Certificates::new(&terms.certificates));
        let builder = ServerConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(terms.min_version.and_above())?;
        let verifier = terms.client_ca.as_ref().map(|authorities| {
            let store = authorities.store().clone();
            let verifier = WebPkiClientVerifier::builder_with_provider(store, PROVIDER.clone());
            verifier.build().map_err(|error| rustls::Error::General(error.to_string()))
        });
        let verifier = verifier.transpose()?;
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        };
        let noting = Noting { certificates: certificates.clone(), shown: Shown::default() };
        let mut config = builder.with_cert_resolver(Arc::new(noting));
        config.alpn_protocols.clone_from(&terms.alpn);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Termination { terms, certificates, verifier, config })
    }

    /// What it was made of.
    pub fn terms(&self) -> &TerminationTerms {
        &self.terms
    }

    /// Whether whoever got in by `former` has shown what is asked for here.
    pub(crate) fn asks_no_more_than(&self, former: &Termination) -> bool {
        let (terms, former) = (&self.terms, &former.terms);
        let knows_client = terms.client_ca.is_none() || terms.client_ca == former.client_ca;
        knows_client && terms.min_version <= former.min_version
    }

    /// What one connection's handshake is made by, and where it notes which certificate the client is shown.
    pub(crate) fn begin(&self) -> (Arc<ServerConfig>, Shown) {
        let shown = Shown::default();
        let resolver = Noting { certificates: self.certificates.clone(), shown: shown.clone() };
        let mut config = self.config.clone();
        config.cert_resolver = Arc::new(resolver);
        (Arc::new(config), shown)
    }

    /// Looks again at the certificate of a client that resumes a session, which shows none: it may have expired since.
    ///
    /// # Errors
    ///
    /// Nobody vouches for it any more.
    pub(crate) fn verify_resumed(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), rustls::Error> {
        let Some(verifier) = &self.verifier else { return Ok(()) };
        let (first, others) =
            chain.and_then(<[_]>::split_first).ok_or(rustls::Error::NoCertificatesPresented)?;
        verifier.verify_client_cert(first, others, UnixTime::now()).map(drop)
    }

    /// The certificate that a client was shown.
    pub(crate) fn certificate(&self, shown: &Shown) -> Option<&Certificate> {
        Some(&self.terms.certificates.get(*shown.0.get()?)?.facts().certificate)
    }
}

impl PartialEq for Termination {
    fn eq(&self, other: &Termination) -> bool {
        self.terms == other.terms
    }
}

impl Eq for Termination {}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Termination").field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// Finds the certificate for a name.
struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    /// By host; of `*.example.com` by `example.com` in `wild`.
    exact: HashMap<String, Vec<usize>>,
    wild: HashMap<String, Vec<usize>>,
    all: Vec<usize>,
}

impl Certificates {
    fn new(identities: &[Identity]) -> Certificates {
        let (mut exact, mut wild) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, Vec<usize>>::new());
        for (index, identity) in identities.iter().enumerate() {
            for host in &identity.facts().hosts {
                match host.strip_prefix("*.") {
                    Some(rest) => wild.entry(rest.to_owned()).or_default().push(index),
                    None => exact.entry(host.clone()).or_default().push(index),
                }
            }
        }
        let keys = identities.iter().map(|identity| identity.key().clone()).collect();
        Certificates { keys, exact, wild, all: (0..identities.len()).collect() }
    }

    /// Those that have a name: by itself, else by a wildcard for its first label. Without such, all of them.
    fn candidates(&self, server_name: Option<&str>) -> &[usize] {
        let found = server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let rest = name.split_once('.').map(|(_, rest)| rest);
            self.exact.get(&name).or_else(|| self.wild.get(rest?))
        });
        found.unwrap_or(&self.all)
    }

    /// The first whose key the client can make use of.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<usize> {
        let candidates = self.candidates(hello.server_name());
        let fits = |&&index: &&usize| self.keys[index].key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(fits).or(candidates.first()).copied()
    }
}

/// Shows a client the certificate that is for it, and notes which.
#[derive(Debug)]
struct Noting {
    certificates: Arc<Certificates>,
    shown: Shown,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = self.certificates.choose(&hello)?;
        let _ = self.shown.0.set(index); // a client that says hello once more is shown the same
        self.certificates.keys.get(index).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("count", &self.keys.len()).finish_non_exhaustive()
    }
}
