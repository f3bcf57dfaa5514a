//! Header maps: reads are lenient, a change that can have no effect any more is refused. Look-ups go from the guest's
//! bytes straight into the map; nothing is copied on the way.
//!
//! Of an exchange's headers and trailers a filter sees and changes those that its `capabilities` grant: others are not
//! there, and a change of them has no effect, which is no error to the guest: SDKs know none. What a callout was
//! answered is the filter's own.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Call, Outcome};
use crate::wasm::abi::{AbiVersion, Callback, MapType, Status};
use crate::wasm::fields::Fields;
use crate::wasm::grants::{Capability, Grants};
use crate::wasm::grpc::Shown;
use crate::wasm::header_map::{Target, View, view_of};
use crate::wasm::host::Host;
use crate::wasm::memory::{self, Out, check, give, give_checked, give_with, slice, store_u32, view};
use crate::wasm::pairs::{self, Pair};
use crate::wasm::stream::{Direction, Progress, Stream, StreamRef, Subject};

/// `proxy_get_header_map_size` (0.1.0): writes the length of all names and values of a map to `size`, in bytes, as
/// Envoy does; 0 if there is no such map now.
///
/// - `BadArgument`: the number names no map.
/// - `InvalidMemoryAccess`: `size` is not of the guest's memory.
pub(crate) fn size(call: &mut Call<'_>, map: u32, size: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    check(memory, size, 4)?;
    let shown = shown(host, map);
    let sum = |view: View<'_>| {
        let lengths = view.iter().filter(|pair| shown(pair)).map(|(name, value)| name.len() + value.len());
        lengths.sum()
    };
    let len = read(host, map, sum).unwrap_or(0usize);
    store_u32(memory, size, u32::try_from(len).unwrap_or(u32::MAX))?;
    Ok(())
}

/// `proxy_get_header_map_pairs` (0.1.0): gives the guest a whole map, serialised: names in lower case, pseudo-headers
/// first, a pair for each value. If there is no such map now, or it is empty, the guest gets 0 and 0.
///
/// - `BadArgument`: the number names no map.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn pairs(call: &mut Call<'_>, map: u32, pairs: u32, pairs_len: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let out = Out { pointer: pairs, len: pairs_len };
    with_view(call, map, |call, view| match (view, restriction(call.data(), map)) {
        (Some(view), None) if view.len() > 0 => {
            let len = pairs::serialised_len(view.iter());
            give_with(call, out, len, |block| pairs::write(block, view.len(), view.iter()))
        }
        (Some(view), Some(grants)) => {
            let granted: SmallVec<[Pair<'_>; 32]> =
                view.iter().filter(|(name, _)| grants.allows(Capability::HeadersRead, name)).collect();
            if granted.is_empty() {
                return give(call, out, &[]);
            }
            let pairs = || granted.iter().copied();
            let len = pairs::serialised_len(pairs());
            give_with(call, out, len, |block| pairs::write(block, granted.len(), pairs()))
        }
        _ => give(call, out, &[]),
    })
}

/// `proxy_get_header_map_value` (0.1.0): gives the guest the first value of a name, whatever the case of its letters.
/// Pseudo-headers are names like others; `:authority` and `host` are one.
///
/// - `BadArgument`: the number names no map.
/// - `NotFound`: the map has no such name, or the filter may not read it, or there is no such map now; a guest of
///   version 0.1.0 gets an empty value instead.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn value(
    call: &mut Call<'_>,
    map: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let map = MapType::try_from(map)?;
    let out = Out { pointer: value, len: value_len };
    with_view(call, map, |call, view| {
        let (memory, host) = memory::view(call)?;
        let key = slice(memory, key, key_len)?;
        out.check(memory)?;
        let may_read = !is_of_exchange(map) || host.may(Capability::HeadersRead, key);
        let found = view.filter(|_| may_read).and_then(|view| view.value(&mut host.fields, key));
        match found {
            Some(found) => give_checked(call, out, found.len(), |block| block.copy_from_slice(found)),
            None if host.abi == AbiVersion::V0_1_0 => give(call, out, &[]),
            None => Err(Status::NotFound.into()),
        }
    })
}

