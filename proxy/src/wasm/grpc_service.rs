//! The one message of Envoy's API that guests send: `envoy.config.core.v3.GrpcService`, which says whom a gRPC callout is
//! for. Only what can be honoured here is read.

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

impl<'a> GrpcService<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<GrpcService<'a>, Unusable> {
        const ENVOY_GRPC: u64 = 1;
        const INITIAL_METADATA: u64 = 5;
        let mut service = GrpcService::default();
        for_each_field(bytes, |number, value| {
            match number {
                ENVOY_GRPC => for_each_field(value, |number, value| {
                    match number {
                        1 => service.cluster = value,
                        2 => service.authority = value,
                        _ => {}
                    }
                    Ok(())
                })?,
                INITIAL_METADATA => {
                    let (mut key, mut text) = (&b""[..], &b""[..]);
                    for_each_field(value, |number, value| {
                        match number {
                            1 => key = value,
                            // `value` and `raw_value`: there is one of them.
                            2 | 3 => text = value,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    service.metadata.push((key, text));
                }
                _ => {}
            }
            Ok(())
        })?;
        if service.cluster.is_empty() { Err(Unusable) } else { Ok(service) }
    }
}

/// Calls `visit` with each field of a message that holds bytes, and steps over numbers (Protocol Buffers' wire format).
fn for_each_field<'a>(
    mut bytes: &'a [u8],
    mut visit: impl FnMut(u64, &'a [u8]) -> Result<(), Unusable>,
) -> Result<(), Unusable> {
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Unusable);
        }
        match tag & 7 {
            0 => drop(take_varint(&mut bytes)?),
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let len = take_varint(&mut bytes)?;
                visit(number, take(&mut bytes, len)?)?;
            }
            5 => drop(take(&mut bytes, 4)?),
            _ => return Err(Unusable),
        }
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8], Unusable> {
    let len = usize::try_from(len).map_err(|_| Unusable)?;
    let (taken, rest) = bytes.split_at_checked(len).ok_or(Unusable)?;
    *bytes = rest;
    Ok(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Unusable> {
    const LONGEST: usize = 10;
    let mut number = 0;
    for at in 0..LONGEST {
        let byte = *take(bytes, 1)?.first().ok_or(Unusable)?;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unusable)
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
