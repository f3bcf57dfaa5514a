//! The one message of Envoy's API that guests send: `envoy.config.core.v3.GrpcService`, which says whom a gRPC callout
//! is for. Only what can be honoured here is read.

use super::protobuf::{Malformed, Value, fields};

/// What of a `GrpcService` counts here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GrpcService<'a> {
    /// `envoy_grpc.cluster_name`
    pub(crate) cluster: &'a [u8],
    /// `envoy_grpc.authority`; empty if there is none.
    pub(crate) authority: &'a [u8],
    /// `initial_metadata`: keys and values as they are, without Envoy's substitutions.
    pub(crate) metadata: Vec<(&'a [u8], &'a [u8])>,
}

/// Not a `GrpcService` for a cluster: no message at all, or one of `google_grpc`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable;

impl From<Malformed> for Unusable {
    fn from(_: Malformed) -> Unusable {
        Unusable
    }
}

impl<'a> GrpcService<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<GrpcService<'a>, Unusable> {
        const ENVOY_GRPC: u64 = 1;
        const INITIAL_METADATA: u64 = 5;
        let mut service = GrpcService::default();
        for field in fields(bytes) {
            match field? {
                (ENVOY_GRPC, Value::Bytes(upstream)) => service.read_upstream(upstream)?,
                (INITIAL_METADATA, Value::Bytes(pair)) => service.metadata.push(read_pair(pair)?),
                _ => {}
            }
        }
        if service.cluster.is_empty() { Err(Unusable) } else { Ok(service) }
    }

    fn read_upstream(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        const CLUSTER_NAME: u64 = 1;
        const AUTHORITY: u64 = 2;
        for field in fields(message) {
            match field? {
                (CLUSTER_NAME, Value::Bytes(name)) => self.cluster = name,
                (AUTHORITY, Value::Bytes(authority)) => self.authority = authority,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A `HeaderValue`: `value` and `raw_value` are two forms of one thing, of which there is one.
fn read_pair(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    const KEY: u64 = 1;
    const VALUE: u64 = 2;
    const RAW_VALUE: u64 = 3;
    let (mut key, mut value) = (&[][..], &[][..]);
    for field in fields(message) {
        match field? {
            (KEY, Value::Bytes(text)) => key = text,
            (VALUE | RAW_VALUE, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cluster_the_authority_and_the_metadata_are_read() {
        // envoy_grpc {cluster_name: "auth" authority: "a.test"} timeout {seconds: 3}
        // initial_metadata {key: "k" value: "v"}
        let bytes = b"\x0a\x0e\x0a\x04auth\x12\x06a.test\x1a\x02\x08\x03\x2a\x06\x0a\x01k\x12\x01v";
        let service = GrpcService::parse(bytes).expect("it is one");
        let metadata = vec![(&b"k"[..], &b"v"[..])];
        assert_eq!(service, GrpcService { cluster: b"auth", authority: b"a.test", metadata });
    }

    #[test]
    fn what_names_no_cluster_is_refused() {
        // google_grpc {target_uri: "a"}, nothing, a cluster's name, a length beyond the end, field 0
        for bytes in [&b"\x12\x03\x0a\x01a"[..], b"", b"a-cluster", b"\x0a\x7f", b"\x02\x00"] {
            assert_eq!(GrpcService::parse(bytes), Err(Unusable), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = GrpcService::parse(&bytes);
        }
    }
}
