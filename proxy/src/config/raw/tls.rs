//! TLS as the user wrote it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::scalar::{Alpn, Host, Text};
use crate::tls::Version;

/// TLS with clients. Files are watched: another certificate is served as soon as it is there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// The certificates and their keys. A client is shown the one that has the host it asks for: by itself, or else by a
    /// wildcard for the first label; the first one where none has it, or no host is asked for.
    #[schemars(length(min = 1))]
    pub(crate) certificates: Field<Vec<Field<Identity>>>,
    /// The lowest version that is spoken. Default: `1.2`.
    #[serde(default)]
    #[schemars(extend("default" = "1.2"))]
    pub(crate) min_version: Field<Text<Version>>,
    /// The protocols that may be agreed on in the handshake, by preference. A client that offers none of them is refused;
    /// one that offers none at all is not. Default: `[h2, http/1.1]`, and none on a TCP listener.
    #[serde(default)]
    pub(crate) alpn: Field<Vec<Field<Text<Alpn>>>>,
    /// A file (PEM) with the authorities one of which has to vouch for each client: who has no certificate of theirs is
    /// refused. Default: clients are not asked for a certificate.
    #[serde(default)]
    pub(crate) client_ca: Field<String>,
    /// How long a handshake may take, from the acceptance of the connection on, with all that comes before it.
    #[serde(default)]
    #[schemars(transform = bounds::HANDSHAKE_TIMEOUT.describe())]
    pub(crate) handshake_timeout: Field<Text<Duration>>,
}

/// A certificate and its key, both in PEM.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The file with the certificate, and behind it those that vouch for it. A relative path is relative to the folder of
    /// this configuration.
    pub(crate) certificate: Field<String>,
    /// The file with its key, without a password.
    pub(crate) private_key: Field<String>,
}

/// TLS with endpoints. `{}` is enough where the system's authorities vouch for them by their addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTls {
    /// A file (PEM) with the authorities one of which has to vouch for each endpoint. Default: those of the system.
    #[serde(default)]
    pub(crate) ca: Field<String>,
    /// The host that endpoints have to be, which is also what they are asked for in the handshake (SNI). Default: their
    /// certificates have to be for their IP addresses, and no host is asked for.
    #[serde(default)]
    pub(crate) server_name: Field<Text<Host>>,
    /// The lowest version that is spoken. Default: `1.2`.
    #[serde(default)]
    #[schemars(extend("default" = "1.2"))]
    pub(crate) min_version: Field<Text<Version>>,
    /// The protocols that are offered in the handshake, by preference. Default: what the cluster's `protocol` is called, and
    /// none for TCP connections.
    #[serde(default)]
    pub(crate) alpn: Field<Vec<Field<Text<Alpn>>>>,
    /// The file with the certificate that the proxy shows to endpoints that ask for one; with `private_key`.
    #[serde(default)]
    pub(crate) certificate: Field<String>,
    /// The file with its key.
    #[serde(default)]
    pub(crate) private_key: Field<String>,
    /// Whether endpoints may be anybody: nothing is known of who answers. For tests. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) insecure_skip_verify: Field<bool>,
}