/// `proxy_set_header_map_pairs` (0.1.0): replaces a whole map, or changes nothing. Pseudo-headers (and `host`) that are
/// not among the pairs stay, and so does what the filter may not write. Of the request's headers this lets the route be
/// found anew.
///
/// - `BadArgument`: the number names no map; the pairs are malformed, more than 1024 or longer than 1 MiB; one of them
///   cannot be a header; or the map can no longer be changed, or never could, as those of callouts.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn set_pairs(call: &mut Call<'_>, map: u32, pairs: u32, pairs_len: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let pairs = pairs::parse(slice(memory, pairs, pairs_len)?)?;
    let Some(grants) = host.root().grants.clone().filter(|_| is_of_exchange(map)) else {
        change(host, map, |target, fields| target.replace_all(fields, &pairs))?;
        return Ok(());
    };
    let is_granted = |name: &[u8]| grants.allows(Capability::HeadersWrite, name);
    let mut denied = None;
    change(host, map, |target, fields| {
        // What is given back as it was is no attempt to change it.
        denied = pairs.iter().find(|pair| !is_granted(pair.0) && !target.has(pair));
        target.replace_granted(fields, &pairs, is_granted)
    })?;
    if let Some((name, _)) = denied {
        host.deny(Capability::HeadersWrite, name);
    }
    Ok(())
}

/// `proxy_add_header_map_value` (0.1.0): adds a value beside those of the same name; a pseudo-header, of which there is
/// one, is set. A response header that is added before there is a response is kept for it. Of the request's headers
/// this lets the route be found anew.
///
/// - `BadArgument`: the number names no map; name or value cannot be a header's; the map would have more than 1024
///   values or 1 MiB; or it can no longer be changed, or never could.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn add(
    call: &mut Call<'_>,
    map: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let (key, value) = (slice(memory, key, key_len)?, slice(memory, value, value_len)?);
    if is_of_exchange(map) && !host.may(Capability::HeadersWrite, key) {
        return Ok(());
    }
    change(host, map, |target, fields| target.add(fields, key, value))?;
    Ok(())
}

/// `proxy_replace_header_map_value` (0.1.0): gives a name this value alone, whether it had any before or not. Otherwise
/// as `proxy_add_header_map_value`.
///
/// - `BadArgument`: the number names no map; name or value cannot be a header's; the map would have more than 1024
///   values or 1 MiB; or it can no longer be changed, or never could.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn replace(
    call: &mut Call<'_>,
    map: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let (key, value) = (slice(memory, key, key_len)?, slice(memory, value, value_len)?);
    if is_of_exchange(map) && !host.may(Capability::HeadersWrite, key) {
        return Ok(());
    }
    change(host, map, |target, fields| target.set(fields, key, value))?;
    Ok(())
}

/// `proxy_remove_header_map_value` (0.1.0): removes all values of a name; one that is not there is no error.
///
/// - `BadArgument`: the number names no map; the name is a pseudo-header other than `:authority`, which a message
///   cannot be without; or the map can no longer be changed, or never could.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn remove(call: &mut Call<'_>, map: u32, key: u32, key_len: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let key = slice(memory, key, key_len)?;
    if is_of_exchange(map) && !host.may(Capability::HeadersWrite, key) {
        return Ok(());
    }
    change(host, map, |target, fields| target.remove(fields, key))?;
    Ok(())
}

/// Whether a map is an exchange's, not a callout's answer.
fn is_of_exchange(map: MapType) -> bool {
    match map {
        MapType::RequestHeaders
        | MapType::RequestTrailers
        | MapType::ResponseHeaders
        | MapType::ResponseTrailers => true,
        MapType::GrpcInitialMetadata
        | MapType::GrpcTrailingMetadata
        | MapType::CalloutHeaders
        | MapType::CalloutTrailers => false,
    }
}

/// What says which entries of a map the filter may see; none if it may see all.
fn restriction(host: &Host, map: MapType) -> Option<Arc<Grants>> {
    host.root().grants.clone().filter(|_| is_of_exchange(map))
}

/// Whether the filter is shown an entry of a map.
fn shown(host: &Host, map: MapType) -> impl Fn(&Pair<'_>) -> bool + use<> {
    let restriction = restriction(host, map);
    move |(name, _)| restriction.as_ref().is_none_or(|grants| grants.allows(Capability::HeadersRead, name))
}

