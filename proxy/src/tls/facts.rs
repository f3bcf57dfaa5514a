//! What a certificate says: whom it names, and when it holds.

use std::time::SystemTime;

use x509_cert::Certificate as Parsed;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::files::Sha256;
use crate::wasm::stream::Certificate;

/// What a certificate says.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// As filters see it.
    pub(crate) certificate: Certificate,
    /// The hosts that it is for, in lower case: those of its alternative names, or its subject's where it has none.
    pub(crate) hosts: Vec<String>,
    /// From when it holds.
    pub(crate) begins: SystemTime,
    /// Until when it holds.
    pub(crate) ends: SystemTime,
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(crate) fn of(der: &[u8]) -> Result<Facts, String> {
        let parsed = Parsed::from_der(der).map_err(|error| error.to_string())?;
        let body = &parsed.tbs_certificate;
        let names = body.get::<SubjectAltName>().map_err(|error| error.to_string())?;
        let (mut dns_sans, mut uri_sans) = (Vec::new(), Vec::new());
        for name in names.into_iter().flat_map(|(_, names)| names.0) {
            match name {
                GeneralName::DnsName(name) => dns_sans.push(name.to_string()),
                GeneralName::UniformResourceIdentifier(uri) => uri_sans.push(uri.to_string()),
                _ => {}
            }
        }
        let subject = body.subject.to_string();
        let hosts = match dns_sans.is_empty() {
            false => dns_sans.iter().map(|name| name.to_ascii_lowercase()).collect(),
            true => common_name(&subject).into_iter().collect(),
        };
        let sha256 = Sha256::of(der).to_string();
        Ok(Facts {
            certificate: Certificate { subject, uri_sans, dns_sans, sha256 },
            hosts,
            begins: body.validity.not_before.to_system_time(),
            ends: body.validity.not_after.to_system_time(),
        })
    }
}

/// The host that a subject names, in certificates from before there were alternative names.
fn common_name(subject: &str) -> Option<String> {
    let name = subject.split(',').find_map(|part| part.trim().strip_prefix("CN="))?;
    Some(name.to_ascii_lowercase())
}
