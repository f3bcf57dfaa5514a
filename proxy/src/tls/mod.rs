//! TLS: who the proxy is, whom it believes, and how both are agreed on with clients and endpoints.
//!
//! What is here was read and proved when the configuration was checked: a key belongs to its certificate, authorities are
//! such. Keys are shown to nobody: not in logs, not in what the admin listener says, not by `Debug`. The handshakes
//! themselves are made where connections are: see `listener` and `upstream`.
//!
//! Of TLS there are the versions 1.2 and 1.3, by rustls with ring.

mod authorities;
mod facts;
mod hello;
mod identity;
mod origination;
mod termination;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;

pub use authorities::{Authorities, AuthoritiesError};
pub(crate) use hello::{Hello, Reading};
pub use identity::{Identity, IdentityError, Trouble};
pub use origination::{Origination, OriginationTerms, Purpose};
pub use termination::{Termination, TerminationTerms};

use crate::wasm::stream::Certificate;
use facts::Facts;

/// How ciphers are computed, for all connections of the process.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// What HTTP/2 and HTTP/1.1 are called in a handshake (RFC 7301, 6; RFC 9113, 3.2).
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// What filters see of a certificate.
pub(crate) fn certificate_of(der: &CertificateDer<'_>) -> Option<Certificate> {
    Facts::of(der).ok().map(|facts| facts.certificate)
}

impl Version {
    /// All that are spoken where nothing below this is.
    fn and_above(self) -> &'static [&'static SupportedProtocolVersion] {
        const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Version::V1_2 => BOTH,
            Version::V1_3 => &BOTH[..1],
        }
    }

    pub(crate) fn of(version: ProtocolVersion) -> Option<Version> {
        match version {
            ProtocolVersion::TLSv1_2 => Some(Version::V1_2),
            ProtocolVersion::TLSv1_3 => Some(Version::V1_3),
            _ => None,
        }
    }

    /// As Envoy and OpenSSL write it: `TLSv1.3`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Version::V1_2 => "TLSv1.2",
            Version::V1_3 => "TLSv1.3",
        }
    }
}
