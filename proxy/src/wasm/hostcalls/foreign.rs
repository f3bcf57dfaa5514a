//! Foreign functions: calls by name that a host may have or not. An unknown one is `NotFound`.
//!
//! One table lists them: those that Envoy has, for filters that were built for it, and those of this host's own, which
//! begin with `tidegate.`. A guest that is to run elsewhere too asks for one of these and has another way where it gets
//! `NotFound`. `BadArgument` is for arguments that cannot be read or are out of range.

mod cells;
mod inject;
mod state;
mod zlib;

use std::time::Duration;

use super::{Call, Outcome, log};
use crate::wasm::abi::Status;
use crate::wasm::grants::Capability;
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, give, slice, view};

/// A function that a guest may call by name.
#[derive(Debug)]
pub struct ForeignFunction {
    /// Its name.
    pub name: &'static str,
    /// What it takes: `TYPE NAME, …`, numbers little-endian, one after the other.
    pub arguments: &'static str,
    /// What it answers, in the same form.
    pub answer: &'static str,
    /// What it is for.
    pub about: &'static str,
    call: fn(&mut Host, &[u8]) -> Answer,
}

/// How a function ends.
type Answer = Result<Vec<u8>, Status>;

/// A line of the table: `"name" (arguments) -> (answer) = function, "what it is for";`
macro_rules! table {
    ($( $name:literal ($arguments:literal) -> ($answer:literal) = $function:path, $about:literal; )*) => {
        /// Every foreign function.
        pub static FOREIGN_FUNCTIONS: &[ForeignFunction] = &[$(ForeignFunction {
            name: $name,
            arguments: $arguments,
            answer: $answer,
            about: $about,
            call: $function,
        },)*];
    };
}

table! {
    "tidegate.bucket.take" ("i32 cost, u32 burst, u32 tokens, u64 interval (ns), key")
        -> ("u64 retry after (ns), u64 reset (ns), u32 remaining") = cells::take,
        "takes tokens out of a bucket that all workers share";
    "tidegate.counter.add" ("i64 delta, u64 ttl (ns; 0: for ever), key")
        -> ("i64 count, u64 expires in (ns; 0: never)") = cells::add,
        "adds to a counter that all workers share";
    "tidegate.kv.get" ("key") -> ("nothing, or 1 and the value") = cells::value_of,
        "reads a value that expires";
    "tidegate.kv.set" ("u64 ttl (ns; 0: for ever), u32 length of the key, key, value") -> ("") = cells::set,
        "writes a value that expires";
    "tidegate.kv.delete" ("key") -> ("u8: 1 if there was a value") = cells::delete,
        "removes a value";
    "tidegate.timeout.extend" ("u64 by (ns)") -> ("") = extend_timeout,
        "lets the exchange take longer than its route says, an hour at most";
    "clear_route_cache" ("") -> ("") = clear_route_cache,
        "has the route found anew when the request's headers have gone through the chain";
    "compress" ("bytes, 4 MiB at most") -> ("their zlib stream") = zlib::compress,
        "RFC 1950, at the usual level";
    "uncompress" ("a zlib stream") -> ("its bytes, 4 MiB at most") = zlib::uncompress,
        "RFC 1950";
    "declare_property" ("`DeclarePropertyArguments`") -> ("") = state::declare_property,
        "says of a name, before the first `proxy_set_property` of it, whether its value may change (`readonly`) and whether it lives as long as the connection (`span`)";
    "set_envoy_filter_state" ("`SetEnvoyFilterStateArguments`") -> ("") = state::set_filter_state,
        "sets `envoy.string`; what changes Envoy's own behaviour is `NotFound`";
    "inject_encoded_data_to_filter_chain" ("`InjectEncodedDataToFilterChainArguments`") -> ("") = inject::inject,
        "Higress: `proxy_inject_encoded_data_to_filter_chain`";
    "inject_encoded_data_to_filter_chain_on_header" ("`InjectEncodedDataToFilterChainArguments`") -> ("")
        = inject::inject, "Higress: the same, for a response without a body";
    "get_log_level" ("") -> ("u32") = log_level,
        "the lowest level that is logged, for hosts of ABI 0.2.0";
}

/// `proxy_call_foreign_function` (0.1.0): calls a function by its name, with arguments of its own form, and gives the
/// guest what it answers. A null place for the value means that the guest does not want it.
///
/// - `NotFound`: there is no function of this name, the filter may not call it, or what it is about is not there.
/// - `BadArgument`: it cannot take the arguments, or not from here.
/// - `SerializationFailure`: what is to be compressed or uncompressed cannot be.
/// - `InternalFailure`: it would exceed a limit.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn call_function(
    call: &mut Call<'_>,
    name: u32,
    name_len: u32,
    arguments: u32,
    arguments_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let out = (value != 0 && value_len != 0).then_some(Out { pointer: value, len: value_len });
    let name = slice(memory, name, name_len)?;
    let arguments = slice(memory, arguments, arguments_len)?;
    if let Some(out) = out {
        out.check(memory)?;
    }
    if !host.may_call_function(name) {
        return Err(Status::NotFound.into());
    }
    let function = FOREIGN_FUNCTIONS.iter().find(|function| function.name.as_bytes() == name);
    let answer = (function.ok_or(Status::NotFound)?.call)(host, arguments)?;
    match out {
        Some(out) => give(call, out, &answer),
        None => Ok(()),
    }
}

fn clear_route_cache(host: &mut Host, _: &[u8]) -> Answer {
    if let Some((stream, _)) = &host.active.stream {
        stream.borrow_mut().route_stale = true;
    }
    Ok(Vec::new())
}

fn log_level(host: &mut Host, _: &[u8]) -> Answer {
    Ok((log::current_level(host) as u32).to_le_bytes().to_vec())
}

/// What the guests of one exchange ask for together has a limit, up to which it is given.
fn extend_timeout(host: &mut Host, arguments: &[u8]) -> Answer {
    const MOST: Duration = Duration::from_secs(3600);
    let by = Duration::from_nanos(Arguments(arguments).u64()?);
    if !host.may(Capability::Reply, b"") {
        return Err(Status::NotFound);
    }
    let (stream, _) = host.active.stream.as_ref().ok_or(Status::BadArgument)?;
    let extension = &mut stream.borrow_mut().timeout_extension;
    *extension = extension.saturating_add(by).min(MOST);
    Ok(Vec::new())
}

/// What is left of the arguments of a function of this host's own: numbers first.
struct Arguments<'a>(&'a [u8]);

impl Arguments<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Status> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Status::BadArgument)?;
        self.0 = rest;
        Ok(*number)
    }

    fn u32(&mut self) -> Result<u32, Status> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Status> {
        self.take().map(u64::from_le_bytes)
    }
}
