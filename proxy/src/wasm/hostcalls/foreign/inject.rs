//! Higress' way to put bytes into a response by name, of which the argument is a message of its own.

use super::Answer;
use crate::wasm::host::Host;
use crate::wasm::hostcalls::higress;
use crate::wasm::protobuf::{Value, fields};

/// `inject_encoded_data_to_filter_chain`, see [`higress::inject_data`].
pub(super) fn inject(host: &mut Host, arguments: &[u8]) -> Answer {
    const BODY: u64 = 1;
    const END_OF_STREAM: u64 = 2;
    let (mut body, mut end) = (&[][..], false);
    for field in fields(arguments) {
        match field? {
            (BODY, Value::Bytes(bytes)) => body = bytes,
            (END_OF_STREAM, Value::Number(number)) => end = number != 0,
            _ => {}
        }
    }
    higress::inject(host, body, end)?;
    Ok(Vec::new())
}
