//! TLS in the words of the file. Of certificates and keys there are only the names of their files.

use serde_json::{Map, Value, json};

use super::super::model::{Cluster, Config, Listener};
use super::super::scalar::Quantity as _;
use crate::tls::{OriginationTerms, TerminationTerms, Version};

/// What a listener says of TLS.
pub(super) fn of_listener(listener: &Listener, config: &Config, fields: &mut Value) {
    if let Some(tls) = &listener.tls {
        let TerminationTerms { certificates, min_version, alpn, client_ca, handshake_timeout } = tls.terms();
        let certificates = certificates.iter().map(|identity| {
            let (certificate, key) =
                (identity.certificate.to_string_lossy(), identity.private_key.to_string_lossy());
            json!({ "certificate": certificate, "private_key": key })
        });
        fields["tls"] = json!({
            "certificates": certificates.collect::<Vec<_>>(),
            "min_version": word(*min_version),
            "alpn": names(alpn),
            "handshake_timeout": handshake_timeout.write(),
        });
        if let Some(path) = client_ca.as_ref().and_then(|authorities| authorities.path.as_ref()) {
            fields["tls"]["client_ca"] = path.to_string_lossy().into();
        }
    }
    if let Some(mode) = listener.socket_mode {
        fields["socket_mode"] = format!("{mode:04o}").into();
    }
    if !listener.server_names.is_empty() {
        let named = listener.server_names.iter().filter_map(|(pattern, cluster)| {
            Some((pattern.to_string(), config.clusters.get(*cluster)?.name.as_str().into()))
        });
        fields["server_names"] = Value::Object(named.collect());
    }
}

/// What a cluster says of it.
pub(super) fn of_cluster(cluster: &Cluster, fields: &mut Value) {
    let Some(tls) = &cluster.tls else { return };
    let OriginationTerms { ca, server_name, min_version, alpn, identity } = tls.terms();
    let mut said = Map::from_iter([("min_version".to_owned(), word(*min_version).into())]);
    match ca {
        None => drop(said.insert("insecure_skip_verify".to_owned(), true.into())),
        Some(authorities) => {
            let path = authorities.path.as_ref().map(|path| path.to_string_lossy().into());
            said.extend(path.map(|path| ("ca".to_owned(), path)));
        }
    }
    said.extend(server_name.as_ref().map(|name| ("server_name".to_owned(), name.to_str().into())));
    said.extend(alpn.as_ref().map(|alpn| ("alpn".to_owned(), names(alpn))));
    if let Some(identity) = identity {
        said.insert("certificate".to_owned(), identity.certificate.to_string_lossy().into());
        said.insert("private_key".to_owned(), identity.private_key.to_string_lossy().into());
    }
    fields["tls"] = Value::Object(said);
}

fn word(version: Version) -> &'static str {
    match version {
        Version::V1_2 => "1.2",
        Version::V1_3 => "1.3",
    }
}

fn names(alpn: &[Vec<u8>]) -> Value {
    alpn.iter().map(|name| String::from_utf8_lossy(name)).collect()
}
