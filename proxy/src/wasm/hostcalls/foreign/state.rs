//! What Envoy calls filter state: what a guest declares of its properties, and values under Envoy's own names.
//!
//! The arguments are messages of Envoy's (`source/extensions/common/wasm/ext`). A message that cannot be read is
//! `BadArgument`.

use super::Answer;
use crate::wasm::abi::Status;
use crate::wasm::grants::{Capability, property_name};
use crate::wasm::host::Host;
use crate::wasm::properties::{Declaration, LifeSpan};
use crate::wasm::protobuf::{Malformed, Value, fields};

/// The names under which Envoy keeps a value and does nothing else. Others change what it does, such as
/// `envoy.tcp_proxy.cluster`: to accept those here would be to promise it.
const PLAIN_NAMES: &[&[u8]] = &[b"envoy.string"];

/// `declare_property`, in a root's callback: from now on, a value stored under `name` by this root's streams is
/// read-only once it is there, or lives as long as the connection, if the guest says so. `BadArgument`: the root
/// declared the name before. `InternalFailure`: the names that a root may declare are used up (128, 16 KiB).
///
/// A type and a schema may be given, and mean nothing: a property is read whole.
pub(super) fn declare_property(host: &mut Host, arguments: &[u8]) -> Answer {
    const NAME: u64 = 1;
    const READ_ONLY: u64 = 2;
    const SPAN: u64 = 5;
    let (mut name, mut declaration) = (&[][..], Declaration::default());
    for field in fields(arguments) {
        match field? {
            (NAME, Value::Bytes(bytes)) => name = text(bytes)?,
            (READ_ONLY, Value::Number(number)) => declaration.read_only = number != 0,
            (SPAN, Value::Number(number)) => declaration.span = life_span(number),
            _ => {}
        }
    }
    // What a stream says in its own callback holds for nobody, as in Envoy: a filter's streams would contradict each
    // other.
    if host.contexts.stream(host.current.context).is_none() {
        if !host.may(Capability::PropertiesWrite, name) {
            return Err(Status::NotFound);
        }
        host.roots[host.current.root].declarations.add(name, declaration)?;
    }
    Ok(Vec::new())
}

/// `set_envoy_filter_state`: what `filter_state.PATH` then is. `NotFound`: a name that means nothing here, or no
/// exchange.
pub(super) fn set_filter_state(host: &mut Host, arguments: &[u8]) -> Answer {
    const PATH: u64 = 1;
    const VALUE: u64 = 2;
    const SPAN: u64 = 3;
    let (mut path, mut value, mut span) = (&[][..], &[][..], LifeSpan::default());
    for field in fields(arguments) {
        match field? {
            (PATH, Value::Bytes(bytes)) => path = text(bytes)?,
            (VALUE, Value::Bytes(bytes)) => value = text(bytes)?,
            (SPAN, Value::Number(number)) => span = life_span(number),
            _ => {}
        }
    }
    if !PLAIN_NAMES.contains(&path) {
        return Err(Status::NotFound);
    }
    let (stream, _) = host.active.stream.as_ref().ok_or(Status::NotFound)?;
    let key = [b"filter_state\0", path].concat();
    if !host.may(Capability::PropertiesWrite, &property_name(&key).unwrap_or_default()) {
        return Err(Status::NotFound);
    }
    stream.borrow_mut().set_property(&key, value, Declaration { read_only: false, span })?;
    Ok(Vec::new())
}

/// A number that is no member is the first one, as everywhere in protobuf. There are no redirects within the proxy, so
/// what Envoy keeps for a request lives as long as what it keeps for its filter chain.
fn life_span(number: u64) -> LifeSpan {
    const DOWNSTREAM_CONNECTION: u64 = 2;
    if number == DOWNSTREAM_CONNECTION { LifeSpan::Connection } else { LifeSpan::Exchange }
}

/// A field that is a text is UTF-8, or its message is none.
fn text(bytes: &[u8]) -> Result<&[u8], Malformed> {
    str::from_utf8(bytes).map(str::as_bytes).map_err(|_| Malformed)
}

impl From<Malformed> for Status {
    fn from(_: Malformed) -> Status {
        Status::BadArgument
    }
}
