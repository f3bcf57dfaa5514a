//! TLS with endpoints: whom they have to be, and what they may agree to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Authorities, H2, HTTP_1_1, Identity, PROVIDER, Version};

/// What a cluster says of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginationTerms {
    /// Who vouches for endpoints; nothing where nobody has to.
    pub ca: Option<Authorities>,
    /// Whom they have to be, and what they are called in the handshake. Without it they have to be who has their address.
    pub server_name: Option<ServerName<'static>>,
    /// The lowest version that is spoken.
    pub min_version: Version,
    /// What is offered to them, by preference, in the place of what the protocol is called.
    pub alpn: Option<Vec<Vec<u8>>>,
    /// Who the proxy is, where they ask.
    pub identity: Option<Identity>,
}

/// What a connection is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Either: the endpoint chooses.
    Http,
    /// Bytes.
    Tcp,
}

/// How a cluster's connections may differ from each other.
const PURPOSES: [Purpose; 4] = [Purpose::Http1, Purpose::Http2, Purpose::Http, Purpose::Tcp];

/// TLS with the endpoints of a cluster, ready to be spoken. Equal to another that was made of the same.
pub struct Origination {
    terms: OriginationTerms,
    /// In the order of `PURPOSES`. They share what is known of sessions.
    configs: [Arc<ClientConfig>; PURPOSES.len()],
}

/// Sessions that are kept to be resumed, for a cluster.
const SESSIONS: usize = 256;

impl Origination {
    /// TLS by these terms.
    ///
    /// # Errors
    ///
    /// Nobody could vouch for the endpoints, or the proxy's own identity cannot be used.
    pub fn new(terms: OriginationTerms) -> Result<Origination, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(terms.min_version.and_above())?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&terms)?);
        let mut config = match &terms.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let known = rustls::sign::SingleCertAndKey::from(identity.key().clone());
                builder.with_client_cert_resolver(Arc::new(known))
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let configs = PURPOSES.map(|purpose| {
            let own = match purpose {
                Purpose::Http1 => vec![HTTP_1_1.to_vec()],
                Purpose::Http2 => vec![H2.to_vec()],
                Purpose::Http => vec![H2.to_vec(), HTTP_1_1.to_vec()],
                Purpose::Tcp => Vec::new(),
            };
            let mut config = config.clone();
            config.alpn_protocols = terms.alpn.clone().unwrap_or(own);
            Arc::new(config)
        });
        Ok(Origination { terms, configs })
    }

    /// What it was made of.
    pub fn terms(&self) -> &OriginationTerms {
        &self.terms
    }

    pub(crate) fn config(&self, purpose: Purpose) -> &Arc<ClientConfig> {
        &self.configs[purpose as usize]
    }

    /// Whom an endpoint has to be. An address is not said in the handshake (RFC 6066, 3).
    pub(crate) fn name_of(&self, endpoint: Option<IpAddr>) -> ServerName<'static> {
        // Who has neither may be anybody, or the configuration would not be one.
        let endpoint = endpoint.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.terms.server_name.clone().unwrap_or_else(|| ServerName::from(endpoint))
    }
}

impl PartialEq for Origination {
    fn eq(&self, other: &Origination) -> bool {
        self.terms == other.terms
    }
}

impl Eq for Origination {}

impl fmt::Debug for Origination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origination").field("terms", &self.terms).finish_non_exhaustive()
    }
}

fn verifier(terms: &OriginationTerms) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let Some(authorities) = &terms.ca else { return Ok(Arc::new(Nobody)) };
    let built =
        WebPkiServerVerifier::builder_with_provider(authorities.store().clone(), PROVIDER.clone()).build();
    Ok(built.map_err(|error| rustls::Error::General(error.to_string()))?)
}

/// Believes everybody who has the key of the certificate that they show, whoever they are.
#[derive(Debug)]
struct Nobody;

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