/// Reads a map without calling the guest meanwhile.
fn read<T>(host: &Host, map: MapType, read: impl FnOnce(View<'_>) -> T) -> Option<T> {
    match map {
        MapType::CalloutHeaders => host
            .callout_response
            .as_ref()
            .map(|response| read(View::Response(&response.status, &response.headers))),
        MapType::CalloutTrailers => {
            let response = host.callout_response.as_ref()?;
            response.trailers.as_ref().map(|trailers| read(View::Plain(trailers)))
        }
        MapType::GrpcInitialMetadata | MapType::GrpcTrailingMetadata => {
            host.grpc.shown.as_ref().and_then(|shown| metadata(shown, map)).map(read)
        }
        _ => {
            let (stream, _) = host.active.stream.as_ref()?;
            let stream = stream.borrow();
            view_of(&stream, map).map(read)
        }
    }
}

/// Reads a map while the guest's allocator may be called. What is read is held apart from the host's state meanwhile;
/// an allocator's hostcalls cannot reach it.
fn with_view(
    call: &mut Call<'_>,
    map: MapType,
    read: impl FnOnce(&mut Call<'_>, Option<View<'_>>) -> Outcome,
) -> Outcome {
    match map {
        MapType::CalloutHeaders | MapType::CalloutTrailers => {
            let response = call.data_mut().callout_response.take();
            let view = response.as_ref().and_then(|response| match map {
                MapType::CalloutHeaders => Some(View::Response(&response.status, &response.headers)),
                _ => response.trailers.as_ref().map(View::Plain),
            });
            let outcome = read(call, view);
            call.data_mut().callout_response = response;
            outcome
        }
        MapType::GrpcInitialMetadata | MapType::GrpcTrailingMetadata => {
            let shown = call.data_mut().grpc.shown.take();
            let outcome = read(call, shown.as_ref().and_then(|shown| metadata(shown, map)));
            call.data_mut().grpc.shown = shown;
            outcome
        }
        _ => match active_stream(call.data()) {
            Some(stream) => {
                let stream = stream.borrow();
                read(call, view_of(&stream, map))
            }
            None => read(call, None),
        },
    }
}

/// The metadata that a callback of a gRPC callout is about, under its own number alone.
fn metadata(shown: &Shown, map: MapType) -> Option<View<'_>> {
    let (status, metadata) = match (shown, map) {
        (Shown::Initial(status, metadata), MapType::GrpcInitialMetadata)
        | (Shown::Trailing(status, metadata), MapType::GrpcTrailingMetadata) => (status, metadata),
        _ => return None,
    };
    Some(status.as_ref().map_or(View::Plain(metadata), |status| View::Response(status, metadata)))
}

fn active_stream(host: &Host) -> Option<StreamRef> {
    host.active.stream.as_ref().map(|(stream, _)| stream.clone())
}

/// Changes a map of the active stream.
fn change(
    host: &mut Host,
    map: MapType,
    change: impl FnOnce(&mut Target<'_>, &mut Fields) -> Result<(), Status>,
) -> Result<(), Status> {
    let callback = host.active_callback();
    let ends_body = callback.filter(|_| host.current.end_of_stream);
    let (stream, _) = host.active.stream.as_ref().ok_or(Status::BadArgument)?;
    let fields = &mut host.fields;
    if matches!(callback, Some(Callback::Log | Callback::Done | Callback::Delete)) {
        return Err(Status::BadArgument);
    }
    let stream = &mut *stream.borrow_mut();
    match map {
        _ if stream.subject == Subject::Connection => Err(Status::BadArgument),
        MapType::RequestHeaders if stream.request_progress == Progress::Head => {
            change(&mut Target::Request(&mut stream.request), fields)?;
            stream.route_stale = true;
            Ok(())
        }
        MapType::ResponseHeaders if stream.response_progress == Progress::Head => {
            match &mut stream.response {
                Some(head) => change(&mut Target::Response(head), fields),
                None => change(&mut Target::New(&mut stream.staged_response_headers), fields),
            }
        }
        MapType::RequestTrailers => {
            let may_create = ends_body == Some(Callback::RequestBody);
            change(&mut trailers(stream, Direction::Request, may_create)?, fields)
        }
        MapType::ResponseTrailers => {
            let may_create = ends_body == Some(Callback::ResponseBody);
            change(&mut trailers(stream, Direction::Response, may_create)?, fields)
        }
        _ => Err(Status::BadArgument),
    }
}

/// Trailers that are there may be changed until they are sent; new ones may be made in the body callback that is told
/// of the end.
fn trailers(stream: &mut Stream, direction: Direction, may_create: bool) -> Result<Target<'_>, Status> {
    if stream.progress(direction) == Progress::Done {
        return Err(Status::BadArgument);
    }
    let trailers = match direction {
        Direction::Request => &mut stream.request_trailers,
        Direction::Response => &mut stream.response_trailers,
    };
    if trailers.is_some() || may_create { Ok(Target::New(trailers)) } else { Err(Status::BadArgument) }
}
