//! Checks TLS: reads the certificates and keys, and proves them.

use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::ServerName;

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{ClusterProtocol, Endpoint, ServerNames};
use super::super::raw;
use super::super::scalar::{Alpn, Text, Traffic};
use super::super::source::Span;
use super::{Checker, items};
use crate::tls::{
    Authorities, AuthoritiesError, Identity, Origination, OriginationTerms, Termination, TerminationTerms,
    Version,
};

impl Checker<'_> {
    /// TLS with clients of a listener for this traffic.
    pub(super) fn termination(
        &self,
        raw: Located<raw::ListenerTls>,
        traffic: Traffic,
    ) -> Option<Arc<Termination>> {
        let Located { value: raw, span } = raw;
        let given = self.required(raw.certificates, "certificates", span)?;
        if given.value.is_empty() {
            let hint = "give one: `{certificate: cert.pem, private_key: key.pem}`";
            self.log.error_with_hint(given.span, "there are no certificates", hint);
        }
        let count = given.value.len();
        let certificates: Vec<_> =
            items(given.value).filter_map(|raw| self.listed_identity(raw.value, raw.span)).collect();
        let client_ca = raw.client_ca.given();
        let wants_client_ca = client_ca.is_some();
        let client_ca = client_ca.and_then(|path| self.authorities(path));
        let usual = match traffic {
            Traffic::Tcp => Vec::new(),
            Traffic::Http | Traffic::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let terms = TerminationTerms {
            min_version: version(raw.min_version),
            alpn: alpn(raw.alpn).unwrap_or(usual),
            handshake_timeout: self.duration(raw.handshake_timeout, bounds::HANDSHAKE_TIMEOUT),
            certificates,
            client_ca,
        };
        if terms.certificates.len() < count
            || terms.certificates.is_empty()
            || wants_client_ca != terms.client_ca.is_some()
        {
            return None; // told
        }
        let made = Termination::new(terms).map_err(|error| {
            self.log.error(span, format!("TLS cannot be spoken by this: {error}"));
        });
        made.ok().map(Arc::new)
    }

    fn listed_identity(&self, raw: raw::Identity, span: Span) -> Option<Identity> {
        let certificate = self.required(raw.certificate, "certificate", span);
        let private_key = self.required(raw.private_key, "private_key", span);
        self.identity(certificate?, private_key?)
    }

    /// What is in two files. One that has expired is told, and used: who knows better may want it.
    fn identity(&self, certificate: Located<String>, private_key: Located<String>) -> Option<Identity> {
        let read = |file: &Located<String>| {
            let path = self.folder.join(&file.value);
            let bytes = self.bytes_of(&path, bounds::MAX_PEM_FILE_BYTES, file.span)?;
            Some((path, bytes))
        };
        let (cert, key) = (read(&certificate), read(&private_key));
        let ((cert_path, cert), (key_path, key)) = (cert?, key?);
        let shown = cert_path.display().to_string();
        match Identity::new((cert_path, &cert), (key_path.clone(), &key)) {
            Ok(identity) => {
                if let Some(trouble) = identity.trouble(SystemTime::now()) {
                    let message = format!("the certificate in `{shown}` {trouble}");
                    let hint = "clients refuse it: put a new one there, which is served without a restart";
                    self.log.warning(certificate.span, message, hint);
                }
                Some(identity)
            }
            Err(error) => {
                let (span, path) = match error.is_of_the_key() {
                    true => (private_key.span, key_path.display().to_string()),
                    false => (certificate.span, shown),
                };
                self.log.error_with_hint(span, format!("`{path}` {error}"), error.hint());
                None
            }
        }
    }

    fn authorities(&self, file: Located<String>) -> Option<Authorities> {
        let path: PathBuf = self.folder.join(&file.value);
        let bytes = self.bytes_of(&path, bounds::MAX_PEM_FILE_BYTES, file.span)?;
        let shown = path.display().to_string();
        let found = Authorities::new(path, &bytes).map_err(|error| {
            let hint = "it is to be PEM, with the certificates of the authorities";
            self.log.error_with_hint(file.span, format!("`{shown}` {error}"), hint);
        });
        found.ok()
    }

    /// TLS with endpoints.
    pub(super) fn origination(
        &self,
        raw: Located<raw::ClusterTls>,
        endpoints: &[Arc<Endpoint>],
    ) -> Option<Arc<Origination>> {
        let Located { value: mut raw, span } = raw;
        let anybody = take(&mut raw.insecure_skip_verify).given().filter(|skip| skip.value);
        if let Some(skip) = &anybody {
            let hint =
                "whoever is in between can read and change everything: give the endpoints' `ca` instead";
            self.log.warning(skip.span, "the endpoints' certificates are not verified", hint);
            if let Some(span) = raw.ca.span() {
                let hint = "remove one of the two";
                self.log.error_with_hint(span, "`ca` has no effect with `insecure_skip_verify`", hint);
            }
        }
        let has_ca = !raw.ca.is_absent();
        let ca = match (anybody.is_some(), raw.ca.given()) {
            (true, _) => None,
            (false, Some(path)) => Some(self.authorities(path)?),
            (false, None) if has_ca => return None, // told
            (false, None) => Some(self.installed_authorities(span)?),
        };
        let server_name = raw.server_name.given().and_then(|name| {
            let text = name.value.0.0;
            let parsed = ServerName::try_from(text.clone()).map_err(|_| {
                let hint = "it is what endpoints' certificates are for: a host such as `api.example.com`";
                self.log.error_with_hint(name.span, format!("`{text}` is no name of a server"), hint);
            });
            parsed.ok()
        });
        let has_nameless = endpoints.iter().any(|endpoint| endpoint.address.ip().is_none());
        if server_name.is_none() && ca.is_some() && has_nameless {
            let hint = "a UNIX socket has no address that a certificate could be for";
            self.log.error_with_hint(span, "the field `server_name` is missing here", hint);
        }
        let identity = match (raw.certificate.given(), raw.private_key.given()) {
            (Some(certificate), Some(private_key)) => Some(self.identity(certificate, private_key)?),
            (None, None) => None,
            (Some(one), None) => {
                self.log.error(one.span, "the field `private_key` is missing beside this");
                None
            }
            (None, Some(one)) => {
                self.log.error(one.span, "the field `certificate` is missing beside this");
                None
            }
        };
        let (min_version, alpn) = (version(raw.min_version), alpn(raw.alpn));
        let terms = OriginationTerms { ca, server_name, min_version, alpn, identity };
        let made = Origination::new(terms).map_err(|error| {
            self.log.error(span, format!("TLS cannot be spoken by this: {error}"));
        });
        made.ok().map(Arc::new)
    }

    fn installed_authorities(&self, span: Span) -> Option<Authorities> {
        let found: &Result<_, AuthoritiesError> =
            self.installed_authorities.get_or_init(Authorities::of_the_system);
        let error = match found {
            Ok(authorities) => return Some(authorities.clone()),
            Err(error) => error,
        };
        let hint = "install them (`ca-certificates` of most distributions), or give the file with the endpoints' `ca`";
        self.log.error_with_hint(span, error.to_string(), hint);
        None
    }

    /// A cluster can leave the choice to its endpoints where there is a handshake to choose in.
    pub(super) fn protocol_of(&self, raw: Field<Text<ClusterProtocol>>, has_tls: bool) -> ClusterProtocol {
        let Some(Located { value: Text(protocol), span }) = raw.given() else {
            return ClusterProtocol::Http1;
        };
        if protocol == ClusterProtocol::Auto && !has_tls {
            let hint = "add `tls: {}`, or say which: `protocol: http2`";
            self.log.error_with_hint(
                span,
                "without TLS there is no handshake to agree on a protocol in",
                hint,
            );
        }
        protocol
    }

    /// Where the connections go that ask for these hosts.
    pub(super) fn server_names(
        &self,
        raw: Field<super::super::decode::Map<Text<super::super::model::ServerNamePattern>, String>>,
    ) -> ServerNames {
        let mut names = ServerNames::default();
        for (name, cluster) in raw.value().map(|map| map.0).unwrap_or_default() {
            let (Some(name), Some(cluster)) = (name.given(), cluster.given()) else { continue };
            let Some(index) = self.cluster_index(&cluster) else { continue };
            let Text(pattern) = name.value;
            let shown = pattern.to_string();
            if !names.insert(pattern, index) {
                self.log.error(name.span, format!("`{shown}` is given twice"));
            }
        }
        names
    }
}

fn version(raw: Field<Text<Version>>) -> Version {
    raw.value().map_or(Version::V1_2, |Text(version)| version)
}

fn alpn(raw: Field<Vec<Field<Text<Alpn>>>>) -> Option<Vec<Vec<u8>>> {
    Some(items(raw.value()?).map(|name| name.value.0.0).collect())
}
