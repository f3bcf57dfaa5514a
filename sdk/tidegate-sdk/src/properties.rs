//! Properties of an exchange that have a type. `None` is what the host does not know, or not yet.
//!
//! Their encodings are Envoy's: numbers are 8 bytes little-endian, times are nanoseconds, a boolean is a byte.

use std::net::SocketAddr;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::fields::into_text;

/// Where the claims of a verified token are.
const CLAIMS: &[&str] = &["jwt_claims"];

impl Exchange {
    /// The client's address and port (`source.address`): of the connection, or as a trusted proxy in front told.
    ///
    /// ```no_run
    /// # use tidegate_sdk::Request;
    /// fn is_local(request: &Request<'_>) -> bool {
    ///     request.source_address().is_some_and(|address| address.ip().is_loopback())
    /// }
    /// ```
    pub fn source_address(&self) -> Option<SocketAddr> {
        self.text_property(&["source", "address"])?.parse().ok()
    }

    /// The address that the client connected to (`destination.address`).
    pub fn destination_address(&self) -> Option<SocketAddr> {
        self.text_property(&["destination", "address"])?.parse().ok()
    }

    /// Who the client is by its certificate: the URI among the certificate's names, which is a SPIFFE id in a mesh
    /// (`connection.uri_san_peer_certificate`). `None` without mutual TLS.
    pub fn peer_identity(&self) -> Option<String> {
        let identity = self.text_property(&["connection", "uri_san_peer_certificate"])?;
        (!identity.is_empty()).then_some(identity)
    }

    /// The name of the route that was chosen (`xds.route_name`), where it has one.
    pub fn route_name(&self) -> Option<String> {
        let name = self.text_property(&["xds", "route_name"])?;
        (!name.is_empty()).then_some(name)
    }

    /// The name of the cluster that the request goes to (`xds.cluster_name`).
    pub fn cluster_name(&self) -> Option<String> {
        let name = self.text_property(&["xds", "cluster_name"])?;
        (!name.is_empty()).then_some(name)
    }

    /// What identifies the request in logs and traces (`request.id`, the header `x-request-id`).
    pub fn request_id(&self) -> Option<String> {
        self.text_property(&["request", "id"])
    }

    /// `HTTP/1.1` and the like (`request.protocol`).
    pub fn protocol(&self) -> Option<String> {
        self.text_property(&["request", "protocol"])
    }

    /// When the request came, since 1970 (`request.time`).
    pub fn request_time(&self) -> Option<Duration> {
        self.number_property(&["request", "time"]).map(Duration::from_nanos)
    }

    /// The response's status (`response.code`), also in [`Filter::on_end`](crate::Filter::on_end).
    pub fn response_code(&self) -> Option<u16> {
        self.number_property(&["response", "code"])?.try_into().ok()
    }

    /// The claims of a token that a filter before this one verified and left here. They are to be trusted as far as the
    /// filters of the chain are: any of them may leave some, and no client.
    pub fn verified_claims(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        serde_json::from_slice(&self.property(CLAIMS)?).ok()
    }

    /// Leaves the claims of a token, which are the text of a JSON object, for filters further on: in the property
    /// `jwt_claims`. Only after the token was verified.
    pub fn set_verified_claims(&self, claims: &[u8]) {
        self.set_property(CLAIMS, claims);
    }

    /// A property that is text. What is not UTF-8 is replaced.
    pub fn text_property(&self, path: &[&str]) -> Option<String> {
        self.property(path).map(into_text)
    }

    /// A property that is a number, a time or a duration, in nanoseconds. `None` also for one of another size.
    pub fn number_property(&self, path: &[&str]) -> Option<u64> {
        Some(u64::from_le_bytes(self.property(path)?.try_into().ok()?))
    }

    /// A property that is true or false.
    pub fn bool_property(&self, path: &[&str]) -> Option<bool> {
        match self.property(path)?[..] {
            [byte] => Some(byte != 0),
            _ => None,
        }
    }
}
